//! `[listen]`, `[admin]` and `[telemetry]`: where a host is called, where it is looked at, and where it tells what it did.
//!
//! Invariant: what is spoken without TLS, and what asks nobody who they are, stays on this machine unless the file says otherwise.

use std::net::SocketAddr;

use serde::Deserialize;

use super::problems::Problems;
use super::within;
use crate::net::connection_limit::ConnectionLimits;
use crate::net::networks::Networks;
use crate::net::tls::TlsConfig;

/// The listener's address and limits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address and port; loopback only where there is no TLS. Default `127.0.0.1:8600`; port 0 picks a free one.
    pub address: SocketAddr,
    /// TLS. Without it, plain HTTP is spoken.
    pub tls: Option<TlsConfig>,
    /// Speaks plain HTTP on an address that others can reach: whoever is on the way reads secrets and payloads and can change answers.
    pub allow_remote_plaintext: bool,
    /// Threads that serve connections. Default: one a core. Each runs plugins inline for at most one slice.
    pub workers: usize,
    /// Connections at once. Default 1,024, or what the limit of file descriptors leaves. Where a
    /// further one comes, the source that costs most loses one on which no caller has proved
    /// itself.
    pub max_connections: usize,
    /// Connections of one source (/24 of IPv4, /56 of IPv6) on which no caller was authenticated.
    /// Default: half of `max_connections`.
    pub max_connections_per_source: Option<usize>,
    /// Connections that one caller may keep open; a further one is closed after its answer.
    /// Default: half of `max_connections`.
    pub max_connections_per_caller: Option<usize>,
    /// Time until the first bytes of a new connection, milliseconds; then it is closed. Default
    /// 3,000.
    pub first_bytes_timeout_ms: u64,
    /// Networks of proxies that pass connections on: exempt from `max_connections_per_source`.
    pub proxies: Networks,
    /// Whether connections from `proxies` begin with a PROXY protocol header, version 2. Default:
    /// no.
    pub proxy_protocol: bool,
    /// Networks of platforms, as these publish them: evicted last.
    pub platform_networks: Networks,
    /// Calls in progress at once; a further one gets the safe answer. Default 256.
    pub max_in_flight: usize,
    /// Time a caller has to send a request's head, and a connection may be idle, milliseconds; then it is closed. Default 75,000:
    /// longer than proxies keep an idle connection, so that none sends a call into one that we just closed.
    pub header_timeout_ms: u64,
    /// Time a caller has to send the body after the head, milliseconds; then the safe answer leaves. Default 1,000.
    pub body_timeout_ms: u64,
    /// Time for which the host serves on after a SIGTERM, milliseconds: `/ready` has 503 by then,
    /// and answers end their connections, so that a load balancer or a client goes elsewhere before
    /// the port is closed. Default 5,000.
    pub shutdown_delay_ms: u64,
    /// Time the host waits after that for calls in flight, milliseconds. Default 5,000.
    pub drain_timeout_ms: u64,
}

/// The admin listener: health, readiness, metrics, status.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Whether there is one. Default: there is.
    pub enabled: bool,
    /// Address and port. It asks nobody who they are, so: loopback, unless `allow_remote`. Default
    /// `127.0.0.1:8601`; port 0 picks a free one.
    pub address: SocketAddr,
    /// Lets it listen where other machines can reach it: whoever does sees names of hooks and plugins, and counts. Default: no.
    pub allow_remote: bool,
    /// Names besides addresses and `localhost` by which it may be asked. A request by another name
    /// gets 421, so that a web page cannot read it by a name of its own. Default: none.
    pub hosts: Vec<String>,
    /// Whether a host is still ready whose release, manifests, trust root or certificate have
    /// ended. Default: with its certificate it is not, since callers refuse that; otherwise it is,
    /// since it goes on deciding.
    pub ready_when_expired: Option<bool>,
}

/// The collector of traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; plain HTTP to this machine alone. Without it there are no
    /// traces.
    pub otlp: Option<String>,
    /// Which part of the calls is traced, 0 to 1; those that a proven caller traces always are. Default 0.1.
    pub sample_ratio: f64,
    /// Traces that may wait for the collector; further ones are dropped and counted. Default 2,048.
    pub queue: usize,
}

impl Listen {
    /// The limits of connections.
    pub fn connection_limits(&self) -> ConnectionLimits {
        let half = self.max_connections.div_ceil(2);
        ConnectionLimits {
            connections: self.max_connections,
            per_source: self.max_connections_per_source.unwrap_or(half),
            per_caller: self.max_connections_per_caller.unwrap_or(half),
        }
    }

    /// Whether it is a place where what is spoken there may be spoken.
    pub(super) fn check_place(&self, problems: &mut Problems) {
        let place = self.check_address(self.address);
        problems.keep(place.map_err(|why| format!("listen.{why}")));
        if let Some(tls) = &self.tls {
            problems.keep(within(
                "listen.tls.handshake_timeout_ms",
                tls.handshake_timeout_ms,
                100,
                60_000,
            ));
        }
    }

    /// Whether calls may be taken at this address.
    ///
    /// # Errors
    /// A sentence that begins with `address`.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), String> {
        if self.tls.is_none() && !address.ip().is_loopback() && !self.allow_remote_plaintext {
            return Err(format!(
                "address `{address}` is not a loopback address, and plain HTTP must not leave this \
                 machine: set [listen.tls], or use a TLS proxy on this machine"
            ));
        }
        Ok(())
    }

    /// Whether its numbers are within bounds.
    pub(super) fn check_bounds(&self, problems: &mut Problems) {
        problems.keep(within("listen.workers", self.workers, 1, 256));
        problems.keep(within("listen.max_connections", self.max_connections, 1, 100_000));
        for (name, limit) in [
            ("listen.max_connections_per_source", self.max_connections_per_source),
            ("listen.max_connections_per_caller", self.max_connections_per_caller),
        ] {
            problems.keep(limit.map_or(Ok(()), |limit| within(name, limit, 1, 100_000)));
        }
        if self.proxy_protocol && self.proxies.is_empty() {
            problems.add(
                "listen.proxy_protocol needs listen.proxies, because only listed proxies may send \
                 a PROXY header: write `proxies = [\"ADDRESS-OF-THE-PROXY\"]`"
                    .to_owned(),
            );
        }
        problems.keep(within("listen.max_in_flight", self.max_in_flight, 1, 100_000));
        for (name, millis, least, most) in [
            ("listen.first_bytes_timeout_ms", self.first_bytes_timeout_ms, 100, 60_000),
            ("listen.header_timeout_ms", self.header_timeout_ms, 100, 600_000),
            ("listen.body_timeout_ms", self.body_timeout_ms, 10, 60_000),
            ("listen.shutdown_delay_ms", self.shutdown_delay_ms, 0, 600_000),
            ("listen.drain_timeout_ms", self.drain_timeout_ms, 0, 600_000),
        ] {
            problems.keep(within(name, millis, least, most));
        }
    }
}

impl AdminConfig {
    /// Whether it may listen there.
    pub(super) fn check(&self, problems: &mut Problems) {
        let place = self.check_address(self.address);
        problems.keep(place.map_err(|why| format!("admin.{why}")));
        for wrong in self.hosts.iter().filter(|name| !is_host_name(name)) {
            problems.add(format!(
                "admin.hosts: `{wrong}` is not a host name; write it without port and wildcard"
            ));
        }
    }

    /// Whether it may listen at this address.
    ///
    /// # Errors
    /// A sentence that begins with `address`.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), String> {
        if !address.ip().is_loopback() && !self.allow_remote {
            return Err(format!(
                "address `{address}` is not a loopback address, so other machines could read names \
                 of hooks and plugins, and counts; set `allow_remote = true` to allow that"
            ));
        }
        Ok(())
    }
}

impl TelemetryConfig {
    /// Whether its numbers are within bounds, and its collector can be called.
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.keep(within("telemetry.sample_ratio", self.sample_ratio, 0.0, 1.0));
        problems.keep(within("telemetry.queue", self.queue, 1, 65_536));
        if let Some(collector) = &self.otlp {
            let address = crate::net::outbound::parse_url(collector);
            problems
                .keep(address.map_err(|error| format!("telemetry.otlp `{collector}`: {error}")));
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8600)),
            tls: None,
            allow_remote_plaintext: false,
            workers: std::thread::available_parallelism().map_or(1, Into::into),
            max_connections: 1_024,
            max_connections_per_source: None,
            max_connections_per_caller: None,
            first_bytes_timeout_ms: 3_000,
            proxies: Networks::default(),
            proxy_protocol: false,
            platform_networks: Networks::default(),
            max_in_flight: 256,
            header_timeout_ms: 75_000,
            body_timeout_ms: 1_000,
            shutdown_delay_ms: 5_000,
            drain_timeout_ms: 5_000,
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp: None, sample_ratio: 0.1, queue: 2_048 }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 8601));
        Self {
            enabled: true,
            address,
            allow_remote: false,
            hosts: Vec::new(),
            ready_when_expired: None,
        }
    }
}

/// Whether text can stand in `admin.hosts`: a host's name, without a port.
pub fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Connections at once.
pub const MAX_ADMIN_CONNECTIONS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_have_no_port_and_no_wildcard() {
        assert!(["a", "metrics.hospital.example", "10.0.0.1", "a_b"].into_iter().all(is_host_name));
        let long = "a".repeat(64);
        for wrong in ["", "a:80", "*.example", "a..b", "http://a", "a/b", ".a", long.as_str()] {
            assert!(!is_host_name(wrong), "{wrong}");
        }
    }
}

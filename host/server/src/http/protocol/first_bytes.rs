//! The first bytes of a connection: the header of a proxy, and the choice between HTTP/1.1 and
//! HTTP/2 without TLS.
//!
//! Invariant: both wait for a limited time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use crate::clock::monotonic_now;
use crate::logging::log_limit::LOG_LIMITS;
use crate::net::acceptor::log_rejected;
use crate::net::connection_limit::ConnectionSlot;
use crate::net::proxy_protocol::{self, Origin};
use crate::state::frontend::Frontend;
use crate::worker::StopToken;

/// Reads the header of a proxy that sends one, and waits for the first bytes of the client behind
/// it. Returns false where the connection ends with that.
pub(super) async fn client_behind_proxy(
    frontend: &Frontend,
    stream: &mut TcpStream,
    slot: &ConnectionSlot,
) -> bool {
    let config = Arc::clone(&frontend.active_config().config);
    let listen = &config.listen;
    let Ok(peer) = stream.peer_addr() else { return false };
    if !listen.proxy_protocol || !listen.proxies.contains(peer.ip()) {
        return true;
    }
    let limit = Duration::from_millis(listen.first_bytes_timeout_ms);
    let origin = match timeout(limit, proxy_protocol::read_header(stream)).await {
        Ok(Ok(origin)) => origin,
        Ok(Err(error)) => {
            let proxy = peer.ip().to_string();
            if LOG_LIMITS.allows(NO_PROXY_HEADER, "", monotonic_now()) {
                tracing::warn!(
                    event = NO_PROXY_HEADER,
                    proxy,
                    %error,
                    "a connection from a listed proxy was closed, because it had no valid PROXY \
                     header: make the proxy send one, or turn off listen.proxy_protocol"
                );
            }
            return false;
        }
        Err(_) => return false,
    };
    if let Origin::Client(address, _) = origin
        && let Err(rejected) = slot.set_client(address, monotonic_now())
    {
        log_rejected(rejected);
        return false;
    }
    let Ok(Ok(1..)) = timeout(limit, stream.peek(&mut [0])).await else { return false };
    slot.mark_started(monotonic_now()).inspect_err(|why| log_rejected(*why)).is_ok()
}

/// Reads until it is clear whether a client without TLS speaks HTTP/2 (it begins with a preface
/// that is no HTTP/1.1 request: RFC 9113 section 3.4). Nothing where it says nothing in time.
pub(super) async fn detect_protocol(
    stream: &mut TcpStream,
    frontend: &Frontend,
    mut stop: StopToken,
) -> Option<(Vec<u8>, bool)> {
    let accepted = monotonic_now();
    let head = Duration::from_millis(frontend.active_config().config.listen.header_timeout_ms);
    let read = async {
        let mut said = Vec::with_capacity(PREFACE.len());
        while said.len() < PREFACE.len() && PREFACE.starts_with(&said) {
            let left = u64::try_from(PREFACE.len() - said.len()).unwrap_or(0);
            if (&mut *stream).take(left).read_buf(&mut said).await.ok()? == 0 {
                return None;
            }
        }
        let http2 = said == PREFACE;
        Some((said, http2))
    };
    tokio::select! {
        biased;
        read = timeout(head, read) => read.ok()?,
        // A client that connected just before the stop has the rest of its grace to begin.
        () = async {
            stop.stopped().await;
            sleep_until((accepted + BEGIN_GRACE).into()).await;
        } => None,
    }
}

/// How a client begins that speaks HTTP/2 without having been asked.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The event of a connection of a proxy that sends no header.
const NO_PROXY_HEADER: &str = "connection.no-proxy-header";
/// How long a connection has to send its first bytes when the host stops: from its acceptance on.
const BEGIN_GRACE: Duration = Duration::from_secs(1);

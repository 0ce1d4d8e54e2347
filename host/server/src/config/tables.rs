//! `[tables.NAME]` and `[table_push]`: the host's settings for versions of reference tables that
//! come from elsewhere.
//!
//! Invariant: where a table comes from stands in the signed set; here are the credentials for it,
//! and they are sent to the origin that is named beside them alone, whatever address a set names.
//! Secrets are files. Nothing is pushed over the listener of hooks or of the admin pages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderName};
use serde::Deserialize;

use super::problems::Problems;
use super::within;
use crate::auth::config::{CallerConfig, CallerSources};
use crate::net::outbound::parse_url;
use crate::net::tls::TlsConfig;

/// The settings for one table, checked.
#[derive(Clone, Debug)]
pub struct TableAccess {
    /// The origin that gets the credential, such as `https://hr.example`.
    pub origin: Option<String>,
    /// The header of the credential, and the file that holds its whole value.
    pub credential: Option<(HeaderName, PathBuf)>,
    /// Certificate authorities to trust for this table's source, PEM.
    pub ca_file: Option<PathBuf>,
    /// Time for one download with its whole body, milliseconds. Default 60,000.
    pub timeout_ms: u64,
    /// How clients authenticate that push the table; empty where none may.
    pub push: Vec<CallerConfig>,
}

/// The listener for pushed tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePush {
    /// Address and port; loopback only where there is no TLS. Port 0 picks a free one.
    pub address: SocketAddr,
    /// TLS. Without it, plain HTTP is spoken.
    pub tls: Option<TlsConfig>,
    /// Time for one request with its whole body, milliseconds. Default 60,000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

/// `[tables.NAME]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableAccessSource {
    origin: Option<String>,
    header: Option<String>,
    secret_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
    push: Option<CallerSources>,
}

/// Checks all tables; one that is wrong is left out, and every problem is added.
pub fn check_tables(
    sources: BTreeMap<String, TableAccessSource>,
    base: &Path,
    push: Option<&TablePush>,
    problems: &mut Problems,
) -> BTreeMap<String, TableAccess> {
    let mut checked = BTreeMap::new();
    for (name, source) in sources {
        let mut wrong = Vec::new();
        let access = source.check(base, push, &mut wrong);
        let is_right = wrong.is_empty();
        wrong.into_iter().for_each(|what| problems.add(format!("[tables.{name}]: {what}")));
        if is_right {
            checked.insert(name, access);
        }
    }
    if push.is_some() && checked.values().all(|access| access.push.is_empty()) {
        problems.add(
            "[table_push] has no use: no [tables.NAME] has `push`, so nobody could push a table"
                .to_owned(),
        );
    }
    checked
}

impl TableAccessSource {
    fn check(self, base: &Path, push: Option<&TablePush>, wrong: &mut Vec<String>) -> TableAccess {
        let header = self.header.as_ref().map(|name| {
            name.to_ascii_lowercase()
                .parse()
                .map_err(|_| format!("header `{name}` is not a header name"))
        });
        let header = match header.transpose() {
            Ok(header) => header,
            Err(why) => {
                wrong.push(why);
                None
            }
        };
        if self.header.is_some() && self.secret_file.is_none() {
            wrong.push("header can only be used with secret_file".to_owned());
        }
        if self.secret_file.is_some() && self.origin.is_none() {
            wrong.push(
                "secret_file needs origin, such as `origin = \"https://hr.example\"`: the secret \
                 is sent there only"
                    .to_owned(),
            );
        }
        let origin = self.origin.as_deref().and_then(|text| match checked_origin(text) {
            Ok(origin) => Some(origin),
            Err(why) => {
                wrong.push(format!("origin `{text}`: {why}"));
                None
            }
        });
        if let Err(why) = within("timeout_ms", self.timeout_ms, MIN_TIMEOUT_MS, MAX_TIMEOUT_MS) {
            wrong.push(why);
        }
        if self.push.is_some() && push.is_none() {
            wrong.push("push needs the listener [table_push]".to_owned());
        }
        let has_client_ca =
            push.and_then(|it| it.tls.as_ref()).is_some_and(|tls| tls.client_ca.is_some());
        let push = self.push.map(|callers| callers.check(None, base, wrong)).unwrap_or_default();
        if !has_client_ca && push.iter().any(|caller| caller.certificate.is_some()) {
            wrong.push(
                "push.certificate needs table_push.tls.client_ca, which verifies it".to_owned(),
            );
        }
        let credential = self.secret_file.map(|file| base.join(file));
        TableAccess {
            origin,
            credential: credential.map(|file| (header.unwrap_or(AUTHORIZATION), file)),
            ca_file: self.ca_file.map(|file| base.join(file)),
            timeout_ms: self.timeout_ms,
            push,
        }
    }
}

impl TablePush {
    /// Makes relative paths relative to the configuration's folder.
    pub fn resolve(&mut self, base: &Path) {
        if let Some(tls) = &mut self.tls {
            for path in [&mut tls.certificate, &mut tls.key].into_iter().chain(&mut tls.client_ca) {
                *path = base.join(&*path);
            }
        }
    }

    /// Adds every problem.
    pub fn check(&self, problems: &mut Problems) {
        if self.tls.is_none() && !self.address.ip().is_loopback() {
            problems.add(format!(
                "table_push.address {} can be reached by others without TLS, and tables name \
                 people: set [table_push.tls], or use a loopback address",
                self.address
            ));
        }
        problems.keep(within(
            "table_push.timeout_ms",
            self.timeout_ms,
            MIN_TIMEOUT_MS,
            MAX_TIMEOUT_MS,
        ));
    }
}

/// Reads an origin: scheme, host and port, and nothing behind it.
fn checked_origin(text: &str) -> Result<String, String> {
    let uri = parse_url(text).map_err(|error| error.to_string())?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("it has a path; write scheme, host and port only".to_owned());
    }
    origin(&uri).ok_or_else(|| "it has no host".to_owned())
}

/// Returns the origin of an address: scheme, host in lower case, and port (RFC 6454).
pub fn origin(uri: &Uri) -> Option<String> {
    let (scheme, host) = (uri.scheme_str()?, uri.host()?.to_ascii_lowercase());
    let default = if scheme == "https" { 443 } else { 80 };
    Some(format!("{scheme}://{host}:{}", uri.port_u16().unwrap_or(default)))
}

fn default_timeout_ms() -> u64 {
    60_000
}

/// Connections at once of the listener for pushed tables; each may have an open file. A further one
/// is closed.
pub const MAX_PUSHES: usize = 8;
/// Downloads of tables at once: each has a connection and an open file.
pub const MAX_DOWNLOADS: usize = 4;
/// The shortest time for one transfer, milliseconds.
const MIN_TIMEOUT_MS: u64 = 100;
/// The longest time for one transfer: half an hour, for some gigabytes over a slow line.
const MAX_TIMEOUT_MS: u64 = 1_800_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_spelling() {
        for (text, is) in [
            ("https://HR.example", "https://hr.example:443"),
            ("https://hr.example:443/", "https://hr.example:443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(checked_origin(text).as_deref(), Ok(is));
        }
        for wrong in
            ["hr.example", "https://hr.example/a", "https://hr.example?a", "http://h.example"]
        {
            assert!(checked_origin(wrong).is_err(), "{wrong}");
        }
    }
}

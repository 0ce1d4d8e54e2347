//! Whether the hook can be reached, and whether its certificate will hold.

use std::time::Duration;

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::super::connection::Connection;
use super::Target;
use super::findings::Findings;
use crate::clock::since_epoch;

/// Speaks of the connection and of what was shown while it was made.
pub fn look(target: &Target, connection: Result<&Connection, &String>, findings: &mut Findings) {
    let shown = target.place.certificates();
    match connection {
        Ok(connection) => {
            let tls = connection
                .tls
                .as_deref()
                .map(|version| format!(" over {version}"))
                .unwrap_or_default();
            findings.ok(
                "reach",
                format!(
                    "connected{tls} in {:.1} ms",
                    super::findings::millis(connection.connected)
                ),
            );
        }
        Err(why) if shown.is_empty() => {
            findings.error(
                "reach",
                why.clone(),
                "make sure that the host runs, and check name, port, firewall and proxy",
            );
        }
        Err(why) => {
            findings.error(
                "certificate",
                why.clone(),
                "the platform will refuse it too: renew it, or serve the whole chain under the right name",
            );
        }
    }
    if !target.place.is_https() {
        let loopback = matches!(target.place.host(), "localhost" | "127.0.0.1" | "[::1]");
        let hint = "platforms call HTTPS only; give the address that the platform has, with \
         `--url https://…`";
        let said = "plain HTTP".to_owned();
        return if loopback {
            findings.warn("certificate", said, hint)
        } else {
            findings.error("certificate", said, hint)
        };
    }
    let Some(own) = shown.first() else { return };
    let Ok((_, own)) = X509Certificate::from_der(own) else {
        return findings.error(
            "certificate",
            "the certificate cannot be read".to_owned(),
            "replace it",
        );
    };
    let now = since_epoch().unwrap_or_default();
    let ends = Duration::from_secs(
        u64::try_from(own.validity().not_after.timestamp()).unwrap_or_default(),
    );
    let days = ends.saturating_sub(now).as_secs() / DAY;
    let said = format!(
        "for {}, valid for {days} more days, chain of {}",
        names(&own).join(", "),
        shown.len()
    );
    if connection.is_err() {
        // What is wrong was said; here is what was shown.
        findings.skip("certificate", &said);
    } else if days < SOON {
        findings.warn(
            "certificate",
            said,
            "renew it; once it has expired every call of the platform fails",
        );
    } else {
        findings.ok("certificate", said);
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.into_iter().flat_map(|it| &it.value.general_names).filter_map(
        |name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => Some(ip(bytes)),
            _ => None,
        },
    );
    let names: Vec<_> = names.take(MAX_NAMES).collect();
    if names.is_empty() { vec!["no names".to_owned()] } else { names }
}

fn ip(bytes: &[u8]) -> String {
    let four = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let sixteen = <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
    four.or(sixteen).map_or_else(|_| "an address".to_owned(), |address| address.to_string())
}

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Days before its end at which a certificate is spoken of.
const SOON: u64 = 21;
/// Names that are shown.
const MAX_NAMES: usize = 8;

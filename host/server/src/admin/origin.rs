//! By which name the admin listener is asked, and from which web page.
//!
//! Invariant: pure. A request is answered where it names this listener by an address, by
//! `localhost` or by a name that the operator configured. A page in a browser that reaches the
//! listener by a name of its own (DNS rebinding) is refused by that name; a page that reaches it by
//! an address is refused by its `Origin`.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{HOST, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, StatusCode, Uri};

/// The status that refuses a request, and why. `None` where it is to be answered.
pub fn refusal(
    uri: &Uri,
    headers: &HeaderMap,
    hosts: &[String],
) -> Option<(StatusCode, &'static str)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // A target in absolute form overrides `Host` (RFC 9112 section 3.2.2).
    let host = match uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => match text(HOST) {
            Some(host) => match host.parse::<Authority>() {
                Ok(authority) => Some(authority),
                Err(_) => return Some((StatusCode::MISDIRECTED_REQUEST, MISDIRECTED)),
            },
            // HTTP/1.0 has none, and no browser speaks that.
            None => None,
        },
    };
    if host.is_some_and(|host| !is_ours(host.host(), hosts)) {
        return Some((StatusCode::MISDIRECTED_REQUEST, MISDIRECTED));
    }
    if headers.contains_key(ORIGIN) {
        let origin = text(ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
        let ours = origin.is_some_and(|it| it.host().is_some_and(|host| is_ours(host, hosts)));
        return (!ours).then_some((StatusCode::FORBIDDEN, FORBIDDEN));
    }
    None
}

fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.is_some_and(|bare| bare.parse::<Ipv6Addr>().is_ok())
        || host.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

const MISDIRECTED: &str =
    "this listener does not have that name: use its address, or add the name to admin.hosts\n";
const FORBIDDEN: &str = "this listener does not answer web pages of other origins\n";

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn rejection(target: &str, fields: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::get(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let hosts = ["metrics.hospital.example".to_owned()];
        refusal(&head.uri, &head.headers, &hosts).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_answered() {
        for host in [
            "127.0.0.1:8601",
            "10.1.2.3",
            "[::1]:8601",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST:8601",
            "localhost.",
            "metrics.hospital.example:8601",
            "Metrics.Hospital.Example.",
        ] {
            assert_eq!(rejection("/status", &[("host", host)]), None, "{host}");
        }
        assert_eq!(rejection("/status", &[]), None);
        for host in [
            "evil.example",
            "evil.example:8601",
            "127.0.0.1.evil.example",
            "2130706433",
            "0x7f.1",
            "localhost.evil.example",
            "metrics.hospital.example.evil.example",
            "::1",
            "[evil]",
            "a b",
            "",
        ] {
            assert_eq!(rejection("/status", &[("host", host)]), Some(421), "{host}");
        }
        let absolute = rejection("http://evil.example/status", &[("host", "127.0.0.1")]);
        assert_eq!(absolute, Some(421), "the target counts, not the field");
    }

    #[test]
    fn pages_of_other_origins_are_not_answered() {
        let from =
            |origin: &str| rejection("/status", &[("host", "127.0.0.1"), ("origin", origin)]);
        for own in ["http://127.0.0.1:8601", "http://localhost", "http://metrics.hospital.example"]
        {
            assert_eq!(from(own), None, "{own}");
        }
        for other in
            ["http://evil.example", "null", "", "https://127.0.0.1.evil.example", "file://"]
        {
            assert_eq!(from(other), Some(403), "{other}");
        }
    }
}

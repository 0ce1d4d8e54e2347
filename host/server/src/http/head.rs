//! Faults of a request's head, whatever it asks for.
//!
//! Invariant: pure. A head that passes has one meaning: one host, one framing, and a size and a
//! number of fields that are bounded alike over HTTP/1.1 and HTTP/2.

use crate::net::oversized_block::MAX_FIELDS;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, StatusCode, Version, header};
use portcullis_model::Cause;

use super::head_scanner::HeadReport;

/// The fault of a head. `None` where there is none.
///
/// Sources: RFC 9112 sections 3.2 (`Host`) and 6.3 (framing), RFC 9113 section 8.3.1.
pub fn defect(version: Version, headers: &HeaderMap, report: Option<&HeadReport>) -> Option<Cause> {
    if headers.len() > MAX_FIELDS || size(headers) > MAX_HEAD {
        return Some(Cause::HeadTooLarge);
    }
    if report.is_some_and(|report| report.two_framings) {
        return Some(Cause::BadRequest);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let valid = match (host, second) {
        (_, Some(_)) => false,
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        // Only HTTP/1.1 needs one: HTTP/2 has `:authority` for it.
        (None, None) => version != Version::HTTP_11,
    };
    (!valid).then_some(Cause::BadRequest)
}

/// The plain status of a request that is wrong as HTTP.
pub fn status(cause: Cause) -> StatusCode {
    match cause {
        Cause::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Cause::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        Cause::WrongPath => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Whether text is a `Host`: `uri-host [ ":" port ]`. An empty one is valid (RFC 9110 section 7.2).
fn is_host(text: &str) -> bool {
    text.is_empty()
        || (!text.contains('@') && text.parse::<Authority>().is_ok_and(|it| !it.host().is_empty()))
}

/// Bytes of all fields, as HTTP/1.1 would send them.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

/// Bytes of one request's head.
pub const MAX_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn with_hosts(version: Version, hosts: &[&[u8]], report: Option<&HeadReport>) -> Option<Cause> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host).unwrap());
        }
        defect(version, &headers, report)
    }

    #[test]
    fn one_valid_host_and_no_other() {
        for good in [&b"a"[..], b"a.example:8443", b"127.0.0.1:80", b"[::1]:80", b"", b"xn--a.b"] {
            assert_eq!(with_hosts(Version::HTTP_11, &[good], None), None, "{good:?}");
        }
        for bad in [&b"a b"[..], b"a@b", b"a/b", b"http://a", b"\xff", b"[::1", b":80", b"a?b"] {
            let fault = with_hosts(Version::HTTP_11, &[bad], None);
            assert_eq!(fault, Some(Cause::BadRequest), "{bad:?}");
        }
        let bad = Some(Cause::BadRequest);
        assert_eq!(with_hosts(Version::HTTP_11, &[], None), bad);
        assert_eq!(with_hosts(Version::HTTP_11, &[b"a", b"a"], None), bad);
        assert_eq!(with_hosts(Version::HTTP_2, &[b"a", b"b"], None), bad);
        assert_eq!(with_hosts(Version::HTTP_10, &[], None), None);
        assert_eq!(with_hosts(Version::HTTP_2, &[], None), None);
        let report = HeadReport { line: Vec::new(), two_framings: true };
        assert_eq!(with_hosts(Version::HTTP_11, &[b"a"], Some(&report)), bad);
    }

    #[test]
    fn heads_have_a_size_and_a_number_of_fields() {
        let with = |count: usize, length: usize| {
            let mut headers = HeaderMap::new();
            for _ in 0..count {
                headers.append("x", "a".repeat(length).parse().unwrap());
            }
            defect(Version::HTTP_2, &headers, None)
        };
        assert_eq!(with(MAX_FIELDS, 1), None);
        assert_eq!(with(MAX_FIELDS + 1, 1), Some(Cause::HeadTooLarge));
        assert_eq!(with(1, MAX_HEAD - 5), None);
        assert_eq!(with(1, MAX_HEAD - 4), Some(Cause::HeadTooLarge));
    }
}

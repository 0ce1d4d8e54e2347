//! The body of a request, read whole within bounds, and a request as hook kinds see it.
//!
//! Invariant: nothing here holds more than the caller of a function allows, or waits longer.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming as Body;
use hyper::http::request::Parts;
use portcullis_hooks::Request;
use portcullis_model::Cause;
use tokio::time::timeout_at;

/// Reads a body whole, of at most `most` bytes, until then.
///
/// # Errors
/// [`Cause::BodyTooLarge`] and [`Cause::BodyIncomplete`].
pub async fn read_whole(body: &mut Body, until: Instant, most: usize) -> Result<Bytes, Cause> {
    let mut whole = Bytes::new();
    while let Some(frame) =
        timeout_at(until.into(), body.frame()).await.map_err(|_| Cause::BodyIncomplete)?
    {
        let Ok(part) = frame.map_err(|_| Cause::BodyIncomplete)?.into_data() else { continue };
        if whole.len() + part.len() > most {
            return Err(Cause::BodyTooLarge);
        }
        // Most bodies come in one part and are not copied.
        whole = if whole.is_empty() { part } else { [whole, part].concat().into() };
    }
    Ok(whole)
}

/// A request as hook kinds see it.
pub fn with_request<T>(
    head: &Parts,
    route: &'static str,
    searches: bool,
    body: &[u8],
    what: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let header = |name: &str| {
        let mut values = head.headers.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        value.to_str().ok()
    };
    // `HEAD` is answered as `GET` is (RFC 9110 section 9.3.2).
    let get = head.method == Method::GET || head.method == Method::HEAD;
    what(&Request { get, route, header: &header, searches, body })
}

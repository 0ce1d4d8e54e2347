//! Answers over HTTP/1.1 that the HTTP library would not write, and the end of such a connection.
//!
//! Invariant: the library has given the connection up; nothing but one answer with `connection:
//! close` is written, within [`WRITE_TIMEOUT`]. Bytes that the peer still sends are read and thrown
//! away within bounds, since a socket that is closed with unread bytes takes back what was written
//! (RFC 9112 section 9.6). Nothing but a small buffer is held meanwhile.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use portcullis_model::Millis;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::date::http_date;
use super::http1_watch::Http1Watch;

/// The method and the path of a request line, as far as it has them (RFC 9112 section 3).
pub fn method_and_path(line: &[u8]) -> Option<(String, String)> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let (method, target) = (words.next()?, words.next()?);
    // A target in absolute form begins with a scheme and an authority.
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => target,
    };
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let path = target.get(..end).unwrap_or_default();
    match path {
        "" | "*" => None,
        _ if method == "CONNECT" => None,
        path if path.starts_with(['/', '\\']) => Some((method.to_owned(), path.to_owned())),
        // No target at all, but it is clear which path is meant.
        path => Some((method.to_owned(), format!("/{path}"))),
    }
}

/// Reads a request until its request line is there, for a connection that the HTTP library cannot
/// serve. Returns what was read.
pub async fn read_request_line<S: AsyncRead + Unpin>(
    socket: &mut S,
    watch: &Http1Watch,
    limit: Duration,
) -> Vec<u8> {
    let mut all = Vec::new();
    let read = async {
        let mut buffer = [0; LINGER_BUFFER];
        while !watch.has_request_line() && all.len() < MAX_REQUEST_LINE {
            let count = socket.read(&mut buffer).await?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            watch.read(bytes);
            all.extend_from_slice(bytes);
        }
        Ok::<_, std::io::Error>(())
    };
    // The bytes that have come by then are answered.
    drop(timeout(limit, Box::pin(read)).await);
    all
}

/// Writes an answer as HTTP/1.1.
pub async fn write<S: AsyncWrite + Unpin>(socket: &mut S, answer: &Response<Bytes>, now: Millis) {
    let bytes = encode(answer, now);
    let written = async {
        socket.write_all(&bytes).await?;
        socket.flush().await
    };
    if !matches!(timeout(WRITE_TIMEOUT, written).await, Ok(Ok(()))) {
        tracing::debug!(
            event = "http.answer-not-written",
            "an answer to a request that is not valid HTTP could not be written"
        );
    }
}

/// Ends a connection whose peer may still be sending.
pub async fn linger<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S) {
    let end = async {
        socket.shutdown().await?;
        let mut buffer = [0; LINGER_BUFFER];
        let mut seen = 0;
        while seen < MAX_LINGER_BYTES {
            match socket.read(&mut buffer).await? {
                0 => break,
                count => seen += count,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // An error is the peer's end of the connection.
    drop(timeout(LINGER_TIMEOUT, Box::pin(end)).await);
}

fn encode(answer: &Response<Bytes>, now: Millis) -> Vec<u8> {
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str());
    for (name, value) in answer.headers() {
        if let Ok(value) = value.to_str() {
            // Writing to a string cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    let length = answer.body().len();
    let _ = write!(head, "content-length: {length}\r\nconnection: close\r\n");
    if let Some(now) = http_date(now) {
        let _ = write!(head, "date: {now}\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(answer.body());
    bytes
}

/// A response that has a status alone.
pub fn plain(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// How long writing an answer may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may go on sending what nobody wants.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of it is read.
const MAX_LINGER_BYTES: usize = 4 << 20;
/// Bytes in which a request line is waited for.
const MAX_REQUEST_LINE: usize = 64 << 10;
/// How much of it is held.
const LINGER_BUFFER: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{CONTENT_TYPE, HeaderValue};

    #[test]
    fn request_lines_are_read_as_far_as_they_go() {
        let read = |line: &str| method_and_path(line.as_bytes());
        let token = |method: &str| Some((method.to_owned(), "/okta/token".to_owned()));
        assert_eq!(read("POST /okta/token HTTP/1.1"), token("POST"));
        assert_eq!(read("GET /okta/token"), token("GET"));
        assert_eq!(read("POST  /okta/token?a=b#c HTTP/9"), token("POST"));
        assert_eq!(read("POST https://a.example/okta/token HTTP/1.1"), token("POST"));
        assert_eq!(read("POST http://a.example HTTP/1.1"), Some(("POST".into(), "/".into())));
        assert_eq!(read("POST /a://b HTTP/1.1"), Some(("POST".into(), "/a://b".into())));
        assert_eq!(read("POST okta/token HTTP/1.1"), token("POST"));
        for none in ["", "POST", "OPTIONS * HTTP/1.1", "CONNECT a:443 HTTP/1.1", "\u{16}\u{3}\u{1}"]
        {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_one_http_message() {
        let mut answer = plain(StatusCode::OK);
        *answer.body_mut() = Bytes::from_static(b"{}");
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut written = Vec::new();
        write(&mut written, &answer, Millis(784_111_777_000)).await;
        let text = String::from_utf8(written).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"),
            "{text}"
        );
        assert!(
            text.contains("\r\ncontent-length: 2\r\nconnection: close\r\ndate: Sun, 06 Nov 1994 "),
            "{text}"
        );
        assert!(text.ends_with(" GMT\r\n\r\n{}"), "{text}");
    }

    #[tokio::test]
    async fn a_peer_that_goes_on_sending_is_given_up() {
        let (mut ours, mut theirs) = tokio::io::duplex(16 << 10);
        let flood =
            tokio::spawn(async move { while theirs.write_all(&[0; 8_192]).await.is_ok() {} });
        linger(&mut ours).await;
        drop(ours);
        flood.await.unwrap();
    }
}

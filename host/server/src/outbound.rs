//! Calls that the host makes itself. Until the whole client is here: plain HTTP to this machine.

use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

/// The client.
#[derive(Default)]
pub struct Outbound;

/// Why a call brought no answer. Never holds what was sent.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// The address is not one that may be called.
    #[error("{0}")]
    Address(&'static str),
    /// The time was over.
    #[error("no answer in time")]
    Late,
    /// The network or HTTP.
    #[error("{0}")]
    Failed(String),
}

impl Outbound {
    /// Sends a request to an absolute address and reads the answer.
    pub async fn send(&self, request: Request<Bytes>, until: Instant) -> Result<Response<Bytes>, OutboundError> {
        timeout_at(until.into(), exchange(request)).await.map_err(|_| OutboundError::Late)?
    }
}

/// Reads an address that may be called.
pub fn address(text: &str) -> Result<Uri, OutboundError> {
    let uri: Uri = text.parse().map_err(|_| OutboundError::Address("it is not an absolute URL"))?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if uri.scheme_str() != Some("http") || !host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) {
        return Err(OutboundError::Address("it is not http to a loopback address"));
    }
    Ok(uri)
}

async fn exchange(mut request: Request<Bytes>) -> Result<Response<Bytes>, OutboundError> {
    let failed = |error: &dyn std::error::Error| OutboundError::Failed(error.to_string());
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let socket = TcpStream::connect(&authority).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|error| failed(&error))?;
    let driver = tokio::spawn(connection);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse();
    *request.uri_mut() = path.map_err(|_| OutboundError::Address("it is no path"))?;
    if let Ok(host) = authority.parse() {
        request.headers_mut().insert(hyper::header::HOST, host);
    }
    let answer = sender.send_request(request.map(Full::new)).await.map_err(|error| failed(&error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, 1 << 20).collect().await.map_err(|error| failed(&*error))?;
    driver.abort();
    Ok(Response::from_parts(head, body.to_bytes()))
}

//! Calls that the host makes itself: issuers' keys, messages to be delivered, workflows to be resumed.
//!
//! Invariants: HTTPS only, plain HTTP to this machine alone; no redirect is followed; every call ends by its deadline; an answer is read
//! to a limit. Runs on a thread of its own, so that whoever waits may sit on any runtime, and whoever stops waiting ends the call.
//! Does not retry: whether a call may be made twice only its caller knows.

pub(crate) mod tls_roots;
pub mod tokens;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use crate::error::StartError;

/// The settings of `[outbound]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// Certificate authorities to trust instead of the machine's own, PEM.
    pub ca_file: Option<std::path::PathBuf>,
    /// The folder of fetched keys for the next start. Default: `cache`.
    pub cache: Option<std::path::PathBuf>,
}

/// The client.
pub struct Outbound {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// There until it is dropped.
    runtime: Option<Runtime>,
    trusts_nobody: bool,
    plain_http_anywhere: bool,
    /// Calls that may be made at once.
    permits: Arc<Semaphore>,
}

/// Why a call brought no answer. Never holds what was sent.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// The address is not one that may be called.
    #[error("{0}")]
    Address(&'static str),
    /// No certificate authority is known.
    #[error("this machine has no certificate authorities to trust: set outbound.ca_file")]
    NoAuthorities,
    /// The time was over.
    #[error("the server did not answer in time")]
    Late,
    /// The answer is longer than it may be.
    #[error("the answer is too long")]
    TooLong,
    /// The network, TLS or HTTP.
    #[error("{0}")]
    Failed(String),
}

impl Outbound {
    /// Readies the client; calls nobody.
    pub fn new(config: &OutboundConfig) -> Result<Self, StartError> {
        let (tls, trusts_nobody) = tls_roots::client(config)?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = connector.https_or_http().enable_all_versions().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .build(connector);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("outbound")
            .enable_all()
            .build();
        let runtime = Some(runtime.map_err(StartError::Thread)?);
        Ok(Self {
            client,
            runtime,
            trusts_nobody,
            plain_http_anywhere: false,
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
        })
    }

    /// Lets it speak plain HTTP to other machines too: only where nothing secret goes along and what comes is verified.
    #[must_use]
    pub fn plain_http_anywhere(mut self) -> Self {
        self.plain_http_anywhere = true;
        self
    }

    /// Lets it make so many calls at once; a further one waits, as long as its time lets it.
    #[must_use]
    pub fn with_max_calls(mut self, calls: usize) -> Self {
        self.permits = Arc::new(Semaphore::new(calls));
        self
    }

    /// Sends a request to an absolute address and reads the answer, up to [`MAX_RESPONSE_BYTES`]
    /// bytes, whatever its status.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        until: Instant,
    ) -> Result<Response<Bytes>, OutboundError> {
        self.admit(request.uri())?;
        let client = self.client.clone();
        self.until(until, async move { exchange(&client, request).await }).await
    }

    /// Sends a request and gives the answer once its head is there, whatever its status. To read, bound and time its body is for whoever
    /// asked.
    pub async fn send_streaming(
        &self,
        request: Request<Bytes>,
        until: Instant,
    ) -> Result<Response<Incoming>, OutboundError> {
        self.admit(request.uri())?;
        let client = self.client.clone();
        let call = async move {
            client.request(request.map(Full::new)).await.map_err(|error| failed(&error))
        };
        self.until(until, call).await
    }

    /// Whether this may be called by this client.
    fn admit(&self, uri: &Uri) -> Result<(), OutboundError> {
        if !(self.plain_http_anywhere && uri.scheme_str() == Some("http")) {
            check(uri)?;
        }
        if self.trusts_nobody && uri.scheme_str() == Some("https") {
            return Err(OutboundError::NoAuthorities);
        }
        Ok(())
    }

    /// Runs a call on the client's own thread, as long as somebody waits for it and no longer than until then.
    async fn until<T, F>(&self, until: Instant, call: F) -> Result<T, OutboundError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, OutboundError>> + Send + 'static,
    {
        let places = Arc::clone(&self.permits);
        let call = async move {
            let _place = places.acquire_owned().await;
            call.await
        };
        let call = self.spawn(async move { timeout_at(until.into(), call).await });
        let Some(call) = call else { return Err(OutboundError::Late) };
        let mut call = AbortOnDrop(call);
        match (&mut call.0).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(OutboundError::Late),
            Err(_) => Err(OutboundError::Failed("the call was cancelled".to_owned())),
        }
    }

    /// Whether an address may be called at all, as far as can be told without calling it.
    pub fn may_call(&self, place: &str) -> Result<(), OutboundError> {
        let uri = parse_url(place)?;
        if self.trusts_nobody && uri.scheme_str() == Some("https") {
            return Err(OutboundError::NoAuthorities);
        }
        Ok(())
    }

    /// Runs something on the client's own thread, whether or not anybody waits for it. Nothing once the host ends.
    pub fn spawn<F>(&self, work: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.as_ref().map(|runtime| runtime.spawn(work))
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        // Also where this is dropped on a runtime's thread, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A call that ends when nobody waits for it any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads an address that may be called.
pub fn parse_url(text: &str) -> Result<Uri, OutboundError> {
    let uri = text.parse().map_err(|_| OutboundError::Address("it is not an absolute URL"))?;
    check(&uri).map(|()| uri)
}

fn check(uri: &Uri) -> Result<(), OutboundError> {
    let authority = uri.authority().ok_or(OutboundError::Address("it is not an absolute URL"))?;
    if authority.as_str().contains('@') {
        return Err(OutboundError::Address("it has a user or password in it"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(authority.host()) => Ok(()),
        Some("http") => Err(OutboundError::Address(
            "it is not https; plain http may call a loopback address only",
        )),
        _ => Err(OutboundError::Address("it is not https")),
    }
}

/// Names are not resolved to find out: a name's address is whatever the network says.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

async fn exchange(
    client: &Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, OutboundError> {
    let answer = client.request(request.map(Full::new)).await.map_err(|error| failed(&error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { OutboundError::TooLong } else { failed(&*error) }
    })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// Describes an error with its causes, because its own text alone is too general.
pub(crate) fn failed(error: &(dyn std::error::Error + 'static)) -> OutboundError {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = error.to_string();
        cause = error.source();
    }
    OutboundError::Failed(said)
}

/// Calls at once where no fewer are set: more than any host has reason to make.
const MAX_CALLS: usize = 256;
/// The longest answer that is read: 1 MiB.
pub const MAX_RESPONSE_BYTES: usize = 1 << 20;
/// How long connecting may take; a name may have several addresses.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(50);
/// How many of these are kept for one host.
const IDLE_CONNECTIONS: usize = 8;
/// The longest head of an answer over HTTP/2: 64 KiB. HTTP/1.1 has hyper's own limit of about 400 KiB.
const MAX_HEADER_BYTES: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_leaves_this_machine() {
        for good in [
            "https://login.example/keys",
            "http://127.0.0.1:8080/x",
            "http://[::1]/x",
            "https://h:8443/",
        ] {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://login.example/keys",
            "http://localhost/",
            "http://127.0.0.1.example/",
            "http://user@127.0.0.1/",
            "https://user:secret@login.example/",
            "ftp://127.0.0.1/",
            "/keys",
            "keys",
            "https:///keys",
            "",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}

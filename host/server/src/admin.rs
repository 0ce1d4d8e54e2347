//! The admin listener: whether the host lives, whether it is ready and if not why, metrics, and how it stands.
//!
//! Invariants: a thread and a runtime of its own, so that it answers when every serving thread is busy; reads only; connections, head
//! and time are bounded and no body is read; no secret, no name of a person and nothing out of a body is in any answer. It asks nobody
//! who they are, so it listens on this machine alone unless the operator says otherwise. A connection has one request, and none keeps
//! another from its answer ([`slots`]); web pages of other origins are not answered ([`origin`]).

pub mod origin;
mod prometheus;
mod readiness;
mod slots;
mod starting;
mod status;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use portcullis_model::escape::escape_lines;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::clock::{elapsed_since, monotonic_now};
use crate::error::StartError;
use crate::http::connection::{Connection, PendingResponses};
use crate::http::head_scanner::HeadReport;
use crate::http::http1_watch::FinalBytes;
use crate::http::{by_hand, date, head, http1_watch};
use crate::state::frontend::Frontend;
use crate::state::host::Host;
use crate::worker::{StopToken, Worker};

use readiness::Readiness;
use slots::{AdminSlot, AdminSlots, Phase};

/// The listener in operation.
pub struct Admin {
    address: SocketAddr,
    worker: Worker,
}

/// The sources of its answers, once the host is complete.
struct AdminContext {
    host: Arc<Host>,
    begin: Instant,
    /// When it came up: milliseconds since 1970.
    started_at: portcullis_model::Millis,
    log: Mutex<readiness::LogProgress>,
}

/// The sources of its answers at any time.
struct AdminServer {
    frontend: Arc<Frontend>,
    begin: Instant,
    started_at: portcullis_model::Millis,
    context: OnceLock<AdminContext>,
}

impl AdminServer {
    /// The desk, once the host is complete.
    fn context(&self) -> Option<&AdminContext> {
        let host = self.frontend.host()?;
        let (begin, started_at) = (self.begin, self.started_at);
        let context =
            || AdminContext { host: Arc::clone(host), begin, started_at, log: Mutex::default() };
        Some(self.context.get_or_init(context))
    }
}

impl Admin {
    /// Starts answering on a bound socket.
    pub fn start(
        frontend: &Arc<Frontend>,
        socket: std::net::TcpListener,
    ) -> Result<Self, StartError> {
        let address = socket.local_addr().map_err(StartError::Thread)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(socket)
                .map_err(|cause| StartError::BindAdmin { address, cause })?
        };
        let server = Arc::new(AdminServer {
            frontend: Arc::clone(frontend),
            begin: monotonic_now(),
            started_at: frontend.clock.now(),
            context: OnceLock::new(),
        });
        let worker = Worker::spawn("admin", move |stop| {
            runtime.block_on(LocalSet::new().run_until(accept(listener, server, stop)));
        });
        Ok(Self { address, worker: worker? })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; answers under way are cut off.
    pub fn stop(self) {
        self.worker.stop();
    }
}

async fn accept(listener: TcpListener, server: Arc<AdminServer>, mut stop: StopToken) {
    let places = AdminSlots::default();
    let mut look = tokio::time::interval(CHECK_LOG_EVERY);
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            // Whether the log makes headway is seen by looking more than once.
            _ = look.tick() => server.context().into_iter().for_each(readiness::observe_log),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (server, place) = (Arc::clone(&server), Rc::new(places.acquire()));
                    tokio::task::spawn_local(async move {
                        tokio::select! {
                            // Its answer first, where both are ready.
                            biased;
                            () = serve(stream, &server, &place) => {}
                            () = place.ended() => {}
                            () = tokio::time::sleep(MAX_TIME) => {}
                        }
                    });
                    // What has sent its request is answered before anything else comes.
                    tokio::task::yield_now().await;
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn serve(stream: TcpStream, server: &Arc<AdminServer>, place: &Rc<AdminSlot>) {
    let watch = http1_watch::Shared::default();
    let connection = Connection::http1(stream, PendingResponses::default(), Rc::clone(&watch), &[]);
    let service = {
        let (server, place, watch) = (Arc::clone(server), Rc::clone(place), Rc::clone(&watch));
        service_fn(move |request: Request<Incoming>| {
            let has_body = !request.body().is_end_stream();
            let report = watch.begin();
            let answer = answer(&server, &place, report.as_ref(), &request);
            watch.answered(has_body);
            std::future::ready(Ok::<_, Infallible>(answer))
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client may end its side once its request is whole (RFC 9293 section 3.6).
        .half_close(true)
        .keep_alive(false)
        .header_read_timeout(MAX_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(READ_BUFFER)
        .serve_connection(connection, service);
    let ended = poll_fn(|context| {
        if !date::clock_has_date() {
            return Poll::Ready(None);
        }
        connection.poll_without_shutdown(context).map(Some)
    });
    // What goes wrong here is the asker's to see.
    let has_date = ended.await.is_some();
    let mut socket = connection.into_parts().io.into_socket();
    if !has_date {
        date::give_up_without_date(&watch);
        drop(by_hand::read_request_line(&mut socket, &watch, MAX_TIME).await);
    }
    let farewell = match watch.final_bytes() {
        FinalBytes::Nothing => None,
        FinalBytes::Answer(answer) => Some(answer),
        FinalBytes::Rejected(StatusCode::INTERNAL_SERVER_ERROR, line) => Some(probe(server, &line)),
        FinalBytes::Rejected(status, _) => Some(by_hand::plain(status)),
    };
    if let Some(answer) = &farewell {
        by_hand::write(&mut socket, answer, server.frontend.clock.now()).await;
    }
    if farewell.is_some() || watch.may_be_sending() {
        by_hand::linger(&mut socket).await;
    }
}

/// The answer to a probe where the HTTP library cannot give one.
fn probe(server: &AdminServer, line: &[u8]) -> Response<Bytes> {
    match by_hand::method_and_path(line) {
        Some((method, path))
            if method == "GET" && matches!(path.as_str(), "/health" | "/ready") =>
        {
            page(server, &path)
        }
        _ => by_hand::plain(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn answer(
    server: &AdminServer,
    place: &AdminSlot,
    report: Option<&HeadReport>,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    if let Some(cause) = head::defect(request.version(), request.headers(), report) {
        return plain(head::status(cause), "the request is not valid HTTP (RFC 9112)\n");
    }
    let active_config = server.frontend.active_config();
    if let Some((status, why)) =
        origin::refusal(request.uri(), request.headers(), &active_config.config.admin.hosts)
    {
        return plain(status, why);
    }
    let path = request.uri().path();
    let (phase, known) = match path {
        "/health" | "/ready" => (Phase::Probe, true),
        path => (Phase::Page, matches!(path, "/metrics" | "/status")),
    };
    place.set(phase);
    if !known {
        return plain(
            StatusCode::NOT_FOUND,
            "the paths are /health, /ready, /metrics and /status\n",
        );
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response =
            plain(StatusCode::METHOD_NOT_ALLOWED, "this listener answers GET only\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if !request.body().is_end_stream() {
        return plain(StatusCode::BAD_REQUEST, "this listener accepts no request bodies\n");
    }
    page(server, path).map(Full::new)
}

fn page(server: &AdminServer, path: &str) -> Response<Bytes> {
    let (frontend, context) = (&server.frontend, server.context());
    match path {
        "/health" => reply(StatusCode::OK, JSON, "{\"status\":\"alive\"}\n".to_owned()),
        "/ready" => {
            let readiness = context.map_or_else(|| starting::readiness(frontend), Readiness::of);
            let status =
                if readiness.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            reply(status, JSON, format!("{}\n", readiness.json()))
        }
        "/metrics" => {
            let page = context.map_or_else(|| prometheus::early(frontend), prometheus::write);
            reply(StatusCode::OK, PROMETHEUS, page)
        }
        _ => {
            let status = context.map_or_else(
                || starting::status(frontend, elapsed_since(server.begin)),
                status::json,
            );
            reply(StatusCode::OK, JSON, format!("{status}\n"))
        }
    }
}

fn reply(status: StatusCode, content: &'static str, body: String) -> Response<Bytes> {
    // The pages are read on terminals too. An escape of JSON is the same JSON.
    let body = escape_lines(&body).into_owned();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A web page may neither embed an answer nor have it taken for something else.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("same-origin"));
    response
}

/// An answer to a request that is none: the connection ends with it, so that nothing more of it is read.
fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = reply(status, "text/plain; charset=utf-8", text.to_owned());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response.map(Full::new)
}

const JSON: &str = "application/json";
/// Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Time that a connection has, for its request and its answer.
const MAX_TIME: Duration = Duration::from_secs(10);
/// Headers of one request.
const MAX_HEADERS: usize = 64;
/// Bytes of a head.
const READ_BUFFER: usize = 16 << 10;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the log's headway is looked at.
const CHECK_LOG_EVERY: Duration = Duration::from_millis(250);

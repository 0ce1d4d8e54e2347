//! The admin listener: whether the host lives, whether it is ready and if not why, metrics, and how it stands.
//!
//! Invariants: a thread and a runtime of its own, so that it answers when every serving thread is busy; reads only; connections, head
//! and time are bounded and no body is read; no secret, no name of a person and nothing out of a body is in any answer. It asks nobody
//! who they are, so it listens on this machine alone unless the operator says otherwise.

mod page;
mod ready;
mod status;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;

use crate::error::StartError;
use crate::host::Host;

use ready::Readiness;

/// The listener in operation.
pub struct Admin {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// What its answers are made of.
struct Desk {
    host: Arc<Host>,
    begin: Instant,
    /// When it came up: milliseconds since 1970.
    came_up: portcullis_model::Millis,
    log: Mutex<ready::LogWatch>,
}

impl Admin {
    /// Binds the port and starts answering.
    pub fn start(host: &Arc<Host>, wanted: SocketAddr) -> Result<Self, StartError> {
        let bind = |cause| StartError::BindAdmin { address: wanted, cause };
        let socket = std::net::TcpListener::bind(wanted).map_err(bind)?;
        socket.set_nonblocking(true).map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        let (stop, stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let desk = Arc::new(Desk {
            host: Arc::clone(host),
            begin: Instant::now(),
            came_up: host.clock.now(),
            log: Mutex::default(),
        });
        let work =
            move || runtime.block_on(LocalSet::new().run_until(accept(socket, desk, stopping)));
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(work)
            .map_err(StartError::Thread)?;
        Ok(Self { address, stop, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; answers under way are cut off.
    pub fn stop(self) {
        self.stop.send_replace(true);
        // A thread that panicked has nothing left to wait for.
        drop(self.thread.join());
    }
}

async fn accept(
    socket: std::net::TcpListener,
    desk: Arc<Desk>,
    mut stopping: watch::Receiver<bool>,
) {
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut look = tokio::time::interval(LOOK);
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            let (stream, _) = listener.accept().await.ok()?;
            Some((stream, permit))
        };
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            // Whether the log makes headway is seen by looking more than once.
            _ = look.tick() => ready::look(&desk),
            accepted = next => match accepted {
                Some((stream, permit)) => {
                    let desk = Arc::clone(&desk);
                    tokio::task::spawn_local(async move {
                        // Whoever stays longer is let go: a scraper comes back.
                        drop(tokio::time::timeout(LONGEST, serve(stream, desk)).await);
                        drop(permit);
                    });
                }
                None => tokio::time::sleep(PAUSE).await,
            },
        }
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let answer = |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(answer(&desk, &request)) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MOST_HEADERS)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // What goes wrong here is the asker's to see.
    drop(pin!(connection).await);
}

fn answer(desk: &Desk, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if !request.body().is_end_stream() {
        return plain(StatusCode::BAD_REQUEST, "no body is read here\n");
    }
    match request.uri().path() {
        "/health" => reply(StatusCode::OK, JSON, "{\"status\":\"alive\"}\n".to_owned()),
        "/ready" => {
            let readiness = Readiness::of(desk);
            let status =
                if readiness.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            reply(status, JSON, format!("{}\n", readiness.json()))
        }
        "/metrics" => reply(StatusCode::OK, PROMETHEUS, page::write(desk)),
        "/status" => reply(StatusCode::OK, JSON, format!("{}\n", status::json(desk))),
        _ => plain(StatusCode::NOT_FOUND, "there are /health, /ready, /metrics and /status\n"),
    }
}

fn reply(status: StatusCode, content: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer to a request that is none: the connection ends with it, so that nothing more of it is read.
fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = reply(status, "text/plain; charset=utf-8", text.to_owned());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

const JSON: &str = "application/json";
/// Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections at once; a further one waits in the kernel's queue.
const CONNECTIONS: usize = 16;
/// Time for a request's head, and for which a connection may be idle.
const HEAD: Duration = Duration::from_secs(10);
/// Time for which a connection may stand.
const LONGEST: Duration = Duration::from_secs(600);
/// Headers of one request.
const MOST_HEADERS: usize = 64;
/// Bytes of a head.
const READ_BUFFER: usize = 16 << 10;
/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the log's headway is looked at.
const LOOK: Duration = Duration::from_millis(250);

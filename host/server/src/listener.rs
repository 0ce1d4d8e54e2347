//! The listener: sockets in, one acceptor, one runtime a core.
//!
//! Invariants: connections, head size, head time, body size and body time are bounded; a connection stays on one thread, so that a
//! call is never handed over; a stop lets calls in progress end. A panic in a call is a fault of ours: its caller gets the
//! safe answer, nobody else notices.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use portcullis_hooks::Answer;
use portcullis_model::Cause;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::LocalSet;

use crate::afterwards::Afterwards;
use crate::call::Reply;
use crate::connection::{Connection, Outbox};
use crate::error::StartError;
use crate::host::{Hook, Host};
use crate::pipeline;

/// A listener in operation.
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Binds the port and starts serving.
    pub fn start(host: &Arc<Host>) -> Result<Self, StartError> {
        let wanted = host.config.listen.address;
        let bind = |cause| StartError::Bind { address: wanted, cause };
        let socket = std::net::TcpListener::bind(wanted).map_err(bind)?;
        socket.set_nonblocking(true).map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        let (stop, stopping) = watch::channel(false);
        let mut threads = Vec::new();
        let mut workers = Vec::new();
        for number in 0..host.config.listen.workers {
            // Room for every connection there can be, so that handing one over never waits.
            let (sender, sockets) = mpsc::channel(host.config.listen.connections);
            let (host, stopping) = (Arc::clone(host), stopping.clone());
            let (name, runtime) = (format!("serve-{number}"), runtime()?);
            threads.push(spawn(name, move || work(&host, &runtime, sockets, stopping))?);
            workers.push(sender);
        }
        let connections = host.config.listen.connections;
        let runtime = runtime()?;
        let acceptor = move || accept(&runtime, socket, &workers, connections, stopping);
        threads.push(spawn("accept".to_owned(), acceptor)?);
        Ok(Self { address, stop, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further call, lets those in progress end, and waits for that.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            // A thread that panicked has nothing left to wait for.
            drop(thread.join());
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    thread::Builder::new().name(name).spawn(run).map_err(StartError::Thread)
}

/// A socket on its way to the runtime that serves it, and its place among the connections.
type Accepted = (std::net::TcpStream, OwnedSemaphorePermit);

fn accept(
    runtime: &Runtime,
    socket: std::net::TcpListener,
    workers: &[mpsc::Sender<Accepted>],
    connections: usize,
    mut stopping: watch::Receiver<bool>,
) {
    runtime.block_on(async {
        let Ok(listener) = TcpListener::from_std(socket) else { return };
        let room = Arc::new(Semaphore::new(connections));
        for worker in workers.iter().cycle() {
            let accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await.ok()?;
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => break Some((stream.into_std().ok()?, permit)),
                        // Out of descriptors, or a peer that left again: neither may end the acceptor.
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a connection");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            };
            tokio::select! {
                accepted = accepted => if let Some(accepted) = accepted { drop(worker.send(accepted).await) },
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    });
}

fn work(host: &Arc<Host>, runtime: &Runtime, mut sockets: mpsc::Receiver<Accepted>, stopping: watch::Receiver<bool>) {
    let mut stop = stopping.clone();
    let connections = LocalSet::new();
    let drain = Duration::from_millis(host.config.listen.drain_ms);
    runtime.block_on(async {
        connections
            .run_until(async {
                loop {
                    tokio::select! {
                        accepted = sockets.recv() => {
                            let Some((stream, permit)) = accepted else { break };
                            let (host, stopping) = (Arc::clone(host), stopping.clone());
                            tokio::task::spawn_local(async move {
                                serve(host, stream, stopping).await;
                                drop(permit);
                            });
                        }
                        _ = stop.wait_for(|stop| *stop) => break,
                    }
                }
            })
            .await;
        // Every connection ends by itself once its call has: bounded all the same.
        drop(tokio::time::timeout(drain, connections).await);
    });
}

fn runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)
}

async fn serve(host: Arc<Host>, stream: std::net::TcpStream, mut stopping: watch::Receiver<bool>) {
    // Without it a small answer waits for the caller's delayed acknowledgement.
    let prepared = stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream));
    let Ok(stream) = prepared else { return };
    let outbox = Outbox::default();
    let head = Duration::from_millis(host.config.listen.head_ms);
    let shared = Rc::new((Arc::clone(&host), outbox.clone()));
    let service = service_fn(move |request| {
        let shared = Rc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared.0, &shared.1, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(MOST_HEADERS)
        .max_buf_size(READ_BUFFER)
        .serve_connection(Connection::new(stream, outbox), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopping.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn respond(host: &Arc<Host>, outbox: &Outbox, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Some((hook, route)) = host.route(request.uri().path()) else {
        return plain(StatusCode::NOT_FOUND);
    };
    let get = request.method() == Method::GET;
    if !get && request.method() != Method::POST {
        return not_allowed();
    }
    // A task of its own: a caller that hangs up does not take a call with it whose record is already written, and a panic ends
    // that task only.
    let call = {
        let (host, number) = (Arc::clone(host), hook.number);
        tokio::task::spawn_local(async move {
            let hook = host.hooks.get(number)?;
            pipeline::answer(&host, hook, route, request).await
        })
    };
    let reply = match call.await {
        Ok(Some(reply)) => reply,
        Ok(None) if get => return not_allowed(),
        Ok(None) | Err(_) => fault(host, hook),
    };
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Answer::CONTENT_TYPE));
    for (name, value) in reply.headers {
        // What cannot stand in a header is left out: the answer does not depend on it.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    outbox.put(reply.afterwards);
    response
}

/// A defect of ours met by one call: the safe answer all the same.
fn fault(host: &Arc<Host>, hook: &Hook) -> Reply {
    tracing::error!(hook = hook.config.name, "a call panicked; its caller got the safe answer");
    host.refusals.count(host.clock.now(), hook.number, Cause::HostFault);
    let answer = hook.safe_answer(host.generation.load().as_deref(), Cause::HostFault, hook.glass().as_deref(), None);
    let body = Bytes::copy_from_slice(answer.body());
    Reply { status: answer.status, headers: answer.headers, body, afterwards: Afterwards::new(host) }
}

fn not_allowed() -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Headers of one request; more is `431`.
const MOST_HEADERS: usize = 256;
/// Bytes hyper may hold of one connection: the largest head, and the step in which bodies are read.
const READ_BUFFER: usize = 64 << 10;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

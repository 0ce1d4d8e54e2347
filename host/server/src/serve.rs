//! One connection: TLS where it is asked for, then HTTP/1.1 or HTTP/2, by what the client chose.
//!
//! Invariants: every stage has a limit of its own (handshake, head, body, idle, writing, streams, header bytes), and none depends on the
//! client's good will. A connection stays on its thread. A panic in a call is a fault of ours: its caller gets the safe answer,
//! nobody else notices.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use portcullis_hooks::Answer;
use portcullis_model::Cause;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::afterwards::Afterwards;
use crate::call::Reply;
use crate::connection::{Activity, Connection, Outbox, Tracked};
use crate::crowd::Guest;
use crate::host::{Hook, Host};
use crate::in_force::InForce;
use crate::observe::log_limit::LOG_LIMITS;
use crate::pipeline;
use crate::tls::{H2, Peer};

/// What all calls of one connection share.
struct Line {
    host: Arc<Host>,
    guest: Arc<Guest>,
    outbox: Outbox,
}

/// Serves a connection until it ends, has to give way, or the host stops.
pub async fn serve(
    host: Arc<Host>,
    stream: std::net::TcpStream,
    guest: Arc<Guest>,
    stop: watch::Receiver<bool>,
) {
    let leaving = Arc::clone(&guest);
    tokio::select! {
        // The ordinary first: asking the others costs, and they hardly ever have something to say.
        biased;
        () = speak(&host, stream, guest, stop) => {}
        () = leaving.asked_to_go() => tracing::debug!("a connection gave way"),
    }
}

async fn speak(
    host: &Arc<Host>,
    stream: std::net::TcpStream,
    guest: Arc<Guest>,
    stop: watch::Receiver<bool>,
) {
    // Without it a small answer waits for the caller's delayed acknowledgement.
    let prepared = stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream));
    let Ok(mut stream) = prepared else { return };
    let line = Rc::new(Line { host: Arc::clone(host), guest, outbox: Outbox::default() });
    let Some(tls) = &host.tls else {
        let Some((said, http2)) = first_words(&mut stream, host, stop.clone()).await else {
            return;
        };
        let connection = Connection::new(stream, line.outbox.clone(), &said);
        return if http2 {
            speak_2(connection, line, stop).await
        } else {
            speak_1(connection, line, stop).await
        };
    };
    let accepted = TlsAcceptor::from(tls.server()).accept(stream);
    let stream = match timeout(tls.handshake(), accepted).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let (_, session) = stream.get_ref();
    if let Some(chain) = session.peer_certificates().filter(|chain| !chain.is_empty()) {
        line.guest.known_by(Peer::new(tls, chain));
    }
    let http2 = session.alpn_protocol() == Some(H2);
    let connection = Connection::new(stream, line.outbox.clone(), &[]);
    if http2 {
        speak_2(connection, line, stop).await
    } else {
        speak_1(connection, line, stop).await
    }
}

/// Reads until it is clear whether a client without TLS speaks HTTP/2 (it begins with a preface that is no HTTP/1.1 request: RFC 9113
/// section 3.4). Nothing where it says nothing in time.
async fn first_words(
    stream: &mut TcpStream,
    host: &Host,
    mut stop: watch::Receiver<bool>,
) -> Option<(Vec<u8>, bool)> {
    let head = Duration::from_millis(host.in_force.load().config.listen.head_ms);
    let read = async {
        let mut said = Vec::with_capacity(PREFACE.len());
        while said.len() < PREFACE.len() && PREFACE.starts_with(&said) {
            let left = u64::try_from(PREFACE.len() - said.len()).unwrap_or(0);
            if (&mut *stream).take(left).read_buf(&mut said).await.ok()? == 0 {
                return None;
            }
        }
        let http2 = said == PREFACE;
        Some((said, http2))
    };
    tokio::select! {
        biased;
        read = timeout(head, read) => read.ok()?,
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

async fn speak_1<S>(connection: Connection<S>, line: Rc<Line>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let head = Duration::from_millis(line.host.in_force.load().config.listen.head_ms);
    let service = service_fn(move |request| {
        let line = Rc::clone(&line);
        async move {
            let (response, afterwards) = respond(&line, request).await;
            if let Some(afterwards) = afterwards {
                line.outbox.put(afterwards);
            }
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(MOST_HEADERS)
        .max_buf_size(READ_BUFFER)
        .serve_connection(connection, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stop.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn speak_2<S>(connection: Connection<S>, line: Rc<Line>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let idle = Duration::from_millis(line.host.in_force.load().config.listen.head_ms);
    let activity = Activity::new();
    let service = {
        let activity = activity.clone();
        service_fn(move |request| {
            let (line, busy) = (Rc::clone(&line), activity.begin());
            async move {
                let (response, afterwards) = respond(&line, request).await;
                Ok::<_, Infallible>(
                    response.map(|body| Tracked::new(body, afterwards, &line.outbox, busy)),
                )
            }
        })
    };
    let connection = http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(LONGEST_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(MOST_RESETS)
        .serve_connection(connection, service);
    let mut connection = pin!(connection);
    let mut leaving = false;
    loop {
        let quiet = if leaving { Instant::now() + GOODBYE } else { activity.quiet_at(idle) };
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !leaving => {
                connection.as_mut().graceful_shutdown();
                // From here on the stop's own limit counts.
                drop(connection.await);
                return;
            }
            () = sleep_until(quiet.into()) => {
                if leaving {
                    return tracing::debug!("a connection did not end when it was asked to");
                }
                if activity.quiet_at(idle) <= Instant::now() {
                    connection.as_mut().graceful_shutdown();
                    leaving = true;
                }
            }
        }
    }
}

/// Runs HTTP/2's streams on the connection's own thread.
#[derive(Clone)]
struct OnThisThread;

impl<F: Future + 'static> Executor<F> for OnThisThread {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(async move {
            stream.await;
        });
    }
}

/// Answers one request; what is to be done afterwards is given along, where there is something.
async fn respond(line: &Line, request: Request<Incoming>) -> (Response<Bytes>, Option<Afterwards>) {
    let host = &line.host;
    let in_force = host.in_force.load_full();
    let Some((hook, route)) = in_force.route(request.uri().path()) else {
        return (plain(StatusCode::NOT_FOUND), None);
    };
    let get = request.method() == Method::GET;
    if !get && request.method() != Method::POST {
        return (not_allowed(), None);
    }
    // A task of its own: a caller that hangs up does not take a call with it whose record is already written, and a panic ends
    // that task only.
    let call = {
        let (host, in_force, hook) = (Arc::clone(host), Arc::clone(&in_force), Arc::clone(hook));
        let guest = Arc::clone(&line.guest);
        // On the heap from the first: a call's state is some kilobytes, and a task is moved several times before it runs.
        let answer = Box::pin(async move {
            pipeline::answer(&host, &in_force, &hook, route, &guest, request).await
        });
        tokio::task::spawn_local(answer)
    };
    let reply = match call.await {
        Ok(Some(reply)) => reply,
        Ok(None) if get => return (not_allowed(), None),
        Ok(None) | Err(_) => fault(host, &in_force, hook, route),
    };
    let mut response = Response::new(reply.body);
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Answer::CONTENT_TYPE));
    for (name, value) in reply.headers {
        // What cannot stand in a header is left out: the answer does not depend on it.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, hook.caller.challenge().clone());
    }
    (response, Some(reply.afterwards))
}

/// A defect of ours met by one call: the safe answer all the same.
fn fault(host: &Arc<Host>, in_force: &InForce, hook: &Hook, route: &'static str) -> Reply {
    if LOG_LIMITS.admit("call.panicked", &hook.config.name, host.clock.instant()) {
        tracing::error!(
            event = "call.panicked",
            hook = hook.config.name,
            "a call panicked; its caller got the safe answer"
        );
    }
    host.refuse(hook, host.clock.now(), Cause::HostFault);
    let (generation, glass) = (in_force.generation.as_deref(), hook.glass());
    let answer = hook.safe_answer(generation, glass.as_deref(), Cause::HostFault, "", route, None);
    let body = Bytes::copy_from_slice(answer.body());
    Reply {
        status: answer.status,
        headers: answer.headers,
        body,
        afterwards: Afterwards::new(host),
    }
}

fn not_allowed() -> Response<Bytes> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

fn plain(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// Headers of one request over HTTP/1.1; more is `431`.
const MOST_HEADERS: usize = 256;
/// Bytes hyper may hold of one HTTP/1.1 connection: the largest head, and the step in which bodies are read.
const READ_BUFFER: usize = 64 << 10;
/// How a client begins that speaks HTTP/2 without having been asked.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Calls at once on one HTTP/2 connection.
const MOST_STREAMS: u32 = 100;
/// Bytes of one request's headers over HTTP/2.
const LONGEST_HEADERS: u32 = 64 << 10;
/// Bytes of one HTTP/2 request's body that may come before they are read: the largest body there may be.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all requests of one connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one HTTP/2 response that may wait to be sent.
const SEND_BUFFER: usize = 256 << 10;
/// Streams that a client may begin and give up before anybody looked at them (CVE-2023-44487), and errors of its own that it may
/// repeat; more ends the connection.
const MOST_RESETS: usize = 20;
/// How long a client has to leave once it was asked to.
const GOODBYE: Duration = Duration::from_secs(1);

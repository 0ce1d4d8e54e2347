//! One connection: TLS where it is asked for, then HTTP/1.1 or HTTP/2, by what the client chose.
//!
//! Invariants: every stage has a limit of its own (handshake, head, body, idle, writing, streams, header bytes), and none depends on the
//! client's good will. A connection stays on its thread. A panic in a call is a fault of ours: its caller gets the safe answer,
//! nobody else notices.

mod first_bytes;
mod step;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::clock::monotonic_now;
use crate::http::connection::{ActivityTracker, Connection, PendingResponses, TrackedBody};
use crate::http::head::MAX_HEAD;
use crate::http::http1_watch::{FinalBytes, Http1Watch};
use crate::http::preflight::{self, ReadyResponse, RejectedHead};
use crate::http::{by_hand, date, http1_watch, unknown_path};
use crate::net::acceptor::log_unserved;
use crate::net::connection_limit::ConnectionSlot;
use crate::net::oversized_block::MAX_FIELDS;
use crate::net::session::Session;
use crate::net::tls::{H2, Peer};
use crate::state::frontend::Frontend;
use crate::worker::StopToken;
use first_bytes::{client_behind_proxy, detect_protocol};

/// The state that all calls of one connection share.
struct ConnectionContext {
    frontend: Arc<Frontend>,
    session: Session,
    pending: PendingResponses,
    /// An answer told the client that this connection ends.
    draining: Notify,
}

/// Serves a connection until it ends, has to give way, or the host stops.
pub async fn serve(
    frontend: Arc<Frontend>,
    stream: std::net::TcpStream,
    slot: Arc<ConnectionSlot>,
    stop: StopToken,
) {
    let leaving = Arc::clone(&slot);
    tokio::select! {
        // The ordinary first: asking the others costs, and they hardly ever have something to say.
        biased;
        () = serve_connection(&frontend, stream, slot, stop) => {}
        () = leaving.evicted() => tracing::debug!(
            event = "connection.evicted",
            "the host closed a connection to make room for another"
        ),
    }
}

async fn serve_connection(
    frontend: &Arc<Frontend>,
    stream: std::net::TcpStream,
    slot: Arc<ConnectionSlot>,
    stop: StopToken,
) {
    // Without it a small answer waits for the caller's delayed acknowledgement.
    let prepared = stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream));
    let mut stream = match prepared {
        Ok(stream) => stream,
        Err(error) => return log_unserved(&error),
    };
    if !client_behind_proxy(frontend, &mut stream, &slot).await {
        return;
    }
    let line = Rc::new(ConnectionContext {
        frontend: Arc::clone(frontend),
        session: Session::new(slot),
        pending: PendingResponses::default(),
        draining: Notify::new(),
    });
    let Some(tls) = &frontend.tls else {
        let Some((said, http2)) = detect_protocol(&mut stream, frontend, stop.clone()).await else {
            return;
        };
        return if http2 {
            serve_http2(stream, &said, line, stop).await
        } else {
            serve_http1(stream, &said, line, stop).await
        };
    };
    let accepted = TlsAcceptor::from(tls.server()).accept(stream);
    let stream = match timeout(tls.handshake_timeout(), accepted).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return tracing::debug!(
                event = "tls.handshake-failed",
                %error,
                "a TLS handshake failed"
            );
        }
        Err(_) => {
            return tracing::debug!(event = "tls.handshake-late", "a TLS handshake took too long");
        }
    };
    let (_, session) = stream.get_ref();
    if let Some(chain) = session.peer_certificates().filter(|chain| !chain.is_empty()) {
        line.session.slot.set_peer(Peer::new(tls, chain));
    }
    let http2 = session.alpn_protocol() == Some(H2);
    if http2 {
        serve_http2(stream, &[], line, stop).await
    } else {
        serve_http1(stream, &[], line, stop).await
    }
}

async fn serve_http1<S>(socket: S, said: &[u8], line: Rc<ConnectionContext>, mut stop: StopToken)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let head = Duration::from_millis(line.frontend.active_config().config.listen.header_timeout_ms);
    let watch = http1_watch::Shared::default();
    let connection = Connection::http1(socket, line.pending.clone(), Rc::clone(&watch), said);
    let service = {
        let (line, watch) = (Rc::clone(&line), Rc::clone(&watch));
        service_fn(move |request| {
            let step = line.begin(request, watch.begin().as_ref());
            let (line, watch) = (Rc::clone(&line), Rc::clone(&watch));
            Box::pin(async move {
                let (answered, unread) = step.finish(&line).await;
                if answered.by_hand {
                    watch.answer_by_hand(answered.response);
                    return Err(ByHand);
                }
                if let Some(post_response) = answered.post_response {
                    line.pending.put(post_response);
                }
                watch.answered(unread);
                let mut response = answered.response;
                if line.session.intake.is_exhausted() || line.frontend.conditions.is_stopping() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(response.map(Full::new))
            })
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client may end its side once its request is whole, and waits for the answer all the same
        // (RFC 9293 section 3.6).
        .half_close(true)
        .header_read_timeout(head)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(connection, service);
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|context| {
                if !date::clock_has_date() {
                    return Poll::Ready(None);
                }
                connection.poll_without_shutdown(context).map(Some)
            }) => break ended,
            () = stop.stopped(), if !stopping => {
                Pin::new(&mut connection).graceful_shutdown();
                stopping = true;
            }
            () = line.session.slot.surplus(), if !stopping => {
                Pin::new(&mut connection).graceful_shutdown();
                stopping = true;
            }
        }
    };
    if let Some(Err(error)) = &ended {
        tracing::debug!(event = "connection.ended-early", %error, "a connection ended early");
    }
    let parts = connection.into_parts();
    let mut socket = parts.io.into_socket();
    let mut read = parts.read_buf.to_vec();
    if ended.is_none() {
        date::give_up_without_date(&watch);
        read.extend(by_hand::read_request_line(&mut socket, &watch, head).await);
    }
    let farewell = line.write_final(&watch, &read, &mut socket).await;
    if let Some(answer) = &farewell {
        by_hand::write(&mut socket, answer, line.frontend.clock.now()).await;
    }
    // Before the wait for the client's end, so that a client who waits holds no place that counts as busy.
    line.pending.abandon();
    if farewell.is_some() || watch.may_be_sending() {
        by_hand::linger(&mut socket).await;
    } else {
        // It has ended already, or ends when it is dropped.
        drop(timeout(GOAWAY_TIMEOUT, socket.shutdown()).await);
    }
}

async fn serve_http2<S>(socket: S, said: &[u8], line: Rc<ConnectionContext>, mut stop: StopToken)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let idle = Duration::from_millis(line.frontend.active_config().config.listen.header_timeout_ms);
    let activity = ActivityTracker::new();
    let slot = Arc::clone(&line.session.slot);
    let intake = Rc::clone(&line.session.intake);
    let answers = Rc::clone(&line);
    let watched = (Rc::clone(&intake), activity.clone());
    let connection = Connection::http2(socket, line.pending.clone(), watched, said);
    let service = {
        let activity = activity.clone();
        service_fn(move |request| {
            let (line, busy) = (Rc::clone(&line), activity.begin());
            let unfinished = line.session.intake.begin();
            // What the head decides is decided here, before the next head is read.
            let step = line.begin(request, None);
            async move {
                // A body that is waited for must not keep other frames from coming: it is among them.
                let awaited = step.body_limit().map(|limit| busy.await_body(limit));
                let unfinished = awaited.is_none().then_some(unfinished);
                let (answered, _) = step.finish(&line).await;
                drop(awaited);
                let unfinished = unfinished.unwrap_or_else(|| line.session.intake.begin());
                let ReadyResponse { mut response, post_response, .. } = answered;
                date::put_date(response.headers_mut());
                if line.frontend.conditions.is_stopping() {
                    line.draining.notify_one();
                }
                Ok::<_, Infallible>(response.map(|body| {
                    TrackedBody::new(body, post_response, &line.pending, busy, unfinished)
                }))
            }
        })
    };
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        // A stream that is refused is no error of the peer's. Without authentication the frames of a
        // connection are counted; with it, a peer that does not read what it causes is given up.
        .max_local_error_reset_streams(None)
        .serve_connection(connection, service);
    let mut connection = pin!(connection);
    let mut leaving = false;
    loop {
        let idle_deadline = || activity.idle_deadline_with_body(idle, intake.is_authenticated());
        let goodbye_at = || activity.idle_deadline(GOAWAY_TIMEOUT, intake.is_authenticated());
        let quiet = if leaving { goodbye_at() } else { idle_deadline() };
        let turn = poll_fn(|context| {
            intake.begin_turn();
            connection.as_mut().poll(context)
        });
        tokio::select! {
            ended = turn => {
                if let Err(error) = ended {
                    tracing::debug!(
                        event = "connection.ended-early",
                        %error,
                        "a connection ended early"
                    );
                }
                return;
            }
            () = stop.stopped(), if !leaving => {
                connection.as_mut().graceful_shutdown();
                // From here on the stop's own limit counts.
                drop(poll_fn(|context| {
                    intake.begin_turn();
                    connection.as_mut().poll(context)
                }).await);
                return;
            }
            () = slot.surplus(), if !leaving => {
                connection.as_mut().graceful_shutdown();
                activity.touch();
                leaving = true;
            }
            () = intake.exhausted(), if !leaving => {
                connection.as_mut().graceful_shutdown();
                activity.touch();
                leaving = true;
            }
            () = answers.draining.notified(), if !leaving => {
                connection.as_mut().graceful_shutdown();
                activity.touch();
                leaving = true;
            }
            () = sleep_until(quiet.into()) => {
                if leaving {
                    if goodbye_at() > monotonic_now() {
                        continue;
                    }
                    return tracing::debug!(
                        event = "connection.not-ended",
                        "a client did not end its connection in time; the host closed it"
                    );
                }
                if idle_deadline() <= monotonic_now() {
                    connection.as_mut().graceful_shutdown();
                    activity.touch();
                    leaving = true;
                }
            }
        }
    }
}

/// An answer is written by hand, and the HTTP library has no further part in the connection.
#[derive(Debug, thiserror::Error)]
#[error("the answer is written without the HTTP library")]
struct ByHand;

/// Runs HTTP/2's streams on the connection's own thread.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(async move {
            stream.await;
        });
    }
}

impl ConnectionContext {
    /// The answer that is still to be written on an HTTP/1.1 connection that the library has given up.
    /// `read` is what the library had read of it and not used.
    async fn write_final<S: AsyncRead + Unpin>(
        &self,
        watch: &Http1Watch,
        read: &[u8],
        socket: &mut S,
    ) -> Option<Response<Bytes>> {
        let (status, words) = match watch.final_bytes() {
            FinalBytes::Nothing => return None,
            FinalBytes::Answer(answer) => return Some(answer),
            FinalBytes::Rejected(status, words) => (status, words),
        };
        let active_config = self.frontend.active_config();
        match preflight::rejected_head(&self.frontend, &active_config, status, &words) {
            RejectedHead::Answered(answer) => Some(answer),
            RejectedHead::Unknown => {
                let slot = &self.session.slot;
                // Given back when the answer is written: the outbox is abandoned then.
                self.pending.hold(slot.begin_call());
                let (frontend, active_config) = (&self.frontend, &active_config);
                let answer = unknown_path::answer_bytes(
                    frontend,
                    active_config,
                    slot,
                    (read, socket),
                    status,
                );
                Some(answer.await)
            }
        }
    }
}

/// Calls at once on one HTTP/2 connection: more than may be in progress in the whole process, so
/// that admission answers them and not the protocol. So many can be sent before our settings arrive.
const MAX_STREAMS: u32 = 1_024;
/// Bytes of one request's fields over HTTP/2, as RFC 9113 section 6.5.2 counts them, that are taken.
/// More than [`MAX_HEAD`], so that a request between the two can be answered in its hook's words.
const MAX_HEADER_LIST: u32 = 256 << 10;
/// Bytes of one HTTP/2 request's body that may come before they are read: the largest body there may be.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all requests of one connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one HTTP/2 response that may wait to be sent.
const SEND_BUFFER: usize = 256 << 10;
/// Streams that a client may begin and give up before they are looked at (CVE-2023-44487); more ends
/// the connection. As many as it may open.
const MAX_PENDING_RESETS: usize = MAX_STREAMS as usize;
/// How long a client has to leave once it was asked to.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

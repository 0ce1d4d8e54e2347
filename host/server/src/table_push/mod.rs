//! The listener for pushed tables: `PUT /tables/NAME`, on a port of its own.
//!
//! Invariants: a thread and a runtime of its own, so that a slow push keeps no call waiting;
//! connections, heads, bodies and time are bounded, and a connection has one request. Nothing of a
//! body is read before its client is authenticated for that table. What was pushed is whole before
//! it lies in the host's own folder, and is then checked, held and recorded as every file is; a
//! push that is refused changes nothing that calls see.

mod answer;

use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;

use crate::clock::monotonic_now;
use crate::config::tables::MAX_PUSHES;
use crate::error::StartError;
use crate::http::by_hand;
use crate::net::tls::{Peer, Tls};
use crate::state::host::Host;
use crate::worker::{StopToken, Worker};

use answer::{InProgress, answer};

/// The listener in operation.
pub struct TablePushListener(Worker);

/// The state that all pushes share.
struct Pushes {
    host: Arc<Host>,
    /// Time for one request.
    limit: Duration,
    /// The tables that are being pushed.
    in_progress: InProgress,
}

impl TablePushListener {
    /// Binds the port and starts answering, where the configuration has the listener.
    ///
    /// # Errors
    /// The port cannot be bound, or there is no thread.
    pub fn start(host: &Arc<Host>) -> Result<Option<Self>, StartError> {
        let Some(push) = &host.config.table_push else { return Ok(None) };
        let address = push.address;
        let failed = |cause| StartError::Bind { address, cause };
        let socket = std::net::TcpListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_PUSHES)
            .build()
            .map_err(StartError::Thread)?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(socket).map_err(failed)?
        };
        let pushes = Arc::new(Pushes {
            host: Arc::clone(host),
            limit: Duration::from_millis(push.timeout_ms),
            in_progress: InProgress::default(),
        });
        let worker = Worker::spawn("table-push", move |stop| {
            runtime.block_on(LocalSet::new().run_until(accept(listener, pushes, stop)));
            // A table that is being read is left behind with its thread.
            runtime.shutdown_background();
        });
        tracing::info!(
            event = "tables.listening",
            address = %address,
            tls = push.tls.is_some(),
            "the host takes pushed tables"
        );
        Ok(Some(Self(worker?)))
    }

    /// Ends it; pushes under way are cut off.
    pub fn stop(self) {
        self.0.stop();
    }
}

async fn accept(listener: TcpListener, pushes: Arc<Pushes>, mut stop: StopToken) {
    let places = Arc::new(Semaphore::new(MAX_PUSHES));
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Beyond the limit a connection is closed: its client tries again.
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let pushes = Arc::clone(&pushes);
                    tokio::task::spawn_local(async move {
                        let until = monotonic_now() + pushes.limit;
                        drop(timeout_at(until.into(), serve(stream, pushes, until)).await);
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn serve(stream: TcpStream, pushes: Arc<Pushes>, until: Instant) {
    // Without it an answer may wait for the client's next packet.
    drop(stream.set_nodelay(true));
    let Some(tls) = pushes.host.callers.tables.tls.clone() else {
        return serve_http(stream, None, pushes, until).await;
    };
    let mut server = rustls::ServerConfig::clone(&tls.server());
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let accepted = TlsAcceptor::from(Arc::new(server)).accept(stream);
    let Ok(Ok(stream)) = tokio::time::timeout(tls.handshake_timeout(), accepted).await else {
        return tracing::debug!(
            event = "tls.handshake-failed",
            "a TLS handshake of the listener for tables failed"
        );
    };
    let peer = peer(&tls, stream.get_ref().1);
    serve_http(stream, peer, pushes, until).await;
}

/// The client's certificate, where it showed one.
fn peer(tls: &Arc<Tls>, session: &rustls::ServerConnection) -> Option<Peer> {
    let chain = session.peer_certificates().filter(|chain| !chain.is_empty())?;
    Some(Peer::new(tls, chain))
}

async fn serve_http<S>(stream: S, peer: Option<Peer>, pushes: Arc<Pushes>, until: Instant)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let peer = Rc::new(peer);
    // The last moment leaves time to send the answer.
    let decide = until.checked_sub(ANSWER_RESERVE).unwrap_or(until);
    let service = service_fn(|request: Request<Incoming>| {
        let (pushes, peer) = (Arc::clone(&pushes), Rc::clone(&peer));
        // hyper polls the connection in place, so its futures must not depend on theirs.
        Box::pin(async move {
            let response: Response<Full<Bytes>> =
                answer(&pushes, (*peer).as_ref(), request, decide).await;
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(true)
        .keep_alive(false)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // What goes wrong here is the client's to see.
    drop(poll_fn(|context| connection.poll_without_shutdown(context)).await);
    // A client that is refused early may still be sending: it must get the answer all the same.
    let mut socket = connection.into_parts().io.into_inner();
    by_hand::linger(&mut socket).await;
}

/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The part of a request's time that is reserved for its answer.
const ANSWER_RESERVE: Duration = Duration::from_millis(50);
/// Headers of one request.
const MAX_HEADERS: usize = 64;
/// Bytes of a head, which may have a signature in it, and of one read.
const READ_BUFFER: usize = 64 << 10;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

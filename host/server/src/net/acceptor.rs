//! Takes connections off a listening socket and deals them to the threads that serve them.
//!
//! Invariants: a connection reaches a serving thread when its client has sent something, and not
//! before; until then it costs a descriptor and a few hundred bytes, and ends here after
//! `listen.first_bytes_timeout_ms`. A want of descriptors never ends the loop, and never makes it
//! spin. What is spoken on a connection is not looked at here.

use std::fs::File;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::connection_limit::{ConnectionLimiter, ConnectionSlot, Rejected};
use super::socket::abort;
use crate::clock::monotonic_now;
use crate::logging::log_limit::LOG_LIMITS;

/// A socket on its way to the runtime that serves it, and its place among the connections.
pub type Accepted = (std::net::TcpStream, Arc<ConnectionSlot>);

/// A listening socket that the runtime watches.
pub struct WatchedSocket {
    listener: TcpListener,
    /// The same socket for what waits in its queue at a stop.
    backlog: std::net::TcpListener,
}

impl WatchedSocket {
    /// Has the runtime in whose context this is called watch a socket that does not block.
    ///
    /// # Errors
    /// The runtime cannot watch it (epoll_ctl(2)), or there is no descriptor for its copy. A host
    /// that cannot accept must not start.
    pub fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        let backlog = socket.try_clone()?;
        Ok(Self { listener: TcpListener::from_std(socket)?, backlog })
    }
}

/// The loop and its means.
pub struct Acceptor {
    limiter: Arc<ConnectionLimiter>,
    workers: Rc<Vec<mpsc::Sender<Accepted>>>,
    next_worker: usize,
    first_bytes: Duration,
    proxy_protocol: bool,
    /// Whether a supervisor keeps the socket open when this process ends.
    inherited: bool,
    /// Given up to accept a connection where there is no other descriptor, so that it can be
    /// closed.
    spare: Option<File>,
}

impl Acceptor {
    /// Returns an acceptor that deals connections to these threads. `proxy_protocol`: connections
    /// of proxies begin with a header of the proxy's own.
    pub fn new(
        limiter: Arc<ConnectionLimiter>,
        workers: Vec<mpsc::Sender<Accepted>>,
        first_bytes: Duration,
        proxy_protocol: bool,
    ) -> Self {
        Self {
            limiter,
            workers: Rc::new(workers),
            next_worker: 0,
            first_bytes,
            proxy_protocol,
            inherited: false,
            spare: spare(),
        }
    }

    /// With a socket that a supervisor keeps open: what waits in its queue at the end is the next
    /// process's.
    pub fn inherits(self, inherited: bool) -> Self {
        Self { inherited, ..self }
    }

    /// Accepts connections until `stop` comes to an end, and gives those that were accepted by then
    /// a moment to send something. Needs a [`LocalSet`](tokio::task::LocalSet).
    pub async fn run(mut self, socket: WatchedSocket, stop: impl Future<Output = ()>) {
        let WatchedSocket { listener, backlog } = socket;
        let mut stop = std::pin::pin!(stop);
        let mut accepted: usize = 0;
        loop {
            let next = tokio::select! {
                () = &mut stop => break,
                next = listener.accept() => next,
            };
            match next {
                Ok((stream, peer)) => self.take(stream, peer).await,
                Err(error) => self.accept_failed(&listener, &error).await,
            }
            accepted = accepted.wrapping_add(1);
            if accepted.is_multiple_of(BATCH) {
                // The clients that have just connected have their turn, and those that were evicted
                // end.
                tokio::task::yield_now().await;
            }
        }
        // The queue of a socket of our own would be reset with the socket.
        while let Some((stream, peer)) = self.next_waiting(&backlog) {
            self.take(stream, peer).await;
        }
        drop((listener, backlog));
        let until = monotonic_now() + BEGIN_GRACE;
        while Rc::strong_count(&self.workers) > 1 && monotonic_now() < until {
            sleep(GRACE_ROUND).await;
        }
    }

    /// A connection that waits in the kernel's queue when the host stops; nothing where none does,
    /// or where the queue is not ours.
    fn next_waiting(&self, backlog: &std::net::TcpListener) -> Option<(TcpStream, SocketAddr)> {
        if self.inherited {
            return None;
        }
        loop {
            match backlog.accept() {
                Ok((stream, peer)) => {
                    let watched =
                        stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    match watched {
                        Ok(stream) => return Some((stream, peer)),
                        Err(error) => log_unserved(&error),
                    }
                }
                // A peer that left again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return None,
            }
        }
    }

    /// Takes a connection, or closes it.
    async fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        let address = peer.ip().to_canonical();
        let headed = self.proxy_protocol && self.limiter.is_proxy(address);
        let sent_bytes = match SockRef::from(&stream).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => return,
            Ok(_) => !headed,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => return,
        };
        let Some(slot) = self.place(&stream, address, sent_bytes).await else { return };
        let worker = self.next_worker;
        self.next_worker = self.next_worker.wrapping_add(1);
        if sent_bytes {
            hand_over(&self.workers, worker, stream, slot).await;
            return;
        }
        let waiting = Waiting {
            slot,
            workers: Rc::clone(&self.workers),
            worker,
            first_bytes: self.first_bytes,
            headed,
        };
        tokio::task::spawn_local(waiting.run(stream));
    }

    /// Finds a place for a connection, and waits a little for one where all calls in flight are
    /// about to end.
    async fn place(
        &self,
        stream: &TcpStream,
        address: std::net::IpAddr,
        sent_bytes: bool,
    ) -> Option<Arc<ConnectionSlot>> {
        let most = self.limiter.limits().connections;
        let until = monotonic_now() + MAX_WAIT;
        let rejected = loop {
            let now = monotonic_now();
            match self.limiter.acquire(address, sent_bytes, now) {
                Ok(slot) => {
                    // Those that were evicted end soon; descriptors are kept for so many of them.
                    while self.limiter.existing() > most + SPARE / 2 {
                        if timeout(EVICTION_WAIT, self.limiter.ended()).await.is_err() {
                            break;
                        }
                    }
                    return Some(slot);
                }
                Err(rejected) if self.limiter.may_wait(rejected) && now < until => {
                    drop(timeout(until - now, self.limiter.ended()).await);
                }
                Err(rejected) => break rejected,
            }
        };
        log_rejected(rejected);
        abort(stream);
        None
    }

    /// A connection could not be accepted.
    async fn accept_failed(&mut self, listener: &TcpListener, error: &io::Error) {
        if !is_want(error) {
            // The peer left again, or its packet was refused: the next one is another's.
            return;
        }
        let now = monotonic_now();
        if LOG_LIMITS.allows(ACCEPT_FAILED, "", now) {
            tracing::warn!(
                event = ACCEPT_FAILED,
                %error,
                "a connection could not be accepted; the host closes unauthenticated connections \
                 to make room"
            );
        }
        if self.limiter.evict_one(now) {
            // Its descriptor is free when it has ended.
            drop(timeout(EVICTION_WAIT, self.limiter.ended()).await);
        } else if self.spare.take().is_some() {
            // Nothing can be closed but the new one: its client hears so at once, and may try
            // again.
            if let Ok(Ok((stream, _))) = timeout(ACCEPT_PAUSE, listener.accept()).await {
                abort(&stream);
            }
        }
        if self.spare.is_none() {
            self.spare = spare();
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

/// A connection whose client has sent nothing yet.
struct Waiting {
    slot: Arc<ConnectionSlot>,
    workers: Rc<Vec<mpsc::Sender<Accepted>>>,
    worker: usize,
    first_bytes: Duration,
    /// Its first bytes are a proxy's.
    headed: bool,
}

impl Waiting {
    async fn run(self, stream: TcpStream) {
        let mut first = [0];
        let readable = tokio::select! {
            biased;
            () = self.slot.evicted() => false,
            // Not `readable`, which may come to an end without a byte.
            peeked = timeout(self.first_bytes, stream.peek(&mut first)) => {
                let Ok(Ok(1..)) = peeked else { return };
                true
            }
        };
        if !readable {
            abort(&stream);
            return;
        }
        if !self.headed
            && let Err(rejected) = self.slot.mark_started(monotonic_now())
        {
            log_rejected(rejected);
            abort(&stream);
            return;
        }
        hand_over(&self.workers, self.worker, stream, self.slot).await;
    }
}

/// Gives a connection to the thread whose turn it is.
async fn hand_over(
    workers: &[mpsc::Sender<Accepted>],
    turn: usize,
    stream: TcpStream,
    slot: Arc<ConnectionSlot>,
) {
    let worker = turn.checked_rem(workers.len()).and_then(|number| workers.get(number));
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => return log_unserved(&error),
    };
    // There is room in its queue for every connection there can be.
    let is_served = match worker {
        Some(worker) => worker.send((stream, slot)).await.is_ok(),
        None => false,
    };
    if !is_served {
        log_unserved(&io::Error::other("its thread has ended"));
    }
}

/// Logs a new connection that gets no place: at once, or when its client has sent bytes or is
/// known.
pub fn log_rejected(rejected: Rejected) {
    if LOG_LIMITS.allows(REJECTED, "", monotonic_now()) {
        tracing::warn!(
            event = REJECTED,
            why = rejected.code(),
            "a new connection was closed, because its source or the host has reached its limit of \
             connections"
        );
    }
}

/// Logs a connection that was accepted and cannot be served.
pub fn log_unserved(error: &io::Error) {
    if LOG_LIMITS.allows(UNSERVED, "", monotonic_now()) {
        tracing::error!(
            event = UNSERVED,
            %error,
            "a connection was accepted and closed again, because the host could not set it up"
        );
    }
}

/// Returns whether the machine or the process lacks what a connection needs (accept(2)).
fn is_want(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let wants = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    wants.iter().any(|want| error.raw_os_error() == Some(want.raw_os_error()))
}

#[expect(clippy::disallowed_methods, reason = "a device of the kernel's own")]
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Connections that are accepted before those that were accepted have their turn.
const BATCH: usize = 16;
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long the acceptor waits for the end of a connection that was evicted.
const EVICTION_WAIT: Duration = Duration::from_millis(50);
/// How long a new connection waits for the end of a call where every place is taken.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// How long a connection that was accepted has to send its first bytes when the host stops.
const BEGIN_GRACE: Duration = Duration::from_secs(1);
/// How often it is asked whether all have.
const GRACE_ROUND: Duration = Duration::from_millis(10);
/// The event of a connection that cannot be accepted.
const ACCEPT_FAILED: &str = "listener.accept-failed";
/// The event of a connection that was accepted and cannot be served.
const UNSERVED: &str = "connection.unserved";
/// The event of a new connection that is closed because of a limit.
const REJECTED: &str = "connection.rejected";

/// Descriptors of connections that were evicted and are not closed yet, of connections between
/// accept and decision, and of the one that is kept for accepting when there is no other.
pub const SPARE: usize = 16;

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_cannot_be_watched_is_an_error_and_no_silent_end() {
        // epoll takes no regular file: what a machine without watches to give answers, too.
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        assert!(WatchedSocket::new(std::net::TcpListener::from(file)).is_err());
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        assert!(WatchedSocket::new(socket).is_ok());
    }
}

//! A connection that knows when a reply has left, and that does not wait for ever to write one.
//!
//! Invariant: what is to be done after a reply is done when its last byte was given to the kernel
//! (delivered), or when the connection is dropped first (not delivered), and exactly once. A peer
//! that reads nothing for [`WRITE_STALL_TIMEOUT`] is given up. Over HTTP/2 a reply counts as
//! delivered with the first flush after the protocol took its last byte, which the client's window
//! may still hold back. The end of an HTTP/2 peer's side reaches the library when every reply has
//! left: it would drop those that have not.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use crate::clock::monotonic_now;
use crate::http::http1_watch::{self, Http1Watch};
use crate::net::connection_limit::CallGuard;
use crate::net::frame_gate::{FrameGate, Intake, Next, Unfinished};
use crate::request::post_response::PostResponse;

/// Replies handed to the connection that may not have left yet.
#[derive(Clone, Default)]
pub struct PendingResponses {
    waiting: Rc<RefCell<Vec<PostResponse>>>,
    /// Calls whose answers are not written yet.
    calls: Rc<RefCell<Vec<CallGuard>>>,
}

/// The socket, or the TLS over it, watched.
pub struct Connection<S> {
    socket: TokioIo<S>,
    /// What was read before it was known what is spoken.
    prefix: Bytes,
    pending: PendingResponses,
    watch: ProtocolWatch,
    /// Runs while the peer does not read.
    stall: Option<Pin<Box<Sleep>>>,
}

/// The part of the incoming bytes that is watched.
pub enum ProtocolWatch {
    /// The heads of HTTP/1.1.
    Http1(http1_watch::Shared),
    /// The frames of HTTP/2, and the calls that came in them.
    Http2(FrameGate, ActivityTracker),
}

impl PendingResponses {
    /// A reply goes to the connection now.
    pub fn put(&self, post_response: PostResponse) {
        self.waiting.borrow_mut().push(post_response);
    }

    /// Keeps a connection from being evicted until the answer that it has now is written.
    pub fn hold(&self, call: CallGuard) {
        self.calls.borrow_mut().push(call);
    }

    /// Answers that have not left by now do not leave, and keep the connection from being evicted
    /// no more.
    pub fn abandon(&self) {
        drop(std::mem::take(&mut *self.calls.borrow_mut()));
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(|post_response| post_response.run(false));
    }

    fn delivered(&self) {
        drop(std::mem::take(&mut *self.calls.borrow_mut()));
        // Taken out first: what runs may not find the box borrowed.
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(|post_response| post_response.run(true));
    }
}

impl<S> Connection<S> {
    /// Speaks HTTP/1.1 on a socket of which this was read already.
    pub fn http1(
        socket: S,
        outbox: PendingResponses,
        watch: http1_watch::Shared,
        said: &[u8],
    ) -> Self {
        watch.read(said);
        let said = Bytes::copy_from_slice(said);
        Self {
            socket: TokioIo::new(socket),
            prefix: said,
            pending: outbox,
            watch: ProtocolWatch::Http1(watch),
            stall: None,
        }
    }

    /// Speaks HTTP/2 on a socket of which this was read already.
    pub fn http2(
        socket: S,
        outbox: PendingResponses,
        (intake, activity): (Rc<Intake>, ActivityTracker),
        said: &[u8],
    ) -> Self {
        let watch = ProtocolWatch::Http2(FrameGate::new(intake, said), activity);
        Self {
            socket: TokioIo::new(socket),
            prefix: Bytes::new(),
            pending: outbox,
            watch,
            stall: None,
        }
    }

    /// The socket.
    pub fn into_socket(self) -> S {
        self.socket.into_inner()
    }

    /// Lets a write that is not done wait, but not for longer than [`WRITE_STALL_TIMEOUT`].
    fn with_write_timeout<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_TIMEOUT)));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Read for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let part = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(&self.prefix.split_to(part));
            return Poll::Ready(Ok(()));
        }
        let Self { socket, watch, .. } = &mut *self;
        match watch {
            ProtocolWatch::Http1(watch) => poll_watched(socket, context, buffer, watch),
            ProtocolWatch::Http2(gate, activity) => {
                poll_gated(socket, context, buffer, (gate, activity))
            }
        }
    }
}

/// Reads, and shows the watch what came.
fn poll_watched<S: AsyncRead + Unpin>(
    socket: &mut TokioIo<S>,
    context: &mut Context<'_>,
    mut buffer: ReadBufCursor<'_>,
    watch: &Http1Watch,
) -> Poll<io::Result<()>> {
    let mut space = [MaybeUninit::uninit(); READ_SIZE];
    let size = READ_SIZE.min(buffer.remaining());
    let mut read = ReadBuf::uninit(space.get_mut(..size).unwrap_or_default());
    ready!(Pin::new(socket).poll_read(context, read.unfilled()))?;
    watch.read(read.filled());
    buffer.put_slice(read.filled());
    Poll::Ready(Ok(()))
}

/// Reads what the gate lets through.
fn poll_gated<S: AsyncRead + Unpin>(
    socket: &mut TokioIo<S>,
    context: &mut Context<'_>,
    mut buffer: ReadBufCursor<'_>,
    (gate, activity): (&mut FrameGate, &ActivityTracker),
) -> Poll<io::Result<()>> {
    loop {
        match gate.next(context) {
            Next::Take => {
                let count = gate.released().len().min(buffer.remaining());
                buffer.put_slice(gate.released().get(..count).unwrap_or_default());
                gate.consume(count);
                return Poll::Ready(Ok(()));
            }
            Next::Wait => return Poll::Pending,
            Next::Read if gate.has_ended() => {
                if gate.ends_in_this_turn() {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return activity.poll_written(context).map(Ok);
            }
            Next::Read => {
                let mut space = [MaybeUninit::uninit(); READ_SIZE];
                let size = READ_SIZE.min(buffer.remaining());
                let mut read = ReadBuf::uninit(space.get_mut(..size).unwrap_or_default());
                ready!(Pin::new(&mut *socket).poll_read(context, read.unfilled()))?;
                if read.filled().is_empty() {
                    gate.end();
                } else if gate.is_open() {
                    buffer.put_slice(read.filled());
                    return Poll::Ready(Ok(()));
                } else {
                    gate.fill(read.filled());
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.watch.withholds(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.watch.writes();
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.with_write_timeout(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.watch.withholds(buffers.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
        }
        self.watch.writes();
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, buffers);
        self.with_write_timeout(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// The protocol flushes the socket only after it has written all it holds.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.pending.delivered();
            match &self.watch {
                ProtocolWatch::Http1(watch) => watch.flushed(),
                ProtocolWatch::Http2(_, activity) => activity.flushed(),
            }
        }
        self.with_write_timeout(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl ProtocolWatch {
    fn withholds(&self, bytes: &[u8]) -> bool {
        matches!(self, Self::Http1(watch) if watch.discards(bytes))
    }

    /// Bytes are about to be written.
    fn writes(&self) {
        if let Self::Http2(_, activity) = self {
            activity.unflushed.set(true);
        }
    }
}

/// When something happened last on an HTTP/2 connection, and whether a call is in progress.
#[derive(Clone)]
pub struct ActivityTracker {
    state: Rc<Cell<(usize, Instant)>>,
    /// Whether an answer may not have left: calls have ended, or bytes were written, since the last
    /// flush.
    unflushed: Rc<Cell<bool>>,
    /// Calls whose bodies are waited for, and when the last of these waits is over.
    bodies: Rc<Cell<(usize, Instant)>>,
    /// The connection, while it waits until every answer has left.
    waker: Rc<RefCell<Option<Waker>>>,
}

/// A call in progress.
pub struct InFlight(ActivityTracker);

/// A call whose body is waited for.
pub struct AwaitedBody(ActivityTracker);

/// The body of a response over HTTP/2.
pub struct TrackedBody {
    bytes: Option<Bytes>,
    post_response: Option<PostResponse>,
    pending: PendingResponses,
    _in_flight: InFlight,
    _unfinished: Unfinished,
}

impl ActivityTracker {
    /// It begins now.
    pub fn new() -> Self {
        Self {
            state: Rc::new(Cell::new((0, monotonic_now()))),
            unflushed: Rc::default(),
            bodies: Rc::new(Cell::new((0, monotonic_now()))),
            waker: Rc::default(),
        }
    }

    /// A call begins.
    pub fn begin(&self) -> InFlight {
        self.state.set((self.state.get().0 + 1, monotonic_now()));
        InFlight(self.clone())
    }

    /// Something happened now.
    pub fn touch(&self) {
        self.state.set((self.state.get().0, monotonic_now()));
    }

    /// Waits until the answer of every call has left.
    fn poll_written(&self, context: &Context<'_>) -> Poll<()> {
        if self.state.get().0 == 0 && !self.unflushed.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    /// Everything that the protocol held was written.
    fn flushed(&self) {
        self.unflushed.set(false);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// When nothing will have happened for that long; a call in progress counts as something, but not for ever.
    /// On a connection without authentication a call in progress waits for a client that does not
    /// read.
    pub fn idle_deadline(&self, idle: Duration, is_authenticated: bool) -> Instant {
        let (calls, last) = self.state.get();
        match (calls > 0, is_authenticated) {
            (true, true) => last + idle.max(MAX_CALL),
            (true, false) => last + idle.min(WRITE_STALL_TIMEOUT),
            (false, _) => last + idle,
        }
    }

    /// The same where a call whose body is waited for counts for as long as that may take.
    pub fn idle_deadline_with_body(&self, idle: Duration, is_authenticated: bool) -> Instant {
        let quiet = self.idle_deadline(idle, is_authenticated);
        let (waits, until) = self.bodies.get();
        if waits > 0 { quiet.max(until) } else { quiet }
    }
}

impl InFlight {
    /// The body of this call is waited for, at most that long.
    pub fn await_body(&self, limit: Duration) -> AwaitedBody {
        let Self(activity) = self;
        let (waits, until) = activity.bodies.get();
        activity.bodies.set((waits + 1, until.max(monotonic_now() + limit + GRACE)));
        AwaitedBody(activity.clone())
    }
}

impl Drop for AwaitedBody {
    fn drop(&mut self) {
        let (waits, until) = self.0.bodies.get();
        self.0.bodies.set((waits.saturating_sub(1), until));
        // From here on its answer has the time that every answer has.
        self.0.touch();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state.set((self.0.state.get().0.saturating_sub(1), monotonic_now()));
        // The protocol has the last byte of its answer, and has yet to write it.
        self.0.unflushed.set(true);
        self.0.wake();
    }
}

impl TrackedBody {
    /// A whole body, and what is to be done once it has left.
    pub fn new(
        bytes: Bytes,
        post_response: Option<PostResponse>,
        outbox: &PendingResponses,
        busy: InFlight,
        unfinished: Unfinished,
    ) -> Self {
        let (bytes, outbox) = (Some(bytes), outbox.clone());
        let mut body = Self {
            bytes,
            post_response,
            pending: outbox,
            _in_flight: busy,
            _unfinished: unfinished,
        };
        // An empty one leaves with its headers and is never asked for.
        if body.bytes.as_ref().is_some_and(Bytes::is_empty) {
            body.take();
        }
        body
    }

    fn take(&mut self) -> Option<Bytes> {
        let bytes = self.bytes.take()?;
        if let Some(post_response) = self.post_response.take() {
            self.pending.put(post_response);
        }
        Some(bytes)
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.remaining() as u64))
    }
}

/// How long a call may be in progress on an HTTP/2 connection on which nothing else happens: far longer than any budget. What is not
/// over by then waits for a client that does not read.
const MAX_CALL: Duration = Duration::from_secs(30);
/// How much longer a connection stands than a body on it is waited for: what came of it decides,
/// and the answer has yet to be made.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes that are read at a time.
const READ_SIZE: usize = 16 << 10;
/// How long a peer may read nothing while there is something to read.
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_not_quiet_while_a_body_may_come() {
        let (activity, begun) = (ActivityTracker::new(), Instant::now());
        let busy = activity.begin();
        let idle_deadline_with_body = |authenticated| {
            activity.idle_deadline_with_body(WRITE_STALL_TIMEOUT * 4, authenticated)
        };
        assert!(
            idle_deadline_with_body(false) <= Instant::now() + WRITE_STALL_TIMEOUT,
            "a client that does not read"
        );
        let body = busy.await_body(WRITE_STALL_TIMEOUT * 10);
        drop(busy.await_body(WRITE_STALL_TIMEOUT));
        assert!(
            [false, true]
                .map(idle_deadline_with_body)
                .iter()
                .all(|at| *at >= begun + WRITE_STALL_TIMEOUT * 10)
        );
        drop(body);
        assert!(
            idle_deadline_with_body(false) <= Instant::now() + WRITE_STALL_TIMEOUT,
            "its answer leaves, or does not"
        );
        drop(busy);
    }
}

//! A connection that knows when a reply has left, and that does not wait for ever to write one.
//!
//! Invariant: what is to be done after a reply is done when its last byte was given to the kernel (delivered), or when the
//! connection is dropped first (not delivered), and exactly once. A peer that reads nothing for [`STALL`] is given up. Over HTTP/2 a
//! reply counts as delivered with the first flush after the protocol took its last byte, which the client's window may still hold back.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use crate::afterwards::Afterwards;

/// Replies handed to the connection that may not have left yet.
#[derive(Clone, Default)]
pub struct Outbox {
    waiting: Rc<RefCell<Vec<Afterwards>>>,
}

/// The socket, or the TLS over it, watched.
pub struct Connection<S> {
    socket: TokioIo<S>,
    /// What was read before it was known what is spoken.
    said: Bytes,
    outbox: Outbox,
    /// Runs while the peer does not read.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Outbox {
    /// A reply goes to the connection now.
    pub fn put(&self, afterwards: Afterwards) {
        self.waiting.borrow_mut().push(afterwards);
    }

    fn delivered(&self) {
        // Taken out first: what runs may not find the box borrowed.
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Afterwards::delivered);
    }
}

impl<S> Connection<S> {
    /// Watches a socket of which this was read already.
    pub fn new(socket: S, outbox: Outbox, said: &[u8]) -> Self {
        Self {
            socket: TokioIo::new(socket),
            said: Bytes::copy_from_slice(said),
            outbox,
            stall: None,
        }
    }

    /// Lets a write that is not done wait, but not for longer than [`STALL`].
    fn bounded<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Read for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.said.is_empty() {
            let part = self.said.len().min(buffer.remaining());
            buffer.put_slice(&self.said.split_to(part));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> Write for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.bounded(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, buffers);
        self.bounded(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// The protocol flushes the socket only after it has written all it holds.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.outbox.delivered();
        }
        self.bounded(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// When something happened last on an HTTP/2 connection, and whether a call is in progress.
#[derive(Clone)]
pub struct Activity {
    state: Rc<Cell<(usize, Instant)>>,
}

/// A call in progress.
pub struct Busy(Activity);

/// The body of a response over HTTP/2.
pub struct Tracked {
    bytes: Option<Bytes>,
    afterwards: Option<Afterwards>,
    outbox: Outbox,
    _busy: Busy,
}

impl Activity {
    /// It begins now.
    pub fn new() -> Self {
        Self { state: Rc::new(Cell::new((0, Instant::now()))) }
    }

    /// A call begins.
    pub fn begin(&self) -> Busy {
        self.state.set((self.state.get().0 + 1, Instant::now()));
        Busy(self.clone())
    }

    /// When nothing will have happened for that long; a call in progress counts as something, but not for ever.
    pub fn quiet_at(&self, idle: Duration) -> Instant {
        let (calls, last) = self.state.get();
        last + if calls > 0 { idle.max(LONGEST_CALL) } else { idle }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state.set((self.0.state.get().0.saturating_sub(1), Instant::now()));
    }
}

impl Tracked {
    /// A whole body, and what is to be done once it has left.
    pub fn new(bytes: Bytes, afterwards: Option<Afterwards>, outbox: &Outbox, busy: Busy) -> Self {
        let mut body = Self { bytes: Some(bytes), afterwards, outbox: outbox.clone(), _busy: busy };
        // An empty one leaves with its headers and is never asked for.
        if body.bytes.as_ref().is_some_and(Bytes::is_empty) {
            body.take();
        }
        body
    }

    fn take(&mut self) -> Option<Bytes> {
        let bytes = self.bytes.take()?;
        if let Some(afterwards) = self.afterwards.take() {
            self.outbox.put(afterwards);
        }
        Some(bytes)
    }
}

impl Body for Tracked {
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
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// How long a peer may read nothing while there is something to read.
const STALL: Duration = Duration::from_secs(5);

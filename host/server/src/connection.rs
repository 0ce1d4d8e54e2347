//! A connection that knows when a reply has left, and that does not wait for ever to write one.
//!
//! Invariant: what is to be done after a reply is done when its last byte was given to the kernel (delivered), or when the
//! connection is dropped first (not delivered), and exactly once. A peer that reads nothing for [`STALL`] is given up.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::afterwards::Afterwards;

/// Replies handed to the connection that may not have left yet.
#[derive(Clone, Default)]
pub struct Outbox {
    waiting: Rc<RefCell<Vec<Afterwards>>>,
}

/// The socket, watched.
pub struct Connection {
    socket: TokioIo<TcpStream>,
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

impl Connection {
    /// Watches a socket.
    pub fn new(socket: TcpStream, outbox: Outbox) -> Self {
        Self { socket: TokioIo::new(socket), outbox, stall: None }
    }

    /// Lets a write that is not done wait, but not for longer than [`STALL`].
    fn bounded<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl Write for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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

/// How long a peer may read nothing while there is something to read.
const STALL: Duration = Duration::from_secs(5);

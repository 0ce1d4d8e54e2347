//! A connection that knows when a reply has left.
//!
//! Invariant: what is to be done after a reply is done when its last byte was given to the kernel (delivered), or when the
//! connection is dropped first (not delivered), and exactly once.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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
        Self { socket: TokioIo::new(socket), outbox }
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
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, buffers)
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
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

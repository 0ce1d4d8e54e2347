//! A client's end of its side of an HTTP/2 connection, held back while answers are on their way.
//!
//! Invariant: the HTTP/2 library takes the end of what can be read for the end of the connection and
//! drops every answer with it (h2 0.4, `Streams::recv_eof`), and a client may end its side once its
//! requests are whole (RFC 9293 section 3.6). So the library sees the end only when no call is in
//! progress and all that was written has left. Nothing else of the bytes is changed. How long a call
//! may be in progress is not decided here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Activity;

/// A socket, or the TLS over it, whose end is held back.
pub struct HalfOpen<S> {
    socket: S,
    activity: Activity,
    /// The client has ended its side.
    has_ended: bool,
}

impl<S> HalfOpen<S> {
    /// Holds the end back while there is a call in progress.
    pub fn new(socket: S, activity: Activity) -> Self {
        Self { socket, activity, has_ended: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HalfOpen<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_ended {
            if self.activity.has_calls() || self.activity.has_unsent() {
                self.activity.wake_when_quiet(context.waker());
                return Poll::Pending;
            }
            return Poll::Ready(Ok(()));
        }
        let (before, is_full) = (buffer.filled().len(), buffer.remaining() == 0);
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before && !is_full {
            self.has_ended = true;
            // The requests that came just before the end are taken up first.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HalfOpen<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.activity.mark_unsent(true);
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.mark_unsent(true);
        Pin::new(&mut self.socket).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if flushed.is_ready() {
            self.activity.mark_unsent(false);
            if self.has_ended {
                self.activity.wake_if_quiet();
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn the_end_is_seen_when_no_call_is_in_progress_and_all_has_left() {
        let (mut client, host) = tokio::io::duplex(1 << 10);
        let activity = Activity::new();
        let mut host = HalfOpen::new(host, activity.clone());
        client.write_all(b"request").await.unwrap();
        client.shutdown().await.unwrap();
        let mut read = [0; 7];
        host.read_exact(&mut read).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut ends = |host: &mut HalfOpen<_>| {
            let mut byte = [0];
            let read = pin!(host.read(&mut byte)).poll(&mut context);
            read.map(|read| read.unwrap() == 0) == Poll::Ready(true)
        };
        assert!(!ends(&mut host), "what came before the end is taken up first");
        let call = activity.begin();
        assert!(!ends(&mut host), "a call is in progress");
        host.write_all(b"answer").await.unwrap();
        host.flush().await.unwrap();
        // The library takes an answer first, and writes it when it is polled again.
        drop(call);
        assert!(!ends(&mut host), "the library has not written the rest of the answer");
        host.write_all(b"s").await.unwrap();
        assert!(!ends(&mut host), "the answer has not left");
        host.flush().await.unwrap();
        assert!(ends(&mut host) && ends(&mut host));
        drop(host);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answers");
    }
}

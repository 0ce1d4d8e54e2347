//! Listening sockets: how deep their queue is, and how they are accepted from.
//!
//! Invariant: a burst of as many connections as the host takes at once waits in the kernel's queue
//! and not for a second SYN, as far as `net.core.somaxconn` lets it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Opens a listening socket with a queue of at least `connections`.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: SocketAddr, connections: usize) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // As the standard library does: a restart must not wait for the connections of the last run.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    let listener = TcpListener::from(socket);
    configure(&listener, connections)?;
    Ok(listener)
}

/// Sets up a listening socket, also one that somebody else has opened: the depth of its queue, and
/// that accepting never blocks.
///
/// # Errors
/// It is no socket that can listen.
pub fn configure(listener: &TcpListener, connections: usize) -> io::Result<()> {
    let depth = i32::try_from(connections.max(MIN_QUEUE)).unwrap_or(i32::MAX);
    // On a socket that listens already this changes the depth alone.
    SockRef::from(listener).listen(depth)?;
    listener.set_nonblocking(true)
}

/// Closes a connection at once and leaves nothing of it in the kernel: its client gets a reset.
pub fn abort(stream: &impl AsFd) {
    // Where it cannot be set, the connection is closed in the ordinary way.
    drop(SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)));
}

/// Returns a warning where the kernel cuts queues to less than so many connections.
pub fn queue_warning(connections: usize) -> Option<String> {
    let text = portcullis_files::read_text_bounded(std::path::Path::new(SOMAXCONN), 64).ok()?;
    queue_warning_at(connections, text.trim().parse().ok()?)
}

fn queue_warning_at(connections: usize, most: usize) -> Option<String> {
    (most < connections).then(|| {
        format!(
            "the kernel limits the queue of new connections to {most} (net.core.somaxconn), below \
             listen.max_connections ({connections}): in a burst clients wait a second or more. Run \
             `sysctl -w net.core.somaxconn={connections}`, and set it in /etc/sysctl.d"
        )
    })
}

/// The least depth of a queue: so deep that a burst waits there while the acceptor is kept from
/// running.
const MIN_QUEUE: usize = 4_096;
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_queue_that_the_kernel_cuts_is_told() {
        assert_eq!(queue_warning_at(1_024, 4_096), None);
        let warning = queue_warning_at(8_192, 4_096).unwrap();
        assert!(warning.contains("sysctl -w net.core.somaxconn=8192"), "{warning}");
    }

    #[test]
    fn the_queue_takes_a_burst_that_nobody_accepts_yet() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 512).unwrap();
        let address = listener.local_addr().unwrap();
        let timeout = std::time::Duration::from_millis(900);
        // The standard library's own queue holds 128; a further client would wait for its second
        // SYN.
        let clients: Vec<_> =
            (0..400).map(|_| TcpStream::connect_timeout(&address, timeout)).collect();
        assert!(clients.iter().all(Result::is_ok));
        assert!(listener.accept().is_ok());
    }
}

//! Tells a service manager that the host answers (`Type=notify`, the protocol of `sd_notify(3)`).
//!
//! Invariant: one datagram, sent once the port is bound and signals are caught, so that no signal of
//! the manager comes before. A manager that cannot be told keeps the host from nothing.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the service manager that the host is up, where one waits for that (`NOTIFY_SOCKET`).
pub fn ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, b"READY=1\n") {
        tracing::warn!(
            event = "listen.not-notified",
            %error,
            "the host could not notify the service manager (NOTIFY_SOCKET) of its start, so the \
             manager may stop it: check `Type=` of the unit"
        );
    }
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // A manager whose queue is full must not keep the start waiting.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message, &address).map(drop)
}

//! The sockets that the host listens on: inherited from a supervisor (systemd's `LISTEN_FDS`), or
//! bound here.
//!
//! Invariant: an inherited socket obeys the same rules as a configured address: plain HTTP and the
//! admin listener stay on this machine unless the configuration permits otherwise. A socket that
//! the host has no use for is an error, since its clients would wait for ever. Protocol:
//! `sd_listen_fds(3)`.

use std::env;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::Config;
use crate::config::MAX_ADMIN_CONNECTIONS;
use crate::error::StartError;
use crate::net::socket;

/// The sockets of one process.
pub struct Sockets {
    /// For the platforms' calls.
    pub hooks: HookSocket,
    /// For the admin listener, where there is one.
    pub admin: Option<TcpListener>,
}

/// A bound socket for calls.
pub struct HookSocket {
    /// The socket, not blocking.
    pub listener: TcpListener,
    /// Its address.
    pub address: SocketAddr,
    /// Whether a supervisor keeps it open when this process ends.
    pub inherited: bool,
}

/// The descriptors that a supervisor handed over, not looked at yet.
pub struct Passed {
    names: String,
    sockets: ListenFd,
    /// Why sockets that the environment names are not this process's.
    not_ours: Option<String>,
    /// The problem with the environment's description of them.
    wrong: Option<String>,
}

/// Sockets that a supervisor handed over.
#[derive(Default)]
struct Inherited {
    hooks: Option<TcpListener>,
    admin: Option<TcpListener>,
}

impl Passed {
    /// Takes them out of the environment. Called once, before there are threads.
    pub fn take() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let none = |not_ours, wrong| Self {
            names: String::new(),
            sockets: ListenFd::empty(),
            not_ours,
            wrong,
        };
        let Some(count) = env::var_os("LISTEN_FDS") else { return none(None, None) };
        if let Err(why) = is_for(std::process::id(), env::var("LISTEN_PID").ok().as_deref()) {
            return none(Some(why), None);
        }
        match count.to_str().and_then(|count| count.parse::<usize>().ok()) {
            Some(0..=MAX_PASSED) => {
                Self { names, sockets: ListenFd::from_env(), not_ours: None, wrong: None }
            }
            _ => none(None, Some(format!("{} is not 0 to {MAX_PASSED}", count.display()))),
        }
    }
}

impl Sockets {
    /// Checks the inherited sockets, and binds those that were not inherited.
    ///
    /// # Errors
    /// [`StartError::Inherited`], [`StartError::Bind`] and [`StartError::BindAdmin`].
    pub fn bind(passed: Passed, config: &Config) -> Result<Self, StartError> {
        let Inherited { hooks, admin } = Inherited::check(passed, config)?;
        let inherited = hooks.is_some();
        let wanted = config.listen.address;
        let bind = |cause| StartError::Bind { address: wanted, cause };
        let depth = config.listen.max_connections;
        let listener = match hooks {
            Some(listener) => {
                socket::configure(&listener, depth)
                    .map_err(|error| StartError::Inherited(error.to_string()))?;
                warn_of_another_address("listen.address", wanted, &listener);
                listener
            }
            None => socket::listen(wanted, depth).map_err(bind)?,
        };
        let address = listener.local_addr().map_err(bind)?;
        let admin = match admin {
            None if config.admin.enabled => Some(bind_admin(config.admin.address)?),
            Some(admin) => {
                warn_of_another_address("admin.address", config.admin.address, &admin);
                Some(admin)
            }
            None => None,
        };
        Ok(Self { hooks: HookSocket { listener, address, inherited }, admin })
    }
}

/// Binds the admin listener's port.
pub fn bind_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = |cause| StartError::BindAdmin { address, cause };
    socket::listen(address, MAX_ADMIN_CONNECTIONS).map_err(bind)
}

impl Inherited {
    fn check(passed: Passed, config: &Config) -> Result<Self, StartError> {
        let Passed { names, sockets: mut passed, not_ours, wrong } = passed;
        if let Some(wrong) = wrong {
            return Err(StartError::Inherited(wrong));
        }
        if let Some(why) = not_ours {
            tracing::warn!(
                event = "listen.sockets-ignored",
                "LISTEN_FDS is set, but its sockets are not for this process ({why}); the host \
                 binds its own ports"
            );
        }
        let mut names = names.split(':');
        let mut sockets = Self::default();
        for number in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let wrong =
                |what: String| StartError::Inherited(format!("socket {number} (`{name}`): {what}"));
            let socket = passed
                .take_tcp_listener(number)
                .map_err(|error| wrong(error.to_string()))?
                .ok_or_else(|| wrong("it is not open".to_owned()))?;
            let address = socket.local_addr().map_err(|error| wrong(error.to_string()))?;
            if let Ok(peer) = SockRef::from(&socket).peer_addr() {
                let peer = peer.as_socket().map(|peer| format!(" to {peer}")).unwrap_or_default();
                return Err(wrong(format!("it is a connection{peer}, not a listening socket")));
            }
            socket.set_nonblocking(true).map_err(|error| wrong(error.to_string()))?;
            let place = if name == ADMIN {
                if !config.admin.enabled {
                    return Err(wrong("the configuration has no admin listener".to_owned()));
                }
                config.admin.check_address(address).map_err(wrong)?;
                &mut sockets.admin
            } else {
                config.listen.check_address(address).map_err(wrong)?;
                &mut sockets.hooks
            };
            if place.replace(socket).is_some() {
                return Err(wrong("another socket is for the same listener".to_owned()));
            }
        }
        Ok(sockets)
    }
}

/// Whether the sockets of the environment are for the process with this id: `sd_listen_fds(3)`
/// demands that `LISTEN_PID` names it.
fn is_for(own: u32, pid: Option<&str>) -> Result<(), String> {
    match pid {
        None => Err("LISTEN_PID is missing".to_owned()),
        Some(pid) if pid.parse() == Ok(own) => Ok(()),
        Some(pid) if pid.parse::<u32>().is_ok() => {
            Err(format!("LISTEN_PID is {pid}, but this process is {own}"))
        }
        Some(_) => Err("LISTEN_PID is not a process id".to_owned()),
    }
}

/// Warns where a supervisor's socket has another address than the configuration: the socket counts.
fn warn_of_another_address(setting: &str, wanted: SocketAddr, socket: &TcpListener) {
    let Ok(address) = socket.local_addr() else { return };
    if address == wanted || (wanted.port() == 0 && address.ip() == wanted.ip()) {
        return;
    }
    tracing::warn!(
        event = "listen.another-address",
        setting,
        %wanted,
        %address,
        "the inherited socket has another address than the configuration; the host listens on the \
         socket's address"
    );
}

/// Sockets that a supervisor may hand over: far more than the two that are of use, so that those
/// that are not can be named.
const MAX_PASSED: usize = 64;
/// The name of the admin listener's socket (`FileDescriptorName=`); every other socket is for
/// calls.
const ADMIN: &str = "admin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_this_processs_where_listen_pid_names_it() {
        assert_eq!(is_for(7, Some("7")), Ok(()));
        for other in [None, Some(""), Some("8"), Some("7 "), Some("0x7"), Some("-7")] {
            assert!(is_for(7, other).is_err(), "{other:?}");
        }
    }
}

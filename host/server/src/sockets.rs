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

use crate::admin::MAX_CONNECTIONS;
use crate::config::Config;
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
        Self { names, sockets: ListenFd::from_env() }
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
        let depth = config.listen.connections;
        let listener = match hooks {
            Some(listener) => {
                socket::configure(&listener, depth).map_err(bind)?;
                listener
            }
            None => socket::listen(wanted, depth).map_err(bind)?,
        };
        let address = listener.local_addr().map_err(bind)?;
        let admin = match admin {
            None if config.admin.enabled => Some(bind_admin(config.admin.address)?),
            admin => admin,
        };
        Ok(Self { hooks: HookSocket { listener, address, inherited }, admin })
    }
}

/// Binds the admin listener's port.
pub fn bind_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = |cause| StartError::BindAdmin { address, cause };
    socket::listen(address, MAX_CONNECTIONS).map_err(bind)
}

impl Inherited {
    fn check(passed: Passed, config: &Config) -> Result<Self, StartError> {
        let Passed { names, sockets: mut passed } = passed;
        let mut names = names.split(':');
        let mut sockets = Self::default();
        for number in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let wrong =
                |what: String| StartError::Inherited(format!("socket {number} (`{name}`): {what}"));
            let socket = passed
                .take_tcp_listener(number)
                .map_err(|error| wrong(error.to_string()))?
                .ok_or_else(|| wrong("it is gone".to_owned()))?;
            let address = socket.local_addr().map_err(|error| wrong(error.to_string()))?;
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
                return Err(wrong("there is another socket for the same listener".to_owned()));
            }
        }
        Ok(sockets)
    }
}

/// The name of the admin listener's socket (`FileDescriptorName=`); every other socket is for
/// calls.
const ADMIN: &str = "admin";

//! The listener: sockets in, one acceptor, one runtime a core.
//!
//! Invariants: a connection on which bytes were sent stays on one thread, so that a call is never
//! handed over; a stop lets calls in progress end, and every connection that was accepted is served
//! before that. How many connections there may be is `net::connection_limit`'s, how they are
//! accepted is `net::acceptor`'s, and what happens on one of them is `protocol`'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::error::StartError;
use crate::http::protocol::serve;
use crate::http::sockets::HookSocket;
use crate::net::acceptor::{Accepted, Acceptor, WatchedSocket};
use crate::state::frontend::Frontend;

/// A listener in operation.
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Starts serving on a bound socket.
    pub fn start(frontend: &Arc<Frontend>, socket: HookSocket) -> Result<Self, StartError> {
        let HookSocket { listener: socket, address, inherited } = socket;
        let config = Arc::clone(&frontend.active_config().config);
        let listen = &config.listen;
        let accepting = runtime()?;
        let socket = {
            let _context = accepting.enter();
            WatchedSocket::new(socket).map_err(|cause| StartError::Bind { address, cause })?
        };
        let (stop, stopping) = watch::channel(false);
        let mut threads = Vec::new();
        let mut workers = Vec::new();
        for number in 0..listen.workers {
            // Room for every connection there can be, so that handing one over never waits.
            let (sender, sockets) = mpsc::channel(listen.max_connections);
            let (frontend, stopping) = (Arc::clone(frontend), stopping.clone());
            let (name, runtime) = (format!("serve-{number}"), runtime()?);
            threads.push(spawn(name, move || worker_loop(&frontend, &runtime, sockets, stopping))?);
            workers.push(sender);
        }
        let limiter = Arc::clone(&frontend.connections);
        let first_bytes = Duration::from_millis(listen.first_bytes_timeout_ms);
        let proxy_protocol = listen.proxy_protocol;
        let acceptor = move || {
            Acceptor::new(limiter, workers, first_bytes, proxy_protocol).inherits(inherited)
        };
        let accept = move || accept(&accepting, socket, acceptor, stopping);
        threads.push(spawn("accept".to_owned(), accept)?);
        Ok(Self { address, stop, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no further connection, lets calls in progress end, and waits for that.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            // A thread that panicked has nothing left to wait for.
            drop(thread.join());
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    thread::Builder::new().name(name).spawn(run).map_err(StartError::Thread)
}

/// Accepts until the stop. The workers' queues end with it: what they hold by then is served.
fn accept(
    runtime: &Runtime,
    socket: WatchedSocket,
    acceptor: impl FnOnce() -> Acceptor,
    mut stopping: watch::Receiver<bool>,
) {
    let stop = async move { drop(stopping.wait_for(|stop| *stop).await) };
    LocalSet::new().block_on(runtime, async { acceptor().run(socket, stop).await });
}

fn worker_loop(
    frontend: &Arc<Frontend>,
    runtime: &Runtime,
    mut sockets: mpsc::Receiver<Accepted>,
    mut stopping: watch::Receiver<bool>,
) {
    let connections = LocalSet::new();
    runtime.block_on(async {
        connections
            .run_until(async {
                // Ends with the acceptor, and not before every connection was taken up.
                while let Some((stream, slot)) = sockets.recv().await {
                    let (frontend, stopping) = (Arc::clone(frontend), stopping.clone());
                    tokio::task::spawn_local(serve(frontend, stream, slot, stopping));
                }
                drop(stopping.wait_for(|stop| *stop).await);
            })
            .await;
        // Every connection ends by itself once its call has: bounded all the same.
        let drain = Duration::from_millis(frontend.active_config().config.listen.drain_timeout_ms);
        drop(tokio::time::timeout(drain, connections).await);
    });
}

fn runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)
}

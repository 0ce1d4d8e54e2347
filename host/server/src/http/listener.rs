//! The listener: sockets in, one acceptor, one runtime a core.
//!
//! Invariants: a connection on which bytes were sent stays on one thread, so that a call is never
//! handed over; a stop lets calls in flight end, and every connection that was accepted is served
//! before that. How many connections there may be is `net::connection_limit`'s, how they are
//! accepted is `net::acceptor`'s, and what happens on one of them is `protocol`'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::error::StartError;
use crate::http::protocol::serve;
use crate::http::sockets::HookSocket;
use crate::net::acceptor::{Accepted, Acceptor, WatchedSocket};
use crate::state::frontend::Frontend;
use crate::worker::{StopToken, Worker};

/// A listener in operation.
pub struct Listener {
    address: SocketAddr,
    threads: Vec<Worker>,
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
        let mut threads = Vec::new();
        let mut workers = Vec::new();
        for number in 0..listen.workers {
            // Room for every connection there can be, so that handing one over never waits.
            let (sender, sockets) = mpsc::channel(listen.max_connections);
            let (frontend, runtime) = (Arc::clone(frontend), runtime()?);
            threads.push(Worker::spawn(format!("serve-{number}"), move |stop| {
                worker_loop(&frontend, &runtime, sockets, stop);
            })?);
            workers.push(sender);
        }
        let limiter = Arc::clone(&frontend.connections);
        let first_bytes = Duration::from_millis(listen.first_bytes_timeout_ms);
        let proxy_protocol = listen.proxy_protocol;
        let acceptor = move || {
            Acceptor::new(limiter, workers, first_bytes, proxy_protocol).inherits(inherited)
        };
        threads.push(Worker::spawn("accept", move |stop| {
            accept(&accepting, socket, acceptor, stop);
        })?);
        Ok(Self { address, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no further connection, lets calls in flight end, and waits for that.
    pub fn stop(self) {
        // All of them at once: those that serve go on until their calls have ended.
        self.threads.iter().for_each(Worker::signal);
        self.threads.into_iter().for_each(Worker::stop);
    }
}

/// Accepts until the stop. The workers' queues end with it: what they hold by then is served.
fn accept(
    runtime: &Runtime,
    socket: WatchedSocket,
    acceptor: impl FnOnce() -> Acceptor,
    mut stop: StopToken,
) {
    let stop = async move { stop.stopped().await };
    LocalSet::new().block_on(runtime, async { acceptor().run(socket, stop).await });
}

fn worker_loop(
    frontend: &Arc<Frontend>,
    runtime: &Runtime,
    mut sockets: mpsc::Receiver<Accepted>,
    mut stop: StopToken,
) {
    let connections = LocalSet::new();
    runtime.block_on(async {
        connections
            .run_until(async {
                // Ends with the acceptor, and not before every connection was taken up.
                while let Some((stream, slot)) = sockets.recv().await {
                    let (frontend, stop) = (Arc::clone(frontend), stop.clone());
                    tokio::task::spawn_local(serve(frontend, stream, slot, stop));
                }
                stop.stopped().await;
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

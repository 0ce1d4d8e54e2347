//! The listener: sockets in, one acceptor, one runtime a core.
//!
//! Invariants: connections are bounded, and strangers give way; a connection stays on one thread, so that a call is never handed over; a
//! stop lets calls in progress end. What happens on one connection is `serve`'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::crowd::{Crowd, Guest};
use crate::error::StartError;
use crate::host::Host;
use crate::observe::log_limit::LOG_LIMITS;
use crate::serve::serve;

/// A listener in operation.
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Binds the port and starts serving.
    pub fn start(host: &Arc<Host>) -> Result<Self, StartError> {
        let wanted = host.config.listen.address;
        let bind = |cause| StartError::Bind { address: wanted, cause };
        let socket = std::net::TcpListener::bind(wanted).map_err(bind)?;
        socket.set_nonblocking(true).map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        let (stop, stopping) = watch::channel(false);
        let mut threads = Vec::new();
        let mut workers = Vec::new();
        for number in 0..host.config.listen.workers {
            // Room for every connection there can be, so that handing one over never waits.
            let (sender, sockets) = mpsc::channel(host.config.listen.connections);
            let (host, stopping) = (Arc::clone(host), stopping.clone());
            let (name, runtime) = (format!("serve-{number}"), runtime()?);
            threads.push(spawn(name, move || work(&host, &runtime, sockets, stopping))?);
            workers.push(sender);
        }
        let connections = host.config.listen.connections;
        let runtime = runtime()?;
        let acceptor = move || accept(&runtime, socket, &workers, connections, stopping);
        threads.push(spawn("accept".to_owned(), acceptor)?);
        Ok(Self { address, stop, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further call, lets those in progress end, and waits for that.
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

/// A socket on its way to the runtime that serves it, and its place among the connections.
type Accepted = (std::net::TcpStream, Arc<Guest>);

fn accept(
    runtime: &Runtime,
    socket: std::net::TcpListener,
    workers: &[mpsc::Sender<Accepted>],
    connections: usize,
    mut stopping: watch::Receiver<bool>,
) {
    runtime.block_on(async {
        let Ok(listener) = TcpListener::from_std(socket) else { return };
        let crowd = Crowd::new(connections);
        for worker in workers.iter().cycle() {
            let accepted = async {
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => break Some((stream.into_std().ok()?, crowd.enter().await?)),
                        // Out of descriptors, or a peer that left again: neither may end the acceptor.
                        Err(error) => {
                            if LOG_LIMITS.admit(ACCEPT_FAILED, "", Instant::now()) {
                                tracing::warn!(event = ACCEPT_FAILED, %error, "cannot accept a connection");
                            }
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            };
            tokio::select! {
                accepted = accepted => if let Some(accepted) = accepted { drop(worker.send(accepted).await) },
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    });
}

fn work(
    host: &Arc<Host>,
    runtime: &Runtime,
    mut sockets: mpsc::Receiver<Accepted>,
    stopping: watch::Receiver<bool>,
) {
    let mut stop = stopping.clone();
    let connections = LocalSet::new();
    runtime.block_on(async {
        connections
            .run_until(async {
                loop {
                    tokio::select! {
                        accepted = sockets.recv() => {
                            let Some((stream, guest)) = accepted else { break };
                            tokio::task::spawn_local(serve(Arc::clone(host), stream, guest, stopping.clone()));
                        }
                        _ = stop.wait_for(|stop| *stop) => break,
                    }
                }
            })
            .await;
        // Every connection ends by itself once its call has: bounded all the same.
        let drain = Duration::from_millis(host.in_force.load().config.listen.drain_ms);
        drop(tokio::time::timeout(drain, connections).await);
    });
}

fn runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)
}

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The event of a failed accept.
const ACCEPT_FAILED: &str = "listener.accept-failed";

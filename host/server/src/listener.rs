//! The listener: sockets in, one acceptor, one runtime a core.
//!
//! Invariants: a connection on which bytes were sent stays on one thread, so that a call is never handed
//! over; a stop lets calls in progress end. How many connections there may be is `net::connection_limit`'s,
//! how they are accepted is `net::acceptor`'s, and what happens on one of them is `serve`'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::error::StartError;
use crate::host::Host;
use crate::net::acceptor::{Accepted, Acceptor};
use crate::net::socket;
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
        let listen = &host.config.listen;
        let bind = |cause| StartError::Bind { address: listen.address, cause };
        let socket = socket::listen(listen.address, listen.connections).map_err(bind)?;
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
        let runtime = runtime()?;
        let limiter = Arc::clone(&host.connections);
        let first_bytes = Duration::from_millis(listen.first_bytes_ms);
        let proxy_protocol = listen.proxy_protocol;
        let acceptor = move || Acceptor::new(limiter, workers, first_bytes, proxy_protocol);
        let accept = move || accept(&runtime, socket, acceptor, stopping);
        threads.push(spawn("accept".to_owned(), accept)?);
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

fn accept(
    runtime: &Runtime,
    socket: std::net::TcpListener,
    acceptor: impl FnOnce() -> Acceptor,
    mut stopping: watch::Receiver<bool>,
) {
    let stop = async move { drop(stopping.wait_for(|stop| *stop).await) };
    LocalSet::new().block_on(runtime, async { acceptor().run(socket, stop).await });
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

//! Clients that connect and send nothing, from many loopback addresses, at a fixed rate.
//!
//! Invariant: bounded in rate, time and descriptors; what was opened is closed when it is dropped.
//! It connects without waiting, as a flooder does.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// A flood of connections while it lives.
pub struct Flood {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// A flood that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Connections that were opened.
    pub opened: u64,
    /// Connections a second.
    pub rate: f64,
}

impl Flood {
    /// Opens `rate` connections a second, each from the next of `sources` addresses, and keeps the
    /// newest `kept` of them open. Each address is in a /24 of its own.
    pub fn start(address: &str, rate: u64, sources: u32, kept: usize) -> Self {
        let to: Option<SocketAddrV4> = address.parse().ok();
        let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&opened));
        let run = move || {
            let Some(to) = to else { return };
            let begin = Instant::now();
            let mut open = VecDeque::with_capacity(kept);
            while !stopped.load(Ordering::Relaxed) {
                let due = begin.elapsed().as_micros() * u128::from(rate) / 1_000_000;
                let done = count.load(Ordering::Relaxed);
                if u128::from(done) >= due {
                    thread::sleep(Duration::from_micros(200));
                    continue;
                }
                let number = u32::try_from(done % u64::from(sources)).unwrap_or(0);
                if open.len() >= kept {
                    open.pop_front();
                }
                open.extend(begin_connection(source(number), to));
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        Self { stop, opened, thread: Some(thread::spawn(run)) }
    }

    /// Ends it.
    pub fn stop(mut self, since: Instant) -> Flooded {
        self.end();
        let opened = self.opened.load(Ordering::Relaxed);
        // A rate is for reading: so many digits are enough.
        let rate =
            u32::try_from(opened).map_or(f64::MAX, f64::from) / since.elapsed().as_secs_f64();
        Flooded { opened, rate }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end();
    }
}

/// Begins a connection from one address to another, without waiting for it.
pub fn begin_connection(from: Ipv4Addr, to: SocketAddrV4) -> Option<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
    bind(&socket, &SocketAddr::new(IpAddr::V4(from), 0)).ok()?;
    match connect(&socket, &SocketAddr::V4(to)) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Some(socket),
        Err(_) => None,
    }
}

/// The address of a source: 127.1.0.1, 127.1.1.1, 127.1.2.1, …
fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x7f01_0001 + (number % 0x00fd_0000) * 256 % 0x00fd_0000)
}

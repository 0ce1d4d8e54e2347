//! One connection's place among all.
//!
//! Invariant: a place is given back exactly once, when the slot is dropped. After a caller has
//! was authenticated, a call takes no lock here.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::Notify;

use super::ranking::Tier;
use super::{ConnectionLimiter, Rejected};
use crate::clock::monotonic_now;
use crate::net::networks::Prefix;
use crate::net::tls::Peer;

/// One connection. Gives its place back when it is dropped.
pub struct ConnectionSlot {
    pub(super) id: u64,
    limiter: Arc<ConnectionLimiter>,
    authenticated: AtomicBool,
    evicted: Notify,
    surplus: Notify,
    peer: OnceLock<Peer>,
}

/// A call in progress: its connection is not evicted until this is dropped.
pub struct CallGuard {
    slot: Arc<ConnectionSlot>,
    counted: bool,
}

impl ConnectionSlot {
    pub(super) fn new(id: u64, limiter: Arc<ConnectionLimiter>) -> Self {
        Self {
            id,
            limiter,
            authenticated: AtomicBool::new(false),
            evicted: Notify::new(),
            surplus: Notify::new(),
            peer: OnceLock::new(),
        }
    }

    /// The client has sent bytes. `Err` where there is no place for connections that have.
    pub fn mark_started(&self, now: Instant) -> Result<(), Rejected> {
        let mut state = self.limiter.state(now);
        self.limiter.start(&mut state, self.id, now)
    }

    /// Counts the connection under the client for which a proxy passes it on.
    pub fn set_client(&self, address: IpAddr, now: Instant) -> Result<(), Rejected> {
        let mut state = self.limiter.state(now);
        self.limiter.move_to(&mut state, self.id, address, now)
    }

    /// A request's head was read: until its answer is written the connection is not evicted.
    pub fn begin_call(self: &Arc<Self>) -> CallGuard {
        // Written once, so that a busy connection's calls only read.
        let counted = !self.authenticated.load(Ordering::Acquire);
        if counted {
            self.limiter.lock().begin_call(self.id);
        }
        CallGuard { slot: Arc::clone(self), counted }
    }

    /// a caller of a hook was authenticated on this connection. Where it has more connections than
    /// one caller may have, or no place would be left for others, the connection ends after its
    /// answer.
    pub fn mark_authenticated(&self, hook: &str, caller: &str) {
        // Written once, so that a busy connection's calls only read.
        if self.is_authenticated() || self.authenticated.swap(true, Ordering::AcqRel) {
            return;
        }
        // Callers with a secret are all called the same: each hook has its own.
        let caller: Arc<str> = format!("{hook}/{caller}").into();
        let limits = self.limiter.limits;
        let mut state = self.limiter.lock();
        let of_caller = state.authenticate(self.id, &caller);
        let surplus = of_caller > limits.per_caller || state.authenticated > limits.authenticated();
        drop(state);
        if surplus {
            self.limiter.counts.surplus.fetch_add(1, Ordering::Relaxed);
            self.surplus.notify_one();
        }
    }

    /// Returns whether a caller was authenticated on this connection.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Acquire)
    }

    /// The network that the connection is counted under; `None` for a proxy, behind which anybody
    /// may be.
    pub fn source(&self) -> Option<Prefix> {
        let source = self.limiter.lock().source(self.id)?;
        (source.tier != Tier::Proxy).then_some(source.prefix)
    }

    /// How many connections the host takes.
    pub fn max_connections(&self) -> usize {
        self.limiter.limits.connections
    }

    /// Comes to an end when the connection must be closed for another. One on which a call has
    /// begun meanwhile goes on.
    pub async fn evicted(&self) {
        loop {
            self.evicted.notified().await;
            if self.limiter.lock().is_evicted(self.id) {
                return;
            }
        }
    }

    /// Comes to an end when the connection is to be closed after its answer.
    pub async fn surplus(&self) {
        self.surplus.notified().await;
    }

    /// Sets the certificate that the client showed in the handshake.
    pub fn set_peer(&self, peer: Peer) {
        // There is one handshake.
        drop(self.peer.set(peer));
    }

    /// The client's certificate, where it showed one.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.get()
    }

    #[cfg(test)]
    pub(super) fn limiter_has_evicted(&self) -> bool {
        self.limiter.lock().is_evicted(self.id)
    }

    pub(super) fn notify(&self) {
        // Remembered where nothing waits for it yet.
        self.evicted.notify_one();
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limiter.lock().remove(self.id);
        self.limiter.ended.notify_one();
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if self.counted {
            self.slot.limiter.lock().end_call(self.slot.id, monotonic_now());
        }
    }
}

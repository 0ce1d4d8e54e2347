//! The limit on connections: how many there are at once, and which one is closed for another.
//!
//! Invariants: a connection on which a caller was authenticated is never evicted, nor is one
//! between the head of a request and the last byte of its answer. Among the others the source that
//! costs most loses first, and of it what is idle before what has sent bytes; a client is never
//! judged by the age of its connection alone. A source at its own limit makes room for its
//! newcomers by itself, in the same order: only while each of its connections has a call in
//! progress is a newcomer rejected. Every operation takes a number of steps that grows with the
//! logarithm of the number of connections. Time is handed in; no socket is touched here: a
//! connection that is evicted is told by [`ConnectionSlot::evicted`].

mod known_addresses;
mod ranking;
mod slot;
mod state;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::networks::{Networks, Prefix, client_address};
use ranking::{Phase, Source, Tier};
use state::{State, Which};

pub use slot::{CallGuard, ConnectionSlot};

/// All connections of the listener.
pub struct ConnectionLimiter {
    limits: ConnectionLimits,
    proxies: Networks,
    platforms: Networks,
    state: Mutex<State>,
    /// Notified when a connection has ended.
    ended: Notify,
    counts: Counts,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// At once.
    pub connections: usize,
    /// Of one source, without an authenticated caller.
    pub per_source: usize,
    /// Of one caller.
    pub per_caller: usize,
}

/// The reason why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Its source has as many as one may have, and each of them has a call in progress.
    Source,
    /// Every place is taken, and no connection costs more than this one.
    Full,
}

/// What happened to connections since the start, for metrics.
#[derive(Debug, Default)]
struct Counts {
    evicted: AtomicU64,
    rejected_source: AtomicU64,
    rejected_full: AtomicU64,
    /// Connections that end after their answer, because their caller has too many.
    surplus: AtomicU64,
}

/// The state of the limiter, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections on which a caller was authenticated.
    pub authenticated: usize,
    /// All others.
    pub unauthenticated: usize,
    /// Evicted since the start.
    pub evicted: u64,
    /// Not taken since the start, because their source had too many.
    pub rejected_source: u64,
    /// Not taken since the start, because every place was taken.
    pub rejected_full: u64,
    /// Closed after an answer since the start, because their caller had too many.
    pub surplus: u64,
}

impl ConnectionLimiter {
    /// Returns a limiter. `proxies` are exempt from the limit of one source, and with `platforms`
    /// they are evicted last.
    pub fn new(limits: ConnectionLimits, proxies: Networks, platforms: Networks) -> Arc<Self> {
        Arc::new(Self {
            limits,
            proxies,
            platforms,
            state: Mutex::new(State::new()),
            ended: Notify::new(),
            counts: Counts::default(),
        })
    }

    /// Returns whether connections from this address are a listed proxy's.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.contains(address)
    }

    /// Takes a new connection, if need be in place of another. `sent_bytes` says whether the client
    /// has sent something already.
    pub fn acquire(
        self: &Arc<Self>,
        address: IpAddr,
        sent_bytes: bool,
        now: Instant,
    ) -> Result<Arc<ConnectionSlot>, Rejected> {
        let mut state = self.state(now);
        let source = self.source_of(address, &state);
        let phase = if sent_bytes { Phase::Started } else { Phase::Idle };
        let slot = state.insert(self, address, source, phase, now);
        let result = self.admit(&mut state, slot.id, phase, now);
        drop(state);
        result.map(|()| slot)
    }

    /// Evicts the connection that costs most, where one may be evicted. Returns whether there was
    /// one.
    pub fn evict_one(&self, now: Instant) -> bool {
        let mut state = self.state(now);
        let victim =
            state.costliest().and_then(|rank| state.victim_of(rank.source, rank.phase, now));
        victim.is_some_and(|victim| self.evict(&mut state, victim))
    }

    /// Returns how many connections exist, those included that were evicted and are not closed yet.
    pub fn existing(&self) -> usize {
        self.lock().existing
    }

    /// Waits until some connection has ended. For one waiter, which is the acceptor.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Returns whether a connection that was rejected may have a place soon: where every place has
    /// a call in progress, or an authenticated caller.
    pub fn may_wait(&self, rejected: Rejected) -> bool {
        rejected == Rejected::Full && self.lock().costliest().is_none()
    }

    /// Returns the limits.
    pub fn limits(&self) -> ConnectionLimits {
        self.limits
    }

    /// Returns the counts for metrics.
    pub fn snapshot(&self) -> Snapshot {
        let (existing, authenticated) = {
            let state = self.lock();
            (state.existing, state.authenticated)
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            authenticated,
            unauthenticated: existing.saturating_sub(authenticated),
            evicted: count(&self.counts.evicted),
            rejected_source: count(&self.counts.rejected_source),
            rejected_full: count(&self.counts.rejected_full),
            surplus: count(&self.counts.surplus),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, with what is past forgotten.
    fn state(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.decay(now);
        state
    }

    /// The source that a new connection from an address is counted under.
    fn source_of(&self, address: IpAddr, state: &State) -> Source {
        let tier = if self.proxies.contains(address) {
            Tier::Proxy
        } else if self.platforms.contains(address) {
            Tier::Platform
        } else if state.known.has_room(client_address(address)) {
            Tier::Known
        } else {
            Tier::Ordinary
        };
        Source { tier, prefix: Prefix::of(address) }
    }

    /// Makes room for a connection that is in the state already, or takes it out again.
    fn admit(
        &self,
        state: &mut State,
        id: u64,
        phase: Phase,
        now: Instant,
    ) -> Result<(), Rejected> {
        let result = self.admit_to_source(state, id, now).and_then(|()| match phase {
            Phase::Idle => Ok(()),
            Phase::Started => self.admit_started(state, id, now),
        });
        let result = result.and_then(|()| {
            let full = state.held > self.limits.connections;
            let room = !full || self.evict_costliest(state, id, Which::Any, now);
            if room { Ok(()) } else { Err(Rejected::Full) }
        });
        self.reject_unless(result, state, id)
    }

    /// Takes a connection out that is not admitted.
    fn reject_unless(
        &self,
        result: Result<(), Rejected>,
        state: &mut State,
        id: u64,
    ) -> Result<(), Rejected> {
        result.inspect_err(|rejected| {
            state.evict(id);
            let counter = match rejected {
                Rejected::Source => &self.counts.rejected_source,
                Rejected::Full => &self.counts.rejected_full,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Holds a source to its limit.
    fn admit_to_source(&self, state: &mut State, id: u64, now: Instant) -> Result<(), Rejected> {
        let Some(source) = state.source(id).filter(|source| source.tier == Tier::Ordinary) else {
            return Ok(());
        };
        if state.open_of(source) <= self.limits.per_source {
            return Ok(());
        }
        // What has sent part of a request and not the rest keeps no newcomer of its source out.
        let victim = state
            .victim_beside(source, Phase::Idle, id, now)
            .or_else(|| state.victim_beside(source, Phase::Started, id, now));
        let evicted = victim.is_some_and(|victim| self.evict(state, victim));
        if evicted { Ok(()) } else { Err(Rejected::Source) }
    }

    /// Evicts a connection that costs at least as much as this one. Returns whether there was one.
    fn evict_costliest(&self, state: &mut State, id: u64, which: Which, now: Instant) -> bool {
        let victim = state.victim_for(id, which, now);
        victim.is_some_and(|victim| self.evict(state, victim))
    }

    fn evict(&self, state: &mut State, id: u64) -> bool {
        let evicted = state.evict(id);
        if evicted {
            self.counts.evicted.fetch_add(1, Ordering::Relaxed);
        }
        evicted
    }

    /// The client of an idle connection has sent bytes.
    fn start(&self, state: &mut State, id: u64, now: Instant) -> Result<(), Rejected> {
        if !state.start(id, now) {
            return Ok(());
        }
        let result = self.admit_started(state, id, now);
        self.reject_unless(result, state, id)
    }

    /// A connection counts under another source: that of the client behind a proxy.
    fn move_to(
        &self,
        state: &mut State,
        id: u64,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Rejected> {
        let source = self.source_of(address, state);
        state.move_to(id, source, address, now);
        let result = self.admit_to_source(state, id, now);
        self.reject_unless(result, state, id)
    }

    /// Keeps some places for clients that have just connected, so that connections which send
    /// slowly cannot take them all. Where no other one does, there is nothing to keep them from:
    /// callers and calls in flight alone turn nobody away while there is a place.
    fn admit_started(&self, state: &mut State, id: u64, now: Instant) -> Result<(), Rejected> {
        let most = self.limits.connections.saturating_sub(self.limits.kept_idle());
        let room = state.busy() <= most
            || !state.has_started_beside(id)
            || self.evict_costliest(state, id, Which::Started, now);
        if room { Ok(()) } else { Err(Rejected::Full) }
    }
}

impl Rejected {
    /// The word for it in logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Full => "full",
        }
    }
}

impl ConnectionLimits {
    /// Places that only connections have whose client has not sent anything yet: at most half of
    /// those that authenticated connections leave, so that with as many of these as there may be
    /// some clients can be sending.
    fn kept_idle(&self) -> usize {
        let left = self.connections.saturating_sub(self.authenticated());
        (self.connections / 8).clamp(1, MAX_KEPT_IDLE).min(left / 2)
    }

    /// How many connections may be kept open on which a caller was authenticated: so many that
    /// others can still prove themselves.
    fn authenticated(&self) -> usize {
        let kept = (self.connections / 8).max(self.connections.min(MAX_KEPT_IDLE) / 2);
        self.connections.saturating_sub(kept).max(1)
    }
}

/// The most of [`ConnectionLimits::kept_idle`].
const MAX_KEPT_IDLE: usize = 16;
/// How long a connection may be idle before it is evicted ahead of newer ones of the same cost:
/// three round trips between continents.
const IDLE_GRACE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;

//! What the limiter knows of every connection and source.
//!
//! Invariant: a connection stands in `ranks`, through its source, exactly while it may be evicted.
//! The number of sources that are remembered without an open connection is bounded.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::known_addresses::KnownAddresses;
use super::ranking::{Member, Phase, Rank, Source, Tier};
use super::slot::ConnectionSlot;
use super::{ConnectionLimiter, IDLE_GRACE};
use crate::net::networks::{Prefix, client_address};

/// All connections and sources.
pub struct State {
    /// Connections that exist, those included that were evicted and are not closed yet.
    pub existing: usize,
    /// Connections that were not evicted.
    pub held: usize,
    /// Connections on which a caller was authenticated.
    pub authenticated: usize,
    /// Addresses from which a caller was authenticated.
    pub known: KnownAddresses,
    next: u64,
    connections: HashMap<u64, Connection>,
    sources: HashMap<Source, Costs>,
    callers: HashMap<Arc<str>, usize>,
    ranks: BTreeSet<Rank>,
    /// Connections without a caller that are idle.
    idle: usize,
    /// Connections whose client has sent bytes, and that may be evicted.
    started: usize,
    /// Sources without an open connection.
    remembered: usize,
    decayed: Option<Instant>,
}

/// The connections among which one is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that may be evicted.
    Any,
    /// Those of them whose client has sent bytes.
    Started,
}

/// One connection.
struct Connection {
    slot: Weak<ConnectionSlot>,
    address: IpAddr,
    source: Source,
    stage: Stage,
    /// Calls in progress.
    calls: u32,
}

enum Stage {
    /// It may be evicted. The time is when the phase began.
    Waiting(Phase, Instant),
    /// A call is in progress.
    Calling,
    /// It was evicted and is not closed yet.
    Evicted,
    /// This caller was authenticated on it.
    Authenticated(Arc<str>),
}

/// What one source costs.
#[derive(Default)]
struct Costs {
    /// Connections without a caller, whatever they do.
    open: usize,
    /// Connections that ended lately without an authenticated caller: halved every [`DECAY`].
    failed: u32,
    idle: BTreeSet<Member>,
    started: BTreeSet<Member>,
}

impl State {
    pub fn new() -> Self {
        Self {
            existing: 0,
            held: 0,
            authenticated: 0,
            known: KnownAddresses::default(),
            next: 0,
            connections: HashMap::new(),
            sources: HashMap::new(),
            callers: HashMap::new(),
            ranks: BTreeSet::new(),
            idle: 0,
            started: 0,
            remembered: 0,
            decayed: None,
        }
    }

    /// Adds a connection.
    pub fn insert(
        &mut self,
        limiter: &Arc<ConnectionLimiter>,
        address: IpAddr,
        source: Source,
        phase: Phase,
        now: Instant,
    ) -> Arc<ConnectionSlot> {
        let id = self.next;
        self.next += 1;
        let slot = Arc::new(ConnectionSlot::new(id, Arc::clone(limiter)));
        let connection = Connection {
            slot: Arc::downgrade(&slot),
            address,
            source,
            stage: Stage::Calling,
            calls: 0,
        };
        self.connections.insert(id, connection);
        self.existing += 1;
        self.held += 1;
        self.join(source, address);
        self.wait(id, phase, now);
        slot
    }

    /// Forgets a connection that has ended.
    pub fn remove(&mut self, id: u64) {
        self.stop_waiting(id);
        let Some(connection) = self.connections.remove(&id) else { return };
        self.existing = self.existing.saturating_sub(1);
        match connection.stage {
            Stage::Authenticated(caller) => {
                self.held = self.held.saturating_sub(1);
                self.authenticated = self.authenticated.saturating_sub(1);
                if let Some(count) = self.callers.get_mut(&caller) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.callers.remove(&caller);
                    }
                }
            }
            Stage::Waiting(..) | Stage::Calling => {
                self.held = self.held.saturating_sub(1);
                self.leave(connection.source, connection.address, true);
            }
            // It left its source when it was evicted.
            Stage::Evicted => {}
        }
    }

    /// Evicts a connection that may be evicted: it is told to end, and is counted no more. Returns
    /// whether it was one.
    pub fn evict(&mut self, id: u64) -> bool {
        if !self.stop_waiting(id) {
            return false;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        connection.stage = Stage::Evicted;
        let (slot, source, address) =
            (connection.slot.clone(), connection.source, connection.address);
        self.held = self.held.saturating_sub(1);
        self.leave(source, address, true);
        if let Some(slot) = slot.upgrade() {
            slot.notify();
        }
        true
    }

    /// Returns whether a connection was evicted.
    pub fn is_evicted(&self, id: u64) -> bool {
        self.connections.get(&id).is_none_or(|it| matches!(it.stage, Stage::Evicted))
    }

    /// The client of an idle connection has sent bytes. Returns whether that is news.
    pub fn start(&mut self, id: u64, now: Instant) -> bool {
        let idle = matches!(
            self.connections.get(&id).map(|it| &it.stage),
            Some(Stage::Waiting(Phase::Idle, _))
        );
        if idle {
            self.stop_waiting(id);
            self.wait(id, Phase::Started, now);
        }
        idle
    }

    /// A call begins: from here on the connection is not evicted. One that was just evicted stays:
    /// its call must not be lost.
    pub fn begin_call(&mut self, id: u64) {
        self.stop_waiting(id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.calls = connection.calls.saturating_add(1);
        if matches!(connection.stage, Stage::Evicted) {
            connection.stage = Stage::Calling;
            let (source, address) = (connection.source, connection.address);
            self.held += 1;
            self.join(source, address);
        }
    }

    /// The last byte of an answer was written, or will never be.
    pub fn end_call(&mut self, id: u64, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.calls = connection.calls.saturating_sub(1);
        if connection.calls == 0 && matches!(connection.stage, Stage::Calling) {
            self.wait(id, Phase::Idle, now);
        }
    }

    /// A caller was authenticated on a connection. Returns how many connections that caller has.
    pub fn authenticate(&mut self, id: u64, caller: &Arc<str>) -> usize {
        self.stop_waiting(id);
        let Some(connection) = self.connections.get_mut(&id) else { return 0 };
        let (source, address) = (connection.source, connection.address);
        match std::mem::replace(&mut connection.stage, Stage::Authenticated(Arc::clone(caller))) {
            Stage::Authenticated(before) => {
                // Two callers on one connection: it stays the first one's.
                connection.stage = Stage::Authenticated(before);
                return 0;
            }
            Stage::Evicted => self.held += 1,
            Stage::Waiting(..) | Stage::Calling => self.leave(source, address, false),
        }
        self.authenticated += 1;
        self.known.insert(client_address(address));
        let count = self.callers.entry(Arc::clone(caller)).or_default();
        *count += 1;
        *count
    }

    /// Counts a connection under another source: that of the client behind a proxy.
    pub fn move_to(&mut self, id: u64, source: Source, address: IpAddr, now: Instant) {
        self.stop_waiting(id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !matches!(connection.stage, Stage::Calling) {
            return;
        }
        let before = (connection.source, connection.address);
        (connection.source, connection.address) = (source, address);
        self.leave(before.0, before.1, false);
        self.join(source, address);
        self.wait(id, Phase::Idle, now);
    }

    /// The source that a connection is counted under, while it is.
    pub fn source(&self, id: u64) -> Option<Source> {
        self.connections.get(&id).map(|it| it.source)
    }

    /// The connections of a source without a caller.
    pub fn open_of(&self, source: Source) -> usize {
        self.sources.get(&source).map_or(0, |costs| costs.open)
    }

    /// Connections that are not idle, or on which a caller was authenticated.
    pub fn busy(&self) -> usize {
        self.held.saturating_sub(self.idle)
    }

    /// Whether another connection has sent bytes and may be evicted.
    pub fn has_started_beside(&self, id: u64) -> bool {
        let own = self.member(id).is_some_and(|(phase, _)| phase == Phase::Started);
        self.started > usize::from(own)
    }

    /// The connections that are evicted first.
    pub fn costliest(&self) -> Option<Rank> {
        self.ranks.first().copied()
    }

    /// The connection of a source and phase that is evicted first: the oldest where that had its
    /// time, else the newest, so that those before it have theirs.
    pub fn victim_of(&self, source: Source, phase: Phase, now: Instant) -> Option<u64> {
        let members = self.sources.get(&source)?.members(phase);
        let oldest = members.first()?;
        if now.saturating_duration_since(oldest.0) >= phase.grace() {
            return Some(oldest.1);
        }
        members.last().map(|(_, id)| *id)
    }

    /// The same without one connection.
    pub fn victim_beside(
        &mut self,
        source: Source,
        phase: Phase,
        id: u64,
        now: Instant,
    ) -> Option<u64> {
        let own = self.member(id).filter(|(own, _)| *own == phase).map(|(_, member)| member);
        let members = self.sources.get_mut(&source)?.members_mut(phase);
        let taken = own.filter(|own| members.remove(own));
        let victim = self.victim_of(source, phase, now);
        if let (Some(taken), Some(costs)) = (taken, self.sources.get_mut(&source)) {
            costs.members_mut(phase).insert(taken);
        }
        victim
    }

    /// The connection that is evicted for another one, which is in the state already: any, or one
    /// that has sent bytes. `None` where that other one costs most.
    pub fn victim_for(&mut self, id: u64, which: Which, now: Instant) -> Option<u64> {
        let (phase, own) = self.member(id)?;
        let source = self.source(id)?;
        let cost = self.sources.get(&source)?.cost();
        // Without itself, and counted with what it costs.
        self.change(source, |costs| {
            costs.members_mut(phase).remove(&own);
        });
        let rank = match which {
            Which::Any => self.costliest(),
            Which::Started => self.costliest_started(now),
        };
        let victim = rank.and_then(|rank| self.victim_ahead(rank, source, phase, cost, now));
        self.change(source, |costs| {
            costs.members_mut(phase).insert(own);
        });
        victim
    }

    /// The connections that are evicted first among those that have sent bytes.
    fn costliest_started(&self, now: Instant) -> Option<Rank> {
        Tier::ALL
            .into_iter()
            .find_map(|tier| {
                let prefix = Prefix::of(std::net::Ipv4Addr::UNSPECIFIED.into());
                let source = Source { tier, prefix };
                let phase = Phase::Started;
                let first = Rank { tier, phase, cost: Reverse(u32::MAX), oldest: (now, 0), source };
                self.ranks.range(first..).next().filter(|it| (it.tier, it.phase) == (tier, phase))
            })
            .copied()
    }

    fn victim_ahead(
        &self,
        rank: Rank,
        own: Source,
        phase: Phase,
        cost: u32,
        now: Instant,
    ) -> Option<u64> {
        match (rank.tier, rank.phase).cmp(&(own.tier, phase)) {
            std::cmp::Ordering::Greater => return None,
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                if cost > rank.cost.0 && rank.source != own {
                    return None;
                }
            }
        }
        if now.saturating_duration_since(rank.oldest.0) >= rank.phase.grace() {
            return self.victim_of(rank.source, rank.phase, now);
        }
        // None of those that cost as much has had its time: the newest goes.
        let last = Rank { oldest: (now + FOREVER, u64::MAX), ..rank };
        let newest = self.ranks.range(..=last).next_back().unwrap_or(&rank);
        self.victim_of(newest.source, newest.phase, now)
    }

    /// Halves what sources are remembered to have cost, once every [`DECAY`].
    pub fn decay(&mut self, now: Instant) {
        let last = *self.decayed.get_or_insert(now);
        let passed = now.saturating_duration_since(last).as_millis() / DECAY.as_millis();
        let crowded = self.remembered > MAX_REMEMBERED;
        if passed == 0 && !crowded {
            return;
        }
        if passed > 0 {
            self.decayed = Some(now);
        }
        let shift = u32::try_from(passed).unwrap_or(u32::MAX);
        self.sources.retain(|_, costs| {
            costs.failed = costs.failed.checked_shr(shift).unwrap_or(0);
            costs.open > 0 || (costs.failed > 0 && !crowded)
        });
        self.remembered = self.sources.values().filter(|costs| costs.open == 0).count();
        self.ranks = self.sources.iter().flat_map(|(source, costs)| costs.ranks(*source)).collect();
    }

    /// A connection without a caller is counted under its source.
    fn join(&mut self, source: Source, address: IpAddr) {
        if source.tier == Tier::Known {
            self.known.take(client_address(address));
        }
        self.change(source, |costs| costs.open += 1);
    }

    fn leave(&mut self, source: Source, address: IpAddr, failed: bool) {
        if source.tier == Tier::Known {
            self.known.give_back(client_address(address));
        }
        self.change(source, |costs| {
            costs.open = costs.open.saturating_sub(1);
            if failed {
                costs.failed = costs.failed.saturating_add(1);
            }
        });
    }

    fn wait(&mut self, id: u64, phase: Phase, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.stage = Stage::Waiting(phase, now);
        let source = connection.source;
        *self.count_of(phase) += 1;
        self.change(source, |costs| {
            costs.members_mut(phase).insert((now, id));
        });
    }

    /// From here on a connection may not be evicted. Returns whether it was one that may.
    fn stop_waiting(&mut self, id: u64) -> bool {
        let Some((phase, member)) = self.member(id) else { return false };
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        connection.stage = Stage::Calling;
        let source = connection.source;
        let count = self.count_of(phase);
        *count = count.saturating_sub(1);
        self.change(source, |costs| {
            costs.members_mut(phase).remove(&member);
        });
        true
    }

    /// How many connections of a phase may be evicted.
    fn count_of(&mut self, phase: Phase) -> &mut usize {
        match phase {
            Phase::Idle => &mut self.idle,
            Phase::Started => &mut self.started,
        }
    }

    fn member(&self, id: u64) -> Option<(Phase, Member)> {
        match self.connections.get(&id)?.stage {
            Stage::Waiting(phase, since) => Some((phase, (since, id))),
            Stage::Calling | Stage::Evicted | Stage::Authenticated(_) => None,
        }
    }

    /// Changes a source, and its ranks with it.
    fn change(&mut self, source: Source, change: impl FnOnce(&mut Costs)) {
        let costs = self.sources.entry(source).or_default();
        for rank in costs.ranks(source) {
            self.ranks.remove(&rank);
        }
        let was_remembered = costs.is_remembered();
        change(costs);
        self.ranks.extend(costs.ranks(source));
        match (was_remembered, costs.is_remembered()) {
            (false, true) => self.remembered += 1,
            (true, false) => self.remembered = self.remembered.saturating_sub(1),
            _ => {}
        }
        if costs.open == 0 && costs.failed == 0 {
            self.sources.remove(&source);
        }
    }

    #[cfg(test)]
    pub fn remembered(&self) -> (usize, usize, usize) {
        (self.connections.len(), self.sources.len(), self.ranks.len())
    }
}

impl Costs {
    /// Whether it is kept for what it has cost alone.
    fn is_remembered(&self) -> bool {
        self.open == 0 && self.failed > 0
    }

    fn cost(&self) -> u32 {
        u32::try_from(self.open).unwrap_or(u32::MAX).saturating_add(self.failed)
    }

    fn members(&self, phase: Phase) -> &BTreeSet<Member> {
        match phase {
            Phase::Idle => &self.idle,
            Phase::Started => &self.started,
        }
    }

    fn members_mut(&mut self, phase: Phase) -> &mut BTreeSet<Member> {
        match phase {
            Phase::Idle => &mut self.idle,
            Phase::Started => &mut self.started,
        }
    }

    fn ranks(&self, source: Source) -> impl Iterator<Item = Rank> + use<> {
        let cost = Reverse(self.cost());
        let rank = |phase: Phase, members: &BTreeSet<Member>| {
            let oldest = *members.first()?;
            Some(Rank { tier: source.tier, phase, cost, oldest, source })
        };
        let idle = rank(Phase::Idle, &self.idle);
        let started = rank(Phase::Started, &self.started);
        idle.into_iter().chain(started)
    }
}

impl Phase {
    fn grace(self) -> Duration {
        match self {
            Self::Idle => IDLE_GRACE,
            // A request that has come whole is read at once: what is older has had longer.
            Self::Started => Duration::ZERO,
        }
    }
}

/// The time in which what a source is remembered to have cost is halved.
const DECAY: Duration = Duration::from_secs(1);
/// Sources that are remembered without an open connection.
const MAX_REMEMBERED: usize = 8_192;
/// Later than any phase that has begun.
const FOREVER: Duration = Duration::from_secs(3_600);

//! The breaker of one binding: a plugin that fails too often is quarantined for a while, and comes
//! back by one real call as a trial.
//!
//! ```text
//! asked ──failures reach the error budget──▶ quarantined ──back-off over, next call──▶ on trial
//!   ▲                                            ▲                                        │
//!   └────────────────────── good ────────────────┼──────────────── bad: twice as long ◀───┘
//! ```
//!
//! Invariants: a call that began before a change of state has no effect on the state after it;
//! there is one probe at a time; the time is passed in. `evaluate` decides which results are
//! failures; a denial never is one. A failure budget is a part of all runs besides a number, so
//! that a person who can make a plugin fail on their own calls cannot have it quarantined for all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::plugin_limits::ErrorBudget;

/// Decides whether a binding is asked.
pub struct Breaker {
    budget: ErrorBudget,
    /// Grows with every change of state; even while the plugin is asked.
    epoch: AtomicU64,
    state: Mutex<State>,
}

/// Leave to ask, once. One that is given up without a word puts a trial back.
pub struct BreakerPermit {
    breaker: Arc<Breaker>,
    epoch: u64,
    probe: bool,
    recorded: bool,
}

/// What a run has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is left alone from here on.
    Quarantined {
        /// Failures within the window.
        failures: u32,
        /// Runs within the window.
        runs: u32,
        /// For so long.
        for_: Duration,
    },
    /// A trial went wrong: it is left alone for longer.
    ProbeFailed {
        /// For so long.
        for_: Duration,
    },
    /// A trial went well: it is asked again.
    Recovered {
        /// How many trials it took.
        probes: u32,
        /// How long it was left alone.
        after: Duration,
    },
}

/// How a binding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is asked.
    Closed,
    /// It is left alone for so long yet.
    Open(Duration),
    /// The next call is a trial.
    HalfOpenDue,
    /// A trial is under way.
    HalfOpen,
}

struct State {
    phase: Phase,
    window: Window,
    /// How often the back-off doubled.
    level: u32,
    /// When the first of the quarantines in a row began.
    since: Option<Instant>,
    probes: u32,
    /// When the last quarantine ended.
    recovered_at: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { until: Instant },
}

impl Breaker {
    /// Of a binding that nothing is known of yet.
    pub fn new(budget: ErrorBudget) -> Arc<Self> {
        let window = Window::new(budget.window);
        let state = State {
            phase: Phase::Closed,
            window,
            level: 0,
            since: None,
            probes: 0,
            recovered_at: None,
        };
        Arc::new(Self { budget, epoch: AtomicU64::new(0), state: Mutex::new(state) })
    }

    /// Leave to ask; nothing while it is left alone.
    pub fn try_acquire(self: &Arc<Self>, now: Instant) -> Option<BreakerPermit> {
        let pass = |epoch, probe| BreakerPermit {
            breaker: Arc::clone(self),
            epoch,
            probe,
            recorded: false,
        };
        let epoch = self.epoch.load(Ordering::Acquire);
        // The usual case takes no lock.
        if epoch.is_multiple_of(2) {
            return Some(pass(epoch, false));
        }
        let mut state = self.lock();
        match state.phase {
            Phase::Closed => Some(pass(self.epoch.load(Ordering::Acquire), false)),
            Phase::Open { until } if until <= now => {
                state.phase = Phase::HalfOpen { until };
                state.probes = state.probes.saturating_add(1);
                Some(pass(self.advance_epoch(2), true))
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// Leave to ask whatever its state: for hooks whose safe answer lets everything pass. While it is left alone by others, only a trial
    /// says anything about it.
    pub fn acquire_ignoring_state(self: &Arc<Self>, now: Instant) -> BreakerPermit {
        // No epoch is this one: what comes of it counts for nothing.
        let none = || BreakerPermit {
            breaker: Arc::clone(self),
            epoch: u64::MAX,
            probe: false,
            recorded: false,
        };
        self.try_acquire(now).unwrap_or_else(none)
    }

    /// How it stands.
    pub fn state(&self, now: Instant) -> BreakerState {
        if self.epoch.load(Ordering::Acquire).is_multiple_of(2) {
            return BreakerState::Closed;
        }
        match self.lock().phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { until } if until <= now => BreakerState::HalfOpenDue,
            Phase::Open { until } => BreakerState::Open(until.saturating_duration_since(now)),
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a call would not be let through at this moment.
    pub fn would_reject(&self, now: Instant) -> bool {
        matches!(self.state(now), BreakerState::Open(_) | BreakerState::HalfOpen)
    }

    fn record(&self, pass: &BreakerPermit, now: Instant, good: bool) -> Option<Transition> {
        let mut state = self.lock();
        if pass.epoch != self.epoch.load(Ordering::Acquire) {
            return None;
        }
        match state.phase {
            Phase::Closed => {
                state.window.record(now, good);
                let (runs, failures) = state.window.sum(now);
                let spent =
                    u64::from(failures) * 100 >= u64::from(runs) * u64::from(self.budget.percent);
                if good || failures < self.budget.errors || !spent {
                    return None;
                }
                let relapse = state
                    .recovered_at
                    .is_some_and(|at| now.saturating_duration_since(at) < self.budget.max_backoff);
                state.level = if relapse { state.level.saturating_add(1) } else { 0 };
                (state.since, state.probes) = (Some(now), 0);
                let for_ = self.quarantine(&mut state, now, 1);
                Some(Transition::Quarantined { failures, runs, for_ })
            }
            Phase::HalfOpen { .. } if good => {
                state.phase = Phase::Closed;
                state.window = Window::new(self.budget.window);
                state.recovered_at = Some(now);
                self.advance_epoch(1);
                let after = now.saturating_duration_since(state.since.unwrap_or(now));
                Some(Transition::Recovered { probes: state.probes, after })
            }
            Phase::HalfOpen { .. } => {
                state.level = state.level.saturating_add(1);
                Some(Transition::ProbeFailed { for_: self.quarantine(&mut state, now, 2) })
            }
            Phase::Open { .. } => None,
        }
    }

    fn quarantine(&self, state: &mut State, now: Instant, steps: u64) -> Duration {
        let factor = 1u32.checked_shl(state.level).unwrap_or(u32::MAX);
        let for_ = self.budget.backoff.saturating_mul(factor).min(self.budget.max_backoff);
        state.phase = Phase::Open { until: now + for_ };
        self.advance_epoch(steps);
        for_
    }

    /// A trial that came to nothing: the next call is one.
    fn return_probe(&self, epoch: u64) {
        let mut state = self.lock();
        if let Phase::HalfOpen { until } = state.phase
            && epoch == self.epoch.load(Ordering::Acquire)
        {
            state.phase = Phase::Open { until };
            state.probes = state.probes.saturating_sub(1);
            self.advance_epoch(2);
        }
    }

    /// Another state: odd steps change whether the plugin is asked. Called under the lock.
    fn advance_epoch(&self, steps: u64) -> u64 {
        self.epoch.fetch_add(steps, Ordering::AcqRel).wrapping_add(steps)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerPermit {
    /// Whether this is a trial.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// How the run went.
    pub fn record(mut self, now: Instant, good: bool) -> Option<Transition> {
        self.recorded = true;
        let breaker = Arc::clone(&self.breaker);
        breaker.record(&self, now, good)
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        if self.probe && !self.recorded {
            self.breaker.return_probe(self.epoch);
        }
    }
}

/// Runs and failures of the last while, in slots that fall out one after the other.
struct Window {
    /// When the first run was noted.
    begin: Option<Instant>,
    step: Duration,
    /// Number of the newest slot.
    newest: u64,
    /// Runs and failures.
    slots: [(u32, u32); SLOTS],
}

impl Window {
    fn new(length: Duration) -> Self {
        let step = (length / SLOTS_DIVISOR).max(Duration::from_nanos(1));
        Self { begin: None, step, newest: 0, slots: [(0, 0); SLOTS] }
    }

    fn record(&mut self, now: Instant, good: bool) {
        self.advance(now);
        let place = slot_index(self.newest);
        if let Some((runs, failures)) = self.slots.get_mut(place) {
            *runs = runs.saturating_add(1);
            *failures = failures.saturating_add(u32::from(!good));
        }
    }

    fn sum(&mut self, now: Instant) -> (u32, u32) {
        self.advance(now);
        self.slots.iter().fold((0, 0), |(runs, failures), slot| {
            (runs.saturating_add(slot.0), failures.saturating_add(slot.1))
        })
    }

    /// Empties what has fallen out since the last look. Threads look at the clock a little apart: time never runs back here.
    fn advance(&mut self, now: Instant) {
        let begin = *self.begin.get_or_insert(now);
        let since = now.saturating_duration_since(begin).as_nanos() / self.step.as_nanos();
        let slot = u64::try_from(since).unwrap_or(u64::MAX).max(self.newest);
        for passed in
            self.newest.saturating_add(1)..=slot.min(self.newest.saturating_add(SLOTS as u64))
        {
            if let Some(slot) = self.slots.get_mut(slot_index(passed)) {
                *slot = (0, 0);
            }
        }
        self.newest = slot;
    }
}

fn slot_index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS as u64).unwrap_or_default()
}

/// Slots of a window.
const SLOTS: usize = 10;
const SLOTS_DIVISOR: u32 = SLOTS as u32;

#[cfg(test)]
mod tests;

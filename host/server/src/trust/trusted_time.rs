//! Trusted time: how far this machine's clock is believed, and what holds while it is not.
//!
//! Invariant: trusted time is never above the true time by the fault of one clock alone, and never
//! runs backwards but by a signed time reset. A clock that is more than a day ahead of what the
//! host knows is not believed until something else agrees with it: an authenticated platform, a
//! signed document that was made within that day, or a signed confirmation. None of these moves the
//! time; it can only agree with the clock, so that no single source can push it. Until then trusted
//! time goes on from the last moment that was believed, by the machine's monotonic clock, so that
//! nothing durable ever holds the wrong time. The states are in `clock_machine`. This file reads no
//! file and writes no record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use portcullis_audit::{RecordTime, TimeMark};
use portcullis_model::Millis;

use super::clock_machine::{ClockMachine, ClockReading, is_fresh, millis};
use crate::clock::{Clock, monotonic_now};

/// The time that the host goes by, for all threads.
pub struct TrustedTime {
    clock: Clock,
    began: Instant,
    /// When a platform's clock was observed last, milliseconds of monotonic time.
    observed: AtomicU64,
    state: Mutex<ClockMachine>,
}

/// How far this machine's clock is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// The clock is believed.
    Trusted,
    /// The clock is more than a day ahead of all that is known: it waits for agreement.
    Unconfirmed,
    /// The clock is more than a day behind trusted time.
    Behind,
}

/// The source that agreed with the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The time of an event of an authenticated platform.
    Platform,
    /// The `issued` of a release set or a trust root.
    Document,
    /// A signed confirmation of the clock.
    Operator,
    /// The clock itself is within the limit again.
    Clock,
    /// A signed time reset.
    Reset,
}

/// A change that belongs into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockAlarm {
    /// The clock is not believed: it is too far ahead.
    Unconfirmed {
        /// The host's clock.
        clock: Millis,
        /// Trusted time.
        trusted: Millis,
    },
    /// The clock is not believed: it is too far behind.
    Behind {
        /// The host's clock.
        clock: Millis,
        /// Trusted time.
        trusted: Millis,
    },
    /// The clock is believed again.
    Confirmed {
        /// By what.
        by: Confirmation,
        /// The host's clock.
        clock: Millis,
        /// Trusted time before.
        before: Millis,
    },
    /// A platform's clock is more than five minutes away.
    Skew {
        /// How far it is ahead of the host's, milliseconds; negative where it is behind.
        ahead: i64,
    },
    /// No platform's clock is so far away any more.
    NoSkew,
}

/// All of it at one moment, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How far the clock is believed.
    pub state: ClockState,
    /// Trusted time.
    pub trusted: Millis,
    /// The host's clock.
    pub clock: Millis,
    /// When the newest signed document that is known was made.
    pub newest_document: Option<Millis>,
    /// How far a platform's clock is ahead, milliseconds, where one was observed within the hour.
    pub platform_ahead: Option<i64>,
}

impl TrustedTime {
    /// Begins. `floor` is the time of the newest durable record, or of what was active, whichever
    /// is later; 0 where nothing is known. `documents` are the times at which verified documents
    /// were made.
    pub fn new(clock: Clock, floor: Millis, documents: &[Millis]) -> Self {
        let began = monotonic_now();
        let machine = ClockMachine::new(floor, documents, ClockReading::first(clock.now()));
        Self { clock, began, observed: AtomicU64::new(0), state: Mutex::new(machine) }
    }

    /// Trusted time: the least that the time is known to be.
    pub fn now(&self) -> Millis {
        self.evaluate().0.time
    }

    /// The time that the ends of trust documents are checked against. While the clock is not
    /// confirmed it stands still, so that nothing expires.
    pub fn for_documents(&self) -> Millis {
        let (machine, _) = self.evaluate();
        machine.held.unwrap_or(machine.time)
    }

    /// The time that calls are decided by: the host's clock, never below trusted time.
    pub fn for_calls(&self) -> Millis {
        let (machine, reading) = self.evaluate();
        machine.time.max(reading.wall)
    }

    /// The time that a record gets.
    pub fn for_records(&self) -> RecordTime {
        let (machine, ClockReading { wall, .. }) = self.evaluate();
        let mark = machine.state.mark().map(|state| TimeMark { state, host_clock: wall.0 });
        RecordTime { at: machine.time.0, mark }
    }

    /// How far the clock is believed.
    pub fn state(&self) -> ClockState {
        self.evaluate().0.state
    }

    /// Returns whether the clock is too far ahead and nothing has confirmed it.
    pub fn is_unconfirmed(&self) -> bool {
        self.state() == ClockState::Unconfirmed
    }

    /// There is a durable record of this time.
    pub fn raise_floor(&self, floor: Millis) {
        self.evaluate().0.raise_floor(floor);
    }

    /// A document with enough signatures was made at this time.
    pub fn observe_document(&self, issued: Millis) {
        let (mut machine, reading) = self.evaluate();
        machine.observe_document(issued, reading);
    }

    /// A signed confirmation for this host's log was made at this time. Returns whether the clock
    /// agrees with it, which is all that it can say.
    pub fn confirm(&self, issued: Millis) -> bool {
        let (mut machine, reading) = self.evaluate();
        let agrees = is_fresh(issued, reading.wall);
        if agrees {
            machine.confirm(Confirmation::Operator, reading);
        }
        agrees
    }

    /// Begins anew at this time: a time reset was signed.
    pub fn reset(&self, floor: Millis) {
        let (mut machine, reading) = self.evaluate();
        machine.reset(floor, reading);
    }

    /// Returns whether the time of a platform's event is to be observed now: always while the clock
    /// is not confirmed, else once a second.
    pub fn observes_platform(&self) -> bool {
        let (machine, reading) = self.evaluate();
        if machine.state == ClockState::Unconfirmed {
            return true;
        }
        drop(machine);
        let now = millis(reading.monotonic);
        let last = self.observed.load(Ordering::Relaxed);
        now.saturating_sub(last) >= OBSERVE_EVERY_MS
            && self
                .observed
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// An authenticated platform says that an event of this moment was at this time.
    pub fn observe_platform(&self, event_time: Millis) {
        let (mut machine, reading) = self.evaluate();
        machine.observe_platform(event_time, reading);
    }

    /// Takes the changes that belong into the log, oldest first.
    pub fn take_alarms(&self) -> Vec<ClockAlarm> {
        let (mut machine, reading) = self.evaluate();
        machine.evaluate_skew(reading);
        std::mem::take(&mut machine.alarms)
    }

    /// All of it, for people.
    pub fn snapshot(&self) -> Snapshot {
        let (machine, reading) = self.evaluate();
        Snapshot {
            state: machine.state,
            trusted: machine.time,
            clock: reading.wall,
            newest_document: machine.issued,
            platform_ahead: machine.fresh_platform(reading).map(|seen| seen.ahead),
        }
    }

    fn evaluate(&self) -> (MutexGuard<'_, ClockMachine>, ClockReading) {
        let mut machine = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that readings reach the machine in their order.
        let monotonic = monotonic_now().saturating_duration_since(self.began);
        let reading = ClockReading { wall: self.clock.now(), monotonic };
        machine.evaluate(reading);
        (machine, reading)
    }
}

impl ClockState {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Unconfirmed => "unconfirmed",
            Self::Behind => "behind",
        }
    }

    /// The mark that records carry.
    fn mark(self) -> Option<&'static str> {
        (self != Self::Trusted).then(|| self.name())
    }
}

impl Confirmation {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Document => "document",
            Self::Operator => "confirmation",
            Self::Clock => "clock",
            Self::Reset => "time-reset",
        }
    }
}

/// How often a platform's clock is observed while ours is believed.
const OBSERVE_EVERY_MS: u64 = 1_000;

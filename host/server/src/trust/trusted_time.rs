//! Trusted time: how far this machine's clock is believed, and what holds while it is not.
//!
//! Invariant: trusted time is never above the true time by the fault of one clock alone, and never
//! runs backwards but by a signed time reset. A clock that is more than a day ahead of what the host
//! knows is not believed until something else agrees with it: an authenticated platform, a signed
//! document that was made within that day, or a signed confirmation. None of these moves the time; it
//! can only agree with the clock, so that no single source can push it. Until then trusted time goes
//! on from the last moment that was believed, by the machine's monotonic clock, so that nothing
//! durable ever holds the wrong time. This file reads no file and writes no record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_audit::{RecordTime, TimeMark};
use portcullis_model::Millis;

use crate::clock::Clock;

/// The time that the host goes by, for all threads.
pub struct TrustedTime {
    clock: Clock,
    began: Instant,
    /// When a platform's clock was observed last, milliseconds of monotonic time.
    observed: AtomicU64,
    state: Mutex<Machine>,
}

/// How far this machine's clock is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// The clock is believed.
    Trusted,
    /// The clock is more than [`MAX_JUMP`] ahead of all that is known: it waits for agreement.
    Unconfirmed,
    /// The clock is more than [`MAX_JUMP`] behind trusted time.
    Behind,
}

/// What agreed with the clock.
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
    /// A platform's clock is more than [`MAX_SKEW`] away.
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
    /// Begins. `floor` is the time of the newest durable record, or of what was active, whichever is
    /// later; 0 where nothing is known. `documents` are the times at which verified documents were made.
    pub fn new(clock: Clock, floor: Millis, documents: &[Millis]) -> Self {
        let began = Instant::now();
        let machine = Machine::new(floor, documents, Reading::first(clock.now()));
        Self { clock, began, observed: AtomicU64::new(0), state: Mutex::new(machine) }
    }

    /// Trusted time: the least that the time is known to be.
    pub fn now(&self) -> Millis {
        self.evaluate().0.time
    }

    /// The time that the ends of trust documents are checked against. While the clock is not confirmed
    /// it stands still, so that nothing expires.
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
        let (machine, Reading { wall, .. }) = self.evaluate();
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

    /// A signed confirmation for this host's log was made at this time. Returns whether the clock agrees
    /// with it, which is all that it can say.
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

    /// Returns whether the time of a platform's event is to be observed now: always while the clock is
    /// not confirmed, else once a second.
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

    fn evaluate(&self) -> (MutexGuard<'_, Machine>, Reading) {
        let mut machine = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that readings reach the machine in their order.
        let monotonic = self.clock.instant().saturating_duration_since(self.began);
        let reading = Reading { wall: self.clock.now(), monotonic };
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

/// One reading of this machine's clocks.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Millis,
    /// Since the process began.
    monotonic: Duration,
}

impl Reading {
    fn first(wall: Millis) -> Self {
        Self { wall, monotonic: Duration::ZERO }
    }
}

/// What a platform's clock was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Observation {
    /// Milliseconds that it is ahead of the host's; negative where it is behind.
    ahead: i64,
    /// When, in monotonic time.
    at: Duration,
}

/// The states and what moves between them. Pure: every reading is passed in.
#[derive(Debug)]
struct Machine {
    state: ClockState,
    /// Trusted time at the last reading.
    time: Millis,
    /// What documents are checked against while the clock is not confirmed.
    held: Option<Millis>,
    /// What a clock would show that was right when something last agreed with it: the clock may run
    /// [`MAX_JUMP`] ahead of this and no further, in however many steps. `None` where nothing is known.
    expected: Option<Millis>,
    /// The newest document.
    issued: Option<Millis>,
    monotonic: Duration,
    platform: Option<Observation>,
    is_skewed: bool,
    alarms: Vec<ClockAlarm>,
}

impl Machine {
    fn new(floor: Millis, documents: &[Millis], reading: Reading) -> Self {
        let is_past = |issued: &Millis| *issued <= after(reading.wall, MAX_AGREEMENT);
        let issued = documents.iter().copied().filter(is_past).max();
        // Where there is no record yet, the documents are all that is known of the time. Their signer's
        // clock alone must not raise it either.
        let begins = floor == Millis(0);
        let expected =
            if begins { issued.map(|issued| issued.min(reading.wall)) } else { Some(floor) };
        let time = expected.unwrap_or(floor);
        let mut machine = Self {
            state: ClockState::Trusted,
            time,
            held: None,
            expected,
            issued,
            monotonic: reading.monotonic,
            platform: None,
            is_skewed: false,
            alarms: Vec::new(),
        };
        machine.evaluate(reading);
        machine
    }

    /// Takes a reading, and with it the state that follows from it.
    fn evaluate(&mut self, reading: Reading) {
        let step = reading.monotonic.saturating_sub(self.monotonic).min(MAX_STEP);
        self.monotonic = self.monotonic.max(reading.monotonic);
        self.expected = self.expected.map(|expected| after(expected, step));
        let wall = reading.wall;
        let agrees = self.issued.is_some_and(|issued| is_fresh(issued, wall));
        let within = self.expected.is_none_or(|expected| wall <= after(expected, MAX_JUMP));
        if !within && !agrees {
            self.doubt(ClockState::Unconfirmed, wall);
            self.time = after(self.time, step);
        } else if after(wall, MAX_JUMP) < self.time {
            self.doubt(ClockState::Behind, wall);
            self.time = after(self.time, step);
        } else {
            let by = if within { Confirmation::Clock } else { Confirmation::Document };
            if within {
                self.believe(by, wall);
            } else {
                self.confirm(by, reading);
            }
        }
    }

    fn doubt(&mut self, state: ClockState, wall: Millis) {
        if self.state == state {
            return;
        }
        self.held = (state == ClockState::Unconfirmed).then_some(self.time);
        self.state = state;
        let trusted = self.time;
        self.alarm(match state {
            ClockState::Behind => ClockAlarm::Behind { clock: wall, trusted },
            _ => ClockAlarm::Unconfirmed { clock: wall, trusted },
        });
    }

    /// The clock is right as far as anybody can tell.
    fn believe(&mut self, by: Confirmation, wall: Millis) {
        if self.state != ClockState::Trusted {
            self.alarm(ClockAlarm::Confirmed { by, clock: wall, before: self.time });
        }
        self.state = ClockState::Trusted;
        self.held = None;
        self.time = self.time.max(wall);
        self.expected = self.expected.or(Some(wall));
    }

    /// Something else agrees with the clock.
    fn confirm(&mut self, by: Confirmation, reading: Reading) {
        if after(reading.wall, MAX_JUMP) < self.time {
            // Only a time reset takes trusted time back.
            return;
        }
        self.expected = Some(reading.wall.max(self.time));
        self.believe(by, reading.wall);
    }

    fn raise_floor(&mut self, floor: Millis) {
        if floor == Millis(0) {
            return;
        }
        self.time = self.time.max(floor);
        self.expected = self.expected.max(Some(floor));
    }

    fn observe_document(&mut self, issued: Millis, reading: Reading) {
        if issued <= after(reading.wall, MAX_AGREEMENT) {
            self.issued = self.issued.max(Some(issued));
        }
        if is_fresh(issued, reading.wall) {
            // Not as far as the clock: the document says only that it is at least so late.
            self.expected = self.expected.max(Some(issued));
            if self.state == ClockState::Unconfirmed {
                self.confirm(Confirmation::Document, reading);
            }
        }
    }

    fn reset(&mut self, floor: Millis, reading: Reading) {
        let before = self.time;
        // A document of the time that is taken back says nothing any more.
        self.issued = self.issued.filter(|issued| *issued <= after(reading.wall, MAX_AGREEMENT));
        self.time = floor;
        self.expected = Some(floor);
        self.held = None;
        if self.state != ClockState::Trusted {
            self.state = ClockState::Trusted;
            let by = Confirmation::Reset;
            self.alarm(ClockAlarm::Confirmed { by, clock: reading.wall, before });
        }
        self.evaluate(reading);
    }

    fn observe_platform(&mut self, event_time: Millis, reading: Reading) {
        let signed = |time: Millis| i64::try_from(time.0).unwrap_or(i64::MAX);
        let ahead = signed(event_time).saturating_sub(signed(reading.wall));
        let distance = Duration::from_millis(ahead.unsigned_abs());
        if distance > MAX_JUMP {
            // An old event that is sent again, or a clock so odd that it says nothing.
            return;
        }
        if distance <= MAX_AGREEMENT {
            self.confirm(Confirmation::Platform, reading);
        }
        let seen = Observation { ahead, at: reading.monotonic };
        // An event that is sent again is older than its platform's clock: within a minute the one
        // that is furthest ahead counts.
        let keeps = self.platform.is_some_and(|known| {
            reading.monotonic.saturating_sub(known.at) <= SUPERSEDE && known.ahead > ahead
        });
        if !keeps {
            self.platform = Some(seen);
        }
    }

    fn fresh_platform(&self, reading: Reading) -> Option<Observation> {
        self.platform.filter(|seen| reading.monotonic.saturating_sub(seen.at) <= PLATFORM_FRESH)
    }

    fn evaluate_skew(&mut self, reading: Reading) {
        let skew = self
            .fresh_platform(reading)
            .filter(|seen| Duration::from_millis(seen.ahead.unsigned_abs()) > MAX_SKEW);
        let was = std::mem::replace(&mut self.is_skewed, skew.is_some());
        match skew {
            Some(seen) if !was => self.alarm(ClockAlarm::Skew { ahead: seen.ahead }),
            None if was => self.alarm(ClockAlarm::NoSkew),
            _ => {}
        }
    }

    fn alarm(&mut self, alarm: ClockAlarm) {
        // Bounded: a clock that flaps faster than records are made is told about once a round.
        if self.alarms.len() < MAX_ALARMS {
            self.alarms.push(alarm);
        }
    }
}

fn after(time: Millis, duration: Duration) -> Millis {
    Millis(time.0.saturating_add(millis(duration)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a document of this time agrees with the clock: it was made at most a day ago, and not in
/// the future.
fn is_fresh(issued: Millis, wall: Millis) -> bool {
    issued <= after(wall, MAX_AGREEMENT) && wall <= after(issued, MAX_JUMP)
}

/// How far ahead of what is known, or behind it, the clock may be by itself: a day.
pub const MAX_JUMP: Duration = Duration::from_secs(24 * 60 * 60);
/// How near the time of a platform's event must be to agree with the clock: five minutes.
pub const MAX_AGREEMENT: Duration = Duration::from_secs(5 * 60);
/// How far away a platform's clock may be before that is told: five minutes.
pub const MAX_SKEW: Duration = Duration::from_secs(5 * 60);
/// The monotonic time that counts between two readings. The clock is read twice a second; a longer
/// pause is a stopped machine, or a monotonic clock that was moved too. To count less is safe.
const MAX_STEP: Duration = Duration::from_secs(60 * 60);
/// How often a platform's clock is observed while ours is believed.
const OBSERVE_EVERY_MS: u64 = 1_000;
/// How long an observation counts.
const PLATFORM_FRESH: Duration = Duration::from_secs(60 * 60);
/// How long an observation that is further ahead counts before others.
const SUPERSEDE: Duration = Duration::from_secs(60);
/// Changes that may wait for the log.
const MAX_ALARMS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: u64 = 1_793_534_400_000;
    const MINUTE: u64 = 60_000;
    const DAY: u64 = 24 * 60 * MINUTE;

    /// A machine whose clocks a test moves.
    struct Bench {
        machine: Machine,
        wall: u64,
        monotonic: u64,
    }

    impl Bench {
        fn start(floor: u64, issued: Option<u64>, wall: u64) -> Self {
            let reading = Reading::first(Millis(wall));
            let documents: Vec<_> = issued.map(Millis).into_iter().collect();
            let machine = Machine::new(Millis(floor), &documents, reading);
            Self { machine, wall, monotonic: 0 }
        }

        fn reading(&self) -> Reading {
            let monotonic = Duration::from_millis(self.monotonic);
            Reading { wall: Millis(self.wall), monotonic }
        }

        /// Both clocks run, in steps of half a minute.
        fn run(&mut self, time: u64) {
            for _ in 0..time.div_ceil(MINUTE / 2) {
                self.wall += MINUTE / 2;
                self.monotonic += MINUTE / 2;
                self.machine.evaluate(self.reading());
            }
        }

        /// The wall clock is set.
        fn set(&mut self, wall: u64) -> ClockState {
            self.wall = wall;
            self.machine.evaluate(self.reading());
            self.machine.state
        }

        fn platform(&mut self, event_time: u64) -> ClockState {
            self.machine.observe_platform(Millis(event_time), self.reading());
            self.machine.state
        }

        fn time(&self) -> u64 {
            self.machine.time.0
        }
    }

    #[test]
    fn a_clock_that_starts_ahead_leaves_no_trace_when_it_is_right_again() {
        let mut ahead = Bench::start(NOON, Some(NOON - DAY), NOON + 400 * DAY);
        assert_eq!(ahead.machine.state, ClockState::Unconfirmed);
        ahead.run(60 * MINUTE);
        assert_eq!(ahead.time(), NOON + 60 * MINUTE, "time goes on without the clock");
        assert_eq!(ahead.machine.held, Some(Millis(NOON)), "nothing expires");
        // The next start knows the time of the last record.
        let right = Bench::start(ahead.time(), Some(NOON - DAY), NOON + 61 * MINUTE);
        assert_eq!((right.machine.state, right.time()), (ClockState::Trusted, right.wall));
        assert!(right.machine.alarms.is_empty());
    }

    #[test]
    fn a_first_start_believes_no_clock_that_is_far_ahead_of_its_documents() {
        let ahead = Bench::start(0, Some(NOON), NOON + 400 * DAY);
        assert_eq!((ahead.machine.state, ahead.time()), (ClockState::Unconfirmed, NOON));
        let right = Bench::start(0, Some(NOON), NOON + DAY / 2);
        assert_eq!((right.machine.state, right.time()), (ClockState::Trusted, NOON + DAY / 2));
        // A document from the future raises nothing either.
        let odd = Bench::start(0, Some(NOON + 400 * DAY), NOON);
        assert_eq!((odd.machine.state, odd.time()), (ClockState::Trusted, NOON));
        let bare = Bench::start(0, None, NOON);
        assert_eq!((bare.machine.state, bare.time()), (ClockState::Trusted, NOON));
    }

    #[test]
    fn a_host_that_was_off_for_a_month_believes_its_clock_when_a_platform_agrees() {
        let mut host = Bench::start(NOON, Some(NOON), NOON + 30 * DAY);
        assert_eq!(host.machine.state, ClockState::Unconfirmed);
        for odd in [NOON, NOON + 30 * DAY - 6 * MINUTE, NOON + 30 * DAY + 6 * MINUTE, 5, u64::MAX] {
            assert_eq!(host.platform(odd), ClockState::Unconfirmed, "{odd}");
            assert!(host.time() < NOON + MINUTE);
        }
        assert_eq!(host.platform(NOON + 30 * DAY - MINUTE), ClockState::Trusted);
        assert_eq!(host.time(), NOON + 30 * DAY, "the clock's time, not the platform's");
        let by = Confirmation::Platform;
        let clock = Millis(NOON + 30 * DAY);
        let confirmed = ClockAlarm::Confirmed { by, clock, before: Millis(NOON) };
        assert_eq!(host.machine.alarms.last(), Some(&confirmed));
    }

    #[test]
    fn a_fresh_document_confirms_and_an_old_one_or_one_of_the_future_does_not() {
        let far = NOON + 30 * DAY;
        for (issued, state) in [
            (far - DAY - 1, ClockState::Unconfirmed),
            (far + 6 * MINUTE, ClockState::Unconfirmed),
            (far - DAY, ClockState::Trusted),
            (far + MINUTE, ClockState::Trusted),
        ] {
            let mut host = Bench::start(NOON, Some(NOON), far);
            host.machine.observe_document(Millis(issued), host.reading());
            assert_eq!(host.machine.state, state, "{issued}");
            assert!(host.time() == far || state == ClockState::Unconfirmed);
            // As at a start.
            assert_eq!(Bench::start(NOON, Some(issued), far).machine.state, state, "{issued}");
        }
    }

    #[test]
    fn a_jump_in_any_number_of_steps_is_not_believed() {
        let mut host = Bench::start(NOON, None, NOON);
        host.run(60 * MINUTE);
        assert_eq!(host.set(host.wall + DAY * 9 / 10), ClockState::Trusted);
        host.run(60 * MINUTE);
        assert_eq!(host.set(host.wall + DAY * 9 / 10), ClockState::Unconfirmed);
        let time = host.time();
        // It comes back by itself when the clock is put right.
        host.run(5 * DAY);
        assert_eq!((host.machine.state, host.time()), (ClockState::Unconfirmed, time + 5 * DAY));
        assert_eq!(host.set(NOON + 5 * DAY + 121 * MINUTE), ClockState::Trusted);
        let kinds = host.machine.alarms.iter().map(std::mem::discriminant).count();
        assert_eq!(kinds, 2, "{:?}", host.machine.alarms);
    }

    #[test]
    fn a_monotonic_clock_that_jumps_too_is_not_believed() {
        let mut host = Bench::start(NOON, None, NOON);
        host.run(60 * MINUTE);
        host.monotonic += 400 * DAY;
        assert_eq!(host.set(host.wall + 400 * DAY), ClockState::Unconfirmed);
        assert!(host.time() <= NOON + 121 * MINUTE);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_nothing_back() {
        let mut host = Bench::start(NOON, None, NOON);
        host.run(60 * MINUTE);
        let time = host.time();
        assert_eq!((host.set(NOON), host.time()), (ClockState::Trusted, time), "an hour back");
        host.run(60 * MINUTE);
        assert_eq!(host.time(), time, "until the clock has caught up");
        assert_eq!(host.set(NOON - 300 * DAY), ClockState::Behind);
        host.run(60 * MINUTE);
        assert_eq!(host.time(), time + 60 * MINUTE, "time goes on without the clock");
        assert_eq!(host.platform(host.wall), ClockState::Behind, "a platform takes nothing back");
        assert_eq!(host.set(time + 61 * MINUTE), ClockState::Trusted);
    }

    #[test]
    fn a_time_reset_takes_time_back() {
        let mut host = Bench::start(NOON + 400 * DAY, Some(NOON), NOON);
        assert_eq!(host.machine.state, ClockState::Behind);
        host.machine.reset(Millis(NOON - MINUTE), host.reading());
        assert_eq!((host.machine.state, host.time()), (ClockState::Trusted, NOON));
        host.run(MINUTE);
        assert_eq!(host.time(), NOON + MINUTE);
        // The same floor with a clock that is far ahead of it says nothing of the clock.
        let mut ahead = Bench::start(NOON + 400 * DAY, None, NOON + 300 * DAY);
        ahead.machine.reset(Millis(NOON), ahead.reading());
        assert_eq!((ahead.machine.state, ahead.time()), (ClockState::Unconfirmed, NOON));
    }

    #[test]
    fn a_platform_whose_clock_differs_is_told_once_and_changes_nothing() {
        let mut host = Bench::start(NOON, None, NOON);
        assert_eq!(host.platform(NOON + 20 * MINUTE), ClockState::Trusted);
        for _ in 0..2 {
            host.machine.evaluate_skew(host.reading());
        }
        assert_eq!(host.machine.alarms, [ClockAlarm::Skew { ahead: 20 * 60_000 }]);
        // An old event that is sent again does not hide it; one of this moment does, after a minute.
        host.run(2 * MINUTE);
        host.platform(host.wall);
        host.machine.evaluate_skew(host.reading());
        assert_eq!(host.machine.alarms.last(), Some(&ClockAlarm::NoSkew));
        host.platform(host.wall - 30 * MINUTE);
        host.machine.evaluate_skew(host.reading());
        assert_eq!(host.machine.alarms.len(), 2, "sent again");
        assert_eq!(host.time(), host.wall);
    }

    #[derive(Clone, Debug)]
    enum Move {
        Run(u64),
        Set(u64),
        Platform(u64),
        Document(u64),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let time = || NOON - 500 * DAY..NOON + 500 * DAY;
        let one = prop_oneof![
            (1..600 * MINUTE).prop_map(Move::Run),
            time().prop_map(Move::Set),
            time().prop_map(Move::Platform),
            time().prop_map(Move::Document),
        ];
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        /// Without a source that agrees with it, no clock moves trusted time further ahead of what was
        /// known than a day; and nothing takes it back.
        #[test]
        fn one_clock_alone_never_moves_time_by_more_than_a_day(moves in moves()) {
            let mut host = Bench::start(NOON, Some(NOON), NOON);
            let (mut before, mut elapsed) = (host.time(), 0);
            for step in moves {
                match step {
                    Move::Run(time) => {
                        let from = host.monotonic;
                        host.run(time);
                        elapsed += host.monotonic - from;
                    }
                    Move::Set(wall) => drop(host.set(wall)),
                    // Sources that do not agree with the clock.
                    Move::Platform(time) if time.abs_diff(host.wall) > 5 * MINUTE => {
                        host.platform(time);
                    }
                    Move::Document(issued) if issued < NOON => {
                        host.machine.observe_document(Millis(issued), host.reading());
                    }
                    Move::Platform(_) | Move::Document(_) => {}
                }
                prop_assert!(host.time() >= before);
                prop_assert!(host.time() <= NOON + elapsed + DAY);
                before = host.time();
                let frozen = host.machine.held.is_some();
                prop_assert_eq!(frozen, host.machine.state == ClockState::Unconfirmed);
            }
        }

        /// Whatever is observed, trusted time is never above what some reading of the clock showed, or
        /// what has passed since the start.
        #[test]
        fn no_source_moves_time_past_the_clock(moves in moves()) {
            let mut host = Bench::start(NOON, Some(NOON), NOON);
            let (mut highest, mut elapsed) = (NOON, 0);
            for step in moves {
                match step {
                    Move::Run(time) => {
                        let from = host.monotonic;
                        host.run(time);
                        elapsed += host.monotonic - from;
                    }
                    Move::Set(wall) => drop(host.set(wall)),
                    Move::Platform(time) => drop(host.platform(time)),
                    Move::Document(issued) => {
                        host.machine.observe_document(Millis(issued), host.reading());
                    }
                }
                highest = highest.max(host.wall);
                prop_assert!(host.time() <= highest + elapsed);
            }
        }
    }
}

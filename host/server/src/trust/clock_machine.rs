//! The states of the trust in a clock, and what moves between them.
//!
//! Invariant: pure; every reading is passed in. Time runs backwards in a reset only, and no source
//! but the clock itself and the monotonic clock moves it forward.

use std::time::Duration;

use portcullis_model::Millis;

use super::trusted_time::{ClockAlarm, ClockState, Confirmation};

/// One reading of this machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    pub wall: Millis,
    /// Since the process began.
    pub monotonic: Duration,
}

impl ClockReading {
    pub fn first(wall: Millis) -> Self {
        Self { wall, monotonic: Duration::ZERO }
    }
}

/// The observation of a platform's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Milliseconds that it is ahead of the host's; negative where it is behind.
    pub ahead: i64,
    /// When, in monotonic time.
    at: Duration,
}

/// The states and what moves between them. Pure: every reading is passed in.
#[derive(Debug)]
pub struct ClockMachine {
    pub state: ClockState,
    /// Trusted time at the last reading.
    pub time: Millis,
    /// The time that documents are checked against while the clock is not confirmed.
    pub held: Option<Millis>,
    /// The time of a clock that was right when something last agreed with it: the clock may run
    /// [`MAX_JUMP`] ahead of this and no further, in however many steps. `None` where nothing is
    /// known.
    expected: Option<Millis>,
    /// The newest document.
    pub issued: Option<Millis>,
    monotonic: Duration,
    platform: Option<Observation>,
    is_skewed: bool,
    pub alarms: Vec<ClockAlarm>,
}

impl ClockMachine {
    pub fn new(floor: Millis, documents: &[Millis], reading: ClockReading) -> Self {
        let is_past = |issued: &Millis| *issued <= after(reading.wall, MAX_AGREEMENT);
        let issued = documents.iter().copied().filter(is_past).max();
        // Where there is no record yet, the documents are all that is known of the time. Their
        // signer's clock alone must not raise it either.
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
    pub fn evaluate(&mut self, reading: ClockReading) {
        let step = reading.monotonic.saturating_sub(self.monotonic).min(MAX_STEP);
        self.monotonic = self.monotonic.max(reading.monotonic);
        self.expected = self.expected.map(|expected| after(expected, step));
        let wall = reading.wall;
        let agrees = self.issued.is_some_and(|issued| is_fresh(issued, wall));
        let within = self.expected.is_none_or(|expected| wall <= after(expected, MAX_JUMP));
        if !within && !agrees {
            self.set_untrusted(ClockState::Unconfirmed, wall);
            self.time = after(self.time, step);
        } else if after(wall, MAX_JUMP) < self.time {
            self.set_untrusted(ClockState::Behind, wall);
            self.time = after(self.time, step);
        } else {
            let by = if within { Confirmation::Clock } else { Confirmation::Document };
            if within {
                self.set_trusted(by, wall);
            } else {
                self.confirm(by, reading);
            }
        }
    }

    fn set_untrusted(&mut self, state: ClockState, wall: Millis) {
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
    fn set_trusted(&mut self, by: Confirmation, wall: Millis) {
        if self.state != ClockState::Trusted {
            self.alarm(ClockAlarm::Confirmed { by, clock: wall, before: self.time });
        }
        self.state = ClockState::Trusted;
        self.held = None;
        self.time = self.time.max(wall);
        self.expected = self.expected.or(Some(wall));
    }

    /// Something else agrees with the clock.
    pub fn confirm(&mut self, by: Confirmation, reading: ClockReading) {
        if after(reading.wall, MAX_JUMP) < self.time {
            // Only a time reset takes trusted time back.
            return;
        }
        self.expected = Some(reading.wall.max(self.time));
        self.set_trusted(by, reading.wall);
    }

    pub fn raise_floor(&mut self, floor: Millis) {
        if floor == Millis(0) {
            return;
        }
        self.time = self.time.max(floor);
        self.expected = self.expected.max(Some(floor));
    }

    pub fn observe_document(&mut self, issued: Millis, reading: ClockReading) {
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

    pub fn reset(&mut self, floor: Millis, reading: ClockReading) {
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

    pub fn observe_platform(&mut self, event_time: Millis, reading: ClockReading) {
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

    pub fn fresh_platform(&self, reading: ClockReading) -> Option<Observation> {
        self.platform.filter(|seen| reading.monotonic.saturating_sub(seen.at) <= PLATFORM_FRESH)
    }

    pub fn evaluate_skew(&mut self, reading: ClockReading) {
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

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a document of this time agrees with the clock: it was made at most a day ago, and not in
/// the future.
pub fn is_fresh(issued: Millis, wall: Millis) -> bool {
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
/// How long an observation counts.
const PLATFORM_FRESH: Duration = Duration::from_secs(60 * 60);
/// How long an observation that is further ahead counts before others.
const SUPERSEDE: Duration = Duration::from_secs(60);
/// Changes that may wait for the log.
const MAX_ALARMS: usize = 64;

#[cfg(test)]
mod tests;

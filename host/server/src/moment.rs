//! Trusted time: what is held against it (the ends of releases, roots and documents) must not depend on one clock alone.
//!
//! Invariants: trusted time never runs below the last record, or below what it was before: a clock that is set back brings nothing that has
//! expired back to life. A clock that is five minutes away from both the witness's and the platform's is suspect: then calls' records say so, no
//! release comes into force and nothing expires, until two of the three agree again. With one other clock, or none, nothing can be
//! told, and the host's own is believed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_model::Millis;

/// What is known of the time.
#[derive(Default)]
pub struct Moment {
    /// Trusted time is never less.
    floor: AtomicU64,
    suspect: AtomicBool,
    /// When a platform's clock was looked at last.
    looked: AtomicU64,
    state: Mutex<Others>,
}

/// How other clocks were ahead of ours when they were last seen, and when that was by ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Others {
    witness: Option<Seen>,
    platform: Option<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Milliseconds; negative where the other is behind.
    ahead: i64,
    at: u64,
}

/// A change that belongs into the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The host's clock is suspect: how far the witness and the platform are ahead of it, milliseconds.
    Began {
        /// The witness.
        witness: i64,
        /// The platform.
        platform: i64,
    },
    /// It is not any more.
    Ended,
}

impl Moment {
    /// There is a record of this time.
    pub fn at_least(&self, time: Millis) {
        self.floor.fetch_max(time.0, Ordering::AcqRel);
    }

    /// Trusted time, where the host's clock says this.
    pub fn trusted(&self, now: Millis) -> Millis {
        // A clock that is suspect moves nothing on.
        if self.is_suspect() {
            return Millis(self.floor.load(Ordering::Acquire));
        }
        Millis(self.floor.fetch_max(now.0, Ordering::AcqRel).max(now.0))
    }

    /// Whether the host's clock is suspect.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// The witness's clock said `theirs` when ours said `ours`.
    pub fn witness(&self, theirs: Millis, ours: Millis) {
        self.others().witness = Some(Seen::new(theirs, ours));
    }

    /// A platform's clock said `theirs` when ours said `ours`. What is said again later is older than its clock: within a while, the one that is
    /// furthest ahead counts.
    pub fn platform(&self, theirs: Millis, ours: Millis) {
        let (seen, mut others) = (Seen::new(theirs, ours), self.others());
        let known = others
            .platform
            .filter(|known| known.is_fresh(ours, AGAIN_MS) && known.ahead > seen.ahead);
        if known.is_none() {
            others.platform = Some(seen);
        }
    }

    /// Whether a platform's clock is to be looked at: once a second is enough.
    pub fn due(&self, now: Millis) -> bool {
        let looked = self.looked.load(Ordering::Relaxed);
        now.0.abs_diff(looked) >= LOOK_MS
            && self
                .looked
                .compare_exchange(looked, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Looks whether the host's clock is suspect by now, and says so where that is new.
    pub fn look(&self, now: Millis) -> Option<Doubt> {
        let Others { witness, platform } = *self.others();
        let away = |seen: Option<Seen>| {
            seen.filter(|it| it.is_fresh(now, FRESH_MS) && it.ahead.unsigned_abs() > AWAY_MS)
        };
        let doubt = match (away(witness), away(platform)) {
            (Some(witness), Some(platform))
                if witness.ahead.signum() == platform.ahead.signum() =>
            {
                Some(Doubt::Began { witness: witness.ahead, platform: platform.ahead })
            }
            _ => None,
        };
        let was = self.suspect.swap(doubt.is_some(), Ordering::AcqRel);
        match (was, doubt) {
            (false, Some(doubt)) => Some(doubt),
            (true, None) => Some(Doubt::Ended),
            _ => None,
        }
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn new(theirs: Millis, ours: Millis) -> Self {
        let signed = |time: Millis| i64::try_from(time.0).unwrap_or(i64::MAX);
        Self { ahead: signed(theirs).saturating_sub(signed(ours)), at: ours.0 }
    }

    /// Whether that was so long ago at most. Our clock may have been moved meanwhile, in either direction.
    fn is_fresh(&self, now: Millis, within: u64) -> bool {
        now.0.abs_diff(self.at) <= within
    }
}

/// Five minutes.
const AWAY_MS: u64 = 5 * 60 * 1_000;
/// How long it counts what another clock said: an hour.
const FRESH_MS: u64 = 60 * 60 * 1_000;
/// How often a platform's clock is looked at.
const LOOK_MS: u64 = 1_000;
/// How long the platform's furthest clock counts before others: a minute.
const AGAIN_MS: u64 = 60 * 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_793_534_400_000;
    const MINUTE: u64 = 60_000;

    #[test]
    fn time_never_runs_below_what_was_recorded_or_said() {
        let moment = Moment::default();
        moment.at_least(Millis(NOON));
        assert_eq!(moment.trusted(Millis(NOON - MINUTE)), Millis(NOON));
        assert_eq!(moment.trusted(Millis(NOON + MINUTE)), Millis(NOON + MINUTE));
        assert_eq!(moment.trusted(Millis(5)), Millis(NOON + MINUTE), "a clock that was set back");
    }

    #[test]
    fn only_both_others_together_make_a_clock_suspect() {
        let moment = Moment::default();
        let ours = Millis(NOON);
        let theirs = |minutes: u64| Millis(NOON + minutes * MINUTE);
        assert_eq!(moment.look(ours), None, "nobody else is known");
        moment.platform(theirs(20), ours);
        assert_eq!(moment.look(ours), None, "one against one");
        moment.witness(theirs(1), ours);
        assert_eq!(moment.look(ours), None, "the witness agrees with us");
        moment.witness(Millis(NOON - 20 * MINUTE), ours);
        assert_eq!(moment.look(ours), None, "they do not agree with one another");
        moment.witness(theirs(19), ours);
        let doubt = Doubt::Began { witness: 19 * 60_000, platform: 20 * 60_000 };
        assert_eq!((moment.look(ours), moment.look(ours)), (Some(doubt), None), "said once");
        // While it is suspect nothing expires.
        moment.at_least(ours);
        assert_eq!(moment.trusted(Millis(NOON + 900 * MINUTE)), ours);
        // The clock is put right.
        let right = theirs(20);
        moment.witness(right, right);
        assert_eq!((moment.look(right), moment.is_suspect()), (Some(Doubt::Ended), false));
        assert_eq!(moment.trusted(right), right);
    }

    #[test]
    fn what_a_platform_says_again_is_no_clock() {
        let moment = Moment::default();
        let ours = |minutes: u64| Millis(NOON + minutes * MINUTE);
        moment.witness(Millis(NOON - 30 * MINUTE), ours(0));
        // Events of this moment, and one of half an hour ago that is said again.
        moment.platform(ours(0), ours(0));
        moment.platform(Millis(NOON - 30 * MINUTE), ours(0));
        assert_eq!(moment.look(ours(0)), None);
        // Nothing but old ones for longer than a minute: then that is what its clock says.
        moment.platform(Millis(NOON - 30 * MINUTE), ours(2));
        assert!(matches!(moment.look(ours(2)), Some(Doubt::Began { .. })));
        // What was said long ago counts no more.
        assert_eq!(moment.look(ours(90)), Some(Doubt::Ended));
    }
}

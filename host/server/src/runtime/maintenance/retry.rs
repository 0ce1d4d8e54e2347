//! When it is looked again although nothing has changed.
//!
//! Invariant: where nothing decides, it is tried again every [`RETRY_EVERY`]. A copy of the active
//! release that could not be made costs a reading of the whole release each time: it is tried less
//! and less often, down to once in [`MAX_COPY_PAUSE`]. What could not be read when somebody asked
//! for it is read in the end, also where nothing is watched. Time is handed in.

use std::time::{Duration, Instant};

/// When it was tried last, and how long to wait for the next time.
pub(super) struct Retry {
    tried: Instant,
    /// The pause before the copy is tried again.
    copy_pause: Duration,
}

impl Retry {
    pub fn new(now: Instant) -> Self {
        Self { tried: now, copy_pause: RETRY_EVERY }
    }

    /// Whether to look again: nothing decides, or there is no copy of what does.
    pub fn is_due(&mut self, now: Instant, nothing_decides: bool, not_kept: bool) -> bool {
        if !not_kept {
            self.copy_pause = RETRY_EVERY;
        }
        let pause = if nothing_decides || !not_kept { RETRY_EVERY } else { self.copy_pause };
        if now.saturating_duration_since(self.tried) < pause {
            return false;
        }
        self.tried = now;
        if not_kept {
            self.copy_pause = self.copy_pause.saturating_mul(2).min(MAX_COPY_PAUSE);
        }
        nothing_decides || not_kept
    }
}

/// How long after a look the next one is due that nobody asks for; `None` where none is. `watch_ms`
/// is the setting `release.watch_ms`, and `is_unread` tells that the last look did not get all of
/// it.
pub(super) fn pause(watch_ms: u64, is_unread: bool) -> Option<Duration> {
    match watch_ms {
        0 => is_unread.then_some(REREAD_EVERY),
        watch_ms => Some(Duration::from_millis(watch_ms)),
    }
}

/// How often it is looked again, where nothing is watched, at what could not be read.
const REREAD_EVERY: Duration = Duration::from_secs(5);
/// How often it is tried again to activate a release where none is, and the first pause before
/// a copy of the active release is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(60);
/// The longest pause before a copy is tried again.
const MAX_COPY_PAUSE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    /// The minutes of a day at which it is due.
    fn due(nothing_decides: bool, not_kept: bool) -> Vec<u64> {
        let begin = Instant::now();
        let mut retry = Retry::new(begin);
        let at = |minute: &u64| begin + Duration::from_secs(minute * 60);
        (0..=24 * 60).filter(|minute| retry.is_due(at(minute), nothing_decides, not_kept)).collect()
    }

    #[test]
    fn a_copy_is_tried_less_and_less_often_and_a_missing_release_every_minute() {
        assert_eq!(due(false, true)[..8], [1, 3, 7, 15, 31, 63, 123, 183]);
        assert_eq!(due(true, false).len(), 24 * 60);
        assert_eq!(due(true, true).len(), 24 * 60);
        assert!(due(false, false).is_empty());
    }

    #[test]
    fn what_could_not_be_read_is_looked_at_again_also_where_nothing_is_watched() {
        assert_eq!(pause(0, false), None);
        assert_eq!(pause(0, true), Some(REREAD_EVERY));
        for is_unread in [false, true] {
            assert_eq!(pause(700, is_unread), Some(Duration::from_millis(700)));
        }
    }

    #[test]
    fn a_copy_that_was_made_begins_anew() {
        let begin = Instant::now();
        let mut retry = Retry::new(begin);
        let at = |minute: u64| begin + Duration::from_secs(minute * 60);
        assert!(retry.is_due(at(1), false, true) && retry.is_due(at(3), false, true));
        assert!(!retry.is_due(at(4), false, false));
        assert!(retry.is_due(at(5), false, true), "a minute after the last look");
    }
}

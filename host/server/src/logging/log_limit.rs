//! A limit on log lines that callers, failing disks or networks can cause any number of.
//!
//! Invariant: of one event at most [`MAX_LINES`] lines are written in [`INTERVAL`]; the lines left
//! out are counted, and the count is written once when the interval is over. Memory is bounded by
//! [`MAX_TRACKED`] pairs of event and subject. Time is handed in. It limits nothing by itself: a
//! line is limited where its writer asks [`LogLimits::allows`] first.
//!
//! ```ignore
//! if LOG_LIMITS.allows("listener.accept-failed", "", now) {
//!     tracing::warn!(event = "listener.accept-failed", %error, "a connection cannot be accepted");
//! }
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The limits of this process: one set, because the log that they protect is one.
pub static LOG_LIMITS: LogLimits = LogLimits::new();

/// Counts of recent lines by event and subject.
#[derive(Debug)]
pub struct LogLimits {
    windows: Mutex<BTreeMap<(&'static str, String), Window>>,
}

/// The lines of one event and subject since the first of them.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    written: u32,
    left_out: u64,
}

/// The number of lines of one event that were left out in an interval that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SuppressedLines {
    event: &'static str,
    subject: String,
    lines: u64,
}

impl LogLimits {
    /// Returns limits that have counted nothing.
    pub const fn new() -> Self {
        Self { windows: Mutex::new(BTreeMap::new()) }
    }

    /// Returns whether a line of this event may be written now. `subject` keeps apart what must not
    /// silence each other, such as the names of hooks; it is empty where there is nothing to keep
    /// apart, and never text that a caller chose. Writes the count of an interval that is over.
    pub fn allows(&self, event: &'static str, subject: &str, now: Instant) -> bool {
        let (admitted, left_out) = self.count(event, subject, now);
        left_out.iter().for_each(SuppressedLines::write);
        admitted
    }

    /// Writes the counts of all intervals that are over. To be called every now and then, so that a
    /// count does not wait for the next line of its event.
    pub fn report(&self, now: Instant) {
        self.take_finished(now).iter().for_each(SuppressedLines::write);
    }

    fn count(
        &self,
        event: &'static str,
        subject: &str,
        now: Instant,
    ) -> (bool, Option<SuppressedLines>) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (event, subject.to_owned());
        if !windows.contains_key(&key) && windows.len() >= MAX_TRACKED {
            // Subjects share one limit from here on: fewer lines, never more memory.
            key.1.clear();
        }
        let fresh = Window { began: now, written: 0, left_out: 0 };
        let window = windows.entry(key.clone()).or_insert(fresh);
        let mut left_out = None;
        if window.is_over(now) {
            left_out = window.left_out(&key);
            *window = fresh;
        }
        let admitted = window.written < MAX_LINES;
        if admitted {
            window.written = window.written.saturating_add(1);
        } else {
            window.left_out = window.left_out.saturating_add(1);
        }
        (admitted, left_out)
    }

    fn take_finished(&self, now: Instant) -> Vec<SuppressedLines> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = Vec::new();
        windows.retain(|key, window| {
            let over = window.is_over(now);
            if over {
                counts.extend(window.left_out(key));
            }
            !over
        });
        counts
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= INTERVAL
    }

    fn left_out(&self, (event, subject): &(&'static str, String)) -> Option<SuppressedLines> {
        let lines = self.left_out;
        (lines > 0).then(|| SuppressedLines { event, subject: subject.clone(), lines })
    }
}

impl SuppressedLines {
    fn write(&self) {
        tracing::warn!(
            event = "log.lines-left-out",
            of = self.event,
            subject = self.subject,
            lines = self.lines,
            "the host left out further lines of this event within {} seconds",
            INTERVAL.as_secs()
        );
    }
}

/// Lines of one event and subject that are written in one interval.
pub const MAX_LINES: u32 = 5;
/// The interval: it begins with the first line.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// Pairs of event and subject that are counted apart. Events are constants of this program, and
/// subjects are names out of its configuration, so that an ordinary host stays far below.
const MAX_TRACKED: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = "test.event";

    fn admitted(limits: &LogLimits, subject: &str, now: Instant, lines: usize) -> usize {
        (0..lines).filter(|_| limits.count(EVENT, subject, now).0).count()
    }

    #[test]
    fn lines_beyond_the_limit_are_left_out_and_counted_once() {
        let limits = LogLimits::new();
        let start = Instant::now();
        assert_eq!(admitted(&limits, "", start, 100), 5);
        assert_eq!(admitted(&limits, "", start + INTERVAL - Duration::from_millis(1), 10), 0);
        let (next, left_out) = limits.count(EVENT, "", start + INTERVAL);
        assert!(next, "a new interval began");
        assert_eq!(left_out.unwrap().lines, 105);
        assert_eq!(limits.take_finished(start + INTERVAL), [], "it was counted already");
    }

    #[test]
    fn a_count_does_not_wait_for_the_next_line() {
        let limits = LogLimits::new();
        let start = Instant::now();
        assert_eq!(admitted(&limits, "", start, 7), 5);
        assert_eq!(limits.take_finished(start + INTERVAL / 2), []);
        let counts = limits.take_finished(start + INTERVAL);
        assert_eq!(counts, [SuppressedLines { event: EVENT, subject: String::new(), lines: 2 }]);
        assert!(limits.windows.lock().unwrap().is_empty(), "what is over takes no memory");
    }

    #[test]
    fn subjects_do_not_silence_each_other_and_memory_is_bounded() {
        let limits = LogLimits::new();
        let start = Instant::now();
        assert_eq!(admitted(&limits, "one", start, 100), 5);
        assert_eq!(admitted(&limits, "two", start, 100), 5);
        for number in 0..3 * MAX_TRACKED {
            limits.count(EVENT, &number.to_string(), start);
        }
        assert!(limits.windows.lock().unwrap().len() <= MAX_TRACKED + 1);
    }
}

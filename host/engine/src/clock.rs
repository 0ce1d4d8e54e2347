//! The clocks of this crate: limits of real processes, the time that a plugin took, and the times
//! of cached files.
//!
//! Invariant: every reading of a system clock in this crate is in this file. No decision takes its
//! time from here.

use std::time::{Duration, Instant, SystemTime};

/// Returns the monotonic time.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub(crate) fn monotonic_now() -> Instant {
    Instant::now()
}

/// Returns the monotonic time that has passed since a moment.
pub(crate) fn elapsed_since(moment: Instant) -> Duration {
    monotonic_now().saturating_duration_since(moment)
}

/// Returns the time of the machine's clock, as files carry it.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub(crate) fn wall_now() -> SystemTime {
    SystemTime::now()
}

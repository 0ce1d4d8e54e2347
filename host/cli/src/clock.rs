//! The clocks of the command line: it measures plugins, waits for hosts, and compares the ends of
//! certificates and tokens with the present.
//!
//! Invariant: every reading of a system clock in this crate is in this file.

use std::time::{Duration, Instant, SystemTime, SystemTimeError, UNIX_EPOCH};

/// Returns the monotonic time.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub(crate) fn monotonic_now() -> Instant {
    Instant::now()
}

/// Returns the monotonic time that has passed since a moment.
pub(crate) fn elapsed_since(moment: Instant) -> Duration {
    monotonic_now().saturating_duration_since(moment)
}

/// Returns the time of the machine's clock since 1970.
///
/// # Errors
/// The clock shows a time before 1970.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub(crate) fn since_epoch() -> Result<Duration, SystemTimeError> {
    SystemTime::now().duration_since(UNIX_EPOCH)
}

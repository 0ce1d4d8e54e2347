//! The host's clock, injected so that tests never wait for it.
//!
//! Invariant: every reading of a system clock in this crate is in this file. The wall time of
//! decisions and records comes from a [`Clock`]; monotonic time, for budgets and limits, is the
//! system's, whatever a clock shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, SystemTimeError, UNIX_EPOCH};

use portcullis_model::Millis;

/// Tells the time.
#[derive(Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Clone)]
enum Source {
    System,
    Fixed(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's own.
    pub fn system() -> Self {
        Self { source: Source::System }
    }

    /// Stands still until somebody stores another time. Milliseconds since the epoch.
    pub fn fixed(now: Arc<AtomicU64>) -> Self {
        Self { source: Source::Fixed(now) }
    }

    /// Returns the wall time.
    pub fn now(&self) -> Millis {
        match &self.source {
            Source::System => {
                let since = since_epoch().unwrap_or_default();
                Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Fixed(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }
}

/// Returns the monotonic time, for budgets and for limits of operations that really take their
/// time.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn monotonic_now() -> Instant {
    Instant::now()
}

/// Returns the monotonic time that has passed since a moment.
pub fn elapsed_since(moment: Instant) -> Duration {
    monotonic_now().saturating_duration_since(moment)
}

/// Returns the time of the machine's clock since 1970.
///
/// # Errors
/// The clock shows a time before 1970.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn since_epoch() -> Result<Duration, SystemTimeError> {
    SystemTime::now().duration_since(UNIX_EPOCH)
}

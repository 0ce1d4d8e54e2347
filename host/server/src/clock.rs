//! The host's clock, injected so that tests never wait for it.
//!
//! Invariant: wall time for records and plugins, monotonic time for budgets; decisions and records take their time from here. Limits of threads, sockets and files read the system's monotonic clock themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

    /// Wall time.
    pub fn now(&self) -> Millis {
        match &self.source {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Fixed(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// Monotonic time, for budgets.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}

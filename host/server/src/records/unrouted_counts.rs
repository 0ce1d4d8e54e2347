//! Counts of requests that belong to no hook.
//!
//! Invariant: how many numbers there are does not depend on what comes in.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that belong to no hook, by what they were answered with.
#[derive(Default)]
pub struct UnroutedCounts {
    stopped: AtomicU64,
    not_found: AtomicU64,
    bad: AtomicU64,
}

/// The answer to a request that belongs to no hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// The answer that makes a platform stop, since the body was an Okta call.
    Stopped,
    /// 404.
    NotFound,
    /// A status for a request that is not valid HTTP.
    Bad,
}

impl UnroutedCounts {
    /// Counts one.
    pub fn count(&self, what: Unrouted) {
        self.of(what).fetch_add(1, Ordering::Relaxed);
    }

    /// Each answer's label, and how many there were.
    pub fn all(&self) -> [(&'static str, u64); 3] {
        [
            ("stop", self.of(Unrouted::Stopped)),
            ("not-found", self.of(Unrouted::NotFound)),
            ("bad-request", self.of(Unrouted::Bad)),
        ]
        .map(|(label, count)| (label, count.load(Ordering::Relaxed)))
    }

    fn of(&self, what: Unrouted) -> &AtomicU64 {
        match what {
            Unrouted::Stopped => &self.stopped,
            Unrouted::NotFound => &self.not_found,
            Unrouted::Bad => &self.bad,
        }
    }
}

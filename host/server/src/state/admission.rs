//! Admission: how many calls may be in progress at once.
//!
//! Invariant: a call over the limit is turned away at once, before its body is read; nothing queues without bound. The limit is
//! `listen.max_in_flight`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_model::Cause;

/// The gate.
#[derive(Clone)]
pub struct Admission {
    in_flight: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
}

/// A place inside; given back when dropped.
pub struct AdmissionPermit {
    in_flight: Arc<AtomicUsize>,
}

impl Admission {
    /// A gate for this many calls at once.
    pub fn new(limit: usize) -> Self {
        Self { in_flight: Arc::default(), limit: Arc::new(AtomicUsize::new(limit)) }
    }

    /// Takes a place, or says that there is none.
    pub fn try_acquire(&self) -> Result<AdmissionPermit, Cause> {
        // Taken before it is held against the limit, so that two callers never share the last place.
        let place = AdmissionPermit { in_flight: Arc::clone(&self.in_flight) };
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        if before < self.limit() { Ok(place) } else { Err(Cause::Overload) }
    }

    /// How many may be inside.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets it; who is inside stays.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many are inside now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_given_once_and_given_back() {
        let gate = Admission::new(2);
        let first = gate.try_acquire().ok();
        let second = gate.try_acquire().ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(gate.try_acquire().err(), Some(Cause::Overload));
        drop(first);
        assert!(gate.try_acquire().is_ok());
        drop(second);
        assert_eq!(gate.in_flight(), 0);
    }
}

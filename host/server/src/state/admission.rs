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
    inside: Arc<AtomicUsize>,
    limit: Arc<AtomicUsize>,
}

/// A place inside; given back when dropped.
pub struct Place {
    inside: Arc<AtomicUsize>,
}

impl Admission {
    /// A gate for this many calls at once.
    pub fn new(limit: usize) -> Self {
        Self { inside: Arc::default(), limit: Arc::new(AtomicUsize::new(limit)) }
    }

    /// Takes a place, or says that there is none.
    pub fn enter(&self) -> Result<Place, Cause> {
        // Taken before it is held against the limit, so that two callers never share the last place.
        let place = Place { inside: Arc::clone(&self.inside) };
        let before = self.inside.fetch_add(1, Ordering::AcqRel);
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
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_given_once_and_given_back() {
        let gate = Admission::new(2);
        let first = gate.enter().ok();
        let second = gate.enter().ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(gate.enter().err(), Some(Cause::Overload));
        drop(first);
        assert!(gate.enter().is_ok());
        drop(second);
        assert_eq!(gate.inside(), 0);
    }
}

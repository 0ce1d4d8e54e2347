//! The places of requests whose bodies are waited for although no caller is authenticated.
//!
//! Invariant: there are at most [`MAX_READERS`] places, and at most [`MAX_PER_SOURCE`] of one
//! source; a host that takes few connections has fewer, since each place is a connection that is
//! not closed for another. A newcomer always gets a place: where there is none left, the oldest one
//! of its own source, or of the source that has most, ends early. So clients that send slowly
//! cannot keep others from being read, and a source with many of them shortens its own. What is
//! read, and what becomes of it, is `unknown_path`'s matter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::net::networks::Prefix;

/// All places.
pub struct BodyReaders {
    /// The oldest first.
    places: Mutex<Vec<Entry>>,
}

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderLimits {
    /// In all.
    places: usize,
    /// Of one source.
    per_source: usize,
}

/// One place. It is free again when this is dropped.
pub struct ReaderPlace {
    readers: &'static BodyReaders,
    ended: Arc<Notify>,
}

struct Entry {
    /// `None` for proxies, behind which anybody may be: they have no limit of one source.
    source: Option<Prefix>,
    /// Notified when the place is another's.
    ended: Arc<Notify>,
}

impl BodyReaders {
    /// No place is taken.
    pub const fn new() -> Self {
        Self { places: Mutex::new(Vec::new()) }
    }

    /// Takes a place for a request of this source, if need be from another.
    pub fn enter(&'static self, source: Option<Prefix>, limits: ReaderLimits) -> ReaderPlace {
        let ended = Arc::new(Notify::new());
        let mut places = self.places();
        if let Some(victim) = victim(&places, source, limits) {
            places.remove(victim).ended.notify_one();
        }
        places.push(Entry { source, ended: Arc::clone(&ended) });
        drop(places);
        ReaderPlace { readers: self, ended }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReaderLimits {
    /// The places of a host that takes so many connections: a quarter of these at most.
    pub fn of(connections: usize) -> Self {
        let places = MAX_READERS.min(connections / 4).max(MIN_READERS);
        Self { places, per_source: MAX_PER_SOURCE.min(places / 4).max(1) }
    }
}

impl ReaderPlace {
    /// Completes when the place is another's.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl Drop for ReaderPlace {
    fn drop(&mut self) {
        self.readers.places().retain(|entry| !Arc::ptr_eq(&entry.ended, &self.ended));
    }
}

/// The place that ends for a newcomer of this source; `None` while there is room.
fn victim(places: &[Entry], newcomer: Option<Prefix>, limits: ReaderLimits) -> Option<usize> {
    let of = |source| places.iter().filter(move |entry| entry.source == source).count();
    let oldest = |source| places.iter().position(|entry| entry.source == source);
    if newcomer.is_some() && of(newcomer) >= limits.per_source {
        return oldest(newcomer);
    }
    if places.len() < limits.places {
        return None;
    }
    let mut counts = HashMap::new();
    for entry in places {
        *counts.entry(entry.source).or_insert(0_usize) += 1;
    }
    let most = counts.values().copied().max()?;
    places.iter().position(|entry| counts.get(&entry.source) == Some(&most))
}

/// Bodies that are waited for at once, in the whole process.
const MAX_READERS: usize = 64;
/// The same on a host that takes only a few connections.
const MIN_READERS: usize = 4;
/// Bodies of one source that are waited for at once.
const MAX_PER_SOURCE: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MANY: usize = 1_024;

    /// Takes a place on a host that takes many connections.
    fn enter(readers: &'static BodyReaders, source: Option<Prefix>) -> ReaderPlace {
        readers.enter(source, ReaderLimits::of(MANY))
    }

    fn readers() -> &'static BodyReaders {
        Box::leak(Box::new(BodyReaders::new()))
    }

    fn source(text: &str) -> Option<Prefix> {
        Some(Prefix::of(text.parse().unwrap()))
    }

    async fn has_ended(place: &ReaderPlace) -> bool {
        timeout(Duration::ZERO, place.ended()).await.is_ok()
    }

    async fn count_ended(places: &[ReaderPlace]) -> usize {
        let mut count = 0;
        for place in places {
            count += usize::from(has_ended(place).await);
        }
        count
    }

    #[tokio::test]
    async fn a_source_that_sends_slowly_ends_its_own_places_alone() {
        let readers = readers();
        let other = enter(readers, source("10.2.1.1"));
        let slow: Vec<_> = (0..200).map(|_| enter(readers, source("10.1.1.1"))).collect();
        assert!(!has_ended(&other).await);
        assert_eq!(count_ended(&slow[..200 - MAX_PER_SOURCE]).await, 200 - MAX_PER_SOURCE);
        assert_eq!(count_ended(&slow[200 - MAX_PER_SOURCE..]).await, 0, "the newest have theirs");
    }

    #[tokio::test]
    async fn many_sources_leave_a_place_for_whoever_comes() {
        let readers = readers();
        let mut slow = Vec::new();
        for number in 0..20 {
            let address = format!("10.1.{number}.1");
            slow.extend((0..MAX_PER_SOURCE).map(|_| enter(readers, source(&address))));
        }
        let newcomer = enter(readers, source("10.2.1.1"));
        assert!(!has_ended(&newcomer).await);
        assert_eq!(readers.places().len(), MAX_READERS);
        assert_eq!(count_ended(&slow).await, slow.len() + 1 - MAX_READERS);
        drop(slow);
        assert_eq!(readers.places().len(), 1, "a place that has ended is given back once");
        drop(newcomer);
        assert!(readers.places().is_empty());
    }

    #[tokio::test]
    async fn proxies_have_no_limit_of_one_source() {
        let readers = readers();
        let proxied: Vec<_> = (0..MAX_READERS).map(|_| enter(readers, None)).collect();
        assert_eq!(count_ended(&proxied).await, 0);
        let newcomer = enter(readers, source("10.2.1.1"));
        assert_eq!(count_ended(&proxied).await, 1);
        assert!(!has_ended(&newcomer).await);
    }

    #[tokio::test]
    async fn a_host_with_few_connections_has_few_places() {
        for (connections, places, per_source) in
            [(1, 4, 1), (16, 4, 1), (64, 16, 4), (86, 21, 5), (256, 64, 16), (100_000, 64, 16)]
        {
            let limits = ReaderLimits::of(connections);
            assert_eq!(limits, ReaderLimits { places, per_source }, "{connections}");
            let readers = readers();
            let slow: Vec<_> = (0..80_u8)
                .map(|number| readers.enter(source(&format!("10.1.{number}.1")), limits))
                .collect();
            assert_eq!(count_ended(&slow).await, 80 - places, "{connections}");
            drop(slow);
            let one: Vec<_> = (0..80).map(|_| readers.enter(source("10.2.1.1"), limits)).collect();
            assert_eq!(count_ended(&one).await, 80 - per_source, "{connections}");
        }
    }
}

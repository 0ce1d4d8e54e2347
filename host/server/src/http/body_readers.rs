//! The places of requests whose bodies are waited for although no caller is authenticated.
//!
//! Invariant: there are at most [`MAX_READERS`] places, and at most [`MAX_PER_SOURCE`] of one
//! source. A newcomer always gets a place: where there is none left, the oldest one of its own
//! source, or of the source that has most, ends early. So clients that send slowly cannot keep
//! others from being read, and a source with many of them shortens its own. What is read, and what
//! becomes of it, is `unknown_path`'s matter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::net::networks::Prefix;

/// All places.
pub struct BodyReaders {
    /// The oldest first.
    places: Mutex<Vec<Entry>>,
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
    pub fn enter(&'static self, source: Option<Prefix>) -> ReaderPlace {
        let ended = Arc::new(Notify::new());
        let mut places = self.places();
        if let Some(victim) = victim(&places, source) {
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
fn victim(places: &[Entry], newcomer: Option<Prefix>) -> Option<usize> {
    let of = |source| places.iter().filter(move |entry| entry.source == source).count();
    let oldest = |source| places.iter().position(|entry| entry.source == source);
    if newcomer.is_some() && of(newcomer) >= MAX_PER_SOURCE {
        return oldest(newcomer);
    }
    if places.len() < MAX_READERS {
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
/// Bodies of one source that are waited for at once.
const MAX_PER_SOURCE: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

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
        let other = readers.enter(source("10.2.1.1"));
        let slow: Vec<_> = (0..200).map(|_| readers.enter(source("10.1.1.1"))).collect();
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
            slow.extend((0..MAX_PER_SOURCE).map(|_| readers.enter(source(&address))));
        }
        let newcomer = readers.enter(source("10.2.1.1"));
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
        let proxied: Vec<_> = (0..MAX_READERS).map(|_| readers.enter(None)).collect();
        assert_eq!(count_ended(&proxied).await, 0);
        let newcomer = readers.enter(source("10.2.1.1"));
        assert_eq!(count_ended(&proxied).await, 1);
        assert!(!has_ended(&newcomer).await);
    }
}

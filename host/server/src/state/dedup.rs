//! Retried events: the platform asks again, and hears the same.
//!
//! Invariant: within [`RETENTION`], a second call with the same tenant, hook, caller, event id and
//! body joins the first one in flight or gets its answer; the same event id with another body is
//! refused. What is remembered dies with its generation. Bounded: [`MAX_ENTRIES`] events and
//! [`MAX_BYTES`]; the oldest go first. Holds answers and pseudonyms, never bodies.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

/// What was answered, to say it again.
#[derive(Clone)]
pub struct CachedResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers besides the content's type.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes that left, reference included.
    pub body: bytes::Bytes,
    /// The record of the first call.
    pub index: Option<u64>,
}

/// A generation's number, and how often something in it was stopped.
pub type Generation = (u64, u64);

/// Remembers events.
#[derive(Default)]
pub struct DedupCache {
    table: Mutex<DedupTable>,
}

/// What the table says of a call.
pub enum Dedup {
    /// Never seen: decide, then [`settle`](DedupClaim::complete).
    New(DedupClaim),
    /// Seen, perhaps still in flight: wait for its answer.
    Duplicate(Arc<InFlightCall>),
    /// The event id was used for another body.
    IdReused,
    /// The hook kind's calls are never repeated: decide.
    Untracked,
}

/// The duty to answer an event for all who ask.
pub struct DedupClaim(Arc<InFlightCall>);

/// An event's first call, and its answer once there is one.
pub struct InFlightCall {
    response: OnceLock<CachedResponse>,
    abandoned: AtomicBool,
    changed: Notify,
    /// Bytes of all remembered answers.
    bytes: Arc<AtomicUsize>,
}

/// An event: hook, caller and event id. The tenant is the host's.
#[derive(PartialEq, Eq, Hash)]
struct EventKey {
    /// The hook's serial: under another configuration it is another hook, which may decide otherwise.
    hook: u64,
    caller: Arc<str>,
    id: Box<str>,
}

/// The table's hash is keyed, so that no caller can choose ids that make it slow.
#[derive(Default)]
struct DedupTable {
    entries: HashMap<Arc<EventKey>, DedupEntry, RandomState>,
    bytes: Arc<AtomicUsize>,
    order: VecDeque<(Instant, Arc<EventKey>)>,
}

struct DedupEntry {
    since: Instant,
    generation: Generation,
    body: u128,
    call: Arc<InFlightCall>,
}

impl DedupCache {
    /// Asks whose turn it is. `body` is the body's pseudonym.
    pub fn claim(
        &self,
        hook: u64,
        caller: &Arc<str>,
        id: &str,
        body: u128,
        generation: Generation,
        now: Instant,
    ) -> Dedup {
        let event = EventKey { hook, caller: Arc::clone(caller), id: id.into() };
        let mut events = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        events.evict(now);
        if let Some(known) = events.entries.get(&event) {
            if known.body != body {
                return Dedup::IdReused;
            }
            // A first call that was given up left no answer: the next one is the first again.
            if known.generation == generation && !known.call.is_abandoned() {
                return Dedup::Duplicate(Arc::clone(&known.call));
            }
        }
        let flight = Arc::new(InFlightCall::new(&events.bytes));
        let event = Arc::new(event);
        events.order.push_back((now, Arc::clone(&event)));
        events
            .entries
            .insert(event, DedupEntry { since: now, generation, body, call: Arc::clone(&flight) });
        Dedup::New(DedupClaim(flight))
    }

    /// How many events are remembered.
    pub fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
    }
}

impl DedupClaim {
    /// Tells everybody who asks what was answered.
    pub fn complete(self, answered: CachedResponse) {
        // Counted first: the flight takes it off again when it is forgotten.
        self.0.bytes.fetch_add(answered.body.len(), Ordering::Relaxed);
        // Nobody else settles it.
        let _ = self.0.response.set(answered);
    }
}

impl Drop for DedupClaim {
    fn drop(&mut self) {
        if self.0.response.get().is_none() {
            self.0.abandoned.store(true, Ordering::Release);
        }
        self.0.changed.notify_waiters();
    }
}

impl InFlightCall {
    fn new(bytes: &Arc<AtomicUsize>) -> Self {
        let (answer, given_up, changed) = Default::default();
        Self { response: answer, abandoned: given_up, changed, bytes: Arc::clone(bytes) }
    }

    /// Waits for the first call's answer; `None` where that call was given up.
    pub async fn response(&self) -> Option<CachedResponse> {
        loop {
            // Before the look, so that what happens after it is not missed.
            let changed = self.changed.notified();
            if let Some(answered) = self.response.get() {
                return Some(answered.clone());
            }
            if self.is_abandoned() {
                return None;
            }
            changed.await;
        }
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

impl Drop for InFlightCall {
    fn drop(&mut self) {
        let held = self.response.get().map_or(0, |answered| answered.body.len());
        self.bytes.fetch_sub(held, Ordering::Relaxed);
    }
}

impl DedupTable {
    fn evict(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front() {
            let room =
                self.order.len() < MAX_ENTRIES && self.bytes.load(Ordering::Relaxed) < MAX_BYTES;
            if room && now.saturating_duration_since(*since) < RETENTION {
                return;
            }
            let Some((since, event)) = self.order.pop_front() else { return };
            // A newer entry of the same event stays.
            if self.entries.get(&event).is_some_and(|known| known.since == since) {
                self.entries.remove(&event);
            }
        }
    }
}

/// How many events are remembered.
const MAX_ENTRIES: usize = 65_536;
/// How many bytes of answers are remembered: 64 MiB.
const MAX_BYTES: usize = 64 << 20;
/// How long an event is remembered; well over any platform's retry.
const RETENTION: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn said(index: u64) -> CachedResponse {
        CachedResponse {
            status: 200,
            headers: Vec::new(),
            body: bytes::Bytes::from_static(b"{}"),
            index: Some(index),
        }
    }

    fn again(turn: Dedup) -> Option<Option<u64>> {
        if let Dedup::Duplicate(flight) = turn {
            Some(flight.response.get().and_then(|answered| answered.index))
        } else {
            None
        }
    }

    #[test]
    fn a_retry_hears_the_same_and_another_body_is_refused() {
        let (table, now) = (DedupCache::default(), Instant::now());
        let Dedup::New(first) = table.claim(0, &"c".into(), "e1", 1, (7, 0), now) else {
            panic!("seen?")
        };
        assert_eq!(
            again(table.claim(0, &"c".into(), "e1", 1, (7, 0), now)),
            Some(None),
            "still in flight"
        );
        first.complete(said(42));
        assert_eq!(again(table.claim(0, &"c".into(), "e1", 1, (7, 0), now)), Some(Some(42)));
        assert!(matches!(table.claim(0, &"c".into(), "e1", 2, (7, 0), now), Dedup::IdReused));
        assert!(
            matches!(table.claim(1, &"c".into(), "e1", 2, (7, 0), now), Dedup::New(_)),
            "another hook, another event"
        );
    }

    #[test]
    fn an_answer_dies_with_its_generation_its_time_and_its_giver() {
        let (table, now) = (DedupCache::default(), Instant::now());
        let Dedup::New(first) = table.claim(0, &"c".into(), "e1", 1, (7, 0), now) else {
            panic!("seen?")
        };
        first.complete(said(1));
        assert!(
            matches!(table.claim(0, &"c".into(), "e1", 1, (8, 0), now), Dedup::New(_)),
            "new generation; given up at once"
        );
        assert!(
            matches!(table.claim(0, &"c".into(), "e1", 1, (8, 0), now), Dedup::New(_)),
            "the one before was given up"
        );
        let Dedup::New(first) = table.claim(0, &"c".into(), "e2", 1, (8, 0), now) else {
            panic!("seen?")
        };
        first.complete(said(2));
        assert!(matches!(
            table.claim(0, &"c".into(), "e2", 1, (8, 0), now + RETENTION),
            Dedup::New(_)
        ));
    }

    #[test]
    fn the_table_is_bounded() {
        let (table, now) = (DedupCache::default(), Instant::now());
        for id in 0..MAX_ENTRIES + 10 {
            let Dedup::New(first) = table.claim(0, &"c".into(), &id.to_string(), 1, (7, 0), now)
            else {
                panic!("seen?")
            };
            first.complete(said(1));
        }
        assert!(table.table.lock().unwrap().entries.len() <= MAX_ENTRIES);
    }
}

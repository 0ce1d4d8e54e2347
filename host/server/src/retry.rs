//! Retried events: the platform asks again, and hears the same.
//!
//! Invariant: within [`REMEMBERED_FOR`], a second call with the same tenant, hook, caller, event id and body joins the first one in
//! flight or gets its answer; the same event id with another body is refused. What is remembered dies with its generation.
//! Bounded: [`REMEMBERED`] events and [`REMEMBERED_BYTES`]; the oldest go first. Holds answers and pseudonyms, never bodies.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// What was answered, to say it again.
#[derive(Clone)]
pub struct Answered {
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
pub struct Retries {
    events: Mutex<Events>,
}

/// What the table says of a call.
pub enum Turn {
    /// Never seen: decide, then [`settle`](First::settle).
    First(First),
    /// Seen, perhaps still in flight: wait for its answer. `None` when the first call was given up.
    Again(watch::Receiver<Option<Answered>>),
    /// The event id was used for another body.
    Reused,
    /// The hook kind's calls are never repeated: decide.
    Alone,
}

/// The duty to answer an event for all who ask.
pub struct First {
    answer: watch::Sender<Option<Answered>>,
    bytes: Arc<AtomicUsize>,
}

/// An event: hook, caller and event id. The tenant is the host's.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Event {
    /// The hook's serial: under another configuration it is another hook, which may decide otherwise.
    hook: u64,
    caller: Arc<str>,
    id: Box<str>,
}

#[derive(Default)]
struct Events {
    known: HashMap<Event, Known>,
    /// Bytes of all remembered answers.
    bytes: Arc<AtomicUsize>,
    order: VecDeque<(Instant, Event)>,
}

struct Known {
    since: Instant,
    generation: Generation,
    body: Box<str>,
    answer: watch::Receiver<Option<Answered>>,
    bytes: Arc<AtomicUsize>,
}

impl Drop for Known {
    fn drop(&mut self) {
        let held = self.answer.borrow().as_ref().map_or(0, |answered| answered.body.len());
        self.bytes.fetch_sub(held, Ordering::Relaxed);
    }
}

impl Retries {
    /// Asks whose turn it is. `body` is the body's pseudonym.
    pub fn turn(
        &self,
        hook: u64,
        caller: &Arc<str>,
        id: &str,
        body: &str,
        generation: Generation,
        now: Instant,
    ) -> Turn {
        let event = Event { hook, caller: Arc::clone(caller), id: id.into() };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.forget(now);
        if let Some(known) = events.known.get(&event) {
            if *known.body != *body {
                return Turn::Reused;
            }
            // A first call that was given up left no answer: the next one is the first again.
            let given_up = known.answer.has_changed().is_err() && known.answer.borrow().is_none();
            if known.generation == generation && !given_up {
                return Turn::Again(known.answer.clone());
            }
        }
        let (sender, answer) = watch::channel(None);
        let bytes = Arc::clone(&events.bytes);
        events.order.push_back((now, event.clone()));
        events
            .known
            .insert(event, Known { since: now, generation, body: body.into(), answer, bytes: Arc::clone(&bytes) });
        Turn::First(First { answer: sender, bytes })
    }
}

impl Retries {
    /// How many events are remembered.
    pub fn remembered(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).known.len()
    }
}

impl First {
    /// Tells everybody who asks what was answered.
    pub fn settle(self, answered: Answered) {
        // Counted first: the entry takes it off again when it is forgotten.
        let held = answered.body.len();
        self.bytes.fetch_add(held, Ordering::Relaxed);
        if self.answer.send(Some(answered)).is_err() {
            // Forgotten meanwhile, and nobody waits.
            self.bytes.fetch_sub(held, Ordering::Relaxed);
        }
    }
}

impl Events {
    fn forget(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front() {
            let room = self.order.len() < REMEMBERED && self.bytes.load(Ordering::Relaxed) < REMEMBERED_BYTES;
            if room && now.saturating_duration_since(*since) < REMEMBERED_FOR {
                return;
            }
            let Some((since, event)) = self.order.pop_front() else { return };
            // A newer entry of the same event stays.
            if self.known.get(&event).is_some_and(|known| known.since == since) {
                self.known.remove(&event);
            }
        }
    }
}

/// How many events are remembered.
const REMEMBERED: usize = 65_536;
/// How many bytes of answers are remembered: 64 MiB.
const REMEMBERED_BYTES: usize = 64 << 20;
/// How long an event is remembered; well over any platform's retry.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn said(index: u64) -> Answered {
        Answered { status: 200, headers: Vec::new(), body: bytes::Bytes::from_static(b"{}"), index: Some(index) }
    }

    fn again(turn: Turn) -> Option<Option<u64>> {
        if let Turn::Again(answer) = turn {
            Some(answer.borrow().as_ref().and_then(|answered| answered.index))
        } else {
            None
        }
    }

    #[test]
    fn a_retry_hears_the_same_and_another_body_is_refused() {
        let (table, now) = (Retries::default(), Instant::now());
        let Turn::First(first) = table.turn(0, &"c".into(), "e1", "b1", (7, 0), now) else { panic!("seen?") };
        assert_eq!(again(table.turn(0, &"c".into(), "e1", "b1", (7, 0), now)), Some(None), "still in flight");
        first.settle(said(42));
        assert_eq!(again(table.turn(0, &"c".into(), "e1", "b1", (7, 0), now)), Some(Some(42)));
        assert!(matches!(table.turn(0, &"c".into(), "e1", "b2", (7, 0), now), Turn::Reused));
        assert!(
            matches!(table.turn(1, &"c".into(), "e1", "b2", (7, 0), now), Turn::First(_)),
            "another hook, another event"
        );
    }

    #[test]
    fn an_answer_dies_with_its_generation_its_time_and_its_giver() {
        let (table, now) = (Retries::default(), Instant::now());
        let Turn::First(first) = table.turn(0, &"c".into(), "e1", "b1", (7, 0), now) else { panic!("seen?") };
        first.settle(said(1));
        assert!(
            matches!(table.turn(0, &"c".into(), "e1", "b1", (8, 0), now), Turn::First(_)),
            "new generation; given up at once"
        );
        assert!(
            matches!(table.turn(0, &"c".into(), "e1", "b1", (8, 0), now), Turn::First(_)),
            "the one before was given up"
        );
        let Turn::First(first) = table.turn(0, &"c".into(), "e2", "b1", (8, 0), now) else { panic!("seen?") };
        first.settle(said(2));
        assert!(matches!(table.turn(0, &"c".into(), "e2", "b1", (8, 0), now + REMEMBERED_FOR), Turn::First(_)));
    }

    #[test]
    fn the_table_is_bounded() {
        let (table, now) = (Retries::default(), Instant::now());
        for id in 0..REMEMBERED + 10 {
            let Turn::First(first) = table.turn(0, &"c".into(), &id.to_string(), "b1", (7, 0), now) else {
                panic!("seen?")
            };
            first.settle(said(1));
        }
        assert!(table.events.lock().unwrap().known.len() <= REMEMBERED);
    }
}

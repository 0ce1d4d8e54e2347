//! The places of tallies in the emergency ring.
//!
//! Invariant: a place belongs to one hook and cause at a time; it is given to another only when the
//! log has all that it counted.

use super::State;
use super::slot::{OLD_PAIRS, PAIRS, slot_of};
use crate::corrections::Count;

/// Answers of one hook and cause that are only counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The hook, cut to 64 bytes; empty where it is not known.
    pub hook: String,
    /// Why, cut to 64 bytes; empty where it is not known.
    pub cause: String,
    /// Tells this tally from every other: an `answer.gap` record names it.
    pub id: u64,
    /// No record that names it stands before this place of the log.
    pub from: u64,
    /// All answers that were counted in it.
    pub all: Count,
    /// How many of them the log has, as found when it was opened.
    pub recorded: u64,
}

/// Hook and cause.
pub(super) type Key = (String, String);

/// A pair of slots, the number of the last write to it, how many answers that counted, and whether
/// the log has all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) pair: usize,
    pub(super) written: u64,
    pub(super) answers: u64,
    pub(super) empty: bool,
}

impl State {
    pub(super) fn keep_without_place(&mut self, key: Key, left: Count) {
        if left.answers == 0 {
            self.placeless.remove(&key);
        } else {
            self.placeless.insert(key, left);
        }
    }

    pub(super) fn mark(&mut self, slot: usize, used: bool) {
        if let Some(it) = self.used.get_mut(slot) {
            *it = used;
        }
    }

    /// The place of a tally: the one it has, a fresh one, or one whose tally is empty.
    pub(super) fn place(&mut self, key: &Key, slots: usize) -> Option<Place> {
        if let Some(place) = self.places.get(key) {
            return Some(*place);
        }
        if self.placeless.contains_key(key) {
            return None;
        }
        let taken: Vec<_> = self.places.values().map(|place| place.pair).collect();
        let is_free = |pair: &usize| {
            let slots_of = [slot_of(*pair, 0), slot_of(*pair, 1)];
            // An earlier version may have left an answer there.
            let holds_answer = |slot: &usize| self.used.get(*slot) == Some(&true);
            !taken.contains(pair)
                && slots_of.iter().all(|slot| *slot < slots)
                && !slots_of.iter().any(holds_answer)
        };
        if let Some(pair) = (0..OLD_PAIRS + PAIRS).find(is_free) {
            return Some(Place { pair, written: 0, answers: 0, empty: true });
        }
        let (former, place) = self.places.iter().find(|(_, place)| place.empty)?;
        let (former, place) = (former.clone(), *place);
        self.places.remove(&former);
        Some(place)
    }
}

//! What was counted of one hook and cause, as the emergency ring keeps it until the log has all of
//! it.
//!
//! Invariant: the place from which a restart reads the log is noted before the first record of the
//! tally is given to the log, and no record that names the tally stands before it. The tally in the
//! ring counts every answer that the end of the process would otherwise take away. No I/O.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use portcullis_audit::corrections::{self, Count};
use portcullis_audit::{NotDurable, Pending, Tally};
use portcullis_model::Millis;

/// A tally that the log does not have all of.
pub struct OpenTally {
    id: u64,
    from: Option<u64>,
    all: Count,
    /// Answers that memory keeps one by one and that have no slot of the ring.
    standby: Count,
    /// Those of them that the log has, in records that name this tally.
    superseded: u64,
    recorded: u64,
    /// How many answers the ring has in it.
    persisted: u64,
}

impl OpenTally {
    /// A tally of nothing, which no record names.
    pub fn new() -> Self {
        Self {
            id: corrections::tally_id(),
            from: None,
            all: Count::default(),
            standby: Count::default(),
            superseded: 0,
            recorded: 0,
            persisted: 0,
        }
    }

    /// The tally of an earlier run, as the ring has it.
    pub fn restored(tally: &Tally) -> Self {
        Self {
            id: tally.id,
            from: Some(tally.from),
            all: tally.all,
            standby: Count::default(),
            superseded: 0,
            recorded: tally.recorded,
            persisted: tally.all.answers,
        }
    }

    /// What records name it by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Counts an answer.
    pub fn add(&mut self, at: Millis) {
        self.all.add(at.0);
    }

    /// Counts so many answers.
    pub fn add_all(&mut self, count: &Count) {
        self.all.join(count);
    }

    /// Counts an answer that memory keeps by itself, for the case that the process ends.
    pub fn stand_by(&mut self, at: Millis) {
        self.standby.add(at.0);
    }

    /// Takes back one of these: the log has it in a record that does not name this tally, or it is
    /// counted otherwise.
    pub fn stand_down(&mut self) {
        self.standby.answers = self.standby.answers.saturating_sub(1);
    }

    /// The log has one of these in a record that names this tally. It stays counted: a restart
    /// takes that record into account.
    pub fn supersede(&mut self) {
        self.superseded = self.superseded.saturating_add(1);
    }

    /// The log has so many more of its answers.
    pub fn record(&mut self, answers: u64) {
        self.recorded = self.recorded.saturating_add(answers);
    }

    /// How many counted answers the log does not have.
    pub fn unrecorded(&self) -> u64 {
        self.all.answers.saturating_sub(self.recorded)
    }

    /// When the first and the last answer left.
    pub fn span(&self) -> Count {
        self.all
    }

    /// Whether the log has everything, and the ring needs it no more.
    pub fn is_done(&self) -> bool {
        self.unrecorded() == 0 && self.standby.answers == self.superseded
    }

    /// Whether the ring has all of it.
    pub fn is_persisted(&self) -> bool {
        self.persisted == self.answers()
    }

    /// The ring has so many of its answers.
    pub fn mark_persisted(&mut self, answers: u64) {
        self.persisted = answers;
    }

    /// Notes where the log was before any record named this tally: `durable` is how many records
    /// are durable. Not the next place, which a log that stops gives again to other records.
    pub fn begins_at(&mut self, durable: u64) {
        self.from.get_or_insert(durable);
    }

    /// What the ring is to keep.
    pub fn tally(&self, hook: &str, cause: &str) -> Tally {
        let mut all = self.all;
        all.join(&self.standby);
        Tally {
            hook: hook.to_owned(),
            cause: cause.to_owned(),
            id: self.id,
            from: self.from.unwrap_or(0),
            all,
            recorded: self.recorded.saturating_add(self.superseded),
        }
    }

    fn answers(&self) -> u64 {
        self.all.answers.saturating_add(self.standby.answers)
    }
}

/// What became of a record that nobody waits for: nothing yet, durable, or not.
pub fn poll(said: &mut Option<Pending>) -> Option<Result<(), NotDurable>> {
    match Pin::new(said.as_mut()?).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(result) => Some(result.map(drop)),
    }
}

/// Takes out the counts whose records came to an end: `ended` hears of each whether it is durable.
pub fn poll_all<T>(given: &mut Vec<(T, Pending)>, mut ended: impl FnMut(T, bool)) {
    for (count, pending) in std::mem::take(given) {
        let mut pending = Some(pending);
        match (poll(&mut pending), pending) {
            (Some(result), _) => ended(count, result.is_ok()),
            (None, Some(pending)) => given.push((count, pending)),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_what_is_counted_and_what_stands_by() {
        let mut open = OpenTally::new();
        open.begins_at(4);
        open.begins_at(9);
        open.add(Millis(20));
        open.stand_by(Millis(10));
        assert!(!open.is_persisted());
        let tally = open.tally("token", "not-durable");
        assert_eq!(tally.from, 4, "no later place takes the first one's");
        assert_eq!(tally.all, Count { answers: 2, first: 10, last: 20 });
        open.mark_persisted(tally.all.answers);
        assert!(open.is_persisted());
        open.stand_down();
        assert!(!open.is_persisted(), "the ring counts one too many");
        open.record(1);
        assert!(open.is_done());
    }

    #[test]
    fn what_stood_by_and_is_in_a_record_that_names_the_tally_stays_counted() {
        let mut open = OpenTally::new();
        open.stand_by(Millis(10));
        open.stand_by(Millis(20));
        open.mark_persisted(2);
        open.supersede();
        assert!(open.is_persisted() && !open.is_done());
        let tally = open.tally("token", "not-durable");
        assert_eq!((tally.all.answers, tally.recorded), (2, 1));
        open.supersede();
        assert!(open.is_done());
        assert_eq!(open.unrecorded(), 0);
    }
}

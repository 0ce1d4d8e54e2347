//! Members for whose shape requests were rejected: counted by name, and reported in the host's log.
//!
//! Invariant: a name is one of the contract's or a place that the operator configured, never a
//! caller's text, and one hook holds at most [`MAX_MEMBERS`]. A member has at most one log line in
//! [`LINE_EVERY_MS`], however often it is met.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use portcullis_model::{Cause, Millis};

/// The rejected members of one hook.
#[derive(Default)]
pub struct RejectedMembers {
    counts: Mutex<BTreeMap<Key, Count>>,
}

/// A member, and what was wrong with it.
type Key = (Cause, String);

#[derive(Default)]
struct Count {
    total: u64,
    /// Of these, how many no log line has told of.
    unreported: u64,
    reported: Option<Millis>,
}

impl RejectedMembers {
    /// Counts one. Returns how many a log line has to tell of, where one is due.
    pub fn count(&self, cause: Cause, member: &str, now: Millis) -> Option<u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (cause, member.to_owned());
        let full = counts.len() >= MAX_MEMBERS && !counts.contains_key(&key);
        let key = if full { (cause, OTHER.to_owned()) } else { key };
        let count = counts.entry(key).or_default();
        count.total += 1;
        count.unreported += 1;
        let due = count.reported.is_none_or(|at| now.0.saturating_sub(at.0) >= LINE_EVERY_MS);
        if !due {
            return None;
        }
        count.reported = Some(now);
        Some(std::mem::take(&mut count.unreported))
    }

    /// Every member with its cause and its count, in the order of the causes.
    pub fn all(&self) -> Vec<(Cause, String, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((cause, member), count)| (*cause, member.clone(), count.total))
            .collect()
    }
}

/// Members of one hook that are told apart. Every contract has fewer that can be rejected.
const MAX_MEMBERS: usize = 128;
/// Stands for all further ones.
const OTHER: &str = "other";
/// The time between two log lines about the same member, milliseconds.
const LINE_EVERY_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_one_line_a_minute_that_tells_of_all() {
        let (members, name) = (RejectedMembers::default(), "data.context");
        let count = |at| members.count(Cause::SchemaMismatch, name, Millis(at));
        assert_eq!(count(1_000), Some(1));
        for at in 0..500 {
            assert_eq!(count(1_000 + at), None);
        }
        assert_eq!(count(1_000 + LINE_EVERY_MS), Some(501));
        assert_eq!(members.all(), [(Cause::SchemaMismatch, name.to_owned(), 502)]);
        // A clock that is set back writes nothing more.
        assert_eq!(count(0), None);
    }

    #[test]
    fn members_are_bounded() {
        let members = RejectedMembers::default();
        for number in 0..3 * MAX_MEMBERS {
            members.count(Cause::SchemaMismatch, &format!("m{number}"), Millis(0));
        }
        let all = members.all();
        assert_eq!(all.len(), MAX_MEMBERS + 1);
        assert_eq!(all.iter().map(|(.., count)| count).sum::<u64>(), 3 * MAX_MEMBERS as u64);
    }
}

//! The records that correct the log: `answer.superseded` and `answer.gap`.
//!
//! Invariant: an answer that left without its record is in the log exactly once. A correction says
//! of itself which answers it is about: `answer.superseded` by the record that it supersedes, and
//! by the tally that its answer was counted in, if it was; `answer.gap` by the tally of its
//! answers. So a start after a crash finds out which of the corrections that the emergency ring
//! remembers the log has already. When they are made is the caller's decision.

use portcullis_model::Digest;
use portcullis_model::json::{ObjectWriter, build_members};
use serde_json::{Map, Value};

use crate::clock::since_epoch;
use crate::entry::Entry;
use portcullis_tlog::tree::Hash;

/// Answers without a record that are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub answers: u64,
    /// When the first left, in milliseconds since 1970 UTC.
    pub first: u64,
    /// When the last left, in milliseconds since 1970 UTC.
    pub last: u64,
}

impl Count {
    /// Counts one more answer.
    pub fn add(&mut self, at: u64) {
        self.join(&Self { answers: 1, first: at, last: at });
    }

    /// Counts those of another count too.
    pub fn join(&mut self, other: &Self) {
        if self.answers == 0 {
            *self = *other;
        } else if other.answers > 0 {
            self.answers = self.answers.saturating_add(other.answers);
            self.first = self.first.min(other.first);
            self.last = self.last.max(other.last);
        }
    }
}

/// Says that what record `of` says left did not leave: `answer` did, at `left` (milliseconds since
/// 1970 UTC).
pub fn superseded(of: u64, answer: &Hash, cause: &str, left: u64) -> Entry {
    let fields = build_members(|fields| {
        fields
            .number("decision", of)
            .display("response", Digest(*answer))
            .text("cause", cause)
            .number("sent_at", left);
    });
    Entry { kind: SUPERSEDED, fields, sealed: None }
}

/// The same record of an answer that the emergency ring counts in a tally: it is one of these.
pub fn of_tally(mut entry: Entry, tally: u64) -> Entry {
    let tally = format_args!("{tally:016x}");
    ObjectWriter::members_of(&mut entry.fields).display("tally", tally);
    entry
}

/// Says that answers of a hook left that have no record. `tally` is the tally that they were
/// counted in.
pub fn gap(tally: u64, hook: &str, cause: &str, count: &Count) -> Entry {
    let fields = build_members(|fields| {
        for (name, text) in [("hook", hook), ("cause", cause)] {
            if !text.is_empty() {
                fields.text(name, text);
            }
        }
        fields
            .number("count", count.answers)
            .number("first", count.first)
            .number("last", count.last)
            .display("tally", format_args!("{tally:016x}"));
    });
    Entry { kind: GAP, fields, sealed: None }
}

/// Says that parts of the emergency ring cannot be read: at least `least` answers that it
/// remembered are counted nowhere else.
pub fn ring_damaged(least: u64, parts: u64) -> Entry {
    let fields = build_members(|fields| {
        fields.text("cause", "ring-damaged").number("count", least).number("damaged", parts);
    });
    Entry { kind: GAP, fields, sealed: None }
}

/// A number that tells a tally from every other.
pub fn tally_id() -> u64 {
    let mut id = [0; 8];
    // The generator does not fail once it is up. A number that comes twice would hide a count from
    // the next start only if this process ended within the same second.
    if aws_lc_rs::rand::fill(&mut id).is_err() {
        let since = since_epoch().unwrap_or_default();
        id = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
    }
    u64::from_be_bytes(id)
}

/// A correction that was found in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Of record `of`, by an answer of this hash, which this tally counts.
    Superseded { of: u64, out: String, tally: Option<u64> },
    /// Of this many answers of this tally.
    Gap { tally: u64, answers: u64 },
}

impl Found {
    /// Reads a leaf, if it is a correction.
    pub(crate) fn read(leaf: &[u8]) -> Option<Self> {
        // Nearly no record is one: they are told apart before they are parsed.
        let names = |kind: &str| leaf.windows(kind.len()).any(|window| window == kind.as_bytes());
        if !names(SUPERSEDED) && !names(GAP) && !names(REFUSED) {
            return None;
        }
        let members: Map<String, Value> = serde_json::from_slice(leaf).ok()?;
        match members.get("t")?.as_str()? {
            SUPERSEDED => Some(Self::Superseded {
                of: members.get("decision")?.as_u64()?,
                out: members.get("response")?.as_str()?.to_owned(),
                tally: members.get("tally").and_then(tally_of),
            }),
            GAP | REFUSED => Some(Self::Gap {
                tally: tally_of(members.get("tally")?)?,
                answers: members.get("count")?.as_u64()?,
            }),
            _ => None,
        }
    }

    /// Whether it supersedes this record by an answer of this hash.
    pub(crate) fn supersedes(&self, record: u64, answer: &Hash) -> bool {
        matches!(self, Self::Superseded { of, out, .. } if *of == record && *out == Digest(*answer).to_string())
    }

    /// How many answers of this tally it is about.
    pub(crate) fn answers_of(&self, id: u64) -> u64 {
        match self {
            Self::Gap { tally, answers } if *tally == id => *answers,
            Self::Superseded { tally: Some(tally), .. } if *tally == id => 1,
            Self::Gap { .. } | Self::Superseded { .. } => 0,
        }
    }
}

fn tally_of(member: &Value) -> Option<u64> {
    u64::from_str_radix(member.as_str()?, 16).ok()
}

const SUPERSEDED: &str = "answer.superseded";
const GAP: &str = "answer.gap";
/// Refusals are counted in tallies too.
const REFUSED: &str = "hook.rejected";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Body, Tenant};

    fn leaf(entry: &Entry) -> Vec<u8> {
        Body::new(&entry.fields, None).unwrap().leaf(7, entry.kind, &Tenant::new("t"), 9.into())
    }

    #[test]
    fn corrections_are_read_back_from_their_records() {
        let count = Count { answers: 12_000, first: 5, last: 9 };
        let entry = gap(0xab, "to\"ken", "not-durable", &count);
        assert_eq!(
            entry.fields,
            r#""hook":"to\"ken","cause":"not-durable","count":12000,"first":5,"last":9,"tally":"00000000000000ab""#
        );
        assert_eq!(Found::read(&leaf(&entry)), Some(Found::Gap { tally: 0xab, answers: 12_000 }));
        let entry = superseded(3, &[1; 32], "undelivered", 4);
        let out = Digest([1; 32]).to_string();
        assert!(
            entry
                .fields
                .starts_with(&format!(r#""decision":3,"response":"{out}","cause":"undelivered""#))
        );
        let found = Found::read(&leaf(&entry)).unwrap();
        assert!(found.supersedes(3, &[1; 32]) && !found.supersedes(3, &[2; 32]));
        assert_eq!(found, Found::Superseded { of: 3, out, tally: None });
        let found = Found::read(&leaf(&of_tally(entry, 0xab))).unwrap();
        assert!(found.supersedes(3, &[1; 32]) && !found.supersedes(4, &[1; 32]));
        assert_eq!((found.answers_of(0xab), found.answers_of(0xac)), (1, 0));
        assert_eq!(Found::read(&leaf(&ring_damaged(1, 2))), None);
        let other = Entry { kind: "x", fields: r#""a":"answer.gap""#.into(), sealed: None };
        assert_eq!(Found::read(&leaf(&other)), None);
    }

    #[test]
    fn counts_keep_the_first_and_the_last_time() {
        let mut count = Count::default();
        for at in [7, 5, 9] {
            count.add(at);
        }
        assert_eq!(count, Count { answers: 3, first: 5, last: 9 });
        count.join(&Count::default());
        assert_eq!(count.answers, 3);
    }
}

//! The answers that a call got from memory, for the sealed part of its record.
//!
//! Invariant: the answers, in order, are all that a plugin learned from memory beyond its own
//! writes.

use std::fmt;

use super::names::Scope;

/// One answer that the plugin got, in the order in which it asked. Answers that follow from the
/// call's own writes alone are left out.
#[derive(Clone, PartialEq, Eq)]
pub struct Read {
    /// The scope of the key.
    pub scope: Scope,
    /// The key.
    pub key: Vec<u8>,
    /// The question and the answer.
    pub answer: Answer,
}

/// A question of a plugin to memory, and the answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// `recall`: the value, and the place in the log of the record that wrote it.
    Value(Option<(Vec<u8>, u64)>),
    /// `count` and `tally`: seconds of the window, and the number of events.
    Count {
        /// Seconds.
        window: u32,
        /// The number.
        count: u32,
    },
    /// `count-distinct` and `tally-distinct`: seconds of the window, and the number of members.
    Distinct {
        /// Seconds.
        window: u32,
        /// The number.
        count: u32,
    },
}

impl Read {
    /// Bytes that it counts with against [`MAX_READ_BYTES`](super::MAX_READ_BYTES).
    pub fn bytes(&self) -> usize {
        let answer = match &self.answer {
            Answer::Value(value) => value.as_ref().map_or(0, |(bytes, _)| bytes.len()),
            Answer::Count { .. } | Answer::Distinct { .. } => COUNT_BYTES,
        };
        self.key.len() + answer + READ_OVERHEAD
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a read [redacted]")
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer [redacted]")
    }
}

/// Bytes of the answer of a count.
pub(super) const COUNT_BYTES: usize = 4;

/// Bytes that a read counts with besides key and answer: kind, scope, window, version, lengths.
pub(super) const READ_OVERHEAD: usize = 32;

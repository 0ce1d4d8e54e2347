//! Times of calls and records.
//!
//! Invariant: a time is a number of milliseconds. Text is made of it elsewhere.

use std::fmt;

use crate::json::Number;

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Number for Millis {
    fn value(self) -> u64 {
        self.0
    }
}

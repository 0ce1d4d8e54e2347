//! Problems of settings, each with its path.
//!
//! Invariant: nothing is lost and nothing is cut short here; the callers bound what they print.

use std::fmt::Display;

/// One thing that is wrong with settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place, such as `rules[3].b`.
    pub path: String,
    /// What is wrong there; a predicate such as `names no function`.
    pub what: String,
}

/// Problems as they are found.
#[derive(Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn at(&mut self, path: impl Display, what: impl Display) {
        self.0.push(Problem { path: path.to_string(), what: what.to_string() });
    }

    /// The problems, if there are any.
    pub fn none(self) -> Result<(), Vec<Problem>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

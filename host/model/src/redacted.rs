//! Text and bytes that must not be seen: secrets and personal data that pass through.
//!
//! Invariant: no formatting shows the content; taking it out is spelled `expose`, so that a reader can search for it.

use std::fmt;

/// Holds what no log, error or panic message may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Hides it.
    pub fn new(inner: T) -> Self {
        Self(inner)
    }

    /// The content, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

//! The operations with which a call changed memory, for those who show it to a plugin's author.
//!
//! Invariant: the operations, in order, are all that the call changes, also where not all of them
//! are kept. They are as the plugin gave them, so they are personal, and are not printed.

use std::fmt;

use super::names::Scope;

/// One operation of a plugin that changes memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// The scope of the key.
    pub scope: Scope,
    /// The key.
    pub key: Vec<u8>,
    /// The change.
    pub change: WriteChange,
    /// The number of [reads](super::Transaction::reads) before it. The answer of a tally is the
    /// read of this number.
    pub reads_before: usize,
}

/// A change of what is under a key. Times to live and windows are seconds.
#[derive(Clone, PartialEq, Eq)]
pub enum WriteChange {
    /// `remember`.
    Remember {
        /// The value.
        value: Vec<u8>,
        /// Its time to live.
        ttl: u32,
    },
    /// `forget`.
    Forget,
    /// `tally`.
    Tally {
        /// The window.
        window: u32,
    },
    /// `tally-distinct`.
    TallyDistinct {
        /// The member.
        member: Vec<u8>,
        /// The window.
        window: u32,
    },
}

impl WriteChange {
    /// Whether it is kept where the call came to no decision.
    pub fn is_tally(&self) -> bool {
        matches!(self, Self::Tally { .. } | Self::TallyDistinct { .. })
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a write [redacted]")
    }
}

impl fmt::Debug for WriteChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change [redacted]")
    }
}

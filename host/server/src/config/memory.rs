//! `[memory]`: how much plugins may remember.
//!
//! Invariant: the quotas are those of each plugin and each mode of its bindings, so that no plugin
//! takes room from another.

use portcullis_store::memory::{Quota, ScopeQuota};
use serde::Deserialize;

/// The most that each plugin may hold. A plugin that would hold more gets `plugin-data-limit`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// Bytes of all subjects together. Default 1 GiB.
    pub subject_bytes: u64,
    /// Values, counters and sets of all subjects together. Default 4,000,000.
    pub subject_entries: u64,
    /// Bytes of the shared scope. Default 64 MiB.
    pub shared_bytes: u64,
    /// Values, counters and sets of the shared scope. Default 500,000.
    pub shared_entries: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        let Quota { subject, shared } = Quota::default();
        Self {
            subject_bytes: subject.bytes,
            subject_entries: subject.entries,
            shared_bytes: shared.bytes,
            shared_entries: shared.entries,
        }
    }
}

impl MemoryConfig {
    /// Each setting with its bounds.
    pub fn bounds(&self) -> [(&'static str, u64, u64, u64); 4] {
        [
            ("memory.subject_bytes", self.subject_bytes, LEAST_BYTES, MOST_BYTES),
            ("memory.subject_entries", self.subject_entries, LEAST_ENTRIES, MOST_ENTRIES),
            ("memory.shared_bytes", self.shared_bytes, LEAST_BYTES, MOST_BYTES),
            ("memory.shared_entries", self.shared_entries, LEAST_ENTRIES, MOST_ENTRIES),
        ]
    }

    /// The quota of each plugin.
    pub fn quota(&self) -> Quota {
        Quota {
            subject: ScopeQuota { bytes: self.subject_bytes, entries: self.subject_entries },
            shared: ScopeQuota { bytes: self.shared_bytes, entries: self.shared_entries },
        }
    }
}

/// The bytes that the largest call may write.
const LEAST_BYTES: u64 = 64 << 10;
/// More than any machine has.
const MOST_BYTES: u64 = 1 << 40;
/// The entries that one subject may have.
const LEAST_ENTRIES: u64 = 256;
/// More than any machine holds.
const MOST_ENTRIES: u64 = 1_000_000_000;

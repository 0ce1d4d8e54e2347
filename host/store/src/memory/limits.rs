//! The limits of memory, each with its effect.
//!
//! Invariant: what one call, one cell, one namespace and one encoding can hold is bounded by a
//! constant of this file or by a [`Quota`].

/// Most bytes of a key; a longer or empty one is refused.
pub const MAX_KEY_BYTES: usize = 256;

/// Most bytes of a remembered value; a longer one is refused.
pub const MAX_VALUE_BYTES: usize = 4 << 10;

/// Most bytes of a member that is counted once; a longer one is refused.
pub const MAX_MEMBER_BYTES: usize = 256;

/// Longest time for which a value is remembered: 400 days. A longer one is refused.
pub const MAX_TTL_SECONDS: u32 = 400 * 86_400;

/// Longest window of a count: 31 days. A longer one, or one of 0 s, is refused.
pub const MAX_WINDOW_SECONDS: u32 = 31 * 86_400;

/// Most bytes that one call may read, keys and answers counted: 64 KiB. All of it goes into the
/// sealed part of the record, so a read beyond this is refused.
pub const MAX_READ_BYTES: usize = 64 << 10;

/// Most bytes that one call may write, keys counted: 64 KiB. A write beyond this is refused.
pub const MAX_WRITE_BYTES: usize = 64 << 10;

/// Cells that one call may write: the subject's, and one for each key of the shared scope. A write
/// to one more is refused.
pub const MAX_CELLS_PER_CALL: usize = 64;

/// Most bytes that one subject, or one key of the shared scope, may take. A write that would exceed
/// it is refused. Calls in flight at the same moment may together exceed it by what each writes.
pub const MAX_CELL_BYTES: usize = 64 << 10;

/// Most values, counters and sets that one subject may have. A write of one more is refused.
pub const MAX_CELL_ITEMS: usize = 256;

/// Most bytes of encoded [`Changes`](super::Changes), all plugins of a call together: eight plugins
/// that each write all that they may. Longer ones are refused, and longer bytes are not parsed.
pub const MAX_CHANGES_BYTES: usize = 768 << 10;

/// Most namespaces of one memory. One more is refused.
pub const MAX_NAMESPACES: usize = 1024;

/// Most bytes of each of the three names of a namespace.
pub const MAX_NAME_BYTES: usize = 256;

/// Rows in one transaction of the disk view; a flush of more takes several.
pub(super) const MAX_ROWS_PER_COMMIT: usize = 4096;

/// The most that a namespace may hold in one scope. A write that would exceed it is refused, and
/// the plugin gets the error; so a flood of addresses in the shared scope takes no room from
/// subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeQuota {
    /// Bytes, with [`CELL_OVERHEAD`] for each cell.
    pub bytes: u64,
    /// Values, counters and sets.
    pub entries: u64,
}

/// The quota of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Of all subjects together. Default: 1 GiB and 4 million entries.
    pub subject: ScopeQuota,
    /// Of the shared scope. Default: 64 MiB and 500 000 entries.
    pub shared: ScopeQuota,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            subject: ScopeQuota { bytes: 1 << 30, entries: 4_000_000 },
            shared: ScopeQuota { bytes: 64 << 20, entries: 500_000 },
        }
    }
}

/// Bytes that a cell is counted with besides its items: its place in the map and its key.
pub const CELL_OVERHEAD: u64 = 96;

//! Errors of memory.
//!
//! Invariant: no error holds a key, a value or a name of a person.

use std::path::PathBuf;

use super::codec::Malformed;
use super::keys::CryptographyError;
use super::limits::{
    MAX_CELL_BYTES, MAX_CELL_ITEMS, MAX_CELLS_PER_CALL, MAX_CHANGES_BYTES, MAX_KEY_BYTES,
    MAX_MEMBER_BYTES, MAX_READ_BYTES, MAX_TTL_SECONDS, MAX_VALUE_BYTES, MAX_WINDOW_SECONDS,
    MAX_WRITE_BYTES,
};
use super::names::Scope;

/// The reason for which an operation of a plugin is refused. The plugin gets the error; nothing was
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The call names no subject.
    #[error("the call has no subject; use the shared scope")]
    NoSubject,
    /// The key is empty or too long.
    #[error("the key has {0} bytes; it needs 1 to {MAX_KEY_BYTES}")]
    Key(usize),
    /// The value is too long.
    #[error("the value has {0} bytes; at most {MAX_VALUE_BYTES} are remembered")]
    Value(usize),
    /// The member is too long.
    #[error("the member has {0} bytes; it may have {MAX_MEMBER_BYTES}")]
    Member(usize),
    /// No time to live, or a longer one than there may be.
    #[error("a value cannot be remembered for {0} s; give 1 to {MAX_TTL_SECONDS}")]
    Ttl(u32),
    /// No window, or a longer one than there may be.
    #[error("a window cannot have {0} s; give 1 to {MAX_WINDOW_SECONDS}")]
    Window(u32),
    /// The call has read too much.
    #[error("the call would read more than {MAX_READ_BYTES} bytes of memory")]
    Reads,
    /// The call has written too much.
    #[error("the call would write more than {MAX_WRITE_BYTES} bytes of memory")]
    Writes,
    /// The call has written to too many keys of the shared scope.
    #[error("the call would write to more than {MAX_CELLS_PER_CALL} keys of the shared scope")]
    Cells,
    /// The subject, or the key of the shared scope, holds too much.
    #[error(
        "one subject or shared key may hold {MAX_CELL_BYTES} bytes and {MAX_CELL_ITEMS} entries"
    )]
    CellFull,
    /// The namespace holds too much.
    #[error("the plugin's quota in the scope {0:?} is used up; forget something, or wait")]
    Quota(Scope),
}

/// The reason for which changes cannot be sequenced as they are: the call must be evaluated again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another call changed a value that this one had read.
    #[error("a value that the call had read was changed meanwhile")]
    Changed,
    /// A record that the call may have seen did not become durable, or was superseded.
    #[error("a change that the call may have read was given up meanwhile")]
    Abandoned,
    /// The subject was erased, or all that it had has expired.
    #[error("the key under which the changes are encrypted was destroyed meanwhile")]
    KeyDestroyed,
    /// Other calls used up the quota.
    #[error("the plugin's quota was used up meanwhile")]
    Quota,
}

/// The reason for which changes could not be made, or not be read back from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// Too much for one record.
    #[error(
        "the changes of one record would have {bytes} bytes; at most {MAX_CHANGES_BYTES} are stored"
    )]
    TooLarge {
        /// An upper bound of their encoding.
        bytes: usize,
    },
    /// The bytes are no changes.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Another key, or changed bytes.
    #[error("the changes were encrypted under another key, or were changed: {0}")]
    Cryptography(#[from] CryptographyError),
}

/// The reason for which changes could not be staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// Places must grow.
    #[error("changes at place {position} of the log come after those at {last}")]
    OutOfOrder {
        /// The place that was given.
        position: u64,
        /// The last one before, or the one before which all is applied.
        last: u64,
    },
    /// They name one namespace more than there may be.
    #[error(transparent)]
    Namespaces(#[from] TooManyNamespaces),
}

/// There are as many namespaces as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {} namespaces already, which is the limit", super::limits::MAX_NAMESPACES)]
pub struct TooManyNamespaces;

/// The reason for which changes were not sequenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError<E> {
    /// The call must be evaluated again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The log did not take the record.
    #[error("{0}")]
    Append(E),
    /// The log gave a place that does not follow. The record is in the log; its changes are not in
    /// memory, which must be opened again.
    #[error("{0}")]
    Stage(StageError),
}

/// The reason for which an import was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// All items that are wrong, by their places.
    #[error("{} of the items cannot be imported: {}", .0.len(), first_of(.0))]
    Items(Vec<(usize, OperationError)>),
    /// The changes could not be made.
    #[error(transparent)]
    Changes(#[from] ChangesError),
}

/// The reason for which the disk view cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The disk refused.
    #[error("the memory's file {}: {why}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// Its content is not what was written.
    #[error("the memory's file is corrupt: {0}")]
    Corrupt(String),
    /// Another process wrote it since.
    #[error(
        "the memory's file is at version {found} and not at {expected}; another process writes it"
    )]
    VersionMoved {
        /// The version that this process wrote or read.
        expected: u64,
        /// The version that is there.
        found: u64,
    },
}

/// The reason for which memory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk view.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// It was written under another key.
    #[error(
        "the memory was written under another key; give the key of its file, or move the file away"
    )]
    OtherKey,
    /// A corrupt file could not be renamed.
    #[error("the corrupt file {} could not be renamed: {why}", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The cryptographic library.
    #[error(transparent)]
    Cryptography(#[from] CryptographyError),
    /// More namespaces than there may be.
    #[error(transparent)]
    Namespaces(#[from] TooManyNamespaces),
}

/// The reason for which a flush did not succeed. The next one writes what it did not.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The disk view.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The cryptographic library.
    #[error(transparent)]
    Cryptography(#[from] CryptographyError),
}

fn first_of(wrong: &[(usize, OperationError)]) -> String {
    let named = wrong.iter().take(NAMED_ITEMS).map(|(item, why)| format!("item {item}: {why}"));
    named.collect::<Vec<_>>().join("; ")
}

/// Items that the text of an error names; all are in the error.
const NAMED_ITEMS: usize = 10;

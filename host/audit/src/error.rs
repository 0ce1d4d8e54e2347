//! The errors of the log, in the operator's words.
//!
//! Invariant: no message holds a record's content. Errors of notes and seals stand beside those.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_tlog::note::NoteError;

/// Why a log cannot be opened or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The operating system refused.
    #[error("`{path}` could not be {what}: {cause}")]
    Disk {
        /// The file or directory.
        path: String,
        /// The operation that failed, as a participle.
        what: &'static str,
        /// The operating system's word.
        cause: String,
    },
    /// Another process has the log open.
    #[error("the log in `{0}` is in use by another process")]
    InUse(String),
    /// A setting of the log is out of bounds.
    #[error("{0}")]
    Options(&'static str),
    /// There are records, and no checkpoint.
    #[error("the log in `{0}` has records but no checkpoint")]
    CheckpointMissing(String),
    /// The checkpoint is not this log's.
    #[error("the checkpoint of the log in `{dir}` is not accepted: {cause}")]
    Checkpoint {
        /// The log's directory.
        dir: String,
        /// The fault.
        cause: NoteError,
    },
    /// The tiles do not hash to the checkpoint.
    #[error("the tiles of the log in `{dir}` do not match its checkpoint: {what}")]
    Tiles {
        /// The log's directory.
        dir: String,
        /// The place where they differ.
        what: String,
    },
    /// Records that were durable are missing from the write-ahead log.
    #[error("the write-ahead log in `{dir}` is damaged: {what}")]
    WriteAhead {
        /// The log's directory.
        dir: String,
        /// The place, and the part that is missing.
        what: String,
    },
    /// The emergency ring could not be read.
    #[error("the emergency ring `{0}` is damaged")]
    Ring(String),
    /// The log has stopped.
    #[error("the log has stopped: {0}")]
    Stopped(Arc<str>),
    /// A checkpoint was not written in time. The records that it was to cover are durable all the
    /// same.
    #[error("the checkpoint was not written within {} ms", limit.as_millis())]
    NotPublished {
        /// How long it was waited for.
        limit: Duration,
    },
    /// The log was not closed in time, because its disk does not answer.
    #[error("the log was not closed within {} ms", limit.as_millis())]
    NotClosed {
        /// How long it was waited for.
        limit: Duration,
    },
}

impl AuditError {
    /// Returns the stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disk { .. } => "log-disk",
            Self::InUse(_) => "log-in-use",
            Self::Options(_) => "log-options",
            Self::CheckpointMissing(_) => "log-checkpoint-missing",
            Self::Checkpoint { .. } => "log-checkpoint",
            Self::Tiles { .. } => "log-tiles",
            Self::WriteAhead { .. } => "log-write-ahead",
            Self::Ring(_) => "log-ring",
            Self::Stopped(_) => "log-stopped",
            Self::NotPublished { .. } => "log-not-published",
            Self::NotClosed { .. } => "log-not-closed",
        }
    }

    /// Returns advice for the operator. `None`: there is none.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::InUse(_) => "stop the other process, or set another directory for this one",
            Self::Checkpoint { cause: NoteError::Unsigned(_), .. } => {
                "use the key with which this log was begun, or begin a new log"
            }
            Self::CheckpointMissing(_)
            | Self::Checkpoint { .. }
            | Self::Tiles { .. }
            | Self::WriteAhead { .. } => {
                "keep the directory as evidence, run `portcullis audit verify` on it, and begin a new log; nothing is repaired by hand"
            }
            Self::Ring(_) => {
                "keep the file as evidence, then remove it; the answers that it \
             held are lost"
            }
            Self::Stopped(_) => "repair the disk or free space on it, then restart the host",
            Self::NotPublished { .. } => {
                "check the disk of the log; the host writes the checkpoint as soon as it can"
            }
            Self::NotClosed { .. } => {
                "check the disk of the log; durable records are kept, and the next start \
                 recovers them"
            }
            Self::Disk { .. } | Self::Options(_) => return None,
        };
        Some(hint.to_owned())
    }

    pub(crate) fn disk(path: &Path, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |cause| Self::Disk { path: path.display().to_string(), what, cause: cause.to_string() }
    }
}

/// Why a record was not appended. Nothing was sequenced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The record's type is not plain.
    #[error("the record type is not made of lower-case letters, digits, `.`, `-` and `_`")]
    Kind,
    /// The record's fields are not fit for a leaf.
    #[error("the record's fields are invalid: {0}")]
    Fields(&'static str),
    /// The leaf would be too large.
    #[error("the record has {bytes} bytes, more than {limit}")]
    LeafTooLarge {
        /// The bytes that it would have.
        bytes: usize,
        /// The most it may have.
        limit: usize,
    },
    /// The sealed part is too large.
    #[error("the record's sealed part has {bytes} bytes, more than {limit}")]
    SealedTooLarge {
        /// The bytes that it has.
        bytes: usize,
        /// The most it may have.
        limit: usize,
    },
    /// The sealed part could not be encrypted.
    #[error("the record's sealed part could not be encrypted")]
    Sealing,
    /// More records wait for the disk than may.
    #[error("the log's queue is full")]
    QueueFull,
    /// The log has stopped or was closed.
    #[error("the log has stopped: {0}")]
    Stopped(Arc<str>),
}

impl AppendError {
    /// Returns the stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kind => "record-type",
            Self::Fields(_) => "record-fields",
            Self::LeafTooLarge { .. } => "record-too-large",
            Self::SealedTooLarge { .. } => "record-sealed-too-large",
            Self::Sealing => "record-sealing",
            Self::QueueFull => "log-queue-full",
            Self::Stopped(_) => "log-stopped",
        }
    }
}

/// A sequenced record may not be durable: the log stopped before its commit was finished. After the
/// restart it may be there or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is not known to be durable: {0}")]
pub struct NotDurable(pub Arc<str>);

impl NotDurable {
    /// Returns the stable name of this error.
    pub fn code(&self) -> &'static str {
        "record-not-durable"
    }
}

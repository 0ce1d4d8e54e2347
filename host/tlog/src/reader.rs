//! Reading a log that another process writes or wrote: its head, its entries, its sealed parts.
//!
//! Invariant: nothing is written and no lock is taken; a log can be read while it grows. The head's
//! signature is checked when opening, and no record is returned that does not lead to it. The rest
//! of the log is checked by `verify`.

use std::io;
use std::path::{Path, PathBuf};

use portcullis_keys::PublicKey;

use crate::checkpoint::Checkpoint;
use crate::layout::{CHECKPOINT, LOG_DIR, SEALED_DIR, WAL_DIR};
use crate::note::NoteError;
use crate::sealed_files::SealedReader;
use crate::source::Source;
use crate::tiles::TileReader;
use crate::tree::{check_consistency, consistency_proof};
use crate::uncovered;
use crate::verified::{Unverified, VerifiedRecord, Verifier};

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A file is missing or cannot be read.
    #[error("`{path}` could not be read: {cause}")]
    File {
        /// The file.
        path: String,
        /// The operating system's error, or the fault of its content.
        cause: String,
    },
    /// The checkpoint is not the log's.
    #[error("the checkpoint is not accepted: {0}")]
    Checkpoint(NoteError),
    /// The log has fewer entries.
    #[error("the log has no record {index}: it has {size} records")]
    NoSuchRecord {
        /// The record that was asked for.
        index: u64,
        /// Entries under the checkpoint.
        size: u64,
    },
    /// The record is durable, and no checkpoint covers it yet.
    #[error("record {index} is not under a checkpoint yet: the last one covers {size}")]
    NotYetCovered {
        /// The record that was asked for.
        index: u64,
        /// Entries under the checkpoint.
        size: u64,
    },
    /// The bytes that were read do not fit the checkpoint.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

impl ReadError {
    /// Returns the stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "log-unreadable",
            Self::Checkpoint(_) => "log-checkpoint",
            Self::NoSuchRecord { .. } => "log-no-such-record",
            Self::NotYetCovered { .. } => "log-not-yet-covered",
            Self::Damaged(_) => "log-damaged",
        }
    }

    /// Returns advice for the operator. `None`: there is none.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => Some(
                "give the log's directory, which holds `checkpoint`, or its parent directory"
                    .into(),
            ),
            Self::Checkpoint(NoteError::Unsigned(_)) => {
                Some("check that the vkey is this log's".into())
            }
            Self::NoSuchRecord { .. } => {
                Some("check the number, and that this is the log that the answer names".into())
            }
            Self::NotYetCovered { .. } => Some(
                "try again: a checkpoint covers a record after about a second, or, if the log's \
                 disk is full, once it has room again"
                    .into(),
            ),
            Self::Checkpoint(_) | Self::Damaged(_) => {
                Some("run `portcullis audit verify` to find every damaged place".into())
            }
        }
    }
}

/// A log as of its checkpoint.
pub struct Reader<'a> {
    pub(crate) log: PathBuf,
    pub(crate) sealed_dir: PathBuf,
    pub(crate) tiles: TileReader<'a>,
    pub(crate) note: String,
    head: Checkpoint,
    verifier: Verifier,
    wal_dir: PathBuf,
    disk: &'a dyn Source,
    sealed_files: SealedReader<'a>,
}

impl<'a> Reader<'a> {
    /// Opens the directory that holds `checkpoint`, or the one above it; the checkpoint must be
    /// signed by `key`.
    pub fn open(disk: &'a dyn Source, dir: &Path, key: &PublicKey) -> Result<Self, ReadError> {
        let below = dir.join(LOG_DIR);
        let (log, path) = match disk.read(&below.join(CHECKPOINT)) {
            Ok(_) => (below.clone(), below.join(CHECKPOINT)),
            Err(_) => (dir.to_owned(), dir.join(CHECKPOINT)),
        };
        let note = disk.read(&path).map_err(|error| unreadable(&path, &error))?;
        let head = Checkpoint::verify(&note, key).map_err(ReadError::Checkpoint)?;
        let sealed_dir = log.parent().unwrap_or(Path::new("")).join(SEALED_DIR);
        let tiles = TileReader::new(disk, &log, head.size);
        let note = String::from_utf8_lossy(&note).into_owned();
        let verifier = Verifier::new(head.size, head.root);
        let wal_dir = log.parent().unwrap_or(Path::new("")).join(WAL_DIR);
        let sealed_files = SealedReader::new(disk, &sealed_dir);
        Ok(Self { log, sealed_files, sealed_dir, tiles, note, head, verifier, wal_dir, disk })
    }

    /// Returns the head.
    pub fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// Returns the record at an index, checked against the checkpoint.
    ///
    /// # Errors
    /// There is no such record, no checkpoint covers it yet, or the bytes that were read are
    /// not those that were signed.
    pub fn verified(&self, index: u64) -> Result<VerifiedRecord, ReadError> {
        self.require(index)?;
        self.verifier.record(&self.tiles, index).map_err(|unverified| match unverified {
            Unverified::Disk(error) => unreadable(&self.log, &error),
            Unverified::Altered(what) => ReadError::Damaged(what),
        })
    }

    /// Checks that the checkpoint covers a record.
    ///
    /// # Errors
    /// There is no such record, or no checkpoint covers it yet.
    pub fn require(&self, index: u64) -> Result<(), ReadError> {
        let size = self.head.size;
        if index < size {
            Ok(())
        } else if uncovered::holds(self.disk, &self.wal_dir, index) {
            Err(ReadError::NotYetCovered { index, size })
        } else {
            Err(ReadError::NoSuchRecord { index, size })
        }
    }

    /// Returns the exact bytes of a record, checked as by [`Reader::verified`].
    ///
    /// # Errors
    /// As [`Reader::verified`].
    pub fn leaf(&self, index: u64) -> Result<Vec<u8>, ReadError> {
        self.verified(index).map(VerifiedRecord::into_leaf)
    }

    /// Returns whether this log continues an earlier head of its own. The answer rests on the tiles
    /// on disk, which `verify` checks.
    pub fn continues(&self, earlier: &Checkpoint) -> Result<bool, ReadError> {
        if earlier.origin != self.head.origin || earlier.size > self.head.size {
            return Ok(false);
        }
        if earlier.size == 0 {
            return Ok(true);
        }
        let proof = consistency_proof(&self.tiles, earlier.size, self.head.size)
            .map_err(|error| unreadable(&self.log, &error))?;
        Ok(check_consistency(earlier.size, &earlier.root, self.head.size, &self.head.root, &proof))
    }

    /// Passes on every record from `first` on, in order, each checked against the checkpoint.
    ///
    /// # Errors
    /// As [`Reader::verified`].
    pub fn scan(&self, first: u64, mut look: impl FnMut(u64, &[u8])) -> Result<(), ReadError> {
        (first..self.head.size).try_for_each(|index| {
            look(index, self.verified(index)?.leaf());
            Ok(())
        })
    }

    /// Returns the signed note of the head.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Returns the encrypted part of a record. `None`: the record has none.
    pub fn sealed(&self, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.sealed_files.read(index).map_err(|error| unreadable(&self.sealed_dir, &error))
    }
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> ReadError {
    ReadError::File { path: path.display().to_string(), cause: error.to_string() }
}

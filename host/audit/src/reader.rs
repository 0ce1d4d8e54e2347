//! Reading a log that somebody else writes or wrote: its head, its entries, its sealed parts.
//!
//! Invariant: nothing is written and no lock is taken; a log can be read while it grows. The head's signature is checked when opening, what
//! is read below it is not (`verify` does that).

use std::io;
use std::path::{Path, PathBuf};

use portcullis_keys::PublicKey;

use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::log::{LOG_DIR, SEALED_DIR};
use crate::note::NoteError;
use crate::shards::ShardReader;
use crate::tiles::{Row, TILE_WIDTH, Tile, TileReader, entries};
use crate::tree::{check_consistency, consistency_proof, leaf_hash};
use crate::views::CHECKPOINT;

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A file is missing or cannot be read.
    #[error("`{path}` could not be read: {cause}")]
    File {
        /// The file.
        path: String,
        /// The operating system's word, or what is wrong with it.
        cause: String,
    },
    /// The checkpoint is not the log's.
    #[error("the checkpoint is not accepted: {0}")]
    Checkpoint(NoteError),
    /// The log has fewer entries.
    #[error("there is no record {index}: the log has {size}")]
    NoSuchRecord {
        /// What was asked for.
        index: u64,
        /// Entries under the checkpoint.
        size: u64,
    },
    /// What was read does not fit the checkpoint.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

impl ReadError {
    /// The stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "log-unreadable",
            Self::Checkpoint(_) => "log-checkpoint",
            Self::NoSuchRecord { .. } => "log-no-such-record",
            Self::Damaged(_) => "log-damaged",
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => Some(
                "name the log's directory: the one that holds `checkpoint`, or the one above it"
                    .into(),
            ),
            Self::Checkpoint(NoteError::Unsigned(_)) => {
                Some("check that the vkey is this log's".into())
            }
            Self::NoSuchRecord { .. } => Some(
                "a record is listed once a checkpoint covers it, about a second after it was made"
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
    shards: ShardReader<'a>,
}

impl<'a> Reader<'a> {
    /// Opens the directory that holds `checkpoint`, or the one above it; the checkpoint must be signed by `key`.
    pub fn open(disk: &'a dyn Disk, dir: &Path, key: &PublicKey) -> Result<Self, ReadError> {
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
        Ok(Self { log, shards: ShardReader::new(disk, &sealed_dir), sealed_dir, tiles, note, head })
    }

    /// The head.
    pub fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// The exact bytes of a record.
    pub fn leaf(&self, index: u64) -> Result<Vec<u8>, ReadError> {
        if index >= self.head.size {
            return Err(ReadError::NoSuchRecord { index, size: self.head.size });
        }
        self.tiles.entry(index).map_err(|error| unreadable(&self.log, &error))
    }

    /// Whether this log continues an earlier head of its own. Only as sure as the tiles on disk: `verify` looks at all of them.
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

    /// Hands out every record from `first` on, in order. Each is held against the hash that the tree has for it.
    pub fn scan(&self, first: u64, mut look: impl FnMut(u64, &[u8])) -> Result<(), ReadError> {
        let failed = |error: io::Error| unreadable(&self.log, &error);
        let mut next = first;
        while next < self.head.size {
            let bundle = next / TILE_WIDTH;
            let (Some(tile), Some(hashed)) = (
                Tile::at(Row::Entries, bundle, self.head.size),
                Tile::at(Row::Hashes(0), bundle, self.head.size),
            ) else {
                break;
            };
            let bytes = self.tiles.read(tile).map_err(failed)?;
            let hashes = self.tiles.hashes(hashed).map_err(failed)?;
            let found = entries(&bytes).filter(|found| found.len() == hashes.len());
            let found = found.ok_or_else(|| {
                ReadError::Damaged(format!("`{}` has not its entries", tile.path()))
            })?;
            let skip = usize::try_from(next % TILE_WIDTH).unwrap_or(usize::MAX);
            for (leaf, hash) in found.iter().zip(&hashes).skip(skip) {
                if leaf_hash(leaf) != *hash {
                    return Err(ReadError::Damaged(format!(
                        "record {next} is not the one that was logged"
                    )));
                }
                look(next, leaf);
                next += 1;
            }
        }
        Ok(())
    }

    /// The signed note of the head.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The encrypted part of a record, where it has one.
    pub fn sealed(&self, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.shards.read(index).map_err(|error| unreadable(&self.sealed_dir, &error))
    }
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> ReadError {
    ReadError::File { path: path.display().to_string(), cause: error.to_string() }
}

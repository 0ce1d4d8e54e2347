//! How a log is opened: its directory, keys, sizes and clocks.
//!
//! Invariant: values out of range are refused before anything is opened. Opens nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::change_store::ChangeStore;
use crate::clock::monotonic_now;
use crate::disk::spare::SpareDescriptors;
use crate::entry::RecordTime;
use crate::error::AuditError;
use crate::seal::Sealer;
use portcullis_tlog::note::Signer;

/// How a log is opened.
pub struct Options {
    /// The directory; its parent must exist.
    pub dir: PathBuf,
    /// The log's name, which is also the name of the signer's key.
    pub origin: String,
    /// The tenant that the records belong to.
    pub tenant: String,
    /// Signs checkpoints.
    pub signer: Arc<dyn Signer>,
    /// Encrypts sealed parts.
    pub sealer: Sealer,
    /// The promise of a receipt.
    pub commit: Commit,
    /// Size of a write-ahead segment: a multiple of 4 KiB from 2 MiB to 1 GiB. Two are written when
    /// the log begins.
    pub segment_bytes: u64,
    /// The most segments there may be. When all wait for the views, appends wait; that bounds disk
    /// and memory.
    pub max_segments: u32,
    /// When a checkpoint is due.
    pub checkpoint_every: CheckpointEvery,
    /// Records that may wait for the disk, 1 to 65,536; more are refused at once.
    pub queue_entries: usize,
    /// Milliseconds since 1970 UTC.
    pub clock: Arc<dyn Fn() -> RecordTime + Send + Sync>,
    /// The monotonic clock by which checkpoints are due and a sync counts as hanging.
    pub monotonic: Monotonic,
    /// Descriptors for the time when the process has none left. A stock that was opened before
    /// everything else helps also where the limit is lowered while the process runs.
    pub spares: Arc<SpareDescriptors>,
    /// The store to which records bring changes, where there is one.
    pub change_store: Option<Arc<dyn ChangeStore>>,
}

/// A source of monotonic time.
pub type Monotonic = Arc<dyn Fn() -> Instant + Send + Sync>;

impl Options {
    /// The defaults: receipts for what is on disk, up to sixteen segments of 16 MiB, a checkpoint
    /// after 256 entries or one second, 4,096 records in the queue. The signer's key names the
    /// origin.
    pub fn new(
        dir: PathBuf,
        tenant: String,
        signer: Arc<dyn Signer>,
        sealer: Sealer,
        clock: Arc<dyn Fn() -> RecordTime + Send + Sync>,
    ) -> Self {
        Self {
            dir,
            origin: signer.public().name().to_owned(),
            tenant,
            signer,
            sealer,
            commit: Commit::Disk,
            segment_bytes: 16 << 20,
            max_segments: 16,
            checkpoint_every: CheckpointEvery::default(),
            queue_entries: 4096,
            clock,
            monotonic: Arc::new(monotonic_now),
            spares: Arc::default(),
            change_store: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), AuditError> {
        let problem = if self.origin != self.signer.public().name() {
            "the log's origin and the name of its key differ: give the key the origin's name"
        } else if !self.segment_bytes.is_multiple_of(4096)
            || !(2 << 20..=1 << 30).contains(&self.segment_bytes)
        {
            "the write-ahead segment is not a multiple of 4 KiB from 2 MiB to 1 GiB"
        } else if !(2..=1024).contains(&self.max_segments) {
            "the number of write-ahead segments is not from 2 to 1,024"
        } else if !(1..=65_536).contains(&self.queue_entries) {
            "the queue's length is not from 1 to 65,536"
        } else if !(1..=65_536).contains(&self.checkpoint_every.entries)
            || self.checkpoint_every.within_ms > 60_000
        {
            "a checkpoint is due after 1 to 65,536 entries and at most 60 seconds"
        } else if self.tenant.is_empty() || self.tenant.len() > 128 {
            "the tenant's name has not 1 to 128 bytes"
        } else {
            return Ok(());
        };
        Err(AuditError::Options(problem))
    }
}

/// The promise of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The record survives a power loss: it was given after `fdatasync`.
    Disk,
    /// The record survives the end of the process, and a power loss some 50 ms later: it was given
    /// after the write.
    Kernel,
}

/// When a checkpoint is due: whichever comes first. Under load not more often than five times a
/// second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointEvery {
    /// Entries that no checkpoint covers.
    pub entries: u64,
    /// Age of the oldest of them in milliseconds.
    pub within_ms: u64,
}

impl Default for CheckpointEvery {
    fn default() -> Self {
        Self { entries: 256, within_ms: 1000 }
    }
}

//! A log: opened from a directory, appended to by many threads, closed.
//!
//! ```text
//! DIR/lock              held by the one process that writes
//! DIR/wal/0000.segment  the write-ahead log
//! DIR/log/checkpoint    the signed head         } C2SP tlog-checkpoint and tlog-tiles:
//! DIR/log/tile/…        hashes and entries      } what an auditor gets
//! DIR/sealed/           the encrypted parts
//! DIR/emergency         what the log could not take
//! ```
//!
//! Invariant: when `append`'s future says so, the record is durable as `Commit` promises. Opening
//! goes on from whatever a crash left, or refuses; nothing is repaired by hand, and nothing is
//! signed that does not continue the checkpoint on disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::corrections::{Found, spelled};
use crate::disk::spare::{self, SpareDisk};
use crate::disk::{Disk, Lock, OsDisk};
use crate::error::{AuditError, Refused};
use crate::note::Signer;
use crate::queue::{Pending, Queue, Sequence};
use crate::record::{Body, Entry, Record, RecordTime, TIME_RESET, Tenant, check_kind};
use crate::recover::{Recovered, keep_fitting};
use crate::ring::{Owed, Ring};
use crate::seal::Sealer;
use crate::tiles::{Row, TILE_WIDTH, Tile, TileReader, entries};
use crate::tree::leaf_hash;
use crate::views::{OPEN_FILES, ROUND_RECORDS, Views};
use crate::wal::{Pool, Wal, write_segment};
use crate::writer::{self, Committer, Shared};

/// How a log is opened.
pub struct Options {
    /// The directory; its parent must exist.
    pub dir: PathBuf,
    /// The log's name, which is also the name of the signer's key.
    pub origin: String,
    /// Whose records these are.
    pub tenant: String,
    /// Signs checkpoints.
    pub signer: Arc<dyn Signer>,
    /// Encrypts sealed parts.
    pub sealer: Sealer,
    /// What a receipt promises.
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
            monotonic: Arc::new(Instant::now),
        }
    }

    fn check(&self) -> Result<(), AuditError> {
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

/// What a receipt promises.
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

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The log was left without being closed.
    pub unclean: bool,
    /// Records taken from the write-ahead log, beyond the last checkpoint.
    pub replayed: u64,
    /// Bytes of commits that were begun and never finished; none of them was promised.
    pub truncated_bytes: u64,
    /// What the emergency ring holds: append a record about each, then settle its slot.
    pub owed: Vec<Owed>,
    /// Size of the log now.
    pub size: u64,
}

/// How a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Why it takes no record, if it does not.
    pub stopped: Option<Arc<str>>,
    /// Whether it can take records again without a restart: [`Log::resume`] tries.
    pub resumes: bool,
    /// Why tiles and checkpoints fall behind, if they do. Records are durable all the same.
    pub delayed: Option<Arc<str>>,
    /// The next sequence number.
    pub next: u64,
    /// All records before this survive a power loss.
    pub durable: u64,
    /// All records before this are under the last signed checkpoint.
    pub published: u64,
    /// Records that wait for the writer.
    pub queued: usize,
}

/// An open log.
pub struct Log {
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    tenant: Arc<Tenant>,
    tenant_name: String,
    sealer: Sealer,
    clock: Arc<dyn Fn() -> RecordTime + Send + Sync>,
    origin: String,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl Log {
    /// Opens a log, or begins one where the directory is empty or missing.
    pub fn open(options: Options) -> Result<(Self, Recovery), AuditError> {
        let held = [WAL_DIR, LOG_DIR, SEALED_DIR].map(|name| options.dir.join(name));
        Self::open_on(Arc::new(SpareDisk::new(OsDisk, held)), options)
    }

    /// The same on another file system.
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Recovery), AuditError> {
        options.check()?;
        let Core { lock, wal, pool, views, ring, last_at, recovery } = Core::open(disk, &options)?;
        let queue = Queue::new(recovery.size, last_at, options.queue_entries);
        let shared = Arc::new(Shared::new(
            queue,
            pool,
            ring,
            wal.durable(),
            views.head().size,
            Arc::clone(&options.monotonic),
        ));
        let tenant = Arc::new(Tenant::new(&options.tenant));
        let (commit, every) = (options.commit, options.checkpoint_every);
        let mut threads = Vec::new();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map_err(AuditError::disk(&options.dir, "given a thread"))
        };
        let committer =
            Arc::new(Committer::new(Arc::clone(&shared), Arc::clone(&tenant), commit, wal));
        let (for_writer, for_applier, for_syncer) =
            (Arc::clone(&committer), Arc::clone(&shared), Arc::clone(&shared));
        threads.push(spawn("log-writer", Box::new(move || writer::write(&for_writer)))?);
        threads.push(spawn(
            "log-applier",
            Box::new(move || writer::apply(&for_applier, views, every)),
        )?);
        if commit == Commit::Kernel {
            threads.push(spawn("log-syncer", Box::new(move || writer::sync(&for_syncer)))?);
        }
        let log = Self {
            shared,
            committer,
            tenant,
            tenant_name: options.tenant,
            sealer: options.sealer,
            clock: options.clock,
            origin: options.origin,
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(lock)),
        };
        Ok((log, recovery))
    }

    /// Gives a record its place and calls the writer for it; await or `wait` for its receipt, or do
    /// not. Does no I/O and never waits for the disk.
    ///
    /// The sealed part is encrypted here, on the caller's thread: callers do that side by side, the
    /// one writer could not.
    pub fn append(&self, entry: Entry) -> Result<Pending, Refused> {
        let pending = self.sequence(entry, None)?;
        self.committer.call_writer();
        Ok(pending)
    }

    /// The same for a caller that awaits the receipt. The commit begins when it does: callers who
    /// append first and then wait together share one. With [`Commit::Kernel`] the waiting caller
    /// makes it itself: a copy into the kernel's memory costs less than waking the writer. While
    /// the disk hangs it is left to the writer.
    pub fn commit(&self, entry: Entry) -> Result<Pending, Refused> {
        Ok(self.sequence(entry, None)?.begun_by_waiter(&self.committer))
    }

    /// Appends the record of a time reset: runs `reset`, which changes what the clock tells, and
    /// gives this record and all after it the new time, which may be earlier. The record's type
    /// must be [`TIME_RESET`]; verifiers accept an earlier time in no other.
    pub fn append_reset(&self, entry: Entry, mut reset: impl FnMut()) -> Result<Pending, Refused> {
        if entry.kind != TIME_RESET {
            return Err(Refused::Kind);
        }
        let pending = self.sequence(entry, Some(&mut reset))?;
        self.committer.call_writer();
        Ok(pending)
    }

    fn sequence(&self, entry: Entry, reset: Option<&mut dyn FnMut()>) -> Result<Pending, Refused> {
        check_kind(entry.kind)?;
        let sealed = match entry.sealed {
            Some(plain) if plain.len() > MAX_SEALED_BYTES => {
                return Err(Refused::SealedTooLarge {
                    bytes: plain.len(),
                    limit: MAX_SEALED_BYTES,
                });
            }
            Some(plain) => Some(
                self.sealer
                    .seal(&self.tenant_name, entry.kind, plain)
                    .map_err(|_| Refused::Sealing)?,
            ),
            None => None,
        };
        let body = Body::new(&entry.fields, sealed.as_ref())?;
        let leaf_bytes = body.leaf_bytes(entry.kind, &self.tenant);
        if leaf_bytes > MAX_LEAF_BYTES {
            return Err(Refused::LeafTooLarge { bytes: leaf_bytes, limit: MAX_LEAF_BYTES });
        }
        let sealed = sealed.map(|sealed| sealed.blob);
        let bytes = leaf_bytes.saturating_add(sealed.as_ref().map_or(0, Vec::len));
        self.shared.queue.push(entry.kind, body, sealed, bytes, &*self.clock, reset)
    }

    /// How the log is.
    pub fn health(&self) -> Health {
        let (next, queued) = self.shared.queue.position();
        let (durable, published) = (self.shared.durable.before(), self.shared.published());
        let (failed, suspended) = (self.shared.failure(), self.shared.suspension());
        let resumes = failed.is_none() && suspended.is_some();
        let delayed = self.shared.delay();
        Health { stopped: failed.or(suspended), resumes, delayed, next, durable, published, queued }
    }

    /// Takes records again after a stop for want of room, if there is room by now and every record
    /// that was promised is still there. Blocks on the disk. Returns whether the log had stopped.
    ///
    /// # Errors
    /// It stays stopped: there is still no room ([`Health::resumes`] stays set), or it stopped for
    /// good.
    pub fn resume(&self) -> Result<bool, AuditError> {
        if let Some(cause) = self.shared.failure() {
            return Err(AuditError::Stopped(cause));
        }
        if self.shared.suspension().is_none() {
            return Ok(false);
        }
        self.committer.resume().map(|()| true)
    }

    /// Whether a place was given before the log stopped and resumed, and its record was lost with
    /// the stop: the index is another record's by now.
    pub fn is_void(&self, sequence: Sequence) -> bool {
        self.shared.queue.is_void(sequence)
    }

    /// The time of the last record, in milliseconds since 1970 UTC; 0 where there is none.
    pub fn last_at(&self) -> u64 {
        self.shared.queue.last_at()
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where to note what the log cannot take.
    pub fn ring(&self) -> &Ring {
        &self.shared.ring
    }

    /// Waits until a signed checkpoint covers all that was appended by now; returns its size.
    /// Blocks.
    pub fn flush_checkpoint(&self) -> Result<u64, AuditError> {
        let (next, _) = self.shared.queue.position();
        self.shared.publish(next, None).map_err(AuditError::Stopped)
    }

    /// The same, for at most this long: tiles that cannot be written are tried again without an end.
    ///
    /// # Errors
    /// The log has stopped, or the checkpoint is not written by then.
    pub fn flush_checkpoint_within(&self, limit: Duration) -> Result<u64, AuditError> {
        let (next, _) = self.shared.queue.position();
        self.shared.publish(next, Some(limit)).map_err(AuditError::Stopped)
    }

    /// Takes no more records, makes all durable and published, and gives the directory back.
    /// Blocks. A second call does nothing.
    pub fn close(&self) -> Result<(), AuditError> {
        self.shared.queue.end(Arc::from("it was closed"));
        self.shared.begin_close();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let ran = !threads.is_empty();
        let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(cause) = self.shared.failure().or_else(|| self.shared.suspension()) {
            return Err(AuditError::Stopped(cause));
        }
        if panicked > 0 {
            return Err(AuditError::Stopped(Arc::from("a thread of the log ended early")));
        }
        if ran {
            self.shared.ring.close().map_err(AuditError::disk(Path::new(RING), "written"))?;
        }
        drop(lock);
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Whoever wants to know whether it went well calls `close`.
        let _ = self.close();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("origin", &self.origin)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

/// A log without its threads: what they drive.
pub(crate) struct Core {
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) wal: Wal,
    pub(crate) pool: Arc<Pool>,
    pub(crate) views: Views,
    pub(crate) ring: Ring,
    pub(crate) last_at: u64,
    pub(crate) recovery: Recovery,
}

impl Core {
    /// Opens the directory: lock, checkpoint and tiles, write-ahead log on top of them, ring.
    pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, AuditError> {
        let dir = &options.dir;
        let (wal_dir, log_dir, sealed_dir) =
            (dir.join(WAL_DIR), dir.join(LOG_DIR), dir.join(SEALED_DIR));
        let lock = prepare(disk.as_ref(), dir, &[&wal_dir, &log_dir, &sealed_dir])?;
        let found = Views::checkpoint(disk.as_ref(), &log_dir, options.signer.as_ref())?;
        // A process that was killed may have left the checkpoint's new name in the kernel's memory
        // alone: segments are freed on the strength of it.
        disk.sync_dir(&log_dir).map_err(AuditError::disk(&log_dir, "synced"))?;
        let applied = found.as_ref().map_or(0, |head| head.size);
        let recovered = Recovered::read(disk.as_ref(), &wal_dir, applied)?;
        let head = match found {
            Some(head) => head,
            // The checkpoint of the empty log is written before the first record is: without it
            // there must be none.
            None if recovered.any || has_tiles(disk.as_ref(), &log_dir) => {
                return Err(AuditError::CheckpointMissing(dir.display().to_string()));
            }
            None => Views::begin(disk.as_ref(), &log_dir, options.signer.as_ref())
                .map_err(AuditError::disk(&log_dir, "written"))?,
        };
        let mut views = Views::open(
            Arc::clone(&disk),
            &log_dir,
            &sealed_dir,
            Arc::clone(&options.signer),
            head,
        )?;
        replay(&mut views, &recovered).map_err(|error| match error {
            Replay::Damaged(error) => error,
            Replay::Disk(error) => AuditError::disk(&log_dir, "written")(error),
        })?;
        let last_leaf = views.last_leaf().map_err(AuditError::disk(&log_dir, "read"))?;
        let last_at =
            last_leaf.and_then(|leaf| Record::parse(&leaf).ok()).map_or(0, |record| record.at);
        let (epoch, truncated_bytes) = (recovered.next_epoch, recovered.truncated_bytes);
        let free = segments(&disk, &wal_dir, recovered, options.segment_bytes)
            .map_err(AuditError::disk(&wal_dir, "written"))?;
        let pool = Arc::new(Pool::new(
            Arc::clone(&disk),
            &wal_dir,
            options.segment_bytes,
            options.max_segments,
            free,
        ));
        let Some(segment) = pool.take(false) else {
            return Err(AuditError::Options("there is no write-ahead segment"));
        };
        let wal = Wal::new(
            Arc::clone(&pool),
            segment,
            epoch,
            views.size(),
            Arc::clone(&options.monotonic),
        );
        let (ring, owed, unclean) = Ring::open(disk.as_ref(), &dir.join(RING))?;
        let owed = without_recorded(disk.as_ref(), &log_dir, views.size(), &ring, owed)
            .map_err(AuditError::disk(dir, "recovered"))?;
        let (replayed, size) = (views.size().saturating_sub(applied), views.size());
        let unclean = unclean || replayed > 0 || truncated_bytes > 0;
        let recovery = Recovery { unclean, replayed, truncated_bytes, owed, size };
        Ok(Self { lock, wal, pool, views, ring, last_at, recovery })
    }
}

/// What the ring remembers, without that which the log has: a process can end after a correction is
/// durable and before its slot is free.
fn without_recorded(
    disk: &dyn Disk,
    log: &Path,
    size: u64,
    ring: &Ring,
    owed: Vec<Owed>,
) -> io::Result<Vec<Owed>> {
    let begins = owed.iter().filter_map(|owed| match owed {
        Owed::Answer { index, .. } => *index,
        Owed::Counted(tally) => (!tally.hook.is_empty()).then_some(tally.from),
        Owed::Damaged { .. } => None,
    });
    let Some(first) = begins.min().filter(|first| *first < size) else { return Ok(owed) };
    let tiles = TileReader::new(disk, log, size);
    let mut found = Vec::new();
    for bundle in first / TILE_WIDTH..size.div_ceil(TILE_WIDTH) {
        let Some(tile) = Tile::at(Row::Entries, bundle, size) else { break };
        let bytes = tiles.read(tile)?;
        found.extend(entries(&bytes).unwrap_or_default().into_iter().filter_map(Found::read));
    }
    let mut left = Vec::new();
    for mut owed in owed {
        match &mut owed {
            Owed::Answer { slot, index: Some(of), answer, .. } => {
                let recorded = Found::Superseded { of: *of, out: spelled(answer) };
                if found.contains(&recorded) {
                    ring.settle(*slot)?;
                    continue;
                }
            }
            Owed::Counted(tally) if !tally.hook.is_empty() => {
                let answers = found.iter().map(|found| match found {
                    Found::Gap { tally: id, answers } if *id == tally.id => *answers,
                    _ => 0,
                });
                tally.recorded = answers.sum::<u64>().min(tally.all.answers);
                if tally.recorded == tally.all.answers {
                    ring.count(tally)?;
                    continue;
                }
            }
            Owed::Answer { .. } | Owed::Counted(_) | Owed::Damaged { .. } => {}
        }
        left.push(owed);
    }
    Ok(left)
}

/// Makes the directories, durably, and takes the lock.
fn prepare(disk: &dyn Disk, dir: &Path, below: &[&Path]) -> Result<Box<dyn Lock>, AuditError> {
    let failed = || AuditError::disk(dir, "prepared");
    disk.create_dir(dir).map_err(failed())?;
    let lock = disk.lock(&dir.join(LOCK)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => AuditError::InUse(dir.display().to_string()),
        _ => failed()(error),
    })?;
    below.iter().try_for_each(|path| disk.create_dir(path)).map_err(failed())?;
    disk.sync_dir(dir).map_err(failed())?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => disk.sync_dir(parent).map_err(failed())?,
        None => disk.sync_dir(Path::new(".")).map_err(failed())?,
    }
    Ok(lock)
}

enum Replay {
    Damaged(AuditError),
    Disk(io::Error),
}

/// Brings the views up to the write-ahead log.
fn replay(views: &mut Views, recovered: &Recovered) -> Result<(), Replay> {
    let mut buffer = Vec::new();
    for frame in 0..recovered.frames() {
        let records = recovered.records(frame, &mut buffer).map_err(Replay::Damaged)?;
        let applied = views.size();
        for record in records.iter().skip_while(|record| record.index < applied) {
            views.apply(record, leaf_hash(record.leaf)).map_err(Replay::Disk)?;
        }
        if views.size().saturating_sub(views.head().size) >= ROUND_RECORDS / 2 {
            views.publish().map_err(Replay::Disk)?;
        }
    }
    views.publish().map_err(Replay::Disk)?;
    Ok(())
}

/// The segments to go on with: all of them, now that the views hold what was in them, and at least
/// two.
fn segments(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    recovered: Recovered,
    segment_bytes: u64,
) -> io::Result<Vec<crate::wal::Segment>> {
    let mut free = keep_fitting(disk, dir, recovered.segments, segment_bytes)?;
    let mut number = 0;
    while free.len() < 2 {
        if free.iter().all(|segment| segment.number != number) {
            free.push(write_segment(disk.as_ref(), dir, number, segment_bytes)?);
        }
        number += 1;
    }
    Ok(free)
}

fn has_tiles(disk: &dyn Disk, log: &Path) -> bool {
    disk.list(log).is_ok_and(|names| names.iter().any(|name| name == "tile"))
}

/// The most descriptors that a log with so many segments holds at once, spare ones included.
pub fn max_descriptors(max_segments: u32) -> u64 {
    // Lock, ring, two files of sealed parts, and the one that is open for a moment.
    const OTHERS: u64 = 5;
    u64::from(max_segments) + spare::MAX_HELD + OPEN_FILES as u64 + OTHERS
}

/// The public part of a log's directory.
pub(crate) const LOG_DIR: &str = "log";
/// The write-ahead log.
pub(crate) const WAL_DIR: &str = "wal";
/// The sealed part.
pub(crate) const SEALED_DIR: &str = "sealed";
const LOCK: &str = "lock";
const RING: &str = "emergency";

/// The largest leaf, bytes. The format's own limit is 65,535. A decision takes about one kilobyte; only
/// the record of a release with its bindings (at most 64) takes tens of kilobytes.
pub const MAX_LEAF_BYTES: usize = 48 * 1024;

/// The largest sealed part, before encryption.
pub const MAX_SEALED_BYTES: usize = 512 * 1024;

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod shortage;
#[cfg(test)]
pub(crate) mod tests;

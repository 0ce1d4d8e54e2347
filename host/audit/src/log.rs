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

mod opening;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::disk::anchored::{self, AnchoredDisk};
use crate::disk::spare::{self, SpareDisk};
use crate::disk::{Disk, Lock, OsDisk};
use crate::emergency_ring::{Ring, RingEntry};
use crate::entry::{Body, Entry, RecordTime, Tenant, check_kind};
use crate::error::{AppendError, AuditError};
use crate::options::{Commit, Options};
use crate::queue::{CommitQueued as _, Pending, Prepared, Queue, Sequence};
use crate::seal::Sealer;
use crate::views::OPEN_FILES;
use crate::wal::Starved;
use crate::writer::{self, Committer, Shared};
use portcullis_tlog::layout::{LOG_DIR, SEALED_DIR, WAL_DIR};
use portcullis_tlog::record::TIME_RESET;

pub(crate) use opening::Core;
pub use opening::check_directory;

/// The findings of opening a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The log was left without being closed.
    pub unclean: bool,
    /// Records taken from the write-ahead log, beyond the last checkpoint.
    pub replayed: u64,
    /// Bytes of commits that were begun and never finished; none of them was promised.
    pub truncated_bytes: u64,
    /// The entries of the emergency ring: append a record about each, then settle its slot.
    pub owed: Vec<RingEntry>,
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
    ended: Mutex<Receiver<()>>,
    /// A close did not wait until the end.
    gave_up: AtomicBool,
    /// The threads have parts in it: the directory is held until the last of them has ended, even
    /// where the log does not wait for it.
    lock: Mutex<Option<Arc<Box<dyn Lock>>>>,
    disk: Arc<dyn Disk>,
}

impl Log {
    /// Opens a log, or begins one where the directory is empty or missing.
    pub fn open(options: Options) -> Result<(Self, Recovery), AuditError> {
        let below = [WAL_DIR, LOG_DIR, SEALED_DIR].map(|name| options.dir.join(name));
        let held = std::iter::once(options.dir.clone()).chain(below);
        let disk = AnchoredDisk::new(OsDisk, held);
        let disk = SpareDisk::new(disk, Arc::clone(&options.spares));
        Self::open_on(Arc::new(disk), options)
    }

    /// The same on another file system.
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Recovery), AuditError> {
        options.check()?;
        let Core { lock, wal, pool, views, ring, last_at, recovery } =
            Core::open(Arc::clone(&disk), &options)?;
        let queue = Queue::new(recovery.size, last_at, options.queue_entries);
        let shared =
            Arc::new(Shared::new(queue, pool, ring, wal.durable(), views.head().size, &options));
        let tenant = Arc::new(Tenant::new(&options.tenant));
        let (commit, every) = (options.commit, options.checkpoint_every);
        let mut threads = Vec::new();
        let lock: Arc<Box<dyn Lock>> = Arc::new(lock);
        let (running, ended) = channel::<()>();
        // These threads need no stop signal: each ends when its queue is closed and empty.
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let held = (running.clone(), Arc::clone(&lock));
            let work = move || {
                // Dropped last, and by a panic too.
                let _held = held;
                work();
            };
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
        drop(running);
        let log = Self {
            shared,
            committer,
            tenant,
            tenant_name: options.tenant,
            sealer: options.sealer,
            clock: options.clock,
            origin: options.origin,
            threads: Mutex::new(threads),
            ended: Mutex::new(ended),
            gave_up: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
            disk,
        };
        Ok((log, recovery))
    }

    /// Gives a record its place and calls the writer for it; await or `wait` for its receipt, or do
    /// not. Does no I/O and never waits for the disk.
    ///
    /// The sealed part is encrypted here, on the caller's thread: callers do that side by side, the
    /// one writer could not.
    pub fn append(&self, entry: Entry) -> Result<Pending, AppendError> {
        let pending = self.sequence(entry, None)?;
        self.committer.wake_writer();
        Ok(pending)
    }

    /// The same for a caller that awaits the receipt. The commit begins when it does: callers who
    /// append first and then wait together share one. With [`Commit::Kernel`] the waiting caller
    /// makes it itself: a copy into the kernel's memory costs less than waking the writer. While
    /// the disk hangs it is left to the writer.
    pub fn commit(&self, entry: Entry) -> Result<Pending, AppendError> {
        self.commit_prepared(self.prepare(entry, Vec::new())?)
    }

    /// Makes a record ready for its place: encrypts its sealed part and checks its length.
    /// `changes`, where there are any, are for the store of changes.
    ///
    /// # Errors
    /// The record does not fit the log.
    pub fn prepare(&self, entry: Entry, changes: Vec<u8>) -> Result<Prepared, AppendError> {
        check_kind(entry.kind)?;
        let sealed = match entry.sealed {
            Some(plain) if plain.len() > MAX_SEALED_BYTES => {
                return Err(AppendError::SealedTooLarge {
                    bytes: plain.len(),
                    limit: MAX_SEALED_BYTES,
                });
            }
            Some(plain) => Some(
                self.sealer
                    .seal(&self.tenant_name, entry.kind, plain)
                    .map_err(|_| AppendError::Sealing)?,
            ),
            None => None,
        };
        let body = Body::new(&entry.fields, sealed.as_ref())?;
        let leaf_bytes = body.leaf_bytes(entry.kind, &self.tenant);
        if leaf_bytes > MAX_LEAF_BYTES {
            return Err(AppendError::LeafTooLarge { bytes: leaf_bytes, limit: MAX_LEAF_BYTES });
        }
        let sealed = sealed.map(|sealed| sealed.blob);
        let bytes = leaf_bytes
            .saturating_add(sealed.as_ref().map_or(0, Vec::len))
            .saturating_add(changes.len());
        let changes = (!changes.is_empty()).then_some(changes);
        Ok(Prepared { kind: entry.kind, body, sealed, changes, bytes })
    }

    /// [`commit`](Self::commit) of a record that is ready. It is short enough to be called under a
    /// lock.
    ///
    /// # Errors
    /// The log takes no record now.
    pub fn commit_prepared(&self, prepared: Prepared) -> Result<Pending, AppendError> {
        let pending = self.shared.queue.push(prepared, &*self.clock, None)?;
        Ok(pending.committed_by_waiter(Arc::clone(&self.committer) as _))
    }

    /// Appends the record of a time reset: runs `reset`, which changes what the clock tells, and
    /// gives this record and all after it the new time, which may be earlier. The record's type
    /// must be [`TIME_RESET`]; verifiers accept an earlier time in no other.
    pub fn append_reset(
        &self,
        entry: Entry,
        mut reset: impl FnMut(),
    ) -> Result<Pending, AppendError> {
        if entry.kind != TIME_RESET {
            return Err(AppendError::Kind);
        }
        let pending = self.sequence(entry, Some(&mut reset))?;
        self.committer.wake_writer();
        Ok(pending)
    }

    fn sequence(
        &self,
        entry: Entry,
        reset: Option<&mut dyn FnMut()>,
    ) -> Result<Pending, AppendError> {
        let prepared = self.prepare(entry, Vec::new())?;
        self.shared.queue.push(prepared, &*self.clock, reset)
    }

    /// Frees the segments of the write-ahead log that the store of changes has let go.
    pub fn release_stored(&self) {
        self.shared.release_segments();
    }

    /// Says whether the store of changes can be written. While it cannot, a write-ahead log that is
    /// full stops the log instead of waiting, and the log resumes once there is room.
    pub fn set_store_failing(&self, failing: bool) {
        self.shared.pool.starve(Starved::Store, failing);
    }

    /// Whether half of the write-ahead log waits for the views or for the store of changes, which
    /// should then be written.
    pub fn is_half_used(&self) -> bool {
        self.shared.pool.is_half_used()
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

    /// Returns the ring that keeps answers whose records the log cannot take.
    pub fn ring(&self) -> &Ring {
        &self.shared.ring
    }

    /// Finds out whether the log's directory is still where it was opened, and stops the log for
    /// good where it is not: what lies there by now may be another log, or this one in another
    /// state.
    ///
    /// # Errors
    /// [`AuditError::Stopped`].
    pub fn check_place(&self) -> Result<(), AuditError> {
        self.disk.check_place().map_err(|error| AuditError::Stopped(self.stop(&error)))
    }

    /// Takes no more records, for good and for this reason. Nothing that was promised is lost.
    pub fn stop(&self, why: &std::io::Error) -> Arc<str> {
        self.shared.fail("the log was stopped", why)
    }

    /// Waits until a signed checkpoint covers all that was appended by now; returns its size.
    /// Blocks for at most [`MAX_CHECKPOINT_WAIT`].
    ///
    /// # Errors
    /// As [`Log::flush_checkpoint_within`].
    pub fn flush_checkpoint(&self) -> Result<u64, AuditError> {
        self.flush_checkpoint_within(MAX_CHECKPOINT_WAIT)
    }

    /// The same, for at most this long: tiles that cannot be written are tried again without an
    /// end.
    ///
    /// # Errors
    /// The log has stopped ([`AuditError::Stopped`]), or the checkpoint is not written by then
    /// ([`AuditError::NotPublished`]): then the records are as durable as before, and the
    /// checkpoint follows by itself.
    pub fn flush_checkpoint_within(&self, limit: Duration) -> Result<u64, AuditError> {
        let (next, _) = self.shared.queue.position();
        self.shared.publish(next, limit)
    }

    /// Takes no more records, makes all durable and published, and gives the directory back. Blocks
    /// for at most [`MAX_CLOSE_WAIT`]. A second call does nothing, or waits for what the first did
    /// not see.
    ///
    /// # Errors
    /// As [`Log::close_within`].
    pub fn close(&self) -> Result<(), AuditError> {
        self.close_within(MAX_CLOSE_WAIT)
    }

    /// The same, for at most this long.
    ///
    /// # Errors
    /// The log has stopped ([`AuditError::Stopped`]), or its disk does not answer by then
    /// ([`AuditError::NotClosed`]): then nothing says that the log was closed in order, its threads
    /// hold the directory until they have ended, and the next start recovers as after a crash.
    pub fn close_within(&self, limit: Duration) -> Result<(), AuditError> {
        self.shared.queue.end(Arc::from("it was closed"));
        self.shared.begin_close();
        // Nothing is sent: the channel ends with the last thread.
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            self.gave_up.store(true, Ordering::Release);
            return Err(AuditError::NotClosed { limit });
        }
        drop(ended);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let ran = !threads.is_empty();
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
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
        // `close` tells whether it went well, and has waited already where it was called.
        let waited = self.gave_up.load(Ordering::Acquire);
        let _ = self.close_within(if waited { Duration::ZERO } else { MAX_CLOSE_WAIT });
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

/// The most descriptors that a log with so many segments holds at once, spare ones included.
pub fn max_descriptors(max_segments: u32) -> u64 {
    // Lock, ring, two files of sealed parts, and the one that is open for a moment.
    const OTHERS: u64 = 5;
    u64::from(max_segments) + spare::MAX_HELD + anchored::MAX_HELD + OPEN_FILES as u64 + OTHERS
}

const LOCK: &str = "lock";
const RING: &str = "emergency";

/// How long a caller waits for a checkpoint that names no limit of its own: many times what one
/// takes on a disk that answers.
pub const MAX_CHECKPOINT_WAIT: Duration = Duration::from_secs(30);

/// How long a log has to close: its last records and their checkpoint take far less on a disk that
/// answers.
pub const MAX_CLOSE_WAIT: Duration = Duration::from_secs(30);

/// The largest leaf, bytes. The format's own limit is 65,535. A decision takes about one kilobyte;
/// only the record of a release with its bindings (at most 64) takes tens of kilobytes.
pub const MAX_LEAF_BYTES: usize = 48 * 1024;

/// The largest sealed part, before encryption.
pub const MAX_SEALED_BYTES: usize = 512 * 1024;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod shortage_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod verify_tests;

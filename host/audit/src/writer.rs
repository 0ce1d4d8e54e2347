//! Makes records durable: the committer, on the thread of a waiting caller or of the writer; the
//! applier, which brings the views up to them; and, where commits go to the kernel only, the
//! syncer.
//!
//! Invariant: a receipt is given after the commit of its record and never before. A sync of the
//! write-ahead log that fails ends the log for good: what the kernel did with the pages after that
//! is unknown, and a second try could succeed without having written anything. A write to it that
//! fails for want of room suspends the log, as does a write-ahead log that is full while the views
//! cannot be written: nothing that has a receipt is touched by it, and the log resumes once that
//! very place can be written. Views that cannot be written end nothing, since all that they lack is
//! in the write-ahead log: they are opened anew from their checkpoint, as after a crash, until it
//! goes well. A caller commits by its own hand only where that is a copy into the kernel's memory
//! and the disk keeps up; all else is the writer's.

mod applier;
mod syncer;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::change_store::ChangeStore;
use crate::clock::{elapsed_since, monotonic_now};
use crate::emergency_ring::Ring;
use crate::entry::Tenant;
use crate::error::{AuditError, NotDurable};
use crate::options::{Commit, Monotonic, Options};
use crate::queue::{CommitQueued, Queue, Queued, Receipt};
use crate::wal::{Durable, Place, Pool, Wal};
use portcullis_tlog::frame::{Sequenced, frame_bytes, frame_room};
use portcullis_tlog::tree::leaf_hash;

use applier::hand_over;
pub(crate) use applier::{Committed, apply};
pub(crate) use syncer::sync;

/// The state that the threads of one log share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) pool: Arc<Pool>,
    pub(crate) ring: Ring,
    pub(crate) durable: Arc<Durable>,
    /// The store to which records bring changes, where there is one.
    change_store: Option<Arc<dyn ChangeStore>>,
    clock: Monotonic,
    state: Mutex<State>,
    /// Something for the applier to do.
    work: Condvar,
    /// Something was published, or the log ended.
    done: Condvar,
    /// Something for the syncer to do.
    written: Condvar,
}

#[derive(Default)]
struct State {
    /// Commits that the views have not applied.
    committed: VecDeque<Committed>,
    /// How many records that is.
    waiting: usize,
    /// When the oldest record was committed that no checkpoint covers.
    oldest: Option<Instant>,
    /// The applier sleeps until it is woken.
    idle: bool,
    published: u64,
    wanted: u64,
    unsynced: bool,
    writer_ended: bool,
    /// The log is being closed.
    closing: bool,
    failed: Option<Arc<str>>,
    /// Why no record is taken for now, and the sequence that the next one gets.
    suspended: Option<(Arc<str>, u64)>,
    /// Why the views fall behind.
    delayed: Option<Arc<str>>,
}

impl Shared {
    pub(crate) fn new(
        queue: Queue,
        pool: Arc<Pool>,
        ring: Ring,
        durable: Arc<Durable>,
        published: u64,
        options: &Options,
    ) -> Self {
        let state = Mutex::new(State { published, ..State::default() });
        let (work, done, written) = Default::default();
        let (clock, change_store) = (Arc::clone(&options.monotonic), options.change_store.clone());
        Self { queue, pool, ring, durable, change_store, clock, state, work, done, written }
    }

    /// Frees the segments that neither the views nor the store of changes needs.
    pub(crate) fn release_segments(&self) {
        let stored = self.change_store.as_ref().map_or(u64::MAX, |store| store.stored());
        self.pool.release(self.published().min(stored));
    }

    /// Why the log stopped for good, if it did.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.state().failed.clone()
    }

    /// Why the log takes no record for now, if it does not.
    pub(crate) fn suspension(&self) -> Option<Arc<str>> {
        self.state().suspended.as_ref().map(|(cause, _)| Arc::clone(cause))
    }

    /// Why tiles and checkpoints fall behind, if they do.
    pub(crate) fn delay(&self) -> Option<Arc<str>> {
        self.state().delayed.clone()
    }

    /// Says that the log is being closed: nobody waits for better times any more.
    pub(crate) fn begin_close(&self) {
        self.state().closing = true;
        self.work.notify_all();
    }

    /// Size of the last checkpoint.
    pub(crate) fn published(&self) -> u64 {
        self.state().published
    }

    /// Waits until a checkpoint covers all before `size`, for at most `limit`.
    pub(crate) fn publish(&self, size: u64, limit: Duration) -> Result<u64, AuditError> {
        let begun = monotonic_now();
        let mut state = self.state();
        state.wanted = state.wanted.max(size);
        self.work.notify_all();
        loop {
            match &state.failed {
                _ if state.published >= size => return Ok(state.published),
                Some(cause) => return Err(AuditError::Stopped(Arc::clone(cause))),
                None => {}
            }
            match &state.suspended {
                Some((cause, end)) if size > *end => {
                    return Err(AuditError::Stopped(Arc::clone(cause)));
                }
                _ => {}
            }
            let left = limit.saturating_sub(elapsed_since(begun));
            if left.is_zero() {
                return Err(AuditError::NotPublished { limit });
            }
            let waited = self.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn fail(&self, what: &str, error: &io::Error) -> Arc<str> {
        let cause = {
            let mut state = self.state();
            let cause = state.failed.get_or_insert_with(|| Arc::from(format!("{what}: {error}")));
            Arc::clone(cause)
        };
        self.queue.fail(&cause);
        self.pool.stop();
        self.work.notify_all();
        self.done.notify_all();
        self.written.notify_all();
        cause
    }

    /// Takes no record until the log resumes; the next one then follows `end`.
    fn suspend(&self, what: &str, error: &io::Error, wal: &Wal) -> Arc<str> {
        let end = wal.end();
        let cause: Arc<str> = Arc::from(format!("{what}: {error}"));
        {
            let mut state = self.state();
            state.wanted = state.wanted.min(end);
            state.suspended = Some((Arc::clone(&cause), end));
        }
        self.queue.suspend(&cause, end, wal.last_at);
        self.done.notify_all();
        cause
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes records durable; one leads at a time. While it works the next commit gathers by itself.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    tenant: Arc<Tenant>,
    commit: Commit,
    /// Locked by whoever leads, so never waited for.
    wal: Mutex<Wal>,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, tenant: Arc<Tenant>, commit: Commit, wal: Wal) -> Self {
        Self { shared, tenant, commit, wal: Mutex::new(wal) }
    }

    /// Goes on after a suspension: what has a receipt is read again, and the place is tried at
    /// which a write failed.
    pub(crate) fn resume(&self) -> Result<(), AuditError> {
        let shared = &self.shared;
        let mut wal = self.wal.lock().unwrap_or_else(PoisonError::into_inner);
        let still = |error: io::Error| AuditError::Stopped(Arc::from(error.to_string()));
        // Asked first, because it costs nothing: what follows reads every commit that waits.
        if !wal.has_place() {
            return Err(still(io::Error::other("the write-ahead log is full")));
        }
        let waiting: Vec<_> =
            shared.state().committed.iter().map(|committed| committed.place.clone()).collect();
        let failed = |what: &str, error: &io::Error| AuditError::Stopped(shared.fail(what, error));
        let mut buffer = Vec::new();
        for place in waiting {
            place.records(&mut buffer).map_err(|unreadable| {
                let error = io::Error::other(unreadable.to_string());
                failed(
                    "the log cannot resume: a commit that had its receipt was read again",
                    &error,
                )
            })?;
        }
        shared.durable.sync().map_err(|error| {
            failed("the log cannot resume: its last commits were not synced", &error)
        })?;
        wal.retry().map_err(still)?;
        shared.ring.void_from(wal.end()).map_err(still)?;
        if let Some(store) = &shared.change_store {
            store.abandon_from(wal.end());
        }
        shared.state().suspended = None;
        shared.queue.resume();
        Ok(())
    }

    /// Leads, beginning with these records.
    fn run(&self, queued: Vec<Queued>, by: By) {
        let _leading = Leading(&self.shared);
        let queue = &self.shared.queue;
        let mut wal = self.wal.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Some(queued);
        for round in 1.. {
            let Some(queued) = next else { return };
            if !wal.make_room(room_for(&queued), by == By::Writer) && by == By::Caller {
                return queue.hand_to_writer(queued);
            }
            if !self.commit_all(&mut wal, queued)
                || (by == By::Caller && round == MAX_CALLER_COMMITS)
            {
                return queue.hand_to_writer(Vec::new());
            }
            next = queue.next_commit();
        }
    }

    /// One commit and its receipts; says whether the log goes on.
    fn commit_all(&self, wal: &mut Wal, queued: Vec<Queued>) -> bool {
        let last_at = queued.last().map_or(0, |queued| queued.time.at);
        let (records, answers): (Vec<_>, Vec<_>) =
            queued.into_iter().map(|queued| sequence(queued, &self.tenant)).unzip();
        match self.write(wal, &records) {
            Ok(place) => {
                wal.last_at = last_at;
                for (record, answer) in records.iter().zip(answers) {
                    // A caller that no longer waits has sent the safe answer and will append a
                    // correction.
                    let _ =
                        answer.send(Ok(Receipt { index: record.index, leaf_hash: record.hash }));
                }
                let hashes = records.iter().map(|record| record.hash).collect();
                hand_over(&self.shared, Committed { place, hashes });
                true
            }
            Err(failed) => {
                let what = "the write-ahead log could not be written";
                let cause = match failed {
                    CommitError::Write(error) if is_want_of_room(&error) => {
                        self.shared.suspend(what, &error, wal)
                    }
                    CommitError::Write(error) | CommitError::Sync(error) => {
                        self.shared.fail(what, &error)
                    }
                    CommitError::Full if !self.shared.pool.is_stopped() => {
                        let why = self.shared.delay().unwrap_or_else(|| Arc::from("no room"));
                        let error = io::Error::other(why.to_string());
                        self.shared.suspend("the write-ahead log is full", &error, wal)
                    }
                    CommitError::Full => {
                        self.shared.fail(what, &io::Error::other("no segment became free"))
                    }
                };
                for answer in answers {
                    let _ = answer.send(Err(NotDurable(Arc::clone(&cause))));
                }
                false
            }
        }
    }

    fn write(&self, wal: &mut Wal, records: &[Sequenced]) -> Result<Place, CommitError> {
        if !wal.has_room(frame_bytes(records)) {
            wal.found_no_room(frame_bytes(records));
            return Err(CommitError::Full);
        }
        let place = wal.write(records).map_err(CommitError::Write)?;
        match self.commit {
            Commit::Disk => self.shared.durable.sync().map_err(CommitError::Sync)?,
            Commit::Kernel => {
                let mut state = self.shared.state();
                if !std::mem::replace(&mut state.unsynced, true) {
                    self.shared.written.notify_all();
                }
                // The syncer may have failed since the last commit; then no further receipt is
                // given.
                if let Some(cause) = &state.failed {
                    return Err(CommitError::Sync(io::Error::other(cause.to_string())));
                }
            }
        }
        Ok(place)
    }
}

impl CommitQueued for Committer {
    fn commit_as_leader(&self) {
        // A disk that hangs shows in the syncer first: from then on even writes to the kernel's
        // memory could wait for it.
        if self.commit == Commit::Disk || self.shared.durable.hangs() {
            return self.wake_writer();
        }
        // A leader looks again before it gives up the lead.
        if let Some(queued) = self.shared.queue.become_leader() {
            self.run(queued, By::Caller);
        }
    }

    fn wake_writer(&self) {
        self.shared.queue.wake_writer();
    }
}

/// Runs the writer: it leads whenever it is woken.
pub(crate) fn write(committer: &Committer) {
    let shared = &committer.shared;
    while let Some(queued) = shared.queue.become_leader_when_woken() {
        committer.run(queued, By::Writer);
    }
    shared.state().writer_ended = true;
    shared.work.notify_all();
    shared.written.notify_all();
}

/// Why a commit failed.
enum CommitError {
    /// Its frame could not be written; nothing else was touched.
    Write(io::Error),
    /// The state of the disk is unknown from now on.
    Sync(io::Error),
    /// No segment is free.
    Full,
}

/// Whether a write failed because there is no room, or no memory at that moment: the same write can
/// go well later.
fn is_want_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{
        FileTooLarge, Interrupted, OutOfMemory, QuotaExceeded, StorageFull, WriteZero,
    };
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | FileTooLarge | OutOfMemory | Interrupted | WriteZero
    )
}

/// By whose hand a commit is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// On a thread that must not wait.
    Caller,
    Writer,
}

/// A leader at work; its panic ends the log, because nobody could lead after it.
struct Leading<'a>(&'a Shared);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("a commit panicked", &io::Error::other("a defect of the log"));
            self.0.queue.hand_to_writer(Vec::new());
        }
    }
}

fn sequence(queued: Queued, tenant: &Tenant) -> (Sequenced, ReceiptSender) {
    let leaf = queued.body.leaf(queued.index, queued.kind, tenant, queued.time);
    let Queued { index, sealed, changes, answer, .. } = queued;
    (Sequenced { index, hash: leaf_hash(&leaf), leaf, sealed, changes }, answer)
}

/// Bytes of the frame of these records, at most.
fn room_for(queued: &[Queued]) -> u64 {
    frame_room(queued.len(), queued.iter().map(|queued| queued.bytes).sum())
}

/// Commits that a caller makes in one go: the rest is the writer's, so that no call pays for all
/// others.
const MAX_CALLER_COMMITS: u32 = 4;

type ReceiptSender = tokio::sync::oneshot::Sender<Result<Receipt, NotDurable>>;

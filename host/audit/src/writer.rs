//! The threads of a log: the writer, which makes records durable; the applier, which brings the views up to them; and, where commits go to
//! the kernel only, the syncer.
//!
//! Invariant: a receipt is given after the commit of its record and never before. The first failed write or sync ends the log for good:
//! what the kernel did with the pages after that is unknown, and a second try could succeed without having written anything.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::NotDurable;
use crate::frame::Sequenced;
use crate::log::{CheckpointEvery, Commit};
use crate::queue::{Queue, Queued, Receipt};
use crate::record::Tenant;
use crate::ring::Ring;
use crate::tree::leaf_hash;
use crate::views::{ROUND_RECORDS, Views};
use crate::wal::{Durable, Pool, Wal};

/// What the threads of one log share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) pool: Arc<Pool>,
    pub(crate) ring: Ring,
    pub(crate) durable: Arc<Durable>,
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
    committed: Vec<Sequenced>,
    oldest: Option<Instant>,
    published: u64,
    wanted: u64,
    unsynced: bool,
    writer_ended: bool,
    failed: Option<Arc<str>>,
}

impl Shared {
    pub(crate) fn new(queue: Queue, pool: Arc<Pool>, ring: Ring, durable: Arc<Durable>, published: u64) -> Self {
        let state = Mutex::new(State { published, ..State::default() });
        let (work, done, written) = Default::default();
        Self { queue, pool, ring, durable, state, work, done, written }
    }

    /// Why the log stopped, if it did.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.state().failed.clone()
    }

    /// Size of the last checkpoint.
    pub(crate) fn published(&self) -> u64 {
        self.state().published
    }

    /// Waits until a checkpoint covers all before `size`.
    pub(crate) fn publish(&self, size: u64) -> Result<u64, Arc<str>> {
        let mut state = self.state();
        state.wanted = state.wanted.max(size);
        self.work.notify_all();
        loop {
            match &state.failed {
                _ if state.published >= size => return Ok(state.published),
                Some(cause) => return Err(Arc::clone(cause)),
                None => state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn fail(&self, what: &str, error: &io::Error) -> Arc<str> {
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer: takes all that waits, makes it one commit, gives the receipts. While it works the next commit gathers by itself.
pub(crate) fn write(shared: &Shared, mut wal: Wal, tenant: &Tenant, commit: Commit) {
    loop {
        let queued = shared.queue.take();
        if queued.is_empty() {
            break;
        }
        let (records, answers): (Vec<_>, Vec<_>) = queued.into_iter().map(|queued| sequence(queued, tenant)).unzip();
        match commit_records(shared, &mut wal, &records, commit) {
            Ok(()) => {
                for (record, answer) in records.iter().zip(answers) {
                    // Whoever no longer waits has sent the safe answer and owes the log a word about it.
                    let _ = answer.send(Ok(Receipt { index: record.index, leaf_hash: record.hash }));
                }
                hand_over(shared, records);
            }
            Err(error) => {
                let cause = shared.fail("the write-ahead log could not be written", &error);
                for answer in answers {
                    let _ = answer.send(Err(NotDurable(Arc::clone(&cause))));
                }
                break;
            }
        }
    }
    shared.state().writer_ended = true;
    shared.work.notify_all();
    shared.written.notify_all();
}

fn sequence(queued: Queued, tenant: &Tenant) -> (Sequenced, Answer) {
    let leaf = queued.body.leaf(queued.index, queued.kind, tenant, queued.at);
    (Sequenced { index: queued.index, hash: leaf_hash(&leaf), leaf, sealed: queued.sealed }, queued.answer)
}

fn commit_records(shared: &Shared, wal: &mut Wal, records: &[Sequenced], commit: Commit) -> io::Result<()> {
    if !wal.make_room(records, true) {
        return Err(io::Error::other("no segment became free"));
    }
    wal.write(records)?;
    match commit {
        Commit::Disk => shared.durable.sync(),
        Commit::Kernel => {
            let mut state = shared.state();
            if !std::mem::replace(&mut state.unsynced, true) {
                shared.written.notify_all();
            }
            // The syncer may have failed since the last commit; then no further receipt is given.
            state.failed.as_ref().map_or(Ok(()), |cause| Err(io::Error::other(cause.to_string())))
        }
    }
}

fn hand_over(shared: &Shared, records: Vec<Sequenced>) {
    let mut state = shared.state();
    let before = state.committed.len();
    state.committed.extend(records);
    let oldest = state.oldest.is_none();
    state.oldest.get_or_insert_with(Instant::now);
    let threshold = WAKE_RECORDS;
    if oldest || (before < threshold && state.committed.len() >= threshold) || state.wanted > state.published {
        shared.work.notify_all();
    }
}

/// The applier: brings the views up to the write-ahead log, signs checkpoints, frees segments.
pub(crate) fn apply(shared: &Shared, mut views: Views, every: CheckpointEvery) {
    let mut earliest = Instant::now();
    while let Some(records) = next_round(shared, &views, every, earliest) {
        earliest = Instant::now() + MIN_ROUND;
        let failed = match round(shared, &mut views, &records) {
            Ok(()) => continue,
            Err(error) => error,
        };
        shared.fail("the log's tiles and checkpoint could not be written", &failed);
        break;
    }
}

/// Waits until a checkpoint is due; `None` when the log has ended.
fn next_round(shared: &Shared, views: &Views, every: CheckpointEvery, earliest: Instant) -> Option<Vec<Sequenced>> {
    let mut state = shared.state();
    loop {
        if state.failed.is_some() {
            return None;
        }
        let waiting = state.committed.len() as u64;
        let now = Instant::now();
        let due = if waiting == 0 {
            if state.writer_ended {
                return None;
            }
            None
        } else if state.writer_ended || views.size() < state.wanted {
            Some(now)
        } else {
            let by_time = state.oldest.and_then(|oldest| oldest.checked_add(Duration::from_millis(every.within_ms)));
            Some(if waiting >= every.entries { earliest } else { by_time.unwrap_or(now).max(earliest) })
        };
        match due {
            Some(due) if due <= now => {
                let round = state.committed.len().min(usize::try_from(ROUND_RECORDS).unwrap_or(usize::MAX));
                let rest = state.committed.split_off(round);
                state.oldest = (!rest.is_empty()).then_some(now);
                return Some(std::mem::replace(&mut state.committed, rest));
            }
            Some(due) => {
                let wait = due.saturating_duration_since(now);
                state = shared.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
            None => {
                // The ring is synced also while no record comes.
                state = shared.work.wait_timeout(state, RING_SYNC).unwrap_or_else(PoisonError::into_inner).0;
                if state.committed.is_empty() {
                    drop(state);
                    if let Err(error) = shared.ring.sync() {
                        shared.fail("the emergency ring could not be written", &error);
                    }
                    state = shared.state();
                }
            }
        }
    }
}

fn round(shared: &Shared, views: &mut Views, records: &[Sequenced]) -> io::Result<()> {
    for record in records {
        views.apply(record)?;
    }
    // Once it is visible a checkpoint may be kept by others. If what it covers could still be lost with the power, other records could be
    // signed in its place; so the write-ahead log is durable first.
    if shared.durable.before() < views.size() {
        shared.durable.sync()?;
    }
    let published = views.publish()?;
    shared.ring.sync()?;
    shared.pool.release(published);
    shared.pool.top_up()?;
    shared.state().published = published;
    shared.done.notify_all();
    Ok(())
}

/// The syncer of `Commit::Kernel`: makes durable, a little later, what was written.
pub(crate) fn sync(shared: &Shared) {
    loop {
        let mut state = shared.state();
        while !state.unsynced && !state.writer_ended && state.failed.is_none() {
            state = shared.written.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Gather for a while, unless the log is ending.
        let gathered = |state: &mut State| !state.writer_ended && state.failed.is_none();
        let waited = shared.written.wait_timeout_while(state, KERNEL_SYNC, gathered);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let ending = state.writer_ended || state.failed.is_some();
        state.unsynced = false;
        drop(state);
        if let Err(error) = shared.durable.sync() {
            shared.fail("the write-ahead log could not be synced", &error);
            return;
        }
        if ending {
            return;
        }
    }
}

type Answer = tokio::sync::oneshot::Sender<Result<Receipt, NotDurable>>;

/// After this many records the applier looks whether a checkpoint is due.
const WAKE_RECORDS: usize = 256;

/// Under load a checkpoint is made no more often than this: each costs some ten syncs, which the commits would wait behind.
const MIN_ROUND: Duration = Duration::from_millis(200);

/// With `Commit::Kernel`, what a power loss can take.
const KERNEL_SYNC: Duration = Duration::from_millis(50);

/// What a power loss can take from the emergency ring.
const RING_SYNC: Duration = Duration::from_secs(1);

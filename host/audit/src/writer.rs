//! Who makes records durable: the committer, by hand of a waiting caller or of the writer; the
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

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{AuditError, NotDurable};
use crate::frame::{Sequenced, frame_bytes, frame_room};
use crate::log::{CheckpointEvery, Commit, Monotonic};
use crate::queue::{Queue, Queued, Receipt};
use crate::record::Tenant;
use crate::ring::Ring;
use crate::tree::{Hash, leaf_hash};
use crate::views::{ROUND_RECORDS, Views};
use crate::wal::{Durable, KEPT_FRAME_BYTES, Place, Pool, Unreadable, Wal};

/// What the threads of one log share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) pool: Arc<Pool>,
    pub(crate) ring: Ring,
    pub(crate) durable: Arc<Durable>,
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
    /// What the views have not taken.
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
        clock: Monotonic,
    ) -> Self {
        let state = Mutex::new(State { published, ..State::default() });
        let (work, done, written) = Default::default();
        Self { queue, pool, ring, durable, clock, state, work, done, written }
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

    /// Waits until a checkpoint covers all before `size`, for as long as it takes or up to `limit`.
    pub(crate) fn publish(&self, size: u64, limit: Option<Duration>) -> Result<u64, Arc<str>> {
        let begun = Instant::now();
        let mut state = self.state();
        state.wanted = state.wanted.max(size);
        self.work.notify_all();
        loop {
            match &state.failed {
                _ if state.published >= size => return Ok(state.published),
                Some(cause) => return Err(Arc::clone(cause)),
                None => {}
            }
            match &state.suspended {
                Some((cause, end)) if size > *end => return Err(Arc::clone(cause)),
                _ => {}
            }
            let left = limit.map(|limit| limit.saturating_sub(begun.elapsed()));
            match left {
                Some(Duration::ZERO) => return Err(Arc::from(NOT_YET)),
                Some(left) => {
                    let waited = self.done.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
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

    /// Sees to the commit of what waits, for a caller on a thread that must not wait for the disk.
    pub(crate) fn commit(&self) {
        // A disk that hangs shows in the syncer first: from then on even writes to the kernel's
        // memory could wait for it.
        if self.commit == Commit::Disk || self.shared.durable.hangs() {
            return self.call_writer();
        }
        // Whoever has the lead looks again before giving it up.
        if let Some(queued) = self.shared.queue.lead() {
            self.run(queued, By::Caller);
        }
    }

    /// Has the writer see to what waits.
    pub(crate) fn call_writer(&self) {
        self.shared.queue.call();
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
            if !self.commit_all(&mut wal, queued) || (by == By::Caller && round == MOST_COMMITS) {
                return queue.hand_to_writer(Vec::new());
            }
            next = queue.lead_on();
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
                    // Whoever no longer waits has sent the safe answer and owes the log a word
                    // about it.
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

/// The writer: leads whenever it is called.
pub(crate) fn write(committer: &Committer) {
    let shared = &committer.shared;
    while let Some(queued) = shared.queue.lead_when_called() {
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
    /// What is on the disk is not known any more.
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

/// Somebody leads; a panic of theirs ends the log, because nobody could lead after them.
struct Leading<'a>(&'a Shared);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("a commit panicked", &io::Error::other("a defect of the log"));
            self.0.queue.hand_to_writer(Vec::new());
        }
    }
}

fn sequence(queued: Queued, tenant: &Tenant) -> (Sequenced, Answer) {
    let leaf = queued.body.leaf(queued.index, queued.kind, tenant, queued.time);
    (
        Sequenced { index: queued.index, hash: leaf_hash(&leaf), leaf, sealed: queued.sealed },
        queued.answer,
    )
}

/// Bytes of the frame of these records, at most.
fn room_for(queued: &[Queued]) -> u64 {
    frame_room(queued.len(), queued.iter().map(|queued| queued.bytes).sum())
}

/// A commit that the views have not taken. They read it where it was written: the memory of the
/// calls is free by then.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) place: Place,
    /// The hashes of its leaves, in order.
    pub(crate) hashes: Vec<Hash>,
}

impl Committed {
    /// Brings the views up to it.
    pub(crate) fn apply(&self, views: &mut Views, buffer: &mut Vec<u8>) -> io::Result<()> {
        let records = self.place.records(buffer).map_err(|unreadable| match unreadable {
            Unreadable::Disk(error) => error,
            changed => io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a commit was read again: {changed}"),
            ),
        })?;
        let new = views.size();
        let records = records.iter().zip(&self.hashes).skip_while(|(record, _)| record.index < new);
        records.into_iter().try_for_each(|(record, hash)| views.apply(record, *hash))
    }
}

fn hand_over(shared: &Shared, committed: Committed) {
    let mut state = shared.state();
    let before = state.waiting;
    state.waiting = before.saturating_add(committed.hashes.len());
    state.committed.push_back(committed);
    state.oldest.get_or_insert_with(&*shared.clock);
    let many = before < APPLIED_TOGETHER && state.waiting >= APPLIED_TOGETHER;
    if std::mem::take(&mut state.idle) || many || state.wanted > state.published {
        shared.work.notify_all();
    }
}

impl State {
    /// Returns whether a checkpoint is asked for that can be made now, with all before `end`
    /// committed. A receipt is given before its record reaches this state: a checkpoint made at
    /// once would be short of what was asked for, and one more.
    fn wants(&self, end: u64) -> bool {
        self.published < self.wanted && self.wanted <= end
    }

    /// Takes the oldest commits, of at most so many records together.
    fn take(&mut self, most: usize) -> Vec<Committed> {
        let mut left = most;
        let within = |committed: &&Committed| {
            let fits = committed.hashes.len() <= left;
            left = left.saturating_sub(committed.hashes.len());
            fits
        };
        let count = self.committed.iter().take_while(within).count();
        let taken: Vec<_> = self.committed.drain(..count).collect();
        self.waiting =
            self.waiting.saturating_sub(taken.iter().map(|committed| committed.hashes.len()).sum());
        taken
    }
}

/// The applier: brings the views up to the write-ahead log, signs checkpoints, frees segments.
pub(crate) fn apply(shared: &Shared, mut views: Views, every: CheckpointEvery) {
    let (mut earliest, mut buffer) = ((shared.clock)(), Vec::new());
    // What no checkpoint covers: views that are opened anew need it once more.
    let mut unpublished: Vec<Committed> = Vec::new();
    while let Some((commits, publish)) = next_round(shared, &views, every, earliest) {
        let applied = unpublished.len();
        unpublished.extend(commits);
        let commits = unpublished.get(applied..).unwrap_or_default();
        let gone_well = match round(shared, &mut views, commits, &mut buffer, publish) {
            Ok(()) => true,
            Err(Trouble::Views(error)) => {
                catch_up(shared, &mut views, &unpublished, &mut buffer, error)
            }
            Err(Trouble::Final(what, error)) => {
                shared.fail(what, &error);
                false
            }
        };
        if !gone_well {
            break;
        }
        if views.size() == views.head().size {
            unpublished.clear();
            earliest = (shared.clock)() + MIN_ROUND;
        }
    }
}

/// Why the applier could not do its part.
enum Trouble {
    /// The views could not be written. Nothing is lost: the write-ahead log has all of it.
    Views(io::Error),
    /// The write-ahead log is not what was written.
    Final(&'static str, io::Error),
}

impl Trouble {
    fn of_views(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Self::Final(VIEWS_FAILED, error)
            }
            _ => Self::Views(error),
        }
    }
}

/// Opens the views anew and publishes all of these commits, again and again until it goes well.
/// Returns `false` when the log has stopped, or is being closed and it still does not go well.
fn catch_up(
    shared: &Shared,
    views: &mut Views,
    unpublished: &[Committed],
    buffer: &mut Vec<u8>,
    mut error: io::Error,
) -> bool {
    let mut pause = FIRST_RETRY;
    loop {
        let closing = {
            let mut state = shared.state();
            state.delayed = Some(Arc::from(format!("{VIEWS_FAILED}: {error}")));
            shared.pool.starve(true);
            let waits = |state: &mut State| state.failed.is_none() && !state.closing;
            let waited = shared.work.wait_timeout_while(state, pause, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.failed.is_some() {
                return false;
            }
            state.closing
        };
        match try_again(shared, views, unpublished, buffer) {
            Ok(()) => {
                shared.pool.starve(false);
                shared.state().delayed = None;
                return true;
            }
            Err(Trouble::Views(again)) if !closing => error = again,
            Err(Trouble::Views(again)) => {
                shared.fail(VIEWS_FAILED, &again);
                return false;
            }
            Err(Trouble::Final(what, again)) => {
                shared.fail(what, &again);
                return false;
            }
        }
        pause = (pause * 2).min(LAST_RETRY);
    }
}

fn try_again(
    shared: &Shared,
    views: &mut Views,
    unpublished: &[Committed],
    buffer: &mut Vec<u8>,
) -> Result<(), Trouble> {
    *views = views.reopen().map_err(|error| match error {
        AuditError::Disk { .. } => Trouble::Views(io::Error::other(error.to_string())),
        damaged => Trouble::Final(VIEWS_FAILED, io::Error::other(damaged.to_string())),
    })?;
    round(shared, views, unpublished, buffer, true)
}

/// Waits until there is enough to apply, or a checkpoint is due; gives what to apply, and whether
/// to publish. `None` when the log has ended.
fn next_round(
    shared: &Shared,
    views: &Views,
    every: CheckpointEvery,
    earliest: Instant,
) -> Option<(Vec<Committed>, bool)> {
    let mut state = shared.state();
    loop {
        if state.failed.is_some() {
            return None;
        }
        let applied = views.size().saturating_sub(views.head().size);
        let waiting = state.waiting as u64;
        let unpublished = applied.saturating_add(waiting);
        let now = (shared.clock)();
        let due = if unpublished == 0 {
            if state.writer_ended {
                return None;
            }
            None
        } else if state.writer_ended
            || state.wants(views.size().saturating_add(waiting))
            || unpublished >= ROUND_RECORDS
        {
            Some(now)
        } else {
            let by_time = state
                .oldest
                .and_then(|oldest| oldest.checked_add(Duration::from_millis(every.within_ms)));
            Some(if unpublished >= every.entries {
                earliest
            } else {
                by_time.unwrap_or(now).max(earliest)
            })
        };
        let publish = due.is_some_and(|due| due <= now);
        if publish || state.waiting >= APPLIED_TOGETHER {
            let most = usize::try_from(ROUND_RECORDS.saturating_sub(applied)).unwrap_or(usize::MAX);
            let commits = state.take(most);
            if publish {
                state.oldest = (!state.committed.is_empty()).then_some(now);
            }
            return Some((commits, publish));
        }
        match due {
            Some(due) => {
                let wait = due.saturating_duration_since(now);
                state =
                    shared.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
            None => {
                // The ring is synced also while no record comes.
                state.idle = true;
                state = shared
                    .work
                    .wait_timeout(state, RING_SYNC)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                if state.committed.is_empty() {
                    drop(state);
                    // It stays to be synced: who counts answers in it finds out too.
                    let _ = shared.ring.sync();
                    state = shared.state();
                }
            }
        }
    }
}

/// Applies the commits, and publishes them and all before.
fn round(
    shared: &Shared,
    views: &mut Views,
    commits: &[Committed],
    buffer: &mut Vec<u8>,
    publish: bool,
) -> Result<(), Trouble> {
    for committed in commits {
        committed.apply(views, buffer).map_err(Trouble::of_views)?;
    }
    buffer.shrink_to(KEPT_FRAME_BYTES);
    if !publish {
        return Ok(());
    }
    // Once it is visible a checkpoint may be kept by others. If what it covers could still be lost
    // with the power, other records could be signed in its place; so the write-ahead log is durable
    // first.
    if shared.durable.before() < views.size() {
        let failed = |error| Trouble::Final("the write-ahead log could not be synced", error);
        shared.durable.sync().map_err(failed)?;
    }
    let published = views.publish().map_err(Trouble::of_views)?;
    // Neither keeps a record waiting: the ring stays to be synced, and the segments that there are
    // go round.
    let _ = shared.ring.sync();
    shared.pool.release(published);
    let _ = shared.pool.top_up();
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

/// Commits that a caller makes in one go: the rest is the writer's, so that no call pays for all
/// others.
const MOST_COMMITS: u32 = 4;

type Answer = tokio::sync::oneshot::Sender<Result<Receipt, NotDurable>>;

/// So many records are applied together before a checkpoint is due: soon enough that they are still
/// in the processor's cache, and seldom enough that waking the applier costs nothing beside.
const APPLIED_TOGETHER: usize = 64;

/// Under load a checkpoint is made no more often than this: each costs some ten syncs, which the
/// commits would wait behind.
const MIN_ROUND: Duration = Duration::from_millis(200);

/// How soon views that could not be written are tried again, and how seldom at last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// A wait for a checkpoint that has a limit.
const NOT_YET: &str = "the checkpoint is not written yet";
const VIEWS_FAILED: &str = "the log's tiles and checkpoint could not be written";

/// With `Commit::Kernel`, what a power loss can take.
const KERNEL_SYNC: Duration = Duration::from_millis(50);

/// What a power loss can take from the emergency ring.
const RING_SYNC: Duration = Duration::from_secs(1);

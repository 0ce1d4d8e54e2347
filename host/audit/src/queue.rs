//! The queue between callers and the log: it gives sequence numbers, chooses the thread that
//! commits, and returns receipts.
//!
//! Invariant: sequence numbers are given without a gap, in the order of the queue, and times never
//! run backwards in it, unless a record resets them. One thread at a time is the leader: it takes
//! the records that wait and commits them, in that order. Records that arrive meanwhile are
//! committed by the leader too, or the writer is woken for them; none is left waiting. Nothing here
//! does I/O, so a caller waits only for another caller.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{elapsed_since, monotonic_now};
use crate::entry::{Body, RecordTime};
use crate::error::{AppendError, NotDurable};
use portcullis_tlog::tree::Hash;

/// A durable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the log.
    pub index: u64,
    /// Its RFC 6962 leaf hash.
    pub leaf_hash: Hash,
}

/// The place that a record was given. When the log resumes after a stop it gives the places anew
/// that no durable record has: then the same index is another record's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The place.
    pub index: u64,
    /// How often the log had resumed by then.
    pub(crate) life: u64,
}

/// The way from a queue to the commit of what waits in it.
pub(crate) trait CommitQueued: Send + Sync {
    /// Commits what waits on this thread, which must not wait for the disk, or wakes the writer.
    fn commit_as_leader(&self);

    /// Wakes the writer, which commits what waits.
    fn wake_writer(&self);
}

/// A sequenced record whose commit is under way. Dropping it does not take the record back.
pub struct Pending {
    /// Its place in the log.
    pub index: u64,
    life: u64,
    answer: oneshot::Receiver<Result<Receipt, NotDurable>>,
    /// Makes the record durable once a caller waits for it. `None`: the writer was woken already.
    committer: Option<Arc<dyn CommitQueued>>,
}

impl Pending {
    /// Blocks this thread until the record is durable or known not to be, for at most
    /// [`MAX_RECORD_WAIT`]. On an asynchronous thread, await it instead.
    ///
    /// # Errors
    /// As [`Pending::wait_within`].
    pub fn wait(self) -> Result<Receipt, NotDurable> {
        self.wait_within(MAX_RECORD_WAIT)
    }

    /// The same, for at most this long. The commit is the writer's: this thread never waits for the
    /// disk itself.
    ///
    /// # Errors
    /// The record is not durable, or not within this time. Then it may become durable later, or
    /// never: as after a crash, whoever needs it appends it again.
    pub fn wait_within(mut self, limit: Duration) -> Result<Receipt, NotDurable> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        if let Some(committer) = self.committer.take() {
            committer.wake_writer();
        }
        let begun = monotonic_now();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut pending = pin!(self);
        loop {
            if let Poll::Ready(answer) = pending.as_mut().poll(&mut Context::from_waker(&waker)) {
                return answer;
            }
            let left = limit.saturating_sub(elapsed_since(begun));
            if left.is_zero() {
                let why = format!("its commit was not finished within {} ms", limit.as_millis());
                return Err(NotDurable(Arc::from(why)));
            }
            thread::park_timeout(left);
        }
    }
}

impl Future for Pending {
    type Output = Result<Receipt, NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(committer) = self.committer.take() {
            committer.commit_as_leader();
        }
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or_else(|_| Err(NotDurable(Arc::from(GONE)))))
    }
}

impl Pending {
    /// The place that it was given.
    pub fn sequence(&self) -> Sequence {
        Sequence { index: self.index, life: self.life }
    }

    /// Lets the caller that waits for it begin the commit, instead of waking the writer.
    pub(crate) fn committed_by_waiter(mut self, committer: Arc<dyn CommitQueued>) -> Self {
        self.committer = Some(committer);
        self
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // No caller waited for it, so its commit may not have begun.
        if let Some(committer) = &self.committer {
            committer.wake_writer();
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("index", &self.index).finish_non_exhaustive()
    }
}

/// A record that has no place yet: its sealed part is encrypted, and its length is checked.
pub struct Prepared {
    pub(crate) kind: &'static str,
    pub(crate) body: Body,
    pub(crate) sealed: Option<Vec<u8>>,
    pub(crate) changes: Option<Vec<u8>>,
    pub(crate) bytes: usize,
}

/// A record on its way to the writer.
pub(crate) struct Queued {
    pub(crate) index: u64,
    pub(crate) time: RecordTime,
    pub(crate) kind: &'static str,
    pub(crate) body: Body,
    pub(crate) sealed: Option<Vec<u8>>,
    pub(crate) changes: Option<Vec<u8>>,
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Result<Receipt, NotDurable>>,
}

/// The queue.
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    limit: usize,
}

struct QueueState {
    waiting: Vec<Queued>,
    bytes: usize,
    next: u64,
    last_at: u64,
    /// A leader commits.
    leading: bool,
    /// The writer is woken.
    called: bool,
    ended: Option<Arc<str>>,
    /// No record is taken until the log resumes.
    suspended: Option<Arc<str>>,
    /// The first place that each life after the first gave.
    lives: Vec<u64>,
}

impl Queue {
    /// Gives numbers from `next` and times from `last_at`; holds at most `limit` records.
    pub(crate) fn new(next: u64, last_at: u64, limit: usize) -> Self {
        let state = QueueState {
            waiting: Vec::new(),
            bytes: 0,
            next,
            last_at,
            leading: false,
            called: false,
            ended: None,
            suspended: None,
            lives: Vec::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), limit }
    }

    /// Gives a record its place and the time that `clock` tells. Somebody must then see to its
    /// commit: [`Queue::become_leader`] or [`Queue::wake_writer`]. The clock is read under the
    /// queue's lock, so that no record gets a time that was read before a reset after it. `reset`
    /// runs first, where there is one: then the time may be before that of the record before.
    pub(crate) fn push(
        &self,
        prepared: Prepared,
        clock: &dyn Fn() -> RecordTime,
        reset: Option<&mut dyn FnMut()>,
    ) -> Result<Pending, AppendError> {
        let Prepared { kind, body, sealed, changes, bytes } = prepared;
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        if let Some(cause) = state.ended.as_ref().or(state.suspended.as_ref()) {
            return Err(AppendError::Stopped(Arc::clone(cause)));
        }
        if state.waiting.len() >= self.limit || state.bytes.saturating_add(bytes) > QUEUE_BYTES {
            return Err(AppendError::QueueFull);
        }
        let index = state.next;
        state.next = state.next.saturating_add(1);
        if let Some(reset) = reset {
            reset();
            state.last_at = 0;
        }
        let mut time = clock();
        time.at = time.at.max(state.last_at);
        state.last_at = time.at;
        state.bytes = state.bytes.saturating_add(bytes);
        state.waiting.push(Queued { index, time, kind, body, sealed, changes, bytes, answer });
        let life = state.lives.len() as u64;
        drop(state);
        Ok(Pending { index, life, answer: receiver, committer: None })
    }

    /// Wakes the writer, unless there is a leader, which checks the queue again before it stops.
    pub(crate) fn wake_writer(&self) {
        let mut state = self.state();
        if state.leading || state.called || state.waiting.is_empty() {
            return;
        }
        state.called = true;
        drop(state);
        // Woken after the lock is free, it does not have to wait for it.
        self.changed.notify_one();
    }

    /// Makes this thread the leader and returns one commit. `None`: another thread leads, or
    /// nothing waits.
    pub(crate) fn become_leader(&self) -> Option<Vec<Queued>> {
        let mut state = self.state();
        if state.leading || state.waiting.is_empty() || state.ended.is_some() {
            return None;
        }
        state.leading = true;
        Some(state.take())
    }

    /// Makes the writer the leader: waits until it is woken or the queue has ended. `None`: the
    /// queue has ended and is drained.
    pub(crate) fn become_leader_when_woken(&self) -> Option<Vec<Queued>> {
        let mut state = self.state();
        loop {
            let wanted = state.called || state.ended.is_some();
            if !state.leading && wanted && !state.waiting.is_empty() {
                state.called = false;
                state.leading = true;
                return Some(state.take());
            }
            if !state.leading && state.ended.is_some() {
                return None;
            }
            state.called = false;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the leader's next commit. `None`: nothing waits, and this thread leads no more.
    pub(crate) fn next_commit(&self) -> Option<Vec<Queued>> {
        let mut state = self.state();
        if state.waiting.is_empty() {
            self.stop_leading(state);
            return None;
        }
        Some(state.take())
    }

    /// Gives up the lead. Records that were taken and not committed go back, and the writer is
    /// woken for all that wait.
    pub(crate) fn hand_to_writer(&self, mut taken: Vec<Queued>) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_add(taken.iter().map(|queued| queued.bytes).sum());
        taken.append(&mut state.waiting);
        state.waiting = taken;
        self.stop_leading(state);
    }

    /// Ends the lead, and wakes the writer if something waits or the queue has ended.
    fn stop_leading(&self, mut state: MutexGuard<'_, QueueState>) {
        state.leading = false;
        let call = !state.waiting.is_empty() || state.ended.is_some();
        state.called |= call;
        drop(state);
        if call {
            self.changed.notify_one();
        }
    }

    /// Takes no more records; what waits stays for `take`.
    pub(crate) fn end(&self, cause: Arc<str>) {
        self.state().ended.get_or_insert(cause);
        self.changed.notify_all();
    }

    /// Takes no more records and tells those that wait.
    pub(crate) fn fail(&self, cause: &Arc<str>) {
        let mut state = self.state();
        state.ended = Some(Arc::clone(cause));
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for queued in waiting {
            // A caller that no longer waits needs no answer.
            let _ = queued.answer.send(Err(NotDurable(Arc::clone(cause))));
        }
        self.changed.notify_all();
    }

    /// Takes no more records until [`Queue::resume`], tells those that wait, and gives the places
    /// from `end` on anew after that, at `at` or later: a time reset that was lost has not
    /// happened.
    pub(crate) fn suspend(&self, cause: &Arc<str>, end: u64, at: u64) {
        let mut state = self.state();
        state.suspended = Some(Arc::clone(cause));
        state.next = end;
        state.last_at = state.last_at.max(at);
        state.lives.push(end);
        state.bytes = 0;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for queued in waiting {
            let _ = queued.answer.send(Err(NotDurable(Arc::clone(cause))));
        }
    }

    /// Takes records again.
    pub(crate) fn resume(&self) {
        self.state().suspended = None;
    }

    /// Whether the place was given by a life that ended before its record was committed.
    pub(crate) fn is_void(&self, sequence: Sequence) -> bool {
        let state = self.state();
        let next = usize::try_from(sequence.life).ok().and_then(|life| state.lives.get(life));
        next.is_some_and(|begins| sequence.index >= *begins)
    }

    /// The next sequence number, and the number of records that wait.
    pub(crate) fn position(&self) -> (u64, usize) {
        let state = self.state();
        (state.next, state.waiting.len())
    }

    /// The time of the last record that got a place.
    pub(crate) fn last_at(&self) -> u64 {
        self.state().last_at
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// All that makes up one commit.
    fn take(&mut self) -> Vec<Queued> {
        let mut bytes = 0;
        let within = |queued: &Queued| {
            bytes += queued.bytes;
            bytes <= COMMIT_BYTES
        };
        // The first goes in any case: it alone fits a segment.
        let count =
            self.waiting.iter().take_while(pinned(within)).count().max(1).min(self.waiting.len());
        let rest = self.waiting.split_off(count);
        let taken = std::mem::replace(&mut self.waiting, rest);
        self.bytes = self.bytes.saturating_sub(taken.iter().map(|queued| queued.bytes).sum());
        taken
    }
}

/// `take_while` hands out references to references.
fn pinned<T>(mut predicate: impl FnMut(&T) -> bool) -> impl FnMut(&&T) -> bool {
    move |item| predicate(item)
}

const GONE: &str = "the log's writer is gone";

/// How long a thread waits for the record that it appended: many times what a commit takes on a
/// disk that answers. A disk that hangs for longer must not hold the host's own threads for ever;
/// what they wait for is then as after a crash, and they try again.
pub const MAX_RECORD_WAIT: Duration = Duration::from_secs(30);

/// Memory that waiting records may take.
const QUEUE_BYTES: usize = 64 << 20;

/// One commit writes at most this, one record excepted.
pub(crate) const COMMIT_BYTES: usize = 1 << 20;

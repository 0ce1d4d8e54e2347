//! The way from callers to the writer: where a record gets its sequence number, and where its receipt comes back.
//!
//! Invariant: sequence numbers are given without a gap, in the order of the queue, and times never run backwards in it. Nothing here does I/O,
//! so a caller waits for nobody but another caller.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::sync::oneshot;

use crate::error::{NotDurable, Refused};
use crate::record::Body;
use crate::tree::Hash;

/// A durable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the log.
    pub index: u64,
    /// Its RFC 6962 leaf hash.
    pub leaf_hash: Hash,
}

/// A sequenced record whose commit is under way. Dropping it does not take the record back.
#[derive(Debug)]
pub struct Pending {
    /// Its place in the log.
    pub index: u64,
    answer: oneshot::Receiver<Result<Receipt, NotDurable>>,
}

impl Pending {
    /// Blocks this thread until the record is durable or known not to be. On an asynchronous thread, await it instead.
    pub fn wait(self) -> Result<Receipt, NotDurable> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut pending = pin!(self);
        loop {
            match pending.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl Future for Pending {
    type Output = Result<Receipt, NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or_else(|_| Err(NotDurable(Arc::from(GONE)))))
    }
}

/// A record on its way to the writer.
pub(crate) struct Queued {
    pub(crate) index: u64,
    pub(crate) at: u64,
    pub(crate) kind: &'static str,
    pub(crate) body: Body,
    pub(crate) sealed: Option<Vec<u8>>,
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
    asleep: bool,
    ended: Option<Arc<str>>,
}

impl Queue {
    /// Gives numbers from `next` and times from `last_at`; holds at most `limit` records.
    pub(crate) fn new(next: u64, last_at: u64, limit: usize) -> Self {
        let state = QueueState { waiting: Vec::new(), bytes: 0, next, last_at, asleep: false, ended: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), limit }
    }

    /// Gives a record its place.
    pub(crate) fn push(
        &self,
        kind: &'static str,
        body: Body,
        sealed: Option<Vec<u8>>,
        bytes: usize,
        now: u64,
    ) -> Result<Pending, Refused> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        if let Some(cause) = &state.ended {
            return Err(Refused::Stopped(Arc::clone(cause)));
        }
        if state.waiting.len() >= self.limit || state.bytes.saturating_add(bytes) > QUEUE_BYTES {
            return Err(Refused::QueueFull);
        }
        let index = state.next;
        state.next = state.next.saturating_add(1);
        state.last_at = state.last_at.max(now);
        state.bytes = state.bytes.saturating_add(bytes);
        let at = state.last_at;
        state.waiting.push(Queued { index, at, kind, body, sealed, bytes, answer });
        // A writer that is at work looks again before it sleeps. Woken after the lock is free, it does not have to wait for it.
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.changed.notify_one();
        }
        Ok(Pending { index, answer: receiver })
    }

    /// Waits for records and takes all that make up one commit; empty when the queue has ended and is drained.
    pub(crate) fn take(&self) -> Vec<Queued> {
        let mut state = self.state();
        while state.waiting.is_empty() && state.ended.is_none() {
            state.asleep = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let within = |queued: &Queued| {
            bytes += queued.bytes;
            bytes <= COMMIT_BYTES
        };
        // The first goes in any case: it alone fits a segment.
        let count = state.waiting.iter().take_while(pinned(within)).count().max(1).min(state.waiting.len());
        let rest = state.waiting.split_off(count);
        let taken = std::mem::replace(&mut state.waiting, rest);
        state.bytes = state.bytes.saturating_sub(taken.iter().map(|queued| queued.bytes).sum());
        taken
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
            // Whoever no longer waits needs no answer.
            let _ = queued.answer.send(Err(NotDurable(Arc::clone(cause))));
        }
        self.changed.notify_all();
    }

    /// The next sequence number, and the number of records that wait.
    pub(crate) fn position(&self) -> (u64, usize) {
        let state = self.state();
        (state.next, state.waiting.len())
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `take_while` hands out references to references.
fn pinned<T>(mut predicate: impl FnMut(&T) -> bool) -> impl FnMut(&&T) -> bool {
    move |item| predicate(item)
}

const GONE: &str = "the log's writer is gone";

/// Memory that waiting records may take.
const QUEUE_BYTES: usize = 64 << 20;

/// One commit writes at most this, one record excepted.
pub(crate) const COMMIT_BYTES: usize = 1 << 20;

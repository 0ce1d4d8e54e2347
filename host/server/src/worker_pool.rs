//! A lane: threads of its own for one thing that may be slow, such as one binding's plugin.
//!
//! Invariants: what is slow holds neither a connection's thread nor anybody else's lane; the queue is bounded and a full one is said at
//! once. Threads come when there is work and go when there was none for [`IDLE`], so a lane that nobody needs costs nothing. A job bounds
//! its own time (the engine's deadline), so a lane is never lost to a runaway plugin.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// Threads for slow work.
pub struct WorkerPool {
    shared: Arc<Shared>,
}

/// The lane is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    name: String,
    /// Most threads.
    threads: usize,
    /// Jobs that may wait for one.
    queue_capacity: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that run a job.
    busy: usize,
    /// Threads that wait for one.
    idle: usize,
    closed: bool,
}

impl WorkerPool {
    /// At most this many threads, with room for `waiting` jobs before them. Starts none yet.
    pub fn new(name: &str, threads: usize, waiting: usize) -> Self {
        let (state, work) = (Mutex::default(), Condvar::new());
        let shared = Shared {
            name: name.to_owned(),
            threads: threads.max(1),
            queue_capacity: waiting,
            state,
            work,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Runs a job and hands back its result. The receiver fails if the job was lost.
    pub fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Full> {
        let (sender, receiver) = oneshot::channel();
        let job = move || {
            // Nobody may be waiting any more: the call's budget went first, and what nobody hears is not worth a thread.
            if !sender.is_closed() {
                drop(sender.send(job()));
            }
        };
        self.spawn(job)?;
        Ok(receiver)
    }

    /// Runs a job that nobody waits for.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        let shared = &self.shared;
        let mut state = shared.state();
        let free = shared.threads.saturating_sub(state.busy);
        if state.closed || state.jobs.len() >= shared.queue_capacity.saturating_add(free) {
            return Err(Full);
        }
        state.jobs.push_back(Box::new(job));
        let threads = state.busy + state.idle;
        if state.jobs.len() > state.idle && threads < shared.threads {
            let theirs = Arc::clone(shared);
            // This is not a `Worker`: a job cannot be told to end, and nothing waits for one but
            // its caller. Counted before it runs, so that the next job does not start it again.
            state.idle += 1;
            let started =
                thread::Builder::new().name(shared.name.clone()).spawn(move || work(&theirs));
            if started.is_err() {
                state.idle -= 1;
                // With no thread at all nobody would ever come for it; else somebody does.
                if threads == 0 {
                    // Dropped without the lock: it may hold the last of what owns this lane.
                    let job = state.jobs.pop_back();
                    drop(state);
                    drop(job);
                    return Err(Full);
                }
            }
        }
        drop(state);
        shared.work.notify_one();
        Ok(())
    }

    /// How many jobs wait for a thread.
    pub fn waiting(&self) -> usize {
        self.shared.state().jobs.len()
    }

    /// How many jobs run.
    pub fn running(&self) -> usize {
        self.shared.state().busy
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        // What waits is still done; then the threads go.
        self.shared.state().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of a thread. It is counted as idle when it begins.
fn work(shared: &Shared) {
    let mut state = shared.state();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            state.idle -= 1;
            state.busy += 1;
            drop(state);
            // A job that panics must not take the lane with it; its waiter sees the sender dropped.
            drop(catch_unwind(AssertUnwindSafe(job)));
            state = shared.state();
            state.busy -= 1;
            state.idle += 1;
            continue;
        }
        if state.closed {
            break;
        }
        let waited = shared.work.wait_timeout(state, IDLE);
        let (again, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state = again;
        if waited.timed_out() && state.jobs.is_empty() {
            break;
        }
    }
    state.idle -= 1;
}

/// How long a thread waits for work before it goes.
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    #[test]
    fn a_panic_costs_one_job_and_a_full_lane_says_so() {
        let pool = WorkerPool::new("plugin", 1, 1);
        let lost = pool.submit(|| -> u8 { panic!("planted") }).unwrap();
        assert!(lost.blocking_recv().is_err());
        let (hold, held) = channel::<()>();
        let (started, running) = channel();
        let first = pool
            .submit(move || {
                started.send(()).unwrap();
                held.recv().ok()
            })
            .unwrap();
        running.recv().unwrap();
        let second = pool.submit(|| 2).unwrap();
        assert_eq!(pool.submit(|| 3).err(), Some(Full));
        assert_eq!((pool.running(), pool.waiting()), (1, 1));
        drop(hold);
        assert!(first.blocking_recv().is_ok());
        assert_eq!(second.blocking_recv(), Ok(2));
    }

    #[test]
    fn one_lane_runs_no_more_at_once_than_it_may_and_loses_nothing_when_it_is_dropped() {
        let (pool, other) = (WorkerPool::new("plugin", 2, 100), WorkerPool::new("plugin", 1, 0));
        let (now, most, done) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (finished, finish) = channel::<()>();
        for _ in 0..50 {
            let (now, most, done) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&done));
            let (held, finished) = (Arc::clone(&held), finished.clone());
            pool.spawn(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Until the other side lets go.
                let _ = held.lock().unwrap().recv();
                now.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
                drop(finished);
            })
            .unwrap();
        }
        // All of this lane's threads hang; another's work is done all the same.
        assert_eq!(other.submit(|| 7).unwrap().blocking_recv(), Ok(7));
        drop((hold, finished));
        drop(pool);
        assert!(finish.recv().is_err(), "all jobs are over");
        assert_eq!(done.load(Ordering::SeqCst), 50);
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }
}

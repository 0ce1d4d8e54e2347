//! The slow lane: threads of its own for plugins that outran the inline slice, and for bindings that do not bind.
//!
//! Invariant: no job here holds a connection's thread; the queue is bounded and a full one is said at once. A job bounds its own
//! time (the engine's deadline), so a lane is never lost to a runaway plugin.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// Threads for slow work.
#[derive(Clone)]
pub struct SlowLane {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
}

/// The lane is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

type Job = Box<dyn FnOnce() + Send>;

impl SlowLane {
    /// Starts this many threads with room for `waiting` jobs before them.
    pub fn start(name: &str, threads: usize, waiting: usize) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(waiting);
        let (queue, depth) = (Arc::new(Mutex::new(queue)), Arc::new(AtomicUsize::new(0)));
        for number in 0..threads {
            let (queue, depth) = (Arc::clone(&queue), Arc::clone(&depth));
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || work(&queue, &depth))?;
        }
        Ok(Self { jobs, waiting: depth })
    }

    /// Runs a job and hands back its result. The receiver fails if the job was lost.
    pub fn run<T: Send + 'static>(
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
        self.start_job(job)?;
        Ok(receiver)
    }

    /// Runs a job that nobody waits for.
    pub fn start_job(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        // Full or, at the end of the process, without threads: either way it does not run.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(Box::new(job)).map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            Full
        })
    }

    /// How many jobs wait for a thread.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

fn work(queue: &Mutex<Receiver<Job>>, waiting: &AtomicUsize) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            // A job that panics must not take the lane with it; its waiter sees the sender dropped.
            Ok(job) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_one_job_and_a_full_lane_says_so() {
        let lane = SlowLane::start("slow", 1, 1).unwrap();
        let lost = lane.run(|| -> u8 { panic!("planted") }).unwrap();
        assert!(lost.blocking_recv().is_err());
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (started, running) = std::sync::mpsc::channel();
        let first = lane
            .run(move || {
                started.send(()).unwrap();
                held.recv().ok()
            })
            .unwrap();
        running.recv().unwrap();
        let second = lane.run(|| 2).unwrap();
        assert_eq!(lane.run(|| 3).err(), Some(Full));
        drop(hold);
        assert!(first.blocking_recv().is_ok());
        assert_eq!(second.blocking_recv(), Ok(2));
    }
}

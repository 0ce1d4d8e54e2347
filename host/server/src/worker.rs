//! Threads that run until they are stopped.
//!
//! Invariant: a stop signals the thread at once, wakes it from [`StopToken::sleep`], and waits for
//! its end; only the code that stops the host waits, never a call. A thread is not ended by force:
//! one that does not look at its token goes on. Work that may hang is
//! for [`fs::file_worker`](crate::fs::file_worker), and short jobs are for
//! [`worker_pool`](crate::worker_pool).

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::monotonic_now;
use crate::error::StartError;

/// A thread. Where this is dropped, it is told to end and not waited for.
pub struct Worker {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
    /// Ends with the thread.
    ended: Receiver<Infallible>,
}

/// The signal that a thread is to end.
#[derive(Clone)]
pub struct StopToken(watch::Receiver<bool>);

impl Worker {
    /// Starts a thread of that name.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn spawn(
        name: impl Into<String>,
        run: impl FnOnce(StopToken) + Send + 'static,
    ) -> Result<Self, StartError> {
        let (stop, token) = watch::channel(false);
        let (running, ended) = channel();
        let run = move || {
            let _running = running;
            run(StopToken(token));
        };
        let thread =
            thread::Builder::new().name(name.into()).spawn(run).map_err(StartError::Thread)?;
        Ok(Self { stop, thread, ended })
    }

    /// Tells the thread to end, and does not wait for that.
    pub fn signal(&self) {
        self.stop.send_replace(true);
        self.thread.thread().unpark();
    }

    /// Ends the thread.
    pub fn stop(self) {
        self.signal();
        // A thread that panicked has nothing left to wait for.
        drop(self.thread.join());
    }

    /// Ends the thread. Where that takes longer than `limit` it is left behind, and this returns
    /// false.
    pub fn stop_within(self, limit: Duration) -> bool {
        self.signal();
        let left_behind = self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if !left_behind {
            drop(self.thread.join());
        }
        !left_behind
    }
}

impl StopToken {
    /// Returns whether the thread is to end.
    pub fn is_set(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until the thread is to end. May be given up and begun again.
    pub async fn stopped(&mut self) {
        drop(self.0.wait_for(|stop| *stop).await);
    }

    /// Sleeps for so long, or until the thread is to end; returns whether it is. For the worker's
    /// own thread, which is the one that a stop wakes.
    pub fn sleep(&self, limit: Duration) -> bool {
        let until = monotonic_now() + limit;
        while !self.is_set() {
            let left = until.saturating_duration_since(monotonic_now());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_wakes_a_sleeping_thread_and_waits_for_its_end() {
        let (say, said) = channel();
        let worker = Worker::spawn("sleeper", move |stop| {
            say.send(stop.sleep(Duration::ZERO)).unwrap();
            say.send(stop.sleep(Duration::from_secs(3_600))).unwrap();
        });
        assert!(!said.recv().unwrap());
        worker.unwrap().stop();
        assert!(said.try_recv().unwrap());
    }

    #[test]
    fn a_stop_ends_a_wait_of_a_runtime() {
        let worker = Worker::spawn("waiter", |mut stop| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(stop.stopped());
            assert!(stop.is_set());
        });
        assert!(worker.unwrap().stop_within(Duration::from_secs(3_600)));
    }

    #[test]
    fn a_thread_that_hangs_is_left_behind_and_one_that_panics_is_not_waited_for() {
        let (go_on, blocked) = channel::<()>();
        let hangs = Worker::spawn("hangs", move |_| {
            let _ = blocked.recv();
        });
        assert!(!hangs.unwrap().stop_within(Duration::from_millis(1)));
        drop(go_on);
        let panics = Worker::spawn("panics", |_| std::panic::resume_unwind(Box::new(())));
        assert!(panics.unwrap().stop_within(Duration::from_secs(3_600)));
    }

    #[test]
    fn a_worker_that_is_dropped_ends() {
        let (done, last) = channel();
        drop(Worker::spawn("dropped", move |stop| {
            while !stop.sleep(Duration::from_millis(1)) {}
            done.send(()).unwrap();
        }));
        last.recv_timeout(Duration::from_secs(3_600)).unwrap();
    }
}

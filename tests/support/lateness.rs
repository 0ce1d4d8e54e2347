//! How late this machine is: what a promise about time is held against on a machine that is busy
//! with something else.
//!
//! Invariant: on an idle machine the allowance is a few milliseconds, so a promise that is broken
//! is found; it grows only as far as a thread of the test itself was kept from running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Watches while it lives.
pub struct Lateness {
    ended: Arc<AtomicBool>,
    worst_us: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Lateness {
    /// Begins to watch.
    #[must_use]
    pub fn watch() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let worst_us = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (ended, worst_us) = (Arc::clone(&ended), Arc::clone(&worst_us));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    thread::sleep(STEP);
                    let late = begin.elapsed().saturating_sub(STEP);
                    let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                    worst_us.fetch_max(late, Ordering::Relaxed);
                }
            }
        });
        Self { ended, worst_us, thread: Some(thread) }
    }

    /// Returns the time that a call may take beyond the promise: as many steps as wait for a
    /// thread, each as late as the latest so far.
    #[must_use]
    pub fn allowance(&self) -> Duration {
        Duration::from_micros(self.worst_us.load(Ordering::Relaxed)) * STEPS_OF_A_CALL
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// How often it looks.
const STEP: Duration = Duration::from_millis(5);
/// A call waits for a thread when it is accepted, read, decided, made durable, written and heard.
const STEPS_OF_A_CALL: u32 = 6;

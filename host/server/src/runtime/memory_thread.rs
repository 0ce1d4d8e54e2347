//! The thread that writes memory to its file.
//!
//! Invariant: nothing waits for it but the log's segments, and those only where half of them are
//! used. What fails is tried again in the next round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{elapsed_since, monotonic_now};
use crate::error::StartError;
use crate::logging::log_limit::LOG_LIMITS;
use crate::recorder::Recorder;
use crate::worker::Worker;

/// The thread.
pub struct FlushThread(Worker);

impl FlushThread {
    /// Starts it.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn start(recorder: &Arc<Recorder>) -> Result<Self, StartError> {
        let recorder = Arc::clone(recorder);
        let worker = Worker::spawn("memory", move |stop| {
            let mut last = monotonic_now();
            while !stop.is_set() {
                if is_due(&recorder, last) {
                    flush(&recorder);
                    last = monotonic_now();
                }
                stop.sleep(ROUND);
            }
            flush(&recorder);
        });
        worker.map(Self)
    }

    /// Ends it, after a last write.
    pub fn stop(self) {
        self.0.stop();
    }
}

fn is_due(recorder: &Recorder, last: Instant) -> bool {
    elapsed_since(last) >= EVERY || recorder.log.is_half_used()
}

fn flush(recorder: &Recorder) {
    let flushed = recorder.memory.flush(&recorder.log);
    recorder.log.set_store_failing(flushed.is_err());
    if let Err(error) = flushed
        && LOG_LIMITS.allows("memory.not-written", "", monotonic_now())
    {
        tracing::error!(
            event = "memory.not-written",
            %error,
            "the memory of plugins cannot be written to its file; nothing is lost as long as the \
             write-ahead log has room: check the log's disk"
        );
    }
}

/// How often the thread looks.
const ROUND: Duration = Duration::from_millis(100);

/// How often memory is written at least, where anything has changed. Until then its changes are in
/// the write-ahead log.
const EVERY: Duration = Duration::from_secs(1);

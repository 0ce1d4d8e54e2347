//! The thread that looks at the break-glass folder, ends what is over and appends what happened.
//!
//! Invariant: it goes on whatever becomes of the log, the network and the folder.

use std::sync::Arc;
use std::time::Duration;

use crate::error::StartError;
use crate::fs::file_worker::POLL_LIMIT;
use crate::state::host::Host;
use crate::worker::Worker;

/// The thread.
pub struct BreakGlassThread(Worker);

impl BreakGlassThread {
    /// Starts the thread.
    pub fn start(host: &Arc<Host>) -> Result<Self, StartError> {
        let host = Arc::clone(host);
        let worker = Worker::spawn("break-glass", move |stop| {
            while !stop.is_set() {
                host.health.break_glass_beat.beat();
                // The folder may take its time: the state that decides is taken after it.
                let folder = host.config.trust.break_glass.clone();
                let polled =
                    host.trust.break_glass.poll(&host.files.break_glass, POLL_LIMIT, folder);
                host.trust.break_glass.tick(&host.break_glass_context(), polled, false);
                stop.sleep(ROUND);
            }
            host.trust.break_glass.tick(&host.break_glass_context(), None, true);
            host.trust.break_glass.write_use(&host.break_glass_context());
        });
        worker.map(Self)
    }

    /// Ends it, after a last round.
    pub fn stop(self) {
        self.0.stop();
    }
}

/// How often it goes round.
const ROUND: Duration = Duration::from_millis(250);

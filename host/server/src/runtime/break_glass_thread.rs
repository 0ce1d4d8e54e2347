//! The thread that looks at the break-glass folder, ends what is over and appends what happened.
//!
//! Invariant: it goes on whatever becomes of the log, the network and the folder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::StartError;
use crate::fs::file_worker::POLL_LIMIT;
use crate::state::host::Host;

/// The thread.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts the thread.
    pub fn start(host: &Arc<Host>) -> Result<Self, StartError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (host, theirs) = (Arc::clone(host), Arc::clone(&stop));
        let run = move || {
            while !theirs.load(Ordering::Acquire) {
                host.break_glass_beat.beat();
                // The folder may take its time: the state that decides is taken after it.
                let folder = host.config.trust.break_glass.clone();
                let polled = host.break_glass.poll(&host.files.break_glass, POLL_LIMIT, folder);
                host.break_glass.tick(&host.break_glass_context(), polled, false);
                thread::park_timeout(ROUND);
            }
            host.break_glass.tick(&host.break_glass_context(), None, true);
            host.break_glass.write_use(&host.break_glass_context());
        };
        let thread = thread::Builder::new()
            .name("break-glass".to_owned())
            .spawn(run)
            .map_err(StartError::Thread)?;
        Ok(Self { stop, thread })
    }

    /// Ends it, after a last round.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        drop(self.thread.join());
    }
}

/// How often it goes round.
const ROUND: Duration = Duration::from_millis(250);

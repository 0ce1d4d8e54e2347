//! The state copy: the trust state and the head of the log, in a folder on another disk or machine.
//!
//! Invariant: written by a thread of its own, newest first, so that a folder that hangs delays
//! neither a call nor a revocation; a copy that could not be written is said once, and tried again
//! with the next. Read once, at the start, by `trust::state`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::trust::persisted::write_durably;

/// The writing end of a state copy.
pub struct StateCopy {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The content to write: the trust state, and the log's head for outside readers.
    next: Option<(Vec<u8>, String)>,
    submitted: u64,
    written: u64,
    ended: bool,
}

impl StateCopy {
    /// Starts its thread.
    pub fn start(folder: PathBuf) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        // This is not a `Worker`: its folder may hang, so nothing waits for the end of the thread.
        thread::Builder::new()
            .name("state-copy".to_owned())
            .spawn(move || write(&theirs, &folder))?;
        Ok(Self { shared })
    }

    /// Hands a copy over. One that is still waiting is replaced: only the newest counts.
    pub fn submit(&self, memory: Vec<u8>, head: String) {
        let mut state = self.shared.state();
        state.next = Some((memory, head));
        state.submitted += 1;
        self.shared.changed.notify_all();
    }

    /// Waits a moment until what was handed over is there. Says whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let state = self.shared.state();
        let given = state.submitted;
        let waited =
            self.shared.changed.wait_timeout_while(state, limit, |state| state.written < given);
        waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state).written >= given
    }
}

impl Drop for StateCopy {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(shared: &Shared, folder: &Path) {
    let mut failing = false;
    loop {
        let (copy, given) = {
            let state = shared.state();
            let waited =
                shared.changed.wait_while(state, |state| state.next.is_none() && !state.ended);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(copy) = state.next.take() else { return };
            (copy, state.submitted)
        };
        let (memory, head) = copy;
        let written = write_durably(&folder.join(STATE_FILE), &memory)
            .and_then(|()| write_durably(&folder.join(HEAD), head.as_bytes()));
        match written {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(
                        folder = %folder.display(),
                        event = "state-copy.resumed",
                        "the host writes the state copy again"
                    );
                }
                shared.state().written = given;
                shared.changed.notify_all();
            }
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::error!(
                    %error,
                    folder = %folder.display(),
                    event = "state-copy.unwritable",
                    "the state copy cannot be written, so the host could not detect a restored \
                     backup; check its folder"
                );
            }
            Err(_) => {}
        }
    }
}

/// The memory's file, here and in the host's own folder.
pub const STATE_FILE: &str = "memory";
/// The log's head, for whoever looks in from outside.
const HEAD: &str = "checkpoint";

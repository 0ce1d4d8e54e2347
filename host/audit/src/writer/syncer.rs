//! The syncer: where commits go to the kernel only, it makes them durable a little later.
//!
//! Invariant: a sync that fails ends the log for good. Gives no receipt.

use std::sync::PoisonError;
use std::time::Duration;

use super::{Shared, State};

/// The syncer of `Commit::Kernel`: makes durable, a little later, what was written.
pub(crate) fn sync(shared: &Shared) {
    loop {
        let mut state = shared.state();
        while !state.unsynced && !state.writer_ended && state.failed.is_none() {
            state = shared.written.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Gather for a while, unless the log is ending.
        let gathered = |state: &mut State| !state.writer_ended && state.failed.is_none();
        let waited = shared.written.wait_timeout_while(state, KERNEL_SYNC, gathered);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let ending = state.writer_ended || state.failed.is_some();
        state.unsynced = false;
        drop(state);
        if let Err(error) = shared.durable.sync() {
            shared.fail("the write-ahead log could not be synced", &error);
            return;
        }
        if ending {
            return;
        }
    }
}

/// With `Commit::Kernel`, what a power loss can take.
const KERNEL_SYNC: Duration = Duration::from_millis(50);

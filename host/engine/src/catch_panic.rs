//! A fence around libraries that panic on components they do not support.
//!
//! Invariant: whatever bytes an operator hands in, the process goes on; what panicked is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; `None` where it panicked. Nothing that `work` touched is used again after a panic.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

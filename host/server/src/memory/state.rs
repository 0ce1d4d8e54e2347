//! The state of the file of memory, and the calls that were evaluated again.
//!
//! Invariant: bounded. A plugin is counted only while it has a memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_store::memory::{MAX_NAMESPACES, NamespaceName};

use crate::clock::{elapsed_since, monotonic_now};

/// The last writes of the file.
#[derive(Clone, Debug, Default)]
pub struct FlushState {
    /// How long the last write took that succeeded; `None` before the first.
    pub took: Option<Duration>,
    /// The time since it.
    pub age: Option<Duration>,
    /// Why the file cannot be written, if the last write failed.
    pub problem: Option<String>,
}

/// What is known of the file and of conflicts.
#[derive(Default)]
pub(super) struct MemoryState {
    file: Mutex<File>,
    conflicts: Mutex<BTreeMap<NamespaceName, u64>>,
}

#[derive(Default)]
struct File {
    took: Option<Duration>,
    written: Option<Instant>,
    problem: Option<String>,
}

impl MemoryState {
    pub(super) fn flush(&self) -> FlushState {
        let file = lock(&self.file);
        FlushState {
            took: file.took,
            age: file.written.map(elapsed_since),
            problem: file.problem.clone(),
        }
    }

    pub(super) fn written(&self, took: Duration) {
        *lock(&self.file) =
            File { took: Some(took), written: Some(monotonic_now()), problem: None };
    }

    pub(super) fn not_written(&self, problem: String) {
        lock(&self.file).problem = Some(problem);
    }

    pub(super) fn add_conflict(&self, name: &NamespaceName) {
        let mut conflicts = lock(&self.conflicts);
        if let Some(count) = conflicts.get_mut(name) {
            *count = count.saturating_add(1);
        } else if conflicts.len() < MAX_NAMESPACES {
            conflicts.insert(name.clone(), 1);
        }
    }

    pub(super) fn conflicts(&self, name: &NamespaceName) -> u64 {
        lock(&self.conflicts).get(name).copied().unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

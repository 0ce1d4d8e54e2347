//! Tests of memory as a whole: against a model, under threads, over crashes, and limit by limit.

mod crashes;
mod disk_view;
mod limits;
mod model;
mod threads;

use std::sync::{Arc, Mutex};

use portcullis_keys::SymmetricKey;

use super::backend::{Backend, Batch, RowVisitor, Stored};
use super::error::BackendError;
use super::*;

const NOW: u64 = 1_800_000_000_000;
const DAY: u32 = 86_400;

/// A view in RAM, which outlives the memory that writes it, and fails when told so.
#[derive(Clone, Default)]
struct FailingView {
    view: RamView,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    /// Commits that still succeed; `None`: all.
    left: Option<usize>,
    /// Runs before each commit, once.
    hook: Option<Box<dyn FnOnce() + Send>>,
}

impl FailingView {
    fn open(&self) -> (Memory, Opened) {
        Memory::with_backend(Box::new(self.clone()), &key()).unwrap()
    }

    fn fail_after(&self, commits: Option<usize>) {
        self.faults.lock().unwrap().left = commits;
    }
}

impl Backend for FailingView {
    fn stored(&self) -> Result<Stored, BackendError> {
        self.view.stored()
    }

    fn rows(&self, row: &mut RowVisitor<'_>) -> Result<(), BackendError> {
        self.view.rows(row)
    }

    fn commit(&self, batch: &Batch) -> Result<(), BackendError> {
        if let Some(hook) = { self.faults.lock().unwrap().hook.take() } {
            hook();
        }
        if let Some(left) = &mut self.faults.lock().unwrap().left {
            let why = "no room".to_owned();
            *left = left.checked_sub(1).ok_or(BackendError::Disk { path: "ram".into(), why })?;
        }
        self.view.commit(batch)
    }
}

fn key() -> SymmetricKey {
    SymmetricKey::from_bytes([9; 32])
}

fn name(plugin: &str) -> NamespaceName {
    NamespaceName::new("north", plugin, "live").unwrap()
}

fn fresh() -> (Memory, Namespace) {
    let memory = FailingView::default().open().0;
    let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
    (memory, namespace)
}

/// Sequences and confirms changes at the next place.
fn commit(memory: &Memory, changes: &Changes) -> u64 {
    let position = memory.applied();
    memory.sequence(changes, || Ok::<_, ()>((position, ()))).unwrap();
    memory.confirm_before(position + 1);
    position
}

/// Runs a call to its end.
fn call<T>(
    memory: &Memory,
    namespace: &Namespace,
    subject: &str,
    now: u64,
    work: impl FnOnce(&mut Transaction) -> T,
) -> T {
    let mut transaction = memory.begin(namespace, Some(subject), now);
    let result = work(&mut transaction);
    commit(memory, &transaction.finish().unwrap());
    result
}

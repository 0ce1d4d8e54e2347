//! Tests of memory as a whole: against a model, under threads, over crashes, and limit by limit.

mod crashes;
mod disk_view;
mod limits;
mod model;
mod threads;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use portcullis_keys::SymmetricKey;

use super::backend::{Backend, Batch, RowChange, RowVisitor, Stored};
use super::error::BackendError;
use super::keys::WrappedKey;
use super::names::RowKey;
use super::*;

const NOW: u64 = 1_800_000_000_000;
const DAY: u32 = 86_400;

/// A view in RAM, which outlives the memory that writes it, and fails when told so.
#[derive(Clone, Default)]
struct RamView(Arc<Mutex<RamState>>);

#[derive(Default)]
struct RamState {
    stored: Stored,
    rows: BTreeMap<RowKey, (WrappedKey, Vec<u8>)>,
    /// Commits that still succeed; `None`: all.
    left: Option<usize>,
    /// Runs before each commit, once.
    hook: Option<Box<dyn FnOnce() + Send>>,
}

impl RamView {
    fn open(&self) -> (Memory, Opened) {
        Memory::with_backend(Box::new(self.clone()), &key()).unwrap()
    }

    fn fail_after(&self, commits: Option<usize>) {
        self.0.lock().unwrap().left = commits;
    }
}

impl Backend for RamView {
    fn stored(&self) -> Result<Stored, BackendError> {
        Ok(self.0.lock().unwrap().stored.clone())
    }

    fn rows(&self, row: &mut RowVisitor<'_>) -> Result<(), BackendError> {
        self.0
            .lock()
            .unwrap()
            .rows
            .iter()
            .try_for_each(|(name, (key, sealed))| row(name, key, sealed))
    }

    fn commit(&self, batch: &Batch) -> Result<(), BackendError> {
        if let Some(hook) = { self.0.lock().unwrap().hook.take() } {
            hook();
        }
        let mut state = self.0.lock().unwrap();
        if let Some(left) = &mut state.left {
            let why = "no room".to_owned();
            *left = left.checked_sub(1).ok_or(BackendError::Disk { path: "ram".into(), why })?;
        }
        let found = state.stored.version;
        if found != batch.expected {
            return Err(BackendError::VersionMoved { expected: batch.expected, found });
        }
        let mut namespaces = state.stored.namespaces.clone();
        namespaces.extend(batch.namespaces.iter().cloned());
        let (version, applied) = (found + 1, batch.applied);
        state.stored = Stored { version, applied, key_check: batch.key_check.clone(), namespaces };
        for (name, change) in &batch.rows {
            match change {
                RowChange::Put { key, sealed } => {
                    let stored = state.rows.get(name).map(|(key, _)| *key);
                    let key = key.or(stored).expect("a row has a key");
                    state.rows.insert(*name, (key, sealed.clone()));
                }
                RowChange::Delete => {
                    state.rows.remove(name);
                }
            }
        }
        Ok(())
    }
}

fn key() -> SymmetricKey {
    SymmetricKey::from_bytes([9; 32])
}

fn name(plugin: &str) -> NamespaceName {
    NamespaceName::new("north", plugin, "live").unwrap()
}

fn fresh() -> (Memory, Namespace) {
    let memory = RamView::default().open().0;
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

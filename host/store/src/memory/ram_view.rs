//! A view in RAM, for memory that ends with its process: test suites, and calls by hand.
//!
//! Invariant: it holds what was committed, as a view on disk does, for as long as one handle of it
//! lives. Nothing of it reaches a disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backend::{Backend, Batch, RowChange, RowVisitor, Stored};
use super::error::BackendError;
use super::keys::WrappedKey;
use super::names::RowKey;

/// A view in RAM. Cloning gives another handle of the same.
#[derive(Clone, Default)]
pub struct RamView(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    stored: Stored,
    rows: BTreeMap<RowKey, (WrappedKey, Vec<u8>)>,
}

impl RamView {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for RamView {
    fn stored(&self) -> Result<Stored, BackendError> {
        Ok(self.content().stored.clone())
    }

    fn rows(&self, row: &mut RowVisitor<'_>) -> Result<(), BackendError> {
        self.content().rows.iter().try_for_each(|(name, (key, sealed))| row(name, key, sealed))
    }

    fn commit(&self, batch: &Batch) -> Result<(), BackendError> {
        let mut content = self.content();
        let found = content.stored.version;
        if found != batch.expected {
            return Err(BackendError::VersionMoved { expected: batch.expected, found });
        }
        let mut rows = Vec::new();
        for (name, change) in &batch.rows {
            let RowChange::Put { key, sealed } = change else {
                rows.push((*name, None));
                continue;
            };
            let stored = || content.rows.get(name).map(|(key, _)| *key);
            let key = key.or_else(stored);
            let key = key.ok_or_else(|| BackendError::Corrupt("a row without a key".to_owned()))?;
            rows.push((*name, Some((key, sealed.clone()))));
        }
        for (name, row) in rows {
            match row {
                Some(row) => drop(content.rows.insert(name, row)),
                None => drop(content.rows.remove(&name)),
            }
        }
        content.stored.version = found + 1;
        content.stored.applied = batch.applied;
        content.stored.key_check.clone_from(&batch.key_check);
        content.stored.namespaces.extend(batch.namespaces.iter().cloned());
        Ok(())
    }
}

//! Writing what has changed to the disk view.
//!
//! Invariant: a flush writes each changed cell as it then is, and at last the place of the log
//! before which all changes are in what it wrote. The flush after one that failed
//! writes what that one did not. Calls go on during a flush.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use super::backend::{Batch, RowChange, Stored};
use super::error::FlushError;
use super::keys::Purpose;
use super::limits::MAX_ROWS_PER_COMMIT;
use super::names::{CellId, NamespaceId};
use super::space::{SWEEP_PLACES, Space};
use super::store::{Inner, Memory};

/// The result of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Cells.
    pub cells: u64,
    /// Cells of which something had expired, out of the part that this flush looked at.
    pub expired: u64,
    /// The place of the log before which all changes are stored: the log needs to keep the changes
    /// from it on.
    pub applied: u64,
}

/// The content of the disk view, as far as it is known.
pub(super) struct Flushing {
    version: u64,
    applied: u64,
    namespaces: HashSet<NamespaceId>,
    sweep: usize,
}

impl Flushing {
    pub(super) fn new(stored: &Stored) -> Self {
        Self {
            version: stored.version,
            applied: stored.applied,
            namespaces: stored.namespaces.iter().map(|(id, _)| *id).collect(),
            sweep: 0,
        }
    }
}

impl Memory {
    /// Writes what has changed to the disk view, and drops what has expired by `now` (milliseconds
    /// since 1970) from the next part of memory: all of it is looked at within 512 flushes. Calls
    /// go on meanwhile.
    ///
    /// # Errors
    /// The disk refused. The next flush tries again.
    pub fn flush(&self, now: u64) -> Result<Flushed, FlushError> {
        let mut flushing = self.inner.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        // All before this place is in the cells by now. Later changes may get into them while they
        // are written, and each cell says which.
        let applied = self.inner.sequencer().applied();
        let spaces = self.inner.all_spaces();
        let mut expired = 0;
        for space in &spaces {
            expired += space.sweep(flushing.sweep, now);
        }
        flushing.sweep = (flushing.sweep + 1) % SWEEP_PLACES;
        let mut dirty = Vec::new();
        spaces.iter().for_each(|space| space.take_dirty(&mut dirty));
        let written = self.inner.write(&mut flushing, &spaces, &dirty, applied);
        if let Err(error) = written {
            let by_id: HashMap<_, _> = spaces.iter().map(|space| (space.id, space)).collect();
            for (cell, new_key) in &dirty {
                if let Some(space) = by_id.get(&cell.namespace) {
                    space.write_again(cell, *new_key);
                }
            }
            return Err(error);
        }
        Ok(Flushed { cells: dirty.len() as u64, expired, applied })
    }
}

impl Inner {
    /// Writes rows, in batches. Only the last one says that all before `applied` is stored.
    fn write(
        &self,
        flushing: &mut Flushing,
        spaces: &[Arc<Space>],
        dirty: &[(CellId, bool)],
        applied: u64,
    ) -> Result<(), FlushError> {
        let by_id: HashMap<_, _> = spaces.iter().map(|space| (space.id, space)).collect();
        let new_spaces: Vec<_> =
            spaces.iter().filter(|space| !flushing.namespaces.contains(&space.id)).collect();
        if dirty.is_empty() && new_spaces.is_empty() && applied == flushing.applied {
            return Ok(());
        }
        let encoded = |space: &&Arc<Space>| {
            let mut name = Vec::new();
            space.name.write(&mut name);
            (space.id, name)
        };
        let mut namespaces: Vec<_> = new_spaces.iter().map(encoded).collect();
        let mut chunks = dirty.chunks(MAX_ROWS_PER_COMMIT).peekable();
        let mut is_first = true;
        while is_first || chunks.peek().is_some() {
            let mut rows = Vec::new();
            for (cell, new_key) in chunks.next().unwrap_or_default() {
                let Some(space) = by_id.get(&cell.namespace) else { continue };
                rows.push((cell.to_bytes(), self.row(space, cell, *new_key)?));
            }
            let is_last = chunks.peek().is_none();
            let batch = Batch {
                expected: flushing.version,
                applied: if is_last { applied } else { flushing.applied },
                key_check: self.keys.check().to_vec(),
                namespaces: std::mem::take(&mut namespaces),
                rows,
            };
            self.backend.commit(&batch)?;
            flushing.version += 1;
            flushing.namespaces.extend(batch.namespaces.iter().map(|(id, _)| *id));
            flushing.applied = batch.applied;
            is_first = false;
        }
        Ok(())
    }

    fn row(&self, space: &Space, cell: &CellId, new_key: bool) -> Result<RowChange, FlushError> {
        let Some(row) = space.row(cell) else { return Ok(RowChange::Delete) };
        let sealed = row.key.seal(cell, Purpose::Row, &row.body)?;
        let is_new = new_key || row.new_key;
        let key = if is_new { Some(self.keys.wrap(cell, &row.key)?) } else { None };
        Ok(RowChange::Put { key, sealed })
    }
}

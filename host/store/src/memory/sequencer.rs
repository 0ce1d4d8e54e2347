//! The order of changes: given a place in the log, durable, applied.
//!
//! Invariant: changes are applied in the order of the log, and the place before which all are
//! applied only grows. Changes of a place that was given up are never applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::StageError;
use super::names::CellId;
use super::space::Space;

/// Changes that have a place in the log and are not applied yet.
#[derive(Default)]
pub(super) struct Sequencer {
    staged: BTreeMap<u64, Staged>,
    applied: u64,
    life: u64,
}

/// Where changes of one record lie.
struct Staged {
    cells: Vec<(Arc<Space>, CellId)>,
    confirmed: bool,
}

impl Sequencer {
    pub(super) fn new(applied: u64) -> Self {
        Self { applied, ..Self::default() }
    }

    /// The place of the log before which all changes are applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Grows with each place that is given up.
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    /// Number of records whose changes are not applied yet.
    pub(super) fn waiting(&self) -> usize {
        self.staged.len()
    }

    pub(super) fn check(&self, position: u64) -> Result<(), StageError> {
        let last = self.staged.last_key_value().map(|(last, _)| *last);
        match last {
            Some(last) if position <= last => Err(StageError::OutOfOrder { position, last }),
            _ if position < self.applied => {
                Err(StageError::OutOfOrder { position, last: self.applied })
            }
            _ => Ok(()),
        }
    }

    /// Notes where the changes of a place lie, which was checked.
    pub(super) fn stage(&mut self, position: u64, cells: Vec<(Arc<Space>, CellId)>) {
        self.staged.insert(position, Staged { cells, confirmed: false });
    }

    pub(super) fn confirm(&mut self, position: u64) {
        if let Some(staged) = self.staged.get_mut(&position) {
            staged.confirmed = true;
        }
        self.drain();
    }

    /// Confirms all before `end`, and notes that the log has no others before it.
    pub(super) fn confirm_before(&mut self, end: u64) {
        self.staged.range_mut(..end).for_each(|(_, staged)| staged.confirmed = true);
        self.drain();
        self.applied = self.applied.max(end);
    }

    /// Voids the changes of one place, whose record stays in the log and is confirmed like others.
    /// Says whether they were still waiting: what is applied stays.
    pub(super) fn abandon(&mut self, position: u64) -> bool {
        let Some(staged) = self.staged.get_mut(&position) else { return false };
        discard(position, &std::mem::take(&mut staged.cells));
        self.life += 1;
        true
    }

    /// Gives up all places from this one on: the log gives them anew.
    pub(super) fn abandon_from(&mut self, position: u64) {
        for (position, staged) in self.staged.split_off(&position) {
            discard(position, &staged.cells);
        }
        // Even where nothing was staged: a place that is given anew is another record's.
        self.life += 1;
    }

    /// Applies what is confirmed, up to the first that is not.
    fn drain(&mut self) {
        while let Some(first) = self.staged.first_entry().filter(|first| first.get().confirmed) {
            let (position, staged) = first.remove_entry();
            for (space, cell) in &staged.cells {
                space.settle(cell, position, true);
            }
            self.applied = self.applied.max(position.saturating_add(1));
        }
    }
}

fn discard(position: u64, cells: &[(Arc<Space>, CellId)]) {
    for (space, cell) in cells {
        space.settle(cell, position, false);
    }
}

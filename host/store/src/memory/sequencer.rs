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
    /// All before this place is durable.
    durable: u64,
}

/// The cells that one record changes.
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

    /// Confirms one place. [`Sequencer::drain`] then applies it.
    pub(super) fn confirm(&mut self, position: u64) {
        if let Some(staged) = self.staged.get_mut(&position) {
            staged.confirmed = true;
        }
    }

    /// Confirms all before `end`: the log has no other changes before it.
    pub(super) fn confirm_before(&mut self, end: u64) {
        self.staged.range_mut(..end).for_each(|(_, staged)| staged.confirmed = true);
        self.durable = self.durable.max(end);
    }

    /// Voids the changes of one place, whose record stays in the log and is confirmed like others.
    /// Says whether they were still waiting: what is applied stays.
    pub(super) fn abandon(&mut self, position: u64) -> bool {
        let Some(staged) = self.staged.get_mut(&position) else { return false };
        discard(position, &std::mem::take(&mut staged.cells));
        true
    }

    /// Gives up all places from this one on: the log gives them anew.
    pub(super) fn abandon_from(&mut self, position: u64) {
        for (position, staged) in self.staged.split_off(&position) {
            discard(position, &staged.cells);
        }
    }

    /// Applies what is confirmed, up to the first that is not, and so many records at most. Says
    /// whether that was all.
    pub(super) fn drain(&mut self, records: usize) -> bool {
        for _ in 0..records {
            let Some(first) = self.staged.first_entry().filter(|first| first.get().confirmed)
            else {
                break;
            };
            let (position, staged) = first.remove_entry();
            for (space, cell) in &staged.cells {
                space.settle(cell, position, true);
            }
            self.applied = self.applied.max(position.saturating_add(1));
        }
        let first = self.staged.first_key_value();
        // Nothing is staged before the end of what is durable once all of that is applied.
        if first.is_none_or(|(position, _)| *position >= self.durable) {
            self.applied = self.applied.max(self.durable);
        }
        !first.is_some_and(|(_, staged)| staged.confirmed)
    }
}

fn discard(position: u64, cells: &[(Arc<Space>, CellId)]) {
    for (space, cell) in cells {
        space.settle(cell, position, false);
    }
}

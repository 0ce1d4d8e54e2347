//! What one instance has while it lives: how much memory it may still take, and the notes it took.
//!
//! Invariant: both are bounded, and running into a bound ends the instance with a fault that names it.

use std::time::Duration;

use wasmtime::{Engine, ResourceLimiter, Result, Store};

use crate::bindings::portcullis::policy::{journal, types};
use crate::fault::Fault;
use crate::sandbox::{CORE_INSTANCES, MEMORIES, TABLES};
use crate::ticker;

/// The data of a store.
pub(crate) struct StoreState {
    memory_left: u64,
    note_bytes_left: usize,
    notes: Vec<String>,
}

impl StoreState {
    /// An empty room.
    pub(crate) fn new(memory_bytes: u64, note_bytes: usize) -> Self {
        Self { memory_left: memory_bytes, note_bytes_left: note_bytes, notes: Vec::new() }
    }

    /// What it may still take, bytes.
    pub(crate) fn memory_left(&self) -> u64 {
        self.memory_left
    }

    /// The notes taken so far, in their order.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

impl journal::Host for StoreState {
    fn note(&mut self, message: String) -> Result<()> {
        let left = self
            .note_bytes_left
            .checked_sub(message.len())
            .filter(|_| self.notes.len() < MAX_NOTES);
        self.note_bytes_left = left.ok_or(Fault::Output)?;
        self.notes.push(message);
        Ok(())
    }
}

impl types::Host for StoreState {}

impl ResourceLimiter for StoreState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        // All memories of an instance share one allowance.
        let more = u64::try_from(desired.saturating_sub(current))?;
        self.memory_left = self.memory_left.checked_sub(more).ok_or(Fault::Memory)?;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        Err(Fault::Memory.into())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(maximum.is_none_or(|most| desired <= most))
    }

    fn instances(&self) -> usize {
        usize::try_from(CORE_INSTANCES).unwrap_or(usize::MAX)
    }

    fn tables(&self) -> usize {
        usize::try_from(TABLES).unwrap_or(usize::MAX)
    }

    fn memories(&self) -> usize {
        usize::try_from(MEMORIES).unwrap_or(usize::MAX)
    }
}

/// An empty store with its deadline set: before instantiation, because that runs guest code too.
pub(crate) fn store(
    engine: &Engine,
    memory_bytes: u64,
    output_bytes: u32,
    allowance: Duration,
) -> Store<StoreState> {
    let output_bytes = usize::try_from(output_bytes).unwrap_or(usize::MAX);
    let mut store = Store::new(engine, StoreState::new(memory_bytes, output_bytes));
    store.limiter(|room| room);
    store.set_hostcall_fuel(output_bytes);
    store.set_max_component_handles(0);
    store.set_epoch_deadline(ticker::ticks(allowance));
    store
}

/// Most notes one instance may take; the bytes of all of them together are bounded by its output limit.
const MAX_NOTES: usize = 64;

//! The state of one instance: the memory that it may still take, its notes, and the host functions
//! that it may use.
//!
//! Invariant: memory and notes are bounded, and running into a bound ends the instance with a fault
//! that names it. A function of an interface that the call was not given ends it too.

use std::time::Duration;

use portcullis_model::Attribute;
use wasmtime::{Engine, ResourceLimiter, Result, Store};

use crate::bindings::portcullis::policy::{journal, memory, reference, types};
use crate::fault::Fault;
use crate::host_functions::{
    CallServices, Count, HostFunctionError, HostFunctions, Scope, SubjectMatch, TableRows,
};
use crate::sandbox::{CORE_INSTANCES, MEMORIES, TABLES};
use crate::ticker;

/// The data of a store.
pub(crate) struct StoreState {
    memory_left: u64,
    note_bytes_left: usize,
    notes: Vec<String>,
    services: CallServices,
}

impl StoreState {
    /// An empty room.
    pub(crate) fn new(memory_bytes: u64, note_bytes: usize, services: CallServices) -> Self {
        Self { memory_left: memory_bytes, note_bytes_left: note_bytes, notes: Vec::new(), services }
    }

    /// What it may still take, bytes.
    pub(crate) fn memory_left(&self) -> u64 {
        self.memory_left
    }

    /// Gives it the host functions of a call.
    pub(crate) fn serve(&mut self, services: CallServices) {
        self.services = services;
    }

    /// The notes taken so far, in their order.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

impl StoreState {
    /// The host functions, where this call has them.
    fn functions(&self, interface: &'static str) -> Result<&dyn HostFunctions, Fault> {
        let functions = self.services.functions.as_deref();
        functions.ok_or_else(|| HostFunctionError::Undeclared(interface).into())
    }

    fn counted(
        &self,
        scope: memory::Scope,
        key: &str,
        window_seconds: u32,
        question: Count<'_>,
    ) -> Result<u32> {
        let functions = self.functions(MEMORY)?;
        let counted = functions.count(lift_scope(scope), key, window_seconds, question);
        Ok(counted.map_err(Fault::from)?)
    }
}

impl reference::Host for StoreState {
    fn lookup(&mut self, table: String, key: String) -> Result<reference::TableRows> {
        let found = self.functions(REFERENCE)?.lookup(&table, &key).map_err(Fault::from)?;
        let TableRows { rows, version, stale } = found;
        Ok(reference::TableRows { rows: lower_rows(rows), version, stale })
    }

    fn lookup_subject(&mut self, table: String) -> Result<reference::SubjectRows> {
        let found = self.functions(REFERENCE)?.lookup_subject(&table).map_err(Fault::from)?;
        let (matched, TableRows { rows, version, stale }) = found;
        let matched = match matched {
            SubjectMatch::None => reference::SubjectMatch::None,
            SubjectMatch::One => reference::SubjectMatch::One,
            SubjectMatch::Several => reference::SubjectMatch::Several,
        };
        Ok(reference::SubjectRows { matched, rows: lower_rows(rows), version, stale })
    }
}

impl memory::Host for StoreState {
    fn recall(&mut self, scope: memory::Scope, key: String) -> Result<Option<Vec<u8>>> {
        let recalled = self.functions(MEMORY)?.recall(lift_scope(scope), &key);
        Ok(recalled.map_err(Fault::from)?)
    }

    fn remember(
        &mut self,
        scope: memory::Scope,
        key: String,
        value: Vec<u8>,
        ttl_seconds: u32,
    ) -> Result<()> {
        let functions = self.functions(MEMORY)?;
        let remembered = functions.remember(lift_scope(scope), &key, value, ttl_seconds);
        Ok(remembered.map_err(Fault::from)?)
    }

    fn forget(&mut self, scope: memory::Scope, key: String) -> Result<()> {
        let forgotten = self.functions(MEMORY)?.forget(lift_scope(scope), &key);
        Ok(forgotten.map_err(Fault::from)?)
    }

    fn count(&mut self, scope: memory::Scope, key: String, window_seconds: u32) -> Result<u32> {
        self.counted(scope, &key, window_seconds, Count::Read)
    }

    fn tally(&mut self, scope: memory::Scope, key: String, window_seconds: u32) -> Result<u32> {
        self.counted(scope, &key, window_seconds, Count::Add)
    }

    fn count_distinct(
        &mut self,
        scope: memory::Scope,
        key: String,
        window_seconds: u32,
    ) -> Result<u32> {
        self.counted(scope, &key, window_seconds, Count::ReadDistinct)
    }

    fn tally_distinct(
        &mut self,
        scope: memory::Scope,
        key: String,
        member: String,
        window_seconds: u32,
    ) -> Result<u32> {
        self.counted(scope, &key, window_seconds, Count::AddDistinct(&member))
    }
}

impl journal::Host for StoreState {
    fn note(&mut self, message: String) -> Result<()> {
        if !self.services.journal {
            return Err(Fault::from(HostFunctionError::Undeclared(JOURNAL)).into());
        }
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

fn lift_scope(scope: memory::Scope) -> Scope {
    match scope {
        memory::Scope::Subject => Scope::Subject,
        memory::Scope::Shared => Scope::Shared,
    }
}

fn lower_rows(rows: Vec<Vec<Attribute>>) -> Vec<reference::Row> {
    let lowered = |attribute: Attribute| types::AttributeResult {
        name: attribute.name.to_string(),
        value: attribute.value.to_string(),
    };
    let row = |columns: Vec<Attribute>| columns.into_iter().map(lowered).collect();
    rows.into_iter().map(|columns| reference::Row { columns: row(columns) }).collect()
}

/// An empty store with its deadline set: before instantiation, because that runs guest code too.
pub(crate) fn store(
    engine: &Engine,
    memory_bytes: u64,
    output_bytes: u32,
    allowance: Duration,
    services: CallServices,
) -> Store<StoreState> {
    let output_bytes = usize::try_from(output_bytes).unwrap_or(usize::MAX);
    let mut store = Store::new(engine, StoreState::new(memory_bytes, output_bytes, services));
    store.limiter(|room| room);
    store.set_hostcall_fuel(output_bytes);
    store.set_max_component_handles(0);
    store.set_epoch_deadline(ticker::ticks(allowance));
    store
}

const JOURNAL: &str = "journal";

const MEMORY: &str = "memory";

const REFERENCE: &str = "reference";

/// Most notes one instance may take; the bytes of all of them together are bounded by its output limit.
const MAX_NOTES: usize = 64;

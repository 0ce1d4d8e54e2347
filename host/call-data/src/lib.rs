//! The host functions of one run of one call: look-ups in reference tables, memory, and the log of
//! both that the record keeps.
//!
//! Invariant: a run sees one version of every table and the memory of its own binding alone, and
//! everything that it was told is in its [`ReadLog`], so that the run can be repeated from the
//! record. What it changes is handed over with the log, and nothing of it is visible before. Where
//! a run is abandoned, whoever waited for it takes both, and the run can do no more.

mod memory;
mod read_log;
mod run;
mod tables;

use portcullis_engine::{Count, HostFunctionError, HostFunctions, Scope, SubjectMatch, TableRows};
use portcullis_model::{Call, Reads};
use portcullis_store::memory::Transaction;
use portcullis_trust::{Capability, Manifest};

pub use read_log::{Denial, DenialReason, LookUp, MAX_READ_BYTES, ReadLog};
pub use run::{DataAccess, RunData, SharedRun, timestamp};

use memory::CallMemory;
use tables::CallTables;

/// The host functions of one run.
pub struct CallData {
    tables: CallTables,
    memory: CallMemory,
    run: SharedRun,
}

impl CallData {
    /// Returns the host functions that a manifest requests; `None` where it requests neither
    /// tables nor memory. `memory` is that of the plugin's binding, at the beginning of the run.
    /// `run`, which is emptied, gets what the run reads and changes.
    pub fn new(
        access: &DataAccess,
        manifest: &Manifest,
        call: &Call,
        memory: Option<Transaction>,
        run: &SharedRun,
    ) -> Option<Self> {
        let has_memory = manifest.capabilities.contains(&Capability::Memory);
        Self::for_reads(access, &manifest.reads, has_memory, call, memory, run)
    }

    /// The same for a plugin that is tried before there is a manifest of it: one that reads
    /// `reads`, and whose memory is requested where it `has_memory`.
    pub fn for_reads(
        access: &DataAccess,
        reads: &Reads,
        has_memory: bool,
        call: &Call,
        memory: Option<Transaction>,
        run: &SharedRun,
    ) -> Option<Self> {
        if !has_memory && reads.tables().next().is_none() {
            return None;
        }
        *run.data() = RunData { reads: ReadLog::default(), memory };
        let tables = CallTables::new(access, reads, call);
        let memory = CallMemory { is_requested: has_memory, bytes_left: access.bytes_left };
        Some(Self { tables, memory, run: run.clone() })
    }
}

impl HostFunctions for CallData {
    fn lookup(&self, table: &str, key: &str) -> Result<TableRows, HostFunctionError> {
        self.tables.lookup(&mut self.run.data(), table, key)
    }

    fn lookup_subject(&self, table: &str) -> Result<(SubjectMatch, TableRows), HostFunctionError> {
        self.tables.lookup_subject(&mut self.run.data(), table)
    }

    fn recall(&self, scope: Scope, key: &str) -> Result<Option<Vec<u8>>, HostFunctionError> {
        self.memory.recall(&mut self.run.data(), scope, key)
    }

    fn remember(
        &self,
        scope: Scope,
        key: &str,
        value: Vec<u8>,
        ttl_seconds: u32,
    ) -> Result<(), HostFunctionError> {
        self.memory.remember(&mut self.run.data(), scope, key, &value, ttl_seconds)
    }

    fn forget(&self, scope: Scope, key: &str) -> Result<(), HostFunctionError> {
        self.memory.forget(&mut self.run.data(), scope, key)
    }

    fn count(
        &self,
        scope: Scope,
        key: &str,
        window_seconds: u32,
        question: Count<'_>,
    ) -> Result<u32, HostFunctionError> {
        self.memory.count(&mut self.run.data(), scope, key, window_seconds, question)
    }
}

//! The memory that one run sees.
//!
//! Invariant: a run uses the transaction that it began with or none. What it reads of memory counts
//! together with what it reads of tables.

use portcullis_engine::{Count, DataLimit, HostFunctionError, Scope};
use portcullis_store::memory::{self, OperationError, Transaction};

use crate::run::RunData;

/// The memory of one run.
pub(crate) struct CallMemory {
    /// Whether the manifest requests it.
    pub(crate) is_requested: bool,
    /// The bytes that the run may read, of tables and memory together.
    pub(crate) bytes_left: usize,
}

impl CallMemory {
    pub(crate) fn recall(
        &self,
        run: &mut RunData,
        scope: Scope,
        key: &str,
    ) -> Result<Option<Vec<u8>>, HostFunctionError> {
        self.with(run, |memory| memory.recall(scope_of(scope), key.as_bytes()))
    }

    pub(crate) fn remember(
        &self,
        run: &mut RunData,
        scope: Scope,
        key: &str,
        value: &[u8],
        ttl_seconds: u32,
    ) -> Result<(), HostFunctionError> {
        let scope = scope_of(scope);
        self.with(run, |memory| memory.remember(scope, key.as_bytes(), value, ttl_seconds))
    }

    pub(crate) fn forget(
        &self,
        run: &mut RunData,
        scope: Scope,
        key: &str,
    ) -> Result<(), HostFunctionError> {
        self.with(run, |memory| memory.forget(scope_of(scope), key.as_bytes()))
    }

    pub(crate) fn count(
        &self,
        run: &mut RunData,
        scope: Scope,
        key: &str,
        window_seconds: u32,
        question: Count<'_>,
    ) -> Result<u32, HostFunctionError> {
        let (scope, key, window) = (scope_of(scope), key.as_bytes(), window_seconds);
        self.with(run, |memory| match question {
            Count::Read => memory.count(scope, key, window),
            Count::Add => memory.tally(scope, key, window),
            Count::ReadDistinct => memory.count_distinct(scope, key, window),
            Count::AddDistinct(member) => {
                memory.tally_distinct(scope, key, member.as_bytes(), window)
            }
        })
    }

    fn with<T>(
        &self,
        run: &mut RunData,
        operation: impl FnOnce(&mut Transaction) -> Result<T, OperationError>,
    ) -> Result<T, HostFunctionError> {
        if !self.is_requested {
            return Err(HostFunctionError::Undeclared("memory"));
        }
        let memory = run.memory.as_mut().ok_or(HostFunctionError::Unavailable)?;
        let answer = operation(memory).map_err(error)?;
        if run.reads.bytes().saturating_add(memory.read_bytes()) > self.bytes_left {
            return Err(HostFunctionError::Limit(DataLimit::Read));
        }
        Ok(answer)
    }
}

fn scope_of(scope: Scope) -> memory::Scope {
    match scope {
        Scope::Subject => memory::Scope::Subject,
        Scope::Shared => memory::Scope::Shared,
    }
}

fn error(error: OperationError) -> HostFunctionError {
    let limit = match error {
        OperationError::NoSubject => return HostFunctionError::NoSubject,
        OperationError::Key(_) | OperationError::Member(_) => DataLimit::Key,
        OperationError::Value(_) => DataLimit::Value,
        OperationError::Ttl(_) | OperationError::Window(_) => DataLimit::Window,
        OperationError::Reads => DataLimit::Read,
        OperationError::Writes | OperationError::Cells => DataLimit::Changes,
        OperationError::CellFull | OperationError::Quota(_) => DataLimit::Quota,
    };
    HostFunctionError::Limit(limit)
}

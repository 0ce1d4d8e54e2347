//! The data of one run: the tables that it sees, the log of its reads, and its memory.
//!
//! Invariant: what a run has read and changed is taken once, by whoever ends it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portcullis_model::Millis;
use portcullis_store::memory::Transaction;
use portcullis_store::tables::CurrentTables;

use crate::read_log::{MAX_READ_BYTES, ReadLog};

/// The data that the plugins of a call may use.
#[derive(Clone)]
pub struct DataAccess {
    /// One version of every table.
    pub tables: Arc<CurrentTables>,
    /// The bytes that they may still read, of tables and memory together.
    pub bytes_left: usize,
}

impl DataAccess {
    /// These versions, before anything is read.
    pub fn of(tables: Arc<CurrentTables>) -> Self {
        Self { tables, bytes_left: MAX_READ_BYTES }
    }
}

/// The reads and changes of one run.
#[derive(Default)]
pub struct RunData {
    /// Its reads of tables and memory.
    pub reads: ReadLog,
    /// Its memory, where it has one.
    pub memory: Option<Transaction>,
}

/// [`RunData`] while the run goes on. The one that waits for the run has it too.
#[derive(Clone, Default)]
pub struct SharedRun(Arc<Mutex<RunData>>);

impl SharedRun {
    /// Takes the reads and changes so far. A run that is not over can use neither tables nor memory
    /// after that.
    pub fn take(&self) -> RunData {
        let mut data = std::mem::take(&mut *self.data());
        if let Some(memory) = &data.memory {
            data.reads.add_memory(memory.reads());
        }
        data
    }

    pub(crate) fn data(&self) -> MutexGuard<'_, RunData> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A moment as the tables know time.
pub fn timestamp(at: Millis) -> Timestamp {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

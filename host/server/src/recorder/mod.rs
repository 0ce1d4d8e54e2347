//! The audit log as the rest of the host appends to it: records, pseudonyms, salts, and the thread
//! that writes the emergency ring.
//!
//! Invariant: a record is appended once and in order; one that the log cannot take now is kept and
//! appended when the log resumes. Makes no record by itself.

pub mod open_tally;
pub mod pending_records;

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_audit::{AppendError, Entry, Log, Pending, Pseudonym, Pseudonyms};
use portcullis_store::memory::{Changes, Conflict, SequenceError, StageError};
use thiserror::Error;

use crate::clock::{Clock, monotonic_now};
use crate::logging::log_limit::LOG_LIMITS;
use crate::memory::HostMemory;
use crate::recorder::pending_records::PendingRecords;
use crate::worker_pool::WorkerPool;

/// The log and what a record needs.
pub struct Recorder {
    /// The tenant of every pseudonym.
    pub tenant: String,
    /// The log.
    pub log: Log,
    /// The memory of plugins, whose changes records bring.
    pub memory: Arc<HostMemory>,
    /// The clock.
    pub clock: Clock,
    /// Keyed pseudonyms.
    pub pseudonyms: Pseudonyms,
    /// The thread that writes the emergency ring.
    pub ring_lane: WorkerPool,
    /// Records that nothing waits for, until they are durable.
    waiting: Mutex<PendingRecords<()>>,
    /// Random, and each used once.
    salts: Mutex<Vec<[u8; 16]>>,
}

/// Why a record got no place.
#[derive(Debug, Error)]
pub enum CommitError {
    /// Other calls have changed the memory that this one read: it is to be evaluated again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The log did not take it.
    #[error(transparent)]
    Refused(#[from] AppendError),
    /// Memory did not take its changes.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// A record could not be made durable.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct NotDurable(pub String);

impl Recorder {
    /// A recorder for an open log. At most `ring_waiting` jobs wait for the emergency ring.
    pub fn new(
        tenant: String,
        (log, memory): (Log, Arc<HostMemory>),
        clock: Clock,
        pseudonyms: Pseudonyms,
        ring_waiting: usize,
    ) -> Self {
        let ring_lane = WorkerPool::new("ring", 1, ring_waiting);
        let (waiting, salts) = (Mutex::default(), Mutex::default());
        Self { tenant, log, memory, clock, pseudonyms, ring_lane, waiting, salts }
    }

    /// Appends a record that nothing waits for. Where the log takes nothing now, it is kept and
    /// given again when the log goes on. Returns whether that is so: beyond [`MAX_WAITING`] records
    /// that wait, the log takes it at once or not at all.
    pub fn append(&self, entry: Entry) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            waiting.add(entry, ());
            waiting.append(&self.log);
            return true;
        }
        drop(waiting);
        let kind = entry.kind;
        let refused = self.log.append(entry).err();
        if let Some(refused) = &refused
            && LOG_LIMITS.allows("log.append-failed", kind, monotonic_now())
        {
            tracing::error!(
                event = "log.append-failed",
                kind,
                %refused,
                "a record could not be appended to the audit log; check the log's disk"
            );
        }
        refused.is_none()
    }

    /// Gives a record its place in the log together with the changes of memory that it brings.
    /// Later calls see them from then on.
    ///
    /// # Errors
    /// [`CommitError`]: then nothing of the changes is visible.
    pub fn commit(&self, entry: Entry, changes: &Changes) -> Result<Pending, CommitError> {
        if changes.is_empty() {
            return Ok(self.log.commit(entry)?);
        }
        let prepared = self.log.prepare(entry, changes.encode())?;
        let append = || {
            let pending = self.log.commit_prepared(prepared)?;
            Ok((pending.index, pending))
        };
        self.memory.memory().sequence(changes, append).map_err(|error| match error {
            SequenceError::Conflict(conflict) => {
                self.memory.add_conflict(changes);
                CommitError::Conflict(conflict)
            }
            SequenceError::Append(refused) => CommitError::Refused(refused),
            SequenceError::Stage(error) => CommitError::Stage(error),
        })
    }

    /// Gives the log the records that it has not taken yet.
    pub fn append_waiting(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).append(&self.log);
    }

    /// Appends a record that the caller waits for until it is durable. Blocks on the log.
    pub fn append_durable(&self, entry: Entry) -> Result<(), NotDurable> {
        let recorded = self.log.append(entry).map_err(|refused| NotDurable(refused.to_string()))?;
        recorded.wait().map(drop).map_err(|error| NotDurable(error.to_string()))
    }

    /// A keyed pseudonym of the host's tenant.
    pub fn pseudonym(&self, namespace: &str, value: &str) -> Pseudonym {
        self.pseudonyms.of(&self.tenant, namespace, value)
    }

    /// 128 random bits.
    pub fn salt(&self) -> [u8; 16] {
        let mut salts = self.salts.lock().unwrap_or_else(PoisonError::into_inner);
        if salts.is_empty() {
            // In bulk: a call of the generator costs more than the bytes. It does not fail once it
            // is up, and it was at the start; a constant salt hides less, and is no reason to keep
            // an answer back.
            let mut bulk = [0; 16 * SALTS_AT_ONCE];
            let _ = aws_lc_rs::rand::fill(&mut bulk);
            salts.extend_from_slice(bulk.as_chunks().0);
        }
        salts.pop().unwrap_or_default()
    }
}

/// Records that nothing waits for and that are kept until they are durable; a delivery record takes
/// some 100 KiB, all others far less.
const MAX_WAITING: usize = 256;
/// Salts that are made together.
const SALTS_AT_ONCE: usize = 64;

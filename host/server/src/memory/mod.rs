//! The memory of plugins: opened with the log, and written behind it.
//!
//! Invariant: the changes of a call are durable with its record, because they are in its frame of
//! the write-ahead log; the file on disk is a view of that, and is written later. A call never
//! waits for the file. The log keeps a frame until the view has its changes. What a plugin may do
//! with its memory is `portcullis-store`'s matter.

mod state;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_audit::{ChangeStore, Log};
use portcullis_keys::SymmetricKey;
use portcullis_model::{Call, Millis};
use portcullis_store::memory::{
    BackendError, Changes, FlushError, Memory, Namespace, NamespaceName, OpenError, Opened, Quota,
    Transaction, Usage,
};

use self::state::MemoryState;
use crate::clock::{elapsed_since, monotonic_now};

pub use state::FlushState;

/// The memory of all plugins of this host.
pub struct HostMemory {
    memory: Memory,
    /// The quota of each namespace.
    quota: Quota,
    state: MemoryState,
    opened: Opened,
    /// The place of the log before which the view holds all changes.
    stored: AtomicU64,
    /// Milliseconds since 1970, for what has expired.
    now: Box<dyn Fn() -> Millis + Send + Sync>,
}

impl HostMemory {
    /// Opens the memory in a folder of the log's own. A damaged file is put aside, and memory
    /// begins empty. Each plugin may hold as much as the quota says.
    ///
    /// # Errors
    /// The disk refused, or the file was written under another key.
    pub fn open(
        folder: &Path,
        key: &SymmetricKey,
        quota: Quota,
        now: impl Fn() -> Millis + Send + Sync + 'static,
    ) -> Result<Arc<Self>, OpenError> {
        let refused = |error: io::Error| {
            let (path, why) = (folder.to_owned(), error.to_string());
            OpenError::Backend(BackendError::Disk { path, why })
        };
        portcullis_files::create_private_folder(folder).map_err(refused)?;
        let (memory, opened) = Memory::open(folder, key)?;
        if let Some((renamed, why)) = &opened.set_aside {
            tracing::error!(
                event = "memory.set-aside",
                file = %renamed.display(),
                why,
                "the file with the memory of plugins is damaged and was renamed; plugins begin \
                 with what the write-ahead log still has: restore the file from a backup of the \
                 same day, or warm the memory with `portcullis memory import`"
            );
        }
        let stored = AtomicU64::new(opened.applied);
        let (state, now) = (MemoryState::default(), Box::new(now));
        Ok(Arc::new(Self { memory, quota, state, opened, stored, now }))
    }

    /// Returns the memory of a plugin in a space of bindings. `None`: there are as many such
    /// memories as there may be, or the plugin's id is too long.
    pub fn namespace(&self, tenant: &str, plugin: &str, space: &str) -> Option<Namespace> {
        let name = NamespaceName::new(tenant, plugin, space).ok()?;
        self.memory.namespace(&name, self.quota).ok()
    }

    /// Begins a run's transaction.
    pub fn begin(&self, namespace: &Namespace, call: &Call) -> Transaction {
        let subject = call.subject.as_ref().and_then(|subject| subject.id.as_deref());
        self.memory.begin(namespace, subject, call.received.0)
    }

    /// The memory itself.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The namespaces, and what each holds.
    pub fn usage(&self) -> Vec<(NamespaceName, Usage)> {
        self.memory.usages()
    }

    /// The most that each namespace may hold.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The state of the file.
    pub fn flush_state(&self) -> FlushState {
        self.state.flush()
    }

    /// Counts a call that is evaluated again, because others changed the memory that it had read.
    pub fn add_conflict(&self, changes: &Changes) {
        changes.namespaces().for_each(|name| self.state.add_conflict(name));
    }

    /// The number of calls that changed this memory and were evaluated again.
    pub fn conflicts(&self, name: &NamespaceName) -> u64 {
        self.state.conflicts(name)
    }

    /// Writes what is durable in the log to the view, and lets the log use its segments again.
    ///
    /// # Errors
    /// The disk refused. Nothing is lost: the log keeps its frames.
    pub fn flush(&self, log: &Log) -> Result<(), FlushError> {
        self.memory.confirm_before(log.health().durable);
        self.store()?;
        log.release_stored();
        Ok(())
    }

    fn store(&self) -> Result<(), FlushError> {
        let begin = monotonic_now();
        let flushed = self.memory.flush((self.now)().0);
        let flushed = flushed.inspect_err(|error| self.state.not_written(error.to_string()))?;
        self.state.written(elapsed_since(begin));
        self.stored.store(flushed.applied, Ordering::Release);
        Ok(())
    }
}

impl ChangeStore for HostMemory {
    fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    fn recover(&self, index: u64, changes: &[u8]) {
        let read = self.memory.read_changes(changes);
        let problem = match read.map(|changes| self.memory.apply(index, &changes)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            event = "memory.changes-unreadable",
            index,
            problem,
            "the changes of memory that a record brought cannot be read: they are lost"
        );
    }

    fn recovered(&self, end: u64, missing: Option<(u64, u64)>) -> io::Result<()> {
        if self.stored() > end {
            let text = format!(
                "the memory of plugins holds changes up to record {}, but the log ends at {end}: \
                 restore both from the same backup, or move the folder `memory` away, so that \
                 plugins begin with an empty memory",
                self.stored()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let is_new = self.opened.cells == 0 && self.opened.applied == 0;
        if let Some((from, to)) = missing.filter(|_| !is_new) {
            tracing::error!(
                event = "memory.changes-missing",
                from,
                to,
                "the write-ahead log no longer has these records, so the memory of plugins lacks \
                 what they changed: the file is older than the log"
            );
        }
        self.memory.confirm_before(end);
        self.store().map_err(|error| io::Error::other(error.to_string()))
    }

    fn abandon_from(&self, end: u64) {
        self.memory.abandon_from(end);
    }
}

/// Why memory could not be opened, as the start reports it.
pub fn open_problem(error: &OpenError) -> (String, Option<&'static str>) {
    let hint = match error {
        OpenError::OtherKey => Some(
            "restore the sealing key of the configuration, or move the folder `memory` away, so \
             that plugins begin with an empty memory",
        ),
        OpenError::Backend(BackendError::Corrupt(_)) => None,
        _ => Some("check the disk of the audit log"),
    };
    (error.to_string(), hint)
}

/// The folder of memory in that of the log.
pub const FOLDER: &str = "memory";

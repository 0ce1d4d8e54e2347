//! A memory for calls that are tried: begun from items, changed as a host changes it.
//!
//! Invariant: it is the memory of a host over a view in RAM. A decision keeps all that its call
//! changed, a call without one keeps its tallies, and time is that of the calls. It is the same on
//! every machine: its key is fixed, and protects nothing.

use std::convert::Infallible;

use portcullis_keys::SymmetricKey;
use portcullis_model::{Call, Millis};
use portcullis_store::memory::{
    Changes, ChangesError, Conflict, ImportError, ImportItem, Memory, NameError, Namespace,
    NamespaceName, OpenError, OperationError, Quota, RamView, SequenceError, StageError,
    TooManyNamespaces, Transaction,
};

/// The memory of one plugin.
pub struct TestMemory {
    memory: Memory,
    /// The next place in the log that there would be.
    position: u64,
}

/// Why memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TestMemoryError {
    /// It cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Calls of too many tenants.
    #[error(transparent)]
    Namespaces(#[from] TooManyNamespaces),
    /// The call's tenant has no usable name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Items cannot be in a memory.
    #[error(transparent)]
    Items(#[from] ImportError),
    /// Changes could not be made.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// Changes do not fit.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Changes are out of order.
    #[error("{0}")]
    Stage(StageError),
}

impl TestMemory {
    /// Makes a memory of a tenant with these items, as it is at a time.
    ///
    /// # Errors
    /// [`TestMemoryError`]; an item that cannot be in a memory is named by its place.
    pub fn new(tenant: &str, items: &[ImportItem], now: Millis) -> Result<Self, TestMemoryError> {
        let key = SymmetricKey::from_bytes([0; 32]);
        let (memory, _) = Memory::with_backend(Box::new(RamView::default()), &key)?;
        let mut made = Self { memory, position: 0 };
        let namespace = made.namespace(tenant)?;
        for changes in made.memory.import(&namespace, items, now.0)? {
            made.apply(&changes)?;
        }
        Ok(made)
    }

    /// Begins the transaction of a call.
    ///
    /// # Errors
    /// [`TestMemoryError`].
    pub fn begin(&self, call: &Call) -> Result<Transaction, TestMemoryError> {
        let subject = call.subject.as_ref().and_then(|subject| subject.id.as_deref());
        self.transaction(&call.tenant, subject, call.received)
    }

    /// Keeps what a call changed, as a host does.
    ///
    /// # Errors
    /// [`TestMemoryError`].
    pub fn keep(
        &mut self,
        transaction: &Transaction,
        is_decided: bool,
    ) -> Result<(), TestMemoryError> {
        let changes =
            if is_decided { transaction.finish()? } else { transaction.tallies_only()? };
        self.apply(&changes)
    }

    /// Begins a transaction for somebody at a time.
    pub(crate) fn transaction(
        &self,
        tenant: &str,
        subject: Option<&str>,
        now: Millis,
    ) -> Result<Transaction, TestMemoryError> {
        Ok(self.memory.begin(&self.namespace(tenant)?, subject, now.0))
    }

    fn namespace(&self, tenant: &str) -> Result<Namespace, TestMemoryError> {
        let name = NamespaceName::new(tenant, PLUGIN, SPACE)?;
        Ok(self.memory.namespace(&name, Quota::default())?)
    }

    fn apply(&mut self, changes: &Changes) -> Result<(), TestMemoryError> {
        let position = self.position;
        let append = || Ok::<_, Infallible>((position, ()));
        self.memory.sequence(changes, append).map_err(|error| match error {
            SequenceError::Conflict(conflict) => TestMemoryError::Conflict(conflict),
            SequenceError::Stage(error) => TestMemoryError::Stage(error),
            SequenceError::Append(never) => match never {},
        })?;
        self.position += 1;
        self.memory.confirm_before(self.position);
        Ok(())
    }
}

impl TestMemoryError {
    /// The items that are wrong, by place.
    pub(crate) fn items(&self) -> &[(usize, OperationError)] {
        match self {
            Self::Items(ImportError::Items(items)) => items,
            _ => &[],
        }
    }
}

/// The plugin's id: no other plugin has a part of the memory.
const PLUGIN: &str = "plugin";
const SPACE: &str = "live";

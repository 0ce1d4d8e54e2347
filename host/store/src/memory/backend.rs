//! The disk view, as memory needs it.
//!
//! Invariant: a commit is atomic, names the version that it follows, and is refused if that is not
//! the version that is stored. There are no locks in this interface, so an implementation may be
//! shared by several hosts. All data that it gets is encrypted, names of namespaces excepted.

use super::error::BackendError;
use super::keys::WrappedKey;
use super::names::{NamespaceId, RowKey};

/// A place in which cells are stored.
pub trait Backend: Send + Sync {
    /// Reads what it holds besides its rows.
    ///
    /// # Errors
    /// The disk refused; [`BackendError::Corrupt`] where the content is not what was written.
    fn stored(&self) -> Result<Stored, BackendError>;

    /// Reads all rows.
    ///
    /// # Errors
    /// As [`Backend::stored`], and the first error of `row`.
    fn rows(&self, row: &mut RowVisitor<'_>) -> Result<(), BackendError>;

    /// Writes a batch, all of it or nothing, durably.
    ///
    /// # Errors
    /// The disk refused, or [`BackendError::VersionMoved`].
    fn commit(&self, batch: &Batch) -> Result<(), BackendError>;
}

/// Is given the key of a row, the wrapped key of its cell, and the encrypted cell.
pub type RowVisitor<'a> = dyn FnMut(&RowKey, &WrappedKey, &[u8]) -> Result<(), BackendError> + 'a;

/// The content of a view besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Grows by one with each commit; 0 where nothing was ever written.
    pub version: u64,
    /// The place of the log before which all changes are in it.
    pub applied: u64,
    /// Names the key of the store under which it was written; empty where nothing was written.
    pub key_check: Vec<u8>,
    /// The encoded names of all namespaces.
    pub namespaces: Vec<(NamespaceId, Vec<u8>)>,
}

/// One atomic write.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The version that this follows.
    pub expected: u64,
    /// As [`Stored::applied`].
    pub applied: u64,
    /// As [`Stored::key_check`].
    pub key_check: Vec<u8>,
    /// Namespaces that are new.
    pub namespaces: Vec<(NamespaceId, Vec<u8>)>,
    /// The rows that differ.
    pub rows: Vec<(RowKey, RowChange)>,
}

/// A change of a row.
#[derive(Clone)]
pub enum RowChange {
    /// Writes the cell, and its wrapped key where that is new.
    Put {
        /// `None`: the key stays as it is stored.
        key: Option<WrappedKey>,
        /// The encrypted cell.
        sealed: Vec<u8>,
    },
    /// Deletes cell and key.
    Delete,
}

impl std::fmt::Debug for RowChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Put { .. } => "Put",
            Self::Delete => "Delete",
        })
    }
}

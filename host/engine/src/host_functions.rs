//! The functions that a host offers to a plugin during a call: look-ups in reference tables, and
//! memory.
//!
//! Invariant: the engine only carries questions and answers across the sandbox's wall. Every
//! function fails the call where the host gave this call nothing for its interface, so that a
//! plugin whose manifest lacks a capability cannot use it, whatever its toolchain imports. What is
//! read, and within which bounds, is for the implementation; so is the record of it.

use std::sync::Arc;

use portcullis_model::Attribute;

/// The answers to a plugin's questions during one call. One object serves one run of one call:
/// where a call is run again, the host makes a new one.
pub trait HostFunctions: Send + Sync {
    /// Returns all rows of a key.
    ///
    /// # Errors
    /// [`HostFunctionError`]: the call ends with the fault of the same name.
    fn lookup(&self, table: &str, key: &str) -> Result<TableRows, HostFunctionError>;

    /// Returns the rows of the call's subject.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    fn lookup_subject(&self, table: &str) -> Result<(SubjectMatch, TableRows), HostFunctionError>;

    /// Returns the value of a key.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    fn recall(&self, scope: Scope, key: &str) -> Result<Option<Vec<u8>>, HostFunctionError>;

    /// Sets the value of a key for `ttl_seconds`.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    fn remember(
        &self,
        scope: Scope,
        key: &str,
        value: Vec<u8>,
        ttl_seconds: u32,
    ) -> Result<(), HostFunctionError>;

    /// Removes the value of a key.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    fn forget(&self, scope: Scope, key: &str) -> Result<(), HostFunctionError>;

    /// Counts what a counter holds, after adding to it where `question` says so.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    fn count(
        &self,
        scope: Scope,
        key: &str,
        window_seconds: u32,
        question: Count<'_>,
    ) -> Result<u32, HostFunctionError>;
}

/// A question to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count<'a> {
    /// How many were added.
    Read,
    /// Adds one first.
    Add,
    /// How many different members were added.
    ReadDistinct,
    /// Adds this member first.
    AddDistinct(&'a str),
}

/// The owner of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// That of the call's subject.
    Subject,
    /// One for all subjects.
    Shared,
}

/// Whether a table knows the call's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectMatch {
    /// No row is about the subject.
    None,
    /// The rows are about one person.
    One,
    /// The rows are about several persons.
    Several,
}

/// Rows of a reference table.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TableRows {
    /// Columns by name, with JSON values. An empty cell is absent.
    pub rows: Vec<Vec<Attribute>>,
    /// The table's version, as the plugin sees it.
    pub version: String,
    /// Whether the table is older than it may be.
    pub stale: bool,
}

/// Why a host function failed a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostFunctionError {
    /// The manifest does not request the capability.
    #[error("the plugin used `{0}`, which its manifest does not request")]
    Undeclared(&'static str),
    /// The manifest does not read the table, or the release binds it to nothing.
    #[error("the plugin looked up a table that its manifest does not read")]
    UnknownTable,
    /// Memory of a subject was used in a call without one.
    #[error("the plugin used the memory of a subject in a call that has none")]
    NoSubject,
    /// The plugin went beyond a limit of the host.
    #[error("the plugin went beyond a limit of the host: {0}")]
    Limit(DataLimit),
    /// The host has the interface, but cannot serve it now.
    #[error("the host cannot read its tables or memory now")]
    Unavailable,
}

/// A limit on what one call reads and remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataLimit {
    /// A key that is empty or too long.
    #[error(
        "a key, and a member that is counted, has 1 to 256 bytes; a key of a table at most 1,024"
    )]
    Key,
    /// A value that is too long.
    #[error("a value has at most 4,096 bytes")]
    Value,
    /// A window or a time to live that is zero or too long.
    #[error("a window has 1 second to 31 days, and a time to live 1 second to 400 days")]
    Window,
    /// Everything that the call read, together.
    #[error("a call reads at most 65,536 bytes, by at most 256 look-ups")]
    Read,
    /// Everything that the call changes, together.
    #[error(
        "a call writes to the memory of its subject and to at most 63 shared keys, 64 KiB in all"
    )]
    Changes,
    /// The plugin's memory is full.
    #[error("the memory of the plugin is full")]
    Quota,
}

/// The functions of the host that a call may use.
#[derive(Clone, Default)]
pub struct CallServices {
    /// Whether it may take notes.
    pub journal: bool,
    /// Tables and memory.
    pub functions: Option<Arc<dyn HostFunctions>>,
}

impl CallServices {
    /// The journal, and neither tables nor memory.
    pub fn journal_only() -> Self {
        Self { journal: true, functions: None }
    }
}

impl HostFunctionError {
    /// Every error: the order is that of their numbers between host and preparing child.
    pub(crate) const ALL: [Self; 12] = [
        Self::Undeclared("journal"),
        Self::Undeclared("memory"),
        Self::Undeclared("reference"),
        Self::UnknownTable,
        Self::NoSubject,
        Self::Unavailable,
        Self::Limit(DataLimit::Key),
        Self::Limit(DataLimit::Value),
        Self::Limit(DataLimit::Window),
        Self::Limit(DataLimit::Read),
        Self::Limit(DataLimit::Changes),
        Self::Limit(DataLimit::Quota),
    ];

    /// The stable code in metrics, logs and records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Undeclared(_) => "plugin-capability-undeclared",
            Self::UnknownTable => "plugin-table-undeclared",
            Self::NoSubject => "plugin-memory-no-subject",
            Self::Limit(_) => "plugin-data-limit",
            Self::Unavailable => "host-store-unavailable",
        }
    }

    /// Returns the hint: what to do about it.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Undeclared(_) => {
                "add the capability to the manifest and to the trust root; `configure` has neither \
                 tables nor memory"
            }
            Self::UnknownTable => {
                "add the table's columns to `reads` in the manifest, and the table to the release"
            }
            Self::NoSubject => "make the plugin ask for the subject before it uses its memory",
            Self::Limit(_) => "make the plugin read less, or use smaller keys and values",
            Self::Unavailable => {
                "read the host's log: it says why the tables or the memory are not there"
            }
        }
    }
}

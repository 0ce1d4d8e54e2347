//! The memory of plugins: values that they remember, events and members that they count.
//!
//! Invariant: the log is the truth. A call's changes are encrypted into its record's frame and get
//! their order there; RAM holds the state that follows from the log, and the file on disk is a view
//! of it that can be made anew. Nothing of a person is readable in either file.
//!
//! The steps of a call: [`Memory::begin`], operations of the plugin on the [`Transaction`],
//! [`Transaction::finish`], [`Memory::sequence`] (check, place in the log, visible to later calls),
//! and, once the record is durable, [`Memory::confirm_before`]. [`Memory::flush`] then writes the
//! view. After a start the changes from [`Opened::applied`] on are applied again with
//! [`Memory::read_changes`] and [`Memory::apply`].
//!
//! Versions: a value's version is the place in the log of the record that wrote it. A call that
//! sets values conflicts where a value that it read changed before it got its own place, so the
//! order of the log is an order in which those calls could have run one after the other. Counters
//! and sets commute and never conflict; neither does a call that only reads and counts.
//!
//! Erasing: a subject's key is in RAM, wrapped in the view, and wrapped in the frames of its
//! records. Erasing removes it from the first at once and from the second with the next flush. The
//! frames go when the log writes over its segments; changes must be kept nowhere longer. Free pages
//! of the view keep what they had until they are used again, and what a file system or a drive
//! keeps of overwritten blocks is beyond this crate.

mod backend;
mod cell;
mod changes;
mod codec;
mod counter;
mod disk;
mod distinct;
mod error;
mod flush;
mod import;
mod keys;
mod limits;
mod names;
mod namespace;
mod op;
mod ram_view;
mod reads;
mod sequencer;
mod space;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod writes;

pub use backend::{Backend, Batch, RowChange, RowVisitor, Stored};
pub use changes::{Changes, SealedChanges};
pub use codec::Malformed;
pub use disk::{DiskView, FILE_NAME, MAX_SET_ASIDE};
pub use error::{
    BackendError, ChangesError, Conflict, FlushError, ImportError, OpenError, OperationError,
    SequenceError, StageError, TooManyNamespaces,
};
pub use flush::Flushed;
pub use import::{ImportItem, ImportOwner, ImportWhat};
pub use keys::{CryptographyError, WRAPPED_LEN, WrappedKey};
pub use limits::{
    CELL_OVERHEAD, MAX_CELL_BYTES, MAX_CELL_ITEMS, MAX_CELLS_PER_CALL, MAX_CHANGES_BYTES,
    MAX_KEY_BYTES, MAX_MEMBER_BYTES, MAX_NAME_BYTES, MAX_NAMESPACES, MAX_READ_BYTES,
    MAX_TTL_SECONDS, MAX_VALUE_BYTES, MAX_WINDOW_SECONDS, MAX_WRITE_BYTES, Quota, ScopeQuota,
};
pub use names::{CellId, NameError, NamespaceId, NamespaceName, Owner, ROW_KEY_LEN, RowKey, Scope};
pub use namespace::{Namespace, Usage};
pub use ram_view::RamView;
pub use reads::{Answer, Read};
pub use store::{Memory, Opened};
pub use transaction::Transaction;
pub use writes::{Write, WriteChange};

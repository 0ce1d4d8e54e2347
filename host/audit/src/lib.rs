//! The audit log as it is written: a write-ahead log that makes a record durable before the answer
//! leaves, the transparency log that is built from it, and the sealed parts beside it.
//!
//! Invariant: a record whose receipt was given is in the log after any crash. Nobody can change,
//! drop or reorder the records under a checkpoint without being found out by the holder of an
//! earlier one; `portcullis-tlog` does that check, and the reading. This crate knows nothing of
//! hooks, plugins or servers.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")
)]

mod change_store;
mod clock;
pub mod corrections;
pub mod disk;
mod emergency_ring;
mod entry;
mod error;
mod log;
mod options;
mod pseudonym;
mod queue;
mod recover;
mod seal;
mod sealed_files;
mod views;
mod wal;
mod writer;

pub use change_store::ChangeStore;
pub use disk::spare::SpareDescriptors;
pub use emergency_ring::{MAX_RING_TEXT, Ring, RingEntry, Slot, Tally};
pub use entry::{Entry, RecordTime, TimeMark};
pub use error::{AppendError, AuditError, NotDurable};
pub use log::{
    Health, Log, MAX_CHECKPOINT_WAIT, MAX_CLOSE_WAIT, MAX_LEAF_BYTES, MAX_SEALED_BYTES, Recovery,
    check_directory, max_descriptors,
};
pub use options::{CheckpointEvery, Commit, Monotonic, Options};
pub use pseudonym::{Pseudonym, Pseudonyms};
pub use queue::{MAX_RECORD_WAIT, Pending, Prepared, Receipt, Sequence};
pub use seal::{KeyId, OVERHEAD, SealError, SealKey, Sealed, Sealer, open_sealed};

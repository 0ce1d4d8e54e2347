//! The transparency log as it is read: the tree, its tiles, signed checkpoints, proofs,
//! verification and the records (C2SP tlog-tiles, tlog-checkpoint, signed-note, tlog-proof).
//!
//! Invariant: this crate writes nothing, has no threads and no clock, and knows nothing of hooks,
//! plugins or servers. It builds for `wasm32-unknown-unknown`, so an auditor's tool can be made
//! from it alone; the writer of the log uses the same code.

pub mod checkpoint;
pub mod frame;
pub mod layout;
pub mod note;
pub mod prove;
pub mod query;
mod reader;
pub mod record;
pub mod sealed_files;
mod source;
pub mod tiles;
pub mod tree;
mod uncovered;
mod verified;
pub mod verify;

pub use note::Signer;
pub use reader::{ReadError, Reader};
pub use record::{Record, TIME_RESET};
pub use sealed_files::OpenSealed;
pub use source::{Source, SourceFile};
pub use verified::VerifiedRecord;

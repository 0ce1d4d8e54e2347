//! Files that other users or processes may write: bounded reads that never block, and atomic writes.
//!
//! Invariant: no function here blocks on a FIFO or a device, reads more than the caller's bound, or
//! follows a symbolic link when it writes. A network file system that hangs can still hang a read:
//! callers that must go on read on a thread of their own. This crate decides nothing about content.

mod read;
mod write;

pub use read::{ReadError, Regular, open_regular, read_bounded, read_text_bounded};
pub use write::{create_exclusive, write_atomic};

//! Files that other users or processes may write: bounded reads that never block, and atomic writes.
//!
//! Invariant: no function here blocks on a FIFO or a device, reads more than the caller's bound, or
//! follows a symbolic link when it writes. A network file system that hangs can still hang a read:
//! callers that must go on read on a thread of their own. This crate decides nothing about content.

#![expect(
    clippy::disallowed_methods,
    reason = "this crate is where these functions are called, with bounds and checks around them"
)]

mod held;
mod list;
mod read;
mod room;
mod stamp;
mod write;

pub use held::{Exchanged, HeldFolder};
pub use list::{Listing, MAX_ENTRIES, Newest, list_bounded, list_newest};
pub use read::{ReadError, Regular, open_regular, read_bounded, read_text_bounded};
pub use room::free_bytes;
pub use stamp::Stamp;
pub use write::{
    Durability, create_exclusive, create_or_empty, create_private_folder, open_in_place,
    open_or_create, remove_temporary_files, sync_folder, sync_folder_of, write_atomic,
    write_atomic_with,
};

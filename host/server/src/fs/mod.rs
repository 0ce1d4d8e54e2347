//! Files that an operator or another program may replace while the host serves.
//!
//! Invariant: a file system that hangs stalls a thread of its own and no other. Gives no meaning to
//! what it reads.

pub mod change;
pub mod file_worker;
pub mod folder;
pub mod late_read;
pub mod release_paths;
pub mod replaceable;

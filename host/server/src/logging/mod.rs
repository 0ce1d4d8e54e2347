//! The lines of the host's log: limits on those that others can cause, and the thread that writes.
//!
//! Invariant: nothing that a caller sends makes the log cost without bound, and no call waits for
//! it.

pub mod log_limit;
pub mod log_writer;

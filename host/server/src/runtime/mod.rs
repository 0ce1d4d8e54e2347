//! The life of the process: start, maintenance twice a second, reload, stop.
//!
//! Invariant: nothing here blocks a request.

pub mod break_glass_thread;
pub mod maintenance;
mod memory_thread;
pub mod prepared;
pub mod reload;
pub mod startup;
pub mod writable;

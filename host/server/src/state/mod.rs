//! The state that all requests share: the host, its hooks and what is active.
//!
//! Invariant: the active release is one pointer, exchanged whole.

pub mod active;
pub mod admission;
pub mod conditions;
pub mod dedup;
pub mod frontend;
pub mod host;
pub mod path;

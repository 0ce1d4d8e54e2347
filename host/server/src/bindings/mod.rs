//! Bindings: the plugins of a release on a hook, how they are evaluated and how their decisions
//! combine.
//!
//! Invariant: a binding that fails is a failure of its hook, never an absent decision. Reads no
//! request and writes no response.

pub mod breaker;
pub mod breaker_records;
pub mod candidate;
pub mod combine;
pub mod evaluate;
pub mod generation;
pub mod leaf;

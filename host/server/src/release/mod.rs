//! The life of a release: prepared beside what is active, activated, followed in a registry.
//!
//! Invariant: a release is active as a whole or not at all, and its record comes first.

pub mod follow_registry;
pub mod prepare;

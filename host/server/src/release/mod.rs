//! The life of a release: read, prepared beside what is active, activated, followed in a registry.
//!
//! Invariant: a release is active as a whole or not at all, and its record comes first. Start with
//! [`activate`].

pub mod activate;
pub mod follow_registry;
pub mod last_good;
pub mod prepare;

//! The memory of plugins, and the reference tables that they look up.
//!
//! Invariant: nothing here is part of a decision on its own. The host hands every read to the
//! plugin and writes it into the record, so that a decision can be repeated from its record alone.
//! This crate calls no plugin, and it opens no connection: bytes of tables are given to it.

pub mod memory;
pub mod tables;

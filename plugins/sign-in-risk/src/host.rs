//! The host's memory and tables, as [`World`].
//!
//! Invariant: this is the only file that knows how the host is called.
//!
//! The contract of this version has no memory and no tables for plugins: `available` in the host's
//! `Capability` refuses a plugin that asks for them. So nothing is found and nothing is kept here, and
//! every person is always learning. With the functions of `memory` and `reference`, each method
//! passes its arguments on.

use crate::world::{Found, Scope, World};

/// The host.
pub(crate) struct Host;

impl World for Host {
    fn recall(&self, _scope: Scope, _key: &str) -> Option<Vec<u8>> {
        None
    }

    fn remember(&self, _scope: Scope, _key: &str, _value: &[u8], _ttl_seconds: u32) {}

    fn forget(&self, _scope: Scope, _key: &str) {}

    fn count(&self, _scope: Scope, _key: &str, _window_seconds: u32) -> u32 {
        0
    }

    fn tally(&self, _scope: Scope, _key: &str, _window_seconds: u32) -> u32 {
        0
    }

    fn count_distinct(&self, _scope: Scope, _key: &str, _window_seconds: u32) -> u32 {
        0
    }

    fn tally_distinct(&self, _scope: Scope, _key: &str, _member: &str, _window: u32) -> u32 {
        0
    }

    fn lookup(&self, _table: &str, _key: &str) -> Found {
        Found::default()
    }
}

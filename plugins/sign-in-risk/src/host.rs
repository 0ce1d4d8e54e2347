//! The host's memory and tables, as [`World`].
//!
//! Invariant: this is the only file that knows how the host is called, and it only passes on.

use portcullis_guest::{memory, reference};

use crate::world::{Found, Scope, World};

/// The host.
pub(crate) struct Host;

impl World for Host {
    fn recall(&self, scope: Scope, key: &str) -> Option<Vec<u8>> {
        memory::recall(of_host(scope), key)
    }

    fn remember(&self, scope: Scope, key: &str, value: &[u8], ttl_seconds: u32) {
        memory::remember(of_host(scope), key, value, ttl_seconds);
    }

    fn forget(&self, scope: Scope, key: &str) {
        memory::forget(of_host(scope), key);
    }

    fn count(&self, scope: Scope, key: &str, window_seconds: u32) -> u32 {
        memory::count(of_host(scope), key, window_seconds)
    }

    fn tally(&self, scope: Scope, key: &str, window_seconds: u32) -> u32 {
        memory::tally(of_host(scope), key, window_seconds)
    }

    fn count_distinct(&self, scope: Scope, key: &str, window_seconds: u32) -> u32 {
        memory::count_distinct(of_host(scope), key, window_seconds)
    }

    fn tally_distinct(&self, scope: Scope, key: &str, member: &str, window_seconds: u32) -> u32 {
        memory::tally_distinct(of_host(scope), key, member, window_seconds)
    }

    fn lookup(&self, table: &str, key: &str) -> Found {
        let found = reference::lookup(table, key);
        Found {
            rows: found.rows.into_iter().map(|row| row.columns).collect(),
            version: found.version,
            stale: found.stale,
        }
    }
}

fn of_host(scope: Scope) -> memory::Scope {
    match scope {
        Scope::Subject => memory::Scope::Subject,
        Scope::Shared => memory::Scope::Shared,
    }
}

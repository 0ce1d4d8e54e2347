//! The plugin's view of its host: memory and reference tables, as a trait.
//!
//! Invariant: everything that a decision depends on beside the call and the settings comes through
//! [`World`]. The functions are those of `memory` and `reference` in `wit/policy.wit`. The trait
//! has one implementation for the host (`host.rs`) and one in RAM for tests.

use portcullis_guest::Attribute;

/// Memory and tables.
///
/// Keys have at most 256 bytes and values at most 4,096. A window is in seconds; a counter has one
/// window. With the scope [`Scope::Subject`] a call must have a subject.
pub trait World {
    /// The value of a key.
    fn recall(&self, scope: Scope, key: &str) -> Option<Vec<u8>>;

    /// Sets a value for a time. Of two calls at once that read and set one value, the host
    /// evaluates the later one again.
    fn remember(&self, scope: Scope, key: &str, value: &[u8], ttl_seconds: u32);

    /// Removes the value of a key. Its counters run out by themselves.
    fn forget(&self, scope: Scope, key: &str);

    /// The number that was added within the window. A host may count up to a 16th of the window,
    /// or 1 s, too long, and never too short.
    fn count(&self, scope: Scope, key: &str, window_seconds: u32) -> u32;

    /// Adds one and counts, whatever comes of the call.
    fn tally(&self, scope: Scope, key: &str, window_seconds: u32) -> u32;

    /// The number of different members that were added within the window: exact up to 512, else
    /// within 13 % in 19 of 20 cases.
    fn count_distinct(&self, scope: Scope, key: &str, window_seconds: u32) -> u32;

    /// Adds a member and counts. A member that is there already is not counted again.
    fn tally_distinct(&self, scope: Scope, key: &str, member: &str, window_seconds: u32) -> u32;

    /// All rows of a key in a table; in a table of networks the key is an IP address.
    fn lookup(&self, table: &str, key: &str) -> Found;
}

/// The owner of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// That of the call's subject, which is erased with the person's key.
    Subject,
    /// One that all subjects share.
    Shared,
}

/// The rows of a table.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Each row's columns. An empty cell is absent.
    pub rows: Vec<Vec<Attribute>>,
    /// The table's digest.
    pub version: String,
    /// The table is older than the release allows.
    pub stale: bool,
}

//! The memory of the plugin, from call to call.
//!
//! Invariant: it needs the capability `memory` in the manifest; without it every function ends the
//! call. The changes of a call are durable with its record. The host bounds keys, values and the
//! bytes that one call reads; beyond a bound the call ends, and the hook gives its safe answer.
//!
//! Native tests have a memory of their own: see [`testing`](crate::testing).

pub use crate::bindings::portcullis::policy::memory::Scope;

/// The value of a key; `None` where there is none, or where its time is over.
pub fn recall(scope: Scope, key: &str) -> Option<Vec<u8>> {
    host::recall(scope, key)
}

/// Sets the value of a key for `ttl_seconds`.
pub fn remember(scope: Scope, key: &str, value: &[u8], ttl_seconds: u32) {
    host::remember(scope, key, value, ttl_seconds);
}

/// Removes the value of a key. Its counters run out by themselves.
pub fn forget(scope: Scope, key: &str) {
    host::forget(scope, key);
}

/// How many were added to a counter within the last `window_seconds`.
pub fn count(scope: Scope, key: &str, window_seconds: u32) -> u32 {
    host::count(scope, key, window_seconds)
}

/// Adds one to a counter, whatever comes of the call, and counts.
pub fn tally(scope: Scope, key: &str, window_seconds: u32) -> u32 {
    host::tally(scope, key, window_seconds)
}

/// How many different members were added within the last `window_seconds`.
pub fn count_distinct(scope: Scope, key: &str, window_seconds: u32) -> u32 {
    host::count_distinct(scope, key, window_seconds)
}

/// Adds a member, whatever comes of the call, and counts the different ones.
pub fn tally_distinct(scope: Scope, key: &str, member: &str, window_seconds: u32) -> u32 {
    host::tally_distinct(scope, key, member, window_seconds)
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::portcullis::policy::memory as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::world::memory as host;

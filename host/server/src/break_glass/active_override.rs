//! A break-glass document that is active on a hook, and the place where a hook finds it.
//!
//! Invariant: it ends by itself, by the monotonic clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use arc_swap::ArcSwapOption;

use crate::clock::monotonic_now;

/// Hooks by their names.
pub trait Places {
    /// Returns the place of a hook, whether or not it is configured.
    fn place(&self, hook: &str) -> Place;
}

/// The document that is open on a hook, or the last one.
pub type Place = Arc<ArcSwapOption<ActiveOverride>>;

/// An active document on a hook.
pub struct ActiveOverride {
    /// The document's id.
    pub id: String,
    /// The finding codes that it waives.
    pub(super) waives: BTreeSet<String>,
    /// Whether the hook's safe answer is the platform's default.
    pub fail_open: bool,
    pub(super) expires: Instant,
    /// When it was taken up by this process, and how much of its time earlier ones had used,
    /// milliseconds.
    pub(super) opened_at: Instant,
    pub(super) used_before: u64,
    /// Calls that were answered while it was active.
    pub calls: AtomicU64,
}

impl ActiveOverride {
    /// The codes of the findings that it sets aside.
    pub fn waives(&self) -> &BTreeSet<String> {
        &self.waives
    }

    /// Whether its time is not over.
    pub fn is_active(&self) -> bool {
        monotonic_now() < self.expires
    }
}

/// Returns the active document at a hook's place.
pub fn current(place: &Place) -> Option<Arc<ActiveOverride>> {
    place.load_full().filter(|open| open.is_active())
}

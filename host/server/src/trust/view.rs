//! The view of trust that a release is checked against: roots and history at one moment.
//!
//! Invariant: a view borrows and changes nothing. A snapshot of it tells whether what matters to a
//! release has changed since.

use std::sync::Arc;

use portcullis_model::Millis;
use portcullis_trust::{RevokedPlugins, TrustHistory, TrustRoot, verify_issued};

use crate::trust::roots::Roots;

/// The trust roots and the history that a release is checked against.
pub struct TrustView<'a> {
    /// The trust roots.
    pub roots: &'a Roots,
    /// The history that the host remembers.
    pub history: &'a TrustHistory,
}

impl TrustView<'_> {
    /// Returns the trust roots under which a set may have been signed: the newest, and that of the
    /// set that was active last.
    pub fn signers(&self) -> Vec<Arc<TrustRoot>> {
        let active = self.history.active.map(|active| Arc::clone(self.roots.version(active.root)));
        std::iter::once(Arc::clone(self.roots.newest())).chain(active).collect()
    }
}

/// The parts of trust that may change while a release is prepared.
#[derive(Debug, PartialEq, Eq)]
pub struct TrustSnapshot {
    root: u64,
    revoked: RevokedPlugins,
}

impl TrustSnapshot {
    /// Takes the snapshot of a view.
    pub fn new(trusted: &TrustView<'_>) -> Self {
        Self { root: trusted.roots.newest().version, revoked: trusted.history.revoked.clone() }
    }

    /// Returns whether it is the same as the present view.
    pub fn is_current(&self, trusted: &TrustView<'_>) -> bool {
        self.root == trusted.roots.newest().version && self.revoked == trusted.history.revoked
    }
}

/// When these documents were signed; without those that too few of the root's keys signed.
pub fn issued<'d>(
    documents: impl IntoIterator<Item = &'d Vec<u8>>,
    root: &TrustRoot,
) -> Vec<Millis> {
    documents.into_iter().filter_map(|envelope| verify_issued(root, envelope).ok()).collect()
}

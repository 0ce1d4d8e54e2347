//! The view of trust that a release is checked against: roots and history at one moment.
//!
//! Invariant: a view borrows and changes nothing. A snapshot of it tells whether what matters to a
//! release has changed since.

use std::sync::Arc;

use portcullis_model::Millis;
use portcullis_trust::{RevokedPlugins, TrustHistory, TrustRoot, verify_issued};

use crate::trust::roots::Roots;

/// The trust that a release is checked against.
pub struct Trusted<'a> {
    /// The trust roots.
    pub roots: &'a Roots,
    /// The history that the host remembers.
    pub history: &'a TrustHistory,
}

impl Trusted<'_> {
    /// Returns the trust roots under which a set may have been signed: the newest, and that of the
    /// set that was active last.
    pub fn signers(&self) -> Vec<Arc<TrustRoot>> {
        let active = self.history.active.map(|active| Arc::clone(self.roots.version(active.root)));
        std::iter::once(Arc::clone(self.roots.newest())).chain(active).collect()
    }
}

/// The parts of trust that may change while a release is prepared.
#[derive(Debug, PartialEq, Eq)]
pub struct Against {
    root: u64,
    revoked: RevokedPlugins,
}

impl Against {
    /// Returns the snapshot of now.
    pub fn new(trusted: &Trusted<'_>) -> Self {
        Self { root: trusted.roots.newest().version, revoked: trusted.history.revoked.clone() }
    }

    /// Whether that is still what holds.
    pub fn holds(&self, trusted: &Trusted<'_>) -> bool {
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

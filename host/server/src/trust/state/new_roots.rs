//! Trust roots and revocations that arrive while the host runs.
//!
//! Invariant: a revocation holds from the moment at which it is read, before it is recorded. A
//! trust root follows the newest one by its signatures, or is refused. One that was read and waits
//! for the clock is kept in mind until it is taken, whatever its folder answers meanwhile. Reads no
//! file.

use std::sync::Arc;

use portcullis_audit::{Entry, Log};
use portcullis_model::json::build_members;
use portcullis_trust::{RevokedPlugins, TrustHistory, verify_revocations};

use super::recording::root_fields;
use super::{StartupFinding, TrustState};
use crate::clock::monotonic_now;
use crate::logging::log_limit::LOG_LIMITS;
use crate::trust::roots::{ArrivedRoots, RejectedRoot, mark};

impl TrustState {
    /// Walks on to the trust roots that have arrived; gives whether there were any.
    ///
    /// While the clock waits to be confirmed none is taken; what the newest of them revokes holds.
    pub fn load_new_roots(
        &mut self,
        arrived: ArrivedRoots,
        log: &Log,
    ) -> (bool, Option<RejectedRoot>) {
        let mut ahead = self.roots.clone();
        let (new, stopped) = ahead.load_new(arrived);
        if let Some(issued) = new.last().and_then(|root| root.issued) {
            self.trusted_time.observe_document(issued);
        }
        if self.trusted_time.is_unconfirmed() {
            // A folder that did not answer, or not with all of it, takes nothing back.
            let waits = self.pending_root.as_ref().map_or(0, |waits| waits.version);
            if let Some(root) = new.last().filter(|root| root.version >= waits) {
                self.pending_root = Some(Arc::clone(root));
            }
            return (false, stopped);
        }
        self.roots = ahead;
        let newest = self.roots.newest().version;
        self.pending_root.take_if(|waits| waits.version <= newest);
        self.persist_roots();
        if new.is_empty() {
            return (false, stopped);
        }
        for root in &new {
            tracing::info!(
                version = root.version,
                event = "trust.root-accepted",
                "a trust root was accepted"
            );
            let piece = TrustHistory { root: Some(mark(root)), ..TrustHistory::default() };
            self.record(log, "trust.root", &root_fields(root), &piece);
        }
        self.save_or_log();
        (true, stopped)
    }

    /// Keeps accepted trust roots in the host's own folder, where they are not there yet.
    pub fn persist_roots(&mut self) {
        if self.roots.are_persisted() {
            return;
        }
        if let Err(error) = self.write_roots()
            && LOG_LIMITS.allows("trust.root-not-kept", "", monotonic_now())
        {
            tracing::error!(
                event = "trust.root-not-kept",
                %error,
                folder = %self.file.parent().unwrap_or(&self.file).display(),
                "an accepted trust root could not be written to trust.state; the host tries again: \
                 leave the file in trust.roots until then"
            );
        }
    }

    /// The plugins that are newly revoked: by the active trust root, and by the set in the folder.
    /// It holds from here on; recording it is for [`TrustState::record_revoked`], after what runs
    /// was stopped.
    pub fn revocations(&mut self, set: Option<&[u8]>) -> RevokedPlugins {
        let mut new = self.state.history.revoked.merge(&self.strictest_root().revoked.clone());
        let set = set.unwrap_or_default();
        new.merge(&self.revoked_by(set));
        new
    }

    /// What a set revokes that lies in no folder, where it was not revoked before: nothing, where the release role has not signed it.
    pub fn revoked_by(&mut self, set: &[u8]) -> RevokedPlugins {
        let strictest = self.strictest_root();
        let mut by_set = verify_revocations(strictest, set).unwrap_or_default();
        // A root that only waits does not take the right to revoke from those who may sign sets
        // until then; only the keys that it revokes count no more.
        let until_then = self.root().without_keys(&strictest.revoked_keys);
        by_set.merge(&verify_revocations(&until_then, set).unwrap_or_default());
        self.state.history.revoked.merge(&by_set)
    }
}

/// The record of a file that claims to be the next trust root and is not.
pub fn refused_entry(stopped: &RejectedRoot) -> Entry {
    let StartupFinding { kind, fields } = refused_root(stopped);
    let sealed = format!("{}: {}", stopped.path.display(), stopped.refusal);
    Entry { kind, fields, sealed: Some(sealed.into_bytes()) }
}

pub(super) fn refused_root(stopped: &RejectedRoot) -> StartupFinding {
    let (code, error, hint) = (stopped.refusal.code(), &stopped.refusal, stopped.refusal.hint());
    tracing::warn!(
        code,
        %error,
        hint,
        file = %stopped.path.display(),
        event = "trust.root-refused",
        "a trust root was refused"
    );
    let fields = build_members(|fields| {
        fields.text("code", code);
    });
    StartupFinding { kind: "trust.refused", fields }
}

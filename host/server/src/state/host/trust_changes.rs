//! Trust that arrives while the host runs: newer trust roots, and what they or a release set revoke.
//!
//! Invariant: what is revoked stops at once, before it is recorded and whatever becomes of the rest. A folder
//! that does not answer in time holds up nobody, and is read in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portcullis_audit::Entry;
use portcullis_model::json::build_members;
use portcullis_trust::VerifiedManifest;

use super::Host;
use super::time_documents::FoundDocuments;
use crate::fs::change::Folders;
use crate::fs::file_worker::POLL_LIMIT;
use crate::fs::late_read::LateRead;
use crate::loading::set_bytes;
use crate::trust::roots::{ArrivedRoots, RejectedRoot};
use crate::trust::state::TrustState;

/// Reads of arriving trust, and whether the last look got all of it.
pub struct LateTrust {
    roots: LateRead<ArrivedRoots>,
    set: LateRead<Option<Vec<u8>>>,
    /// Of signed documents about the time.
    pub(crate) time_documents: LateRead<FoundDocuments>,
    /// Whether the folder of trust roots has not been read as it was at the last look.
    pub(crate) roots_unread: AtomicBool,
    /// The same of the release set.
    pub(crate) set_unread: AtomicBool,
    /// The same of the folder of documents about the time.
    pub(crate) time_documents_unread: AtomicBool,
    /// Files of the folder of trust roots that the last look passed over, because there are too many.
    roots_overlooked: AtomicU64,
    /// The same of the folder of documents about the time.
    pub(crate) time_documents_overlooked: AtomicU64,
}

impl LateTrust {
    /// Whether both folders were read as they were at the last look.
    pub fn are_revocations_applied(&self) -> bool {
        [&self.roots_unread, &self.set_unread].iter().all(|unread| !unread.load(Ordering::Acquire))
    }

    /// Whether the last look got all of what arrives, documents about the time too.
    pub fn is_all_read(&self) -> bool {
        self.are_revocations_applied() && !self.time_documents_unread.load(Ordering::Acquire)
    }

    /// How many files of the folder of trust roots, and of that of documents about the time, are not read.
    pub fn overlooked(&self) -> [u64; 2] {
        [&self.roots_overlooked, &self.time_documents_overlooked]
            .map(|count| count.load(Ordering::Acquire))
    }

    /// Notes how many files of a folder were not read; tells of it when that begins.
    pub(crate) fn overlook(&self, before: &AtomicU64, folder: &str, overlooked: u64) {
        if before.swap(overlooked, Ordering::AcqRel) == 0 && overlooked > 0 {
            tracing::error!(
                event = "trust.folder-overfull",
                folder,
                overlooked,
                "a folder of trust documents holds too many files: only the newest are read; \
                 remove the others"
            );
        }
    }
}

impl Default for LateTrust {
    fn default() -> Self {
        Self {
            roots: LateRead::default(),
            set: LateRead::default(),
            time_documents: LateRead::default(),
            roots_unread: AtomicBool::default(),
            set_unread: AtomicBool::default(),
            time_documents_unread: AtomicBool::default(),
            roots_overlooked: AtomicU64::new(0),
            time_documents_overlooked: AtomicU64::new(0),
        }
    }
}

impl Host {
    /// Takes trust roots that have arrived, and stops what they or the set in the folder revoke: at
    /// once, whatever becomes of the rest. `folders` is how the folders are now; where one of them
    /// does not answer in time, [`LateTrust::are_revocations_applied`] tells so.
    pub fn apply_trust_changes(&self, folders: Folders) -> Option<RejectedRoot> {
        // Read before the trust state is locked, on threads that may hang: a hang delays nothing
        // else.
        let config = Arc::clone(&self.active_config.load().config);
        let newest = self.trust.root.load().version;
        let (folder, paths) = (config.trust.roots.clone(), config.release.clone());
        let (files, late) = (&self.files, &self.trust.late);
        let read_roots = move || ArrivedRoots::read(&folder, newest);
        let roots = late.roots.poll(&files.roots, POLL_LIMIT, folders.roots, read_roots);
        let read_set = move || set_bytes(&paths);
        let set = late.set.poll(&files.release, POLL_LIMIT, folders.release, read_set);
        late.roots_unread.store(!roots.is_whole, Ordering::Release);
        late.set_unread.store(!set.is_whole, Ordering::Release);
        if let Some(arrived) = &roots.value {
            late.overlook(&late.roots_overlooked, "trust-roots", arrived.unread);
        }
        let mut trust_state = self.trust_state();
        let (_, refused) =
            trust_state.load_new_roots(roots.value.unwrap_or_default(), &self.recorder.log);
        self.trust.root.store(Arc::clone(trust_state.root()));
        let new = trust_state.revocations(set.value.flatten().as_deref());
        self.stop_revoked(&trust_state);
        if !new.is_empty() {
            trust_state.record_revoked(&self.recorder.log, &new);
        }
        refused
    }

    /// Stops what a set revokes that lies in no folder: one that a registry offers, and of which perhaps nothing else is taken.
    pub fn apply_set_revocations(&self, set: &[u8]) {
        let mut trust_state = self.trust_state();
        let new = trust_state.revoked_by(set);
        if !new.is_empty() {
            self.stop_revoked(&trust_state);
            trust_state.record_revoked(&self.recorder.log, &new);
        }
    }

    /// Brings the files of the trust state up to the log, and tries again what could not be written
    /// or recorded.
    pub fn refresh_trust_state(&self) {
        let mut trust_state = self.trust_state();
        trust_state.persist_roots();
        trust_state.refresh(&self.recorder.log, || self.take_learned());
    }

    /// Stops every binding of what is revoked by now, and says so.
    pub fn stop_revoked(&self, trust_state: &TrustState) {
        let active_config = self.active_config.load_full();
        let Some(generation) = &active_config.generation else { return };
        let (root, revoked) = (trust_state.strictest_root(), &trust_state.history().revoked);
        let is_revoked = |verified: &VerifiedManifest| {
            let manifest = &verified.manifest;
            revoked.covers(verified.digest, &manifest.id, manifest.serial)
                || verified.is_valid_under(root).is_err()
        };
        for (hook, plugin) in generation.revoke(is_revoked) {
            let hook = active_config.hooks.get(hook).map_or("", |hook| &*hook.name);
            tracing::error!(
                hook,
                plugin,
                event = "plugin.revoked",
                "a plugin was revoked: it is not called any more, and hooks where it enforces give \
                 their safe answer"
            );
            let fields = build_members(|fields| {
                fields.number("generation", generation.number).text("hook", hook);
                fields.text("plugin", &plugin);
            });
            self.recorder.append(Entry { kind: "plugin.stopped", fields, sealed: None });
        }
    }
}

//! The looks at the configuration file and the folders of release and trust.
//!
//! Invariant: what is revoked stops before anything else is looked at, whatever becomes of the rest. What could
//! not be read is read again by the next look, also where nothing has changed. A release that is refused
//! changes nothing.

use crate::release::activate::{Activated, activate_from_folders, fall_back};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use portcullis_model::Digest;

use super::MaintenanceLoop;
use super::reported::{reject_configuration, reject_release};
use crate::config::ReleasePaths;
use crate::fs::change::{Folders, roots, stamp};
use crate::fs::file_worker::POLL_LIMIT;
use crate::loading::{self, ReleaseError};
use crate::runtime::reload::{ReloadError, reload};
use crate::state::host::NotActivated;
use crate::trust::state::refused_entry;

/// Polls a folder unless it is to be read; it is also to be read where it does not answer the poll
/// in time.
fn unless(unread: &AtomicBool, poll: impl FnOnce() -> Option<Digest>) -> Option<Digest> {
    if unread.load(Ordering::Acquire) {
        return None;
    }
    let polled = poll();
    unread.store(polled.is_none(), Ordering::Release);
    polled
}

impl MaintenanceLoop {
    /// Looks at the configuration file and the folders. What was overtaken while it was prepared is
    /// begun again, on what is there by then.
    pub(super) fn reconcile(&mut self, mut is_requested: bool) {
        while !self.stop.is_set() && !self.reconcile_once(is_requested) {
            tracing::info!(
                event = "release.superseded",
                "something newer arrived while a release was being prepared; the host prepares \
                 again"
            );
            is_requested = true;
        }
    }

    /// Looks once; says whether it came to an end.
    fn reconcile_once(&mut self, is_requested: bool) -> bool {
        let host = Arc::clone(&self.host);
        let Some(reloaded) = self.reload_config_if_changed(is_requested) else { return false };
        let folders = self.folders();
        if !is_requested && !reloaded && folders == self.seen.folders {
            if host.trust.late.are_revocations_applied() {
                self.is_poll_requested |= self.apply_time_documents();
                return true;
            }
            // A folder did not answer in time, or its answer was late: the rest follows once it has.
            self.apply_trust_changes(folders);
            self.is_poll_requested |= self.apply_time_documents();
            if !host.trust.late.are_revocations_applied() {
                return true;
            }
        } else {
            self.seen.folders = folders;
            // Revocations come first, and hold whatever becomes of the rest.
            self.apply_trust_changes(folders);
            // After revocations, which wait for no folder of documents about the time; before
            // releases, which may depend on the time.
            self.is_poll_requested |= self.apply_time_documents();
        }
        match activate_from_folders(&host, false, |paths, set| {
            self.poll_while_preparing(paths, set)
        }) {
            Ok(Activated::Active) => {}
            // Nothing is wrong with the release: the next look tries again.
            Ok(Activated::NotRecorded) => self.seen.folders = Folders::default(),
            Ok(Activated::Unchanged) => host.health.conditions.set_refused_release(None),
            Err(ReleaseError::Superseded) => return false,
            Err(error) => {
                if matches!(error, ReleaseError::Stalled { .. }) {
                    // Nothing was read: the next poll reads again, also where nothing has changed.
                    self.seen.folders = Folders::default();
                    self.seen.revocations_applied_at = Folders::default();
                }
                reject_release(&host, &mut self.seen, &error);
                if host.active_config.load().generation.is_none()
                    && fall_back(&host, &error, || self.poll_while_preparing_last_good())
                {
                    return false;
                }
            }
        }
        self.scan_due = true;
        true
    }

    /// The folders as they are now; as they were where one of them does not answer. One that is to
    /// be read is not polled before it was: a poll that takes as long would keep the read from
    /// beginning.
    fn folders(&self) -> Folders {
        let host = &self.host;
        let config = Arc::clone(&host.active_config.load().config);
        let (poll, paths, used) =
            (Arc::clone(&self.poll), config.release.clone(), host.release.status.used());
        // A part that was missing may come without a trace in the folder's own times.
        let thorough = host.health.conditions.refused_release().is_some()
            || host.health.conditions.altered_release().is_some();
        let poll = move || {
            poll.lock().unwrap_or_else(PoisonError::into_inner).poll(&paths, &used, thorough)
        };
        let folder = config.trust.roots.clone();
        let late = &host.trust.late;
        let release = unless(&late.set_unread, || host.files.release.run(POLL_LIMIT, poll));
        let roots = move || roots(&folder);
        let roots = unless(&late.roots_unread, || host.files.roots.run(POLL_LIMIT, roots));
        Folders {
            release: release.or(self.seen.folders.release),
            roots: roots.or(self.seen.folders.roots),
        }
    }

    /// The configuration file as it is now; as it was where its file system does not answer.
    fn file(&self) -> Option<Digest> {
        let file = self.host.active_config.load().config.file.clone();
        self.host.files.configuration.run(POLL_LIMIT, move || stamp(&file)).or(self.seen.file)
    }

    /// Does the work that cannot wait while a release is prepared; returns whether that release is
    /// still wanted.
    fn poll_while_preparing(&mut self, paths: &ReleasePaths, set: Option<Digest>) -> bool {
        self.receive_all();
        let mut wanted = true;
        if let Some(is_requested) = self.poll_due() {
            // All of it is looked at when this one is made.
            self.is_repeat_requested |= is_requested;
            self.reload_secrets(is_requested);
            let folders = self.folders();
            if is_requested
                || folders != self.seen.revocations_applied_at
                || !self.host.trust.late.are_revocations_applied()
            {
                self.apply_trust_changes(folders);
                let paths = paths.clone();
                let read = move || loading::current_set_digest(&paths);
                // A set that cannot be read at this moment is no other set.
                let there = self.host.files.release.run(POLL_LIMIT, read);
                wanted = set.is_none() || there.is_none_or(|there| there == set);
            }
            // After revocations, which wait for no folder of documents about the time.
            self.is_repeat_requested |= self.apply_time_documents();
            wanted &= self.seen.file == self.file();
        }
        self.tick();
        wanted && !self.stop.is_set()
    }

    /// The same while the last good release is prepared, which is wanted until something in the
    /// folders changes.
    fn poll_while_preparing_last_good(&mut self) -> bool {
        self.receive_all();
        let mut wanted = true;
        if let Some(is_requested) = self.poll_due() {
            self.is_repeat_requested |= is_requested;
            self.reload_secrets(is_requested);
            let folders = self.folders();
            if is_requested
                || folders != self.seen.revocations_applied_at
                || !self.host.trust.late.are_revocations_applied()
            {
                self.apply_trust_changes(folders);
            }
            wanted = folders == self.seen.folders && self.seen.file == self.file();
        }
        self.tick();
        wanted && !self.stop.is_set()
    }

    /// Stops what is revoked by now, in these folders; says once what is wrong with a trust root that lies there.
    fn apply_trust_changes(&mut self, folders: Folders) {
        self.seen.revocations_applied_at = folders;
        if let Some(stopped) = self.host.apply_trust_changes(folders)
            && self.seen.reported.insert((folders.roots, stopped.refusal.to_string()))
        {
            self.host.recorder.append(refused_entry(&stopped));
        }
    }

    /// Takes up a configuration file that has changed; says whether it did, and nothing where that was overtaken.
    fn reload_config_if_changed(&mut self, is_requested: bool) -> Option<bool> {
        let host = Arc::clone(&self.host);
        let file = self.file();
        if std::mem::replace(&mut self.seen.file, file) == file && !is_requested {
            return Some(false);
        }
        let mut admin = self.admin.take();
        let result = reload(&host, &mut admin, |paths, set| self.poll_while_preparing(paths, set));
        self.admin = admin;
        match result {
            Ok(reloaded) => {
                // Before it is said: whoever reads that line finds the host as it is.
                host.health.conditions.set_refused_configuration(None);
                if !reloaded {
                    tracing::debug!(event = "config.unchanged", "the configuration is unchanged");
                }
                Some(reloaded)
            }
            Err(ReloadError::NotActivated(NotActivated::Superseded)) => None,
            Err(error) => {
                if matches!(error, ReloadError::Stalled) {
                    // Looked at again when it answers.
                    self.seen.file = None;
                }
                reject_configuration(&host, &mut self.seen, &error);
                Some(false)
            }
        }
    }
}

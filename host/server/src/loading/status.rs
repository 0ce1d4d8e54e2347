//! How far the set in the release's folders has come on this host, plugin by plugin: delivered, verified, active, or refused and why.
//!
//! Invariant: it tells of the set that was looked at last, whatever is active. It decides nothing:
//! every answer here is found by the checks that activation makes, and a sentence is the one that
//! the host's log has. Holds nobody's settings.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use portcullis_model::{Digest, Millis, sha256};
use portcullis_trust::{Active, ReleaseSet};
use serde_json::{Value, json};

use super::{FolderFacts, ReleaseError, ReleaseFiles};
use crate::trust::view::TrustView;

/// What is known of the set in the folders.
#[derive(Default)]
pub struct ReleaseStatus {
    last_seen: Mutex<Option<LastSeen>>,
    /// The files in the folders beyond the set, and those in which the set's parts lie.
    folder: Mutex<(FolderFacts, Vec<PathBuf>)>,
    /// The set that a way back from the active one leads to.
    previous: Mutex<Option<Active>>,
}

struct LastSeen {
    set: Digest,
    version: Option<u64>,
    /// The highest version that was active here: what a downgrade has to know.
    highest: u64,
    stage: ReleaseStage,
    rejected: Option<Rejection>,
    plugins: Vec<PluginStatus>,
}

struct PluginStatus {
    id: String,
    version: String,
    serial: u64,
    manifest: Digest,
    stage: ReleaseStage,
    rejected: Option<Rejection>,
}

#[derive(Clone)]
struct Rejection {
    code: &'static str,
    sentence: String,
    hint: Option<String>,
    plugin: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReleaseStage {
    /// The set names it, and its files are not all here.
    Published,
    Delivered,
    Verified,
    Active,
    Refused,
}

impl ReleaseStatus {
    /// The files beyond the set when the folders were read last.
    pub fn facts(&self) -> FolderFacts {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The files in which the parts of the set were found that was read last.
    pub fn used(&self) -> Vec<PathBuf> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// A set was found: how its plugins stand by themselves, before anything is configured.
    pub fn set_found(&self, found: &ReleaseFiles, trusted: &TrustView<'_>, now: Millis) {
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = (found.facts(), found.used());
        let set = found.set_digest();
        let release = ReleaseSet::unverified(&found.set).ok();
        let again = trusted.history.active.filter(|active| active.set == set);
        let (root, at) = again.map_or((trusted.roots.newest(), now), |active| {
            (trusted.roots.version(active.root), active.since)
        });
        let plugins = release.iter().flat_map(|release| &release.plugins).map(|(id, entry)| {
            // Of a set that nobody has signed nothing was read.
            let verified = if found.is_signed() {
                found.plugin(root, id, entry, at).map(drop)
            } else {
                Ok(())
            };
            let bindings = release
                .iter()
                .flat_map(|release| &release.bindings)
                .filter(|binding| binding.plugin == *id);
            let settings =
                bindings.map(|binding| found.settings(binding).map(drop)).find_map(Result::err);
            let error = verified.err().or(settings.filter(|_| found.is_signed()));
            let stage = match &error {
                None if !found.is_signed() => ReleaseStage::Delivered,
                None => ReleaseStage::Verified,
                Some(ReleaseError::Missing { .. }) => ReleaseStage::Published,
                Some(_) => ReleaseStage::Refused,
            };
            let (version, serial, manifest) = (entry.version.clone(), entry.serial, entry.manifest);
            PluginStatus {
                id: id.clone(),
                version,
                serial,
                manifest,
                stage,
                rejected: error.as_ref().map(Rejection::of),
            }
        });
        let plugins: Vec<_> = plugins.collect();
        let all = !plugins.is_empty()
            && plugins.iter().all(|plugin| plugin.stage == ReleaseStage::Verified);
        let stage = if all { ReleaseStage::Verified } else { ReleaseStage::Delivered };
        let (version, highest) =
            (release.as_ref().map(|release| release.version), trusted.history.highest);
        *self.lock() = Some(LastSeen { set, version, highest, stage, rejected: None, plugins });
    }

    /// It did not become active.
    pub fn set_rejected(&self, error: &ReleaseError) {
        let mut looked = self.lock();
        let why = Rejection::of(error);
        let looked = looked.get_or_insert_with(|| LastSeen {
            set: sha256(b""),
            version: None,
            highest: 0,
            stage: ReleaseStage::Refused,
            rejected: None,
            plugins: Vec::new(),
        });
        looked.stage = ReleaseStage::Refused;
        for plugin in &mut looked.plugins {
            if error.plugin() == Some(&plugin.id) && plugin.stage != ReleaseStage::Published {
                plugin.stage = ReleaseStage::Refused;
                plugin.rejected = Some(why.clone());
            }
        }
        looked.rejected = Some(why);
    }

    /// This set is active, and its files would not be taken at the next start.
    pub fn set_altered(&self, error: &ReleaseError) {
        self.set_rejected(error);
        if let Some(looked) = self.lock().as_mut() {
            looked.stage = ReleaseStage::Active;
        }
    }

    /// This set is active.
    pub fn set_active(&self, set: Digest, highest: u64) {
        let mut looked = self.lock();
        let Some(looked) = looked.as_mut().filter(|looked| looked.set == set) else { return };
        looked.highest = looked.highest.max(highest);
        (looked.stage, looked.rejected) = (ReleaseStage::Active, None);
        for plugin in &mut looked.plugins {
            (plugin.stage, plugin.rejected) = (ReleaseStage::Active, None);
        }
    }

    /// Notes which set a way back from the active one leads to.
    pub fn set_previous(&self, before: Option<Active>) {
        *self.previous.lock().unwrap_or_else(PoisonError::into_inner) = before;
    }

    /// The set that a way back from the active one leads to, for the status page.
    pub fn previous_json(&self) -> Value {
        let before = *self.previous.lock().unwrap_or_else(PoisonError::into_inner);
        before.map_or(Value::Null, |it| json!({"version": it.version, "set": it.set.to_string()}))
    }

    /// For the status page.
    pub fn json(&self) -> Value {
        let (looked, facts) = (self.lock(), self.facts());
        let Some(looked) = looked.as_ref() else { return Value::Null };
        let plugins: Vec<_> = looked.plugins.iter().map(PluginStatus::json).collect();
        json!({
            "set": looked.set.to_string(), "version": looked.version, "highest": looked.highest,
            "state": looked.stage.name(), "refused": looked.rejected.as_ref().map(Rejection::json), "plugins": plugins,
            "folder": {"ignored": facts.ignored, "unexamined": facts.unexamined, "overfull": facts.overfull},
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<LastSeen>> {
        self.last_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PluginStatus {
    fn json(&self) -> Value {
        json!({
            "plugin": self.id, "version": self.version, "serial": self.serial, "manifest": self.manifest.to_string(),
            "state": self.stage.name(), "refused": self.rejected.as_ref().map(Rejection::json),
        })
    }
}

impl Rejection {
    fn of(error: &ReleaseError) -> Self {
        let plugin = error.plugin().map(str::to_owned);
        Self { code: error.code(), sentence: error.to_string(), hint: error.hint(), plugin }
    }

    fn json(&self) -> Value {
        json!({"code": self.code, "sentence": self.sentence, "hint": self.hint, "plugin": self.plugin})
    }
}

impl ReleaseStage {
    fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Delivered => "delivered",
            Self::Verified => "verified",
            Self::Active => "active",
            Self::Refused => "refused",
        }
    }
}

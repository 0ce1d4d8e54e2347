//! The release set: which plugins are live, and what is bound to which hook with which settings.
//!
//! Invariant: what decides is signed; the host's configuration only says where to listen. Bindings have no
//! order: they are held sorted, so sets that mean the same are equal. Whether a binding's hook exists, and
//! whether its hook kind can say what the plugin may emit, is for `server` and `hooks`.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::{Digest, Millis, Mode, sha256};
use serde::{Deserialize, Serialize};

use crate::dsse::Envelope;
use crate::manifest::Manifest;
use crate::names::{ChangeName, is_plugin_id, is_word, quoted};
use crate::refusal::{Refusal, RefusalCode, malformed};
use crate::revoked::RevokedPlugins;
use crate::rollout::{Candidate, SignedLimits};
use crate::{strict_json, time};

/// A release set that says what its format needs. Whether it is signed is for
/// [`verify_release`](crate::verify_release).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSet {
    /// Its number: the generation.
    pub version: u64,
    /// When it was made.
    #[serde(with = "time::text")]
    pub issued: Millis,
    /// When it ends.
    #[serde(with = "time::text")]
    pub expires: Millis,
    /// Until when a host that had activated it may start with it again although it has expired: expiry must not become an outage
    /// because a machine was restarted.
    #[serde(with = "time::text")]
    pub grace: Millis,
    /// The oldest trust root under which it may be used.
    pub root_version: u64,
    /// The live plugins, by id.
    pub plugins: BTreeMap<String, PluginEntry>,
    /// Plugins that are only candidates, by id: other versions of live ones, or others altogether. They raise no floor until they are live.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub candidates: BTreeMap<String, PluginEntry>,
    /// Below these serials no host that activated this set takes these plugins again, not even by a downgrade.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min_serial: BTreeMap<String, u64>,
    /// Manifests that must never run again. They stop even where the rest of this set is refused.
    #[serde(default, skip_serializing_if = "RevokedPlugins::is_empty")]
    pub revoked: RevokedPlugins,
    /// The reference tables that plugins may look up, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableEntry>,
    /// What is bound where, sorted.
    pub bindings: Vec<Binding>,
}

/// The one member that is read from a set of which nothing else may be taken.
#[derive(Deserialize)]
struct OnlyRevoked {
    #[serde(default)]
    revoked: RevokedPlugins,
}

/// One live plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginEntry {
    /// The manifest's version, for people.
    pub version: String,
    /// The manifest's serial.
    pub serial: u64,
    /// The digest of the manifest's statement (the envelope's payload): a further signature on the envelope
    /// does not change it.
    pub manifest: Digest,
}

/// A reference table that plugins of the set may look up. Its rows are not part of the set: they
/// lie in the host's folder of tables, where they may be replaced while the set is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEntry {
    /// Its format, columns, key, bounds, age and rules, as the crate `store` declares them.
    pub declaration: serde_json::Value,
    /// The file of its rows in the host's folder of tables; none where its declaration names
    /// another source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The only version that may be used, by the digest of the file. Where it is absent the table
    /// is live: each version that keeps to the declaration is used. A version that waits for a
    /// confirmation is confirmed by a set that names it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Digest>,
}

/// A plugin bound to a hook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The hook's name in the host's configuration.
    pub hook: String,
    /// The plugin's id.
    pub plugin: String,
    /// Whether its decisions bind.
    pub mode: Mode,
    /// The digest of its settings' bytes.
    pub settings: Digest,
    /// What is said instead of an utterance for which the hook kind has no words: `review` → `deny`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fallback: BTreeMap<String, String>,
    /// Bounds that are tighter than the host's own.
    #[serde(default, skip_serializing_if = "SignedLimits::is_empty")]
    pub bounds: SignedLimits,
    /// What is tried beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
}

impl ReleaseSet {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.release-set.v1+json";

    /// The settings of a binding that has no settings file.
    pub const NO_SETTINGS: &[u8] = b"{}";

    /// Reads the payload of a release set.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let mut set: Self = strict_json::json(payload).map_err(malformed)?;
        set.bindings.sort();
        set.check()?;
        Ok(set)
    }

    /// Reads a release set without asking who signed it: for showing it. To use it, verify it.
    pub fn unverified(envelope: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(envelope)?;
        envelope.expect_type(Self::PAYLOAD_TYPE)?;
        Self::parse(envelope.unverified_payload())
    }

    /// The same of its payload, before anybody has signed it.
    pub fn unverified_payload(payload: &[u8]) -> Result<Self, Refusal> {
        Self::parse(payload)
    }

    /// What the payload of a release set revokes, whatever else stands in it.
    pub(crate) fn revocations(payload: &[u8]) -> Result<RevokedPlugins, Refusal> {
        let OnlyRevoked { revoked } = strict_json::json(payload).map_err(malformed)?;
        revoked.check().map_err(malformed)?;
        Ok(revoked)
    }

    /// The plugin of this id, or the refusal of one that is not listed.
    pub fn entry(&self, id: &str) -> Result<&PluginEntry, Refusal> {
        self.plugins.get(id).ok_or_else(|| {
            let sentence = format!("the release set {} does not list {}", self.version, quoted(id));
            Refusal::new(RefusalCode::ManifestNotInRelease, sentence)
        })
    }

    /// Refuses a set that lists something revoked.
    pub fn unrevoked(&self, revoked: &RevokedPlugins) -> Result<(), Refusal> {
        self.entries().try_for_each(|(id, entry)| revoked.admit(entry.manifest, id, entry.serial))
    }

    /// Every plugin that may run: the live ones, and the candidates.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &PluginEntry)> {
        self.plugins.iter().chain(&self.candidates)
    }

    /// The settings that lie in files, by digest, and for which plugin each is: bindings' and candidates'.
    pub fn settings(&self) -> BTreeMap<Digest, &str> {
        let nothing = sha256(Self::NO_SETTINGS);
        let live = self.bindings.iter().map(|binding| (binding.settings, binding.plugin.as_str()));
        let candidates = self.bindings.iter().filter_map(|binding| binding.candidate.as_ref());
        let candidates =
            candidates.map(|candidate| (candidate.settings, candidate.plugin.as_str()));
        live.chain(candidates).filter(|(digest, _)| *digest != nothing).collect()
    }

    /// Whether a declaration fits is for the crate `store`.
    fn check_tables(&self) -> Result<(), Refusal> {
        if self.tables.len() > MAX_TABLES {
            return Err(malformed(format!("`tables` has more than {MAX_TABLES} members")));
        }
        for (name, entry) in &self.tables {
            let plain = |file: &String| {
                !file.is_empty()
                    && file.len() <= MAX_FILE_NAME
                    && !file.starts_with('.')
                    && !file.contains(['/', '\\', '\0'])
            };
            if let Some(file) = entry.file.as_ref().filter(|file| !plain(file)) {
                let file = quoted(file);
                return Err(malformed(format!(
                    "the file {file} of the table {} is not the plain name of a file",
                    quoted(name)
                )));
            }
            let declared = entry.declaration.get("name").and_then(serde_json::Value::as_str);
            if declared != Some(name) {
                return Err(malformed(format!(
                    "the table {} is declared under another name",
                    quoted(name)
                )));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.version == 0 || self.root_version == 0 {
            return Err(malformed("`version` or `root_version` is 0; the first is 1"));
        }
        if self.issued >= self.expires {
            return Err(malformed("its end is before its beginning"));
        }
        if self.grace < self.expires || self.grace.0 - self.expires.0 > MAX_GRACE.0 {
            return Err(malformed(
                "its `grace` ends before the set does, or more than 90 days after",
            ));
        }
        self.revoked.check().map_err(malformed)?;
        for (id, least) in &self.min_serial {
            if !is_plugin_id(id) || *least == 0 {
                return Err(malformed(format!("`min_serial` of {} is not a plugin's", quoted(id))));
            }
            if self.entries().any(|(it, entry)| it == id && entry.serial < *least) {
                return Err(malformed(format!(
                    "it lists {} below its own `min_serial` {least}",
                    quoted(id)
                )));
            }
        }
        if self.min_serial.len() > MAX_MIN_SERIALS {
            return Err(malformed(format!("`min_serial` has more than {MAX_MIN_SERIALS} members")));
        }
        if let Some((id, _)) = self.entries().find(|(id, _)| !is_plugin_id(id)) {
            return Err(malformed(format!("{} is not a plugin id", quoted(id))));
        }
        self.check_tables()?;
        self.bindings.iter().try_for_each(|binding| binding.check(&self.plugins))?;
        self.check_candidates()?;
        // Mode and `fallback` do not make it another binding.
        let place =
            |binding: &Binding| (binding.hook.clone(), binding.plugin.clone(), binding.settings);
        let places: BTreeSet<_> = self.bindings.iter().map(place).collect();
        if places.len() == self.bindings.len() {
            return Ok(());
        }
        Err(malformed("a plugin is bound to a hook twice with the same settings"))
    }
}

impl ReleaseSet {
    /// The entry of a binding's candidate.
    pub fn candidate(&self, candidate: &Candidate) -> Option<&PluginEntry> {
        self.candidates.get(&candidate.plugin).or_else(|| self.plugins.get(&candidate.plugin))
    }

    fn check_candidates(&self) -> Result<(), Refusal> {
        let mut idle: BTreeSet<_> = self.candidates.keys().collect();
        for binding in &self.bindings {
            let Some(candidate) = &binding.candidate else { continue };
            let (hook, id) = (quoted(&binding.hook), quoted(&candidate.plugin));
            let entry = self.candidate(candidate).ok_or_else(|| {
                malformed(format!(
                    "{id} is a candidate on {hook}, but neither `candidates` nor \
                 `plugins` lists it"
                ))
            })?;
            let live = self.plugins.get(&binding.plugin).map(|live| live.manifest);
            if live == Some(entry.manifest) && candidate.settings == binding.settings {
                return Err(malformed(format!(
                    "the candidate {id} on {hook} is the live plugin with the live settings"
                )));
            }
            idle.remove(&candidate.plugin);
        }
        match idle.first() {
            Some(id) => Err(malformed(format!(
                "`candidates` lists {}, but no binding tries it",
                quoted(id)
            ))),
            None => Ok(()),
        }
    }
}

impl TableEntry {
    /// Whether its declaration demands a signature of each version.
    pub(crate) fn is_signed(&self) -> bool {
        self.declaration.get("signed") == Some(&serde_json::Value::Bool(true))
    }
}

impl PluginEntry {
    /// How a release set lists this manifest, whose statement has this digest.
    pub(crate) fn of(manifest: &Manifest, statement: Digest) -> Self {
        Self { version: manifest.version.clone(), serial: manifest.serial, manifest: statement }
    }

    /// Refuses a manifest that is not the one listed here.
    pub(crate) fn admit(&self, statement: Digest, manifest: &Manifest) -> Result<(), Refusal> {
        let id = quoted(&manifest.id);
        let not_listed = |what: String| Refusal::new(RefusalCode::ManifestNotInRelease, what);
        if self.manifest != statement {
            return Err(not_listed(format!(
                "the release set lists {}, the manifest of {id} is {statement}",
                self.manifest
            )));
        }
        if *self == Self::of(manifest, statement) {
            return Ok(());
        }
        let (listed, is) = (quoted(&self.version), quoted(&manifest.version));
        let (serial, its_serial) = (self.serial, manifest.serial);
        Err(not_listed(format!(
            "the release set lists {id} {listed} serial {serial}, its manifest is {is} serial {its_serial}"
        )))
    }
}

impl Binding {
    fn check(&self, plugins: &BTreeMap<String, PluginEntry>) -> Result<(), Refusal> {
        let hook = quoted(&self.hook);
        if !is_word(&self.hook) {
            return Err(malformed(format!(
                "{hook} is not the name of a hook: lower-case letters, digits and inner hyphens"
            )));
        }
        if !plugins.contains_key(&self.plugin) {
            return Err(malformed(format!(
                "{hook} is bound to {}, which `plugins` does not list",
                quoted(&self.plugin)
            )));
        }
        self.bounds.check(&hook)?;
        if let Some(candidate) = &self.candidate {
            candidate.check(&hook, self.mode)?;
        }
        let further = self.candidate.iter().flat_map(|candidate| &candidate.fallback);
        for (utterance, to) in self.fallback.iter().chain(further) {
            if ChangeName::parse(utterance).is_none() {
                let utterance = quoted(utterance);
                return Err(malformed(format!(
                    "`fallback` of a binding on {hook} names {utterance}, which is neither an effect nor a change"
                )));
            }
            if !is_word(to) {
                return Err(malformed(format!(
                    "`fallback` of a binding on {hook} maps to {}, which is not one word",
                    quoted(to)
                )));
            }
        }
        Ok(())
    }
}

/// The longest grace: 90 days.
const MAX_GRACE: Millis = Millis(90 * 24 * 60 * 60 * 1_000);

/// Bounds the floors of one set.
const MAX_MIN_SERIALS: usize = 1_024;

/// Most reference tables of a set.
const MAX_TABLES: usize = 64;

/// Most bytes of a table's file name: what file systems take.
const MAX_FILE_NAME: usize = 255;

//! A release with everything that it needs, found by digest.
//!
//! Invariant: a package is complete: each manifest, component and settings file that its set names is in it, to the byte, candidates' too, and
//! each suite that a manifest demands.

use std::path::{Path, PathBuf};

use portcullis_model::escape::escape;
use portcullis_model::{Digest, Millis, sha256};
use portcullis_server::{FileIndex, check_capabilities};
use portcullis_trust::{
    Activation, Downgrade, Envelope, Manifest, RefusalCode, ReleaseSet, TrustHistory, TrustRoot,
    verify_plugin, verify_release,
};

use super::release_dir::short;
use crate::exit::{CliError, CliResult};

/// A release to be put in place.
pub struct Bundle {
    /// The set's envelope.
    pub envelope: Vec<u8>,
    /// The digest of its payload.
    pub digest: Digest,
    /// What it says.
    pub set: ReleaseSet,
    /// The signed word that it may come back, where it is older.
    pub downgrade: Option<Vec<u8>>,
    /// Everything else.
    pub files: Vec<Artifact>,
}

/// A file of a release.
pub struct Artifact {
    /// What it is.
    pub kind: Kind,
    /// A name that no other file has.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What a file of a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A component.
    Component,
    /// A manifest's envelope.
    Manifest,
    /// The settings of a binding.
    Settings,
    /// The suite that a manifest demands.
    Suite,
}

impl Bundle {
    /// Finds what a set needs in these folders and their `plugins` and `settings`.
    pub fn gather(
        envelope: Vec<u8>,
        downgrade: Option<Vec<u8>>,
        folders: &[PathBuf],
    ) -> CliResult<Self> {
        let set = ReleaseSet::unverified(&envelope)?;
        let digest = sha256(Envelope::parse(&envelope)?.unverified_payload());
        let within = within(folders);
        let found = FileIndex::of(within.iter().map(PathBuf::as_path));
        let mut all = Vec::new();
        for (id, entry) in set.entries() {
            let manifest = found
                .envelope(entry.manifest)
                .ok_or_else(|| missing(id, "manifest", entry.manifest, folders))?;
            let Manifest { wasm: wanted, suite, .. } = Manifest::unverified(&manifest)?;
            let component = found.bytes(wanted);
            let component = component.ok_or_else(|| missing(id, "component", wanted, folders))?;
            // What a host takes for the stem of a name ends at the first dot.
            let stem =
                format!("{}-{}-{}", id.replace('.', "-"), entry.serial, short(entry.manifest));
            all.push(Artifact::new(Kind::Component, format!("{stem}.wasm"), &component));
            all.push(Artifact::new(Kind::Manifest, format!("{stem}.manifest.json"), &manifest));
            if let Some(suite) = suite {
                let passed = found.bytes(suite.digest);
                let passed = passed.ok_or_else(|| missing(id, "suite", suite.digest, folders))?;
                all.push(Artifact::new(Kind::Suite, format!("{stem}.suite.json"), &passed));
            }
        }
        for (digest, plugin) in set.settings() {
            let settings = found.bytes(digest);
            let settings = settings.ok_or_else(|| missing(plugin, "settings", digest, folders))?;
            let name = format!("{}-{}.json", plugin.replace('.', "-"), short(digest));
            all.push(Artifact::new(Kind::Settings, name, &settings));
        }
        Ok(Self { envelope, digest, set, downgrade, files: all })
    }

    /// Refuses what a host would refuse that trusts this root and remembers this: everything but what only a host with its
    /// configuration can know (whether its hooks exist, whether plugins take their settings and compile).
    pub fn admit(&self, root: &TrustRoot, history: &TrustHistory, now: Millis) -> CliResult {
        verify_release(root, &self.envelope, now)?;
        self.activation(root, history, now)?;
        for (id, entry) in self.set.entries() {
            let mut verified = Err(None);
            for piece in self.files.iter().filter(|piece| piece.kind == Kind::Manifest) {
                let Ok(manifest) = Manifest::unverified(&piece.bytes) else { continue };
                let ours = Envelope::parse(&piece.bytes)?.unverified_payload().to_vec();
                if sha256(&ours) != entry.manifest {
                    continue;
                }
                let is = |it: &&Artifact| it.kind == Kind::Component && it.digest == manifest.wasm;
                let component = self
                    .files
                    .iter()
                    .find(is)
                    .map(|piece| piece.bytes.as_slice())
                    .unwrap_or_default();
                verify_plugin(root, entry, &piece.bytes, component, now)?;
                let inspection = portcullis_engine::inspect(component)?;
                verified = check_capabilities(&inspection, &manifest.capabilities).map_err(Some);
            }
            verified.map_err(|why| {
                CliError::wrong(format!(
                    "plugin `{id}`: {}",
                    escape(&why.unwrap_or_else(|| "its manifest is missing".to_owned()))
                ))
            })?;
        }
        Ok(())
    }

    fn activation(
        &self,
        root: &TrustRoot,
        history: &TrustHistory,
        now: Millis,
    ) -> CliResult<Activation> {
        let alone = history.admit(&self.set, self.digest, None, now);
        match (&alone, &self.downgrade) {
            (Err(refusal), Some(envelope)) if refusal.kind() == RefusalCode::ReleaseOlder => {
                let downgrade = Downgrade::verify(root, envelope, now)?;
                Ok(history.admit(
                    &self.set,
                    self.digest,
                    Some((&downgrade, sha256(envelope))),
                    now,
                )?)
            }
            _ => Ok(alone?),
        }
    }
}

impl Artifact {
    fn new(kind: Kind, name: String, bytes: &[u8]) -> Self {
        Self { kind, name, digest: sha256(bytes), bytes: bytes.to_vec() }
    }
}

/// What would be remembered by a host that had taken all of these sets. `root` revokes what it revokes.
pub fn history<'s>(
    root: &TrustRoot,
    sets: impl Iterator<Item = &'s super::release_dir::StoredSet>,
) -> TrustHistory {
    let mut history = TrustHistory { revoked: root.revoked.clone(), ..TrustHistory::default() };
    for lying in sets {
        // Nobody's word but the release role's counts.
        let Ok(revoked) = portcullis_trust::verify_revocations(root, &lying.envelope) else {
            continue;
        };
        history.revoked.merge(&revoked);
        let set = &lying.set;
        history.highest = history.highest.max(set.version);
        for (id, serial) in set.plugins.iter().map(|(id, entry)| (id, entry.serial)) {
            let highest = history.serials.entry(id.clone()).or_default();
            *highest = (*highest).max(serial);
        }
        for (id, serial) in &set.min_serial {
            let floor = history.min_serials.entry(id.clone()).or_default();
            *floor = (*floor).max(*serial);
        }
    }
    history
}

/// These folders, and those in them where releases have their parts.
fn within(folders: &[PathBuf]) -> Vec<PathBuf> {
    let parts =
        |folder: &PathBuf| [folder.clone(), folder.join("plugins"), folder.join("settings")];
    folders.iter().flat_map(parts).collect()
}

/// The folder that a file lies in.
pub fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn missing(plugin: &str, what: &str, digest: Digest, folders: &[PathBuf]) -> CliError {
    let folders: Vec<_> = folders.iter().map(|folder| format!("`{}`", folder.display())).collect();
    let sentence = format!(
        "plugin `{plugin}`: its {what} with the digest {digest} is not in {}",
        folders.join(", ")
    );
    CliError::wrong(format!("{sentence} [file-missing]"))
        .hint(Some("name its folder with `--from`"))
}

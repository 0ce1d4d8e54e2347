//! From a tag to folders that a host starts from.
//!
//! Invariant: nothing is fetched that a signed document did not name, beyond the few documents that say so; what arrives lies in a staging
//! folder until it is whole; then files go to their places first and the release set last, each in one step. File names are made of digests,
//! never of anything that a registry says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use portcullis_files::{create_or_empty, list_bounded, open_or_create, read_bounded};
use portcullis_model::{Digest, Millis, sha256};
use portcullis_registry::{
    Descriptor, Documents, Image, ImageRef, Index, MANIFEST_ARTIFACT, MAX_PLUGINS, ManifestError,
    Release, Repository, attachment, layer,
};
use portcullis_trust::{Downgrade, Envelope, ReleaseSet, TrustRoot, verify_manifest};

use super::client::Client;
use super::error::{PullError, RegistryError};
use crate::fs::folder::{DigestCache, Folder, HashBudget, MAX_FILES};
use crate::trust::persisted::write_durably;

/// The documents of the release that a tag names, not yet verified.
pub struct RemoteRelease {
    /// The digest of the index.
    pub artifact: Digest,
    /// The release set's envelope.
    pub set: Vec<u8>,
    /// Envelopes of trust roots, by their number.
    pub roots: BTreeMap<u64, Vec<u8>>,
    /// A downgrade's envelope.
    pub downgrade: Option<Vec<u8>>,
    release: Release,
    /// Settings and suites.
    settings: Vec<Descriptor>,
}

/// Files that are at hand already, by digest.
#[derive(Default)]
pub struct LocalBlobs(BTreeMap<Digest, PathBuf>);

/// The places of a release: the folders of a host's configuration, or of one that is to be filled.
pub struct InstallPaths<'a> {
    /// The release set.
    pub set: &'a Path,
    /// Components and manifests.
    pub plugins: &'a Path,
    /// Settings.
    pub settings: &'a Path,
    /// A downgrade.
    pub downgrade: &'a Path,
}

impl RemoteRelease {
    /// Asks a registry what a tag leads to.
    pub async fn fetch(client: &Client, reference: &ImageRef) -> Result<Self, PullError> {
        let place = reference.to_string();
        let malformed = |why| RegistryError::Malformed { place: place.clone(), why };
        let bytes = client.manifest(reference, Index::MEDIA_TYPE).await?;
        let mut index = Index::parse(&bytes).map_err(malformed)?;
        let repository = &reference.repository;
        if index.manifests.len() > MAX_MANIFESTS {
            return Err(malformed(ManifestError(format!(
                "its index lists more than {MAX_MANIFESTS} manifests"
            )))
            .into());
        }
        // Tools that copy an index may leave out what its manifests are; they say so themselves.
        for listed in index.manifests.iter_mut().filter(|it| it.artifact_type.is_none()) {
            if listed.media_type == Image::MEDIA_TYPE {
                let image = Image::parse(&client.fetch_manifest(repository, listed).await?)
                    .map_err(malformed)?;
                listed.artifact_type = Some(image.artifact().to_owned());
            }
        }
        let release = Release::of(&index).map_err(malformed)?;
        let image = Image::parse(&client.fetch_manifest(repository, &release.documents).await?)
            .map_err(malformed)?;
        let documents = Documents::of(&image).map_err(malformed)?;
        let mut offer = Self {
            artifact: sha256(&bytes),
            set: Vec::new(),
            roots: BTreeMap::new(),
            downgrade: None,
            release,
            settings: documents.settings,
        };
        for listed in &documents.envelopes {
            let bytes = client.small_blob(repository, listed, Envelope::MAX_BYTES).await?;
            let envelope = Envelope::parse(&bytes).map_err(refused)?;
            let again = match envelope.payload_type() {
                ReleaseSet::PAYLOAD_TYPE => !std::mem::replace(&mut offer.set, bytes).is_empty(),
                Downgrade::PAYLOAD_TYPE => offer.downgrade.replace(bytes).is_some(),
                TrustRoot::PAYLOAD_TYPE => {
                    let version = TrustRoot::unverified(&bytes).map_err(refused)?.version;
                    offer.roots.insert(version, bytes).is_some()
                }
                // Of a later version, perhaps.
                _ => false,
            };
            if again {
                return Err(PullError::Incomplete("has two documents of one kind".to_owned()));
            }
        }
        if offer.set.is_empty() {
            return Err(PullError::Incomplete("has no release set".to_owned()));
        }
        Ok(offer)
    }

    /// A file that a signed document names: settings, or a suite.
    fn file(&self, digest: Digest, what: &str) -> Result<&Descriptor, PullError> {
        let listed = self.settings.iter().find(|listed| listed.digest == digest);
        listed.ok_or_else(|| PullError::Incomplete(format!("does not contain the {what} {digest}")))
    }

    /// The digest of the set's signed bytes.
    pub fn set_digest(&self) -> Digest {
        Envelope::parse(&self.set)
            .map_or_else(|_| sha256(&self.set), |envelope| sha256(envelope.unverified_payload()))
    }
}

impl LocalBlobs {
    /// The files in these folders; nothing, where there are none. Hashes files that were not hashed
    /// before, within a budget: what is passed over comes from the registry again.
    pub fn of(install_paths: &InstallPaths<'_>, digests: &DigestCache) -> Self {
        let (mut found, mut budget) = (BTreeMap::new(), HashBudget::new(MAX_RELEASE_BYTES));
        for folder in [install_paths.plugins, install_paths.settings] {
            let files = Folder::read(folder, &[".wasm", ".json"]).unwrap_or_default().files;
            for file in files {
                if let Ok(Some(digest)) = digests.of_file(&file, &mut budget) {
                    found.insert(digest, file.path);
                }
            }
        }
        Self(found)
    }
}

/// Brings everything that a verified set names into a staging folder: what is at hand from there, the rest from the registry.
pub async fn download(
    client: &Client,
    repository: &Repository,
    offer: &RemoteRelease,
    (root, set, now): (&TrustRoot, &ReleaseSet, Millis),
    shelf: &LocalBlobs,
    to: &InstallPaths<'_>,
) -> Result<(), PullError> {
    for folder in [to.plugins, to.settings] {
        fs::create_dir_all(folder).map_err(|error| disk(folder, &error))?;
    }
    let download = Download {
        client,
        repository,
        local: shelf,
        left: std::cell::Cell::new(MAX_RELEASE_BYTES),
    };
    let mut missing: BTreeMap<Digest, &String> =
        set.entries().map(|(id, entry)| (entry.manifest, id)).collect();
    for listed in &offer.release.manifests {
        if missing.is_empty() {
            break;
        }
        let (envelope, about) = download.manifest(listed, &offer.release).await?;
        let parsed = Envelope::parse(&envelope).map_err(refused)?;
        let Some(id) = missing.remove(&sha256(parsed.unverified_payload())) else { continue };
        let refused = |refusal| PullError::Refused { plugin: Some(id.clone()), refusal };
        let manifest = verify_manifest(root, &envelope, now).map_err(refused)?.manifest;
        let component = download.component(about).await?;
        if component.digest != manifest.wasm || component.size != manifest.wasm_size {
            return Err(PullError::Incomplete(format!(
                "has another component for `{id}` than its manifest names ({})",
                manifest.wasm
            )));
        }
        let stem = stem(component.digest);
        download.fetch(&component, &to.plugins.join(format!("{stem}.wasm"))).await?;
        let manifest_stem = format!("{stem}.{}", short(sha256(&envelope)));
        write(&to.plugins.join(format!("{manifest_stem}.json")), &envelope)?;
        if let Some(suite) = manifest.suite {
            let listed = offer.file(suite.digest, "suite")?;
            download.fetch(listed, &to.plugins.join(format!("{manifest_stem}.suite.json"))).await?;
        }
    }
    if let Some(id) = missing.values().next() {
        return Err(PullError::Incomplete(format!(
            "does not contain the manifest of `{id}` that its release set names"
        )));
    }
    for digest in set.settings().into_keys() {
        let listed = offer.file(digest, "settings")?;
        download.fetch(listed, &to.settings.join(format!("{}.json", stem(digest)))).await?;
    }
    if let Some(downgrade) = &offer.downgrade {
        write(to.downgrade, downgrade)?;
    }
    write(to.set, &offer.set)
}

/// Puts everything that was brought into its place: files first, the set last. What is there already is not written again.
pub fn install(from: &InstallPaths<'_>, to: &InstallPaths<'_>) -> Result<(), PullError> {
    for (from, to) in [(from.settings, to.settings), (from.plugins, to.plugins)] {
        fs::create_dir_all(to).map_err(|error| disk(to, &error))?;
        let listed = list_bounded(from, &[".wasm", ".json"], MAX_FILES);
        for name in listed.map_err(|error| disk(from, &error))?.names {
            replace(&from.join(&name), &to.join(&name))?;
        }
    }
    if from.downgrade.exists() {
        replace(from.downgrade, to.downgrade)?;
    }
    replace(from.set, to.set)
}

/// A download, and the bytes that it may still take.
struct Download<'a> {
    client: &'a Client,
    repository: &'a Repository,
    local: &'a LocalBlobs,
    left: std::cell::Cell<u64>,
}

impl Download<'_> {
    /// A signed manifest, and the component that it is attached to.
    async fn manifest<'r>(
        &self,
        listed: &Descriptor,
        release: &'r Release,
    ) -> Result<(Vec<u8>, &'r Descriptor), PullError> {
        let malformed = |why| RegistryError::Malformed {
            place: format!("{}@{}", self.repository, listed.digest),
            why,
        };
        let image = Image::parse(&self.client.fetch_manifest(self.repository, listed).await?)
            .map_err(malformed)?;
        let to = image.subject.as_ref().and_then(|subject| release.component(subject.digest));
        let to = to.ok_or_else(|| {
            PullError::Incomplete(
                "has a manifest that belongs to none of its components".to_owned(),
            )
        })?;
        let signed = attachment(&image, to.digest, MANIFEST_ARTIFACT).map_err(malformed)?;
        Ok((self.client.small_blob(self.repository, signed, Envelope::MAX_BYTES).await?, to))
    }

    /// The layer of a component's artifact.
    async fn component(&self, listed: &Descriptor) -> Result<Descriptor, PullError> {
        let malformed = |why| RegistryError::Malformed {
            place: format!("{}@{}", self.repository, listed.digest),
            why,
        };
        let image = Image::parse(&self.client.fetch_manifest(self.repository, listed).await?)
            .map_err(malformed)?;
        let config =
            self.client.small_blob(self.repository, &image.config, MAX_CONFIG_BYTES).await?;
        Ok(layer(&image, &config).map_err(malformed)?.clone())
    }

    /// A file, from the shelf or the registry.
    async fn fetch(&self, it: &Descriptor, to: &Path) -> Result<(), PullError> {
        // Copied and not linked: somebody could write into a linked file after it was checked.
        if let Some(at_hand) = self.local.0.get(&it.digest)
            && let Ok(bytes) = read_bounded(at_hand, MAX_FILE_BYTES)
            && sha256(&bytes) == it.digest
        {
            return write(to, &bytes);
        }
        let left = self.left.get().checked_sub(it.size).filter(|_| it.size <= MAX_FILE_BYTES);
        let left = left.ok_or_else(|| {
            let why = ManifestError(format!(
                "a file has {} bytes, which is more than the limit",
                it.size
            ));
            RegistryError::Malformed { place: format!("{}@{}", self.repository, it.digest), why }
        })?;
        self.left.set(left);
        let mut file = create_or_empty(to, 0o640).map_err(|error| disk(to, &error))?;
        self.client.blob(self.repository, it, &mut |piece| file.write_all(piece)).await?;
        file.sync_all().map_err(|error| disk(to, &error))
    }
}

/// The staging folder, empty.
pub fn staging(folder: &Path) -> Result<[PathBuf; 4], PullError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(folder, &error)),
        _ => {}
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|error| disk(folder, &error))?;
    }
    // Made here and for this user alone: a folder that somebody has put there is refused.
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(|error| disk(folder, &error))?;
    Ok(["release-set.json", "plugins", "settings", "downgrade.json"].map(|name| folder.join(name)))
}

/// Holds the folders of a release set as `portcullis release publish` does, until it is dropped.
pub fn lock(set: &Path) -> Result<fs::File, PullError> {
    let path = set.with_file_name(LOCK);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| disk(folder, &error))?;
    }
    let file = open_or_create(&path, 0o600).map_err(|error| disk(&path, &error))?;
    let held =
        |_| PullError::Superseded { why: "another process is publishing to them".to_owned() };
    file.try_lock().map_err(held)?;
    Ok(file)
}

/// How a trust root's file is called.
pub fn root_name(version: u64, envelope: &[u8]) -> String {
    format!("{version:06}-{}.json", short(sha256(envelope)))
}

/// Writes a document that was verified.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), PullError> {
    write_durably(path, bytes).map_err(|error| disk(path, &error))
}

/// An error of the disk.
pub fn disk(path: &Path, error: &io::Error) -> PullError {
    PullError::Disk { path: path.to_owned(), why: error.to_string() }
}

fn replace(from: &Path, to: &Path) -> Result<(), PullError> {
    let bytes = read_bounded(from, MAX_FILE_BYTES).map_err(|error| disk(from, &error.into()))?;
    if read_bounded(to, MAX_FILE_BYTES).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    write(to, &bytes)
}

fn refused(refusal: portcullis_trust::Refusal) -> PullError {
    PullError::Refused { plugin: None, refusal }
}

/// The name of a component's file and of its manifests' files, up to the first dot.
fn stem(digest: Digest) -> String {
    portcullis_registry::referrers_tag(digest)
}

/// The first digits of a digest.
fn short(digest: Digest) -> String {
    digest.to_string().chars().skip("sha256:".len()).take(16).collect()
}

/// The file that whoever fills the folders of a release set holds, beside the set.
pub const LOCK: &str = ".publish.lock";
/// The most manifests that a release lists: its documents, and two a plugin.
const MAX_MANIFESTS: usize = 2 * MAX_PLUGINS + 1;
/// The largest file that is taken: 64 MiB, as from a folder.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// The most that is taken for one release: 512 MiB.
const MAX_RELEASE_BYTES: u64 = 512 << 20;
/// The largest configuration of a component's artifact: 1 MiB.
const MAX_CONFIG_BYTES: usize = 1 << 20;

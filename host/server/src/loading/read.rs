//! Reading the release folders: the set first, then what it lists, and nothing else.
//!
//! Invariant: a file's bytes are held only where a set lists their digest and the release role of a
//! trust root of this host has signed that set, and no more than [`MAX_HELD_BYTES`] together; all
//! other files cost a stamp, and hashing within a budget. Nothing is verified here: that is
//! [`ReleaseFiles::prepare`]'s matter. A network file system can hang here, so this runs on a
//! thread that may hang.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_files::read_bounded;
use portcullis_model::{Digest, sha256};
use portcullis_trust::{Envelope, Manifest, ReleaseSet, TrustRoot, verify_revocations};

use super::{AlteredComponent, ReleaseError, ReleaseFiles, SUITE};
use crate::config::ReleasePaths;
use crate::fs::folder::{DigestCache, Folder, FolderFile, HashBudget};
use crate::trust::view::TrustView;

/// The inputs of a reading of the folders.
#[derive(Clone, Default)]
pub struct ReadContext {
    /// The trust roots under which a set may have been signed.
    pub roots: Vec<Arc<TrustRoot>>,
    /// Digests of files that were hashed before.
    pub digests: Arc<DigestCache>,
}

impl ReadContext {
    /// A reading by what is trusted now, of files that were never hashed before.
    pub fn new(trusted: &TrustView<'_>) -> Self {
        Self { roots: trusted.signers(), digests: Arc::default() }
    }
}

/// The files in the folders beyond those that the set lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderFacts {
    /// Entries that are passed over by their names.
    pub ignored: u64,
    /// Files that were not examined, since hashing them would have taken too long.
    pub unexamined: u64,
    /// Whether a folder has more files than are listed.
    pub overfull: bool,
}

impl ReleaseFiles {
    /// Reads the set, and then of the folders what it lists.
    ///
    /// # Errors
    /// The set or a folder cannot be read. A file that cannot be read is no error: it stops the
    /// release only if the set lists what is in it.
    pub fn read(paths: &ReleasePaths, reading: &ReadContext) -> Result<Self, ReleaseError> {
        let set = read_set(paths)?;
        let signed = reading.roots.iter().any(|root| verify_revocations(root, &set).is_ok());
        // Most of the time there is none; one that cannot be read permits nothing.
        let downgrade = read_bounded(&paths.downgrade, Envelope::MAX_BYTES as u64).ok();
        let listed = |folder: &std::path::Path, suffixes: &[&str]| {
            Folder::read(folder, suffixes).map_err(|error| ReleaseError::Unreadable {
                path: folder.to_owned(),
                why: error.to_string(),
            })
        };
        let plugins = listed(&paths.plugins, &[".wasm", ".json"])?;
        let settings = listed(&paths.settings, &[".json"])?;
        let mut found = Self {
            plugins: paths.plugins.clone(),
            settings_folder: paths.settings.clone(),
            set_file: paths.set.clone(),
            signed,
            downgrade,
            components: HashMap::new(),
            altered: HashMap::new(),
            envelopes: Vec::new(),
            settings: HashMap::new(),
            suites: HashMap::new(),
            present: HashMap::new(),
            unreadable: Vec::new(),
            facts: FolderFacts {
                ignored: plugins.ignored.saturating_add(settings.ignored),
                unexamined: 0,
                overfull: plugins.unlisted > 0 || settings.unlisted > 0,
            },
            progress: None,
            set,
        };
        let mut search = FileSearch {
            digests: &reading.digests,
            budget: HashBudget::new(MAX_HASHED_BYTES),
            left: MAX_HELD_BYTES,
            holds: signed,
            found: &mut found,
        };
        if let Ok(set) = ReleaseSet::unverified(&search.found.set) {
            search.manifests(&plugins, &set);
            search.components(&plugins);
            search.settings(&settings, &set);
        }
        let unexamined = search.budget.unexamined;
        found.facts.unexamined = unexamined;
        found.unreadable.extend(plugins.unreadable);
        found.unreadable.extend(settings.unreadable);
        Ok(found)
    }

    /// Returns whether the release role of a trust root of this host has signed the set.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// Returns what lies in the folders beyond what the set lists.
    pub fn facts(&self) -> FolderFacts {
        self.facts
    }

    /// Returns the files in which the set's parts were found: a change of one changes the release.
    pub fn used(&self) -> Vec<std::path::PathBuf> {
        let envelopes = self.envelopes.iter().map(|(path, _)| path.clone());
        envelopes.chain(self.present.values().cloned()).collect()
    }

    /// The manifest of this digest, with its file.
    pub(super) fn manifest(&self, digest: Digest) -> Option<(&std::path::PathBuf, &[u8])> {
        let signs = |envelope: &[u8]| {
            Envelope::parse(envelope)
                .is_ok_and(|parsed| sha256(parsed.unverified_payload()) == digest)
        };
        let found = self.envelopes.iter().find(|(_, envelope)| signs(envelope));
        found.map(|(path, envelope)| (path, envelope.as_slice()))
    }
}

/// Reads the set's file.
pub(super) fn read_set(paths: &ReleasePaths) -> Result<Vec<u8>, ReleaseError> {
    paths.read_set().map_err(|error| ReleaseError::Unreadable {
        path: paths.set.clone(),
        why: error.to_string(),
    })
}

/// Looks for what a set lists.
struct FileSearch<'a> {
    digests: &'a DigestCache,
    budget: HashBudget,
    /// How many bytes may still be held.
    left: u64,
    /// Whether the bytes of components, settings and suites are wanted.
    holds: bool,
    found: &'a mut ReleaseFiles,
}

impl FileSearch<'_> {
    /// Holds the manifests that the set lists. Small files first: a manifest is small.
    fn manifests(&mut self, folder: &Folder, set: &ReleaseSet) {
        let mut wanted: std::collections::BTreeSet<_> =
            set.entries().map(|(_, entry)| entry.manifest).collect();
        let envelope = |file: &&FolderFile| file.ends_with(".json") && !file.ends_with(SUITE);
        let mut files: Vec<_> = folder.files.iter().filter(envelope).collect();
        files.sort_by_key(|file| file.stamp.size());
        for file in files {
            if wanted.is_empty() {
                break;
            }
            let signed = match self.digests.of_signed(file, &mut self.budget) {
                Ok(Some(Some(signed))) if wanted.contains(&signed) => signed,
                Ok(_) => continue,
                Err(why) => {
                    self.found.unreadable.push((file.path.clone(), why));
                    continue;
                }
            };
            if let Some(bytes) = self.hold(file) {
                wanted.remove(&signed);
                self.found.envelopes.push((file.path.clone(), bytes));
            }
        }
    }

    /// Holds the components of those manifests, and their suites. Only a file of the right size can
    /// be a component; one that has the stem of its manifest's name comes first.
    fn components(&mut self, folder: &Folder) {
        let manifests: Vec<_> = self
            .found
            .envelopes
            .iter()
            .filter_map(|(path, envelope)| {
                let stem = crate::fs::folder::stem(path).map(str::to_owned);
                Some((stem, Manifest::unverified(envelope).ok()?))
            })
            .collect();
        for (stem, manifest) in manifests {
            let namesake = |file: &FolderFile| stem.is_some() && file.stem() == stem.as_deref();
            let component = |file: &&FolderFile| file.ends_with(".wasm");
            let fits = |file: &&FolderFile| file.stamp.size() == manifest.wasm_size;
            let mut files: Vec<_> = folder.files.iter().filter(component).filter(fits).collect();
            files.sort_by_key(|file| !namesake(file));
            if !self.one(&files, manifest.wasm) {
                // A component beside its manifest that is not the signed one was altered, which
                // says more than that one is missing.
                let beside = folder.files.iter().filter(component).find(|file| namesake(file));
                if let Some(altered) = beside.and_then(|file| self.measure(file, &manifest)) {
                    self.found.altered.insert(manifest.wasm, altered);
                }
            }
            if let Some(suite) = manifest.suite {
                let is_suite = |file: &&FolderFile| file.ends_with(SUITE);
                let mut files: Vec<_> = folder.files.iter().filter(is_suite).collect();
                files.sort_by_key(|file| (!namesake(file), file.stamp.size()));
                self.one(&files, suite.digest);
            }
        }
    }

    /// Holds the settings that the set lists.
    fn settings(&mut self, folder: &Folder, set: &ReleaseSet) {
        let mut files: Vec<_> = folder.files.iter().collect();
        files.sort_by_key(|file| file.stamp.size());
        for digest in set.settings().into_keys() {
            self.one(&files, digest);
        }
    }

    /// Looks for the one of these files that has this digest, and holds its bytes if they are
    /// wanted; says whether there is one.
    fn one(&mut self, files: &[&FolderFile], wanted: Digest) -> bool {
        if self.found.present.contains_key(&wanted) {
            return true;
        }
        for file in files {
            match self.digests.of_file(file, &mut self.budget) {
                Ok(Some(digest)) if digest == wanted => {}
                Ok(_) => continue,
                Err(why) => {
                    self.found.unreadable.push((file.path.clone(), why));
                    continue;
                }
            }
            if !self.holds {
                self.found.present.insert(wanted, file.path.clone());
                return true;
            }
            // A file that has changed since it was hashed is another file.
            let Some(bytes) = self.hold(file) else { continue };
            if sha256(&bytes) != wanted {
                continue;
            }
            self.found.present.insert(wanted, file.path.clone());
            if file.ends_with(".wasm") {
                self.found.components.insert(wanted, (file.path.clone(), bytes));
            } else if file.ends_with(SUITE) {
                self.found.suites.insert(wanted, bytes);
            } else {
                match String::from_utf8(bytes) {
                    Ok(text) => drop(self.found.settings.insert(wanted, text)),
                    Err(_) => {
                        let why = format!("`{}` is not UTF-8", file.path.display());
                        self.found.unreadable.push((file.path.clone(), why));
                    }
                }
            }
            return true;
        }
        false
    }

    /// The bytes of a file, if they may still be held.
    fn hold(&mut self, file: &FolderFile) -> Option<Vec<u8>> {
        let size = file.stamp.size();
        let Some(left) = self.left.checked_sub(size) else {
            let why = format!(
                "the files of the release set have more than {MAX_HELD_BYTES} bytes in total"
            );
            self.found.unreadable.push((file.path.clone(), why));
            return None;
        };
        match file.bytes() {
            Ok(bytes) => {
                self.left = left;
                Some(bytes)
            }
            Err(why) => {
                self.found.unreadable.push((file.path.clone(), why));
                None
            }
        }
    }

    /// Size and digest of a component that is not the signed one. The digest only where the size is
    /// right: else it says nothing more.
    fn measure(&mut self, file: &FolderFile, manifest: &Manifest) -> Option<AlteredComponent> {
        let bytes = file.stamp.size();
        if bytes != manifest.wasm_size {
            return Some(AlteredComponent { path: file.path.clone(), bytes, digest: None });
        }
        let digest = self.digests.of_file(file, &mut self.budget).ok()??;
        Some(AlteredComponent { path: file.path.clone(), bytes, digest: Some(digest) })
    }
}

/// The most bytes of one set's files that are held, together: 512 MiB, as from a registry.
const MAX_HELD_BYTES: u64 = 512 << 20;
/// The most bytes that one reading hashes of files that were not hashed before: 1 GiB, a few
/// seconds. Files that have been hashed cost nothing at the next reading.
const MAX_HASHED_BYTES: u64 = 1 << 30;

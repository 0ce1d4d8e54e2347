//! The last good release: a copy of what is active, in the host's own folder, which a start falls
//! back to.
//!
//! Invariant: a copy is complete and durable before its release is recorded as active, and an older
//! one is removed only afterwards, so that a crash at any point leaves the copy of the release that
//! the log names as active. An index names each file; it is authenticated with the key of the
//! host's memory, and every file is found by the digest that a signed document demands. No link
//! below the host's own folder is followed where a file is written or removed. The copy gives a
//! release no right of its own: it is verified like a release folder, and only the set that was
//! active last may start again. Nothing here decides when that happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_files::{
    HeldFolder, MAX_ENTRIES, free_bytes, list_bounded, read_bounded, remove_temporary_files,
    write_atomic,
};
use portcullis_model::{Digest, sha256};
use portcullis_trust::ReleaseSet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{HookIdentity, ReadContext, ReleaseError, ReleaseFiles};
use crate::config::ReleasePaths;
use crate::state_mac::StateMac;

/// The copies in the host's own folder.
pub struct LastGood {
    state: PathBuf,
    /// The host's own folder, where it is held open.
    home: Option<Arc<HeldFolder>>,
    folder: PathBuf,
    mac: StateMac,
}

/// Why a release was not copied.
#[derive(Debug, Error)]
pub enum NotKept {
    /// Its files are too large together.
    #[error("the release has {bytes} bytes of files; the host copies at most {MAX_KEPT_BYTES}")]
    TooLarge {
        /// How many.
        bytes: u64,
    },
    /// The disk has too little room.
    #[error(
        "the copy needs {bytes} bytes on the disk of trust.state, and {MIN_FREE_BYTES} bytes more \
         must stay free"
    )]
    NoRoom {
        /// How many bytes are to be written.
        bytes: u64,
    },
    /// The disk.
    #[error("cannot write `{}`: {why}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
}

/// The content of a copy.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    /// The kind of this document: other documents are authenticated with the same key.
    kind: String,
    /// The digest of the release set's signed bytes.
    set: Digest,
    /// Its version, for people.
    version: u64,
    /// File, below the folder of copies → its size in bytes.
    files: BTreeMap<String, u64>,
    /// The hooks on which nothing enforced when the set was active from the folders. Left out
    /// where there are none: earlier versions refuse an index with a member that they do not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unenforced: Vec<HookIdentity>,
}

/// The folders of the copy, held open: nothing is written or removed anywhere else.
struct Folders {
    copies: HeldFolder,
    plugins: HeldFolder,
    settings: HeldFolder,
}

impl Folders {
    /// The place of a file that an index names.
    fn place(&self, name: &str) -> PathBuf {
        match name.split_once('/') {
            Some((PLUGINS, name)) => self.plugins.at(name),
            Some((_, name)) => self.settings.at(name),
            None => self.copies.at(name),
        }
    }
}

impl LastGood {
    /// The copies in the host's own folder `state`. Reads and writes nothing yet.
    pub fn new(state: &Path, mac: StateMac) -> Self {
        Self { state: state.to_owned(), home: None, folder: state.join(FOLDER), mac }
    }

    /// Writes in the folder that is held open, whatever its path names.
    #[must_use]
    pub fn within(mut self, home: Option<&Arc<HeldFolder>>) -> Self {
        self.home = home.cloned();
        self
    }

    /// Returns whether there is a copy of this set, by its index and the sizes of its files.
    pub fn holds(&self, set: Digest) -> bool {
        self.index(set).is_ok_and(|index| {
            let there = |(name, size): (&String, &u64)| {
                fs::symlink_metadata(self.folder.join(name))
                    .is_ok_and(|facts| facts.is_file() && facts.len() == *size)
            };
            index.files.iter().all(there)
        })
    }

    /// Copies what a verified release consists of, durably. Files that are there already are not
    /// written again.
    ///
    /// # Errors
    /// The release is too large, the disk has no room for it beside [`MIN_FREE_BYTES`], or refuses;
    /// the copies that were there are whole, and nothing is left of this one.
    pub fn keep(&self, found: &ReleaseFiles, release: &ReleaseSet) -> Result<(), NotKept> {
        self.keep_with(found, release, &|| free_bytes(&self.folder))
    }

    /// The same on a disk with so much room.
    fn keep_with(
        &self,
        found: &ReleaseFiles,
        release: &ReleaseSet,
        free: &dyn Fn() -> io::Result<u64>,
    ) -> Result<(), NotKept> {
        let set = found.set_digest();
        let mut files = BTreeMap::from([(set_name(set), found.set.as_slice())]);
        for (folder, ending, bytes) in found.named_files(release) {
            files.insert(format!("{folder}/{}.{ending}", hex(sha256(bytes))), bytes);
        }
        let bytes = files.values().map(|bytes| bytes.len() as u64).sum();
        if bytes > MAX_KEPT_BYTES {
            return Err(NotKept::TooLarge { bytes });
        }
        let folders = self.folders()?;
        let is_there = |(name, bytes): &(&String, &&[u8])| {
            let place = folders.place(name);
            // A link is replaced, wherever it leads.
            fs::symlink_metadata(&place).is_ok_and(|facts| facts.is_file())
                && read_bounded(&place, bytes.len() as u64).is_ok_and(|there| there == **bytes)
        };
        let missing: Vec<_> = files.iter().filter(|file| !is_there(file)).collect();
        let bytes = missing.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let free = free().map_err(|why| NotKept::Disk { path: self.folder.clone(), why })?;
        if bytes > 0 && free < bytes.saturating_add(MIN_FREE_BYTES) {
            return Err(NotKept::NoRoom { bytes });
        }
        let mut begun = Vec::new();
        let written = missing.iter().try_for_each(|(name, bytes)| {
            let place = folders.place(name);
            // A file of that name belongs to an earlier copy, and stays.
            if fs::symlink_metadata(&place).is_err() {
                begun.push(place.clone());
            }
            self.write(&place, name, bytes)
        });
        let written = written.and_then(|()| self.complete(&files, set, release.version));
        if written.is_err() {
            begun.iter().for_each(|path| drop(fs::remove_file(path)));
        }
        written
    }

    /// Writes the index of a copy, which makes it one.
    fn complete(
        &self,
        files: &BTreeMap<String, &[u8]>,
        set: Digest,
        version: u64,
    ) -> Result<(), NotKept> {
        let sizes = files.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect();
        let (kind, unenforced) = (KIND.to_owned(), self.unenforced(set));
        self.write_index(&Index { kind, set, version, files: sizes, unenforced })
    }

    /// The hooks on which nothing enforced when this set was active from the folders, as far as
    /// that is known.
    pub fn unenforced(&self, set: Digest) -> Vec<HookIdentity> {
        self.index(set).map(|index| index.unenforced).unwrap_or_default()
    }

    /// Notes with the copy of this set, if there is one, on which hooks nothing enforces.
    ///
    /// # Errors
    /// The disk refuses; what was noted before is there.
    pub fn note_unenforced(&self, set: Digest, hooks: Vec<HookIdentity>) -> Result<(), NotKept> {
        match self.index(set) {
            Ok(index) if index.unenforced != hooks => {
                self.write_index(&Index { unenforced: hooks, ..index })
            }
            _ => Ok(()),
        }
    }

    fn write_index(&self, index: &Index) -> Result<(), NotKept> {
        let name = index_name(index.set);
        let text = self.mac.authenticate(index).map_err(|why| self.not_kept(&name, why))?;
        self.write(&self.folders()?.place(&name), &name, &text)
    }

    fn write(&self, place: &Path, name: &str, bytes: &[u8]) -> Result<(), NotKept> {
        // A link in the file's place is replaced, not followed.
        write_atomic(place, bytes, FILE_MODE).map_err(|why| self.not_kept(name, why))
    }

    fn not_kept(&self, name: &str, why: io::Error) -> NotKept {
        NotKept::Disk { path: self.folder.join(name), why }
    }

    /// The folders of the copy, made where they are missing.
    fn folders(&self) -> Result<Folders, NotKept> {
        let failed = |name: &'static str| move |why| self.not_kept(name, why);
        let state = match &self.home {
            Some(home) => Arc::clone(home),
            None => Arc::new(HeldFolder::open(&self.state).map_err(failed(""))?),
        };
        let copies = state.private_below(FOLDER).map_err(failed(""))?;
        let plugins = copies.private_below(PLUGINS).map_err(failed(PLUGINS))?;
        let settings = copies.private_below(SETTINGS).map_err(failed(SETTINGS))?;
        Ok(Folders { copies, plugins, settings })
    }

    /// Whether there is an index of this set, whatever its copy is worth.
    pub fn is_there(&self, set: Digest) -> bool {
        self.folder.join(index_name(set)).symlink_metadata().is_ok()
    }

    /// Reads the copy of this set.
    ///
    /// # Errors
    /// Why there is none that can be used, in a sentence.
    pub fn read(&self, set: Digest, reading: &ReadContext) -> Result<ReleaseFiles, String> {
        self.index(set)?;
        let [plugins, settings] = [PLUGINS, SETTINGS].map(|name| self.path(name));
        let none = self.path("no-downgrade");
        let paths = ReleasePaths::new(self.folder.join(set_name(set)), plugins, settings, none);
        let found =
            ReleaseFiles::read(&paths, reading).map_err(|error: ReleaseError| error.to_string())?;
        if found.set_digest() == set {
            Ok(found)
        } else {
            Err(format!("`{}` was altered", paths.set.display()))
        }
    }

    /// Removes every copy but the one of this set, and what an interrupted write left behind.
    ///
    /// # Errors
    /// The disk refuses; what is left is removed the next time.
    pub fn prune(&self, set: Digest) -> io::Result<()> {
        // A copy that cannot be read is replaced by the next one that is kept, never removed
        // beforehand.
        let Ok(index) = self.index(set) else { return Ok(()) };
        let Folders { copies, plugins, settings } = self.folders().map_err(io::Error::other)?;
        let mut needed: BTreeSet<PathBuf> = index.files.keys().map(PathBuf::from).collect();
        needed.insert(index_name(set).into());
        for (folder, below) in [(&copies, ""), (&plugins, PLUGINS), (&settings, SETTINGS)] {
            let place = folder.at("");
            remove_temporary_files(&place)?;
            for name in list_bounded(&place, &[".json", ".wasm", ".index"], MAX_ENTRIES)?.names {
                if !needed.contains(&Path::new(below).join(&name)) {
                    fs::remove_file(place.join(name))?;
                }
            }
        }
        Ok(())
    }

    fn index(&self, set: Digest) -> Result<Index, String> {
        let path = self.folder.join(index_name(set));
        let bytes = read_bounded(&path, MAX_INDEX_BYTES).map_err(|error| {
            if error.is_missing() {
                "this host has no copy of the release".to_owned()
            } else {
                format!("cannot read `{}`: {error}", path.display())
            }
        })?;
        let index: Index =
            self.mac.verify(&bytes).map_err(|why| format!("`{}`: {why}", path.display()))?;
        if index.kind == KIND && index.set == set {
            Ok(index)
        } else {
            Err(format!("`{}` is the index of another release", path.display()))
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn set_name(set: Digest) -> String {
    format!("{}.json", hex(set))
}

fn index_name(set: Digest) -> String {
    format!("{}.index", hex(set))
}

fn hex(digest: Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}

/// The folder of copies, below the host's own.
const FOLDER: &str = "last-good";
/// Components and manifests, below that.
const PLUGINS: &str = "plugins";
/// Settings, below that.
const SETTINGS: &str = "settings";
/// The kind of an index.
const KIND: &str = "portcullis last good release v1";
/// The most bytes of one copy: 512 MiB, as much as a registry's release may have.
const MAX_KEPT_BYTES: u64 = 512 << 20;
/// The space that a copy must leave free on the disk that holds `trust.state`: 1 GiB. The host's
/// memory of trust, and often the log, are on the same disk, and matter more than a copy.
const MIN_FREE_BYTES: u64 = 1 << 30;
/// The largest index: room for some hundred files.
const MAX_INDEX_BYTES: u64 = 1 << 20;
/// Settings name people.
const FILE_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use portcullis_keys::{SecretKey, SymmetricKey};
    use portcullis_trust::sign;

    use super::super::FolderFacts;
    use super::*;

    fn mac(byte: u8) -> StateMac {
        StateMac::new(&SymmetricKey::from_bytes([byte; 32])).unwrap()
    }

    /// A release without plugins: what it consists of is its set alone.
    fn release(version: u64) -> (ReleaseFiles, ReleaseSet) {
        let text = format!(
            r#"{{"version":{version},"issued":"2026-11-01T12:00:00Z","expires":"2026-11-08T12:00:00Z","grace":"2026-11-15T12:00:00Z","root_version":1,"plugins":{{}},"bindings":[]}}"#
        );
        let key = SecretKey::from_seed("releases.example", &[7; 32]).unwrap();
        let set = sign(ReleaseSet::PAYLOAD_TYPE, text.as_bytes(), &[&key]);
        let release = ReleaseSet::unverified(&set).unwrap();
        let found = ReleaseFiles {
            plugins: PathBuf::new(),
            settings_folder: PathBuf::new(),
            set_file: PathBuf::new(),
            set,
            signed: true,
            downgrade: None,
            components: HashMap::new(),
            altered: HashMap::new(),
            envelopes: Vec::new(),
            settings: HashMap::new(),
            suites: HashMap::new(),
            present: HashMap::new(),
            unreadable: Vec::new(),
            facts: FolderFacts::default(),
            progress: None,
        };
        (found, release)
    }

    /// Keeps a copy, whatever room the temporary folder's disk has.
    fn keep(copies: &LastGood, found: &ReleaseFiles, release: &ReleaseSet) -> Result<(), NotKept> {
        copies.keep_with(found, release, &|| Ok(u64::MAX))
    }

    #[test]
    fn a_copy_is_there_until_a_later_one_is_the_active_one() {
        let state = tempfile::tempdir().unwrap();
        let copies = LastGood::new(state.path(), mac(1));
        let ((one, first), (two, second)) = (release(1), release(2));
        assert!(!copies.holds(one.set_digest()));
        keep(&copies, &one, &first).unwrap();
        // A crash after the second was copied and before it was recorded: both can be used.
        keep(&copies, &two, &second).unwrap();
        for found in [&one, &two] {
            assert!(copies.holds(found.set_digest()));
            let read = copies.read(found.set_digest(), &ReadContext::default()).unwrap();
            assert_eq!(read.set, found.set);
            assert!(read.downgrade.is_none());
        }
        fs::write(state.path().join("last-good/.left.tmp"), "half").unwrap();
        copies.prune(two.set_digest()).unwrap();
        assert!(!copies.holds(one.set_digest()));
        assert!(copies.holds(two.set_digest()));
        let left: Vec<_> = fs::read_dir(state.path().join("last-good")).unwrap().collect();
        assert_eq!(left.len(), 4, "set, index and two folders: {left:?}");
        // Without a copy of the active one nothing is removed.
        copies.prune(one.set_digest()).unwrap();
        assert!(copies.holds(two.set_digest()));
    }

    #[test]
    fn only_an_index_of_this_host_is_believed() {
        let state = tempfile::tempdir().unwrap();
        let copies = LastGood::new(state.path(), mac(1));
        let (found, set) = release(1);
        keep(&copies, &found, &set).unwrap();
        let digest = found.set_digest();
        let refused =
            |copies: &LastGood| copies.read(digest, &ReadContext::default()).err().unwrap();
        assert!(refused(&LastGood::new(state.path(), mac(2))).contains("authentication tag"));
        let index = state.path().join("last-good").join(index_name(digest));
        let whole = fs::read(&index).unwrap();
        // The copy of another set under this one's name.
        let (other, other_set) = release(2);
        keep(&copies, &other, &other_set).unwrap();
        let others = state.path().join("last-good").join(index_name(other.set_digest()));
        fs::copy(others, &index).unwrap();
        assert!(refused(&copies).contains("another release"));
        fs::write(&index, &whole[..whole.len() / 2]).unwrap();
        assert!(!refused(&copies).is_empty());
        fs::write(&index, &whole).unwrap();
        assert!(copies.read(digest, &ReadContext::default()).is_ok());
        // The set's own file is exchanged for one that is signed as well.
        fs::write(state.path().join("last-good").join(set_name(digest)), &other.set).unwrap();
        assert!(refused(&copies).contains("was altered"));
        assert!(!copies.holds(digest) || other.set.len() == found.set.len());
        // What is wrong is put right by keeping it again.
        keep(&copies, &found, &set).unwrap();
        assert!(copies.read(digest, &ReadContext::default()).is_ok());
    }

    #[test]
    fn an_index_names_open_hooks_only_where_there_are_some() {
        let place: HookIdentity =
            serde_json::from_str(r#"{"name":"token","kind":"okta.token","path":"/token"}"#)
                .unwrap();
        for (unenforced, is_there) in [(vec![], false), (vec![place], true)] {
            let (kind, set, files) = (KIND.to_owned(), Digest([1; 32]), BTreeMap::new());
            let index = Index { kind, set, version: 1, files, unenforced };
            let text = serde_json::to_string(&index).unwrap();
            assert_eq!(text.contains("unenforced"), is_there, "{text}");
            assert_eq!(serde_json::from_str::<Index>(&text).unwrap(), index);
        }
    }

    #[test]
    fn a_copy_is_not_begun_where_the_disk_would_have_too_little_room_left() {
        let state = tempfile::tempdir().unwrap();
        let copies = LastGood::new(state.path(), mac(1));
        let (found, set) = release(1);
        let bytes = found.set.len() as u64;
        let full = copies.keep_with(&found, &set, &|| Ok(bytes + MIN_FREE_BYTES - 1));
        assert!(matches!(full, Err(NotKept::NoRoom { bytes: needs }) if needs == bytes));
        assert!(!copies.holds(found.set_digest()));
        copies.keep_with(&found, &set, &|| Ok(bytes + MIN_FREE_BYTES)).unwrap();
        // What is there already needs no room.
        copies.keep_with(&found, &set, &|| Ok(0)).unwrap();
        assert!(copies.holds(found.set_digest()));
    }

    #[test]
    fn nothing_is_left_of_a_copy_that_could_not_be_finished() {
        let state = tempfile::tempdir().unwrap();
        let copies = LastGood::new(state.path(), mac(1));
        let ((one, first), (two, second)) = (release(1), release(2));
        keep(&copies, &one, &first).unwrap();
        let files = || {
            let files = fs::read_dir(state.path().join("last-good")).unwrap();
            let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = files();
        // A folder in the place of its index.
        let index = state.path().join("last-good").join(index_name(two.set_digest()));
        fs::create_dir(&index).unwrap();
        assert!(matches!(keep(&copies, &two, &second), Err(NotKept::Disk { .. })));
        fs::remove_dir(&index).unwrap();
        assert_eq!(files(), before);
        assert!(copies.holds(one.set_digest()), "the copy that was there is whole");
    }
}

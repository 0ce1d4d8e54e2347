//! Files of a release folder: found by their names, told apart by size and digest.
//!
//! Invariant: nothing is held in memory but names, stamps and digests, and no more of them than
//! [`MAX_FILES`] a folder; a file is hashed in pieces, and again only when its stamp has changed.
//! A file that is hashed here has not been verified: whoever uses its bytes checks them.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use portcullis_files::{MAX_ENTRIES, Stamp, list_bounded, list_newest, open_regular, read_bounded};
use portcullis_model::{Digest, sha256};
use portcullis_trust::Envelope;
use sha2::{Digest as _, Sha256};

use crate::clock::since_epoch;

/// The files of a folder, as far as their names end as they should.
#[derive(Debug, Default)]
pub struct Folder {
    /// Regular files that are not too large, in the order of their names.
    pub files: Vec<FolderFile>,
    /// Everything else of such a name, and why it is not read.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Entries whose names end otherwise or begin with a dot.
    pub ignored: u64,
    /// How many files the folder has beside those that are listed, as far as that is known.
    pub unlisted: u64,
}

/// One file.
#[derive(Clone, Debug)]
pub struct FolderFile {
    /// Its path.
    pub path: PathBuf,
    /// The stamp of the file.
    pub stamp: Stamp,
}

/// Digests of files that were hashed before, by stamp: an old file costs nothing twice.
#[derive(Debug, Default)]
pub struct DigestCache {
    known: Mutex<CachedDigests>,
}

#[derive(Debug, Default)]
struct CachedDigests {
    whole: HashMap<Stamp, Digest>,
    /// Digests of what envelopes sign; `None` for a file that is no envelope.
    signed: HashMap<Stamp, Option<Digest>>,
}

/// How many bytes may still be read for hashing.
#[derive(Debug)]
pub struct HashBudget {
    left: u64,
    used: bool,
    /// Files that were passed over because nothing was left.
    pub unexamined: u64,
}

impl Folder {
    /// Lists a folder: the visible files whose names end in one of `suffixes`. Where there are too many it is any of
    /// them: of files that belong together none is more needed than another.
    ///
    /// # Errors
    /// The folder is not readable.
    pub fn read(folder: &Path, suffixes: &[&str]) -> std::io::Result<Self> {
        let listing = list_bounded(folder, suffixes, MAX_FILES)?;
        let (ignored, overlooked) = (listing.ignored, u64::from(listing.overfull));
        let paths = listing.names.iter().map(|name| folder.join(name));
        let files = paths.map(|path| (Stamp::of(&path), path));
        Ok(Self { ignored, unlisted: overlooked, ..Self::of(files) })
    }

    /// The same, with the newest files where there are too many: for documents of which the last one counts.
    ///
    /// # Errors
    /// The folder is not readable.
    pub fn read_newest(folder: &Path, suffixes: &[&str]) -> std::io::Result<Self> {
        let newest = list_newest(folder, suffixes, MAX_FILES, MAX_ENTRIES)?;
        let (ignored, overlooked) = (newest.ignored, newest.passed_over());
        let files = newest.in_order().into_iter().map(|(name, stamp)| (stamp, folder.join(name)));
        Ok(Self { ignored, unlisted: overlooked, ..Self::of(files) })
    }

    fn of(files: impl Iterator<Item = (Option<Stamp>, PathBuf)>) -> Self {
        let mut found = Self::default();
        for (stamp, path) in files {
            match stamp {
                Some(stamp) if stamp.is_regular() && stamp.size() <= LARGEST_FILE => {
                    found.files.push(FolderFile { path, stamp });
                }
                Some(stamp) if stamp.is_regular() => {
                    let why = format!("it is larger than {LARGEST_FILE} bytes");
                    found.unreadable.push((path, why));
                }
                // The system's own word for it, without opening what is no regular file.
                _ => {
                    let why = open_regular(&path).err().map(|error| error.to_string());
                    found.unreadable.push((path, why.unwrap_or_default()));
                }
            }
        }
        found
    }
}

impl FolderFile {
    /// Returns the part of its name before the first dot.
    pub fn stem(&self) -> Option<&str> {
        stem(&self.path)
    }

    /// Returns whether its name ends so.
    pub fn ends_with(&self, suffix: &str) -> bool {
        self.path.to_str().is_some_and(|path| path.ends_with(suffix))
    }

    /// Reads it whole: no more than it had when it was listed.
    ///
    /// # Errors
    /// The problem with it, in words.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        read_bounded(&self.path, self.stamp.size()).map_err(|error| error.to_string())
    }
}

impl HashBudget {
    /// A budget of that many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { left: bytes, used: false, unexamined: 0 }
    }

    /// Returns whether any of it was used.
    pub fn is_used(&self) -> bool {
        self.used
    }

    /// Takes what a file needs; says whether there was enough.
    fn take(&mut self, bytes: u64) -> bool {
        let left = self.left.checked_sub(bytes);
        match left {
            Some(left) => {
                self.left = left;
                self.used = true;
            }
            None => self.unexamined = self.unexamined.saturating_add(1),
        }
        left.is_some()
    }
}

impl DigestCache {
    /// Returns the digest of a file; `None` where it is not known and the budget is used up.
    ///
    /// # Errors
    /// The problem with the file, in words.
    pub fn of_file(
        &self,
        file: &FolderFile,
        budget: &mut HashBudget,
    ) -> Result<Option<Digest>, String> {
        if let Some(known) = self.lock().whole.get(&file.stamp) {
            return Ok(Some(*known));
        }
        if !budget.take(file.stamp.size()) {
            return Ok(None);
        }
        let reader = open_regular(&file.path).and_then(|opened| opened.take(file.stamp.size()));
        let mut reader = reader.map_err(|error| error.to_string())?;
        let (mut hash, mut piece) = (Sha256::new(), vec![0; CHUNK_BYTES]);
        loop {
            match reader.read(&mut piece).map_err(|error| error.to_string())? {
                0 => break,
                read => hash.update(piece.get(..read).unwrap_or_default()),
            }
        }
        let digest = Digest(hash.finalize().into());
        self.store(file, |known| &mut known.whole, digest);
        Ok(Some(digest))
    }

    /// Returns the digest of what an envelope signs, `None` inside for a file that is no envelope;
    /// `None` outside where it is not known and the budget is used up.
    ///
    /// # Errors
    /// The problem with the file, in words.
    pub fn of_signed(
        &self,
        file: &FolderFile,
        budget: &mut HashBudget,
    ) -> Result<Option<Option<Digest>>, String> {
        if let Some(known) = self.lock().signed.get(&file.stamp) {
            return Ok(Some(*known));
        }
        if file.stamp.size() > Envelope::MAX_BYTES as u64 {
            return Ok(Some(None));
        }
        if !budget.take(file.stamp.size()) {
            return Ok(None);
        }
        let envelope = Envelope::parse(&file.bytes()?);
        let digest = envelope.ok().map(|envelope| sha256(envelope.unverified_payload()));
        self.store(file, |known| &mut known.signed, digest);
        Ok(Some(digest))
    }

    /// Remembers a digest, unless the file has changed meanwhile or so lately that the next change
    /// could leave its times as they are.
    fn store<T>(
        &self,
        file: &FolderFile,
        of: fn(&mut CachedDigests) -> &mut HashMap<Stamp, T>,
        digest: T,
    ) {
        let now = since_epoch().unwrap_or_default().as_secs();
        let settled = i64::try_from(now)
            .is_ok_and(|now| now.saturating_sub(file.stamp.changed().0) >= SETTLED_AFTER_S);
        if settled && Stamp::of(&file.path) == Some(file.stamp) {
            let mut known = self.lock();
            let known = of(&mut known);
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(file.stamp, digest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CachedDigests> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a file's name before its first dot.
pub fn stem(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.split('.').next()
}

/// The largest file of a release: 64 MiB, above what any language's component needs.
pub const LARGEST_FILE: u64 = 64 << 20;
/// The most files of one folder that are looked at.
pub const MAX_FILES: usize = 10_000;
/// The most digests that are remembered of each kind.
const MAX_KNOWN: usize = 4 * MAX_FILES;
/// How much of a file is in memory while it is hashed, bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// How long a file must have been left alone before its digest is remembered, seconds: more than
/// the coarsest clock of a file system.
const SETTLED_AFTER_S: i64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_of_the_right_name_and_size_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("b.wasm"), "b").unwrap();
        fs::write(path("._b.wasm"), "apple").unwrap();
        fs::write(path("readme.txt"), "text").unwrap();
        fs::create_dir(path("folder.wasm")).unwrap();
        symlink("/dev/zero", path("zero.wasm")).unwrap();
        symlink("nowhere", path("dangling.wasm")).unwrap();
        symlink(path("b.wasm"), path("a.wasm")).unwrap();
        File::create(path("huge.wasm")).unwrap().set_len(LARGEST_FILE + 1).unwrap();
        let found = Folder::read(folder.path(), &[".wasm", ".json"]).unwrap();
        let names = |paths: Vec<&PathBuf>| -> Vec<String> {
            let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            paths.into_iter().map(name).collect()
        };
        assert_eq!(
            names(found.files.iter().map(|file| &file.path).collect()),
            ["a.wasm", "b.wasm"]
        );
        assert_eq!(
            names(found.unreadable.iter().map(|(path, _)| path).collect()),
            ["dangling.wasm", "folder.wasm", "huge.wasm", "zero.wasm"]
        );
        assert_eq!(found.ignored, 2);
        assert_eq!(found.unlisted, 0);
    }

    #[test]
    fn a_budget_bounds_what_is_hashed_and_counts_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.wasm", "b.wasm", "c.wasm"] {
            File::create(folder.path().join(name)).unwrap().set_len(1_000).unwrap();
        }
        let found = Folder::read(folder.path(), &[".wasm"]).unwrap();
        let (digests, mut budget) = (DigestCache::default(), HashBudget::new(1_500));
        let known: Vec<_> = found
            .files
            .iter()
            .map(|file| digests.of_file(file, &mut budget).unwrap().is_some())
            .collect();
        assert_eq!(known, [true, false, false]);
        assert_eq!(budget.unexamined, 2);
        let digest =
            digests.of_file(&found.files[0], &mut HashBudget::new(1_000)).unwrap().unwrap();
        assert_eq!(digest, sha256(&[0; 1_000]));
    }
}

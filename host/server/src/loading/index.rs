//! Release files by digest, for commands that look for what a set lists.
//!
//! Invariant: nothing but digests and paths is held; files are hashed in pieces, and only bytes
//! that somebody asks for by digest are read, and checked. Files that cannot be read are left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portcullis_model::{Digest, sha256};

use super::{MAX_CHECKED_BYTES, SUITE};
use crate::fs::folder::{DigestCache, Folder, FolderFile, HashBudget};

/// The files of some folders.
#[derive(Debug, Default)]
pub struct FileIndex {
    whole: BTreeMap<Digest, Vec<FolderFile>>,
    signed: BTreeMap<Digest, FolderFile>,
}

impl FileIndex {
    /// Indexes the `*.wasm` and `*.json` files of these folders. A folder that cannot be read has
    /// none.
    pub fn of<'p>(folders: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut index = Self::default();
        let (digests, mut budget) = (DigestCache::default(), HashBudget::new(MAX_CHECKED_BYTES));
        for folder in folders {
            let found = Folder::read(folder, &[".wasm", ".json"]).unwrap_or_default();
            for file in found.files {
                let is_json = file.ends_with(".json") && !file.ends_with(SUITE);
                if is_json && let Ok(Some(Some(signed))) = digests.of_signed(&file, &mut budget) {
                    index.signed.entry(signed).or_insert_with(|| file.clone());
                }
                if let Ok(Some(digest)) = digests.of_file(&file, &mut budget) {
                    index.whole.entry(digest).or_default().push(file);
                }
            }
        }
        index
    }

    /// Returns the bytes of a file with this digest.
    pub fn bytes(&self, digest: Digest) -> Option<Vec<u8>> {
        let files = self.whole.get(&digest)?;
        files.iter().find_map(|file| file.bytes().ok().filter(|bytes| sha256(bytes) == digest))
    }

    /// Returns the envelope that signs a document with this digest. It has not been verified.
    pub fn envelope(&self, signed: Digest) -> Option<Vec<u8>> {
        self.signed.get(&signed)?.bytes().ok()
    }

    /// Returns every file with its digest.
    pub fn files(&self) -> impl Iterator<Item = (Digest, &PathBuf)> {
        self.whole.iter().flat_map(|(digest, files)| files.iter().map(|file| (*digest, &file.path)))
    }
}

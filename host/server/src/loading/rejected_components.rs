//! Components that lie in the plugins' folder and may not run, whether or not the set lists them.
//!
//! Invariant: nothing here decides what runs. A scan holds no file in memory but one manifest at a
//! time, hashes within a budget and reports a bounded number; it takes up where the last one ended,
//! since digests are remembered.

use std::path::{Path, PathBuf};

use portcullis_model::{Digest, Millis, sha256};
use portcullis_trust::{Refusal, TrustRoot, verify_manifest};

use super::SUITE;
use crate::config::ReleasePaths;
use crate::fs::folder::stem;
use crate::fs::folder::{DigestCache, Folder, FolderFile, HashBudget};

/// A component in the plugins' folder that may not run, and why not.
pub struct RejectedComponent {
    /// Its file.
    pub path: PathBuf,
    /// Its digest; of its path where the file is not read.
    pub component: Digest,
    /// The stable code.
    pub code: &'static str,
    /// The problem with it.
    pub sentence: String,
    /// The remedy.
    pub hint: String,
}

/// The result of one scan.
#[derive(Default)]
pub struct RejectedComponents {
    /// The first of them, in the order of their names.
    pub found: Vec<RejectedComponent>,
    /// How many more there are.
    pub unlisted: u64,
    /// Files that were not examined: the next scan examines some of them.
    pub unexamined: u64,
    /// Whether this scan hashed nothing that was not known before: the next one would not either.
    pub is_fruitless: bool,
}

/// A manifest that lies there, without its bytes.
struct SeenManifest {
    path: PathBuf,
    verdict: Result<Digest, Refusal>,
}

impl RejectedComponents {
    /// Scans the plugins' folder, and the settings' for files that cannot be read. A folder that
    /// cannot be read has none.
    pub fn scan(
        paths: &ReleasePaths,
        root: &TrustRoot,
        now: Millis,
        digests: &DigestCache,
        max_bytes: u64,
    ) -> Self {
        let folder = Folder::read(&paths.plugins, &[".wasm", ".json"]).unwrap_or_default();
        let settings = Folder::read(&paths.settings, &[".json"]).unwrap_or_default();
        let mut budget = HashBudget::new(max_bytes);
        let is_manifest = |file: &&FolderFile| file.ends_with(".json") && !file.ends_with(SUITE);
        let mut rejected_components = Self::default();
        let (mut manifests, mut left_to_verify) = (Vec::new(), max_bytes);
        let mut files: Vec<_> = folder.files.iter().filter(is_manifest).collect();
        files.sort_by_key(|file| file.stamp.size());
        for file in files {
            // A file that is no envelope was found out before, or is now.
            match digests.of_signed(file, &mut budget) {
                Ok(Some(Some(_))) => {}
                Ok(Some(None) | None) => continue,
                Err(why) => {
                    rejected_components.add(unreadable(&file.path, &why));
                    continue;
                }
            }
            let Some(left) = left_to_verify.checked_sub(file.stamp.size()) else {
                rejected_components.unexamined = rejected_components.unexamined.saturating_add(1);
                continue;
            };
            left_to_verify = left;
            let Ok(envelope) = file.bytes() else { continue };
            let verdict = verify_manifest(root, &envelope, now);
            let verdict = verdict.map(|verified| verified.manifest.wasm);
            manifests.push(SeenManifest { path: file.path.clone(), verdict });
        }
        for file in folder.files.iter().filter(|file| file.ends_with(".wasm")) {
            match digests.of_file(file, &mut budget) {
                Ok(Some(component)) => {
                    if let Some(stray) = check(&file.path, component, &manifests) {
                        rejected_components.add(stray);
                    }
                }
                Ok(None) => {}
                Err(why) => rejected_components.add(unreadable(&file.path, &why)),
            }
        }
        for (path, why) in folder.unreadable.iter().chain(&settings.unreadable) {
            rejected_components.add(unreadable(path, why));
        }
        rejected_components.found.sort_by(|one, other| one.path.cmp(&other.path));
        rejected_components.unexamined =
            rejected_components.unexamined.saturating_add(budget.unexamined);
        rejected_components.is_fruitless = !budget.is_used();
        rejected_components
    }

    fn add(&mut self, stray: RejectedComponent) {
        if self.found.len() < MAX_REPORTED {
            self.found.push(stray);
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }
}

/// The problem with a component; `None` where a manifest that may be used was signed for it.
fn check(path: &Path, component: Digest, manifests: &[SeenManifest]) -> Option<RejectedComponent> {
    let is_for = |seen: &&SeenManifest| seen.verdict.as_ref().is_ok_and(|wasm| *wasm == component);
    if manifests.iter().any(|seen| is_for(&seen)) {
        return None;
    }
    let beside = stem(path).and_then(|stem| {
        manifests.iter().find(|seen| crate::fs::folder::stem(&seen.path) == Some(stem))
    });
    let (code, sentence, hint) = match beside.map(|seen| (&seen.path, &seen.verdict)) {
        Some((_, Err(refusal))) => {
            (refusal.code(), refusal.to_string(), refusal.hint().unwrap_or_default())
        }
        Some((manifest, Ok(_))) => (
            "digest-mismatch",
            format!(
                "the file is not the component that the manifest `{}` names",
                manifest.display()
            ),
            "replace it with the signed component, or ask its publisher to sign it again"
                .to_owned(),
        ),
        None => (
            "unsigned",
            "no manifest in the folder names this component".to_owned(),
            "ask its publisher to sign it with `portcullis plugin sign`, or remove it".to_owned(),
        ),
    };
    Some(RejectedComponent { path: path.to_owned(), component, code, sentence, hint })
}

fn unreadable(path: &Path, why: &str) -> RejectedComponent {
    RejectedComponent {
        path: path.to_owned(),
        component: sha256(path.as_os_str().as_encoded_bytes()),
        code: "unreadable",
        sentence: why.to_owned(),
        hint: "remove the file, or allow the host to read it".to_owned(),
    }
}

/// The most components that one scan reports by name.
const MAX_REPORTED: usize = 64;
/// The most bytes that a scan hashes while the host serves: a quarter of a second or so.
pub const MAX_SCANNED_BYTES: u64 = 256 << 20;
/// The most bytes that a scan hashes for `check`, which waits for it.
pub const MAX_CHECKED_BYTES: u64 = 4 << 30;

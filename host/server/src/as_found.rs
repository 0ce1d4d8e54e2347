//! What lay there before any of it was read: configuration file and folders, by names and how the file system says files look.
//!
//! Invariant: taken before the reading, so that what is changed meanwhile differs from it and is looked at again. Says nothing of
//! contents.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use portcullis_model::Digest;

use crate::config::Config;
use crate::digest::sha256;
use crate::release::files;

/// The file and the folders as they were found at the start. What is nothing has not been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsFound {
    /// The configuration file.
    pub file: Option<Digest>,
    /// The folders it names.
    pub folders: Option<Digest>,
}

/// What changes when somebody touches a file. One that another was renamed over is another file, whatever its size and times.
pub fn stamp(file: &Path) -> Digest {
    let looks = |it: fs::Metadata| {
        (it.dev(), it.ino(), it.len(), (it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()))
    };
    let facts = fs::metadata(file).map(looks).map_err(|error| error.kind());
    sha256(format!("{facts:?}").as_bytes())
}

/// What changes when somebody touches the folders of release and trust.
pub fn fingerprint(config: &Config) -> Digest {
    let (paths, trust) = (&config.release, &config.trust);
    let mut all = vec![paths.set.clone(), paths.downgrade.clone()];
    for folder in [&paths.plugins, &paths.settings, &trust.roots, &trust.time_documents] {
        all.extend(files(folder).unwrap_or_default());
    }
    let lines = all.iter().map(|path| format!("{}|{}\n", path.display(), stamp(path)));
    sha256(lines.collect::<String>().as_bytes())
}

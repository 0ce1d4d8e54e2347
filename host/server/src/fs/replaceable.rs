//! Files that an operator may replace while the host serves: secrets, certificates, keys.
//!
//! Invariant: a change is noticed by what the file system says of the file that a path leads to (links are followed: mounted secrets are
//! links), so that an unchanged file is never read again, and one that was wrong is spoken of once.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use portcullis_files::Stamp;

/// Some files and how they looked when they were last read.
#[derive(Debug)]
pub struct ReplaceableFiles {
    paths: Vec<PathBuf>,
    seen: Mutex<Vec<Option<Stamp>>>,
}

impl ReplaceableFiles {
    /// Watches these from now on: make it before they are read, so that no change falls in between.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = Mutex::new(paths.iter().map(|path| Stamp::of(path)).collect());
        Self { paths, seen }
    }

    /// Whether one of them has changed since this was asked last.
    pub fn changed(&self) -> bool {
        let now: Vec<_> = self.paths.iter().map(|path| Stamp::of(path)).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, now) != *seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn every_change_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "one").unwrap();
        fs::write(path("b"), "one").unwrap();
        symlink(path("a"), path("link")).unwrap();
        let watch = ReplaceableFiles::new(vec![path("link"), path("later")]);
        assert!(!watch.changed());
        let noticed = |what: &str| {
            assert!(watch.changed(), "{what}");
            assert!(!watch.changed(), "{what}, once");
        };
        fs::write(path("a"), "longer").unwrap();
        noticed("another content");
        fs::set_permissions(path("a"), fs::Permissions::from_mode(0o600)).unwrap();
        noticed("another mode");
        symlink(path("b"), path("new")).unwrap();
        fs::rename(path("new"), path("link")).unwrap();
        noticed("another file behind the link");
        fs::write(path("later"), "").unwrap();
        noticed("a file that was not there");
        fs::remove_file(path("link")).unwrap();
        noticed("a file that is gone");
    }
}

//! Files that an operator may replace while the host serves: secrets, certificates, keys.
//!
//! Invariant: a change is noticed by what the file system says of the file that a path leads to (links are followed: mounted secrets are
//! links), so that an unchanged file is never read again, and one that was wrong is spoken of once.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Some files and how they looked when they were last read.
#[derive(Debug)]
pub struct Watch {
    paths: Vec<PathBuf>,
    seen: Mutex<Vec<Stamp>>,
}

/// How a file looks from outside; nothing where it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<[i64; 8]>);

impl Watch {
    /// Watches these from now on: make it before they are read, so that no change falls in between.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = Mutex::new(paths.iter().map(Stamp::of).collect());
        Self { paths, seen }
    }

    /// Whether one of them has changed since this was asked last.
    pub fn changed(&self) -> bool {
        let now: Vec<_> = self.paths.iter().map(Stamp::of).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, now) != *seen
    }
}

impl Stamp {
    #[expect(
        clippy::cast_possible_wrap,
        reason = "numbers that are compared, and only for being the same"
    )]
    fn of(path: &PathBuf) -> Self {
        let look = |file: std::fs::Metadata| {
            let (dev, ino, size, mode) =
                (file.dev() as i64, file.ino() as i64, file.size() as i64, file.mode().into());
            [dev, ino, size, mode, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()]
        };
        Self(std::fs::metadata(path).ok().map(look))
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
        let watch = Watch::new(vec![path("link"), path("later")]);
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

//! The facts that a file system has of a file, to notice a change without reading it.
//!
//! Invariant: two stamps of one path differ where the file was exchanged or changed, as finely as
//! the file system keeps time. A stamp says nothing of the content.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a file system says of the file that a path leads to. Links are followed: mounted secrets
/// are links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    identity: [u64; 2],
    mode: u32,
    /// The size, bytes.
    size: u64,
    modified: [i64; 2],
    changed: [i64; 2],
}

impl Stamp {
    /// Returns the stamp of a path; `None` where nothing can be said of it.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let facts = std::fs::metadata(path).ok()?;
        Some(Self {
            identity: [facts.dev(), facts.ino()],
            mode: facts.mode(),
            size: facts.size(),
            modified: [facts.mtime(), facts.mtime_nsec()],
            changed: [facts.ctime(), facts.ctime_nsec()],
        })
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns whether it is the stamp of a regular file.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        crate::read::require_regular(self.mode).is_ok()
    }

    /// Returns how old the content is at least: the second since 1970 at which the file says that
    /// it was written, and not later than the file changed in any way. Whoever may write the file
    /// can make it older by this, not newer.
    #[must_use]
    pub fn written(&self) -> i64 {
        let [modified, _] = self.modified;
        let [changed, _] = self.changed;
        modified.min(changed)
    }

    /// Returns when the file last changed in any way, by the file system's clock: seconds and
    /// nanoseconds since 1970. No call sets this time, other than the time of the last writing.
    #[must_use]
    pub fn changed(&self) -> (i64, i64) {
        let [seconds, nanoseconds] = self.changed;
        (seconds, nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn every_change_of_a_file_changes_its_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "one").unwrap();
        fs::write(path("b"), "one").unwrap();
        symlink(path("a"), path("link")).unwrap();
        let mut last = Stamp::of(&path("link"));
        assert!(last.is_some_and(|stamp| stamp.is_regular() && stamp.size() == 3));
        let mut differs = |what: &str| {
            let now = Stamp::of(&path("link"));
            assert_ne!(std::mem::replace(&mut last, now), now, "{what}");
        };
        fs::write(path("a"), "longer").unwrap();
        differs("another content");
        fs::set_permissions(path("a"), fs::Permissions::from_mode(0o600)).unwrap();
        differs("another mode");
        fs::remove_file(path("link")).unwrap();
        symlink(path("b"), path("link")).unwrap();
        differs("another file behind the link");
        fs::remove_file(path("link")).unwrap();
        differs("no file");
    }
}

//! The state of the files before any of them was read: configuration file and folders, by names and
//! stamps.
//!
//! Invariant: taken before the reading, so that what is changed meanwhile differs from it and is
//! looked at again. Says nothing of contents. A poll of a folder that has not changed costs the
//! same however many old files lie in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_files::{MAX_ENTRIES, Stamp, list_bounded, list_newest};
use portcullis_model::{Digest, sha256};

use crate::clock::monotonic_now;
use crate::fs::file_worker::{FileWorkers, START_LIMIT};
use crate::fs::folder::MAX_FILES;
use crate::fs::release_paths::ReleasePaths;

/// The file and the folders as they were found at the start. `None`: not looked at yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchedFiles {
    /// The configuration file.
    pub file: Option<Digest>,
    /// The folders it names.
    pub folders: Folders,
}

/// The folders of release and trust. `None`: not looked at, or the folder has not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Release set, downgrade, plugins and settings.
    pub release: Option<Digest>,
    /// Arriving trust roots.
    pub roots: Option<Digest>,
}

/// Polls the release folder.
#[derive(Debug, Default)]
pub struct ReleasePoll {
    listed: Option<Listed>,
}

/// The folder as it was listed last.
#[derive(Debug)]
struct Listed {
    /// When.
    at: Instant,
    /// When a change was noticed last.
    changed: Instant,
    /// The stamps of the two folders themselves: they change with their names.
    folders: [Option<Stamp>; 2],
    /// Files whose content matters, and their stamps.
    used: Vec<(PathBuf, Option<Stamp>)>,
    /// Of all names and stamps.
    digest: Digest,
}

impl WatchedFiles {
    /// Looks at the folders of a configuration for the first time. A folder that hangs is looked at
    /// by the first poll.
    pub fn update(&mut self, release: &ReleasePaths, roots: &Path) {
        let (files, paths) = (FileWorkers::default(), release.clone());
        let release = move || ReleasePoll::default().poll(&paths, &[], false);
        let folder = roots.to_owned();
        self.folders = Folders {
            release: files.release.run(START_LIMIT, release),
            roots: files.roots.run(START_LIMIT, move || self::roots(&folder)),
        };
    }
}

impl ReleasePoll {
    /// Returns a digest that changes when somebody touches the release folders. The files in `used`
    /// are looked at each time. The whole folders are listed when they have changed, for a while
    /// after that, now and then, and each time where the poll is `thorough`.
    pub fn poll(&mut self, paths: &ReleasePaths, used: &[PathBuf], thorough: bool) -> Digest {
        let now = monotonic_now();
        let folders = [&paths.plugins, &paths.settings].map(|folder| Stamp::of(folder));
        let used: Vec<_> = used.iter().map(|path| (path.clone(), Stamp::of(path))).collect();
        let same = |listed: &&Listed| listed.folders == folders && listed.used == used;
        let before = self.listed.take();
        let unchanged = before.as_ref().filter(same);
        let is_fresh = |listed: &&Listed| {
            !thorough
                && now.duration_since(listed.changed) >= SETTLED_AFTER
                && now.duration_since(listed.at) < LIST_EVERY
        };
        let listed = match unchanged.filter(is_fresh) {
            Some(fresh) => Listed { folders, used, ..*fresh },
            None => {
                let digest = list(&[&paths.plugins, &paths.settings], &[".wasm", ".json"]);
                let changed = unchanged.filter(|before| before.digest == digest);
                let changed = changed.map_or(now, |before| before.changed);
                Listed { at: now, changed, folders, used, digest }
            }
        };
        let digest = listed.digest;
        self.listed = Some(listed);
        let single = [&paths.set, &paths.downgrade].map(|file| (file, Stamp::of(file)));
        sha256(format!("{single:?}|{:?}|{:?}|{digest}", paths.plugins, paths.settings).as_bytes())
    }
}

/// Returns a digest that changes when somebody touches the folder of arriving trust roots.
pub fn roots(folder: &Path) -> Digest {
    // As they are read: the newest where there are too many.
    let newest = list_newest(folder, &[".json"], MAX_FILES, MAX_ENTRIES).unwrap_or_default();
    let lines = newest.in_order().into_iter().map(|(name, stamp)| format!("{name:?}|{stamp:?}\n"));
    sha256(lines.collect::<String>().as_bytes())
}

/// What changes when somebody touches a file. One that another was renamed over is another file, whatever its size and times.
pub fn stamp(file: &Path) -> Digest {
    sha256(format!("{:?}", Stamp::of(file)).as_bytes())
}

/// The digest of the names and stamps of these folders' files.
fn list(folders: &[&Path], suffixes: &[&str]) -> Digest {
    let mut lines = String::new();
    for folder in folders {
        let listed = list_bounded(folder, suffixes, MAX_FILES).unwrap_or_default();
        for path in listed.names.iter().map(|name| folder.join(name)) {
            lines.push_str(&format!("{path:?}|{:?}\n", Stamp::of(&path)));
        }
    }
    sha256(lines.as_bytes())
}

/// For how long after a change the folders are listed at each poll: changes that follow one another
/// closely can leave a folder's times as they are.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
/// How often the folders are listed although nothing seems to have changed: some file systems keep
/// no times of folders.
const LIST_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn paths(home: &Path) -> ReleasePaths {
        let join = |name: &str| home.join(name);
        for folder in ["plugins", "settings"] {
            fs::create_dir_all(join(folder)).unwrap();
        }
        let (set, downgrade) = (join("release.json"), join("downgrade.json"));
        ReleasePaths::new(set, join("plugins"), join("settings"), downgrade)
    }

    #[test]
    fn every_change_of_the_folders_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let paths = paths(home.path());
        let mut poll = ReleasePoll::default();
        let mut last = poll.poll(&paths, &[], false);
        let mut noticed = |what: &str| {
            let now = poll.poll(&paths, &[], false);
            assert_ne!(std::mem::replace(&mut last, now), now, "{what}");
            assert_eq!(poll.poll(&paths, &[], false), now, "{what}, once");
        };
        fs::write(home.path().join("release.json"), "set").unwrap();
        noticed("a set");
        fs::write(home.path().join("plugins/a.wasm"), "one").unwrap();
        noticed("a component");
        fs::write(home.path().join("plugins/a.wasm"), "longer").unwrap();
        noticed("another content");
        fs::write(home.path().join("settings/a.json"), "{}").unwrap();
        noticed("settings");
        fs::remove_file(home.path().join("plugins/a.wasm")).unwrap();
        noticed("a component that is gone");
    }

    #[test]
    fn a_settled_folder_is_not_listed_and_its_used_files_are_looked_at() {
        let home = tempfile::tempdir().unwrap();
        let paths = paths(home.path());
        let file = |name: &str| home.path().join("plugins").join(name);
        fs::write(file("old.wasm"), "one").unwrap();
        fs::write(file("used.wasm"), "one").unwrap();
        let used = [file("used.wasm")];
        let mut poll = ReleasePoll::default();
        let first = poll.poll(&paths, &used, false);
        let listed = poll.listed.as_mut().unwrap();
        listed.changed = listed.changed.checked_sub(SETTLED_AFTER).unwrap();
        // Written where it lies: the folder itself does not change.
        fs::write(file("old.wasm"), "longer").unwrap();
        assert_eq!(poll.poll(&paths, &used, false), first, "nobody looked");
        assert_ne!(poll.poll(&paths, &used, true), first, "a thorough poll looks");
        let listed = poll.listed.as_mut().unwrap();
        listed.changed = listed.changed.checked_sub(SETTLED_AFTER).unwrap();
        let before = poll.poll(&paths, &used, false);
        fs::write(file("used.wasm"), "longer").unwrap();
        assert_ne!(poll.poll(&paths, &used, false), before, "a used file is looked at");
    }
}

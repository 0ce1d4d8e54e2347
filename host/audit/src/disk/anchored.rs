//! The file system below a log's directory, which is opened once and held.
//!
//! Invariant: once the directory is there, every name of the log is looked up in the directories
//! that were opened, and only as long as their paths still name them. So nothing of an open log can
//! land in another one that is mounted over it or renamed into its place. What was opened before
//! goes on in the file that it was opened from. Names outside the directory are looked up by their
//! path.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use portcullis_files::HeldFolder;

use super::{Disk, DiskFile, Lock};
use portcullis_tlog::{Source, SourceFile};

/// A file system with a log's directories held open.
#[derive(Debug)]
pub(crate) struct AnchoredDisk<D> {
    disk: D,
    /// The log's directory, and those below it: held once they exist.
    held: Vec<(PathBuf, OnceLock<HeldFolder>)>,
}

impl<D: Disk> AnchoredDisk<D> {
    /// Holds these directories once they are created or found; each after the one that it lies in.
    pub(crate) fn new(disk: D, dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { disk, held: dirs.into_iter().map(|dir| (dir, OnceLock::new())).collect() }
    }

    /// Returns where a path leads: into the innermost held directory that it lies in.
    fn place(&self, path: &Path) -> io::Result<PathBuf> {
        for (dir, held) in self.held.iter().rev() {
            if let (Ok(rest), Some(held)) = (path.strip_prefix(dir), held.get()) {
                held.check_path()?;
                return Ok(held.at(rest));
            }
        }
        Ok(path.to_owned())
    }

    /// Holds a directory that is there from here on.
    fn hold(&self, path: &Path) -> io::Result<()> {
        let Some((_, held)) = self.held.iter().find(|(dir, _)| dir == path) else { return Ok(()) };
        if held.get().is_none() {
            // Another thread may have been first; then its descriptor stays.
            let _ = held.set(HeldFolder::open_at(&self.place(path)?, path)?);
        }
        Ok(())
    }
}

impl<D: Disk> Source for AnchoredDisk<D> {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn SourceFile>> {
        self.disk.open_read(&self.place(path)?)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(&self.place(path)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(&self.place(dir)?)
    }
}

impl<D: Disk> Disk for AnchoredDisk<D> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(&self.place(path)?)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(&self.place(path)?)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(&self.place(path)?)?;
        self.hold(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(&self.place(from)?, &self.place(to)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(&self.place(path)?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(&self.place(path)?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.held.iter().find(|(path, _)| path == dir).and_then(|(_, held)| held.get()) {
            Some(held) => held.sync(),
            None => self.disk.sync_dir(&self.place(dir)?),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(&self.place(path)?)
    }

    fn check_place(&self) -> io::Result<()> {
        let mut held = self.held.iter().filter_map(|(_, held)| held.get());
        Ok(held.try_for_each(HeldFolder::check_path)?)
    }
}

/// The directories of a log that are held.
pub(crate) const MAX_HELD: u64 = 4;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn nothing_lands_in_a_directory_that_takes_the_place_of_the_one_that_was_opened() {
        let home = tempfile::tempdir().unwrap();
        let [dir, below] = ["audit", "audit/log"].map(|name| home.path().join(name));
        let disk = AnchoredDisk::new(OsDisk, [dir.clone(), below.clone()]);
        disk.create_dir(&dir).unwrap();
        disk.create_dir(&below).unwrap();
        disk.create(&below.join("one")).unwrap();
        disk.check_place().unwrap();
        for exchanged in [&below, &dir] {
            let elsewhere = home.path().join("elsewhere");
            fs::rename(exchanged, &elsewhere).unwrap();
            assert!(disk.check_place().is_err(), "gone");
            fs::create_dir_all(&below).unwrap();
            assert!(disk.check_place().is_err(), "another one");
            let error = disk.create(&below.join("two")).unwrap_err();
            assert!(error.to_string().contains("another folder"), "{error}");
            assert!(disk.rename(&below.join("one"), &below.join("two")).is_err());
            disk.sync_dir(&below).unwrap();
            assert_eq!(fs::read_dir(&below).unwrap().count(), 0);
            fs::remove_dir_all(exchanged).unwrap();
            fs::rename(&elsewhere, exchanged).unwrap();
            disk.check_place().unwrap();
            assert_eq!(disk.list(&below).unwrap(), ["one"]);
        }
    }
}

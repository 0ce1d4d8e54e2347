//! The seam to the file system: the few operations that the write-ahead log and its views use.
//!
//! Invariant: bytes are durable when `sync` of their file has returned, names when `sync_dir` of
//! their directory has. Nothing else is assumed of a disk; the tests' double drops everything that
//! this does not promise.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::Path;

use portcullis_files::{
    MAX_ENTRIES, create_or_empty, open_in_place, open_or_create, open_regular, read_bounded,
    sync_folder,
};
use rustix::fs::{Advice, fadvise};

use portcullis_tlog::{Source, SourceFile};

/// A file system that is written to.
pub trait Disk: Source {
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a file, or empties the one of that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a directory; one that exists is left alone.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in the same directory, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory's name.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Holds a file so that no second process can; `WouldBlock` where another holds it. Given back
    /// when dropped.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// Whether the paths of the directories that are held still name them.
    fn check_place(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An open file that is written to; positions are in bytes.
pub trait DiskFile: SourceFile {
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Makes its bytes and length durable.
    fn sync(&self) -> io::Result<()>;
    /// Hints that the bytes before `end` are not read soon, so that they need not stay in memory
    /// once they are durable.
    fn forget(&self, _end: u64) {}
}

/// A held lock.
pub trait Lock: Debug + Send + Sync {}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Source for OsDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn SourceFile>> {
        Ok(Box::new(open_regular(path)?.file))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(read_bounded(path, MAX_READ_BYTES)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "bounded below, and an error beyond")]
        let entries = fs::read_dir(dir)?;
        for entry in entries {
            if names.len() >= MAX_ENTRIES {
                return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} files")));
            }
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(open_in_place(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(create_or_empty(path, FILE_MODE)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(DIR_MODE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_folder(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = open_or_create(path, FILE_MODE)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn forget(&self, end: u64) {
        // The page that the next write goes on with stays.
        if let Some(length) = NonZeroU64::new(end - end % PAGE) {
            // If it fails, the bytes stay in memory and nothing else happens.
            let _ = fadvise(self, 0, Some(length), Advice::DontNeed);
        }
    }
}

impl Lock for File {}

/// Owner and the auditors' group.
const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;
/// The largest file that is read whole, bytes: above a bundle of the largest entries. A log can be
/// somebody else's.
const MAX_READ_BYTES: u64 = 32 << 20;
/// The kernel keeps files in pieces of this size, or of multiples of it.
const PAGE: u64 = 4096;

pub(crate) mod anchored;
#[cfg(test)]
pub(crate) mod simulated;
pub(crate) mod spare;

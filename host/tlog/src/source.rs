//! The files of a log as its readers see them: whole files, directories, and positions in a file.
//!
//! Invariant: nothing is written and no lock is taken. Readers need nothing else of a file system,
//! so a log can also be read from an archive, from memory or over a network.

use std::fmt::Debug;
use std::io;
use std::path::Path;

/// A tree of files that is read.
pub trait Source: Debug + Send + Sync {
    /// Opens a file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn SourceFile>>;
    /// Reads a whole file: a tile, a bundle of entries, a signed note.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Returns the names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
}

/// An open file; positions are in bytes.
pub trait SourceFile: Debug + Send + Sync {
    /// Fills all of `bytes`.
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()>;
    /// Returns its length.
    fn length(&self) -> io::Result<u64>;
}

#[cfg(unix)]
impl SourceFile for std::fs::File {
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, bytes, position)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

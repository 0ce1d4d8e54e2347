//! The sealed parts on disk: `sealed/NNNNNN.blobs`, the blobs of 65,536 records after one another,
//! and `sealed/NNNNNN.ends`, for each of those records the big-endian `u64` where its blob ends
//! (where the one before ends, if it has none).
//!
//! Invariant: append-only below the published size; what lies beyond it after a crash is
//! overwritten. Integrity is the leaf's digest, not this file's.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};
use portcullis_tlog::layout::{RECORDS_PER_SEALED_FILE, sealed_paths};

/// The end of the sealed files, which is written to.
#[derive(Debug)]
pub(crate) struct SealedFiles {
    dir: PathBuf,
    next: u64,
    open: Option<FilePair>,
}

#[derive(Debug)]
struct FilePair {
    blobs: Box<dyn DiskFile>,
    ends: Box<dyn DiskFile>,
    end: u64,
    new_blobs: Vec<u8>,
    new_ends: Vec<u8>,
}

impl SealedFiles {
    /// Goes on at record `next`.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, next: u64) -> io::Result<Self> {
        let mut files = Self { dir: dir.to_owned(), next, open: None };
        let within = next % RECORDS_PER_SEALED_FILE;
        if within > 0 {
            let (blobs, ends) = sealed_paths(dir, next / RECORDS_PER_SEALED_FILE);
            let ends = disk.open(&ends)?;
            let mut end = [0; 8];
            ends.read_at(&mut end, (within - 1) * 8)?;
            let end = u64::from_be_bytes(end);
            files.open = Some(FilePair {
                blobs: disk.open(&blobs)?,
                ends,
                end,
                new_blobs: Vec::new(),
                new_ends: Vec::new(),
            });
        }
        Ok(files)
    }

    /// Adds the next record's sealed part, if it has one. Whether names in the directory changed is
    /// returned.
    pub(crate) fn push(&mut self, disk: &dyn Disk, blob: Option<&[u8]>) -> io::Result<bool> {
        let mut created = false;
        if self.next.is_multiple_of(RECORDS_PER_SEALED_FILE) {
            self.sync()?;
            let (blobs, ends) = sealed_paths(&self.dir, self.next / RECORDS_PER_SEALED_FILE);
            let (blobs, ends) = (disk.create(&blobs)?, disk.create(&ends)?);
            self.open =
                Some(FilePair { blobs, ends, end: 0, new_blobs: Vec::new(), new_ends: Vec::new() });
            created = true;
        }
        if let Some(pair) = &mut self.open {
            let blob = blob.unwrap_or_default();
            let end = pair.end.saturating_add((pair.new_blobs.len() + blob.len()) as u64);
            pair.new_blobs.extend_from_slice(blob);
            pair.new_ends.extend_from_slice(&end.to_be_bytes());
            if pair.new_blobs.len() >= BUFFER_BYTES {
                pair.write(self.next.saturating_add(1))?;
            }
        }
        self.next = self.next.saturating_add(1);
        Ok(created)
    }

    /// Makes durable what has been added.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if let Some(pair) = &mut self.open {
            pair.write(self.next)?;
            pair.blobs.sync()?;
            pair.ends.sync()?;
            // Sealed parts are read when somebody audits. In memory they would be half of all that
            // a busy host keeps there.
            pair.blobs.forget(pair.end);
        }
        Ok(())
    }
}

impl FilePair {
    /// Writes what is buffered, for records before `next`.
    fn write(&mut self, next: u64) -> io::Result<()> {
        let records = (self.new_ends.len() / 8) as u64;
        if records == 0 {
            return Ok(());
        }
        let first = next.saturating_sub(records) % RECORDS_PER_SEALED_FILE;
        self.blobs.write_at(&self.new_blobs, self.end)?;
        self.ends.write_at(&self.new_ends, first * 8)?;
        self.end = self.end.saturating_add(self.new_blobs.len() as u64);
        self.new_blobs.clear();
        self.new_ends.clear();
        Ok(())
    }
}

/// Written at once at most, but for the last blob: as much as stays in a processor's cache.
const BUFFER_BYTES: usize = 256 << 10;

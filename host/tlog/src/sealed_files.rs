//! Reading the sealed parts beside a log: `sealed/NNNNNN.blobs`, the blobs of 65,536 records after
//! one another, and `sealed/NNNNNN.ends`, for each of those records the big-endian `u64` where its
//! blob ends (where the one before ends, if it has none).
//!
//! Invariant: a blob is bounded, whatever the files say. The digest in its record tells whether it
//! is the one that was recorded; only the holder of the key can open it.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::layout::{RECORDS_PER_SEALED_FILE, sealed_paths};
use crate::source::{Source, SourceFile};

/// Decrypts sealed parts. The holder of the sealing key implements it, so that reading a log needs
/// no cipher.
pub trait OpenSealed {
    /// Decrypts the sealed part of a record of this tenant and type; the plaintext is wiped when
    /// dropped.
    ///
    /// # Errors
    /// It does not open, in words for the reader.
    fn open(&self, tenant: &str, kind: &str, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// Reads sealed parts; keeps the last pair of files open.
pub struct SealedReader<'a> {
    disk: &'a dyn Source,
    dir: PathBuf,
    open: RefCell<Option<OpenPair>>,
}

struct OpenPair {
    number: u64,
    blobs: Box<dyn SourceFile>,
    ends: Box<dyn SourceFile>,
}

impl<'a> SealedReader<'a> {
    /// Reads below the directory of sealed parts.
    pub fn new(disk: &'a dyn Source, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned(), open: RefCell::new(None) }
    }

    /// Returns one record's sealed part. `None`: it has none.
    pub fn read(&self, index: u64) -> io::Result<Option<Vec<u8>>> {
        let number = index / RECORDS_PER_SEALED_FILE;
        let mut open = self.open.borrow_mut();
        let files = match open.take().filter(|open| open.number == number) {
            Some(files) => files,
            None => {
                let (blobs, ends) = sealed_paths(&self.dir, number);
                OpenPair {
                    number,
                    blobs: self.disk.open_read(&blobs)?,
                    ends: self.disk.open_read(&ends)?,
                }
            }
        };
        let files = open.insert(files);
        let end_of = |record: u64| -> io::Result<u64> {
            let mut end = [0; 8];
            files.ends.read_at(&mut end, record * 8)?;
            Ok(u64::from_be_bytes(end))
        };
        let within = index % RECORDS_PER_SEALED_FILE;
        let start = if within == 0 { 0 } else { end_of(within - 1)? };
        let end = end_of(within)?;
        if start == end {
            return Ok(None);
        }
        let length = end.checked_sub(start).filter(|length| *length <= MAX_BLOB_BYTES);
        let length = length
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut blob = vec![0; length];
        files.blobs.read_at(&mut blob, start)?;
        Ok(Some(blob))
    }
}

/// The largest sealed part, bytes; a larger difference of two ends is damage.
const MAX_BLOB_BYTES: u64 = 64 << 20;

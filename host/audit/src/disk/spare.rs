//! The file system with descriptors of its own: for a log that must go on while the process has
//! none left.
//!
//! Invariant: an operation that fails because no descriptor is free is tried again with one out of
//! a stock that was opened in advance. The gain is a few files at a time, not room for more: the
//! stock is filled up again as soon as descriptors are free. Only opening is retried: an operation
//! that changed anything is not.
//!
//! A process that opens the stock before everything else has low numbers in it. A limit that is
//! lowered while the process runs is a limit of numbers, so that giving back a number above it
//! would free nothing.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Disk, DiskFile, Lock};
use portcullis_tlog::{Source, SourceFile};

/// A stock of descriptors, of no file.
#[derive(Debug, Default)]
pub struct SpareDescriptors(Mutex<Vec<File>>);

impl SpareDescriptors {
    /// Opens the stock; where there are not enough descriptors now, the rest of it later.
    pub fn open() -> Self {
        let spares = Self::default();
        spares.fill_up();
        spares
    }

    fn fill_up(&self) {
        let mut spares = self.all();
        while spares.len() < SPARE_DESCRIPTORS {
            // If there is none now, there may be one the next time.
            #[expect(clippy::disallowed_methods, reason = "a descriptor to hold, of no file")]
            let spare = File::open("/dev/null");
            let Ok(spare) = spare else { return };
            spares.push(spare);
        }
    }

    /// Gives one back to the process, by closing it. Returns whether there was one.
    fn give_back(&self) -> bool {
        self.all().pop().is_some()
    }

    fn all(&self) -> MutexGuard<'_, Vec<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file system with spare descriptors.
#[derive(Debug)]
pub(crate) struct SpareDisk<D> {
    disk: D,
    spares: Arc<SpareDescriptors>,
}

impl<D: Disk> SpareDisk<D> {
    /// Takes the stock, and fills it up.
    pub(crate) fn new(disk: D, spares: Arc<SpareDescriptors>) -> Self {
        spares.fill_up();
        Self { disk, spares }
    }

    fn opening<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match open() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_want_of_descriptors(&error) => {
                    // Another thread can take its number first: then the next one goes.
                    if !self.spares.give_back() {
                        return Err(error);
                    }
                }
                opened => {
                    self.spares.fill_up();
                    return opened;
                }
            }
        }
    }
}

impl<D: Disk> Source for SpareDisk<D> {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn SourceFile>> {
        self.opening(|| self.disk.open_read(path))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.opening(|| self.disk.read(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.opening(|| self.disk.list(dir))
    }
}

impl<D: Disk> Disk for SpareDisk<D> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.opening(|| self.disk.open(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.opening(|| self.disk.create(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.opening(|| self.disk.create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // An error of the sync itself is never one of the two that are retried.
        self.opening(|| self.disk.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.opening(|| self.disk.lock(path))
    }

    fn check_place(&self) -> io::Result<()> {
        self.disk.check_place()
    }
}

fn is_want_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Descriptors kept in stock: as many as publishing a checkpoint needs at once under little load,
/// twice.
const SPARE_DESCRIPTORS: usize = 8;
/// All descriptors that are held here.
pub(crate) const MAX_HELD: u64 = SPARE_DESCRIPTORS as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn an_operation_without_a_descriptor_takes_one_of_the_stock_and_the_stock_is_filled_up() {
        let disk = SpareDisk::new(OsDisk, Arc::default());
        let tries = AtomicU64::new(0);
        let open = || match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Errno::MFILE.into()),
            1 => Err(Errno::INTR.into()),
            2 => Err(Errno::NFILE.into()),
            tried => Ok((tried, disk.spares.all().len())),
        };
        assert_eq!(disk.opening(open).unwrap(), (3, SPARE_DESCRIPTORS - 2));
        assert_eq!(disk.spares.all().len(), SPARE_DESCRIPTORS);
        let never = || -> io::Result<()> { Err(Errno::MFILE.into()) };
        assert_eq!(disk.opening(never).unwrap_err().raw_os_error(), Some(24));
        let full = || -> io::Result<()> { Err(Errno::NOSPC.into()) };
        assert!(disk.opening(full).is_err());
        assert_eq!(disk.spares.all().len(), SPARE_DESCRIPTORS);
    }
}

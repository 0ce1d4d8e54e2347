//! A disk in memory, so that a log can be opened some thousand times: it forgets nothing and promises no more than it keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_audit::disk::{Disk, DiskFile, Lock};

/// The disk.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, File>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

#[derive(Debug)]
struct Held;

impl Memory {
    /// With one directory.
    pub fn new(dir: &Path) -> Self {
        Self(Mutex::new(Names { dirs: BTreeSet::from([dir.to_owned()]), ..Names::default() }))
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, path: &Path) -> Result<File> {
        self.names().files.get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Disk for Memory {
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.find(path)?))
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = File::default();
        self.names().files.insert(path.to_owned(), file.clone());
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        Ok(self.find(path)?.bytes().clone())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let names = self.names();
        if !names.dirs.contains(dir) {
            return Err(ErrorKind::NotFound.into());
        }
        let below = names.files.keys().chain(&names.dirs).filter(|path| path.parent() == Some(dir));
        let listed: BTreeSet<_> = below.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect();
        Ok(listed.into_iter().collect())
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.names().dirs.insert(path.to_owned());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut names = self.names();
        let file = names.files.remove(from).ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        names.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.names().files.remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        self.names().dirs.remove(path);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> Result<Box<dyn Lock>> {
        Ok(Box::new(Held))
    }
}

impl File {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        let start = usize::try_from(position).map_err(Error::other)?;
        let mut content = self.bytes();
        let end = start + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content.get_mut(start..end).ok_or(ErrorKind::UnexpectedEof)?.copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> Result<()> {
        let start = usize::try_from(position).map_err(Error::other)?;
        bytes.copy_from_slice(self.bytes().get(start..start + bytes.len()).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> Result<u64> {
        u64::try_from(self.bytes().len()).map_err(Error::other)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

impl Lock for Held {}

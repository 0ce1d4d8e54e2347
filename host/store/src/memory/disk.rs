//! The disk view in a file of its own.
//!
//! Invariant: one transaction of the file holds rows, their keys, and the place of the log, and is
//! durable when `commit` returns. The whole file is checked whenever it is opened, so that a
//! corrupt one is found before anything of it is used. The file is not mapped into memory.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition,
};

use super::backend::{Backend, Batch, RowChange, RowVisitor, Stored};
use super::error::{BackendError, OpenError};
use super::keys::WrappedKey;
use super::names::{NamespaceId, RowKey};

/// A view in a file.
pub struct DiskView {
    path: PathBuf,
    /// `None` after an error, until the file was opened again.
    database: Mutex<Option<Database>>,
}

impl DiskView {
    /// Opens the file in a folder, and creates it where it is missing.
    ///
    /// # Errors
    /// The disk refused, another process has it open, or it is corrupt.
    pub fn open(folder: &Path) -> Result<Self, BackendError> {
        let path = folder.join(FILE_NAME);
        let database = open(&path)?;
        Ok(Self { path, database: Mutex::new(Some(database)) })
    }

    /// Renames the file in a folder, so that a new one takes its place; returns its new name.
    ///
    /// # Errors
    /// The disk refused, or [`MAX_SET_ASIDE`] files were renamed before and are still there.
    pub fn set_aside(folder: &Path) -> Result<PathBuf, OpenError> {
        let path = folder.join(FILE_NAME);
        let refused =
            |why: &io::Error| OpenError::SetAside { path: path.clone(), why: why.to_string() };
        for number in 1..=MAX_SET_ASIDE {
            let aside = folder.join(format!("{FILE_NAME}.corrupt-{number}"));
            if fs::symlink_metadata(&aside).is_ok() {
                continue;
            }
            fs::rename(&path, &aside).map_err(|error| refused(&error))?;
            portcullis_files::sync_folder(folder).map_err(|error| refused(&error))?;
            return Ok(aside);
        }
        let why = format!("{MAX_SET_ASIDE} corrupt files are there already; move them away");
        Err(OpenError::SetAside { path, why })
    }

    /// Runs `work` on the database, which is opened again after an error. A panic of the database
    /// about the content of the file is an error like any other.
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, BackendError> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match slot.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
        let done = guarded(|| Ok((work(&database), database)))?;
        match done {
            (Ok(result), database) => {
                *slot = Some(database);
                Ok(result)
            }
            (Err(error), database) => {
                drop(database);
                Err(failed(&self.path, error))
            }
        }
    }
}

impl Backend for DiskView {
    fn stored(&self) -> Result<Stored, BackendError> {
        self.with(|database| {
            let read = database.begin_read()?;
            let mut stored = Stored::default();
            match read.open_table(META) {
                Ok(meta) => {
                    let number =
                        |name| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |n| n.value()));
                    (stored.version, stored.applied) = (number(VERSION)?, number(APPLIED)?);
                }
                // Nothing was ever written.
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(stored),
                Err(error) => return Err(error.into()),
            }
            if let Some(check) = read.open_table(TEXTS)?.get(KEY_CHECK)? {
                stored.key_check = check.value().to_vec();
            }
            for entry in read.open_table(NAMESPACES)?.iter()? {
                let (id, name) = entry?;
                stored.namespaces.push((NamespaceId(id.value()), name.value().to_vec()));
            }
            Ok(stored)
        })
    }

    fn rows(&self, row: &mut RowVisitor<'_>) -> Result<(), BackendError> {
        self.with(|database| {
            let read = database.begin_read()?;
            let (cells, keys) = match (read.open_table(CELLS), read.open_table(KEYS)) {
                (Ok(cells), Ok(keys)) => (cells, keys),
                (Err(redb::TableError::TableDoesNotExist(_)), _) => return Ok(Ok(())),
                (Err(error), _) | (_, Err(error)) => return Err(error.into()),
            };
            let mut keys = keys.iter()?;
            for entry in cells.iter()? {
                let (name, sealed) = entry?;
                // Both tables have the same rows, in the same order.
                let key = keys.next().transpose()?;
                let Some((_, key)) = key.filter(|(key_name, _)| key_name.value() == name.value())
                else {
                    return Ok(Err(BackendError::Corrupt("a row without its key".to_owned())));
                };
                if let Err(error) = row(&name.value(), &key.value(), sealed.value()) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        })?
    }

    fn commit(&self, batch: &Batch) -> Result<(), BackendError> {
        self.with(|database| {
            let write = database.begin_write()?;
            {
                let mut meta = write.open_table(META)?;
                let found = meta.get(VERSION)?.map_or(0, |version| version.value());
                if found != batch.expected {
                    let expected = batch.expected;
                    return Ok(Err(BackendError::VersionMoved { expected, found }));
                }
                meta.insert(VERSION, found.saturating_add(1))?;
                meta.insert(APPLIED, batch.applied)?;
                write.open_table(TEXTS)?.insert(KEY_CHECK, &*batch.key_check)?;
                let mut namespaces = write.open_table(NAMESPACES)?;
                for (id, name) in &batch.namespaces {
                    namespaces.insert(id.0, &**name)?;
                }
                let (mut cells, mut keys) = (write.open_table(CELLS)?, write.open_table(KEYS)?);
                for (name, change) in &batch.rows {
                    match change {
                        RowChange::Put { key, sealed } => {
                            cells.insert(*name, &**sealed)?;
                            if let Some(key) = key {
                                keys.insert(*name, *key)?;
                            }
                        }
                        RowChange::Delete => {
                            cells.remove(*name)?;
                            keys.remove(*name)?;
                        }
                    }
                }
            }
            write.commit()?;
            Ok(Ok(()))
        })?
    }
}

fn open(path: &Path) -> Result<Database, BackendError> {
    let file = portcullis_files::open_or_create(path, MODE)
        .map_err(|error| BackendError::Disk { path: path.to_owned(), why: error.to_string() })?;
    guarded(|| create(file).map_err(|error| failed(path, redb::Error::from(error))))
}

fn create(file: File) -> Result<Database, DatabaseError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(FileBackend::new(file)?)
}

/// Runs what reads the file. The database asserts what it believes about its own file.
fn guarded<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, BackendError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(BackendError::Corrupt("the database gave up on its content".to_owned()))
    })
}

fn failed(path: &Path, error: redb::Error) -> BackendError {
    match error {
        redb::Error::Corrupted(why) => BackendError::Corrupt(why),
        redb::Error::Io(error) if is_content(&error) => BackendError::Corrupt(error.to_string()),
        redb::Error::UpgradeRequired(version) => {
            BackendError::Corrupt(format!("it has the format {version}, which no version wrote"))
        }
        other => BackendError::Disk { path: path.to_owned(), why: other.to_string() },
    }
}

/// Whether an error is about the content of the file and not about the disk.
fn is_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TEXTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("texts");
const NAMESPACES: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("namespaces");
const CELLS: TableDefinition<'_, RowKey, &[u8]> = TableDefinition::new("cells");
const KEYS: TableDefinition<'_, RowKey, WrappedKey> = TableDefinition::new("keys");

const VERSION: &str = "version";
const APPLIED: &str = "applied";
const KEY_CHECK: &str = "key check";

/// The name of the file in its folder.
pub const FILE_NAME: &str = "memory.redb";

const MODE: u32 = 0o600;

/// Pages of the file that the database keeps in RAM. All rows are in RAM anyway, so it only saves
/// reads while rows are written.
const CACHE_BYTES: usize = 16 << 20;

/// Corrupt files that are kept at most. With so many the memory is not opened until they were moved
/// away.
pub const MAX_SET_ASIDE: u32 = 9;

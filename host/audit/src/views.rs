//! The views of the write-ahead log that others read: tiles, entry bundles, sealed parts, and the
//! signed checkpoint over them.
//!
//! Invariant: a checkpoint is signed only when all that it covers is durable, and it continues the
//! one before: it is grown from that one's own tiles, whose root was checked against it when the
//! log was opened. Its size is the applied position: all before it lives here and no longer needs
//! the write-ahead log. What it does not cover may be half-written, and is written again after a
//! crash.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::AuditError;
use crate::sealed_files::SealedFiles;
use portcullis_tlog::checkpoint::Checkpoint;
use portcullis_tlog::frame::Framed;
use portcullis_tlog::layout::CHECKPOINT;
use portcullis_tlog::note::Signer;
use portcullis_tlog::tiles::{Row, TILE_WIDTH, Tile, TileReader, entries, hashes_in, push_entry};
use portcullis_tlog::tree::{Frontier, Hash, leaf_hash, perfect_root};

/// The writing end of the views.
pub(crate) struct Views {
    disk: Arc<dyn Disk>,
    log: PathBuf,
    signer: Arc<dyn Signer>,
    sealed_files: SealedFiles,
    sealed_dir: PathBuf,
    head: Checkpoint,
    size: u64,
    /// The hashes of the unfinished tile of each level.
    levels: Vec<Vec<Hash>>,
    /// The unfinished bundle.
    bundle: Vec<u8>,
    /// Written and not yet synced, with their lengths.
    files: Vec<(Box<dyn DiskFile>, u64)>,
    /// Directories with new names not yet synced.
    dirs: BTreeSet<PathBuf>,
    /// Directories known to exist.
    known: BTreeSet<PathBuf>,
    /// Tiles that became full, whose partial forms go once a checkpoint covers them.
    filled: Vec<Tile>,
}

impl Views {
    /// The checkpoint in `log`, or `None` where there is none yet.
    pub(crate) fn checkpoint(
        disk: &dyn Disk,
        log: &Path,
        signer: &dyn Signer,
    ) -> Result<Option<Checkpoint>, AuditError> {
        let path = log.join(CHECKPOINT);
        match disk.read(&path) {
            Ok(note) => match Checkpoint::verify(&note, signer.public()) {
                Ok(head) => Ok(Some(head)),
                Err(cause) => Err(AuditError::Checkpoint { dir: log.display().to_string(), cause }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(AuditError::disk(&path, "read")(error)),
        }
    }

    /// Goes on from `head`, after checking that the tiles on disk hash to it.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        log: &Path,
        sealed: &Path,
        signer: Arc<dyn Signer>,
        head: Checkpoint,
    ) -> Result<Self, AuditError> {
        let (levels, bundle) = edge(disk.as_ref(), log, &head)?;
        let sealed_files = SealedFiles::open(disk.as_ref(), sealed, head.size)
            .map_err(AuditError::disk(sealed, "read"))?;
        let mut views = Self {
            disk,
            log: log.to_owned(),
            signer,
            sealed_files,
            sealed_dir: sealed.to_owned(),
            size: head.size,
            head,
            levels,
            bundle,
            files: Vec::new(),
            dirs: BTreeSet::new(),
            known: BTreeSet::new(),
            filled: Vec::new(),
        };
        views.sweep().map_err(AuditError::disk(log, "swept"))?;
        Ok(views)
    }

    /// The same views, opened anew from the checkpoint on disk, as after a crash: what could not be
    /// written is left behind, and what the checkpoint does not cover is written again from the
    /// write-ahead log.
    pub(crate) fn reopen(&mut self) -> Result<Self, AuditError> {
        // Their descriptors may be the ones that are missing.
        self.files.clear();
        let head = Self::checkpoint(self.disk.as_ref(), &self.log, self.signer.as_ref())?
            .ok_or_else(|| AuditError::CheckpointMissing(self.log.display().to_string()))?;
        self.disk.sync_dir(&self.log).map_err(AuditError::disk(&self.log, "synced"))?;
        if head.size < self.head.size {
            let what = format!(
                "the checkpoint covers {} records, and covered {}",
                head.size, self.head.size
            );
            return Err(AuditError::Tiles { dir: self.log.display().to_string(), what });
        }
        Self::open(
            Arc::clone(&self.disk),
            &self.log,
            &self.sealed_dir,
            Arc::clone(&self.signer),
            head,
        )
    }

    /// Signs and writes the checkpoint of a log without entries.
    pub(crate) fn begin(
        disk: &dyn Disk,
        log: &Path,
        signer: &dyn Signer,
    ) -> io::Result<Checkpoint> {
        let root = Frontier::default().root();
        let head = Checkpoint { origin: signer.public().name().to_owned(), size: 0, root };
        write_checkpoint(disk, log, &head.sign(signer))?;
        Ok(head)
    }

    /// Number of records taken, published or not.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The last published checkpoint.
    pub(crate) fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// The last leaf, if the unfinished bundle or the one before holds it.
    pub(crate) fn last_leaf(&self) -> io::Result<Option<Vec<u8>>> {
        let Some(last) = self.size.checked_sub(1) else { return Ok(None) };
        if let Some(leaf) =
            entries(&self.bundle).and_then(|entries| entries.last().map(|leaf| leaf.to_vec()))
        {
            return Ok(Some(leaf));
        }
        TileReader::new(self.disk.as_ref(), &self.log, self.size).entry(last).map(Some)
    }

    /// Takes the next record, and its leaf's hash.
    pub(crate) fn apply(&mut self, record: &Framed<'_>, hash: Hash) -> io::Result<()> {
        if record.index != self.size || !push_entry(&mut self.bundle, record.leaf) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a record out of order or too long reached the views",
            ));
        }
        if self.sealed_files.push(self.disk.as_ref(), record.sealed)? {
            self.dirs.insert(self.sealed_dir.clone());
        }
        self.size = self.size.saturating_add(1);
        if self.size.is_multiple_of(TILE_WIDTH) {
            let tile =
                Tile { row: Row::Entries, index: self.size / TILE_WIDTH - 1, width: TILE_WIDTH };
            let mut bundle = std::mem::take(&mut self.bundle);
            self.write(tile, &bundle)?;
            bundle.clear();
            self.bundle = bundle;
            self.filled.push(tile);
        }
        self.push_hash(0, hash)
    }

    /// Makes all that was taken durable and signs a checkpoint over it. Returns its size. The
    /// write-ahead log must be durable up to here.
    pub(crate) fn publish(&mut self) -> io::Result<u64> {
        if self.size == self.head.size {
            return Ok(self.size);
        }
        self.write_partials()?;
        self.sealed_files.sync()?;
        self.sync()?;
        let head =
            Checkpoint { origin: self.head.origin.clone(), size: self.size, root: self.root() };
        write_checkpoint(self.disk.as_ref(), &self.log, &head.sign(self.signer.as_ref()))?;
        self.head = head;
        for tile in std::mem::take(&mut self.filled) {
            self.remove_partials(tile)?;
        }
        Ok(self.size)
    }

    fn push_hash(&mut self, level: u8, hash: Hash) -> io::Result<()> {
        if self.levels.len() <= usize::from(level) {
            self.levels.resize_with(usize::from(level) + 1, Vec::new);
        }
        let Some(row) = self.levels.get_mut(usize::from(level)) else { return Ok(()) };
        row.push(hash);
        if row.len() as u64 != TILE_WIDTH {
            return Ok(());
        }
        let full = std::mem::take(row);
        let index = hashes_in(Row::Hashes(level), self.size) / TILE_WIDTH - 1;
        let tile = Tile { row: Row::Hashes(level), index, width: TILE_WIDTH };
        self.write(tile, full.as_flattened())?;
        self.filled.push(tile);
        match perfect_root(&full) {
            Some(root) => self.push_hash(level + 1, root),
            None => Ok(()),
        }
    }

    fn root(&self) -> Hash {
        root(&self.levels)
    }

    /// Writes the unfinished tiles that grew since the last checkpoint.
    fn write_partials(&mut self) -> io::Result<()> {
        let rows =
            (0..self.levels.len()).filter_map(|level| u8::try_from(level).ok().map(Row::Hashes));
        for row in rows.chain([Row::Entries]).collect::<Vec<_>>() {
            let index = hashes_in(row, self.size) / TILE_WIDTH;
            let Some(tile) = Tile::at(row, index, self.size) else { continue };
            if Tile::at(row, index, self.head.size) == Some(tile) {
                continue;
            }
            let bytes = match row {
                Row::Hashes(level) => {
                    self.levels.get(usize::from(level)).map(|row| row.as_flattened().to_vec())
                }
                Row::Entries => Some(self.bundle.clone()),
            };
            self.write(tile, &bytes.unwrap_or_default())?;
        }
        Ok(())
    }

    fn write(&mut self, tile: Tile, bytes: &[u8]) -> io::Result<()> {
        let path = self.log.join(tile.path());
        if let Some(dir) = path.parent() {
            self.ensure_dir(dir)?;
            self.dirs.insert(dir.to_owned());
        }
        let file = self.disk.create(&path)?;
        file.write_at(bytes, 0)?;
        self.files.push((file, bytes.len() as u64));
        if self.files.len() >= OPEN_FILES { self.sync_files() } else { Ok(()) }
    }

    /// Creates a directory and those above it. The name of one that was there may not be durable
    /// yet: it is synced once a start.
    fn ensure_dir(&mut self, dir: &Path) -> io::Result<()> {
        if dir == self.log || self.known.contains(dir) {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            self.ensure_dir(parent)?;
            self.disk.create_dir(dir)?;
            self.dirs.insert(parent.to_owned());
        }
        self.known.insert(dir.to_owned());
        Ok(())
    }

    fn sync_files(&mut self) -> io::Result<()> {
        for (file, bytes) in self.files.drain(..) {
            file.sync()?;
            file.forget(bytes);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_files()?;
        for dir in std::mem::take(&mut self.dirs) {
            self.disk.sync_dir(&dir)?;
        }
        Ok(())
    }

    fn remove_partials(&mut self, tile: Tile) -> io::Result<()> {
        let dir = self.log.join(tile.partial_dir());
        self.known.remove(&dir);
        remove_tree(self.disk.as_ref(), &dir)
    }

    /// Removes partial forms that no checkpoint covers, left by a crash, and those that a full tile
    /// has superseded.
    fn sweep(&mut self) -> io::Result<()> {
        let mut rows: Vec<_> = (0..=8).map(Row::Hashes).collect();
        rows.push(Row::Entries);
        for row in rows {
            // A crash leaves at most what one round of publishing wrote: the neighbourhood of the
            // edge.
            let edge = hashes_in(row, self.head.size) / TILE_WIDTH;
            let (low, high) = (edge.saturating_sub(ROUND_TILES), edge.saturating_add(ROUND_TILES));
            for thousand in low / 1000..=high / 1000 {
                for index in self.with_partials(row, thousand * 1000) {
                    self.sweep_tile(row, index)?;
                }
            }
        }
        Ok(())
    }

    /// Those of the thousand tiles from `first` that have a directory of partial forms.
    fn with_partials(&self, row: Row, first: u64) -> Vec<u64> {
        let dir = self.log.join(Tile { row, index: first, width: TILE_WIDTH }.path());
        let names = dir.parent().and_then(|dir| self.disk.list(dir).ok()).unwrap_or_default();
        let numbers = names.iter().filter_map(|name| name.strip_suffix(".p")?.parse::<u64>().ok());
        numbers.map(|number| first.saturating_add(number)).collect()
    }

    fn sweep_tile(&mut self, row: Row, index: u64) -> io::Result<()> {
        let width = Tile::at(row, index, self.head.size).map_or(0, |tile| tile.width);
        let dir = self.log.join(Tile { row, index, width: TILE_WIDTH }.partial_dir());
        let stale = |name: &str| {
            width == TILE_WIDTH || name.parse().is_ok_and(|partial: u64| partial > width)
        };
        for name in self.disk.list(&dir)?.iter().filter(|name| stale(name)) {
            self.disk.remove(&dir.join(name))?;
            self.dirs.insert(dir.clone());
        }
        Ok(())
    }
}

/// The unfinished tiles and bundle of a log, whose root is checked against its checkpoint and whose
/// leaf hashes against the bundle.
fn edge(
    disk: &dyn Disk,
    log: &Path,
    head: &Checkpoint,
) -> Result<(Vec<Vec<Hash>>, Vec<u8>), AuditError> {
    let wrong = |what: String| AuditError::Tiles { dir: log.display().to_string(), what };
    let tiles = TileReader::new(disk, log, head.size);
    let unfinished = |row| Tile::at(row, hashes_in(row, head.size) / TILE_WIDTH, head.size);
    let unreadable = |tile: Tile| {
        move |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                wrong(format!("`{}` could not be read: {error}", tile.path()))
            }
            // The disk's matter, or that of the number of open files: it says nothing about the
            // tile.
            _ => AuditError::disk(&log.join(tile.path()), "read")(error),
        }
    };
    let mut levels = Vec::new();
    for level in (0..=8u8).take_while(|level| hashes_in(Row::Hashes(*level), head.size) > 0) {
        levels.push(match unfinished(Row::Hashes(level)) {
            Some(tile) => tiles.hashes(tile).map_err(unreadable(tile))?,
            None => Vec::new(),
        });
    }
    if root(&levels) != head.root {
        return Err(wrong(format!("the root over {} entries is another", head.size)));
    }
    let Some(tile) = unfinished(Row::Entries) else { return Ok((levels, Vec::new())) };
    let bundle = tiles.read(tile).map_err(unreadable(tile))?;
    let leaves = entries(&bundle)
        .map(|entries| entries.iter().map(|entry| leaf_hash(entry)).collect::<Vec<_>>());
    if leaves.as_ref() != levels.first() {
        return Err(wrong(format!(
            "`{}` does not hold the entries that the tree was built from",
            tile.path()
        )));
    }
    Ok((levels, bundle))
}

/// The root of a tree from the hashes of its unfinished tiles, highest level first.
fn root(levels: &[Vec<Hash>]) -> Hash {
    let mut frontier = Frontier::default();
    for (level, row) in levels.iter().enumerate().rev() {
        for hash in row {
            frontier.push_subtree(u32::try_from(level * 8).unwrap_or(u32::MAX), *hash);
        }
    }
    frontier.root()
}

/// Replaces the checkpoint in one step: as `portcullis_files::write_atomic` does, but through the
/// disk that tests simulate.
fn write_checkpoint(disk: &dyn Disk, log: &Path, note: &str) -> io::Result<()> {
    let fresh = log.join(FRESH_CHECKPOINT);
    let file = disk.create(&fresh)?;
    file.write_at(note.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&fresh, &log.join(CHECKPOINT))?;
    disk.sync_dir(log)
}

/// Removes a directory of files; one that is not there is fine.
fn remove_tree(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for name in names {
        disk.remove(&dir.join(name))?;
    }
    disk.remove_dir(dir)
}

const FRESH_CHECKPOINT: &str = ".checkpoint";

/// Files held open before they are synced.
pub(crate) const OPEN_FILES: usize = 8;

/// Records that one round of publishing takes at most, so that a crash leaves few files and a round
/// has an end.
pub(crate) const ROUND_RECORDS: u64 = 65_536;
const ROUND_TILES: u64 = ROUND_RECORDS / TILE_WIDTH + 1;

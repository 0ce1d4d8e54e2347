//! Tiles and entry bundles (C2SP tlog-tiles v0.1.0): their paths and bytes, and the tree's hashes
//! read back from them.
//!
//! Invariant: a path and a width follow from (row, index, size of the log) alone. When they are
//! written is decided by the writer of the log.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::source::Source;
use crate::tree::{Hash, Nodes, perfect_root};

/// Entries or hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;

/// The most bytes an entry can have: its length is a big-endian `u16`.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// Which tile: a row of hashes by level, or the entries themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Row {
    /// Level 0 holds leaf hashes; each level above holds the roots of full tiles of the level
    /// below.
    Hashes(u8),
    /// The entries of a level-0 tile.
    Entries,
}

impl Row {
    /// Returns the levels of the tree below one hash of this row.
    fn height(self) -> u32 {
        match self {
            Self::Hashes(level) => u32::from(level) * 8,
            Self::Entries => 0,
        }
    }
}

/// One tile file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Its row.
    pub row: Row,
    /// Its place in the row.
    pub index: u64,
    /// How many hashes or entries it holds: 1 to 256.
    pub width: u64,
}

impl Tile {
    /// Returns the tile as it is in a log of `size` entries. `None`: it holds nothing yet.
    pub fn at(row: Row, index: u64, size: u64) -> Option<Self> {
        let width =
            hashes_in(row, size).saturating_sub(index.saturating_mul(TILE_WIDTH)).min(TILE_WIDTH);
        (width > 0).then_some(Self { row, index, width })
    }

    /// Returns all tiles of a row in a log of `size` entries.
    pub fn row(row: Row, size: u64) -> impl Iterator<Item = Self> {
        (0..hashes_in(row, size).div_ceil(TILE_WIDTH))
            .filter_map(move |index| Self::at(row, index, size))
    }

    /// Returns whether it holds all it ever will.
    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Returns the path below the log's directory, such as `tile/0/x001/x234/067` or
    /// `tile/entries/000.p/17`.
    pub fn path(&self) -> String {
        let full = self.full_path();
        if self.is_full() { full } else { format!("{full}.p/{}", self.width) }
    }

    /// Returns the directory that holds the partial forms of this tile.
    pub fn partial_dir(&self) -> String {
        format!("{}.p", self.full_path())
    }

    fn full_path(&self) -> String {
        let row = match self.row {
            Row::Hashes(level) => level.to_string(),
            Row::Entries => "entries".to_owned(),
        };
        format!("tile/{row}/{}", number(self.index))
    }
}

/// Adds an entry to a bundle. Returns whether it was added: a longer one than the format allows is
/// not.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// Returns the entries of a bundle. `None`: its lengths do not add up.
pub fn entries(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bundle = rest;
    }
    Some(entries)
}

/// Returns the hashes of a tile's bytes. `None`: they are not whole hashes.
pub fn hashes(tile: &[u8]) -> Option<&[Hash]> {
    let (hashes, rest) = tile.as_chunks::<32>();
    rest.is_empty().then_some(hashes)
}

/// Returns the number of hashes in a row of a log of `size` entries.
pub fn hashes_in(row: Row, size: u64) -> u64 {
    size.checked_shr(row.height()).unwrap_or(0)
}

/// Reads tiles and bundles of a log of a given size; keeps the last few it read.
pub struct TileReader<'a> {
    disk: &'a dyn Source,
    log: PathBuf,
    size: u64,
    kept: RefCell<HashMap<Tile, Vec<u8>>>,
}

impl<'a> TileReader<'a> {
    /// Reads below the directory `log`, as of `size` entries.
    pub fn new(disk: &'a dyn Source, log: &Path, size: u64) -> Self {
        Self { disk, log: log.to_owned(), size, kept: RefCell::default() }
    }

    /// Returns the bytes of a tile. If its partial form has been superseded, they are the beginning
    /// of the full one.
    pub fn read(&self, tile: Tile) -> io::Result<Vec<u8>> {
        match self.disk.read(&self.log.join(tile.path())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !tile.is_full() => {
                let full =
                    self.disk.read(&self.log.join(Tile { width: TILE_WIDTH, ..tile }.path()))?;
                beginning(tile, full).ok_or_else(|| damaged(tile))
            }
            other => other,
        }
    }

    /// Returns the hashes of a tile, exactly as many as its width.
    pub fn hashes(&self, tile: Tile) -> io::Result<Vec<Hash>> {
        let bytes = self.cached(tile)?;
        let hashes = hashes(&bytes).filter(|hashes| hashes.len() as u64 == tile.width);
        hashes.map(<[Hash]>::to_vec).ok_or_else(|| damaged(tile))
    }

    /// Returns the entry at an index.
    pub fn entry(&self, index: u64) -> io::Result<Vec<u8>> {
        let tile =
            Tile::at(Row::Entries, index / TILE_WIDTH, self.size).filter(|_| index < self.size);
        let tile = tile.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let bundle = self.cached(tile)?;
        let at = usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX);
        let entry =
            entries(&bundle).and_then(|entries| entries.get(at).map(|entry| entry.to_vec()));
        entry.ok_or_else(|| damaged(tile))
    }

    fn cached(&self, tile: Tile) -> io::Result<Vec<u8>> {
        if let Some(bytes) = self.kept.borrow().get(&tile) {
            return Ok(bytes.clone());
        }
        let bytes = self.read(tile)?;
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_TILES {
            kept.clear();
        }
        kept.insert(tile, bytes.clone());
        Ok(bytes)
    }
}

impl Nodes for TileReader<'_> {
    type Error = io::Error;

    fn node(&self, level: u32, index: u64) -> Result<Hash, io::Error> {
        let row = Row::Hashes(u8::try_from(level / 8).unwrap_or(u8::MAX));
        let span = 1u64 << (level % 8);
        let first = index.saturating_mul(span);
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let tile = Tile::at(row, first / TILE_WIDTH, self.size).ok_or_else(missing)?;
        let hashes = self.hashes(tile)?;
        let start = usize::try_from(first % TILE_WIDTH).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(span).unwrap_or(usize::MAX));
        hashes.get(start..end).and_then(perfect_root).ok_or_else(missing)
    }
}

/// Returns the first `tile.width` hashes or entries of the full tile's bytes.
fn beginning(tile: Tile, mut full: Vec<u8>) -> Option<Vec<u8>> {
    let width = usize::try_from(tile.width).ok()?;
    let length = match tile.row {
        Row::Hashes(_) => width * size_of::<Hash>(),
        Row::Entries => entries(&full)?.iter().take(width).map(|entry| entry.len() + 2).sum(),
    };
    (length <= full.len()).then(|| full.truncate(length))?;
    Some(full)
}

fn damaged(tile: Tile) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is damaged", tile.path()))
}

/// Returns a tile's number in groups of three digits, all but the last marked by `x`: 1234067 is
/// `x001/x234/067`.
fn number(index: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    text
}

/// Tiles that a reader keeps: a proof touches one tile a level and the right edge.
const KEPT_TILES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        assert_eq!(number(1_234_067), "x001/x234/067");
        let files = |row| Tile::row(row, 70_000).map(|tile| tile.path()).collect::<Vec<_>>();
        let level0 = files(Row::Hashes(0));
        assert_eq!(
            (level0.len(), level0[0].as_str(), level0[273].as_str()),
            (274, "tile/0/000", "tile/0/273.p/112")
        );
        assert_eq!(files(Row::Hashes(1)), ["tile/1/000", "tile/1/001.p/17"]);
        assert_eq!(files(Row::Hashes(2)), ["tile/2/000.p/1"]);
        assert_eq!(files(Row::Hashes(3)), Vec::<String>::new());
        assert_eq!(files(Row::Hashes(63)), Vec::<String>::new());
        assert_eq!(files(Row::Entries).last().unwrap(), "tile/entries/273.p/112");
        assert_eq!(
            Tile::row(Row::Entries, 256).map(|tile| tile.path()).collect::<Vec<_>>(),
            ["tile/entries/000"]
        );
    }

    #[test]
    fn bundles_come_apart_as_they_were_put_together() {
        let mut bundle = Vec::new();
        let long = vec![b'x'; MAX_ENTRY_BYTES];
        for entry in [&b""[..], b"one", &long] {
            assert!(push_entry(&mut bundle, entry));
        }
        assert!(!push_entry(&mut bundle, &[0; MAX_ENTRY_BYTES + 1]));
        assert_eq!(entries(&bundle).unwrap(), [&b""[..], b"one", &long]);
        assert_eq!(entries(&bundle[..bundle.len() - 1]), None);
        assert_eq!(entries(&[0]), None);
    }
}

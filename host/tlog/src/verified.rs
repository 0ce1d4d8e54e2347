//! Records that were checked against the signed checkpoint, one at a time.
//!
//! Invariant: a [`VerifiedRecord`] exists only for bytes whose leaf hash leads to the root of a
//! checkpoint that the log's key has signed, at the place that the record itself names. Code that
//! prints or interprets a record takes this type, so that no command can skip the check. Other
//! records are not checked: `verify` does that for the whole log.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use crate::record::Record;
use crate::tiles::{Row, TILE_WIDTH, Tile, TileReader, entries};
use crate::tree::{Hash, Nodes, check_inclusion, inclusion_proof, leaf_hash, perfect_root};

/// A record that is under the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord {
    record: Record,
    leaf: Vec<u8>,
}

impl VerifiedRecord {
    /// Returns the members that the log wrote into it, its place among them.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns the exact bytes.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// Returns the exact bytes, without a copy.
    pub fn into_leaf(self) -> Vec<u8> {
        self.leaf
    }
}

/// Checks entries against a root. It keeps the bundle that it read last.
pub(crate) struct Verifier {
    size: u64,
    root: Hash,
    bundle: RefCell<Option<Rc<Bundle>>>,
}

/// Entries as they were read, and the hashes that the tree has for them.
struct Bundle {
    number: u64,
    entries: Vec<Vec<u8>>,
    hashes: Vec<Hash>,
}

/// Why an entry is not returned.
pub(crate) enum Unverified {
    /// A tile cannot be read.
    Disk(io::Error),
    /// The bytes that were read are not those that were signed.
    Altered(String),
}

impl Verifier {
    pub(crate) fn new(size: u64, root: Hash) -> Self {
        Self { size, root, bundle: RefCell::new(None) }
    }

    /// Returns the record at an index below the checkpoint's size.
    pub(crate) fn record(
        &self,
        tiles: &TileReader<'_>,
        index: u64,
    ) -> Result<VerifiedRecord, Unverified> {
        let bundle = self.bundle(tiles, index / TILE_WIDTH)?;
        let at = usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX);
        let (Some(leaf), Some(hash)) = (bundle.entries.get(at), bundle.hashes.get(at)) else {
            return Err(Unverified::Altered(format!("record {index} is missing")));
        };
        if leaf_hash(leaf) != *hash {
            let what = format!("record {index} is not the one that was logged");
            return Err(Unverified::Altered(what));
        }
        let record = Record::parse(leaf)
            .map_err(|what| Unverified::Altered(format!("record {index}: {what}")))?;
        if record.seq != index {
            let what = format!("record {index} says that it is record {}", record.seq);
            return Err(Unverified::Altered(what));
        }
        Ok(VerifiedRecord { record, leaf: leaf.clone() })
    }

    fn bundle(&self, tiles: &TileReader<'_>, number: u64) -> Result<Rc<Bundle>, Unverified> {
        if let Some(bundle) = self.bundle.borrow().as_ref().filter(|it| it.number == number) {
            return Ok(Rc::clone(bundle));
        }
        let hashes = self.hashes(tiles, number)?;
        let missing =
            || Unverified::Altered(format!("the entries from {} on", number * TILE_WIDTH));
        let tile = Tile::at(Row::Entries, number, self.size).ok_or_else(missing)?;
        let bytes = tiles.read(tile).map_err(|error| unverified(tile, error))?;
        // Lengths that do not add up hide which entry was changed: then none is handed out.
        let found = entries(&bytes).filter(|found| found.len() == hashes.len());
        let found = found.ok_or_else(|| {
            Unverified::Altered(format!("`{}` does not hold its whole entries", tile.path()))
        })?;
        let entries = found.into_iter().map(<[u8]>::to_vec).collect();
        let bundle = Rc::new(Bundle { number, entries, hashes });
        *self.bundle.borrow_mut() = Some(Rc::clone(&bundle));
        Ok(bundle)
    }

    /// Returns the leaf hashes of a tile, checked against the root: the path from the first of them
    /// has all others of the tile in its siblings, so one path proves the whole tile.
    fn hashes(&self, tiles: &TileReader<'_>, number: u64) -> Result<Vec<Hash>, Unverified> {
        let altered = |path: String| {
            Unverified::Altered(format!("`{path}` does not lead to the signed checkpoint"))
        };
        let Some(tile) = Tile::at(Row::Hashes(0), number, self.size) else {
            return Err(altered(format!("tile {number}")));
        };
        let hashes = tiles.hashes(tile).map_err(|error| unverified(tile, error))?;
        let first = number.saturating_mul(TILE_WIDTH);
        let pinned = Pinned { tiles, number, hashes: &hashes };
        let path =
            inclusion_proof(&pinned, first, self.size).map_err(|error| unverified(tile, error))?;
        let leads = hashes
            .first()
            .is_some_and(|leaf| check_inclusion(first, self.size, leaf, &path, &self.root));
        if leads { Ok(hashes) } else { Err(altered(tile.path())) }
    }
}

/// Nodes of a log, those below one tile computed from its hashes as they were read: the file may be
/// exchanged while it is read.
struct Pinned<'a> {
    tiles: &'a TileReader<'a>,
    number: u64,
    hashes: &'a [Hash],
}

impl Nodes for Pinned<'_> {
    type Error = io::Error;

    fn node(&self, level: u32, index: u64) -> Result<Hash, io::Error> {
        let span = 1_u64.checked_shl(level).unwrap_or(u64::MAX);
        let first = index.saturating_mul(span);
        if span > TILE_WIDTH || first / TILE_WIDTH != self.number {
            return self.tiles.node(level, index);
        }
        let start = usize::try_from(first % TILE_WIDTH).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(span).unwrap_or(usize::MAX));
        let hash = self.hashes.get(start..end).and_then(perfect_root);
        hash.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn unverified(tile: Tile, error: io::Error) -> Unverified {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Unverified::Altered(error.to_string())
        }
        io::ErrorKind::NotFound => Unverified::Altered(format!("`{}` is missing", tile.path())),
        _ => Unverified::Disk(error),
    }
}

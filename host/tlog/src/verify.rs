//! Verifying a whole log: every byte that its checkpoint covers, from the entries up to the signed
//! root.
//!
//! Entries are hashed and compared with the level-0 tiles, each tile's root with its place in the
//! tile above, and the rest with the checkpoint. Where two disagree, the one above decides which
//! is wrong, so that damage is named where it is.
//!
//! Invariant: `Ok` means that every entry, hash and partial tile below the checkpoint's size is the
//! one that was signed (and, with a retained checkpoint, that the log continues it). Memory does
//! not grow with the log.

use std::fmt;
use std::io;
use std::path::Path;

use portcullis_keys::PublicKey;

use crate::checkpoint::Checkpoint;
use crate::reader::{ReadError, Reader};
use crate::record::{Record, TIME_RESET};
use crate::sealed_files::OpenSealed;
use crate::source::Source;
use crate::tiles::{Row, TILE_WIDTH, Tile, entries, hashes_in};
use crate::tree::{Frontier, Hash, leaf_hash, perfect_root};

/// Further checks.
#[derive(Clone, Copy, Default)]
pub struct VerifyOptions<'a> {
    /// A signed checkpoint of this log that the verifier kept: finds a cut tail and a rewritten
    /// history.
    pub retained: Option<&'a [u8]>,
    /// Also check the sealed parts beside the log against their records.
    pub sealed: bool,
    /// Also open them.
    pub seal_key: Option<&'a dyn OpenSealed>,
}

/// A log that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its head.
    pub head: Checkpoint,
    /// Tiles and bundles read.
    pub files: u64,
    /// Sealed parts checked.
    pub sealed: u64,
    /// Size of the retained checkpoint that it continues.
    pub continues: Option<u64>,
}

/// A place where the log is not what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, below the log's directory.
    pub place: String,
    /// The record, where one can be named.
    pub index: Option<u64>,
    /// The problem.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.place)?;
        if let Some(index) = self.index {
            write!(f, ", record {index}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Verifies the log in `dir` (the directory that holds `checkpoint`, or the one above it). Names up
/// to a thousand damaged places.
pub fn verify(
    disk: &dyn Source,
    dir: &Path,
    key: &PublicKey,
    options: &VerifyOptions<'_>,
) -> Result<Summary, Vec<Damage>> {
    let reader = Reader::open(disk, dir, key).map_err(|error| vec![unopened(&error)])?;
    let retained = options.retained.map(|note| Checkpoint::verify(note, key)).transpose();
    let retained =
        retained.map_err(|error| vec![damage("retained checkpoint", None, error.to_string())])?;
    let size = reader.head().size;
    let mut walk = Walk {
        disk,
        reader: &reader,
        options,
        size,
        rows: Vec::new(),
        edges: Vec::new(),
        retained: retained.map(|head| (head, Frontier::default())),
        last_at: 0,
        summary: Summary { head: reader.head().clone(), files: 0, sealed: 0, continues: None },
        damage: Vec::new(),
    };
    walk.entries();
    walk.edges();
    walk.partials();
    walk.retained();
    if walk.damage.is_empty() { Ok(walk.summary) } else { Err(walk.damage) }
}

struct Walk<'a> {
    disk: &'a dyn Source,
    reader: &'a Reader<'a>,
    options: &'a VerifyOptions<'a>,
    size: u64,
    /// For each level, the hashes that the level below gives for the tile at hand.
    rows: Vec<Vec<Hash>>,
    /// The unfinished tiles: what is below them, and what they hold.
    edges: Vec<Edge>,
    retained: Option<(Checkpoint, Frontier)>,
    last_at: u64,
    summary: Summary,
    damage: Vec<Damage>,
}

struct Edge {
    tile: Tile,
    below: Vec<Hash>,
    stored: Option<Vec<Hash>>,
}

impl Walk<'_> {
    /// Hashes all entries and, as they become full, the tiles above them.
    fn entries(&mut self) {
        for bundle in Tile::row(Row::Entries, self.size) {
            let leaves = self.bundle(bundle);
            if let Some((head, frontier)) = &mut self.retained {
                let wanted = usize::try_from(head.size.saturating_sub(frontier.size()))
                    .unwrap_or(usize::MAX);
                leaves.iter().take(wanted).for_each(|leaf| frontier.push(*leaf));
            }
            self.up(0, bundle.index, leaves);
        }
    }

    /// Checks each entry of a bundle on its own. Returns their hashes, which come from the tile if
    /// the bundle cannot be read.
    fn bundle(&mut self, bundle: Tile) -> Vec<Hash> {
        let first = bundle.index * TILE_WIDTH;
        self.summary.files += 1;
        let bytes = match self.reader.tiles.read(bundle) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.report(bundle.path(), Some(first), missing(&error));
                return self.stored(Tile { row: Row::Hashes(0), ..bundle }).unwrap_or_default();
            }
        };
        let Some(entries) = entries(&bytes).filter(|entries| entries.len() as u64 == bundle.width)
        else {
            self.report(
                bundle.path(),
                Some(first),
                format!("it does not hold {} whole entries", bundle.width),
            );
            return self.stored(Tile { row: Row::Hashes(0), ..bundle }).unwrap_or_default();
        };
        for (index, entry) in (first..).zip(&entries) {
            match Record::parse(entry) {
                Err(what) => self.report(
                    bundle.path(),
                    Some(index),
                    format!("the entry is not a record: {what}"),
                ),
                Ok(record) if record.seq != index => {
                    self.report(
                        bundle.path(),
                        Some(index),
                        format!("the entry says that it is record {}", record.seq),
                    );
                }
                Ok(record) => self.record(bundle, &record),
            }
        }
        entries.iter().map(|entry| leaf_hash(entry)).collect()
    }

    fn record(&mut self, bundle: Tile, record: &Record) {
        if record.at < self.last_at && record.kind != TIME_RESET {
            self.report(
                bundle.path(),
                Some(record.seq),
                "its time is before that of the record before it".into(),
            );
        }
        self.last_at = record.at;
        if !self.options.sealed || record.sealed.is_none() {
            return;
        }
        let place = self.reader.sealed_dir.display().to_string();
        match self.reader.sealed(record.seq) {
            Ok(Some(blob)) if record.commits_to(&blob) => {
                self.summary.sealed += 1;
                let opened =
                    self.options.seal_key.map(|key| key.open(&record.tenant, &record.kind, &blob));
                if let Some(Err(error)) = opened {
                    self.report(place, Some(record.seq), error);
                }
            }
            Ok(Some(_)) => self.report(
                place,
                Some(record.seq),
                "the sealed part is not the one that the record commits to".into(),
            ),
            Ok(None) => self.report(place, Some(record.seq), "the sealed part is missing".into()),
            Err(error) => self.report(place, Some(record.seq), error.to_string()),
        }
    }

    /// Compares a tile with the hashes from below it, and passes its root upwards once it is full.
    fn up(&mut self, level: u8, index: u64, below: Vec<Hash>) {
        let Some(tile) = Tile::at(Row::Hashes(level), index, self.size) else { return };
        self.summary.files += 1;
        let stored = match self.reader.tiles.hashes(tile) {
            Ok(stored) => Some(stored),
            Err(error) => {
                self.report(tile.path(), None, missing(&error));
                None
            }
        };
        if !tile.is_full() {
            self.edges.push(Edge { tile, below, stored });
            return;
        }
        let (from_below, from_stored) =
            (perfect_root(&below), stored.as_deref().and_then(perfect_root));
        let above = self.above(level, index);
        let root = match &stored {
            Some(stored) if *stored != below => {
                if above.is_some() && above == from_below {
                    self.differ(tile, &below, stored, false);
                    from_below
                } else if above.is_some() && above == from_stored {
                    self.differ(tile, &below, stored, true);
                    from_stored
                } else {
                    self.differ(tile, &below, stored, false);
                    self.differ(tile, &below, stored, true);
                    above
                }
            }
            _ => from_below,
        };
        let root = root.or(above).unwrap_or_default();
        let row = usize::from(level) + 1;
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, Vec::new);
        }
        let Some(gathered) = self.rows.get_mut(row) else { return };
        gathered.push(root);
        if gathered.len() as u64 == TILE_WIDTH {
            let gathered = std::mem::take(gathered);
            self.up(level + 1, index / TILE_WIDTH, gathered);
        }
    }

    /// Returns the hash that the tile above has for a full tile.
    fn above(&self, level: u8, index: u64) -> Option<Hash> {
        let tile = Tile::at(Row::Hashes(level + 1), index / TILE_WIDTH, self.size)?;
        self.stored(tile)?.get(usize::try_from(index % TILE_WIDTH).ok()?).copied()
    }

    fn stored(&self, tile: Tile) -> Option<Vec<Hash>> {
        self.reader.tiles.hashes(tile).ok()
    }

    /// Names the places where a tile and what is below it differ; `below` says which of them is
    /// wrong.
    fn differ(&mut self, tile: Tile, below_hashes: &[Hash], stored: &[Hash], below: bool) {
        let Row::Hashes(level) = tile.row else { return };
        let first = tile.index * TILE_WIDTH;
        for place in (0..tile.width).filter(|place| {
            let place = usize::try_from(*place).unwrap_or(usize::MAX);
            below_hashes.get(place) != stored.get(place)
        }) {
            let index = first + place;
            let entry = (level == 0).then_some(index);
            let under = match level.checked_sub(1) {
                None => Tile { row: Row::Entries, ..tile },
                Some(lower) => Tile { row: Row::Hashes(lower), index, width: TILE_WIDTH },
            };
            match (below, level) {
                (true, 0) => self.report(
                    under.path(),
                    entry,
                    "the entry is not the one that was logged".into(),
                ),
                (true, _) => self.report(
                    under.path(),
                    None,
                    "it does not hash to its place in the tree".into(),
                ),
                (false, 0) => self.report(tile.path(), entry, "the hash is not the entry's".into()),
                (false, _) => self.report(
                    tile.path(),
                    None,
                    format!("its hash {place} is not that of `{}`", under.path()),
                ),
            }
        }
    }

    /// Compares the unfinished tiles of each level. The checkpoint's root is made of them, so it
    /// decides which side is wrong.
    fn edges(&mut self) {
        for level in 1..self.rows.len() {
            let below = self.rows.get_mut(level).map(std::mem::take).unwrap_or_default();
            let row = u8::try_from(level).unwrap_or(u8::MAX);
            if !below.is_empty() {
                self.up(row, hashes_in(Row::Hashes(row), self.size) / TILE_WIDTH, below);
            }
        }
        let edges = std::mem::take(&mut self.edges);
        let root = |hashes: fn(&Edge) -> &[Hash]| {
            let mut frontier = Frontier::default();
            for edge in edges.iter().rev() {
                let Row::Hashes(level) = edge.tile.row else { continue };
                hashes(edge)
                    .iter()
                    .for_each(|hash| frontier.push_subtree(u32::from(level) * 8, *hash));
            }
            frontier.root()
        };
        let signed = self.reader.head().root;
        let stored_fits = root(|edge| edge.stored.as_deref().unwrap_or(&edge.below)) == signed;
        let below_fits = root(|edge| &edge.below) == signed;
        for edge in &edges {
            let Some(stored) = edge.stored.as_ref().filter(|stored| **stored != edge.below) else {
                continue;
            };
            if !stored_fits {
                self.differ(edge.tile, &edge.below, stored, false);
            }
            if !below_fits {
                self.differ(edge.tile, &edge.below, stored, true);
            }
        }
        if !stored_fits && !below_fits {
            self.report(
                "checkpoint".into(),
                None,
                format!("the root over {} entries is not the signed one", self.size),
            );
        }
    }

    /// Checks that partial tiles of earlier checkpoints begin the tiles that they grew into.
    fn partials(&mut self) {
        let rows = (0..=7).map(Row::Hashes).chain([Row::Entries]);
        for row in rows {
            let tiles = hashes_in(row, self.size).div_ceil(TILE_WIDTH);
            for thousand in 0..tiles.div_ceil(1000) {
                let path = self
                    .reader
                    .log
                    .join(Tile { row, index: thousand * 1000, width: TILE_WIDTH }.path());
                let names =
                    path.parent().and_then(|dir| self.disk.list(dir).ok()).unwrap_or_default();
                for number in
                    names.iter().filter_map(|name| name.strip_suffix(".p")?.parse::<u64>().ok())
                {
                    if let Some(tile) = Tile::at(row, thousand * 1000 + number, self.size) {
                        self.partials_of(tile);
                    }
                }
            }
        }
    }

    fn partials_of(&mut self, tile: Tile) {
        let dir = self.reader.log.join(tile.partial_dir());
        let Ok(whole) = self.reader.tiles.read(tile) else { return };
        let widths = self.disk.list(&dir).unwrap_or_default();
        // Wider ones are of a checkpoint that is about to be signed.
        for width in widths
            .iter()
            .filter_map(|name| name.parse::<u64>().ok())
            .filter(|width| *width < tile.width)
        {
            let partial = Tile { width, ..tile };
            self.summary.files += 1;
            let bytes = self.disk.read(&self.reader.log.join(partial.path()));
            let count = |bytes: &[u8]| match tile.row {
                Row::Hashes(_) => (bytes.len() / size_of::<Hash>()) as u64,
                Row::Entries => entries(bytes).map_or(u64::MAX, |entries| entries.len() as u64),
            };
            match bytes {
                Ok(bytes) if whole.starts_with(&bytes) && count(&bytes) == width => {}
                Ok(_) => self.report(
                    partial.path(),
                    None,
                    format!("it is not the beginning of `{}`", tile.path()),
                ),
                // The writer removes superseded ones while we look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.report(partial.path(), None, missing(&error)),
            }
        }
    }

    fn retained(&mut self) {
        let Some((retained, frontier)) = self.retained.take() else { return };
        let kept = retained.size;
        if kept > self.size {
            let what = format!(
                "the log has {} entries, and had {kept} when the retained checkpoint was signed: its tail was cut",
                self.size
            );
            self.report("checkpoint".into(), Some(self.size), what);
        } else if frontier.size() != kept || frontier.root() != retained.root {
            let what = format!(
                "the first {kept} entries are not those of the retained checkpoint: history was \
                 rewritten"
            );
            self.report("checkpoint".into(), None, what);
        } else {
            self.summary.continues = Some(kept);
        }
    }

    fn report(&mut self, place: String, index: Option<u64>, what: String) {
        if self.damage.len() < MAX_DAMAGE {
            self.damage.push(Damage { place, index, what });
        }
    }
}

fn damage(place: &str, index: Option<u64>, what: String) -> Damage {
    Damage { place: place.to_owned(), index, what }
}

fn unopened(error: &ReadError) -> Damage {
    damage("checkpoint", None, error.to_string())
}

fn missing(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is missing".into(),
        io::ErrorKind::UnexpectedEof => "it is cut short".into(),
        _ => format!("it could not be read: {error}"),
    }
}

const MAX_DAMAGE: usize = 1000;

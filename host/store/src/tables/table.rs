//! One version of a reference table in memory: loaded once, then only read.
//!
//! Invariant: a table exists only if every row is as declared, so a look-up needs no check. It is
//! named by the SHA-256 digest of its bytes. Clones are not needed: callers share it by `Arc`. The
//! rules for stale tables and for none or several rows are applied by the
//! [`CurrentTables`](super::CurrentTables).

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::net::IpAddr;

use jiff::Timestamp;
use portcullis_model::Digest;

use super::builder::{Builder, Built, Places};
use super::cell::{CellProblem, Raw, read};
use super::column_kind::Kind;
use super::columns::CellColumn;
use super::declaration::{Declaration, Format, KeyKind};
use super::declaration_check::Plan;
use super::error::{Collector, LoadError, Problem, Stopped};
use super::index::Chain;
use super::index::exact::ExactIndex;
use super::index::network::NetworkIndex;
use super::read::{self as readers, Bounded};
use super::row::{Row, Rows};

/// One version of a reference table.
pub struct Table {
    pub(super) plan: Plan,
    pub(super) columns: Vec<CellColumn>,
    pub(super) rows: u32,
    pub(super) key: KeyIndex,
    /// For each rule of `match` its own index; none where the key's index is the same.
    pub(super) matching: Vec<Option<ExactIndex>>,
    version: Digest,
    bytes: u64,
    loaded_at: Timestamp,
    data_at: Timestamp,
}

/// The index of the key.
pub(crate) enum KeyIndex {
    Exact(ExactIndex),
    Network(NetworkIndex),
}

impl Table {
    /// Loads a version from bytes. CSV, JSON Lines, XLSX and MMDB are read in place; SQLite gets a
    /// private copy. `loaded_at` is the time at which the bytes were known to be current, such as
    /// the time of the file: the age of the table counts from there.
    pub fn load(
        declaration: &Declaration,
        bytes: &[u8],
        loaded_at: Timestamp,
    ) -> Result<Self, LoadError> {
        Self::from_source(declaration, Source::Bytes(bytes), loaded_at)
    }

    /// Loads a version from a stream, such as an open file. CSV and JSON Lines are never held
    /// whole; other formats are read into memory first, up to `max_bytes`. A FIFO that nobody
    /// writes to would block: the caller opens regular files only (`portcullis_files`).
    pub fn load_stream(
        declaration: &Declaration,
        stream: impl Read,
        loaded_at: Timestamp,
    ) -> Result<Self, LoadError> {
        let mut stream = stream;
        Self::from_source(declaration, Source::Stream(&mut stream), loaded_at)
    }

    /// Returns the declaration.
    pub fn declaration(&self) -> &Declaration {
        &self.plan.declaration
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.plan.declaration.name
    }

    /// Returns the digest of the bytes.
    pub fn version(&self) -> Digest {
        self.version
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns the number of different keys.
    pub fn keys(&self) -> usize {
        match &self.key {
            KeyIndex::Exact(index) => index.keys(),
            KeyIndex::Network(index) => index.keys(),
        }
    }

    /// Returns the size of the export in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the memory that rows and indexes occupy, in bytes.
    pub fn memory(&self) -> usize {
        let columns: usize = self.columns.iter().map(CellColumn::bytes).sum();
        let matching: usize = self.matching.iter().flatten().map(ExactIndex::bytes).sum();
        let key = match &self.key {
            KeyIndex::Exact(index) => index.bytes(),
            KeyIndex::Network(index) => index.bytes(),
        };
        columns + matching + key
    }

    /// Returns the time that was given to [`Self::load`].
    pub fn loaded_at(&self) -> Timestamp {
        self.loaded_at
    }

    /// Returns the time from which the age counts: `loaded_at`, or the time at which an MMDB was
    /// built, where that is earlier.
    pub fn data_at(&self) -> Timestamp {
        self.data_at
    }

    /// Returns whether the table is older than `max_age_seconds`.
    pub fn stale(&self, now: Timestamp) -> bool {
        self.age_seconds(now) > self.plan.declaration.max_age_seconds
    }

    /// Returns the age in seconds; 0 where the clock went back.
    pub fn age_seconds(&self, now: Timestamp) -> u64 {
        let age = now.as_second().saturating_sub(self.data_at.as_second());
        u64::try_from(age).unwrap_or_default()
    }

    /// Returns the rows of a key: one value for each column of `key.columns`, or an address for a
    /// network key. Integers, dates and booleans are given as the export's texts are.
    pub fn lookup(&self, key: &[&str]) -> Rows<'_> {
        match &self.key {
            KeyIndex::Network(index) => {
                let address = match key {
                    [text] => text.trim().parse().ok(),
                    _ => None,
                };
                self.chain_of(address.and_then(|address: IpAddr| index.find(address)))
            }
            KeyIndex::Exact(index) => {
                // A look-up of one column, the usual one, allocates nothing.
                if let ([text], [position]) = (key, self.plan.key.as_slice()) {
                    let part = self.comparable(*position, text);
                    let found = part.and_then(|part| {
                        let part = index.rules().apply(&part);
                        index.find(&self.columns, std::slice::from_ref(&part))
                    });
                    return self.chain_of(found);
                }
                let parts: Option<Vec<String>> = key
                    .iter()
                    .zip(&self.plan.key)
                    .map(|(text, &position)| {
                        let part = self.comparable(position, text)?;
                        Some(index.rules().apply(&part).into_owned())
                    })
                    .collect();
                let same_length = key.len() == self.plan.key.len();
                let parts: Vec<Cow<'_, str>> =
                    parts.unwrap_or_default().into_iter().map(Cow::Owned).collect();
                self.chain_of(index.find(&self.columns, &parts).filter(|_| same_length))
            }
        }
    }

    /// Returns the rows of an address in a table with a network key.
    pub fn lookup_address(&self, address: IpAddr) -> Rows<'_> {
        match &self.key {
            KeyIndex::Network(index) => self.chain_of(index.find(address)),
            KeyIndex::Exact(_) => Rows::none(self),
        }
    }

    /// Returns a row by its number, counted from 0 in the order of the export.
    pub fn row(&self, number: u32) -> Option<Row<'_>> {
        (number < self.rows).then_some(Row { table: self, number })
    }

    /// Returns all rows in the order of the export.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.rows).map(|number| Row { table: self, number })
    }

    /// Returns a value in the form in which cells of a column are compared; none where no cell of
    /// the column can be equal to it.
    pub(super) fn comparable<'v>(&self, position: usize, value: &'v str) -> Option<Cow<'v, str>> {
        match self.plan.kinds.get(position)? {
            Kind::Text => Some(Cow::Borrowed(value)),
            kind => {
                let cell = read(kind, Raw::Text(Cow::Borrowed(value))).ok()?;
                cell.text().map(|text| Cow::Owned(text.into_owned()))
            }
        }
    }

    pub(super) fn chain(&self) -> &Chain {
        match &self.key {
            KeyIndex::Exact(index) => index.chain(),
            KeyIndex::Network(index) => index.chain(),
        }
    }

    pub(super) fn chain_of(&self, first: Option<u32>) -> Rows<'_> {
        Rows::chained(self, self.chain(), first)
    }

    /// Returns the first row of the key that a row has.
    pub(super) fn head_of(&self, row: u32) -> Option<u32> {
        self.head_of_key(&self.key_of(row)?)
    }

    /// Returns the parts of a row's key as they are compared; none where a part is absent.
    pub(super) fn key_of(&self, row: u32) -> Option<Vec<Cow<'_, str>>> {
        let at = usize::try_from(row).ok()?;
        let part = |&position: &usize| self.columns.get(position)?.text(at);
        let parts = self.plan.key.iter().map(part);
        match &self.key {
            KeyIndex::Network(_) => parts.collect(),
            KeyIndex::Exact(index) => parts
                .map(|part| Some(Cow::Owned(index.rules().apply(&part?).into_owned())))
                .collect(),
        }
    }

    /// Returns the first row of exactly this key, whose parts [`Self::key_of`] returned.
    pub(super) fn head_of_key(&self, key: &[Cow<'_, str>]) -> Option<u32> {
        match (&self.key, key) {
            (KeyIndex::Exact(index), key) => index.find(&self.columns, key),
            (KeyIndex::Network(index), [network]) => index.find_network(network.parse().ok()?),
            (KeyIndex::Network(_), _) => None,
        }
    }

    /// Returns the first row of each key, in the order of the export.
    pub(super) fn heads(&self) -> Vec<u32> {
        let mut heads: Vec<u32> = match &self.key {
            KeyIndex::Exact(index) => index.heads().collect(),
            KeyIndex::Network(index) => index.heads().collect(),
        };
        heads.sort_unstable();
        heads
    }

    fn from_source(
        declaration: &Declaration,
        source: Source<'_>,
        loaded_at: Timestamp,
    ) -> Result<Self, LoadError> {
        let plan = Plan::new(declaration)?;
        let mut builder = Builder::new(&plan);
        match read_all(&mut builder, source) {
            Ok(finished) => {
                let built =
                    builder.finish().map_err(|problems| problems.into_error(&declaration.name))?;
                Self::index(plan, built, finished, loaded_at)
            }
            Err(Stopped) => Err(builder.problems.into_error(&declaration.name)),
        }
    }

    fn index(
        plan: Plan,
        built: Built,
        finished: Finished,
        loaded_at: Timestamp,
    ) -> Result<Self, LoadError> {
        let Built { columns, rows, places } = built;
        let declaration = &plan.declaration;
        let key_rules = declaration.key.rules;
        let key = match declaration.key.kind {
            KeyKind::Exact => {
                KeyIndex::Exact(ExactIndex::new(&columns, rows, plan.key.clone(), key_rules))
            }
            KeyKind::Network => {
                let position = plan.key.first().copied().unwrap_or_default();
                KeyIndex::Network(NetworkIndex::new(&columns, rows, position))
            }
        };
        let mut problems = Collector::new();
        for (position, column) in declaration.columns.iter().enumerate() {
            if !column.unique {
                continue;
            }
            match &key {
                KeyIndex::Exact(index) if plan.key == [position] => {
                    note_repeated(index, &places, &column.name, &mut problems);
                }
                _ => {
                    let index = ExactIndex::new(&columns, rows, vec![position], key_rules);
                    note_repeated(&index, &places, &column.name, &mut problems);
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems.into_error(&declaration.name));
        }
        let is_exact = declaration.key.kind == KeyKind::Exact;
        let rules = declaration.matching.iter().zip(&plan.matching);
        let matching = rules.map(|(rule, &position)| {
            let same = is_exact && plan.key == [position] && rule.rules == key_rules;
            (!same).then(|| ExactIndex::new(&columns, rows, vec![position], rule.rules))
        });
        let matching = matching.collect();
        let data_at = finished.built_at.map_or(loaded_at, |built| built.min(loaded_at));
        Ok(Self {
            columns,
            rows,
            key,
            matching,
            version: finished.digest,
            bytes: finished.bytes,
            loaded_at,
            data_at,
            plan,
        })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.name())
            .field("version", &self.version)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// Notes every row whose value another row has; the values are compared by the rules of the key.
fn note_repeated(index: &ExactIndex, places: &Places, column: &str, problems: &mut Collector) {
    let mut heads: Vec<u32> =
        index.heads().filter(|&head| index.chain().next(head).is_some()).collect();
    heads.sort_unstable();
    for head in heads {
        let mut row = head;
        while let Some(next) = index.chain().next(row) {
            let repeated = Problem::Cell(CellProblem::Repeated(places.of(head)));
            problems.add(Some(places.of(next)), Some(column), repeated);
            row = next;
        }
    }
}

enum Source<'s> {
    Bytes(&'s [u8]),
    Stream(&'s mut dyn Read),
}

/// The results of reading all bytes.
struct Finished {
    digest: Digest,
    bytes: u64,
    built_at: Option<Timestamp>,
}

fn read_all(builder: &mut Builder<'_>, source: Source<'_>) -> Result<Finished, Stopped> {
    let declaration = &builder.plan.declaration;
    let (format, max_bytes) = (declaration.format, declaration.max_bytes);
    let mut from_bytes;
    let (stream, in_memory): (&mut dyn Read, _) = match source {
        Source::Bytes(bytes) => {
            from_bytes = bytes;
            (&mut from_bytes, Some(bytes))
        }
        Source::Stream(stream) => (stream, None),
    };
    let mut bounded = Bounded::new(stream, max_bytes);
    match format {
        Format::Csv => readers::csv::read(builder, &mut bounded)?,
        Format::JsonLines => readers::json_lines::read(builder, &mut bounded)?,
        Format::Xlsx | Format::Sqlite | Format::Mmdb => {
            let mut copy = Vec::new();
            let bytes = match in_memory {
                Some(bytes) => {
                    bounded.skip_all(builder)?;
                    bytes
                }
                None => {
                    bounded.read_all(builder, &mut copy)?;
                    &copy
                }
            };
            let built_at = match format {
                Format::Xlsx => readers::xlsx::read(builder, bytes).map(|()| None)?,
                Format::Sqlite => readers::sqlite::read(builder, bytes).map(|()| None)?,
                _ => readers::mmdb::read(builder, bytes)?,
            };
            let (digest, bytes) = bounded.finish();
            return Ok(Finished { digest, bytes, built_at });
        }
    }
    let (digest, bytes) = bounded.finish();
    Ok(Finished { digest, bytes, built_at: None })
}

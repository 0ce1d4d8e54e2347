//! The look-ups of one run of one call: the answers to the plugin, and the parts that the record
//! keeps.
//!
//! Invariant: a run sees one version of every table, the columns that its manifest reads and no
//! others, and at most [`MAX_READ_BYTES`]. Where a table's rule denies the call, the plugin is told
//! that there are no rows, and the log says which table denies; the caller adds the finding.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use portcullis_engine::{DataLimit, HostFunctionError, SubjectMatch, TableRows};
use portcullis_model::json::{ObjectWriter, build_text};
use portcullis_model::{Attribute, Call, Effect, Finding, Reads, Severity, TableColumns};
use portcullis_store::memory::{self, Answer, Scope};
use portcullis_store::tables::{CurrentTables, Found, Rows, Subject, WithoutRows};

use crate::run::{DataAccess, RunData, timestamp};

/// The tables that one run sees.
pub(crate) struct CallTables {
    tables: Arc<CurrentTables>,
    bytes_left: usize,
    columns: Vec<(String, TableColumns)>,
    /// The optional tables that the release does not declare.
    left_out: Vec<String>,
    subject: CallSubject,
    now: Timestamp,
}

/// The look-ups and recollections of one run.
#[derive(Default)]
pub struct ReadLog {
    /// The versions that it saw, by table.
    versions: Vec<(String, String)>,
    /// Each look-up and its answer.
    reads: Vec<LookUp>,
    /// Each question to memory and its answer.
    memory: Vec<memory::Read>,
    bytes: usize,
    /// The first table whose rule denies the call.
    denied: Option<Denial>,
    /// Look-ups that are not kept.
    omitted: usize,
}

/// A table whose rule denies the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The table.
    pub table: String,
    /// Why.
    pub why: DenialReason,
}

/// Why a table denies a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialReason {
    /// There are no rows, and its rule for that is to deny.
    WithoutRows(WithoutRows),
    /// Its rows are more than one call reads. That is the table's fault and not the plugin's.
    TooLarge,
}

/// A look-up and its answer. Without `Debug`: rows name people.
pub struct LookUp {
    /// The table.
    pub table: String,
    /// The key; absent where the rows of the subject were asked for.
    pub key: Option<String>,
    /// Whether the rows are of a version that is older than it may be.
    pub stale: bool,
    /// The columns that the plugin reads, with JSON values.
    pub rows: Vec<Vec<Attribute>>,
}

/// The fields of a call's subject by which tables know people.
struct CallSubject {
    id: Option<String>,
    attributes: Vec<Attribute>,
}

impl CallTables {
    pub(crate) fn new(access: &DataAccess, reads: &Reads, call: &Call) -> Self {
        let left_out = reads
            .tables()
            .filter(|(name, _)| reads.is_optional_table(name) && !access.tables.declares(name));
        let reads = reads.tables();
        Self {
            tables: Arc::clone(&access.tables),
            bytes_left: access.bytes_left,
            columns: reads.map(|(name, columns)| (name.to_owned(), columns.clone())).collect(),
            left_out: left_out.map(|(name, _)| name.to_owned()).collect(),
            subject: CallSubject::of(call),
            now: timestamp(call.received),
        }
    }

    fn answer(
        &self,
        run: &mut RunData,
        table: &str,
        key: Option<&str>,
        found: Found<'_>,
    ) -> Result<(SubjectMatch, TableRows), HostFunctionError> {
        let columns = self.columns.iter().find(|(name, _)| name == table);
        let (_, columns) = columns.ok_or(HostFunctionError::UnknownTable)?;
        if key.is_some_and(|key| key.len() > MAX_KEY_BYTES) {
            return Err(HostFunctionError::Limit(DataLimit::Key));
        }
        let remembered = run.memory.as_ref().map_or(0, memory::Transaction::read_bytes);
        let log = &mut run.reads;
        if log.reads.len() >= MAX_READS {
            return Err(HostFunctionError::Limit(DataLimit::Read));
        }
        let mut left = MAX_READ_BYTES;
        let (matched, rows, stale, denied) = match found {
            Found::Rows { rows, stale, several_keys } => {
                let matched = if several_keys { SubjectMatch::Several } else { SubjectMatch::One };
                match cells(rows, columns, &mut left) {
                    Some(rows) => (matched, rows, stale, None),
                    None => (matched, Vec::new(), stale, Some(DenialReason::TooLarge)),
                }
            }
            Found::Absent(why) => (without(why), Vec::new(), false, None),
            Found::Deny(why) if self.left_out.iter().any(|name| name == table) => {
                (without(why), Vec::new(), false, None)
            }
            Found::Deny(why) => {
                (without(why), Vec::new(), false, Some(DenialReason::WithoutRows(why)))
            }
        };
        let version = self.tables.table(table).map(|it| it.version().to_string());
        let version = version.unwrap_or_default();
        if let Some(why) = denied {
            log.denied.get_or_insert_with(|| Denial { table: table.to_owned(), why });
        }
        let asked = table.len() + key.map_or(0, |key| build_text(key).len()) + READ_BYTES;
        let read = if denied.is_none() { MAX_READ_BYTES - left } else { 0 };
        let bytes = log.bytes.saturating_add(read).saturating_add(asked);
        if bytes.saturating_add(remembered) > self.bytes_left {
            return Err(HostFunctionError::Limit(DataLimit::Read));
        }
        log.bytes = bytes;
        if !log.versions.iter().any(|(name, _)| name == table) {
            log.versions.push((table.to_owned(), version.clone()));
        }
        let (table, key) = (table.to_owned(), key.map(str::to_owned));
        log.reads.push(LookUp { table, key, stale, rows: rows.clone() });
        Ok((matched, TableRows { rows, version, stale }))
    }

    pub(crate) fn lookup(
        &self,
        run: &mut RunData,
        table: &str,
        key: &str,
    ) -> Result<TableRows, HostFunctionError> {
        // Several values stand in a JSON array.
        let columns = self.tables.table(table).map(|it| it.declaration().key.columns.len());
        let several: Vec<String> = match columns {
            Some(2..) => serde_json::from_str(key).unwrap_or_default(),
            _ => vec![key.to_owned()],
        };
        let values: Vec<_> = several.iter().map(String::as_str).collect();
        let found = self.tables.find(table, &values, self.now);
        let found = self.answer(run, table, Some(key), found);
        found.map(|(_, rows)| rows)
    }

    pub(crate) fn lookup_subject(
        &self,
        run: &mut RunData,
        table: &str,
    ) -> Result<(SubjectMatch, TableRows), HostFunctionError> {
        let found = self.tables.find_subject(table, &self.subject, self.now);
        self.answer(run, table, None, found)
    }
}

impl ReadLog {
    /// The first table whose rule denies the call.
    pub fn denial(&self) -> Option<&Denial> {
        self.denied.as_ref()
    }

    /// The versions that were seen: tables and digests.
    pub fn versions(&self) -> &[(String, String)] {
        &self.versions
    }

    /// The look-ups, in order.
    pub fn look_ups(&self) -> &[LookUp] {
        &self.reads
    }

    /// The bytes that were read.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the look-ups of another run of the same search, as far as there is room.
    pub fn append(&mut self, other: Self) {
        for version in other.versions {
            if !self.versions.contains(&version) {
                self.versions.push(version);
            }
        }
        self.denied = self.denied.take().or(other.denied);
        let bytes = self.bytes.saturating_add(other.bytes);
        if bytes > MAX_READ_BYTES || self.reads.len() + other.reads.len() > MAX_READS {
            self.omitted += other.reads.len() + other.memory.len() + other.omitted;
            return;
        }
        self.bytes = bytes;
        self.reads.extend(other.reads);
        self.memory.extend(other.memory);
    }

    /// Adds what a run read of its memory.
    pub(crate) fn add_memory(&mut self, reads: &[memory::Read]) {
        self.bytes = self.bytes.saturating_add(reads.iter().map(memory::Read::bytes).sum());
        self.memory.extend_from_slice(reads);
    }

    /// Writes every look-up and its answer, for the sealed part. Of a `hushed` plugin, which sees a
    /// secret and could look it up, neither keys nor rows.
    pub fn write_sealed(&self, sealed: &mut ObjectWriter<'_>, hushed: bool) {
        if self.omitted > 0 {
            sealed.number("reads_omitted", self.omitted);
        }
        self.write_memory(sealed, hushed);
        if self.reads.is_empty() {
            return;
        }
        sealed.array("reads", |list| {
            for read in &self.reads {
                list.object(|object| {
                    object.text("table", &read.table).boolean("stale", read.stale);
                    if hushed {
                        return;
                    }
                    object.text_or_null("key", read.key.as_deref()).array("rows", |rows| {
                        for row in &read.rows {
                            rows.object(|columns| {
                                for cell in row {
                                    columns.json(&cell.name, &cell.value);
                                }
                            });
                        }
                    });
                });
            }
        });
    }
}

impl ReadLog {
    fn write_memory(&self, sealed: &mut ObjectWriter<'_>, hushed: bool) {
        if self.memory.is_empty() {
            return;
        }
        sealed.array("memory", |list| {
            for read in &self.memory {
                list.object(|object| {
                    let scope = match read.scope {
                        Scope::Subject => "subject",
                        Scope::Shared => "shared",
                    };
                    object.text("scope", scope);
                    if !hushed {
                        // The plugin gave it as text.
                        object.text("key", &String::from_utf8_lossy(&read.key));
                    }
                    match &read.answer {
                        Answer::Value(Some((value, version))) => {
                            object.number("version", *version);
                            if !hushed {
                                object.text("value", &BASE64.encode(value));
                            }
                        }
                        Answer::Value(None) => {
                            object.json("value", "null");
                        }
                        Answer::Count { window, count } => {
                            object.number("window", *window).number("count", *count);
                        }
                        Answer::Distinct { window, count } => {
                            object.number("window", *window).number("distinct", *count);
                        }
                    }
                });
            }
        });
    }
}

impl Denial {
    /// The finding that denies.
    pub fn finding(&self) -> Finding {
        let table = Attribute { name: "table".into(), value: build_text(&self.table).into() };
        Finding {
            code: self.code().to_owned(),
            effect: Effect::Deny,
            severity: Severity::High,
            arguments: vec![table],
            field: None,
        }
    }

    /// The stable code of the finding that denies.
    pub fn code(&self) -> &'static str {
        match self.why {
            DenialReason::WithoutRows(WithoutRows::NoMatch) => "TABLE_NO_MATCH",
            DenialReason::WithoutRows(WithoutRows::SeveralMatches) => "TABLE_SEVERAL_MATCHES",
            DenialReason::WithoutRows(WithoutRows::Stale) => "TABLE_STALE",
            DenialReason::WithoutRows(WithoutRows::NotLoaded) => "TABLE_NOT_LOADED",
            DenialReason::TooLarge => "TABLE_TOO_LARGE",
        }
    }
}

impl CallSubject {
    fn of(call: &Call) -> Self {
        let subject = call.subject.as_ref();
        Self {
            id: subject.and_then(|subject| subject.id.clone()),
            attributes: subject.map(|subject| subject.attributes.clone()).unwrap_or_default(),
        }
    }
}

impl Subject for CallSubject {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        if name == "id" {
            return self.id.as_deref().map(Cow::Borrowed);
        }
        let attribute = self.attributes.iter().find(|attribute| attribute.name == *name)?;
        // Platforms send an employee number as a number, and some every attribute as a list.
        let value = serde_json::from_str::<serde_json::Value>(&attribute.value).ok()?;
        let single = match value {
            serde_json::Value::Array(mut list) if list.len() == 1 => list.pop()?,
            other => other,
        };
        match single {
            serde_json::Value::String(text) => Some(Cow::Owned(text)),
            serde_json::Value::Number(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }
}

/// The cells of the columns that are read, as JSON; `None` where they are more than the bytes that
/// are `left`.
fn cells(rows: Rows<'_>, columns: &TableColumns, left: &mut usize) -> Option<Vec<Vec<Attribute>>> {
    let mut found = Vec::new();
    for row in rows {
        *left = left.checked_sub(READ_BYTES)?;
        let mut cells = Vec::new();
        for (name, value) in row.cells().filter(|(name, _)| columns.covers(name)) {
            let Some(value) = value else { continue };
            let value = value.to_json();
            *left = left.checked_sub(name.len() + value.len() + READ_BYTES)?;
            cells.push(Attribute { name: name.into(), value: value.into() });
        }
        found.push(cells);
    }
    Some(found)
}

fn without(why: WithoutRows) -> SubjectMatch {
    match why {
        WithoutRows::SeveralMatches => SubjectMatch::Several,
        WithoutRows::NoMatch | WithoutRows::Stale | WithoutRows::NotLoaded => SubjectMatch::None,
    }
}

/// Most bytes that the plugins of one call read of tables and memory: names and values of cells,
/// keys, names of tables, remembered values.
pub const MAX_READ_BYTES: usize = 64 << 10;

/// Most bytes of a key; a key of several columns is a JSON array.
const MAX_KEY_BYTES: usize = 1 << 10;

/// Bytes that each look-up, row and cell counts for beyond its text.
const READ_BYTES: usize = 16;

/// Most look-ups of one run.
const MAX_READS: usize = 256;

//! The look-ups of one run of one call: the answers to the plugin, and the parts that the record
//! keeps.
//!
//! Invariant: a run sees one version of every table, the columns that its manifest reads and no
//! others, and at most [`MAX_READ_BYTES`]. Everything that it was told is in the [`ReadLog`], so
//! that the run can be repeated from the record alone. Where a table's rule denies the call, the
//! plugin is told that there are no rows, and the log says which table denies; the caller adds the
//! finding.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portcullis_engine::{
    Count, DataLimit, HostFunctionError, HostFunctions, Scope, SubjectMatch, TableRows,
};
use portcullis_hooks::HookRequest;
use portcullis_model::json::{ObjectWriter, build_text};
use portcullis_model::{Attribute, Call, Effect, Finding, Severity, TableColumns};
use portcullis_store::tables::{CurrentTables, Found, Rows, Subject, WithoutRows};
use portcullis_trust::Manifest;

use super::timestamp;

/// The tables that a call sees, and the bytes that its plugins may still read of them.
#[derive(Clone)]
pub struct TableAccess {
    /// One version of every table.
    pub tables: Arc<CurrentTables>,
    /// The bytes that are left.
    pub bytes_left: usize,
}

impl TableAccess {
    /// These versions, before anything is read.
    pub fn of(tables: Arc<CurrentTables>) -> Self {
        Self { tables, bytes_left: MAX_READ_BYTES }
    }
}

/// The host functions of one run.
pub struct CallTables {
    tables: Arc<CurrentTables>,
    bytes_left: usize,
    columns: Vec<(String, TableColumns)>,
    subject: CallSubject,
    now: Timestamp,
    log: Arc<Mutex<ReadLog>>,
}

/// The look-ups of one run.
#[derive(Default)]
pub struct ReadLog {
    /// The versions that it saw, by table.
    versions: Vec<(String, String)>,
    /// Each look-up and its answer.
    reads: Vec<Read>,
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

struct Read {
    table: String,
    /// The key; absent where the rows of the subject were asked for.
    key: Option<String>,
    stale: bool,
    rows: Vec<Vec<Attribute>>,
}

/// The fields of a call's subject by which tables know people.
struct CallSubject {
    id: Option<String>,
    attributes: Vec<Attribute>,
}

impl CallTables {
    /// The host functions for a plugin that reads tables. `log` gets its look-ups.
    pub fn new(
        access: &TableAccess,
        manifest: &Manifest,
        incoming: &HookRequest,
        log: &Arc<Mutex<ReadLog>>,
    ) -> Self {
        let reads = manifest.reads.tables();
        Self {
            tables: Arc::clone(&access.tables),
            bytes_left: access.bytes_left,
            columns: reads.map(|(name, columns)| (name.to_owned(), columns.clone())).collect(),
            subject: CallSubject::of(&incoming.call),
            now: timestamp(incoming.call.received),
            log: Arc::clone(log),
        }
    }

    fn answer(
        &self,
        table: &str,
        key: Option<&str>,
        found: impl FnOnce(&CurrentTables) -> Found<'_>,
    ) -> Result<(SubjectMatch, TableRows), HostFunctionError> {
        let columns = self.columns.iter().find(|(name, _)| name == table);
        let (_, columns) = columns.ok_or(HostFunctionError::UnknownTable)?;
        if key.is_some_and(|key| key.len() > MAX_KEY_BYTES) {
            return Err(HostFunctionError::Limit(DataLimit::Key));
        }
        let mut log = self.log();
        if log.reads.len() >= MAX_READS {
            return Err(HostFunctionError::Limit(DataLimit::Read));
        }
        let mut left = MAX_READ_BYTES;
        let (matched, rows, stale, denied) = match found(&self.tables) {
            Found::Rows { rows, stale, several_keys } => {
                let matched = if several_keys { SubjectMatch::Several } else { SubjectMatch::One };
                match cells(rows, columns, &mut left) {
                    Some(rows) => (matched, rows, stale, None),
                    None => (matched, Vec::new(), stale, Some(DenialReason::TooLarge)),
                }
            }
            Found::Absent(why) => (without(why), Vec::new(), false, None),
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
        if bytes > self.bytes_left {
            return Err(HostFunctionError::Limit(DataLimit::Read));
        }
        log.bytes = bytes;
        if !log.versions.iter().any(|(name, _)| name == table) {
            log.versions.push((table.to_owned(), version.clone()));
        }
        let (table, key) = (table.to_owned(), key.map(str::to_owned));
        log.reads.push(Read { table, key, stale, rows: rows.clone() });
        Ok((matched, TableRows { rows, version, stale }))
    }

    fn log(&self) -> MutexGuard<'_, ReadLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostFunctions for CallTables {
    fn lookup(&self, table: &str, key: &str) -> Result<TableRows, HostFunctionError> {
        // Several values stand in a JSON array.
        let columns = self.tables.table(table).map(|it| it.declaration().key.columns.len());
        let several: Vec<String> = match columns {
            Some(2..) => serde_json::from_str(key).unwrap_or_default(),
            _ => vec![key.to_owned()],
        };
        let values: Vec<_> = several.iter().map(String::as_str).collect();
        let found = self.answer(table, Some(key), |tables| tables.find(table, &values, self.now));
        found.map(|(_, rows)| rows)
    }

    fn lookup_subject(&self, table: &str) -> Result<(SubjectMatch, TableRows), HostFunctionError> {
        self.answer(table, None, |snapshot| snapshot.find_subject(table, &self.subject, self.now))
    }

    fn recall(&self, _: Scope, _: &str) -> Result<Option<Vec<u8>>, HostFunctionError> {
        Err(NO_MEMORY)
    }

    fn remember(&self, _: Scope, _: &str, _: Vec<u8>, _: u32) -> Result<(), HostFunctionError> {
        Err(NO_MEMORY)
    }

    fn forget(&self, _: Scope, _: &str) -> Result<(), HostFunctionError> {
        Err(NO_MEMORY)
    }

    fn count(&self, _: Scope, _: &str, _: u32, _: Count<'_>) -> Result<u32, HostFunctionError> {
        Err(NO_MEMORY)
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
            self.omitted += other.reads.len() + other.omitted;
            return;
        }
        self.bytes = bytes;
        self.reads.extend(other.reads);
    }

    /// Writes every look-up and its answer, for the sealed part. Of a `hushed` plugin, which sees a
    /// secret and could look it up, neither keys nor rows.
    pub fn write_sealed(&self, sealed: &mut ObjectWriter<'_>, hushed: bool) {
        if self.omitted > 0 {
            sealed.number("reads_omitted", self.omitted);
        }
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

/// The texts that people get where a table's rule denies a call, by code and language.
pub fn text_for(code: &str, language: &str) -> Option<(&'static str, &'static str)> {
    let german = language.split('-').next().is_some_and(|tag| tag.eq_ignore_ascii_case("de"));
    let (english, german_text) = match code {
        "TABLE_NO_MATCH" => (
            "You cannot do this now, because the hospital's records lack an entry that is needed for \
             it. Please ask the help desk.",
            "Das ist derzeit nicht möglich, weil in den Unterlagen des Hauses ein Eintrag fehlt, der \
             dafür nötig ist. Bitte wenden Sie sich an den Helpdesk.",
        ),
        "TABLE_SEVERAL_MATCHES" => (
            "You cannot do this now, because the hospital's records have several entries where one is \
             needed. Please ask the help desk.",
            "Das ist derzeit nicht möglich, weil in den Unterlagen des Hauses mehrere Einträge \
             stehen, wo einer nötig ist. Bitte wenden Sie sich an den Helpdesk.",
        ),
        "TABLE_STALE" | "TABLE_NOT_LOADED" | "TABLE_TOO_LARGE" => (
            "You cannot do this now, because the hospital's records that decide about it are not \
             available or out of date. Please ask the help desk.",
            "Das ist derzeit nicht möglich, weil die Unterlagen des Hauses, die darüber entscheiden, \
             nicht verfügbar oder veraltet sind. Bitte wenden Sie sich an den Helpdesk.",
        ),
        _ => return None,
    };
    Some(if german { ("de", german_text) } else { ("en", english) })
}

fn without(why: WithoutRows) -> SubjectMatch {
    match why {
        WithoutRows::SeveralMatches => SubjectMatch::Several,
        WithoutRows::NoMatch | WithoutRows::Stale | WithoutRows::NotLoaded => SubjectMatch::None,
    }
}

const NO_MEMORY: HostFunctionError = HostFunctionError::Undeclared("memory");

/// Most bytes that the plugins of one call read of tables: names and values of cells, keys and
/// names of tables.
pub const MAX_READ_BYTES: usize = 64 << 10;

/// Most bytes of a key; a key of several columns is a JSON array.
const MAX_KEY_BYTES: usize = 1 << 10;

/// Bytes that each look-up, row and cell counts for beyond its text.
const READ_BYTES: usize = 16;

/// Most look-ups of one run.
const MAX_READS: usize = 256;

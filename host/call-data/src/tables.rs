//! The look-ups of one run of one call: the answers to the plugin, and the parts that the record
//! keeps.
//!
//! Invariant: a run sees one version of every table, the columns that its manifest reads and no
//! others, and at most [`MAX_READ_BYTES`]. Where a table's rule denies the call, the plugin is told
//! that there are no rows, and the log says which table denies; the caller adds the finding.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use portcullis_engine::{DataLimit, HostFunctionError, SubjectMatch, TableRows};
use portcullis_model::json::build_text;
use portcullis_model::{Attribute, Call, Reads, TableColumns};
use portcullis_store::memory;
use portcullis_store::tables::{CurrentTables, Found, Rows, Subject, WithoutRows};

use crate::read_log::{Denial, DenialReason, LookUp, MAX_READ_BYTES, MAX_READS};
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

/// Most bytes of a key; a key of several columns is a JSON array.
const MAX_KEY_BYTES: usize = 1 << 10;

/// Bytes that each look-up, row and cell counts for beyond its text.
const READ_BYTES: usize = 16;

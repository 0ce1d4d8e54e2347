//! From the tables of a suite to the versions that its calls see.
//!
//! Invariant: rows are read by the reader that a host uses, with its bounds. Members that a
//! declaration leaves out are derived by fixed rules, and what cannot be derived is an error that
//! names the member. The age of a fixture does not depend on the clock of a call: it is always
//! young, or always stale.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use portcullis_store::tables::{CurrentTables, Declaration, Table, TableSet};
use serde_json::{Map, Value, json};

use crate::fixture_text::{RowsFormat, RowsText, TableState, TableStateText, TableText};
use crate::parse::SuiteError;

/// The tables of a suite.
#[derive(Default)]
pub(crate) struct TestTables {
    tables: BTreeMap<String, TestTable>,
    current: Arc<CurrentTables>,
}

/// One table: its declaration, and its rows as a young and as a stale version.
struct TestTable {
    /// As its author wrote it, for other rows.
    given: Map<String, Value>,
    version: Version,
}

#[derive(Clone)]
struct Version {
    declaration: Declaration,
    young: Arc<Table>,
    stale: Arc<Table>,
}

impl TestTables {
    /// Reads the tables of a suite.
    pub fn new(texts: &BTreeMap<String, TableText>) -> Result<Self, SuiteError> {
        if texts.len() > MAX_TABLES {
            return Err(SuiteError::at("tables", format!("there are more than {MAX_TABLES}")));
        }
        let mut tables = BTreeMap::new();
        for (name, text) in texts {
            let path = format!("tables.{name}");
            let given = match &text.declaration {
                None => Map::new(),
                Some(Value::Object(members)) => members.clone(),
                Some(Value::String(_)) => return Err(unresolved(&format!("{path}.declaration"))),
                Some(_) => {
                    let what = "it is neither a file's name nor a table";
                    return Err(SuiteError::at(&format!("{path}.declaration"), what));
                }
            };
            let version = version(name, &given, &text.rows, &path)?;
            tables.insert(name.clone(), TestTable { given, version });
        }
        let mut read = Self { tables, current: Arc::default() };
        read.current = read.with(&BTreeMap::new(), "")?;
        Ok(read)
    }

    /// Returns what a call sees that says nothing of tables.
    pub fn current(&self) -> Arc<CurrentTables> {
        Arc::clone(&self.current)
    }

    /// Returns what a call sees with these differences.
    pub fn with(
        &self,
        states: &BTreeMap<String, TableStateText>,
        path: &str,
    ) -> Result<Arc<CurrentTables>, SuiteError> {
        if let Some(name) = states.keys().find(|name| !self.tables.contains_key(*name)) {
            let what = format!("the suite has no table `{name}`; add it below `tables`");
            return Err(SuiteError::at(&format!("{path}.tables.{name}"), what));
        }
        let mut versions = Vec::new();
        for (name, table) in &self.tables {
            let state = states.get(name);
            let rows = state.and_then(|state| state.rows.as_ref());
            let version = match rows {
                None => table.version.clone(),
                Some(rows) => version(name, &table.given, rows, &format!("{path}.tables.{name}"))?,
            };
            versions.push((version, state.map(|state| state.state).unwrap_or_default()));
        }
        let set = TableSet::new(versions.iter().map(|(version, _)| version.declaration.clone()));
        for (version, state) in versions {
            match state {
                TableState::Loaded => drop(set.put(version.young)),
                TableState::Stale => drop(set.put(version.stale)),
                TableState::Absent => {}
            }
        }
        Ok(set.current())
    }
}

/// Returns the declaration of a table for which there is a file of rows and nothing else. `file`
/// is its name, which ends in `.csv`, `.jsonl` or `.ndjson`.
///
/// # Errors
/// The reason for which it cannot be derived.
pub fn derived_declaration(name: &str, file: &str, text: &str) -> Result<Declaration, String> {
    let format = RowsFormat::of(file)
        .ok_or("a file of another format than CSV and JSON Lines needs a declaration")?;
    let rows = RowsText::Text(format, text.to_owned());
    declaration(name, &Map::new(), &rows).map_err(|(_, what)| what)
}

fn version(
    name: &str,
    given: &Map<String, Value>,
    rows: &RowsText,
    path: &str,
) -> Result<Version, SuiteError> {
    if let RowsText::File(_) = rows {
        return Err(unresolved(&format!("{path}.rows")));
    }
    let declaration = declaration(name, given, rows)
        .map_err(|(member, what)| SuiteError::at(&format!("{path}.{member}"), what))?;
    let at_rows = |what: String| SuiteError::at(&format!("{path}.rows"), what);
    let bytes = match rows {
        RowsText::List(rows) => lines(rows, &declaration).map_err(at_rows)?,
        RowsText::Text(_, text) => text.clone(),
        RowsText::File(_) => String::new(),
    };
    let load = |at: Timestamp| {
        let table = Table::load(&declaration, bytes.as_bytes(), at);
        table.map(Arc::new).map_err(|error| at_rows(error.to_string()))
    };
    let (young, stale) = (load(Timestamp::MAX)?, load(Timestamp::MIN)?);
    Ok(Version { declaration, young, stale })
}

/// Fills in what a declaration leaves out. An error has the member.
fn declaration(
    name: &str,
    given: &Map<String, Value>,
    rows: &RowsText,
) -> Result<Declaration, (&'static str, String)> {
    let mut members = given.clone();
    let wrong = |what: String| ("declaration", what);
    if members.get("name").is_some_and(|own| own.as_str() != Some(name)) {
        return Err(wrong(format!("its `name` is not `{name}`, which the suite calls the table")));
    }
    members.insert("name".to_owned(), name.into());
    members.entry("max_age_seconds").or_insert_with(|| MAX_AGE_SECONDS.into());
    members.entry("min_rows").or_insert_with(|| 0.into());
    if !members.contains_key("columns") {
        members.insert("columns".to_owned(), columns(rows).map_err(|what| ("rows", what))?);
    }
    if !members.contains_key("key") {
        let names = names(members.get("columns"));
        let first = match (rows, names.as_slice()) {
            (RowsText::Text(RowsFormat::Csv, _), [first, ..]) | (_, [first]) => first.clone(),
            _ => {
                return Err(wrong(format!(
                    "it does not say by which columns rows are looked up; write `declaration = {{ \
                     key = {{ columns = [\"{}\"] }} }}`",
                    names.first().map_or("NAME", String::as_str)
                )));
            }
        };
        members.insert("key".to_owned(), json!({ "columns": [first] }));
    }
    set_format(&mut members, rows).map_err(wrong)?;
    let declaration: Declaration = serde_path_to_error::deserialize(Value::Object(members))
        .map_err(|error| wrong(format!("`{}`: {}", error.path(), error.inner())))?;
    declaration.check().map_err(|error| wrong(error.to_string()))?;
    Ok(declaration)
}

/// Makes the format that of the rows. Rows of a list have the names of columns, whatever an export
/// calls them.
fn set_format(members: &mut Map<String, Value>, rows: &RowsText) -> Result<(), String> {
    let declared = members.get("format").and_then(Value::as_str).map(str::to_owned);
    let format = match rows {
        RowsText::Text(RowsFormat::Csv, _) => "csv",
        _ => "json-lines",
    };
    let is_list = matches!(rows, RowsText::List(_));
    let has_names = |format: &str| ["csv", "xlsx", "sqlite"].contains(&format);
    if !is_list && declared.as_ref().is_some_and(|it| has_names(it) != has_names(format)) {
        let declared = declared.unwrap_or_default();
        return Err(format!(
            "its `format` is `{declared}`, and the rows are `{format}`: the sources of its columns \
             do not fit; write the rows as a list"
        ));
    }
    if declared.as_deref() != Some(format) {
        for member in ["delimiter", "header_row", "sheet", "source_table"] {
            members.remove(member);
        }
    }
    members.insert("format".to_owned(), format.into());
    if is_list && let Some(Value::Array(columns)) = members.get_mut("columns") {
        for column in columns.iter_mut().filter_map(Value::as_object_mut) {
            column.remove("source");
        }
    }
    Ok(())
}

/// Derives columns from rows.
fn columns(rows: &RowsText) -> Result<Value, String> {
    let parsed;
    let rows = match rows {
        RowsText::Text(RowsFormat::Csv, text) => {
            let header = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default();
            let names = header.split(',').map(|name| name.trim().trim_matches('"'));
            let columns =
                names.map(|name| json!({ "name": slug(name), "source": name, "type": "text" }));
            return Ok(columns.collect());
        }
        RowsText::Text(RowsFormat::JsonLines, text) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let rows = lines.map(serde_json::from_str::<Map<String, Value>>);
            parsed = rows.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
            parsed.as_slice()
        }
        RowsText::List(rows) => rows.as_slice(),
        RowsText::File(_) => &[],
    };
    let mut types = BTreeMap::new();
    for (name, value) in rows.iter().flatten() {
        let kind = match value {
            Value::Null => continue,
            Value::String(_) => "text",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() => "integer",
            Value::Array(_) => "list",
            _ => {
                return Err(format!("no type of column can be derived for `{name}`; declare it"));
            }
        };
        if *types.entry(name).or_insert(kind) != kind {
            return Err(format!("`{name}` has values of several types; declare its type"));
        }
    }
    if types.is_empty() {
        return Err("there is no row to derive columns from; give a `declaration`".to_owned());
    }
    Ok(types.into_iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect())
}

/// Returns rows as JSON Lines.
fn lines(rows: &[Map<String, Value>], declaration: &Declaration) -> Result<String, String> {
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        let known = |name: &str| declaration.columns.iter().any(|column| column.name == *name);
        if let Some(name) = row.keys().find(|name| !known(name)) {
            let number = place + 1;
            return Err(format!(
                "row {number} has `{name}`, which the declaration has no column for"
            ));
        }
        text.push_str(&Value::Object(row.clone()).to_string());
        text.push('\n');
    }
    Ok(text)
}

/// A column's name of a header: `Worker ID` becomes `worker_id`.
fn slug(header: &str) -> String {
    let letter = |letter: char| match letter.to_ascii_lowercase() {
        lower @ ('a'..='z' | '0'..='9') => lower,
        _ => '_',
    };
    header.chars().map(letter).collect()
}

fn names(columns: Option<&Value>) -> Vec<String> {
    let columns = columns.and_then(Value::as_array).into_iter().flatten();
    columns.filter_map(|column| Some(column.get("name")?.as_str()?.to_owned())).collect()
}

fn unresolved(path: &str) -> SuiteError {
    SuiteError::at(path, "it names a file, but a bundle must hold everything itself")
}

/// Most tables of a suite: as many as a release set has.
const MAX_TABLES: usize = 64;

/// The age in seconds that a derived declaration allows: a day.
const MAX_AGE_SECONDS: u64 = 86_400;

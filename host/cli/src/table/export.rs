//! The people of an export, as a table is asked about them.
//!
//! Invariant: an export is read as a whole, bounded, and each person has the fields that the file
//! names; a field that is empty is absent. CSV has their names in its first row, JSON Lines in each
//! object.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use portcullis_files::read_bounded;
use portcullis_store::tables::Subject;

use crate::exit::{CliError, CliResult};

/// One person of an export.
pub struct Person(BTreeMap<String, String>);

/// Reads an export: JSON Lines where its name ends with `.jsonl`, else CSV.
///
/// # Errors
/// The file cannot be read (exit 64), or is not of that form (exit 1).
pub fn read(path: &Path) -> CliResult<Vec<Person>> {
    let bytes = read_bounded(path, MAX_BYTES).map_err(|error| {
        CliError::configuration(format!("cannot read `{}`: {error}", path.display()))
    })?;
    let wrong = |why: String| CliError::wrong(format!("the export `{}`: {why}", path.display()));
    if path.extension().is_some_and(|extension| extension == "jsonl") {
        json_lines(&bytes).map_err(wrong)
    } else {
        comma_separated(&bytes).map_err(wrong)
    }
}

impl Subject for Person {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }
}

fn comma_separated(bytes: &[u8]) -> Result<Vec<Person>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
    let names = reader.headers().map_err(|error| error.to_string())?.clone();
    let person = |record: csv::StringRecord| {
        let fields = names.iter().zip(record.iter()).filter(|(_, value)| !value.is_empty());
        Person(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    };
    let people = reader.records().map(|record| record.map(&person));
    people.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn json_lines(bytes: &[u8]) -> Result<Vec<Person>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let person = |(number, line): (u32, &str)| {
        let object: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|_| format!("line {number} is no JSON object"))?;
        let fields = object.into_iter().filter_map(|(name, value)| match value {
            serde_json::Value::String(text) if !text.is_empty() => Some((name, text)),
            serde_json::Value::Number(number) => Some((name, number.to_string())),
            _ => None,
        });
        Ok(Person(fields.collect()))
    };
    lines.map(person).collect()
}

/// Most bytes of an export: some million people.
const MAX_BYTES: u64 = 1 << 30;

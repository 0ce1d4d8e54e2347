//! Tests of reference tables: against simple models, against other implementations, and with bytes
//! that nobody means well with.

mod dates;
mod difference;
mod examples;
mod formats;
mod hostile;
mod keys;
mod matching;
mod set;

use jiff::Timestamp;
use portcullis_model::json::build_object;

use super::*;

/// Reads a declaration from TOML and checks it.
fn declaration(toml: &str) -> Declaration {
    let declaration: Declaration = toml::from_str(toml).unwrap();
    declaration.check().unwrap();
    declaration
}

/// A table `t` with the text columns `k`, the key, `a` and `b`.
fn plain(format: &str) -> Declaration {
    declaration(&format!(
        "name = 't'\nformat = '{format}'\nmax_age_seconds = 60\nmin_rows = 0\n\
         several_matches = 'use-all'\nkey = {{ columns = ['k'] }}\ncolumns = [\n\
         {{ name = 'k', type = 'text' }}, {{ name = 'a', type = 'text' }},\n\
         {{ name = 'b', type = 'text' }}]\n"
    ))
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    time("2026-11-30T12:00:00Z")
}

fn load(declaration: &Declaration, bytes: impl AsRef<[u8]>) -> Table {
    Table::load(declaration, bytes.as_ref(), now()).unwrap_or_else(|error| panic!("{error}"))
}

/// Loads bytes that must be refused, and returns the message.
fn refused(declaration: &Declaration, bytes: impl AsRef<[u8]>) -> String {
    match Table::load(declaration, bytes.as_ref(), now()) {
        Ok(table) => panic!("accepted with {} rows", table.rows()),
        Err(error) => error.to_string(),
    }
}

fn json(row: Row<'_>) -> String {
    build_object(|object| row.write_json(object))
}

fn jsons(rows: Rows<'_>) -> Vec<String> {
    rows.map(json).collect()
}

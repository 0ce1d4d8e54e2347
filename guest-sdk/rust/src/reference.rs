//! Reference tables: rosters, catalogues, registers, networks.
//!
//! Invariant: it needs the capability `reference` and the columns `tables.NAME.COLUMN` in the
//! manifest's `reads`; without them a look-up ends the call. One call sees one version of a table.
//!
//! Native tests have tables of their own: see [`testing`](crate::testing).

use std::borrow::Cow;

pub use crate::bindings::portcullis::policy::reference::{
    Row, SubjectMatch, SubjectRows, TableRows,
};
use crate::json_values;

/// All rows of a key, in the order of the table.
pub fn lookup(table: &str, key: &str) -> TableRows {
    host::lookup(table, key)
}

/// The rows of the call's subject.
pub fn lookup_subject(table: &str) -> SubjectRows {
    host::lookup_subject(table)
}

impl Row {
    /// A column's JSON value; `None` where the cell is empty or the manifest does not read the
    /// column.
    pub fn json(&self, column: &str) -> Option<&str> {
        let found = self.columns.iter().find(|attribute| attribute.name == column)?;
        Some(&found.value)
    }

    /// A column that holds a string; `None` where it holds anything else.
    pub fn text(&self, column: &str) -> Option<Cow<'_, str>> {
        json_values::text(self.json(column)?)
    }
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::portcullis::policy::reference as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::world::reference as host;

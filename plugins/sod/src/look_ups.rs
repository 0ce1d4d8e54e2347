//! The reference tables as the host answers for them.
//!
//! Invariant: this file alone knows the names of the tables' columns, which are those of
//! `manifest.tables.toml`. A cell that is empty or no text is absent. Whether a row holds is
//! decided by the rules.

use std::collections::BTreeSet;

use portcullis_guest::reference::{Row, TableRows, lookup};
use portcullis_guest::strings;
use portcullis_sod_rules::{Action, ExceptionRow, LookUps, PairRow, Severity, TableNames};

/// The tables that the settings name.
pub(crate) struct Tables<'a> {
    names: &'a TableNames,
    stale: BTreeSet<&'a str>,
}

impl<'a> Tables<'a> {
    /// Those of these settings.
    pub fn of(names: &'a TableNames) -> Self {
        Self { names, stale: BTreeSet::new() }
    }

    /// The stale tables that were looked up, sorted.
    pub fn stale(&self) -> impl Iterator<Item = &'a str> {
        self.stale.iter().copied()
    }

    /// Notes that a table of the settings is stale.
    pub fn note_stale(&mut self, table: &str) {
        let names = self.names;
        let own = [&names.exceptions, &names.matrix, &names.roles];
        self.stale.extend(own.into_iter().flatten().map(String::as_str).find(|it| *it == table));
    }

    fn rows(&mut self, table: Option<&str>, id: &str) -> Vec<Row> {
        let Some(table) = table else { return Vec::new() };
        let TableRows { rows, stale, .. } = lookup(table, id);
        if stale {
            self.note_stale(table);
        }
        rows
    }
}

impl LookUps for Tables<'_> {
    fn members(&mut self, id: &str) -> Vec<String> {
        let rows = self.rows(self.names.roles.as_deref(), id);
        rows.iter().flat_map(|row| texts(row, "contains")).collect()
    }

    fn pairs(&mut self, id: &str) -> Vec<PairRow> {
        let rows = self.rows(self.names.matrix.as_deref(), id);
        rows.iter().flat_map(|row| pairs(id, row)).collect()
    }
}

/// The pairs of one row of the matrix. Without an id, the rule is named by its pair.
fn pairs(id: &str, row: &Row) -> Vec<PairRow> {
    let cell = |column: &str| row.text(column).map(|text| text.into_owned());
    let pair = |other: String| PairRow {
        entitlement: id.to_owned(),
        rule: cell("rule").unwrap_or_else(|| PairRow::id_of(id, &other)),
        severity: cell("severity").and_then(|word| Severity::from_name(&word)),
        action: cell("action").and_then(|word| Action::from_name(&word)),
        owner: cell("owner").unwrap_or_default(),
        conflicts_with: other,
    };
    texts(row, "conflicts_with").into_iter().map(pair).collect()
}

/// A row of the table of exceptions.
pub(crate) fn exception(row: &Row) -> ExceptionRow {
    let cell = |column: &str| row.text(column).map(|text| text.into_owned());
    ExceptionRow {
        person: cell("person"),
        rule: cell("rule"),
        from: cell("from"),
        until: cell("until"),
        approver: cell("approver"),
        control: cell("control"),
    }
}

/// The texts of a column of texts or lists.
fn texts(row: &Row, column: &str) -> Vec<String> {
    let texts = row.json(column).and_then(strings).unwrap_or_default();
    texts.into_iter().map(|text| text.into_owned()).collect()
}

//! The entries of one person in the reference tables.
//!
//! Invariant: only tables that the settings name are looked up. A table that they name and the host
//! does not have denies, because nobody knows what stands in it. The meaning of the rows is decided
//! in `ends.rs` and `sponsor.rs`.

use portcullis_guest::reference::{self, Row, TableRows};
use portcullis_guest::{Attribute, Effect, Finding, Severity};

use crate::settings::Tables;

/// The rows that were found for the call's subject, table by table.
#[derive(Default)]
pub(crate) struct Entries {
    pub register: Option<Rows>,
    pub training: Option<Rows>,
    pub licences: Option<Rows>,
}

/// Rows of one table.
pub(crate) struct Rows {
    /// The table's name.
    pub table: String,
    pub rows: Vec<Row>,
    /// The host has no version of the table.
    pub is_missing: bool,
    is_stale: bool,
}

impl Entries {
    /// Looks the register up, and nothing else.
    pub fn of_register(tables: &Tables) -> Self {
        let register = tables.register.as_deref().map(Rows::of_subject);
        Self { register, ..Self::default() }
    }

    /// Looks up the other tables that have entries of the subject: by the number that the register
    /// has for the person, or else by the rules of each table.
    pub fn with_proofs(self, tables: &Tables) -> Self {
        let number = self.registered().first().and_then(|row| row.text("person"));
        let number = number.filter(|number| {
            let same = |row: &Row| row.text("person").as_ref() == Some(number);
            !number.trim().is_empty() && self.registered().iter().all(same)
        });
        let rows = |table: &String| match &number {
            Some(number) => Rows::of_key(table, number),
            None => Rows::of_subject(table),
        };
        let training = tables.training.as_ref().map(rows);
        let licences = tables.licences.as_ref().map(rows);
        Self { register: self.register, training, licences }
    }

    /// The subject's rows of the register; none where the settings do not name one.
    pub fn registered(&self) -> &[Row] {
        self.register.as_ref().map_or(&[], |register| &register.rows)
    }

    /// Adds what is to be told about the tables themselves.
    pub fn report(&self, findings: &mut Vec<Finding>) {
        for rows in [&self.register, &self.training, &self.licences].into_iter().flatten() {
            rows.report(findings);
        }
        if self.register.as_ref().is_some_and(|it| it.rows.is_empty() && !it.is_missing) {
            let finding = Finding::new("CONTRACTOR_NOT_REGISTERED", Effect::Deny);
            findings.push(finding.severity(Severity::High));
        }
    }
}

impl Rows {
    /// The rows of the call's subject.
    pub fn of_subject(table: &str) -> Self {
        let found = reference::lookup_subject(table);
        let (rows, version, stale) = (found.rows, found.version, found.stale);
        Self::of(table, TableRows { rows, version, stale })
    }

    /// The rows of a key.
    pub fn of_key(table: &str, key: &str) -> Self {
        Self::of(table, reference::lookup(table, key))
    }

    fn of(table: &str, found: TableRows) -> Self {
        Self {
            table: table.to_owned(),
            is_missing: found.version.is_empty(),
            is_stale: found.stale,
            rows: found.rows,
        }
    }

    /// Adds what is to be told about the table itself, once.
    pub fn report(&self, findings: &mut Vec<Finding>) {
        let finding = if self.is_missing {
            Finding::new("CONTRACTOR_TABLE_MISSING", Effect::Deny).severity(Severity::High)
        } else if self.is_stale {
            Finding::new("CONTRACTOR_TABLE_STALE", Effect::Allow).severity(Severity::Low)
        } else {
            return;
        };
        let finding = finding.argument(Attribute::text("table", &self.table));
        let told = findings.iter().any(|other| {
            other.code == finding.code
                && other.arguments.iter().zip(&finding.arguments).all(|(a, b)| a.value == b.value)
        });
        if !told {
            findings.push(finding);
        }
    }

    /// A column as it is written in findings.
    pub fn place(&self, column: &str) -> String {
        format!("{}.{column}", self.table)
    }
}

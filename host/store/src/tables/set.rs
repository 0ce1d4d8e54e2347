//! The current version of every reference table.
//!
//! Invariant: a call takes one [`CurrentTables`] and sees the same version of every table to its
//! end. A version becomes current only by the declaration with which it was loaded. Whether a
//! version may become current is asked of [`decide`](super::decide) by the caller, because a record
//! stands between that answer and [`TableSet::put`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use portcullis_model::Digest;

use super::declaration::{Declaration, NoMatchRule, SeveralRule, StaleRule};
use super::matching::{Matched, Subject};
use super::row::Rows;
use super::table::Table;

/// The current versions of all tables.
pub struct TableSet {
    current: ArcSwap<CurrentTables>,
    /// Held by everything that changes `current`, so that changes happen one by one.
    change: Mutex<()>,
}

/// The current version of every table at one moment.
#[derive(Clone, Debug, Default)]
pub struct CurrentTables {
    tables: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    declaration: Arc<Declaration>,
    table: Option<Arc<Table>>,
}

/// The outcome of a look-up after the table's rules.
#[derive(Clone, Debug)]
pub enum Found<'t> {
    /// Rows; `stale` where the table is too old and its rule is `use-and-flag`.
    Rows {
        /// At least one row.
        rows: Rows<'t>,
        /// Whether the table is stale.
        stale: bool,
        /// Whether the rows are of several keys, where a subject was matched.
        several_keys: bool,
    },
    /// The plugin gets no rows and decides.
    Absent(WithoutRows),
    /// The call is denied.
    Deny(WithoutRows),
}

/// Why a look-up has no rows to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutRows {
    /// No row has the key.
    NoMatch,
    /// Several rows have the key.
    SeveralMatches,
    /// The table is older than it may be.
    Stale,
    /// No version of the table was loaded yet, or no such table is declared.
    NotLoaded,
}

/// The current version of a table, for status and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStatus {
    /// The table's name.
    pub name: String,
    /// The current version; none where no version was loaded yet.
    pub version: Option<Digest>,
    /// Its rows.
    pub rows: u32,
    /// The memory that it occupies, in bytes.
    pub memory: usize,
    /// The time at which it was loaded.
    pub loaded_at: Option<Timestamp>,
    /// The time from which its age counts.
    pub data_at: Option<Timestamp>,
    /// Whether it is stale; a table without a version is.
    pub stale: bool,
}

impl TableSet {
    /// Returns a set with declared tables and no versions.
    pub fn new(declarations: impl IntoIterator<Item = Declaration>) -> Self {
        let tables = declarations.into_iter().map(|declaration| {
            let name = declaration.name.clone();
            (name, Entry { declaration: Arc::new(declaration), table: None })
        });
        let current = CurrentTables { tables: tables.collect() };
        Self { current: ArcSwap::from_pointee(current), change: Mutex::new(()) }
    }

    /// Makes a version current. Returns `false`, and changes nothing, where no table is declared by
    /// the declaration with which the version was loaded.
    pub fn put(&self, table: Arc<Table>) -> bool {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = CurrentTables::clone(&self.current.load());
        let entry = next.tables.get_mut(table.name());
        let Some(entry) = entry.filter(|it| *it.declaration == *table.declaration()) else {
            return false;
        };
        entry.table = Some(table);
        self.current.store(Arc::new(next));
        true
    }

    /// Takes the current version of a table out of use, until another one is put there: look-ups in
    /// it follow the rule for stale tables.
    pub fn withdraw(&self, name: &str) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = CurrentTables::clone(&self.current.load());
        if let Some(entry) = next.tables.get_mut(name) {
            entry.table = None;
            self.current.store(Arc::new(next));
        }
    }

    /// Returns the current versions, for one call.
    pub fn current(&self) -> Arc<CurrentTables> {
        self.current.load_full()
    }
}

impl CurrentTables {
    /// Returns a set of these tables, such as for a report.
    pub fn of(tables: impl IntoIterator<Item = Arc<Table>>) -> Self {
        let entries = tables.into_iter().map(|table| {
            let declaration = Arc::new(table.declaration().clone());
            (table.name().to_owned(), Entry { declaration, table: Some(table) })
        });
        Self { tables: entries.collect() }
    }

    /// Returns whether a table of this name is declared, with a version or without.
    pub fn declares(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }

    /// Returns the current version of a table.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)?.table.as_ref()
    }

    /// Looks a key up and applies the table's rules.
    pub fn find(&self, name: &str, key: &[&str], now: Timestamp) -> Found<'_> {
        match self.usable(name, now) {
            Ok((rules, table, stale)) => by_rules(rules, table.lookup(key), stale, false),
            Err(without) => without,
        }
    }

    /// Matches a subject with a table and applies the table's rules.
    pub fn find_subject(
        &self,
        name: &str,
        subject: &(impl Subject + ?Sized),
        now: Timestamp,
    ) -> Found<'_> {
        match self.usable(name, now) {
            Ok((rules, table, stale)) => match table.match_subject(subject, self, now) {
                Matched::One(rows, _) => by_rules(rules, rows, stale, false),
                Matched::Several(rows, _) => by_rules(rules, rows, stale, true),
                Matched::None => by_rules(rules, Rows::none(table), stale, false),
                Matched::Deny(reason) => Found::Deny(reason),
            },
            Err(without) => without,
        }
    }

    /// Returns the state of every declared table, by name.
    pub fn status(&self, now: Timestamp) -> Vec<TableStatus> {
        let status = self.tables.iter().map(|(name, entry)| {
            let table = entry.table.as_ref();
            TableStatus {
                name: name.clone(),
                version: table.map(|table| table.version()),
                rows: table.map_or(0, |table| table.rows()),
                memory: table.map_or(0, |table| table.memory()),
                loaded_at: table.map(|table| table.loaded_at()),
                data_at: table.map(|table| table.data_at()),
                stale: entry.is_stale(now),
            }
        });
        status.collect()
    }

    /// Returns a table that may be used with its rules, and whether it is stale.
    fn usable(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<(&Declaration, &Table, bool), Found<'_>> {
        let Some(entry) = self.tables.get(name) else {
            return Err(Found::Deny(WithoutRows::NotLoaded));
        };
        let rules = &*entry.declaration;
        let without = match &entry.table {
            None => WithoutRows::NotLoaded,
            Some(table) => {
                let is_stale = entry.is_stale(now);
                if !is_stale || rules.stale == StaleRule::UseAndFlag {
                    return Ok((rules, table, is_stale));
                }
                WithoutRows::Stale
            }
        };
        Err(match rules.stale {
            StaleRule::TreatAsAbsent => Found::Absent(without),
            StaleRule::Deny | StaleRule::UseAndFlag => Found::Deny(without),
        })
    }
}

impl Entry {
    /// Returns whether the current version is older than the declaration allows now.
    fn is_stale(&self, now: Timestamp) -> bool {
        let age = self.table.as_ref().map(|table| table.age_seconds(now));
        age.is_none_or(|age| age > self.declaration.max_age_seconds)
    }
}

fn by_rules<'t>(
    declaration: &Declaration,
    rows: Rows<'t>,
    stale: bool,
    several_keys: bool,
) -> Found<'t> {
    if rows.is_empty() {
        return match declaration.no_match {
            NoMatchRule::Deny => Found::Deny(WithoutRows::NoMatch),
            NoMatchRule::TreatAsAbsent => Found::Absent(WithoutRows::NoMatch),
        };
    }
    if rows.is_several() {
        return match declaration.several_matches {
            SeveralRule::Deny => Found::Deny(WithoutRows::SeveralMatches),
            SeveralRule::TreatAsAbsent => Found::Absent(WithoutRows::SeveralMatches),
            SeveralRule::UseAll => Found::Rows { rows, stale, several_keys },
        };
    }
    Found::Rows { rows, stale, several_keys }
}

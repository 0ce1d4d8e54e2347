//! The current version of every reference table, and the versions that wait for a confirmation.
//!
//! Invariant: a call takes one [`CurrentTables`] and sees the same version of every table to its end.
//! A version that [`decide`] holds never becomes current without [`TableSet::confirm`] of its own
//! digest. After a restart there is no version to compare with: the caller first offers the last
//! accepted bytes, which it kept, and then the new ones. Whether a confirmation is signed, and by
//! whom, is checked by the caller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use portcullis_model::Digest;

use super::declaration::{Declaration, NoMatchRule, SeveralRule, StaleRule};
use super::difference::{Acceptance, Difference, decide};
use super::matching::{Matched, Subject};
use super::row::Rows;
use super::table::Table;

/// The current versions of all tables, and the held ones.
pub struct TableSet {
    current: ArcSwap<CurrentTables>,
    /// Also taken by everything that changes `current`, so that changes happen one by one.
    held: Mutex<BTreeMap<String, (Arc<Table>, Difference)>>,
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

/// The outcome of an offered version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The version is current now. No difference where it is the first one.
    Accepted(Option<Difference>),
    /// The version is current already; only the time from which its age counts is new.
    Renewed,
    /// The version waits for a confirmation; the one before it stays current.
    Held(Difference),
    /// No table is declared, or not by the declaration with which the version was loaded.
    Undeclared,
}

/// Why a confirmation changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    /// No version of the table is held.
    #[error("no version of the reference table `{0}` waits for a confirmation")]
    NothingHeld(String),
    /// Another version is held.
    #[error("the version of the reference table `{table}` that waits is {held}, not {confirmed}")]
    OtherVersion {
        /// The table's name.
        table: String,
        /// The version that is held.
        held: Digest,
        /// The version that was confirmed.
        confirmed: Digest,
    },
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

/// A version that waits for a confirmation.
#[derive(Clone, Debug)]
pub struct HeldVersion {
    /// The version.
    pub table: Arc<Table>,
    /// Its difference from the version that was current when it was offered.
    pub difference: Difference,
}

impl TableSet {
    /// Returns a set with declared tables and no versions.
    pub fn new(declarations: impl IntoIterator<Item = Declaration>) -> Self {
        let set = Self {
            current: ArcSwap::from_pointee(CurrentTables::default()),
            held: Mutex::new(BTreeMap::new()),
        };
        set.declare(declarations);
        set
    }

    /// Declares the tables anew, as a release or a configuration does. A table with the same
    /// declaration keeps its versions. One whose declaration changed keeps its current version with
    /// the old columns and the new rules, until a version is offered; others are removed.
    pub fn declare(&self, declarations: impl IntoIterator<Item = Declaration>) {
        let mut held = self.lock();
        let current = self.current.load();
        let tables = declarations.into_iter().map(|declaration| {
            let table = current.tables.get(&declaration.name).and_then(|entry| entry.table.clone());
            (declaration.name.clone(), Entry { declaration: Arc::new(declaration), table })
        });
        let next = CurrentTables { tables: tables.collect() };
        held.retain(|name, (table, _)| {
            let entry = next.tables.get(name);
            entry.is_some_and(|entry| *entry.declaration == *table.declaration())
        });
        self.current.store(Arc::new(next));
    }

    /// Offers a version that was loaded. Comparing takes a second or so for a million rows; calls
    /// are not delayed by it. A held version is replaced by the next one that is offered.
    pub fn offer(&self, table: Table) -> Offered {
        let mut held = self.lock();
        let current = self.current.load_full();
        let name = table.name().to_owned();
        let entry = current.tables.get(&name);
        let Some(entry) = entry.filter(|entry| *entry.declaration == *table.declaration()) else {
            return Offered::Undeclared;
        };
        let table = Arc::new(table);
        let Some(old) = &entry.table else {
            self.replace(&current, table);
            return Offered::Accepted(None);
        };
        if old.version() == table.version() && old.declaration() == table.declaration() {
            held.remove(&name);
            self.replace(&current, table);
            return Offered::Renewed;
        }
        match decide(old, &table) {
            Acceptance::Accept(difference) => {
                held.remove(&name);
                self.replace(&current, table);
                Offered::Accepted(Some(difference))
            }
            Acceptance::Hold(difference) => {
                held.insert(name, (table, difference.clone()));
                Offered::Held(difference)
            }
        }
    }

    /// Takes over a version of another set that is known to be good, where this set declares the table
    /// alike and has no version of it. Returns whether that is so.
    pub fn adopt(&self, table: Arc<Table>) -> bool {
        let _held = self.lock();
        let current = self.current.load_full();
        let entry = current.tables.get(table.name());
        let fits = entry.is_some_and(|entry| {
            entry.table.is_none() && *entry.declaration == *table.declaration()
        });
        if fits {
            self.replace(&current, table);
        }
        fits
    }

    /// Makes the held version of a table current; `version` is the digest that a person confirmed.
    pub fn confirm(&self, name: &str, version: Digest) -> Result<Arc<Table>, ConfirmError> {
        let mut held = self.lock();
        let Some((table, _)) = held.get(name) else {
            return Err(ConfirmError::NothingHeld(name.to_owned()));
        };
        if table.version() != version {
            let held = table.version();
            let table = name.to_owned();
            return Err(ConfirmError::OtherVersion { table, held, confirmed: version });
        }
        let table = Arc::clone(table);
        held.remove(name);
        self.replace(&self.current.load_full(), Arc::clone(&table));
        Ok(table)
    }

    /// Returns the versions that wait for a confirmation.
    pub fn held(&self) -> Vec<HeldVersion> {
        let held = self.lock();
        let versions = held.values().map(|(table, difference)| HeldVersion {
            table: Arc::clone(table),
            difference: difference.clone(),
        });
        versions.collect()
    }

    /// Returns the current versions, for one call.
    pub fn current(&self) -> Arc<CurrentTables> {
        self.current.load_full()
    }

    fn replace(&self, current: &CurrentTables, table: Arc<Table>) {
        let mut next = current.clone();
        if let Some(entry) = next.tables.get_mut(table.name()) {
            entry.table = Some(table);
        }
        self.current.store(Arc::new(next));
    }

    /// Nothing panics while the lock is held; and if it did, each version is whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Arc<Table>, Difference)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Returns the current version of a table.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)?.table.as_ref()
    }

    /// Looks a key up and applies the table's rules.
    pub fn find(&self, name: &str, key: &[&str], now: Timestamp) -> Found<'_> {
        match self.usable(name, now) {
            Ok((rules, table, stale)) => by_rules(rules, table.lookup(key), stale),
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
                Matched::One(rows, _) | Matched::Several(rows, _) => by_rules(rules, rows, stale),
                Matched::None => by_rules(rules, Rows::none(table), stale),
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

fn by_rules<'t>(declaration: &Declaration, rows: Rows<'t>, stale: bool) -> Found<'t> {
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
            SeveralRule::UseAll => Found::Rows { rows, stale },
        };
    }
    Found::Rows { rows, stale }
}

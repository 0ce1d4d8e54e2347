//! Matching a call's subject with the rows of a table.
//!
//! Invariant: rules are tried in their declared order, and the first one that finds rows decides.
//! Rows that share the table's key are one match; rows of different keys are several, however alike
//! they look. A rule whose field the subject lacks is passed over. The rule for several rows and
//! for none is the table's own.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::Timestamp;
use portcullis_model::Redacted;

use super::declaration::{Crosswalk, MatchRule};
use super::row::Rows;
use super::set::{CurrentTables, Found, WithoutRows};
use super::table::Table;

/// The fields of a subject.
pub trait Subject {
    /// Returns the value of a field: `id`, `login`, `email` or the name of an attribute.
    fn field(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// The rows that match a subject, before the table's rules for none and several are applied.
#[derive(Clone, Debug)]
pub enum Matched<'t> {
    /// All rows of one key, and the position of the rule that found them.
    One(Rows<'t>, usize),
    /// Rows of several keys.
    Several(Rows<'t>, usize),
    /// No rule found a row.
    None,
    /// A crosswalk table cannot be used, and its rule for that denies the call.
    Deny(WithoutRows),
}

/// A table whose rules cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatchError {
    /// The set of current tables has no such table.
    #[error("there is no reference table `{0}`, or no version of it was loaded")]
    NoTable(String),
    /// The table has no rules for matching.
    #[error("the reference table `{0}` declares no `match` rules")]
    NoRules(String),
    /// A crosswalk names a table or a column that is not there.
    #[error(
        "rule {rule} of the reference table `{table}` has a crosswalk to `{crosswalk}`, which has \
         no column `{column}` or no exact key of one column, or is not loaded"
    )]
    Crosswalk {
        /// The table whose rule it is.
        table: String,
        /// The position of the rule.
        rule: usize,
        /// The other table.
        crosswalk: String,
        /// Its column.
        column: String,
    },
}

/// The shares of an export's subjects that match a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchReport {
    /// All subjects.
    pub subjects: u64,
    /// Subjects with the rows of one key.
    pub one: u64,
    /// Subjects without a row.
    pub none: u64,
    /// Subjects with rows of several keys.
    pub several: u64,
    /// Subjects for whom a crosswalk table denies.
    pub denied: u64,
    /// For each rule the subjects whose rows it found.
    pub by_rule: Vec<u64>,
    /// Subjects for whom a later rule finds another key than the rule that decided: such a table
    /// may hold wrong or reused ids.
    pub contradicted: u64,
    /// Keys of the table that no subject has.
    pub unused_keys: u64,
    /// The first subjects without a row or with several, by the first field that they have; at most
    /// [`MAX_EXAMPLES`].
    pub examples: Vec<Redacted<String>>,
}

impl Table {
    /// Matches a subject; `crosswalks` has the tables that rules name, and `now` decides whether
    /// those are stale.
    pub fn match_subject<'t>(
        &'t self,
        subject: &(impl Subject + ?Sized),
        crosswalks: &CurrentTables,
        now: Timestamp,
    ) -> Matched<'t> {
        for position in 0..self.declaration().matching.len() {
            match self.apply_rule(position, subject, crosswalks, now) {
                Matched::None => {}
                decided => return decided,
            }
        }
        Matched::None
    }

    fn apply_rule<'t>(
        &'t self,
        position: usize,
        subject: &(impl Subject + ?Sized),
        crosswalks: &CurrentTables,
        now: Timestamp,
    ) -> Matched<'t> {
        let Some(rule) = self.declaration().matching.get(position) else { return Matched::None };
        let Some(value) = subject.field(&rule.subject) else { return Matched::None };
        let mut found = BTreeSet::new();
        match &rule.crosswalk {
            None => found.extend(self.rows_by_rule(position, rule, &value)),
            Some(crosswalk) => match translate(crosswalk, &value, crosswalks, now) {
                Ok(values) => values.iter().for_each(|value| {
                    found.extend(self.rows_by_rule(position, rule, value));
                }),
                Err(reason) => return Matched::Deny(reason),
            },
        }
        let rows = || found.iter().copied().collect();
        let heads: BTreeSet<_> = found.iter().map(|&row| self.head_of(row)).collect();
        match (heads.len(), heads.first()) {
            (0, _) | (_, None) => Matched::None,
            (1, Some(&head)) => Matched::One(self.chain_of(head), position),
            _ => Matched::Several(Rows::listed(self, rows()), position),
        }
    }

    /// Returns the rows whose cell in a rule's column equals a value.
    fn rows_by_rule(&self, position: usize, rule: &MatchRule, value: &str) -> Vec<u32> {
        let column = self.plan.matching.get(position).copied();
        let part = column.and_then(|column| self.comparable(column, value));
        let Some(part) = part else { return Vec::new() };
        let part = rule.rules.apply(&part);
        // A blank value is none: it must not find the rows of others.
        if part.trim().is_empty() {
            return Vec::new();
        }
        let key = std::slice::from_ref(&part);
        let rows = match self.matching.get(position) {
            Some(Some(index)) => Rows::chained(self, index.chain(), index.find(&self.columns, key)),
            _ => self.chain_of(self.head_of_key(key)),
        };
        rows.map(|row| row.number()).collect()
    }
}

/// Matches every subject of an export with a table of the current tables, and counts the outcomes.
/// The tables' own rules for none, several and stale are not applied.
pub fn match_report<S: Subject>(
    tables: &CurrentTables,
    name: &str,
    subjects: impl IntoIterator<Item = S>,
    now: Timestamp,
) -> Result<MatchReport, MatchError> {
    let table = tables.table(name).ok_or_else(|| MatchError::NoTable(name.to_owned()))?;
    let rules = &table.declaration().matching;
    if rules.is_empty() {
        return Err(MatchError::NoRules(name.to_owned()));
    }
    for (at, rule) in rules.iter().enumerate() {
        if let Some(crosswalk) = &rule.crosswalk {
            let other = tables.table(&crosswalk.table);
            let is_usable = other.is_some_and(|other| is_crosswalk(other, crosswalk));
            if !is_usable {
                return Err(MatchError::Crosswalk {
                    table: name.to_owned(),
                    rule: at,
                    crosswalk: crosswalk.table.clone(),
                    column: crosswalk.column.clone(),
                });
            }
        }
    }
    let mut report = MatchReport { by_rule: vec![0; rules.len()], ..MatchReport::default() };
    let mut used = BTreeSet::new();
    for subject in subjects {
        report.subjects += 1;
        let matched = table.match_subject(&subject, tables, now);
        let decided = match &matched {
            Matched::One(rows, rule) => {
                report.one += 1;
                let head = rows.clone().next().and_then(|row| table.head_of(row.number()));
                used.extend(head);
                let differs = (rule + 1..rules.len()).any(|later| {
                    match table.apply_rule(later, &subject, tables, now) {
                        Matched::One(mut rows, _) => {
                            let other = rows.next().and_then(|row| table.head_of(row.number()));
                            other != head
                        }
                        Matched::Several(..) => true,
                        Matched::None | Matched::Deny(_) => false,
                    }
                });
                report.contradicted += u64::from(differs);
                Some(*rule)
            }
            Matched::Several(_, rule) => {
                report.several += 1;
                Some(*rule)
            }
            Matched::None => {
                report.none += 1;
                None
            }
            Matched::Deny(_) => {
                report.denied += 1;
                None
            }
        };
        if let Some(count) = decided.and_then(|rule| report.by_rule.get_mut(rule)) {
            *count += 1;
        }
        if !matches!(matched, Matched::One(..)) && report.examples.len() < MAX_EXAMPLES {
            let field = rules.iter().find_map(|rule| subject.field(&rule.subject));
            let name = field.map_or_else(|| "(no field of the rules)".to_owned(), Cow::into_owned);
            report.examples.push(Redacted::new(name));
        }
    }
    let used = u64::try_from(used.len()).unwrap_or(u64::MAX);
    report.unused_keys = u64::try_from(table.keys()).unwrap_or(u64::MAX).saturating_sub(used);
    Ok(report)
}

impl<S: Subject + ?Sized> Subject for &S {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        (**self).field(name)
    }
}

/// Returns the values that a crosswalk table has for a value.
fn translate<'s>(
    crosswalk: &Crosswalk,
    value: &str,
    crosswalks: &'s CurrentTables,
    now: Timestamp,
) -> Result<Vec<Cow<'s, str>>, WithoutRows> {
    match crosswalks.find(&crosswalk.table, &[value], now) {
        Found::Deny(WithoutRows::NoMatch) | Found::Absent(_) => Ok(Vec::new()),
        Found::Deny(reason) => Err(reason),
        Found::Rows { rows, .. } => {
            let table = rows.table();
            let position =
                table.plan.position(&crosswalk.column).filter(|_| is_crosswalk(table, crosswalk));
            let Some(column) = position.and_then(|at| table.columns.get(at)) else {
                return Err(WithoutRows::NotLoaded);
            };
            Ok(rows.filter_map(|row| column.text(usize::try_from(row.number()).ok()?)).collect())
        }
    }
}

fn is_crosswalk(table: &Table, crosswalk: &Crosswalk) -> bool {
    table.plan.key.len() == 1
        && table.declaration().key.kind == super::declaration::KeyKind::Exact
        && table.plan.position(&crosswalk.column).is_some()
}

/// Subjects that a report names.
pub const MAX_EXAMPLES: usize = 100;

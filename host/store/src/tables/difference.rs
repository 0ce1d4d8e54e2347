//! The difference between two versions of a table, and whether the new one waits for a person.
//!
//! Invariant: rows are compared by key and by the watched columns, whatever their order. Each row
//! of the old version counts once at most: it is lost, changed or kept. New rows never hold a
//! version: they take access from nobody. A pair that cannot be compared is held. The keys in a
//! report are personal data: formatting does not show them, and there are at most [`MAX_NAMES`].

use std::fmt;

use portcullis_model::{Digest, Redacted};

use super::declaration::Declaration;
use super::table::Table;

/// The difference between two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The table's name.
    pub table: String,
    /// The version that is used now.
    pub old: Digest,
    /// The version that is to replace it.
    pub new: Digest,
    /// Rows of the old version.
    pub old_rows: u32,
    /// Rows of the new version.
    pub new_rows: u32,
    /// Rows of the old version that have no counterpart.
    pub lost: u32,
    /// Rows whose counterpart has another value in a watched column.
    pub changed: u32,
    /// Whether the versions could be compared: both have the key and all watched columns.
    pub comparable: bool,
    /// The first keys that lost or changed rows, in the order of the old version.
    pub affected: Vec<AffectedKey>,
    /// The number of further keys.
    pub more: u32,
}

/// A key that lost or changed rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedKey {
    /// The key's values.
    pub key: Redacted<Vec<String>>,
    /// The loss of its rows.
    pub loss: Loss,
}

/// The consequence of a new version on the rows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The key has fewer rows, or none.
    Lost,
    /// A watched column has another value.
    Changed,
}

/// Whether a new version may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// At once.
    Accept(Difference),
    /// Only after a confirmation of its digest.
    Hold(Difference),
}

/// Decides by the declaration of the new version whether it may be used at once.
pub fn decide(old: &Table, new: &Table) -> Acceptance {
    let difference = Difference::between(old, new);
    if difference.is_above(new.declaration()) {
        Acceptance::Hold(difference)
    } else {
        Acceptance::Accept(difference)
    }
}

impl Difference {
    /// Compares two versions by the key and the watched columns of the new version's declaration.
    pub fn between(old: &Table, new: &Table) -> Self {
        let mut difference = Self {
            table: new.name().to_owned(),
            old: old.version(),
            new: new.version(),
            old_rows: old.rows(),
            new_rows: new.rows(),
            lost: 0,
            changed: 0,
            comparable: false,
            affected: Vec::new(),
            more: 0,
        };
        let (was, is) = (old.declaration(), new.declaration());
        let watched: Option<Vec<(usize, usize)>> = is
            .hold
            .watch
            .iter()
            .map(|name| Some((old.plan.position(name)?, new.plan.position(name)?)))
            .collect();
        let same_types = new.plan.key.iter().chain(&new.plan.watch).all(|&at| {
            let column = is.columns.get(at);
            column.is_some_and(|column| {
                was.columns
                    .iter()
                    .any(|other| other.name == column.name && other.kind == column.kind)
            })
        });
        if let Some(watched) = watched.filter(|_| was.key == is.key && same_types) {
            difference.comparable = true;
            for head in old.heads() {
                difference.compare_key(old, new, head, &watched);
            }
        }
        difference
    }

    /// Returns the share of the old rows that are lost or changed, in percent.
    pub fn percent(&self) -> f64 {
        if self.old_rows == 0 {
            return 0.0;
        }
        f64::from(self.lost.saturating_add(self.changed)) * 100.0 / f64::from(self.old_rows)
    }

    /// Returns the warning for the person who confirms, with the keys in the clear. It must only be
    /// shown to people who may see the table.
    pub fn warning(&self) -> String {
        let mut text = format!("{self}");
        for affected in &self.affected {
            let verb = match affected.loss {
                Loss::Lost => "loses its rows",
                Loss::Changed => "changes",
            };
            text.push_str(&format!("\n- {} {verb}", affected.key.expose().join(", ")));
        }
        if self.more > 0 {
            text.push_str(&format!("\n- and {} more", self.more));
        }
        text
    }

    fn is_above(&self, declaration: &Declaration) -> bool {
        let affected = u64::from(self.lost) + u64::from(self.changed);
        let bound = u64::from(declaration.hold.above_percent) * u64::from(self.old_rows);
        !self.comparable || affected * 100 > bound
    }

    /// Compares the rows of one key as sets with repetition.
    fn compare_key(&mut self, old: &Table, new: &Table, head: u32, watched: &[(usize, usize)]) {
        let Some(key) = old.key_of(head) else { return };
        let others = new.head_of_key(&key);
        let (lost, changed) = if old.chain().next(head).is_none()
            && let Some(other) = others
            && new.chain().next(other).is_none()
        {
            // One row on each side, the usual case, is compared without copies.
            let same =
                watched.iter().all(|&(was, is)| text(old, was, head) == text(new, is, other));
            (0, u32::from(!same))
        } else {
            let was = rows_of(old, Some(head), watched.iter().map(|&(was, _)| was));
            let is = rows_of(new, others, watched.iter().map(|&(_, is)| is));
            let unmatched = unmatched(&was, &is);
            let lost = u32::try_from(was.len().saturating_sub(is.len())).unwrap_or(u32::MAX);
            (lost, unmatched.saturating_sub(lost))
        };
        if lost == 0 && changed == 0 {
            return;
        }
        self.lost = self.lost.saturating_add(lost);
        self.changed = self.changed.saturating_add(changed);
        if self.affected.len() < MAX_NAMES {
            let loss = if lost > 0 { Loss::Lost } else { Loss::Changed };
            let parts = old.plan.key.iter().filter_map(|&at| text(old, at, head));
            let key = Redacted::new(parts.map(|part| part.into_owned()).collect());
            self.affected.push(AffectedKey { key, loss });
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.comparable {
            return write!(
                f,
                "the new version of the table `{}` cannot be compared with the current one: its \
                 key or its watched columns are declared anew",
                self.table
            );
        }
        write!(
            f,
            "the new version of the table `{}` loses {} and changes {} of {} rows ({:.1} %)",
            self.table,
            self.lost,
            self.changed,
            self.old_rows,
            self.percent()
        )
    }
}

fn text(table: &Table, position: usize, row: u32) -> Option<std::borrow::Cow<'_, str>> {
    table.columns.get(position)?.text(usize::try_from(row).ok()?)
}

/// Returns the watched values of each row of a key, in order.
fn rows_of(
    table: &Table,
    head: Option<u32>,
    positions: impl Iterator<Item = usize> + Clone,
) -> Vec<Vec<Option<std::borrow::Cow<'_, str>>>> {
    let rows = table.chain_of(head);
    let mut values: Vec<Vec<_>> = rows
        .map(|row| positions.clone().map(|at| text(table, at, row.number())).collect())
        .collect();
    values.sort_unstable();
    values
}

/// Counts the values of `was` that `is` does not have; both are in order.
fn unmatched<T: Ord>(was: &[T], is: &[T]) -> u32 {
    let mut others = is.iter().peekable();
    let mut count = 0;
    for value in was {
        while others.next_if(|other| *other < value).is_some() {}
        if others.next_if_eq(&value).is_none() {
            count += 1;
        }
    }
    count
}

/// Keys that a difference names.
pub const MAX_NAMES: usize = 100;

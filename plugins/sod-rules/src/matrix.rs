//! Rules as a table of pairs: two entitlements that nobody may hold together.
//!
//! Invariant: a pair means the same as a rule of kind `pair` over two functions with one
//! entitlement each. Severity or action that cannot be read count as the default, which is strict:
//! a mistake in a table never weakens a rule.

use std::collections::BTreeMap;

use crate::bitset::small;
use crate::compiled::{Compiled, Facts};
use crate::names::{Name, NameTable};
use crate::rules::{Forbidden, Rules};
use crate::settings::{Action, Existing, Severity, TableNames};

/// One row of the matrix.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairRow {
    /// The entitlement by which the row is looked up.
    pub entitlement: String,
    /// The entitlement that may not be held together with it.
    pub conflicts_with: String,
    /// The rule's id; several rows may have the same.
    pub rule: String,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// The consequence.
    pub action: Option<Action>,
    /// Who answers for the rule.
    pub owner: String,
}

impl PairRow {
    /// The id of a rule that has no other: its pair, in the order of the alphabet.
    pub fn id_of(one: &str, other: &str) -> String {
        format!("{} / {}", one.min(other), one.max(other))
    }
}

/// Compiles the rows that were looked up. A row of an entitlement with itself is left out.
pub fn compile_pairs(rows: &[PairRow], existing: Existing) -> Compiled {
    let mut rows: Vec<&PairRow> =
        rows.iter().filter(|row| row.entitlement != row.conflicts_with).collect();
    rows.sort_by(|one, other| (&one.rule, *one).cmp(&(&other.rule, *other)));
    rows.dedup();
    let ends = rows.iter().flat_map(|row| [&row.entitlement, &row.conflicts_with]);
    let mut functions: Vec<String> = ends.cloned().collect();
    functions.sort_unstable();
    functions.dedup();
    let forbidden: Vec<Forbidden> = rows
        .iter()
        .map(|row| {
            let number = |name: &String| functions.binary_search(name).map_or(u32::MAX, small);
            let mut set = vec![number(&row.entitlement), number(&row.conflicts_with)];
            set.sort_unstable();
            Forbidden { set, at_least: 2 }
        })
        .collect();
    let facts = rows.iter().map(|row| Facts {
        id: row.rule.clone(),
        owner: row.owner.clone(),
        scope: None,
        severity: row.severity.unwrap_or_default(),
        action: row.action.unwrap_or_default(),
        expires: None,
    });
    Compiled {
        names: NameTable::new(functions.iter().map(|name| Name::parse(name)).zip(0..)),
        rules: Rules::new(&forbidden, functions.len()),
        facts: facts.collect(),
        functions,
        exceptions: BTreeMap::new(),
        existing,
        tables: TableNames::default(),
    }
}

/// The rows below each id, as a table has them.
pub fn pairs_of(rows: Vec<PairRow>) -> BTreeMap<String, Vec<PairRow>> {
    let mut by_id: BTreeMap<String, Vec<PairRow>> = BTreeMap::new();
    for row in rows {
        by_id.entry(row.entitlement.clone()).or_default().push(row);
    }
    by_id
}

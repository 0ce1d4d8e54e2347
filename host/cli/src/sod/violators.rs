//! `portcullis sod violators`: the people who break a rule at present.
//!
//! Invariant: the report says of a person what the plugin would say of a call in which nothing is
//! requested, with the same rules, exceptions and order.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_sod_rules::{
    ExceptionRow, Explanation, Of, Outcome, compile_pairs, conflicts, strictest_first,
};
use serde_json::{Value, json};

use super::people::{Export, Person, situation, too_many};
use super::rules::{RuleFiles, Rules, exceptions};
use crate::clock;
use crate::exit::{CliError, CliResult, Format, count};

/// List the people of an export who break a rule at present.
///
/// Nothing is enforced and nothing is recorded. An attribute that a rule's scope names and the
/// export lacks is unknown: then the rule applies, as it does in the plugin.
#[derive(Args)]
#[command(after_help = concat!(
    "Examples:\n",
    "  portcullis sod violators --settings sod.json --export people.csv\n",
    "  portcullis sod violators --settings sod.json --from okta --export users.jsonl --format json\n",
    "  portcullis sod violators --matrix sod-matrix.csv --roles role-hierarchy.csv \\\n",
    "    --from entra --export groups.json --exceptions sod-exceptions.csv\n\n",
    "Exit 5: somebody breaks a rule without a valid exception. Exit 1: a file has problems.",
))]
pub struct Violators {
    #[command(flatten)]
    rules: RuleFiles,
    #[command(flatten)]
    export: Export,
    /// The table `sod-exceptions` (CSV or XLSX); `person` is an id or a login of the export.
    #[arg(long)]
    exceptions: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A rule that a person breaks.
struct Violation {
    person: String,
    id: Option<String>,
    rule: String,
    owner: String,
    severity: &'static str,
    effect: &'static str,
    outcome: Outcome,
    why: Explanation,
}

impl Violators {
    /// Does it.
    pub fn run(self) -> CliResult {
        let rules = self.rules.compile()?;
        let excepted = self.exceptions.as_deref().map(exceptions).transpose()?.unwrap_or_default();
        let people = self.export.read()?;
        let since = clock::since_epoch().unwrap_or_default();
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut found = Vec::new();
        for person in &people {
            found.extend(violations(person, &rules, &excepted, now)?);
        }
        let open: Vec<_> = found.iter().filter(|it| it.is_open()).collect();
        let violators: BTreeSet<_> = open.iter().map(|it| &it.person).collect();
        let broken: BTreeSet<_> = open.iter().map(|it| &it.rule).collect();
        let outcomes = |outcome| found.iter().filter(|it| it.outcome == outcome).count();
        let summary = format!(
            "{} of {} people break {} ({} excepted, {} of expired rules)",
            violators.len(),
            people.len(),
            count(broken.len(), "rule"),
            outcomes(Outcome::Excepted),
            outcomes(Outcome::RuleExpired),
        );
        self.format.print(
            format!("{}{summary}", table(&open)),
            json!({
                "people": people.len(), "violators": violators.len(), "rules": broken.len(),
                "violations": found.iter().map(Violation::json).collect::<Vec<_>>(),
            }),
        );
        if open.is_empty() {
            return Ok(());
        }
        Err(CliError::found(format!("{} found", count(open.len(), "violation"))))
    }
}

/// The rules that a person breaks, strictest first.
fn violations(
    person: &Person,
    rules: &Rules,
    excepted: &[ExceptionRow],
    now: u64,
) -> CliResult<Vec<Violation>> {
    let (holdings, rows) = person.expanded(rules).map_err(|refused| too_many(person, refused))?;
    let attribute = |of: Of, name: &str| person.attribute(of, name);
    let situation = situation(person, holdings, now, &attribute);
    let pairs = compile_pairs(&rows, rules.compiled.existing);
    let mut found = conflicts(&rules.compiled, &situation);
    found.extend(conflicts(&pairs, &situation));
    let names = person.names();
    let own = |row: &&ExceptionRow| row.person.as_deref().is_some_and(|it| names.contains(&it));
    let excepted: Vec<_> = excepted.iter().filter(own).cloned().collect();
    for conflict in &mut found {
        conflict.except(&excepted, now, &names);
    }
    strictest_first(&mut found);
    let found = found.iter().map(|conflict| Violation {
        person: person.name.clone(),
        id: person.id.clone(),
        rule: conflict.facts.id.clone(),
        owner: conflict.facts.owner.clone(),
        severity: conflict.severity.name(),
        effect: conflict.action.name(),
        outcome: conflict.outcome,
        why: conflict.explain(&situation),
    });
    Ok(found.collect())
}

impl Violation {
    fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::New | Outcome::Existing)
    }

    fn json(&self) -> Value {
        json!({
            "person": self.person, "id": self.id, "rule": self.rule, "owner": self.owner,
            "severity": self.severity, "effect": self.effect,
            "outcome": match self.outcome {
                Outcome::New | Outcome::Existing => "existing",
                Outcome::Excepted => "excepted",
                Outcome::RuleExpired => "rule-expired",
            },
            "entitlements": self.why.entitlements, "functions": self.why.functions,
        })
    }
}

/// The violations as a table, a line each, with a header; nothing where there are none.
fn table(open: &[&Violation]) -> String {
    if open.is_empty() {
        return String::new();
    }
    let header = ["PERSON", "RULE", "SEVERITY", "EFFECT", "ENTITLEMENTS"].map(str::to_owned);
    let rows = open.iter().map(|it| {
        let held: Vec<_> = it.why.entitlements.iter().map(|name| escape(name)).collect();
        [
            escape(&it.person).into_owned(),
            escape(&it.rule).into_owned(),
            it.severity.to_owned(),
            it.effect.to_owned(),
            held.join(" + "),
        ]
    });
    let mut text = aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>());
    text.push('\n');
    text
}

/// Cells in columns, as wide as the widest of each; every row ends its line.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

//! `portcullis sod uncovered`: what the rules say nothing about.
//!
//! Invariant: an entitlement is listed if no rule is about a function that it gives, by itself or
//! by what it contains; a sensitive pair, if somebody who holds just these two breaks no rule.
//! Scopes and exceptions of rules are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_sod_rules::{Coverage, Holding, Name, Of, compile_pairs, conflicts};
use serde_json::json;

use super::all_or;
use super::people::{Export, Person, situation, too_many};
use super::rules::{RuleFiles, Rules};
use super::sheet::{Sheet, cell};
use super::violators::aligned;
use crate::exit::{CliError, CliResult, Format, count};

/// List the entitlements of an export that no rule is about, and the sensitive pairs that none
/// forbids.
#[derive(Args)]
#[command(after_help = concat!(
    "Examples:\n",
    "  portcullis sod uncovered --settings sod.json --export people.csv\n",
    "  portcullis sod uncovered --matrix sod-matrix.csv --from okta --export users.jsonl \\\n",
    "    --sensitive sensitive.csv --format json\n\n",
    "Exit 5: there are such entitlements or pairs. Exit 1: a file has problems.",
))]
pub struct Uncovered {
    #[command(flatten)]
    rules: RuleFiles,
    #[command(flatten)]
    export: Export,
    /// Sensitive entitlements (CSV or XLSX, column `entitlement`), of which every pair should be
    /// forbidden or known.
    #[arg(long)]
    sensitive: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Uncovered {
    /// Does it.
    pub fn run(self) -> CliResult {
        let rules = self.rules.compile()?;
        let sensitive = self.sensitive.as_deref().map(sensitive).transpose()?.unwrap_or_default();
        let people = self.export.read()?;
        let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
        for name in people.iter().flat_map(|person| &person.entitlements) {
            *holders.entry(name).or_default() += 1;
        }
        let covered = Covered::by(&rules);
        let mut entitlements = Vec::new();
        for (name, holders) in &holders {
            if !covered.has(name, &rules)? {
                entitlements.push((*name, *holders));
            }
        }
        // Those that most people hold come first.
        entitlements.sort_by_key(|(_, holders)| std::cmp::Reverse(*holders));
        let mut pairs = pairs(&sensitive, &people, &rules)?;
        pairs.sort_by_key(|(_, _, holders)| std::cmp::Reverse(*holders));
        let mut text = String::new();
        if !entitlements.is_empty() {
            let row =
                |(name, holders): &(&str, usize)| [escape(name).into_owned(), holders.to_string()];
            let header = ["ENTITLEMENT", "HOLDERS"].map(str::to_owned);
            let rows = std::iter::once(header).chain(entitlements.iter().map(row));
            text.push_str(&aligned(&rows.collect::<Vec<_>>()));
            text.push('\n');
        }
        if !pairs.is_empty() {
            let row = |(one, other, holders): &(&str, &str, usize)| {
                [escape(one).into_owned(), escape(other).into_owned(), holders.to_string()]
            };
            let header = ["SENSITIVE", "WITH", "HOLDERS OF BOTH"].map(str::to_owned);
            let rows = std::iter::once(header).chain(pairs.iter().map(row));
            text.push_str(&aligned(&rows.collect::<Vec<_>>()));
            text.push('\n');
        }
        text.push_str(&format!(
            "{} of {} in no rule; {} of sensitive entitlements not forbidden",
            entitlements.len(),
            count(holders.len(), "entitlement"),
            count(pairs.len(), "pair"),
        ));
        let is_clean = entitlements.is_empty() && pairs.is_empty();
        self.format.print(
            text,
            json!({
                "entitlements": entitlements
                    .iter()
                    .map(|(name, holders)| json!({ "entitlement": name, "holders": holders }))
                    .collect::<Vec<_>>(),
                "pairs": pairs
                    .iter()
                    .map(|(a, b, both)| json!({ "entitlements": [a, b], "holders": both }))
                    .collect::<Vec<_>>(),
            }),
        );
        if is_clean {
            return Ok(());
        }
        Err(CliError::found("the rules say nothing about these"))
    }
}

/// What rules are about.
struct Covered<'r> {
    settings: Coverage<'r>,
    /// The second entitlements of the matrix's pairs; a pair stands below the first.
    others: BTreeSet<&'r str>,
}

impl<'r> Covered<'r> {
    fn by(rules: &'r Rules) -> Self {
        let pairs = rules.pairs.values().flatten();
        let others = pairs.map(|row| Name::parse(&row.conflicts_with).id).collect();
        Self { settings: Coverage::of(&rules.compiled), others }
    }

    /// Whether a rule is about an entitlement, or about something that it contains.
    fn has(&self, name: &str, rules: &Rules) -> CliResult<bool> {
        let person = Person::holding([name]);
        let expanded = person.expanded(rules);
        let (holdings, rows) = expanded.map_err(|refused| too_many(&person, refused))?;
        let is_other = |it: &Holding<'_>| {
            let contained = it.contains.iter().map(|name| Name::parse(name));
            std::iter::once(it.name).chain(contained).any(|name| self.others.contains(name.id))
        };
        let is_covered = |it: &Holding<'_>| self.settings.covers(it) || is_other(it);
        Ok(!rows.is_empty() || holdings.iter().any(is_covered))
    }
}

/// The pairs of sensitive entitlements that break no rule, each with the number of people who hold
/// both.
fn pairs<'a>(
    sensitive: &'a [String],
    people: &[Person],
    rules: &Rules,
) -> CliResult<Vec<(&'a str, &'a str, usize)>> {
    let mut pairs = Vec::new();
    for (at, one) in sensitive.iter().enumerate() {
        for other in sensitive.iter().skip(at + 1) {
            let person = Person::holding([one.as_str(), other.as_str()]);
            let expanded = person.expanded(rules);
            let (holdings, rows) = expanded.map_err(|refused| too_many(&person, refused))?;
            let nothing = |_: Of, _: &str| None;
            let situation = situation(&person, holdings, 0, &nothing);
            let compiled = compile_pairs(&rows, rules.compiled.existing);
            let is_forbidden = !conflicts(&rules.compiled, &situation).is_empty()
                || !conflicts(&compiled, &situation).is_empty();
            if !is_forbidden {
                let holds = |person: &&Person| {
                    person.entitlements.contains(one) && person.entitlements.contains(other)
                };
                pairs.push((one.as_str(), other.as_str(), people.iter().filter(holds).count()));
            }
        }
    }
    Ok(pairs)
}

/// Reads the sensitive entitlements, each once, in the order of the alphabet.
fn sensitive(path: &std::path::Path) -> CliResult<Vec<String>> {
    let sheet = Sheet::read(path, None)?;
    let [column] = match sheet.columns(["entitlement"], &[]) {
        Ok(columns) => columns,
        Err(problems) => return all_or(path, &problems).map(|()| Vec::new()),
    };
    let names: BTreeSet<_> =
        sheet.body().map(|row| cell(row, column)).filter(|name| !name.is_empty()).collect();
    if names.len() > MAX_SENSITIVE {
        let why =
            format!("it names {} entitlements; at most {MAX_SENSITIVE} are compared", names.len());
        return all_or(path, &[why]).map(|()| Vec::new());
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Sensitive entitlements of which every pair is tried: 1,000, half a million pairs.
const MAX_SENSITIVE: usize = 1_000;

//! `portcullis sod check`: rules against each other and against the entitlements that there are.
//!
//! Invariant: every finding names its place in the file that it is about. Settings that the plugin
//! refuses have the same problems here. Without a catalogue nothing is called unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_sod_rules::{
    Action, Coverage, Name, ObservationKind, Of, RuleView, Settings, compile, compile_pairs,
    conflicts, observe, roles_that_conflict, strictest_first,
};
use serde_json::{Value, json};

use super::all_or;
use super::people::{Person, situation, too_many};
use super::rules::{RuleFiles, Rules, matrix, members, settings};
use super::sheet::{Sheet, cell};
use crate::exit::{CliError, CliResult, Format, count};
use crate::near::near;

/// Find contradictions, repeated and shadowed rules, and names that nobody knows.
#[derive(Args)]
#[command(after_help = concat!(
    "Examples:\n",
    "  portcullis sod check --settings sod.json\n",
    "  portcullis sod check --settings sod.json --catalogue entitlements.csv --format json\n",
    "  portcullis sod check --matrix sod-matrix.csv --roles role-hierarchy.csv\n\n",
    "A rule is shadowed if another one is broken whenever it is, at least as strictly, wherever it\n",
    "applies and for as long. Exit 1: something was found.",
))]
pub struct Check {
    #[command(flatten)]
    rules: RuleFiles,
    /// The entitlements and roles that there are (CSV or XLSX, column `entitlement`).
    #[arg(long)]
    catalogue: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Something that was found.
struct Found {
    kind: &'static str,
    place: String,
    sentence: String,
}

impl Found {
    fn json(&self) -> Value {
        json!({ "kind": self.kind, "place": self.place, "sentence": self.sentence })
    }
}

/// Findings as they are made.
#[derive(Default)]
struct Findings(Vec<Found>);

impl Check {
    /// Does it.
    pub fn run(self) -> CliResult {
        let (mut found, mut rules) = (Findings::default(), 0);
        let mut names = Names::default();
        if let Some(path) = self.rules.settings.as_deref() {
            let settings = settings(path)?;
            rules += settings.rules.len();
            names.of_settings(&settings);
            found.of_settings(settings);
        }
        if let Some(path) = self.rules.matrix.as_deref() {
            rules += found.of_matrix(path, &mut names)?;
        }
        if let Some(path) = self.rules.roles.as_deref() {
            for (role, member, place) in members(path)? {
                names.used.push((place.clone(), role.clone()));
                names.used.push((place, member));
            }
        }
        // Where something is invalid, there are no rules to try roles with.
        if self.rules.roles.is_some() && found.0.iter().all(|it| it.kind != "invalid") {
            found.of_roles(&self.rules.compile()?)?;
        }
        if let Some(path) = self.catalogue.as_deref() {
            found.unknown(&names, &catalogue(path)?);
        }
        let Findings(found) = found;
        let lines =
            found.iter().map(|it| format!("{:<13} {}: {}\n", it.kind, it.place, it.sentence));
        let text: String = lines.collect();
        let summary = format!("{}, {}", count(rules, "rule"), count(found.len(), "finding"));
        self.format.print(
            format!("{text}{summary}"),
            json!({
                "rules": rules,
                "findings": found
                    .iter()
                    .map(Found::json)
                    .collect::<Vec<_>>(),
            }),
        );
        if found.is_empty() {
            return Ok(());
        }
        Err(CliError::wrong(format!("{} about the rules", count(found.len(), "finding"))))
    }
}

impl Findings {
    fn add(&mut self, kind: &'static str, place: impl Into<String>, sentence: impl Into<String>) {
        self.0.push(Found { kind, place: place.into(), sentence: sentence.into() });
    }

    /// Rules of settings: the plugin's own problems first.
    fn of_settings(&mut self, settings: Settings) {
        let views: Vec<_> = (0..)
            .zip(&settings.rules)
            .map(|(at, rule): (usize, _)| RuleView::of(rule, format!("rules[{at}]")))
            .collect();
        let roles: Vec<String> = settings.roles.keys().cloned().collect();
        let given: BTreeSet<String> = settings.functions.values().flatten().cloned().collect();
        let compiled = match compile(settings) {
            Ok(compiled) => compiled,
            Err(problems) => {
                for problem in problems {
                    self.add("invalid", problem.path, escape(&problem.what));
                }
                self.compare(&views);
                return;
            }
        };
        self.compare(&views);
        let alone = |names: &[String]| {
            let found = roles_that_conflict(&compiled, names.iter().map(String::as_str));
            let found = found.into_iter().map(|(name, rules)| (name.to_owned(), rules));
            found.collect::<Vec<_>>()
        };
        for (name, rules) in alone(&roles) {
            let place = format!("roles.{}", escape(&name));
            self.add("contradiction", place, format!("the role alone breaks {}", quoted(&rules)));
        }
        let given: Vec<String> = given.into_iter().filter(|name| !roles.contains(name)).collect();
        for (name, rules) in alone(&given) {
            let sentence =
                format!("the entitlement `{}` alone breaks {}", escape(&name), quoted(&rules));
            self.add("contradiction", "functions", sentence);
        }
        for function in Coverage::of(&compiled).unused_functions() {
            let place = format!("functions.{}", escape(function));
            self.add("unused", place, "no rule is about this function");
        }
    }

    /// Rows of the matrix; their number.
    fn of_matrix(&mut self, path: &Path, names: &mut Names) -> CliResult<usize> {
        let rows = matrix(path)?;
        let views: Vec<_> = rows
            .iter()
            .map(|(row, place)| RuleView {
                place: place.clone(),
                id: row.rule.clone(),
                functions: [row.entitlement.clone(), row.conflicts_with.clone()].into(),
                at_least: 2,
                action: row.action.unwrap_or_default(),
                scope: None,
                expires: None,
            })
            .collect();
        self.compare(&views);
        for (row, place) in &rows {
            if row.owner.is_empty() {
                self.add("invalid", place.clone(), "nobody answers for the rule: fill in `owner`");
            }
            names.used.push((place.clone(), row.entitlement.clone()));
            names.used.push((place.clone(), row.conflicts_with.clone()));
        }
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for (row, place) in &rows {
            let owner = owners.entry(&row.rule).or_insert(&row.owner);
            if *owner != row.owner {
                let id = escape(&row.rule);
                let sentence = format!("the rule `{id}` has another owner above");
                self.add("contradiction", place.clone(), sentence);
            }
        }
        Ok(rows.len())
    }

    /// Roles of the table that nobody can hold.
    fn of_roles(&mut self, rules: &Rules) -> CliResult {
        for role in rules.members.keys() {
            let person = Person::holding([role.as_str()]);
            let expanded = person.expanded(rules);
            let (holdings, rows) = expanded.map_err(|refused| too_many(&person, refused))?;
            let nothing = |_: Of, _: &str| None;
            let situation = situation(&person, holdings, 0, &nothing);
            let pairs = compile_pairs(&rows, rules.compiled.existing);
            let mut broken = conflicts(&rules.compiled, &situation);
            broken.extend(conflicts(&pairs, &situation));
            strictest_first(&mut broken);
            if !broken.is_empty() {
                let ids: Vec<_> = broken.iter().map(|it| it.facts.id.clone()).collect();
                let place = format!("role `{}`", escape(role));
                self.add("contradiction", place, format!("the role alone breaks {}", quoted(&ids)));
            }
        }
        Ok(())
    }

    /// Compares rules with each other.
    fn compare(&mut self, views: &[RuleView]) {
        for observation in observe(views) {
            let (Some(rule), Some(other)) =
                (views.get(observation.rule), views.get(observation.other))
            else {
                continue;
            };
            let (name, known) = (escape(&rule.id), escape(&other.id));
            let (kind, sentence) = match observation.kind {
                ObservationKind::Contradiction => (
                    "contradiction",
                    format!(
                        "`{name}` forbids the same as `{known}` ({}), with `{}` instead of `{}`",
                        other.place,
                        rule.action.name(),
                        other.action.name()
                    ),
                ),
                ObservationKind::Duplicate => (
                    "duplicate",
                    format!("`{name}` forbids the same as `{known}` ({})", other.place),
                ),
                ObservationKind::Shadowed => (
                    "shadowed",
                    format!(
                        "whenever `{name}` is broken, so is `{known}` ({}), which {}",
                        other.place,
                        strictness(other.action, rule.action)
                    ),
                ),
            };
            self.add(kind, rule.place.clone(), sentence);
        }
    }

    /// Names that the catalogue does not have.
    fn unknown(&mut self, names: &Names, catalogue: &BTreeSet<String>) {
        let parsed: BTreeSet<&str> = catalogue.iter().map(|name| Name::parse(name).id).collect();
        for (place, name) in &names.used {
            let own = Name::parse(name);
            let is_known = names.roles.contains(name)
                || parsed.contains(own.id)
                    && catalogue.iter().any(|known| Name::parse(known).matches(&own));
            if is_known {
                continue;
            }
            let mut sentence = format!("`{}` is not in the catalogue", escape(name));
            if let Some(meant) = near(name, catalogue.iter().map(String::as_str)).first() {
                sentence.push_str(&format!("; did you mean `{}`?", escape(meant)));
            }
            self.add("unknown", place.clone(), sentence);
        }
    }
}

/// The names that rules use, with their places.
#[derive(Default)]
struct Names {
    used: Vec<(String, String)>,
    /// The roles that the settings define themselves.
    roles: BTreeSet<String>,
}

impl Names {
    fn of_settings(&mut self, settings: &Settings) {
        self.roles.extend(settings.roles.keys().cloned());
        for (what, lists) in [("functions", &settings.functions), ("roles", &settings.roles)] {
            for (name, list) in lists {
                let place = |at: usize| format!("{what}.{}[{at}]", escape(name));
                let entries = list.iter().enumerate();
                self.used.extend(entries.map(|(at, entry)| (place(at), entry.clone())));
            }
        }
    }
}

/// Reads the catalogue.
fn catalogue(path: &Path) -> CliResult<BTreeSet<String>> {
    let sheet = Sheet::read(path, None)?;
    let [column] = match sheet.columns(["entitlement"], &[]) {
        Ok(columns) => columns,
        Err(problems) => return all_or(path, &problems).map(|()| BTreeSet::new()),
    };
    let names = sheet.body().map(|row| cell(row, column)).filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

fn strictness(other: Action, own: Action) -> &'static str {
    if other > own { "is stricter" } else { "is as strict" }
}

fn quoted(rules: &[String]) -> String {
    let rules: Vec<_> = rules.iter().map(|rule| format!("`{}`", escape(rule))).collect();
    rules.join(", ")
}

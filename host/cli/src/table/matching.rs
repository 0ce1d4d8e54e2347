//! `portcullis table match`: the shares of an export's people that a table knows.
//!
//! Invariant: shows counts; names of people only where they are asked for.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use portcullis_store::tables::{CurrentTables, MatchReport, match_report};
use serde_json::json;

use super::{declaration, export, load, now, shown};
use crate::exit::{CliError, CliResult, Format};

/// Count how many people of an export a table knows, before anything is enforced.
///
/// The export is a CSV file with a header, or JSON Lines (`*.jsonl`). Its columns are the fields by
/// which the declaration's `match` rules know people: `id`, and names of attributes such as
/// `login`.
#[derive(Args)]
#[command(after_help = concat!(
    "Examples:\n",
    "  portcullis table match --declaration roster.toml --export people.csv roster.csv\n",
    "  portcullis table match --declaration roster.toml --export people.csv --names roster.csv \\\n",
    "    --crosswalk idp-ids.toml idp-ids.csv\n\n",
    "Exit 1: the declaration, the table or the export has problems.",
))]
pub struct Match {
    /// The declaration of the table (TOML).
    #[arg(long)]
    declaration: PathBuf,
    /// The people, exported from the identity platform.
    #[arg(long)]
    export: PathBuf,
    /// A table that translates ids: its declaration and its file. May be given several times.
    #[arg(long, num_args = 2, value_names = ["DECLARATION", "FILE"])]
    crosswalk: Vec<PathBuf>,
    /// Show who matches no row, or several: the first of them.
    #[arg(long)]
    names: bool,
    /// The file of the table.
    file: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Match {
    /// Does it.
    pub fn run(self) -> CliResult {
        let now = now();
        let people = export::read(&self.export)?;
        let table = load(&declaration(&self.declaration)?, &self.file, now)?;
        let name = table.name().to_owned();
        let rules: Vec<_> =
            table.declaration().matching.iter().map(|rule| rule.subject.clone()).collect();
        let mut tables = vec![Arc::new(table)];
        for pair in self.crosswalk.chunks(2) {
            let [crosswalk, file] = pair else { continue };
            tables.push(Arc::new(load(&declaration(crosswalk)?, file, now)?));
        }
        let report = match_report(&CurrentTables::of(tables), &name, &people, now)
            .map_err(CliError::wrong)?;
        let examples: Vec<_> = match self.names {
            true => report.examples.iter().map(|name| name.expose().as_str()).collect(),
            false => Vec::new(),
        };
        self.format.print(
            text(&report, &rules, &examples),
            json!({
                "people": report.subjects, "one": report.one, "none": report.none,
                "several": report.several, "denied": report.denied,
                "by_rule": rules.iter().zip(&report.by_rule).collect::<Vec<_>>(),
                "contradicted": report.contradicted, "unused_keys": report.unused_keys,
                "examples": examples,
            }),
        );
        Ok(())
    }
}

fn text(report: &MatchReport, rules: &[String], examples: &[&str]) -> String {
    let line = |what: &str, number: u64| {
        format!("{what:<13} {number:>8}  {}\n", share(number, report.subjects))
    };
    let mut text = format!("people        {:>8}\n", report.subjects);
    text.push_str(&line("one match", report.one));
    text.push_str(&line("no match", report.none));
    text.push_str(&line("several", report.several));
    if report.denied > 0 {
        text.push_str(&line("no crosswalk", report.denied));
    }
    for (number, (field, count)) in (1..).zip(rules.iter().zip(&report.by_rule)) {
        text.push_str(&line(&format!("by rule {number}"), *count));
        text.truncate(text.trim_end().len());
        text.push_str(&format!("  by {}\n", shown(field)));
    }
    text.push_str(&line("contradicted", report.contradicted));
    text.push_str(&format!("unused keys   {:>8}", report.unused_keys));
    for example in examples {
        text.push_str(&format!("\n- {}", shown(example)));
    }
    text
}

/// A share in per cent.
fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return String::new();
    }
    let per_mille = part.saturating_mul(1_000) / all;
    format!("{:>3}.{} %", per_mille / 10, per_mille % 10)
}

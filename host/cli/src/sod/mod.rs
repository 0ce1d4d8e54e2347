//! `portcullis sod`: segregation of duties before it is enforced.
//!
//! Invariant: people are judged by the crate that the plugin `org.portcullis.sod` judges calls
//! with. Nothing here changes a host; names of people and entitlements appear on standard output
//! alone.

mod check;
mod import;
mod marks;
mod people;
mod people_json;
mod rules;
mod sheet;
mod uncovered;
mod violators;

use clap::Subcommand;

use crate::exit::{CliError, CliResult};

/// Bring a matrix of segregation of duties into the plugin's form, check it, and find out whom it
/// concerns.
#[derive(Subcommand)]
pub enum Sod {
    /// Make settings or a reference table of a spreadsheet: entitlements on both margins, marks
    /// where two conflict.
    Import(import::Import),
    /// Find contradictions, repeated and shadowed rules, and names that nobody knows.
    Check(check::Check),
    /// List the people of an export who break a rule at present.
    Violators(violators::Violators),
    /// List the entitlements of an export that no rule is about, and the sensitive pairs that none
    /// forbids.
    Uncovered(uncovered::Uncovered),
}

impl Sod {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Import(import) => import.run(),
            Self::Check(check) => check.run(),
            Self::Violators(violators) => violators.run(),
            Self::Uncovered(uncovered) => uncovered.run(),
        }
    }
}

/// The problems of one file, or everything that is right about it.
fn all_or(file: &std::path::Path, problems: &[String]) -> CliResult {
    let Some(first) = problems.first() else { return Ok(()) };
    let name = file.display();
    if problems.len() == 1 {
        return Err(CliError::wrong(format!("`{name}`: {first}")));
    }
    let mut text = format!("`{name}` has {} problems", problems.len());
    for problem in problems.iter().take(MAX_PROBLEMS) {
        text.push_str(&format!("\n- {problem}"));
    }
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        text.push_str(&format!("\n- and {more} more"));
    }
    Err(CliError::wrong(text))
}

/// Problems of a file that are printed one by one: 50. The rest is counted.
const MAX_PROBLEMS: usize = 50;

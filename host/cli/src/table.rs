//! `portcullis table`: tries the export of a reference table before a host uses it, and signs it.
//!
//! Invariant: nothing here changes a table or a host. A key is shown only by `check --previous`,
//! where its rows would be lost or changed, and a person of an export only by `match --names`, both
//! on standard output alone. No other cell is shown.

mod export;
mod matching;
mod sign;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use portcullis_files::open_regular;
use portcullis_model::escape::{escape, escape_lines};
use portcullis_store::tables::{Acceptance, Declaration, Difference, LoadError, Table, decide};
use serde_json::json;

use crate::clock;
use crate::exit::{CliError, CliResult, Format};
use crate::files;

/// Try exports of reference tables before hosts use them, and sign them.
#[derive(Subcommand)]
pub enum Tables {
    /// Hold a file against its declaration, and against the version that is in use.
    Check(Check),
    /// Count how many people of an export a table knows, before anything is enforced.
    Match(matching::Match),
    /// Sign a version of a table that its declaration demands to be signed.
    Sign(sign::Sign),
}

impl Tables {
    /// Does it.
    pub fn run(self) -> CliResult {
        match self {
            Self::Check(check) => check.run(),
            Self::Match(matched) => matched.run(),
            Self::Sign(sign) => sign.run(),
        }
    }
}

/// Hold a file against its declaration, and against the version that is in use.
#[derive(Args)]
#[command(after_help = concat!(
    "Examples:\n",
    "  portcullis table check --declaration roster.toml roster.csv\n",
    "  portcullis table check --declaration roster.toml --previous old/roster.csv roster.csv\n\n",
    "Exit 1: the file or the declaration has problems, or the host would let the version wait for a\n",
    "confirmation.",
))]
pub struct Check {
    /// The declaration of the table (TOML).
    #[arg(long)]
    declaration: PathBuf,
    /// The version that is in use, to see what the new one would change.
    #[arg(long)]
    previous: Option<PathBuf>,
    /// The file of the table.
    file: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Check {
    fn run(self) -> CliResult {
        let now = now();
        let declaration = declaration(&self.declaration)?;
        let table = load(&declaration, &self.file, now)?;
        let previous = self.previous.as_deref();
        let previous = previous.map(|path| load(&declaration, path, now)).transpose()?;
        let accepted = previous.as_ref().map(|previous| decide(previous, &table));
        let held = matches!(accepted, Some(Acceptance::Hold(_)));
        let difference = accepted.as_ref().map(|it| match it {
            Acceptance::Accept(difference) | Acceptance::Hold(difference) => difference,
        });
        let version = table.version();
        let text = format!(
            "table    {}\nversion  {version}\nrows     {} of {} keys, {} bytes in memory\nage      as of \
             {}, {}{}",
            table.name(),
            table.rows(),
            table.keys(),
            table.memory(),
            table.data_at(),
            if table.stale(now) { "stale" } else { "not stale" },
            difference.map(changes).unwrap_or_default(),
        );
        self.format.print(
            text,
            json!({
                "table": table.name(), "version": version.to_string(), "rows": table.rows(),
                "keys": table.keys(), "memory_bytes": table.memory(),
                "as_of": table.data_at().to_string(), "stale": table.stale(now), "held": held,
                "lost": difference.map(|it| it.lost), "changed": difference.map(|it| it.changed),
            }),
        );
        if held {
            return Err(CliError::wrong(
                "a host that uses the previous version would let this one wait for a confirmation",
            )
            .hint(Some(format!(
                "if the file is right, set `version = \"{version}\"` for the table in the next \
                 release set"
            ))));
        }
        Ok(())
    }
}

/// Reads a declaration.
pub(crate) fn declaration(path: &Path) -> CliResult<Declaration> {
    let wrong = |why: String| {
        CliError::wrong(format!("the declaration `{}`: {}", path.display(), escape_lines(&why)))
    };
    let declaration: Declaration = toml::from_str(&files::read_text(path)?)
        .map_err(|error| wrong(error.to_string().trim().to_owned()))?;
    declaration.check().map_err(|error| {
        let problems = error.problems.iter().map(|it| format!("\n- {it}"));
        wrong(problems.collect())
    })?;
    Ok(declaration)
}

/// Loads a file as a host does; its age counts as there.
pub(crate) fn load(declaration: &Declaration, path: &Path, now: Timestamp) -> CliResult<Table> {
    let unreadable = |error: portcullis_files::ReadError| {
        CliError::configuration(format!("cannot read `{}`: {error}", path.display()))
    };
    let stamp = portcullis_files::Stamp::of(path);
    let written = stamp.and_then(|it| Timestamp::from_second(it.written()).ok());
    let written = written.unwrap_or(Timestamp::MIN);
    let file = open_regular(path).and_then(|file| file.take(declaration.max_bytes));
    let file = file.map_err(unreadable)?;
    Table::load_stream(declaration, file, written.min(now)).map_err(|error| {
        let why = match &error {
            LoadError::Table(problems) => problems.to_string(),
            other => other.to_string(),
        };
        CliError::wrong(format!("`{}`: {}", path.display(), escape_lines(&why)))
            .hint(Some("correct the rows at their source and export the table again"))
    })
}

/// Returns the changes that a version would make, with the keys of those who would lose something.
fn changes(difference: &Difference) -> String {
    format!("\nchanges  {}", escape_lines(&difference.warning()))
}

/// The time of the machine's clock.
fn now() -> Timestamp {
    let since = clock::since_epoch().unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Text of a file that is shown to a person.
fn shown(text: &str) -> String {
    escape(text).into_owned()
}

//! `portcullis sod import`: a spreadsheet matrix as settings of the plugin or as a table.
//!
//! Invariant: whatever is written was compiled as the plugin compiles it. The id of a rule is its
//! pair, so that it stays the same when rows and columns move.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_sod_rules::{Action, Name, PairRow, Settings, Severity, compile};
use serde_json::{Map, Value, json};

use super::all_or;
use super::marks::{Mark, Matrix};
use super::rules::MATRIX_COLUMNS;
use super::sheet::Sheet;
use crate::exit::{CliError, CliResult, count, print};
use crate::files;

/// Make settings or a reference table of a spreadsheet: entitlements on both margins, marks where
/// two conflict.
///
/// The first row and the first column name entitlements. A cell is empty, or has `x`, a severity
/// (`info`, `low`, `medium`, `high`, `critical`), a consequence (`report`, `step-up`, `review`,
/// `deny`) or both, such as `critical/review`. One triangle is enough; `no` in the other one is a
/// contradiction.
#[derive(Args)]
#[command(after_help = concat!(
    "Examples:\n",
    "  portcullis sod import --owner CISO --output sod.json matrix.xlsx\n",
    "  portcullis sod import --owner CISO --to table --output sod-matrix.csv matrix.csv\n\n",
    "Exit 1: the matrix has problems; all are printed, with their places.",
))]
pub struct Import {
    /// The matrix (CSV or XLSX).
    file: PathBuf,
    /// The sheet of a workbook; without, the first.
    #[arg(long)]
    sheet: Option<String>,
    /// The owner of the rules.
    #[arg(long)]
    owner: String,
    /// The form to write.
    #[arg(long, value_enum, default_value = "settings")]
    to: Form,
    /// The file to write; without, standard output.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The form of an imported matrix.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Settings of the plugin (JSON).
    Settings,
    /// The reference table `sod-matrix` (CSV).
    Table,
}

impl Import {
    /// Does it.
    pub fn run(self) -> CliResult {
        if self.owner.trim().is_empty() {
            return Err(CliError::usage("`--owner` is empty: name who answers for the rules"));
        }
        let sheet = Sheet::read(&self.file, self.sheet.as_deref())?;
        let matrix = match Matrix::read(&sheet) {
            Ok(matrix) => matrix,
            Err(problems) => return all_or(&self.file, &problems),
        };
        let text = match self.to {
            Form::Settings => self.settings(&matrix)?,
            Form::Table => self.table(&matrix)?,
        };
        match &self.output {
            None => print(text.trim_end()),
            Some(path) => {
                files::write(path, text.as_bytes())?;
                print(format!(
                    "{} about {} in `{}`",
                    count(matrix.pairs.len(), "rule"),
                    count(matrix.entitlements.len(), "entitlement"),
                    path.display()
                ));
            }
        }
        Ok(())
    }

    fn settings(&self, matrix: &Matrix) -> CliResult<String> {
        let functions: Map<String, Value> =
            matrix.entitlements.iter().map(|name| (name.clone(), json!([name]))).collect();
        let rule = |((a, b), mark): (&(String, String), &Mark)| -> Value {
            let id = PairRow::id_of(a, b);
            let members = [
                ("id", Some(id.as_str())),
                ("kind", Some("pair")),
                ("a", Some(a)),
                ("b", Some(b)),
                ("owner", Some(&self.owner)),
                ("severity", mark.severity.map(Severity::name)),
                ("action", mark.action.map(Action::name)),
            ];
            let given = members.into_iter().filter_map(|(name, text)| Some((name, text?)));
            given.map(|(name, text)| (name.to_owned(), text.into())).collect::<Map<_, _>>().into()
        };
        let rules: Vec<Value> = matrix.pairs.iter().map(rule).collect();
        let settings = json!({ "functions": functions, "rules": rules });
        let own = |error: serde_json::Error| CliError::host(error);
        let compiled: Settings = serde_json::from_value(settings.clone()).map_err(own)?;
        if let Err(problems) = compile(compiled) {
            let sentences = problems.iter().map(|it| format!("`{}` {}", it.path, it.what));
            all_or(&self.file, &sentences.collect::<Vec<_>>())?;
        }
        let mut text = serde_json::to_string_pretty(&settings).map_err(own)?;
        text.push('\n');
        Ok(text)
    }

    fn table(&self, matrix: &Matrix) -> CliResult<String> {
        let kinded = matrix.entitlements.iter().filter(|name| Name::parse(name).kind.is_some());
        let problems: Vec<_> = kinded
            .map(|name| {
                format!("`{name}`: a table knows entitlements by their ids, without a kind")
            })
            .collect();
        all_or(&self.file, &problems)?;
        let mut writer = csv::Writer::from_writer(Vec::new());
        let own = |error: csv::Error| CliError::host(error);
        writer.write_record(MATRIX_COLUMNS).map_err(own)?;
        for ((a, b), mark) in &matrix.pairs {
            let rule = PairRow::id_of(a, b);
            let severity = mark.severity.map_or("", |it| it.name());
            let action = mark.action.map_or("", |it| it.name());
            writer
                .write_record([a.as_str(), b, &rule, severity, action, &self.owner])
                .map_err(own)?;
        }
        let bytes = writer.into_inner().map_err(CliError::host)?;
        String::from_utf8(bytes).map_err(CliError::host)
    }
}

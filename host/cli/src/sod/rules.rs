//! The rules of a command: settings of the plugin, and the tables that it would look up.
//!
//! Invariant: rows are read as the plugin reads those of its reference tables, from columns with
//! the same names; but where the plugin takes the strict default for a word that it does not know,
//! this names the cell. Problems of all files are reported at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_model::escape::escape;
use portcullis_sod_rules::{
    Action, Compiled, ExceptionRow, LookUps, Name, PairRow, Settings, Severity, compile, pairs_of,
};

use super::all_or;
use super::sheet::{Sheet, cell};
use crate::exit::{CliError, CliResult};
use crate::files;

/// The rules: settings, a matrix, or both.
#[derive(Args)]
pub struct RuleFiles {
    /// The plugin's settings (JSON).
    #[arg(long, required_unless_present = "matrix")]
    pub settings: Option<PathBuf>,
    /// The table `sod-matrix` (CSV or XLSX): columns `entitlement`, `conflicts_with`, `rule`,
    /// `severity`, `action`, `owner`.
    #[arg(long)]
    pub matrix: Option<PathBuf>,
    /// The table `role-hierarchy` (CSV or XLSX): columns `role`, `contains`, a row for each member.
    #[arg(long)]
    pub roles: Option<PathBuf>,
}

/// The rules, compiled, with the tables in memory.
pub struct Rules {
    /// The settings.
    pub compiled: Compiled,
    /// The rows of the matrix by entitlement.
    pub pairs: BTreeMap<String, Vec<PairRow>>,
    /// The members of roles.
    pub members: BTreeMap<String, Vec<String>>,
}

impl RuleFiles {
    /// Reads and compiles them.
    ///
    /// # Errors
    /// A file cannot be read (exit 64), or has problems (exit 1).
    pub fn compile(&self) -> CliResult<Rules> {
        let settings = self.settings.as_deref().map(settings).transpose()?;
        let settings = match settings {
            Some(settings) => settings,
            None => empty()?,
        };
        self.check_given(&settings)?;
        let compiled = compile(settings).map_err(|problems| {
            let sentences: Vec<_> =
                problems.iter().map(|it| format!("`{}` {}", it.path, it.what)).collect();
            let file = self.settings.clone().unwrap_or_default();
            all_or(&file, &sentences).err().unwrap_or_else(|| CliError::wrong("no rules"))
        })?;
        let pairs = self.matrix.as_deref().map(matrix).transpose()?.unwrap_or_default();
        let members = self.roles.as_deref().map(members).transpose()?.unwrap_or_default();
        let pairs = pairs_of(pairs.into_iter().map(|(row, _)| row).collect());
        let mut by_role: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (role, member, _) in members {
            by_role.entry(role).or_default().push(member);
        }
        Ok(Rules { compiled, pairs, members: by_role })
    }

    /// The tables that the settings look up are needed here too: without them, fewer would be found
    /// than the plugin finds.
    fn check_given(&self, settings: &Settings) -> CliResult {
        let tables = &settings.tables;
        for (table, given, option) in [
            (&tables.matrix, self.matrix.is_some(), "--matrix"),
            (&tables.roles, self.roles.is_some(), "--roles"),
        ] {
            if let Some(table) = table.as_deref().filter(|_| !given) {
                return Err(CliError::usage(format!(
                    "the settings look up the table `{}`: give its file with `{option}`",
                    escape(table)
                )));
            }
        }
        Ok(())
    }
}

impl Rules {
    /// Which tables are looked up: roles, and the matrix.
    pub fn wanted(&self) -> (bool, bool) {
        (!self.members.is_empty(), !self.pairs.is_empty())
    }
}

impl LookUps for &Rules {
    fn members(&mut self, id: &str) -> Vec<String> {
        self.members.get(id).cloned().unwrap_or_default()
    }

    fn pairs(&mut self, id: &str) -> Vec<PairRow> {
        self.pairs.get(id).cloned().unwrap_or_default()
    }
}

/// Reads settings.
pub fn settings(path: &Path) -> CliResult<Settings> {
    serde_json::from_str(&files::read_text(path)?).map_err(|error| {
        CliError::wrong(format!("`{}`: {}", path.display(), escape(&error.to_string())))
    })
}

/// The settings of a matrix alone.
pub fn empty() -> CliResult<Settings> {
    serde_json::from_str(r#"{"tables": {"matrix": "sod-matrix"}}"#).map_err(CliError::host)
}

/// Reads the rows of the table `sod-matrix`, each with its place.
pub fn matrix(path: &Path) -> CliResult<Vec<(PairRow, String)>> {
    let sheet = Sheet::read(path, None)?;
    let columns = sheet.columns(MATRIX_COLUMNS, &["rule", "severity", "action", "owner"]);
    let [entitlement, other, rule, severity, action, owner] = match columns {
        Ok(columns) => columns,
        Err(problems) => return all_or(path, &problems).map(|()| Vec::new()),
    };
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for row in sheet.body() {
        let place = |column: Option<usize>| sheet.place(row.number, column.unwrap_or_default());
        let mut wrong = |column, why: String| problems.push(format!("{}: {why}", place(column)));
        for column in [entitlement, other] {
            let text = cell(row, column);
            if text.is_empty() {
                wrong(column, "the cell is empty: name an entitlement".to_owned());
            }
        }
        if Name::parse(cell(row, entitlement)).kind.is_some() {
            let text = escape(cell(row, entitlement));
            let why = "rows are looked up by ids without a kind, so that this one is never found";
            wrong(entitlement, format!("`{text}`: {why}"));
        }
        let word = cell(row, severity);
        let level = Severity::from_name(word);
        if level.is_none() && !word.is_empty() {
            let known = "write `info`, `low`, `medium`, `high` or `critical`";
            wrong(severity, format!("`{}` is no severity: {known}", escape(word)));
        }
        let word = cell(row, action);
        let consequence = Action::from_name(word);
        if consequence.is_none() && !word.is_empty() {
            let known = "write `deny`, `review`, `step-up` or `allow`";
            wrong(action, format!("`{}` is no consequence: {known}", escape(word)));
        }
        let (one, two) = (cell(row, entitlement).to_owned(), cell(row, other).to_owned());
        if one == two && !one.is_empty() {
            wrong(other, format!("`{}` would conflict with itself", escape(&one)));
        }
        let id = Some(cell(row, rule)).filter(|id| !id.is_empty()).map(str::to_owned);
        let pair = PairRow {
            rule: id.unwrap_or_else(|| PairRow::id_of(&one, &two)),
            severity: level,
            action: consequence,
            owner: cell(row, owner).to_owned(),
            entitlement: one,
            conflicts_with: two,
        };
        rows.push((pair, sheet.place(row.number, entitlement.unwrap_or_default())));
    }
    all_or(path, &problems)?;
    Ok(rows)
}

/// Reads the rows of the table `role-hierarchy`: role, member and place.
pub fn members(path: &Path) -> CliResult<Vec<(String, String, String)>> {
    let sheet = Sheet::read(path, None)?;
    let [role, contains] = match sheet.columns(["role", "contains"], &[]) {
        Ok(columns) => columns,
        Err(problems) => return all_or(path, &problems).map(|()| Vec::new()),
    };
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for row in sheet.body() {
        let place = |column: Option<usize>| sheet.place(row.number, column.unwrap_or_default());
        for column in [role, contains] {
            if cell(row, column).is_empty() {
                problems.push(format!("{}: the cell is empty", place(column)));
            }
        }
        if Name::parse(cell(row, role)).kind.is_some() {
            let text = escape(cell(row, role));
            let why = "roles are looked up by ids without a kind, so that this one is never found";
            problems.push(format!("{}: `{text}`: {why}", place(role)));
        }
        rows.push((cell(row, role).to_owned(), cell(row, contains).to_owned(), place(contains)));
    }
    all_or(path, &problems)?;
    Ok(rows)
}

/// Reads the rows of the table `sod-exceptions`.
pub fn exceptions(path: &Path) -> CliResult<Vec<ExceptionRow>> {
    let sheet = Sheet::read(path, None)?;
    let names = ["person", "rule", "from", "until", "approver", "control"];
    let columns = match sheet.columns(names, &["from"]) {
        Ok(columns) => columns,
        Err(problems) => return all_or(path, &problems).map(|()| Vec::new()),
    };
    let rows = sheet.body().map(|row| {
        let [person, rule, from, until, approver, control] = columns.map(|column| {
            Some(cell(row, column)).filter(|text| !text.is_empty()).map(str::to_owned)
        });
        ExceptionRow { person, rule, from, until, approver, control }
    });
    Ok(rows.collect())
}

/// The columns of the table `sod-matrix`.
pub const MATRIX_COLUMNS: [&str; 6] =
    ["entitlement", "conflicts_with", "rule", "severity", "action", "owner"];

//! Whether the members of a declaration fit together; and the form in which a table uses it.
//!
//! Invariant: [`Plan`] exists only for a declaration without a problem, so that loading and
//! look-ups need not ask again: every name in it leads to a column. All problems are reported at
//! once, each with the path of the member.

use std::collections::BTreeSet;
use std::fmt;

use super::column_kind::Kind;
use super::declaration::{
    Column, ColumnType, Declaration, Format, KeyKind, MAX_BYTES, MAX_COLUMNS, MAX_ROWS,
};

/// A declaration has problems.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DeclarationError {
    /// The problems, in the order of the members; never empty.
    pub problems: Vec<DeclarationProblem>,
}

/// One problem of a declaration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct DeclarationProblem {
    /// The member, such as `columns.2.zone`.
    pub path: String,
    /// The problem, and its correction.
    pub problem: String,
}

/// A checked declaration with every name resolved.
pub(crate) struct Plan {
    pub declaration: Declaration,
    pub kinds: Vec<Kind>,
    /// Positions in `columns`.
    pub key: Vec<usize>,
    pub watch: Vec<usize>,
    /// The column of each rule of `match`.
    pub matching: Vec<usize>,
}

impl Declaration {
    /// Reports every problem of the declaration.
    pub fn check(&self) -> Result<(), DeclarationError> {
        Plan::new(self).map(drop)
    }
}

impl Plan {
    /// Checks a declaration and resolves its names.
    pub fn new(declaration: &Declaration) -> Result<Self, DeclarationError> {
        let mut problems = Problems(Vec::new());
        check_name("name", &declaration.name, '-', &mut problems);
        check_format(declaration, &mut problems);
        check_bounds(declaration, &mut problems);
        check_origin(declaration, &mut problems);
        let kinds = check_columns(declaration, &mut problems);
        let key = check_key(declaration, &mut problems);
        let matching = check_matching(declaration, &mut problems);
        let hold = &declaration.hold;
        if hold.above_percent > 100 {
            problems.at("hold.above_percent", "is above 100");
        }
        let watch = resolve(declaration, "hold.watch", &hold.watch, &mut problems);
        if problems.0.is_empty() {
            Ok(Self { declaration: declaration.clone(), kinds, key, watch, matching })
        } else {
            Err(DeclarationError { problems: problems.0 })
        }
    }

    /// Returns the position of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        position(&self.declaration, name)
    }
}

impl Column {
    /// Returns the name or pointer by which the column is found in an export of a format.
    pub(crate) fn source_in(&self, format: Format) -> String {
        match (&self.source, format) {
            (Some(source), _) => source.clone(),
            (None, Format::Mmdb) if self.kind == ColumnType::IpNetwork => NETWORK.to_owned(),
            (None, Format::JsonLines | Format::Mmdb) => format!("/{}", self.name),
            (None, Format::Csv | Format::Xlsx | Format::Sqlite) => self.name.clone(),
        }
    }
}

impl fmt::Display for DeclarationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the declaration of a reference table is refused")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

/// Problems that were found so far.
pub(super) struct Problems(Vec<DeclarationProblem>);

impl Problems {
    pub fn at(&mut self, path: impl fmt::Display, problem: impl fmt::Display) {
        self.0.push(DeclarationProblem { path: path.to_string(), problem: problem.to_string() });
    }
}

fn position(declaration: &Declaration, name: &str) -> Option<usize> {
    declaration.columns.iter().position(|column| column.name == name)
}

fn resolve(
    declaration: &Declaration,
    path: &str,
    names: &[String],
    problems: &mut Problems,
) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (at, name) in names.iter().enumerate() {
        match position(declaration, name) {
            _ if !seen.insert(name) => problems.at(format_args!("{path}.{at}"), "is there twice"),
            Some(position) => found.push(position),
            None => problems.at(
                format_args!("{path}.{at}"),
                format_args!("is no column: `{name}`; declare it in `columns`"),
            ),
        }
    }
    found
}

fn check_name(path: impl fmt::Display, name: &str, joiner: char, problems: &mut Problems) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joiner;
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
        problems.at(path, format_args!("must be 1 to {MAX_NAME} of a-z, 0-9 and `{joiner}`"));
    }
}

fn check_format(declaration: &Declaration, problems: &mut Problems) {
    let format = declaration.format;
    let mut only = |is_set: bool, member: &str, formats: &[Format]| {
        if is_set && !formats.contains(&format) {
            problems.at(member, format_args!("has no meaning for `{}`: remove it", format.name()));
        }
    };
    only(declaration.delimiter.is_some(), "delimiter", &[Format::Csv]);
    only(declaration.header_row.is_some(), "header_row", &[Format::Csv, Format::Xlsx]);
    only(declaration.sheet.is_some(), "sheet", &[Format::Xlsx]);
    only(declaration.source_table.is_some(), "source_table", &[Format::Sqlite]);
    if format == Format::Sqlite && declaration.source_table.as_ref().is_none_or(String::is_empty) {
        problems.at("source_table", "is missing: name the table in the database");
    }
    let printable = |c: char| c == '\t' || (c.is_ascii() && !c.is_ascii_control());
    if declaration.delimiter.is_some_and(|c| !printable(c) || c == '"') {
        problems.at("delimiter", "must be a printable ASCII character or a tab, and no quote");
    }
    if declaration.header_row.is_some_and(|row| !(1..=MAX_HEADER_ROW).contains(&row)) {
        problems.at("header_row", format_args!("must be between 1 and {MAX_HEADER_ROW}"));
    }
}

fn check_bounds(declaration: &Declaration, problems: &mut Problems) {
    if !(1..=MAX_ROWS).contains(&declaration.max_rows) {
        problems.at("max_rows", format_args!("must be between 1 and {MAX_ROWS}"));
    }
    if declaration.min_rows > declaration.max_rows {
        problems.at("min_rows", "is above `max_rows`");
    }
    if !(1..=MAX_BYTES).contains(&declaration.max_bytes) {
        problems.at("max_bytes", format_args!("must be between 1 and {MAX_BYTES}"));
    }
    if !(1..=MAX_AGE_SECONDS).contains(&declaration.max_age_seconds) {
        problems.at("max_age_seconds", format_args!("must be between 1 and {MAX_AGE_SECONDS}"));
    }
}

fn check_origin(declaration: &Declaration, problems: &mut Problems) {
    let Some(source) = &declaration.source else { return };
    if source.url.is_some() == source.push {
        problems.at("source", "must have either `url` or `push = true`");
    }
    let needs_signature = source.url.is_some() && declaration.signed;
    if needs_signature && source.signature_url.is_none() {
        problems.at("source.signature_url", "is missing: the table is `signed`");
    }
    if !needs_signature && source.signature_url.is_some() {
        problems.at("source.signature_url", "has no meaning without `url` and `signed`: remove it");
    }
    if !(1..=MAX_EVERY_SECONDS).contains(&source.every_seconds) {
        let bounds = format_args!("must be between 1 and {MAX_EVERY_SECONDS}");
        problems.at("source.every_seconds", bounds);
    }
}

fn check_columns(declaration: &Declaration, problems: &mut Problems) -> Vec<Kind> {
    let columns = &declaration.columns;
    if columns.is_empty() || columns.len() > MAX_COLUMNS {
        problems.at("columns", format_args!("must be 1 to {MAX_COLUMNS}"));
    }
    let mut names = BTreeSet::new();
    let mut kinds = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let path = format!("columns.{at}");
        check_name(format_args!("{path}.name"), &column.name, '_', problems);
        if !names.insert(&column.name) {
            problems.at(format_args!("{path}.name"), "is there twice");
        }
        check_source(declaration.format, column, &path, problems);
        kinds.push(Kind::of(column, &path, problems));
    }
    kinds
}

fn check_source(format: Format, column: &Column, path: &str, problems: &mut Problems) {
    let source = column.source_in(format);
    let is_network = format == Format::Mmdb && source == NETWORK;
    if source.is_empty() {
        problems.at(format_args!("{path}.source"), "is empty");
    } else if matches!(format, Format::JsonLines | Format::Mmdb)
        && !is_network
        && !is_pointer(&source)
    {
        problems.at(format_args!("{path}.source"), "is no JSON Pointer, such as `/user/id`");
    }
    if is_network && column.kind != ColumnType::IpNetwork {
        problems.at(format_args!("{path}.type"), "must be `ip-network` for the source `network`");
    }
}

fn is_pointer(text: &str) -> bool {
    let escapes = |token: &str| token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(escapes))
}

fn check_key(declaration: &Declaration, problems: &mut Problems) -> Vec<usize> {
    let key = resolve(declaration, "key.columns", &declaration.key.columns, problems);
    let count = declaration.key.columns.len();
    if !(1..=MAX_KEY_COLUMNS).contains(&count) {
        problems.at("key.columns", format_args!("must be 1 to {MAX_KEY_COLUMNS} columns"));
    }
    let kind_of = |at: &usize| declaration.columns.get(*at).map(|column| column.kind);
    match declaration.key.kind {
        KeyKind::Network => {
            if count != 1 || key.first().and_then(kind_of) != Some(ColumnType::IpNetwork) {
                problems.at("key.columns", "must be one column of type `ip-network`");
            }
        }
        KeyKind::Exact => {
            if key.iter().any(|at| kind_of(at) == Some(ColumnType::List)) {
                problems.at("key.columns", "a list is no key");
            }
            if declaration.format == Format::Mmdb {
                problems.at("key.kind", "must be `network` for `mmdb`");
            }
        }
    }
    key
}

fn check_matching(declaration: &Declaration, problems: &mut Problems) -> Vec<usize> {
    if declaration.matching.len() > MAX_MATCH_RULES {
        problems.at("match", format_args!("must be at most {MAX_MATCH_RULES} rules"));
    }
    let mut found = Vec::new();
    for (at, rule) in declaration.matching.iter().enumerate() {
        let path = format!("match.{at}");
        if rule.subject.is_empty() {
            problems.at(format_args!("{path}.subject"), "is empty");
        }
        match position(declaration, &rule.column) {
            None => problems
                .at(format_args!("{path}.column"), format_args!("is no column: `{}`", rule.column)),
            Some(column) => found.push(column),
        }
        let kind = declaration.columns.iter().find(|column| column.name == rule.column);
        if kind.is_some_and(|column| !matches!(column.kind, ColumnType::Text | ColumnType::Integer))
        {
            problems.at(format_args!("{path}.column"), "must be of type `text` or `integer`");
        }
        if let Some(crosswalk) = &rule.crosswalk {
            check_name(format_args!("{path}.crosswalk.table"), &crosswalk.table, '-', problems);
            check_name(format_args!("{path}.crosswalk.column"), &crosswalk.column, '_', problems);
            if crosswalk.table == declaration.name {
                problems.at(format_args!("{path}.crosswalk.table"), "is the table itself");
            }
        }
    }
    found
}

/// The source that means the network of a record of an MMDB.
pub(crate) const NETWORK: &str = "network";

/// Characters of a name.
const MAX_NAME: usize = 64;
/// Rows above the names of the columns.
const MAX_HEADER_ROW: u32 = 1000;
/// Columns of a key.
const MAX_KEY_COLUMNS: usize = 8;
/// Rules by which a subject is matched; each has an index of its own.
const MAX_MATCH_RULES: usize = 8;
/// A day: a longer interval is one in which a failure is noticed too late.
const MAX_EVERY_SECONDS: u32 = 86_400;
/// Ten years.
const MAX_AGE_SECONDS: u64 = 10 * 366 * 86_400;

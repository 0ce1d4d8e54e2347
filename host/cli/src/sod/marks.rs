//! A matrix of entitlements: the marks in its cells, and the pairs that they forbid.
//!
//! Invariant: each pair has one meaning. A cell that is no mark, and two cells that contradict each
//! other, are problems with their places; nothing is guessed. One triangle of the matrix is enough.

use std::collections::BTreeMap;

use portcullis_model::escape::escape;
use portcullis_sod_rules::{Action, Severity};

use super::sheet::{Sheet, cell};

/// The pairs of a matrix, in the order of the alphabet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Matrix {
    /// The entitlements of its margins.
    pub entitlements: Vec<String>,
    /// The pairs that may not be held together; the first entitlement is the smaller one.
    pub pairs: BTreeMap<(String, String), Mark>,
}

/// The meaning of a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How bad the conflict is, where the mark says so.
    pub severity: Option<Severity>,
    /// The consequence, where the mark says so.
    pub action: Option<Action>,
}

/// The meaning of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Blank,
    Allowed,
    Conflict(Mark),
}

impl Matrix {
    /// Reads a matrix: entitlements in the first row and in the first column.
    ///
    /// # Errors
    /// Every problem, with its place.
    pub fn read(sheet: &Sheet) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut seen = BTreeMap::new();
        let columns: Vec<&str> = sheet
            .rows
            .first()
            .map_or_else(Vec::new, |header| header.cells.iter().map(String::as_str).collect());
        if columns.len() < 2 || sheet.rows.len() < 2 {
            return Err(vec![
                "it has no matrix: the first row and the first column name entitlements".to_owned(),
            ]);
        }
        let header = sheet.rows.first().map_or(1, |header| header.number);
        let mut names = BTreeMap::new();
        for (at, name) in columns.iter().enumerate().skip(1).filter(|(_, name)| !name.is_empty()) {
            if names.insert(*name, at).is_some() {
                let place = sheet.place(header, at);
                problems.push(format!("{place}: the column `{}` is there twice", escape(name)));
            }
        }
        let mut labels = BTreeMap::new();
        for row in sheet.body() {
            let label = cell(row, Some(0));
            let marks = row.cells.iter().enumerate().skip(1).filter(|(_, text)| !text.is_empty());
            if label.is_empty() {
                if marks.count() > 0 {
                    let place = sheet.place(row.number, 0);
                    problems.push(format!("{place}: the row has marks and names no entitlement"));
                }
                continue;
            }
            if labels.insert(label, row.number).is_some() {
                let place = sheet.place(row.number, 0);
                problems.push(format!("{place}: the row `{}` is there twice", escape(label)));
            }
            for (at, text) in marks {
                let place = sheet.place(row.number, at);
                let column = columns.get(at).copied().unwrap_or_default();
                match meaning(text) {
                    Err(why) => problems.push(format!("{place}: {why}")),
                    Ok(Cell::Blank) => {}
                    Ok(_) if column.is_empty() => {
                        problems.push(format!("{place}: the column names no entitlement"));
                    }
                    Ok(Cell::Conflict(_)) if column == label => problems.push(format!(
                        "{place}: `{}` would conflict with itself; leave the diagonal empty",
                        escape(label)
                    )),
                    Ok(Cell::Allowed) if column == label => {}
                    Ok(cell) => {
                        let pair = (label.min(column).to_owned(), label.max(column).to_owned());
                        problems.extend(add(&mut seen, pair, cell, place));
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut entitlements: Vec<String> =
            names.into_keys().chain(labels.into_keys()).map(str::to_owned).collect();
        entitlements.sort_unstable();
        entitlements.dedup();
        let pairs = seen.into_iter().filter_map(|(pair, (cell, _))| match cell {
            Cell::Conflict(mark) => Some((pair, mark)),
            _ => None,
        });
        Ok(Self { entitlements, pairs: pairs.collect() })
    }
}

/// Adds a cell to the pairs; a sentence where another cell contradicts it.
fn add(
    seen: &mut BTreeMap<(String, String), (Cell, String)>,
    pair: (String, String),
    new: Cell,
    place: String,
) -> Option<String> {
    let names = format!("`{}` and `{}`", escape(&pair.0), escape(&pair.1));
    let (old, before) = seen.entry(pair).or_insert((Cell::Blank, place.clone()));
    let differs = |one: &str, other: &str| {
        Some(format!("{place}: {names} are {one} here and {other} in {before}"))
    };
    match (*old, new) {
        (Cell::Blank, _) => {
            (*old, *before) = (new, place);
            None
        }
        (Cell::Allowed, Cell::Conflict(_)) => differs("a conflict", "allowed"),
        (Cell::Conflict(_), Cell::Allowed) => differs("allowed", "a conflict"),
        (Cell::Conflict(one), Cell::Conflict(two)) => {
            let contradicts = |severity: bool| match severity {
                true => one.severity.zip(two.severity).is_some_and(|(one, two)| one != two),
                false => one.action.zip(two.action).is_some_and(|(one, two)| one != two),
            };
            if contradicts(true) || contradicts(false) {
                return differs("marked in one way", "in another");
            }
            *old = Cell::Conflict(Mark {
                severity: one.severity.or(two.severity),
                action: one.action.or(two.action),
            });
            None
        }
        _ => None,
    }
}

/// The meaning of a cell's text: words with spaces, commas, slashes or colons between them.
fn meaning(text: &str) -> Result<Cell, String> {
    let text = text.to_lowercase();
    if BLANK.contains(&text.as_str()) {
        return Ok(Cell::Blank);
    }
    if ALLOWED.contains(&text.as_str()) {
        return Ok(Cell::Allowed);
    }
    let mut mark = Mark::default();
    let words = text.split([' ', ',', '/', ':', ';']).filter(|word| !word.is_empty());
    for word in words {
        let severity = match word {
            "c" => Some(Severity::Critical),
            "h" => Some(Severity::High),
            "m" => Some(Severity::Medium),
            "l" => Some(Severity::Low),
            word => Severity::from_name(word),
        };
        let action = match word {
            "report" => Some(Action::Allow),
            // `allow` in a cell would read as if the pair were allowed.
            "allow" => None,
            word => Action::from_name(word),
        };
        let twice = severity.is_some() && mark.severity.is_some()
            || action.is_some() && mark.action.is_some();
        if twice || severity.is_none() && action.is_none() && !CONFLICT.contains(&word) {
            return Err(format!(
                "`{}` is no mark; marks are `x`, a severity (`info` to `critical`), a consequence \
                 (`report`, `step-up`, `review`, `deny`), or nothing",
                escape(&text)
            ));
        }
        (mark.severity, mark.action) = (severity.or(mark.severity), action.or(mark.action));
    }
    Ok(Cell::Conflict(mark))
}

/// Texts that mean the same as nothing.
const BLANK: [&str; 6] = ["-", "–", "—", "n/a", ".", "\\"];
/// Texts that say that a pair is allowed.
const ALLOWED: [&str; 6] = ["no", "n", "0", "false", "ok", "allowed"];
/// Words that say that a pair is a conflict, and no more.
const CONFLICT: [&str; 9] = ["x", "✗", "✘", "×", "1", "yes", "y", "true", "conflict"];

//! Why a version of a reference table is refused.
//!
//! Invariant: an error says the place (line or row, and column) and the rule, and never the content
//! of a cell. Many problems are reported at once, at most [`MAX_PROBLEMS`], with the count of the
//! rest. The caller keeps the last good version.

use std::fmt;

use super::cell::CellProblem;
use super::declaration_check::DeclarationError;

/// A version of a table is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The declaration has problems.
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    /// The bytes have problems.
    #[error("{0}")]
    Table(TableProblems),
}

/// The problems of the bytes of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableProblems {
    /// The table's name.
    pub table: String,
    /// The first problems, at most [`MAX_PROBLEMS`]; never empty.
    pub problems: Vec<TableProblem>,
    /// The number of further problems.
    pub more: u64,
}

/// One problem of the bytes of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableProblem {
    /// The place, as far as it has one.
    pub place: Place,
    /// The problem.
    pub problem: Problem,
}

/// The place of a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The row, counted from 1 as its format counts: lines of CSV and JSON Lines, rows of a sheet,
    /// rows of a SQLite table, networks of an MMDB.
    pub row: Option<u64>,
    /// The name of the column in the declaration.
    pub column: Option<String>,
}

/// A problem of the bytes of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A cell.
    #[error("the cell {0}")]
    Cell(CellProblem),
    /// More bytes than declared.
    #[error("the table has more than {0} bytes; raise `max_bytes` if that is right")]
    TooManyBytes(u64),
    /// More rows than declared.
    #[error("the table has more than {0} rows; raise `max_rows` if that is right")]
    TooManyRows(u32),
    /// Fewer rows than declared.
    #[error("the table has {rows} rows and must have {least}; is the export whole?")]
    TooFewRows {
        /// The rows that were read.
        rows: u32,
        /// The declared bound.
        least: u32,
    },
    /// The bytes cannot be read.
    #[error("the bytes cannot be read: {0}")]
    Read(std::io::ErrorKind),
    /// A declared column is not there.
    #[error("the export has no column `{0}`; correct `source` or the export")]
    NoColumn(String),
    /// Two columns of the export have the name of a declared one.
    #[error("the export has two columns `{0}`; rename one of them")]
    TwoColumns(String),
    /// The row with the names of the columns is not there.
    #[error("the export has no row with the names of columns")]
    NoHeader,
    /// A row has another number of cells than the header.
    #[error("the row has {found} cells and the header has {expected}")]
    CellCount {
        /// Cells of the row.
        found: usize,
        /// Cells of the header.
        expected: usize,
    },
    /// A row is too long.
    #[error("the row is longer than {0} bytes or has more than {1} cells")]
    RowTooLong(usize, usize),
    /// A quotation mark is not closed.
    #[error("a quotation mark is not closed: the export is cut off or wrongly quoted")]
    OpenQuote,
    /// A line is no JSON object.
    #[error("the line is no JSON object: {0}")]
    NotJson(String),
    /// The file does not have the declared format, or is damaged.
    #[error("the file is no whole and valid {0}")]
    Damaged(&'static str),
    /// The file expands to more than its format's bound.
    #[error("the file expands to more than {0} bytes: it is refused as a decompression bomb")]
    Expands(u64),
    /// The file has more parts than its format's bound.
    #[error("the file has too many {0}")]
    TooMany(&'static str),
    /// A SQLite database has a write-ahead log, which is not part of the file.
    #[error("the database is in WAL mode and may lack rows: export it with `VACUUM INTO`")]
    WriteAhead,
    /// The sheet or table is not there.
    #[error("the file has no {0} `{1}`")]
    NoPart(&'static str, String),
}

impl fmt::Display for TableProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a version of the reference table `{}` is refused", self.table)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n- {problem}"))?;
        if self.more > 0 {
            write!(f, "\n- and {} more problems", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for TableProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place.row, &self.place.column) {
            (Some(row), Some(column)) => write!(f, "row {row}, column `{column}`: ")?,
            (Some(row), None) => write!(f, "row {row}: ")?,
            (None, Some(column)) => write!(f, "column `{column}`: ")?,
            (None, None) => {}
        }
        fmt::Display::fmt(&self.problem, f)
    }
}

/// Collects problems up to the bound.
pub(crate) struct Collector {
    problems: Vec<TableProblem>,
    more: u64,
}

/// The rest of the bytes cannot be read; the problem is in the [`Collector`].
#[derive(Debug)]
pub(crate) struct Stopped;

impl Collector {
    pub fn new() -> Self {
        Self { problems: Vec::new(), more: 0 }
    }

    pub fn add(&mut self, row: Option<u64>, column: Option<&str>, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            let place = Place { row, column: column.map(str::to_owned) };
            self.problems.push(TableProblem { place, problem });
        } else {
            self.more += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    pub fn into_error(self, table: &str) -> LoadError {
        LoadError::Table(TableProblems {
            table: table.to_owned(),
            problems: self.problems,
            more: self.more,
        })
    }
}

/// Problems that are reported one by one.
pub const MAX_PROBLEMS: usize = 20;

//! Reference tables: what plugins look up, such as an HR roster or a list of known networks.
//!
//! Invariant: a version of a table is used whole or not at all. Its bytes are not trusted: they are
//! bounded, and a version that breaks its declaration is refused with the places of its faults
//! while the last good version stays. A version that would take access from many waits for a
//! confirmation. One call sees one version of every table. Reading files, fetching, signatures and
//! the clock are tasks of the caller.

mod builder;
mod cell;
mod column_kind;
mod columns;
mod declaration;
mod declaration_check;
mod difference;
mod error;
mod index;
mod matching;
mod read;
mod row;
mod set;
mod table;
mod text_rules;
mod value;

#[cfg(test)]
mod tests;

pub use cell::CellProblem;
pub use declaration::{
    CaseRule, Column, ColumnType, Crosswalk, Declaration, Format, Hold, Key, KeyKind, MAX_BYTES,
    MAX_COLUMNS, MAX_ROWS, MatchRule, NoMatchRule, SeveralRule, StaleRule, TableSource, TextRules,
};
pub use declaration_check::{DeclarationError, DeclarationProblem};
pub use difference::{Acceptance, AffectedKey, Difference, Loss, MAX_NAMES, decide};
pub use error::{LoadError, MAX_PROBLEMS, Place, Problem, TableProblem, TableProblems};
pub use matching::{MAX_EXAMPLES, MatchError, MatchReport, Matched, Subject, match_report};
pub use read::grid::{MAX_GRID_CELLS, SheetRow, read_sheet};
pub use row::{Row, Rows};
pub use set::{CurrentTables, Found, TableSet, TableStatus, WithoutRows};
pub use table::Table;
pub use value::{List, Value};

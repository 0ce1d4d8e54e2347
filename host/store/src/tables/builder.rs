//! Rows on their way into columns: each cell is read as its type, each problem is noted.
//!
//! Invariant: a reader gives every declared column of a row exactly one cell, in the order of the
//! declaration, between [`Builder::begin`] and [`Builder::end`]. After a problem the rest of the
//! table is still checked, so that all problems are known at once; the table is then refused.

use super::cell::{Cell, CellProblem, Raw, read};
use super::columns::CellColumn;
use super::declaration_check::Plan;
use super::error::{Collector, Problem, Stopped};

/// Rows on their way into columns.
pub(crate) struct Builder<'p> {
    pub plan: &'p Plan,
    pub problems: Collector,
    columns: Vec<CellColumn>,
    required: Vec<bool>,
    rows: u32,
    /// The place of each row in the export, where it does not follow from the row's number: the
    /// first row of each run of consecutive places.
    runs: Vec<(u32, u64)>,
    /// The place of the row that is being read.
    place: u64,
}

/// The rows of a table whose cells had no problem.
pub(crate) struct Built {
    pub columns: Vec<CellColumn>,
    pub rows: u32,
    pub places: Places,
}

/// The place of each row in the export.
pub(crate) struct Places(Vec<(u32, u64)>);

impl<'p> Builder<'p> {
    pub fn new(plan: &'p Plan) -> Self {
        let mut required: Vec<bool> =
            plan.declaration.columns.iter().map(|column| column.required).collect();
        for &at in &plan.key {
            if let Some(required) = required.get_mut(at) {
                *required = true;
            }
        }
        Self {
            plan,
            problems: Collector::new(),
            columns: plan.kinds.iter().map(CellColumn::new).collect(),
            required,
            rows: 0,
            runs: Vec::new(),
            place: 0,
        }
    }

    /// Begins a row; `place` counts from 1 as the format does.
    pub fn begin(&mut self, place: u64) -> Result<(), Stopped> {
        if self.rows >= self.plan.declaration.max_rows {
            let problem = Problem::TooManyRows(self.plan.declaration.max_rows);
            return Err(self.stop(Some(place), problem));
        }
        self.place = place;
        Ok(())
    }

    /// Adds the cell of a column.
    pub fn cell(&mut self, column: usize, raw: Result<Raw<'_>, CellProblem>) {
        let Some(kind) = self.plan.kinds.get(column) else { return };
        let cell = raw.and_then(|raw| read(kind, raw)).and_then(|cell| {
            let is_missing =
                matches!(cell, Cell::Absent) && self.required.get(column) == Some(&true);
            if is_missing { Err(CellProblem::Missing) } else { Ok(cell) }
        });
        let (cell, problem) = match cell {
            Ok(cell) => (cell, None),
            Err(problem) => (Cell::Absent, Some(problem)),
        };
        let fits = self.columns.get_mut(column).and_then(|column| column.push(&cell));
        let problem = problem.or(fits.is_none().then_some(CellProblem::ColumnFull));
        if let Some(problem) = problem {
            let name = self.plan.declaration.columns.get(column).map(|column| &*column.name);
            self.problems.add(Some(self.place), name, Problem::Cell(problem));
        }
    }

    /// Ends a row.
    pub fn end(&mut self) {
        let follows = self
            .runs
            .last()
            .is_some_and(|&(row, place)| place + u64::from(self.rows - row) == self.place);
        if !follows && self.runs.len() < MAX_RUNS {
            self.runs.push((self.rows, self.place));
        }
        self.rows += 1;
    }

    /// Notes a problem of a whole row.
    pub fn row_problem(&mut self, place: u64, problem: Problem) {
        self.problems.add(Some(place), None, problem);
    }

    /// Notes a problem after which nothing more can be read.
    pub fn stop(&mut self, place: Option<u64>, problem: Problem) -> Stopped {
        self.problems.add(place, None, problem);
        Stopped
    }

    /// Ends the table.
    pub fn finish(mut self) -> Result<Built, Collector> {
        let least = self.plan.declaration.min_rows;
        if self.rows < least && self.problems.is_empty() {
            let problem = Problem::TooFewRows { rows: self.rows, least };
            self.problems.add(None, None, problem);
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        self.columns.iter_mut().for_each(CellColumn::finish);
        Ok(Built { columns: self.columns, rows: self.rows, places: Places(self.runs) })
    }
}

impl Places {
    /// Returns the place of a row.
    pub fn of(&self, row: u32) -> u64 {
        let at = self.0.partition_point(|&(first, _)| first <= row);
        let run = at.checked_sub(1).and_then(|at| self.0.get(at));
        run.map_or(0, |&(first, place)| place + u64::from(row - first))
    }
}

/// Runs of consecutive places that are kept, one megabyte; after that, places of rows in messages
/// about repeated values are counted on from the last run.
const MAX_RUNS: usize = 1 << 16;

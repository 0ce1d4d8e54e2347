//! Rows that a look-up found, and their cells.
//!
//! Invariant: nothing is copied out of the table before a cell is asked for its text or JSON. Rows
//! come in the order of the export. Cells are personal data: `Debug` shows numbers only.

use std::fmt;

use portcullis_model::json::ObjectWriter;

use super::index::Chain;
use super::table::Table;
use super::value::Value;

/// One row.
#[derive(Clone, Copy)]
pub struct Row<'t> {
    pub(super) table: &'t Table,
    pub(super) number: u32,
}

/// Rows; an iterator over the rest of them.
#[derive(Clone)]
pub struct Rows<'t> {
    table: &'t Table,
    rest: Rest<'t>,
}

#[derive(Clone)]
enum Rest<'t> {
    Chain(&'t Chain, Option<u32>),
    List(std::vec::IntoIter<u32>),
}

impl<'t> Row<'t> {
    /// Returns the row's number, counted from 0 in the order of the export.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns the value of a column; none where the cell is absent or the column is not declared.
    pub fn get(&self, column: &str) -> Option<Value<'t>> {
        self.at(self.table.plan.position(column)?)
    }

    /// Returns all columns with their values, in the order of the declaration.
    pub fn cells(&self) -> impl Iterator<Item = (&'t str, Option<Value<'t>>)> + use<'t> {
        let row = *self;
        let columns = row.table.plan.declaration.columns.iter().enumerate();
        columns.map(move |(position, column)| (column.name.as_str(), row.at(position)))
    }

    /// Writes the cells as members of an object; absent cells are left out.
    pub fn write_json(&self, object: &mut ObjectWriter<'_>) {
        for (name, value) in self.cells() {
            match value {
                None => {}
                Some(Value::Text(text)) => {
                    object.text(name, text);
                }
                Some(Value::Boolean(is)) => {
                    object.boolean(name, is);
                }
                Some(value) => {
                    object.json(name, &value.to_json());
                }
            }
        }
    }

    fn at(&self, position: usize) -> Option<Value<'t>> {
        self.table.columns.get(position)?.get(usize::try_from(self.number).ok()?)
    }
}

impl<'t> Rows<'t> {
    pub(super) fn none(table: &'t Table) -> Self {
        Self::listed(table, Vec::new())
    }

    pub(super) fn chained(table: &'t Table, chain: &'t Chain, first: Option<u32>) -> Self {
        Self { table, rest: Rest::Chain(chain, first) }
    }

    pub(super) fn listed(table: &'t Table, rows: Vec<u32>) -> Self {
        Self { table, rest: Rest::List(rows.into_iter()) }
    }

    /// Returns the table in which the rows are.
    pub fn table(&self) -> &'t Table {
        self.table
    }

    /// Returns whether there is no further row.
    pub fn is_empty(&self) -> bool {
        match &self.rest {
            Rest::Chain(_, next) => next.is_none(),
            Rest::List(rows) => rows.len() == 0,
        }
    }

    /// Returns whether there is more than one further row.
    pub fn is_several(&self) -> bool {
        match &self.rest {
            Rest::Chain(chain, next) => next.is_some_and(|row| chain.next(row).is_some()),
            Rest::List(rows) => rows.len() > 1,
        }
    }
}

impl<'t> Iterator for Rows<'t> {
    type Item = Row<'t>;

    fn next(&mut self) -> Option<Row<'t>> {
        let number = match &mut self.rest {
            Rest::Chain(chain, next) => {
                let row = (*next)?;
                *next = chain.next(row);
                row
            }
            Rest::List(rows) => rows.next()?,
        };
        Some(Row { table: self.table, number })
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({} of `{}`)", self.number, self.table.name())
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(|row| row.number)).finish()
    }
}

//! XLSX workbooks as rows of texts: for spreadsheets whose meaning is in both of their margins,
//! such as a matrix of entitlements, and which are therefore no table with columns.
//!
//! Invariant: the bytes are not trusted; the workbook is checked against the bounds of
//! [`super::xlsx`] before it is parsed, and its cells have a bound of their own. Nothing is
//! computed and no link is followed. The meaning of the cells is the caller's.

use std::io::Cursor;

use calamine::{DataRef, Reader as _, Xlsx};

use super::fenced;
use super::xlsx::{DAMAGED, MAX_SHEET_COLUMNS, check_parts};
use crate::tables::cell::CellProblem;
use crate::tables::error::{Place, Problem, TableProblem};

/// One row of a sheet that has cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetRow {
    /// The row, counted from 1.
    pub number: u64,
    /// The cells from column A on; one without a value is empty. White space around texts is left
    /// out, and a whole number has no decimal point.
    pub cells: Vec<String>,
}

/// Reads a sheet, the first where no name is given.
///
/// # Errors
/// The workbook is damaged or beyond a bound, has no such sheet, or a cell has an error of the
/// spreadsheet.
pub fn read_sheet(bytes: &[u8], sheet: Option<&str>) -> Result<Vec<SheetRow>, TableProblem> {
    let read = fenced(|| {
        check_parts(bytes).map_err(|problem| at(None, problem))?;
        read_rows(bytes, sheet)
    });
    read.unwrap_or_else(|| Err(at(None, DAMAGED)))
}

fn read_rows(bytes: &[u8], sheet: Option<&str>) -> Result<Vec<SheetRow>, TableProblem> {
    let damaged = |row| at(row, DAMAGED);
    let mut workbook = Xlsx::new(Cursor::new(bytes)).map_err(|_| damaged(None))?;
    let names = workbook.sheet_names();
    let sheet = match sheet {
        Some(name) => names.iter().find(|known| *known == name),
        None => names.first(),
    }
    .ok_or_else(|| at(None, Problem::NoPart("sheet", sheet.unwrap_or_default().to_owned())))?;
    let mut reader = workbook.worksheet_cells_reader(sheet).map_err(|_| damaged(None))?;
    let (mut rows, mut left) = (Vec::<SheetRow>::new(), MAX_GRID_CELLS);
    loop {
        let last = rows.last().map_or(0, |row| row.number);
        let Some(cell) = reader.next_cell().map_err(|_| damaged(Some(last)))? else { break };
        let (row, column) = cell.get_position();
        let (number, column) = (u64::from(row) + 1, usize::try_from(column).unwrap_or(usize::MAX));
        let text = text(cell.get_value()).map_err(|problem| at(Some(number), problem))?;
        if text.is_empty() {
            continue;
        }
        if number < last {
            return Err(damaged(Some(number)));
        }
        if number > last {
            rows.push(SheetRow { number, cells: Vec::new() });
        }
        let Some(row) = rows.last_mut() else { continue };
        let wider = (column + 1).saturating_sub(row.cells.len());
        left = left.saturating_sub(wider);
        if column >= MAX_SHEET_COLUMNS || left == 0 {
            return Err(at(Some(number), Problem::TooMany("cells")));
        }
        row.cells.resize(row.cells.len().max(column + 1), String::new());
        if let Some(place) = row.cells.get_mut(column) {
            *place = text;
        }
    }
    Ok(rows)
}

fn text(cell: &DataRef<'_>) -> Result<String, Problem> {
    Ok(match cell {
        DataRef::Empty => String::new(),
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => number.to_string(),
        DataRef::Bool(is) => is.to_string(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            text.trim().to_owned()
        }
        DataRef::SharedString(text) => text.trim().to_owned(),
        DataRef::DateTime(moment) => moment.as_f64().to_string(),
        DataRef::Error(_) => return Err(Problem::Cell(CellProblem::SpreadsheetError)),
    })
}

fn at(row: Option<u64>, problem: Problem) -> TableProblem {
    TableProblem { place: Place { row, column: None }, problem }
}

/// Cells of a sheet, those without a value before others included: four million, which are 2,000
/// entitlements on either margin.
pub const MAX_GRID_CELLS: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_is_read_as_it_is_seen() {
        let workbook = include_bytes!("../../../examples-data/ukg-roster.xlsx");
        let first = read_sheet(workbook, None).unwrap();
        let cells = vec!["This sheet is not read.".to_owned()];
        assert_eq!(first, [SheetRow { number: 1, cells }]);
        let rows = read_sheet(workbook, Some("Roster")).unwrap();
        assert!(rows.len() > 2, "{rows:?}");
        assert!(rows.windows(2).all(|two| two[0].number < two[1].number));
        let missing = read_sheet(workbook, Some("none")).unwrap_err();
        assert_eq!(missing.to_string(), "the file has no sheet `none`");
        for cut in [0, 10, workbook.len() / 2] {
            assert!(read_sheet(&workbook[..cut], None).is_err());
        }
    }
}

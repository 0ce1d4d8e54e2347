//! Spreadsheets as rows of texts: CSV and XLSX.
//!
//! Invariant: every cell keeps its place, so that a problem names it as the spreadsheet does. A
//! file is read whole or refused; cells are texts without white space around them.

use std::path::Path;

use portcullis_model::escape::escape;
use portcullis_store::tables::{MAX_GRID_CELLS, SheetRow, read_sheet};

use crate::exit::{CliError, CliResult};
use crate::files;

/// A sheet.
pub struct Sheet {
    /// The rows that have cells.
    pub rows: Vec<SheetRow>,
    is_workbook: bool,
}

/// The columns of a sheet whose first row has their names, in the order in which they were asked
/// for; `None` where an optional one is missing.
pub type Columns<const N: usize> = [Option<usize>; N];

impl Sheet {
    /// Reads a file: XLSX where it is one, else CSV. `sheet` is the name of the workbook's sheet.
    ///
    /// # Errors
    /// The file cannot be read (exit 64) or is neither (exit 1).
    pub fn read(path: &Path, sheet: Option<&str>) -> CliResult<Self> {
        let bytes = files::read(path)?;
        let wrong =
            |why: String| CliError::wrong(format!("`{}`: {}", path.display(), escape(&why)));
        if bytes.starts_with(ZIP) {
            let rows = read_sheet(&bytes, sheet).map_err(|problem| wrong(problem.to_string()))?;
            return Ok(Self { rows, is_workbook: true });
        }
        if sheet.is_some() {
            return Err(CliError::usage(format!(
                "`{}` is no workbook and has no sheets",
                path.display()
            )));
        }
        Ok(Self { rows: comma_separated(&bytes).map_err(wrong)?, is_workbook: false })
    }

    /// The place of a cell, as the spreadsheet names it; columns are counted from 0.
    pub fn place(&self, row: u64, column: usize) -> String {
        if self.is_workbook {
            format!("cell {}{row}", letters(column))
        } else {
            format!("line {row}, column {}", column + 1)
        }
    }

    /// Finds columns by the names in the first row, in any case; those in `optional` may be
    /// missing.
    ///
    /// # Errors
    /// A sentence for each column that is missing or stands there twice.
    pub fn columns<const N: usize>(
        &self,
        names: [&str; N],
        optional: &[&str],
    ) -> Result<Columns<N>, Vec<String>> {
        let header = self.rows.first().map(|row| row.cells.as_slice()).unwrap_or_default();
        let mut problems = Vec::new();
        let found = names.map(|name| {
            let mut same = (0..).zip(header).filter(|(_, cell)| cell.eq_ignore_ascii_case(name));
            let first = same.next().map(|(column, _)| column);
            if same.next().is_some() {
                problems.push(format!("two columns are called `{name}`"));
            } else if first.is_none() && !optional.contains(&name) {
                problems.push(format!("the first row names no column `{name}`"));
            }
            first
        });
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }

    /// The rows below the first.
    pub fn body(&self) -> impl Iterator<Item = &SheetRow> {
        self.rows.iter().skip(1)
    }
}

/// The text of a cell; empty where the row is shorter or there is no such column.
pub fn cell(row: &SheetRow, column: Option<usize>) -> &str {
    column.and_then(|column| row.cells.get(column)).map_or("", String::as_str)
}

/// The letters of a column, counted from 0: `A`, …, `Z`, `AA`.
fn letters(column: usize) -> String {
    let (mut letters, mut left) = (Vec::new(), column + 1);
    while left > 0 {
        let digit = u8::try_from((left - 1) % 26).unwrap_or_default();
        letters.push(char::from(b'A' + digit));
        left = (left - 1) / 26;
    }
    letters.iter().rev().collect()
}

fn comma_separated(bytes: &[u8]) -> Result<Vec<SheetRow>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8: save the spreadsheet as \"CSV UTF-8\" or as XLSX")
    })?;
    if text.matches('"').count() % 2 == 1 {
        return Err("a quotation mark is not closed: the file is cut off or wrongly quoted".into());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(bytes);
    let (mut rows, mut cells) = (Vec::new(), 0);
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        cells += record.len();
        if cells > MAX_GRID_CELLS {
            return Err(format!("the file has more than {MAX_GRID_CELLS} cells"));
        }
        let number = record.position().map_or(0, csv::Position::line);
        let mut cells: Vec<String> = record.iter().map(|cell| cell.trim().to_owned()).collect();
        while cells.last().is_some_and(String::is_empty) {
            cells.pop();
        }
        if !cells.is_empty() {
            rows.push(SheetRow { number, cells });
        }
    }
    Ok(rows)
}

/// The delimiter that the first line has most of: spreadsheets write another one where the comma is
/// the decimal mark.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    let count = |delimiter: u8| first.bytes().filter(|byte| *byte == delimiter).count();
    [b'\t', b';', b','].into_iter().max_by_key(|it| count(*it)).unwrap_or(b',')
}

/// The first bytes of a workbook, which is a ZIP archive.
const ZIP: &[u8] = b"PK\x03\x04";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_letters_of_spreadsheets() {
        let letters: Vec<_> = [0, 25, 26, 51, 52, 701, 702].map(letters).into();
        assert_eq!(letters, ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]);
    }

    #[test]
    fn the_delimiter_is_the_one_of_the_first_line() {
        let cells = |text: &str| comma_separated(text.as_bytes()).unwrap()[0].cells.clone();
        assert_eq!(cells("\u{feff}a,b;c\n"), ["a", "b;c"]);
        assert_eq!(cells("a;b;\"c,d\"\n"), ["a", "b", "c,d"]);
        assert_eq!(cells("a\tb\n"), ["a", "b"]);
        assert!(comma_separated(b"a,\"b\nc,d\n").unwrap_err().contains("not closed"));
        assert!(comma_separated(b"a\n\xff\n").unwrap_err().starts_with("line 2 "));
    }
}

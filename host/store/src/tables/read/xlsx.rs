//! XLSX workbooks (ECMA-376): the rows of one sheet.
//!
//! Invariant: before a workbook is parsed, every part of it is inflated once and counted, so that
//! a decompression bomb is refused without room for it. Cells are read one after the other; a sheet
//! whose size is stated as larger than it is costs nothing. The results of formulas are used as
//! they were saved; nothing is computed and no link is followed.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use calamine::{DataRef, Reader as _, Xlsx};
use jiff::civil;
use zip::ZipArchive;

use super::{MAX_CELLS, fenced, find_columns};
use crate::tables::builder::Builder;
use crate::tables::cell::{CellProblem, Raw};
use crate::tables::error::{Problem, Stopped};

/// Reads all rows.
pub(crate) fn read(builder: &mut Builder<'_>, bytes: &[u8]) -> Result<(), Stopped> {
    let read = fenced(|| {
        check_parts(bytes).map_err(|problem| builder.stop(None, problem))?;
        read_sheet(builder, bytes)
    });
    let Some(read) = read else { return Err(builder.stop(None, DAMAGED)) };
    read
}

/// Inflates every part once, within the bounds.
pub(super) fn check_parts(bytes: &[u8]) -> Result<(), Problem> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).or(Err(DAMAGED))?;
    if archive.len() > MAX_PARTS {
        return Err(Problem::TooMany("parts"));
    }
    let (mut expanded, mut marks) = (0, 0);
    let mut buffer = vec![0; PART_BUFFER];
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).or(Err(DAMAGED))?;
        let is_sheet = part.name().is_ok_and(|name| is_sheet(&name));
        let mut stated = StatedCount::default();
        loop {
            let count = match part.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) => return Err(DAMAGED),
            };
            expanded += u64::try_from(count).unwrap_or(u64::MAX);
            if expanded > MAX_EXPANDED {
                return Err(Problem::Expands(MAX_EXPANDED));
            }
            let inflated = buffer.get(..count).unwrap_or_default();
            // Sheets are streamed; the parser keeps an entry for each element of other parts.
            marks += if is_sheet { 0 } else { bytecount(inflated, b'<') };
            if marks > MAX_MARKS || !inflated.iter().all(|&byte| stated.is_sound_with(byte)) {
                return Err(Problem::TooMany("texts and styles"));
            }
        }
    }
    Ok(())
}

/// Returns whether a part can only be read as a sheet: the parser finds others by fixed names.
fn is_sheet(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let others = ["sharedstrings.xml", "styles.xml", "theme1.xml", "workbook.xml"];
    name.contains("worksheets/") && !others.iter().any(|other| name.ends_with(other))
}

fn bytecount(bytes: &[u8], wanted: u8) -> usize {
    bytes.iter().filter(|&&byte| byte == wanted).count()
}

/// Looks for a stated number of shared texts that is not believable: the parser reserves room for
/// as many as `uniqueCount` says, before it reads one.
#[derive(Default)]
struct StatedCount {
    /// Letters of the name that were just seen.
    matched: usize,
    number: usize,
}

impl StatedCount {
    fn is_sound_with(&mut self, byte: u8) -> bool {
        if self.matched == UNIQUE_COUNT.len() {
            if byte.is_ascii_digit() {
                self.number = self.number.saturating_mul(10).saturating_add(usize::from(byte & 15));
                return self.number <= MAX_MARKS;
            }
            if byte.is_ascii_whitespace() || matches!(byte, b'=' | b'"' | b'\'' | b'+' | 0) {
                return true;
            }
            (self.matched, self.number) = (0, 0);
        }
        // Characters of UTF-16 are the letters with zeros between them.
        if byte == 0 {
            return true;
        }
        self.matched = match UNIQUE_COUNT.get(self.matched) {
            Some(&wanted) if wanted == byte => self.matched + 1,
            _ => usize::from(UNIQUE_COUNT.first() == Some(&byte)),
        };
        true
    }
}

fn read_sheet(builder: &mut Builder<'_>, bytes: &[u8]) -> Result<(), Stopped> {
    let Ok(mut workbook) = Xlsx::new(Cursor::new(bytes)) else {
        return Err(builder.stop(None, DAMAGED));
    };
    let names = workbook.sheet_names();
    let sheet = builder.plan.declaration.sheet.clone();
    let Some(sheet) =
        sheet.clone().or_else(|| names.first().cloned()).filter(|s| names.contains(s))
    else {
        return Err(builder.stop(None, Problem::NoPart("sheet", sheet.unwrap_or_default())));
    };
    let Ok(mut cells) = workbook.worksheet_cells_reader(&sheet) else {
        return Err(builder.stop(None, DAMAGED));
    };
    let mut sheet = Sheet {
        header_row: builder.plan.declaration.header_row.unwrap_or(1),
        found: None,
        row: 0,
        cells: Vec::new(),
    };
    loop {
        let cell = match cells.next_cell() {
            Ok(Some(cell)) => cell,
            Ok(None) => break,
            Err(_) => return Err(builder.stop(Some(u64::from(sheet.row)), DAMAGED)),
        };
        let (row, column) = cell.get_position();
        let row = row.saturating_add(1);
        if row < sheet.row {
            return Err(builder.stop(Some(u64::from(row)), DAMAGED));
        }
        if row > sheet.row {
            sheet.end_row(builder)?;
            sheet.row = row;
        }
        let column = usize::try_from(column).unwrap_or(usize::MAX);
        if column >= MAX_SHEET_COLUMNS {
            return Err(builder.stop(Some(u64::from(row)), Problem::TooMany("columns")));
        }
        if sheet.cells.len() <= column {
            sheet.cells.resize(column + 1, DataRef::Empty);
        }
        if let Some(place) = sheet.cells.get_mut(column) {
            *place = cell.get_value().clone();
        }
    }
    sheet.end_row(builder)?;
    if sheet.found.is_none() {
        return Err(builder.stop(None, Problem::NoHeader));
    }
    Ok(())
}

/// The sheet as far as it was read.
struct Sheet<'w> {
    header_row: u32,
    /// The positions of the declared columns, once the header was read.
    found: Option<Vec<usize>>,
    /// The row that is being read, counted from 1; 0 before the first.
    row: u32,
    cells: Vec<DataRef<'w>>,
}

impl Sheet<'_> {
    fn end_row(&mut self, builder: &mut Builder<'_>) -> Result<(), Stopped> {
        let place = u64::from(self.row);
        if self.row == self.header_row {
            let names: Vec<String> = self.cells.iter().map(name).collect();
            if names.len() > MAX_CELLS {
                return Err(builder.stop(Some(place), Problem::TooMany("columns")));
            }
            self.found = Some(find_columns(builder, Some(place), &names)?);
        } else if self.row > self.header_row {
            let Some(found) = &self.found else {
                return Err(builder.stop(None, Problem::NoHeader));
            };
            // Rows that have formats and no values stand below many tables.
            if self.cells.iter().any(|cell| !matches!(cell, DataRef::Empty)) {
                builder.begin(place)?;
                for (column, &at) in found.iter().enumerate() {
                    builder.cell(column, raw(self.cells.get(at)));
                }
                builder.end();
            }
        }
        self.cells.clear();
        Ok(())
    }
}

fn name(cell: &DataRef<'_>) -> String {
    match cell {
        DataRef::String(text) => text.trim().to_owned(),
        DataRef::SharedString(text) => text.trim().to_owned(),
        DataRef::Float(number) => number.to_string(),
        DataRef::Int(number) => number.to_string(),
        _ => String::new(),
    }
}

fn raw<'c>(cell: Option<&'c DataRef<'_>>) -> Result<Raw<'c>, CellProblem> {
    Ok(match cell {
        None | Some(DataRef::Empty) => Raw::Absent,
        Some(DataRef::Int(number)) => Raw::Integer(*number),
        Some(DataRef::Float(number)) => whole(*number).map_or(Raw::Other, Raw::Integer),
        Some(DataRef::String(text) | DataRef::DateTimeIso(text)) => Raw::Text(Cow::Borrowed(text)),
        Some(DataRef::SharedString(text)) => Raw::Text(Cow::Borrowed(text)),
        Some(DataRef::Bool(is)) => Raw::Boolean(*is),
        Some(DataRef::DateTime(moment)) if moment.is_datetime() => {
            let days = moment.as_f64();
            if !(0.0..MAX_DAYS).contains(&days) {
                return Ok(Raw::Other);
            }
            let (year, month, day, hour, minute, second, milli) = moment.to_ymd_hms_milli();
            civil_time(year, [month, day, hour, minute, second], milli)
                .map_or(Raw::Other, Raw::Civil)
        }
        Some(DataRef::DateTime(_) | DataRef::DurationIso(_)) => Raw::Other,
        Some(DataRef::Error(_)) => return Err(CellProblem::SpreadsheetError),
    })
}

fn civil_time(year: u16, parts: [u8; 5], milli: u16) -> Option<civil::DateTime> {
    let [month, day, hour, minute, second] = parts.map(|part| i8::try_from(part).ok());
    civil::DateTime::new(
        i16::try_from(year).ok()?,
        month?,
        day?,
        hour?,
        minute?,
        second?,
        i32::from(milli) * 1_000_000,
    )
    .ok()
}

/// Spreadsheets hold every number as a 64-bit float: whole numbers are exact up to 2^53.
fn whole(number: f64) -> Option<i64> {
    if number.fract() != 0.0 || number.abs() > MAX_WHOLE {
        return None;
    }
    format!("{number:.0}").parse().ok()
}

/// Bytes of all parts together when inflated: 512 MiB, a sheet of a million rows and ten columns.
const MAX_EXPANDED: u64 = 512 << 20;
/// Parts of a workbook.
const MAX_PARTS: usize = 4096;
/// Elements of all parts but the sheets; each costs some 40 bytes while the workbook is read.
const MAX_MARKS: usize = 16 << 20;
/// Columns of a sheet (ECMA-376).
pub(super) const MAX_SHEET_COLUMNS: usize = 16_384;
/// 9999-12-31 as a serial number of a day.
const MAX_DAYS: f64 = 2_958_466.0;
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;
/// The attribute with the number of shared texts (ECMA-376, 18.4.9).
const UNIQUE_COUNT: &[u8] = b"uniqueCount";
const PART_BUFFER: usize = 1 << 16;
pub(super) const DAMAGED: Problem = Problem::Damaged("XLSX workbook");

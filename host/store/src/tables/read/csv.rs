//! CSV (RFC 4180): a row with the names of the columns, then rows with as many cells.
//!
//! Invariant: one row is held at a time, in a buffer of fixed size. A row with another number of
//! cells is a problem, so that a cell that contains an unquoted delimiter never moves the cells
//! after it. A quotation mark that is not closed is a problem, so that it never swallows rows. A
//! byte order mark is skipped; other encodings than UTF-8 are refused.

use std::borrow::Cow;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{Bounded, MAX_CELLS, MAX_ROW_BYTES, find_columns};
use crate::tables::builder::Builder;
use crate::tables::cell::{CellProblem, Raw};
use crate::tables::error::{Problem, Stopped};

/// Reads all rows.
pub(crate) fn read(builder: &mut Builder<'_>, bytes: &mut Bounded<'_>) -> Result<(), Stopped> {
    let declaration = &builder.plan.declaration;
    let delimiter = declaration.delimiter.and_then(|c| u8::try_from(c).ok()).unwrap_or(b',');
    let header_row = u64::from(declaration.header_row.unwrap_or(1));
    let mut records = Records {
        bytes,
        reader: ReaderBuilder::new().delimiter(delimiter).build(),
        text: vec![0; MAX_ROW_BYTES],
        ends: vec![0; MAX_CELLS],
        cells: 0,
        quotes: 0,
        line: 1,
        started: false,
    };
    let mut skipped = 0;
    while skipped + 1 < header_row {
        skipped += 1;
        if !records.next(builder)? {
            return Err(builder.stop(None, Problem::NoHeader));
        }
    }
    if !records.next(builder)? {
        return Err(builder.stop(None, Problem::NoHeader));
    }
    let place = records.line;
    let names: Vec<String> = (0..records.cells)
        .map(|at| String::from_utf8_lossy(records.cell(at)).trim().to_owned())
        .collect();
    let found = find_columns(builder, Some(place), &names)?;
    let expected = names.len();
    while records.next(builder)? {
        let place = records.line;
        if records.cells != expected {
            let found = records.cells;
            builder.row_problem(place, Problem::CellCount { found, expected });
            continue;
        }
        builder.begin(place)?;
        for (column, &at) in found.iter().enumerate() {
            let text = str::from_utf8(records.cell(at)).or(Err(CellProblem::NotUtf8));
            builder.cell(column, text.map(|text| Raw::Text(Cow::Borrowed(text))));
        }
        builder.end();
    }
    if records.quotes % 2 == 1 {
        return Err(builder.stop(None, Problem::OpenQuote));
    }
    Ok(())
}

/// The records of a file, one at a time.
struct Records<'b, 's> {
    bytes: &'b mut Bounded<'s>,
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    cells: usize,
    /// Quotation marks in the file so far: an odd number at the end means that one is open.
    quotes: u64,
    /// The line on which the record begins, counted from 1.
    line: u64,
    started: bool,
}

impl Records<'_, '_> {
    /// Reads the next record; false at the end.
    fn next(&mut self, builder: &mut Builder<'_>) -> Result<bool, Stopped> {
        if !self.started {
            self.started = true;
            self.skip_mark(builder)?;
        }
        self.line = self.reader.line();
        let (mut text_at, mut ends_at, mut begun) = (0, 0, false);
        loop {
            let input = self.bytes.fill(builder)?;
            let text = self.text.get_mut(text_at..).unwrap_or_default();
            let ends = self.ends.get_mut(ends_at..).unwrap_or_default();
            let (result, read, written, ended) = self.reader.read_record(input, text, ends);
            let taken = input.get(..read).unwrap_or_default();
            // Empty lines before a record are skipped: the record begins on the line after them.
            if !begun {
                let blank = taken.iter().take_while(|&&byte| matches!(byte, b'\n' | b'\r'));
                let blank = taken.get(..blank.count()).unwrap_or_default();
                begun = blank.len() < taken.len();
                let skipped = blank.iter().filter(|&&byte| byte == b'\n').count();
                self.line += u64::try_from(skipped).unwrap_or_default();
            }
            self.quotes += taken.iter().map(|&byte| u64::from(byte == b'"')).sum::<u64>();
            self.bytes.consume(read);
            text_at += written;
            ends_at += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => {
                    self.cells = ends_at;
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    let problem = Problem::RowTooLong(MAX_ROW_BYTES, MAX_CELLS);
                    return Err(builder.stop(Some(self.line), problem));
                }
            }
        }
    }

    /// Returns a cell of the record.
    fn cell(&self, at: usize) -> &[u8] {
        let end_of = |at: usize| self.ends.get(at).copied().unwrap_or_default();
        let start = at.checked_sub(1).map_or(0, end_of);
        self.text.get(start..end_of(at)).unwrap_or_default()
    }

    /// Skips a byte order mark.
    fn skip_mark(&mut self, builder: &mut Builder<'_>) -> Result<(), Stopped> {
        if self.bytes.fill(builder)?.starts_with(BYTE_ORDER_MARK) {
            self.bytes.consume(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }
}

/// U+FEFF in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

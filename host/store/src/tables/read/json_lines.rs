//! JSON Lines: one JSON object a line.
//!
//! Invariant: one line is held at a time. JSON is read strictly: a member that is there twice makes
//! the line a problem, so that no two readers can understand a row differently. `null` and a member
//! that is not there are absent cells.

use std::borrow::Cow;

use portcullis_model::json::{Document, Kind, Value};

use super::csv::BYTE_ORDER_MARK;
use super::{Bounded, MAX_CELLS, MAX_ROW_BYTES};
use crate::tables::builder::Builder;
use crate::tables::cell::{CellProblem, Raw};
use crate::tables::error::{Problem, Stopped};

/// Reads all rows.
pub(crate) fn read(builder: &mut Builder<'_>, bytes: &mut Bounded<'_>) -> Result<(), Stopped> {
    let declaration = &builder.plan.declaration;
    let pointers: Vec<String> =
        declaration.columns.iter().map(|column| column.source_in(declaration.format)).collect();
    if bytes.fill(builder)?.starts_with(BYTE_ORDER_MARK) {
        bytes.consume(BYTE_ORDER_MARK.len());
    }
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        line.clear();
        let is_last = read_line(builder, bytes, number, &mut line)?;
        if !line.trim_ascii().is_empty() {
            read_row(builder, number, &line, &pointers)?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Reads up to the end of a line; true at the end of the bytes.
fn read_line(
    builder: &mut Builder<'_>,
    bytes: &mut Bounded<'_>,
    number: u64,
    line: &mut Vec<u8>,
) -> Result<bool, Stopped> {
    loop {
        let input = bytes.fill(builder)?;
        if input.is_empty() {
            return Ok(true);
        }
        let end = input.iter().position(|&byte| byte == b'\n');
        let part = input.get(..end.unwrap_or(input.len())).unwrap_or_default();
        if line.len() + part.len() > MAX_ROW_BYTES {
            let problem = Problem::RowTooLong(MAX_ROW_BYTES, MAX_CELLS);
            return Err(builder.stop(Some(number), problem));
        }
        line.extend_from_slice(part);
        let taken = part.len() + usize::from(end.is_some());
        bytes.consume(taken);
        if end.is_some() {
            return Ok(false);
        }
    }
}

fn read_row(
    builder: &mut Builder<'_>,
    number: u64,
    line: &[u8],
    pointers: &[String],
) -> Result<(), Stopped> {
    let document = match Document::parse(line) {
        Ok(document) if document.root().is_object() => document,
        Ok(_) => {
            builder.row_problem(number, Problem::NotJson("another JSON value".to_owned()));
            return Ok(());
        }
        Err(error) => {
            builder.row_problem(number, Problem::NotJson(error.to_string()));
            return Ok(());
        }
    };
    builder.begin(number)?;
    for (column, pointer) in pointers.iter().enumerate() {
        match document.pointer(pointer) {
            None => builder.cell(column, Ok(Raw::Absent)),
            Some(value) => builder.cell(column, raw(value)),
        }
    }
    builder.end();
    Ok(())
}

fn raw(value: Value<'_>) -> Result<Raw<'_>, CellProblem> {
    Ok(match value.kind() {
        Kind::Null => Raw::Absent,
        Kind::Bool => value.as_bool().map_or(Raw::Other, Raw::Boolean),
        Kind::Number => Raw::Number(value.raw()),
        Kind::String => value.as_str().map_or(Raw::Other, Raw::Text),
        Kind::Object => Raw::Other,
        Kind::Array => {
            let items = value.elements().map(|item| item.as_str().map(Cow::into_owned));
            items.collect::<Option<Vec<_>>>().map_or(Raw::Other, Raw::Items)
        }
    })
}

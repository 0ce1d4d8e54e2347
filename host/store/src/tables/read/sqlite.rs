//! SQLite 3 database files: the rows of one table.
//!
//! Invariant: the database is a private copy in memory, opened read-only; no file is opened and
//! nothing is written. Its schema is not trusted: views and virtual tables are refused, and the
//! statement names columns and the table only, so that no SQL of the file runs. The settings are
//! those of SQLite's own guide for files of others (sqlite.org/security.html). Rows come in the
//! order of the table.

use std::borrow::Cow;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{MAX_CELLS, MAX_ROW_BYTES, fenced, find_columns};
use crate::tables::builder::Builder;
use crate::tables::cell::{CellProblem, Raw};
use crate::tables::error::{Problem, Stopped};

/// Reads all rows.
pub(crate) fn read(builder: &mut Builder<'_>, bytes: &[u8]) -> Result<(), Stopped> {
    if !bytes.starts_with(MAGIC) {
        return Err(builder.stop(None, DAMAGED));
    }
    if bytes.get(VERSIONS).is_some_and(|versions| versions.contains(&WRITE_AHEAD)) {
        return Err(builder.stop(None, Problem::WriteAhead));
    }
    let Some(read) = fenced(|| read_table(builder, bytes)) else {
        return Err(builder.stop(None, DAMAGED));
    };
    read
}

fn read_table(builder: &mut Builder<'_>, bytes: &[u8]) -> Result<(), Stopped> {
    let Ok(connection) = open(bytes) else { return Err(builder.stop(None, DAMAGED)) };
    let table = builder.plan.declaration.source_table.clone().unwrap_or_default();
    // Views have another type, and virtual tables no page of their own.
    let root = connection
        .query_row(
            "SELECT rootpage FROM main.sqlite_schema WHERE type = 'table' AND name = ?1",
            [&table],
            |row| row.get::<_, i64>(0),
        )
        .optional();
    match root {
        Err(_) => return Err(builder.stop(None, DAMAGED)),
        Ok(Some(root)) if root > 0 => {}
        Ok(_) => return Err(builder.stop(None, Problem::NoPart("table", table))),
    }
    let check = format!("PRAGMA main.quick_check({})", quoted(&table));
    let check = connection.query_row(&check, [], |row| row.get::<_, String>(0));
    if !check.is_ok_and(|result| result == "ok") {
        return Err(builder.stop(None, DAMAGED));
    }
    let Ok(names) = columns_of(&connection, &table) else {
        return Err(builder.stop(None, DAMAGED));
    };
    if names.len() > MAX_CELLS {
        return Err(builder.stop(None, Problem::TooMany("columns")));
    }
    let found = find_columns(builder, None, &names)?;
    let selected: Vec<String> =
        found.iter().filter_map(|&at| names.get(at)).map(|name| quoted(name)).collect();
    let statement = format!("SELECT {} FROM main.{}", selected.join(", "), quoted(&table));
    let Ok(mut statement) = connection.prepare(&statement) else {
        return Err(builder.stop(None, DAMAGED));
    };
    let Ok(mut rows) = statement.query([]) else { return Err(builder.stop(None, DAMAGED)) };
    let mut number = 0;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(()),
            Err(_) => return Err(builder.stop(Some(number + 1), DAMAGED)),
        };
        number += 1;
        builder.begin(number)?;
        for column in 0..selected.len() {
            builder.cell(column, row.get_ref(column).map_or(Ok(Raw::Other), raw));
        }
        builder.end();
    }
}

fn open(bytes: &[u8]) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_MEMORY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_in_memory_with_flags(flags)?;
    for (setting, is_on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        connection.set_db_config(setting, is_on)?;
    }
    let row_bytes = i32::try_from(MAX_ROW_BYTES).unwrap_or(i32::MAX);
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, row_bytes),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, row_bytes),
        (Limit::SQLITE_LIMIT_COLUMN, 2000),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 10),
        (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 8),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    connection.deserialize_read_exact("main", bytes, bytes.len(), true)?;
    // A check of the file would otherwise evaluate the constraints that its schema has.
    connection.execute_batch(
        "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA query_only = ON;
         PRAGMA ignore_check_constraints = ON;",
    )?;
    let steps = u64::try_from(bytes.len()).unwrap_or(u64::MAX).saturating_mul(STEPS_A_BYTE);
    let mut left = steps / u64::from(STEPS_A_CALL.unsigned_abs()) + MIN_CALLS;
    connection.progress_handler(
        STEPS_A_CALL,
        Some(move || {
            left = left.saturating_sub(1);
            left == 0
        }),
    )?;
    Ok(connection)
}

/// Returns the names of a table's columns, without generated and hidden ones: SQL of the file would
/// compute them.
fn columns_of(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn raw(value: ValueRef<'_>) -> Result<Raw<'_>, CellProblem> {
    match value {
        ValueRef::Null => Ok(Raw::Absent),
        ValueRef::Integer(number) => Ok(Raw::Integer(number)),
        ValueRef::Text(bytes) => {
            let text = str::from_utf8(bytes).or(Err(CellProblem::NotUtf8))?;
            Ok(Raw::Text(Cow::Borrowed(text)))
        }
        ValueRef::Real(_) | ValueRef::Blob(_) => Ok(Raw::Other),
    }
}

/// The first bytes of every SQLite 3 file.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The versions for writers and readers in the header of a file.
const VERSIONS: std::ops::Range<usize> = 18..20;
/// The version of a database with a write-ahead log.
const WRITE_AHEAD: u8 = 2;
const DAMAGED: Problem = Problem::Damaged("SQLite database");

/// Steps of SQLite's virtual machine that a file may cause: a damaged file could otherwise have
/// pages that lead to each other without an end. A row takes a step for each cell and a few more,
/// and at least two bytes for each.
const STEPS_A_BYTE: u64 = 16;
/// Steps between two counts.
const STEPS_A_CALL: i32 = 10_000;
/// Counts that every file may use.
const MIN_CALLS: u64 = 100;

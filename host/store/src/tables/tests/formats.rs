//! Rows return from CSV and JSON Lines as they were written; problems name their place.

use std::io::{self, Read};

use portcullis_model::json::build_object;
use proptest::prelude::*;

use super::*;

/// Gives a few bytes at a time, as a slow pipe does.
struct Slow<'b>(&'b [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (now, later) = self.0.split_at(self.0.len().min(self.1).min(buffer.len()));
        buffer[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

/// Writes a cell of CSV as RFC 4180 says; the simple model of a writer.
fn csv_cell(text: &str, quote: bool) -> String {
    if quote || text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// A cell, as the table is to give it back.
fn kept(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}

fn cells(row: Row<'_>) -> Vec<Option<String>> {
    row.cells()
        .map(|(_, value)| value.and_then(|value| value.as_text()).map(str::to_owned))
        .collect()
}

proptest! {
    #[test]
    fn csv_returns(
        rows in prop::collection::vec(
            ("[a-c]{1,2}", "[ -~äß€😀\n\t\"]{0,12}", "[\",\r\na]{0,5}"), 0..40,
        ),
        quote: bool, crlf: bool, mark: bool, step in 1usize..9,
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text = String::from(if mark { "\u{feff}" } else { "" });
        // Columns are found by name: their order differs and one is not declared.
        text += &format!("b,ignored,k,a{end}");
        for (k, a, b) in &rows {
            let line = [b, "x", k, a].map(|cell| csv_cell(cell, quote)).join(",");
            text += &format!("{line}{end}");
        }
        let expected: Vec<_> = rows.iter().map(|(k, a, b)| {
            [k, a, b].map(|cell| kept(cell).map(str::to_owned)).to_vec()
        }).collect();
        let whole = load(&plain("csv"), &text);
        prop_assert_eq!(whole.iter().map(cells).collect::<Vec<_>>(), expected.clone());
        let slow = Table::load_stream(&plain("csv"), Slow(text.as_bytes(), step), now()).unwrap();
        prop_assert_eq!(slow.iter().map(cells).collect::<Vec<_>>(), expected);
        prop_assert_eq!(slow.version(), portcullis_model::sha256(text.as_bytes()));
        prop_assert_eq!(whole.version(), slow.version());
        prop_assert_eq!(usize::try_from(whole.bytes()).unwrap(), text.len());
    }

    #[test]
    fn json_lines_return(
        rows in prop::collection::vec(
            ("[a-c]{1,2}", "\\PC{0,12}", prop::option::of("[a-z\"\\\\ä]{0,4}")), 0..40,
        ),
        last: bool, step in 1usize..9,
    ) {
        let mut text = String::new();
        for (k, a, b) in &rows {
            text += &build_object(|object| {
                object.text("a", a).text("k", k).text_or_null("b", b.as_deref());
            });
            text += "\n";
        }
        if last {
            text.truncate(text.trim_end().len());
        }
        let slow = Table::load_stream(&plain("json-lines"), Slow(text.as_bytes(), step), now());
        let expected: Vec<_> = rows.iter().map(|(k, a, b)| {
            [Some(k), Some(a), b.as_ref()]
                .map(|cell| cell.and_then(|cell| kept(cell)).map(str::to_owned)).to_vec()
        }).collect();
        prop_assert_eq!(slow.unwrap().iter().map(cells).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_lookup_finds_what_a_scan_finds(
        rows in prop::collection::vec(("[aAbBßſsSéE\u{301} ]{1,3}", "[xy]"), 0..60),
        asked in prop::collection::vec("[aAbBßſsSéE\u{301} ]{1,3}", 20),
        case in 0..3, nfc: bool, trim: bool,
    ) {
        let mut declaration = plain("csv");
        declaration.key.rules = TextRules {
            trim, nfc, case: [CaseRule::None, CaseRule::Ascii, CaseRule::Unicode][case as usize],
        };
        let rows: Vec<_> = rows.into_iter().filter(|(k, _)| !k.trim().is_empty()).collect();
        let lines = rows.iter().map(|(k, a)| format!("\"{k}\",{a},z\n"));
        let table = load(&declaration, format!("k,a,b\n{}", lines.collect::<String>()));
        let rules = declaration.key.rules;
        for key in rows.iter().map(|(k, _)| k).chain(&asked) {
            let scanned: Vec<_> = rows.iter().enumerate()
                .filter(|(_, (k, _))| rules.apply(k) == rules.apply(key))
                .map(|(at, _)| u32::try_from(at).unwrap()).collect();
            let found: Vec<_> = table.lookup(&[key]).map(|row| row.number()).collect();
            prop_assert_eq!(found, scanned, "{:?}", key);
        }
    }
}

#[test]
fn all_problems_are_reported_with_their_places() {
    let declaration = declaration(
        "name = 't'\nformat = 'csv'\nmax_age_seconds = 60\nkey = { columns = ['id'] }\ncolumns = [
         { name = 'id', type = 'integer', unique = true },
         { name = 'on', type = 'boolean' }, { name = 'day', type = 'date' },
         { name = 'net', type = 'ip-network' }, { name = 'at', type = 'instant' }]",
    );
    let error = refused(
        &declaration,
        "id,on,day,net,at\n1,yes,2026-01-31,10.0.0.0/8,2026-01-31T00:00:00Z\n\
         x,maybe,2026-02-30,10.0.0.1/8,yesterday\n\n,,,,\n2,no\n9223372036854775808,,,,2026-01-31\n",
    );
    assert_eq!(
        error,
        "a version of the reference table `t` is refused\n\
         - row 3, column `id`: the cell is no whole number between -(2^63 - 1) and 2^63 - 1\n\
         - row 3, column `on`: the cell is none of the texts for true and false\n\
         - row 3, column `day`: the cell is no date in the declared format\n\
         - row 3, column `net`: the cell has bits beyond its prefix length: write the first address \
         of the network\n\
         - row 3, column `at`: the cell is no instant in the declared format\n\
         - row 5, column `id`: the cell is empty, and the column is required\n\
         - row 6: the row has 2 cells and the header has 5\n\
         - row 7, column `id`: the cell is no whole number between -(2^63 - 1) and 2^63 - 1\n\
         - row 7, column `at`: the cell is no instant in the declared format"
    );
    let twice = refused(&declaration, "id,on,day,net,at\n5,,,,\n\"6\",\"\",,,\n\n05,,,,\n");
    assert_eq!(
        twice,
        "a version of the reference table `t` is refused\n\
         - row 5, column `id`: the cell is the same as in row 2, and the column is unique"
    );
    let many: String = (0..50).map(|_| "x,,,,\n").collect();
    let error = refused(&declaration, format!("id,on,day,net,at\n{many}"));
    assert_eq!(error.lines().count(), 1 + MAX_PROBLEMS + 1);
    assert!(error.ends_with("- and 30 more problems"), "{error}");
}

#[test]
fn headers_are_checked_and_found_below_titles() {
    let mut declaration = plain("csv");
    let error = refused(&declaration, "k,A,x,x\n1,2,3,4\n");
    assert!(error.contains("column `a`: the export has no column `a`"), "{error}");
    assert!(error.contains("column `b`: the export has no column `b`"), "{error}");
    assert!(refused(&declaration, "k,a,b,a\n").contains("two columns `a`"));
    assert!(refused(&declaration, "").contains("no row with the names"));
    declaration.header_row = Some(3);
    let table = load(&declaration, "Report of people\nrun,by,me,today,x\nk,a,b\n1,2,3\n");
    assert_eq!(json(table.row(0).unwrap()), r#"{"k":"1","a":"2","b":"3"}"#);
    assert!(refused(&declaration, "k,a,b\n1,2,3\n").contains("no row with the names"));
}

#[test]
fn json_values_become_the_declared_types() {
    let declaration = declaration(
        "name = 't'\nformat = 'json-lines'\nmax_age_seconds = 60\nkey = { columns = ['id'] }\n\
         columns = [{ name = 'id', type = 'text' }, { name = 'n', type = 'integer' },
         { name = 'on', type = 'boolean' }, { name = 'list', type = 'list', source = '/a~1b/list' }]",
    );
    let table = load(
        &declaration,
        "{\"id\":12345678901234567890,\"n\":-7,\"on\":true,\"a/b\":{\"list\":[\"x\",\"\",\"y;z\"]}}\n",
    );
    assert_eq!(
        json(table.row(0).unwrap()),
        r#"{"id":"12345678901234567890","n":-7,"on":true,"list":["x","y;z"]}"#
    );
    for (line, problem) in [
        (r#"{"id":1.5}"#, "row 1, column `id`: the cell is no text"),
        (r#"{"id":"1","n":1.0}"#, "column `n`: the cell is no whole number"),
        (r#"{"id":"1","on":"perhaps"}"#, "column `on`: the cell is none of the texts"),
        (r#"{"id":"1","a/b":{"list":[1]}}"#, "column `list`: the cell is no list of texts"),
        (r#"{"id":"1","id":"2"}"#, "row 1: the line is no JSON object"),
        (r#"["id"]"#, "row 1: the line is no JSON object"),
        (r#"{"id":"#, "row 1: the line is no JSON object"),
        (r#"{"id":"a\u0000b"}"#, "column `id`: the cell contains a control character"),
    ] {
        let error = refused(&declaration, line);
        assert!(error.contains(problem), "{line}: {error}");
    }
}

#[test]
fn bounds_are_kept() {
    let mut declaration = plain("csv");
    declaration.min_rows = 2;
    declaration.max_rows = 3;
    declaration.max_bytes = 40;
    assert!(refused(&declaration, "k,a,b\n1,,\n").contains("has 1 rows and must have 2"));
    assert_eq!(load(&declaration, "k,a,b\n1,,\n2,,\n3,,\n").rows(), 3);
    let error = refused(&declaration, "k,a,b\n1,,\n2,,\n3,,\n4,,\n");
    assert!(error.contains("row 5: the table has more than 3 rows"), "{error}");
    let error = refused(&declaration, format!("k,a,b\n{}\n", "1,2,3\n".repeat(20)));
    assert!(error.contains("more than 40 bytes"), "{error}");
}

#[test]
fn a_roster_needs_less_than_a_hundred_bytes_a_row() {
    let mut declaration = declaration(
        "name = 't'\nformat = 'csv'\nmax_age_seconds = 60\nkey = { columns = ['id'] }\n\
         match = [{ subject = 'email', column = 'mail', rules = { case = 'unicode' } }]\n\
         columns = [{ name = 'id', type = 'text', unique = true }, { name = 'mail', type = 'text' },\n\
         { name = 'unit', type = 'text' }, { name = 'state', type = 'text' },\n\
         { name = 'end', type = 'date' }]",
    );
    let rows = 220_000;
    let lines = (0..rows).map(|at| {
        format!(
            "E{at:07},person{at}@hospital.example,U{},active,2026-01-{}\n",
            at % 90,
            10 + at % 20
        )
    });
    let text = format!("id,mail,unit,state,end\n{}", lines.collect::<String>());
    let with_match = load(&declaration, &text).memory() / rows;
    assert!(with_match < 100, "{with_match}");
    declaration.matching.clear();
    let without = load(&declaration, &text).memory() / rows;
    assert!(without < 85 && without < with_match, "{without}");
}

#[test]
fn a_declaration_reports_all_problems() {
    let declaration: Declaration = toml::from_str(
        "name = 'T'\nformat = 'csv'\nsheet = 's'\ndelimiter = '\"'\nmax_age_seconds = 0\nmax_rows = 0\n\
         min_rows = 1\nkey = { columns = ['id', 'id', 'gone'], kind = 'network' }\n\
         hold = { above_percent = 101, watch = ['role'] }\n\
         match = [{ subject = '', column = 'day' }]\ncolumns = [\n\
         { name = 'id', type = 'list', separator = '', unique = true },\n\
         { name = 'id', type = 'integer', zone = 'UTC' },\n\
         { name = 'day', type = 'date', format = '%Y-%m' },\n\
         { name = 'at', type = 'instant', format = '%Y-%m-%d', zone = 'Mars/North' },\n\
         { name = 'on', type = 'boolean', true_values = ['no'] }]",
    )
    .unwrap();
    let error = declaration.check().unwrap_err();
    let paths: Vec<_> = error.problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(
        paths,
        [
            "name",
            "sheet",
            "delimiter",
            "max_rows",
            "min_rows",
            "max_age_seconds",
            "columns.0.separator",
            "columns.0.unique",
            "columns.1.name",
            "columns.1.zone",
            "columns.2.format",
            "columns.3.format",
            "columns.3.zone",
            "columns.4.false_values",
            "key.columns.1",
            "key.columns.2",
            "key.columns",
            "match.0.subject",
            "match.0.column",
            "hold.above_percent",
            "hold.watch.0",
        ],
        "{error}"
    );
    let unknown = "name = 't'\nformat = 'csv'\nmax_age_seconds = 1\nkey = { columns = [] }\n\
                   columns = []\nhold_above = 3";
    assert!(toml::from_str::<Declaration>(unknown).unwrap_err().to_string().contains("hold_above"));
}

#[test]
fn nothing_that_formats_shows_a_cell() {
    let table = load(&plain("csv"), "k,a,b\nsecret-key,secret-a,secret-b\n");
    let row = table.row(0).unwrap();
    let shown = format!("{table:?} {row:?} {:?} {:?}", table.lookup(&["secret-key"]), row.get("a"));
    assert!(!shown.contains("secret"), "{shown}");
}

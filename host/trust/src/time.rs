//! Times in signed documents: RFC 3339, UTC, one spelling.
//!
//! Invariant: every time that is read is written back as the same text. Other spellings (offsets, lower case,
//! leap seconds, more than milliseconds) are refused, so that two readers cannot disagree. Knows no current
//! time.

use jiff::Timestamp;
use portcullis_model::Millis;

/// Reads `2027-11-01T00:00:00Z`, with milliseconds where they are not zero. `None` for anything else.
pub fn parse(text: &str) -> Option<Millis> {
    let timestamp: Timestamp = text.parse().ok()?;
    let millis = Millis(u64::try_from(timestamp.as_millisecond()).ok()?);
    (format(millis) == text).then_some(millis)
}

/// Reads a time as anybody writes it (RFC 3339): for what is not signed, such as a platform's own word.
pub fn read(text: &str) -> Option<Millis> {
    let timestamp: Timestamp = text.parse().ok()?;
    Some(Millis(u64::try_from(timestamp.as_millisecond()).ok()?))
}

/// Writes a time as [`parse`] reads it. Times after the year 9999 are written as its last moment.
pub fn format(time: Millis) -> String {
    let latest = Timestamp::MAX.as_millisecond();
    let millis = i64::try_from(time.0).unwrap_or(latest).min(latest);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string()
}

/// The same time without its fraction of a second: what our own documents carry.
pub(crate) fn whole_second(time: Millis) -> Millis {
    Millis(time.0 - time.0 % MILLIS_PER_SECOND)
}

/// `time` and `days` days.
pub(crate) fn days_after(time: Millis, days: u32) -> Millis {
    Millis(time.0.saturating_add(u64::from(days) * 24 * 60 * 60 * MILLIS_PER_SECOND))
}

/// For `#[serde(with = "time::text")]`.
pub(crate) mod text {
    use portcullis_model::Millis;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        time: &Millis,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::format(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Millis, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).ok_or_else(|| serde::de::Error::custom(super::EXPECTED))
    }
}

/// What is said where a time was not one.
pub(crate) const EXPECTED: &str = "write a time as `2027-11-01T00:00:00Z` (UTC, to the second)";

const MILLIS_PER_SECOND: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling() {
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(Millis(1_000)));
        assert_eq!(parse("2027-11-01T00:00:00.250Z"), None, "a trailing zero");
        assert_eq!(
            parse("2026-02-28T23:59:59.25Z").map(format).as_deref(),
            Some("2026-02-28T23:59:59.25Z")
        );
        for other in [
            "2027-11-01T01:00:00+01:00",
            "2027-11-01 00:00:00Z",
            "2027-11-01t00:00:00z",
            "2027-11-01T00:00Z",
            "2027-11-01",
            "20271101T000000Z",
            "2026-12-31T23:59:60Z",
            "2027-11-01T00:00:00.0001Z",
            "1969-12-31T23:59:59Z",
            "2027-11-01T00:00:00Z[UTC]",
            "2027-02-29T00:00:00Z",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn beyond_the_calendar_is_its_end() {
        assert!(format(Millis(u64::MAX)).starts_with("9999-12-3"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(millis in 0..253_000_000_000_000u64) {
            prop_assert_eq!(parse(&format(Millis(millis))), Some(Millis(millis)));
        }
    }
}

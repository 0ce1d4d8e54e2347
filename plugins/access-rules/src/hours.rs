//! Hours: when a rule applies, by the clock on a wall in some zone.
//!
//! Invariant: from `from` on and before `until`. Where `until` is not later than `from`, the hours go over midnight and belong
//! to the day on which they begin.

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use portcullis_guest::Problems;

use crate::settings::{Day, Hours as Source};

/// Compiled.
#[derive(Clone)]
pub(crate) struct Hours {
    zone: TimeZone,
    /// Monday first.
    days: [bool; 7],
    from: Time,
    until: Time,
}

impl Hours {
    /// `None` where something is wrong with them, which is then told.
    pub fn compile(source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        let zone = TimeZone::get(&source.zone);
        if zone.is_err() {
            problems.at(format_args!("{path}.zone"), "is no time zone, such as `Europe/Berlin`");
        }
        let mut time = |member: &str, text: &str| {
            let time = text.parse::<Time>();
            if time.is_err() {
                problems.at(format_args!("{path}.{member}"), "is no time of day, such as `07:30`");
            }
            time.ok()
        };
        let (from, until) = (time("from", &source.from), time("until", &source.until));
        let mut days = [source.days.is_none(); 7];
        for day in source.days.iter().flatten() {
            if let Some(on) = days.get_mut(*day as usize) {
                *on = true;
            }
        }
        if days == [false; 7] {
            problems.at(format_args!("{path}.days"), "is empty: the rule would never apply");
        }
        Some(Self { zone: zone.ok()?, days, from: from?, until: until? })
    }

    /// Whether this moment (milliseconds since the Unix epoch) is within them; a moment that no calendar has is not.
    pub fn contain(&self, millis: u64) -> Option<bool> {
        let moment = Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
        let local = self.zone.to_datetime(moment);
        let (day, time) = (local.weekday(), local.time());
        let on = |day: Weekday| {
            self.days.get(usize::try_from(day.to_monday_zero_offset()).ok()?).copied()
        };
        if self.from < self.until {
            return Some(on(day)? && (self.from..self.until).contains(&time));
        }
        Some((on(day)? && time >= self.from) || (on(day.previous())? && time < self.until))
    }
}

/// The order that `days` has.
const _: () = assert!(Day::Mon as usize == 0 && Day::Sun as usize == 6);

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(days: Option<Vec<Day>>, from: &str, until: &str) -> Hours {
        let source =
            Source { zone: "Europe/Berlin".into(), days, from: from.into(), until: until.into() };
        let mut problems = Problems::default();
        let hours = Hours::compile(&source, "hours", &mut problems).unwrap();
        problems.or(hours).unwrap()
    }

    fn at(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[test]
    fn hours_are_those_of_the_zone() {
        let day = hours(Some(vec![Day::Mon, Day::Fri]), "07:00", "19:00");
        for (moment, within) in [
            ("2026-07-03T05:00:00Z", true), // Friday 07:00 in summer
            ("2026-07-03T04:59:59.999Z", false),
            ("2026-07-03T16:59:59.999Z", true),
            ("2026-07-03T17:00:00Z", false),
            ("2026-01-02T05:30:00Z", false), // Friday 06:30 in winter
            ("2026-07-04T10:00:00Z", false), // Saturday
            ("2026-07-06T10:00:00Z", true),  // Monday
        ] {
            assert_eq!(day.contain(at(moment)), Some(within), "{moment}");
        }
        assert_eq!(day.contain(u64::MAX), None);
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins() {
        let night = hours(Some(vec![Day::Fri]), "22:00", "06:00");
        for (moment, within) in [
            ("2026-07-03T20:00:00Z", true),  // Friday 22:00
            ("2026-07-04T03:59:00Z", true),  // Saturday 05:59
            ("2026-07-04T04:00:00Z", false), // Saturday 06:00
            ("2026-07-04T20:30:00Z", false), // Saturday 22:30
            ("2026-07-03T03:00:00Z", false), // Friday 05:00
        ] {
            assert_eq!(night.contain(at(moment)), Some(within), "{moment}");
        }
        assert_eq!(hours(None, "08:00", "08:00").contain(0), Some(true), "all round the clock");
    }
}

//! Holidays, in settings or in a reference table.
//!
//! Invariant: an entry that is no day is told, and never counts.

use std::collections::BTreeSet;

use super::{Date, parse_date};
use crate::{Problems, reference};

/// Days in settings: `2026-12-25`, or `12-25` for every year.
#[derive(Clone, Debug, Default)]
pub struct Holidays {
    days: BTreeSet<Date>,
    /// Month and day.
    yearly: BTreeSet<(i8, i8)>,
}

impl Holidays {
    /// Tells what is no such day as a problem below `path`, and leaves it out.
    pub fn new<Entry: AsRef<str>>(
        entries: impl IntoIterator<Item = Entry>,
        path: &str,
        problems: &mut Problems,
    ) -> Self {
        let mut holidays = Self::default();
        for (index, entry) in entries.into_iter().enumerate() {
            let entry = entry.as_ref();
            let yearly = entry.len() == 5;
            // A leap year, which has every day.
            let day = if yearly { parse_date(&format!("2000-{entry}")) } else { parse_date(entry) };
            let Some(day) = day else {
                problems.at(
                    format_args!("{path}[{index}]"),
                    "is no day, such as `2026-12-25`, or `12-25` for every year",
                );
                continue;
            };
            if yearly {
                holidays.yearly.insert((day.month(), day.day()));
            } else {
                holidays.days.insert(day);
            }
        }
        holidays
    }

    /// Whether a day is one of them.
    pub fn contains(&self, date: Date) -> bool {
        self.days.contains(&date) || self.yearly.contains(&(date.month(), date.day()))
    }
}

/// Whether a reference table has a row with this day (`2026-12-25`) as its key. Needs the
/// capability `reference`; [`reference::lookup`] also tells whether the table is stale, and what
/// the row says.
pub fn holiday_in_table(table: &str, date: Date) -> bool {
    !reference::lookup(table, &date.to_string()).rows.is_empty()
}

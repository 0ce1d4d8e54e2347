//! Exceptions as rows of a table: valid, or why not.
//!
//! Invariant: an exception is valid only with an approver other than its subject, a compensating
//! control and an end, and only from its start to its end. A cell that cannot be read is as good as
//! none. A day counts from 0:00 to 24:00 UTC; the end of an exception is the end of its last day.
//! An instant is exact, and the exception is over at its end.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExceptionRow {
    /// The person, as the table names people.
    pub person: Option<String>,
    /// The rule's id.
    pub rule: Option<String>,
    /// A day (`2026-12-31`) or an instant (RFC 3339); without, it holds at once.
    pub from: Option<String>,
    /// A day or an instant.
    pub until: Option<String>,
    /// Who approved it.
    pub approver: Option<String>,
    /// The compensating control.
    pub control: Option<String>,
}

/// Whether an exception holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Valid {
        /// Its end in milliseconds since the Unix epoch; from then on it does not hold.
        until: u64,
        /// The end as the table has it.
        until_text: String,
        /// Who approved it.
        approver: String,
        /// The compensating control.
        control: String,
    },
    /// It does not hold.
    Invalid(Fault),
}

/// Why an exception does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The subject approved it.
    SelfApproved,
    /// Nobody approved it.
    NoApprover,
    /// It has no compensating control.
    NoControl,
    /// It has no end.
    NoEnd,
    /// It is over.
    Ended,
    /// It has not begun.
    NotStarted,
}

impl ExceptionRow {
    /// Whether it holds at a time, for a subject with these names.
    pub fn standing(&self, now: u64, people: &[&str]) -> Standing {
        let given = |text: &Option<String>| {
            text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let (person, approver) = (given(&self.person), given(&self.approver));
        let Some(approver) = approver else { return Standing::Invalid(Fault::NoApprover) };
        let same = |name: &str| name.trim().to_lowercase() == approver.to_lowercase();
        if people.iter().any(|name| same(name)) || person.as_deref().is_some_and(same) {
            return Standing::Invalid(Fault::SelfApproved);
        }
        let Some(control) = given(&self.control) else {
            return Standing::Invalid(Fault::NoControl);
        };
        let until_text = given(&self.until);
        let until = until_text.as_deref().and_then(|text| millis(text, true));
        let (Some(until), Some(until_text)) = (until, until_text) else {
            return Standing::Invalid(Fault::NoEnd);
        };
        if now >= until {
            return Standing::Invalid(Fault::Ended);
        }
        // A start that cannot be read is no start.
        let started = given(&self.from)
            .is_none_or(|text| millis(&text, false).is_some_and(|from| now >= from));
        if !started {
            return Standing::Invalid(Fault::NotStarted);
        }
        Standing::Valid { until, until_text, approver, control }
    }
}

/// The milliseconds since the Unix epoch of an instant, or of the first (or, for an end, last)
/// moment of a day in UTC. A time before 1970 is 0.
fn millis(text: &str, end: bool) -> Option<u64> {
    let instant = match text.parse::<Timestamp>() {
        Ok(instant) => instant,
        Err(_) => {
            let day = text.parse::<Date>().ok()?;
            let day = if end { day.checked_add(1.day()).ok()? } else { day };
            day.to_zoned(TimeZone::UTC).ok()?.timestamp()
        }
    };
    Some(u64::try_from(instant.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ExceptionRow {
        let text = |text: &str| Some(text.to_owned());
        ExceptionRow {
            person: text("00103"),
            rule: text("R1"),
            from: text("2026-11-01"),
            until: text("2026-11-30"),
            approver: text("boss"),
            control: text("look"),
        }
    }

    fn at(time: &str) -> u64 {
        millis(time, false).unwrap()
    }

    fn fault(row: &ExceptionRow, now: &str, people: &[&str]) -> Option<Fault> {
        match row.standing(at(now), people) {
            Standing::Valid { .. } => None,
            Standing::Invalid(fault) => Some(fault),
        }
    }

    #[test]
    fn days_are_whole_and_instants_exact() {
        let days = row();
        assert_eq!(fault(&days, "2026-10-31T23:59:59.999Z", &[]), Some(Fault::NotStarted));
        assert_eq!(fault(&days, "2026-11-01T00:00:00Z", &[]), None);
        assert_eq!(fault(&days, "2026-11-30T23:59:59.999Z", &[]), None);
        assert_eq!(fault(&days, "2026-12-01T00:00:00Z", &[]), Some(Fault::Ended));
        let instants = ExceptionRow {
            from: Some("2026-11-01T12:00:00+01:00".to_owned()),
            until: Some("2026-11-30T12:00:00Z".to_owned()),
            ..row()
        };
        assert_eq!(fault(&instants, "2026-11-01T10:59:59.999Z", &[]), Some(Fault::NotStarted));
        assert_eq!(fault(&instants, "2026-11-01T11:00:00Z", &[]), None);
        assert_eq!(fault(&instants, "2026-11-30T12:00:00Z", &[]), Some(Fault::Ended));
        assert_eq!(fault(&ExceptionRow { from: None, ..row() }, "2020-01-01", &[]), None);
    }

    #[test]
    fn without_another_approver_a_control_and_an_end_nothing_holds() {
        let now = "2026-11-15";
        let without = |change: fn(&mut ExceptionRow)| {
            let mut row = row();
            change(&mut row);
            fault(&row, now, &["u1", "nurse@ward.test"])
        };
        assert_eq!(without(|_| {}), None);
        assert_eq!(without(|row| row.approver = None), Some(Fault::NoApprover));
        assert_eq!(without(|row| row.approver = Some("  ".into())), Some(Fault::NoApprover));
        assert_eq!(without(|row| row.approver = Some("00103".into())), Some(Fault::SelfApproved));
        let own = |row: &mut ExceptionRow| row.approver = Some(" Nurse@Ward.test".into());
        assert_eq!(without(own), Some(Fault::SelfApproved));
        assert_eq!(without(|row| row.control = None), Some(Fault::NoControl));
        assert_eq!(without(|row| row.until = None), Some(Fault::NoEnd));
        assert_eq!(without(|row| row.until = Some("soon".into())), Some(Fault::NoEnd));
        assert_eq!(without(|row| row.from = Some("soon".into())), Some(Fault::NotStarted));
    }
}

//! The decision: has this person left, are these their hours, and when are they over.

use portcullis_guest::{Attribute, Call, Cap, Change, Decision, Effect, Finding, Severity};

use crate::settings::{Shift, Shifts};

/// Judges a sign-in.
pub(crate) fn judge(shifts: &Shifts, call: &Call) -> Decision {
    let text = |name: &str| call.subject.as_ref().and_then(|subject| subject.text(name));
    let Some(status) = text("status") else {
        return one(Finding::new("HOURS_STATUS_MISSING", Effect::Deny).severity(Severity::High));
    };
    if shifts.terminated.iter().any(|terminated| terminated.eq_ignore_ascii_case(&status)) {
        let finding = Finding::new("HOURS_TERMINATED", Effect::Deny).severity(Severity::Critical);
        return one(finding.argument(Attribute::text("status", &status)));
    }
    let department = text("department");
    let shift =
        shifts.shifts.iter().find(|shift| department.as_deref() == Some(shift.department.as_str()));
    let Some(shift) = shift else {
        if shifts.unlisted == Effect::Abstain {
            return Decision::default();
        }
        return one(Finding::new("HOURS_NO_DEPARTMENT", shifts.unlisted).severity(Severity::Medium));
    };
    match shift.left(call.received) {
        Some(left) => inside(shift, left, call),
        None => {
            let now = call.received / MINUTE % DAY;
            let finding = Finding::new("HOURS_OUTSIDE", shift.outside).severity(Severity::Medium);
            one(shift.name(finding).argument(Attribute::text("now", &clock(now))))
        }
    }
}

/// In working hours: allowed, and over when they are.
fn inside(shift: &Shift, left: u64, call: &Call) -> Decision {
    let left = u32::try_from(left).unwrap_or(u32::MAX);
    let too_long = || call.lifetimes.iter().filter(|lifetime| lifetime.seconds > left);
    if too_long().any(|lifetime| left < lifetime.least) {
        let finding = Finding::new("HOURS_ENDING", Effect::Deny).severity(Severity::Low);
        return one(shift.name(finding).argument(Attribute::number("seconds", left)));
    }
    let inside =
        one(shift.name(Finding::new("HOURS_INSIDE", Effect::Allow).severity(Severity::Info)));
    too_long().fold(inside, |decision, lifetime| {
        decision.change(Change::CapLifetime(Cap { target: lifetime.target, seconds: left }))
    })
}

impl Shift {
    /// The seconds that are left of the shift; nothing outside it.
    fn left(&self, received: u64) -> Option<u64> {
        let day = DAY * 60;
        let (now, from, until) = (received / 1_000 % day, self.from * 60, self.until * 60);
        let length = (until + day - from) % day;
        let gone = (now + day - from) % day;
        length.checked_sub(gone).filter(|left| *left > 0)
    }

    fn name(&self, finding: Finding) -> Finding {
        let finding = finding.argument(Attribute::text("department", &self.department));
        let finding = finding.argument(Attribute::text("from", &clock(self.from)));
        finding.argument(Attribute::text("until", &clock(self.until)))
    }
}

fn one(finding: Finding) -> Decision {
    Decision::default().finding(finding)
}

/// Minutes since midnight as `HH:MM`.
fn clock(minutes: u64) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A minute, milliseconds.
const MINUTE: u64 = 60_000;
/// A day, minutes.
const DAY: u64 = 24 * 60;

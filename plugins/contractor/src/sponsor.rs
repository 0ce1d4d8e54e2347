//! The sponsor: somebody else than the contractor, who is still employed.
//!
//! Invariant: everybody who is named as sponsor must be somebody else, and everybody whom the
//! register names must be employed. Nothing in a claim makes up for what a table says.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_guest::{Call, Effect, Finding, Principal, Severity};

use crate::compiled::Compiled;
use crate::ends::{Date, about_item};
use crate::entries::{Entries, Rows};
use crate::person::{Person, same};
use crate::settings::{Gone, Kind, Sponsor};

/// Judges the sponsor. Returns the end of the sponsor's employment, where that ends access.
pub(crate) fn judge(
    settings: &Compiled,
    call: &Call,
    subject: &Principal,
    entries: &Entries,
    person: &Person<'_>,
    zones: &[&TimeZone],
    findings: &mut Vec<Finding>,
) -> Option<Timestamp> {
    let sponsor = settings.sponsor.as_ref()?;
    let claimed = sponsor.attribute.as_deref().and_then(|attribute| subject.text(attribute));
    let claimed = claimed.into_iter().filter(is_filled);
    let registered = entries.registered().iter().filter_map(|row| row.text("sponsor"));
    let mut named: Vec<_> = registered.filter(is_filled).collect();
    let is_registered = !named.is_empty();
    let in_register = named.len();
    named.extend(claimed);
    if named.is_empty() {
        let register = entries.register.as_ref().map(|register| register.place("sponsor"));
        let places: Vec<_> = sponsor.attribute.iter().cloned().chain(register).collect();
        findings.push(about_item("CONTRACTOR_ITEM_MISSING", Kind::Sponsor, &places.join(", ")));
        return None;
    }
    if named.iter().any(|name| person.is(name)) {
        findings
            .push(Finding::new("CONTRACTOR_SPONSOR_SELF", Effect::Deny).severity(Severity::High));
    }
    let mut is_gone = has_left(settings, sponsor, subject);
    let mut last_day: Option<Timestamp> = None;
    if let Some(roster) = &settings.tables.roster {
        if is_registered {
            named.truncate(in_register);
        }
        for name in &named {
            let rows = Rows::of_key(roster, name.trim());
            rows.report(findings);
            let employed = Employment::of(&rows, sponsor, zones, findings);
            last_day = [last_day, employed.last_day()].into_iter().flatten().min();
            is_gone |= !rows.is_missing && employed.is_over(settings, call);
        }
    }
    if is_gone {
        let effect = match sponsor.gone {
            Gone::Deny => Effect::Deny,
            Gone::StepUp => Effect::StepUp,
        };
        findings.push(Finding::new("CONTRACTOR_SPONSOR_GONE", effect).severity(Severity::High));
    }
    last_day.filter(|_| sponsor.gone == Gone::Deny)
}

/// The employment of somebody by the rows of the roster: as long as the longest of them.
enum Employment {
    /// No row has an active state.
    None,
    Until(Timestamp),
    Open,
}

impl Employment {
    fn of(
        rows: &Rows,
        sponsor: &Sponsor,
        zones: &[&TimeZone],
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut longest = Self::None;
        for row in &rows.rows {
            let state = row.text("state").unwrap_or_default();
            if !sponsor.active.iter().any(|active| same(active, &state)) {
                continue;
            }
            let Some(date) = Date::of_cell(rows, row, "terminated", zones) else {
                return Self::Open;
            };
            let Some(moment) = date.moment else {
                let code = "CONTRACTOR_ITEM_MALFORMED";
                findings.push(about_item(code, Kind::Sponsor, &date.place));
                continue;
            };
            longest = match longest {
                Self::Until(known) => Self::Until(known.max(moment)),
                _ => Self::Until(moment),
            };
        }
        longest
    }

    fn is_over(&self, settings: &Compiled, call: &Call) -> bool {
        match self {
            Self::None => true,
            Self::Until(moment) => settings.left_millis(call, *moment) <= 0,
            Self::Open => false,
        }
    }

    fn last_day(&self) -> Option<Timestamp> {
        match self {
            Self::Until(moment) => Some(*moment),
            Self::None | Self::Open => None,
        }
    }
}

/// Whether the claim about the sponsor's status tells that they have left. One that is absent tells
/// so too, unless there is a roster.
fn has_left(settings: &Compiled, sponsor: &Sponsor, subject: &Principal) -> bool {
    let Some(attribute) = &sponsor.status_attribute else { return false };
    match subject.text(attribute).filter(is_filled) {
        Some(status) => !sponsor.active.iter().any(|active| same(active, &status)),
        None => settings.tables.roster.is_none(),
    }
}

fn is_filled(text: &impl AsRef<str>) -> bool {
    !text.as_ref().trim().is_empty()
}

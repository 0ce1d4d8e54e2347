//! The end of access: the earliest end of everything that it rests on, from claims and from tables.
//!
//! Invariant: of several dates of one item the earliest decides, with two exceptions. The latest
//! entry of one course or licence counts, because an older one was renewed, and an extension that
//! somebody else approved prolongs the contract. A later date never makes the end earlier.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_guest::reference::Row;
use portcullis_guest::{Attribute, Effect, Finding, Principal, Severity, text};

use crate::compiled::Compiled;
use crate::contract_end::end_of;
use crate::entries::{Entries, Rows};
use crate::person::{Person, same};
use crate::settings::{Item, Kind};

/// The moment at which access ends first, and the item that ends then.
pub(crate) struct End {
    pub item: Kind,
    pub moment: Timestamp,
}

/// An end as one source has it.
pub(crate) struct Date {
    /// The attribute, or table and column, for findings.
    pub place: String,
    /// `None`: there is an entry, but it is not a date.
    pub moment: Option<Timestamp>,
}

/// Returns the earliest end of all items that are there. Items that are missing, cannot be read, or
/// differ between claim and tables are found.
pub(crate) fn earliest(
    settings: &Compiled,
    subject: &Principal,
    entries: &Entries,
    person: &Person<'_>,
    zones: &[&TimeZone],
    findings: &mut Vec<Finding>,
) -> Option<End> {
    let mut earliest: Option<End> = None;
    for (kind, item) in &settings.items {
        let claim = item.attribute.as_deref().and_then(|attribute| {
            Date::of(attribute.to_owned(), subject.attribute(attribute)?, zones)
        });
        let mut entered = registered(*kind, entries, person, zones, findings);
        entered.extend(proven(*kind, item, entries, zones, findings));
        if claim.is_none() && entered.is_empty() {
            if item.mandatory {
                findings.push(about_item(
                    "CONTRACTOR_ITEM_MISSING",
                    *kind,
                    &places(*kind, item, entries),
                ));
            }
            continue;
        }
        for date in claim.iter().chain(&entered).filter(|date| date.moment.is_none()) {
            findings.push(about_item("CONTRACTOR_ITEM_MALFORMED", *kind, &date.place));
        }
        let first =
            entered.iter().filter(|date| date.moment.is_some()).min_by_key(|date| date.moment);
        if let (Some(claim), Some(first)) = (&claim, first) {
            findings.extend(disagreement(*kind, claim, first));
        }
        let moments = claim.iter().chain(&entered).filter_map(|date| date.moment);
        earliest = moments
            .map(|moment| End { item: *kind, moment })
            .chain(earliest)
            .min_by_key(|end| end.moment);
    }
    earliest
}

impl Date {
    /// Reads JSON text. Platforms send an attribute that nobody filled in as empty text: that is no
    /// entry.
    pub fn of(place: String, json: &str, zones: &[&TimeZone]) -> Option<Self> {
        let text = text(json);
        if text.as_deref().is_some_and(str::is_empty) {
            return None;
        }
        let moment = text.and_then(|text| end_of(&text, zones.iter().copied()));
        Some(Self { place, moment })
    }

    /// Reads a cell; an empty one is no entry.
    pub fn of_cell(rows: &Rows, row: &Row, column: &str, zones: &[&TimeZone]) -> Option<Self> {
        Self::of(rows.place(column), row.json(column)?, zones)
    }
}

/// A finding about an item and the places where it stands, or should.
pub(crate) fn about_item(code: &str, item: Kind, attribute: &str) -> Finding {
    Finding::new(code, Effect::Deny)
        .severity(Severity::Medium)
        .argument(Attribute::text("item", item.name()))
        .argument(Attribute::text("attribute", attribute))
}

/// The second it lies in: an end is never told later than it is.
pub(crate) fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

/// The dates of the register.
fn registered(
    kind: Kind,
    entries: &Entries,
    person: &Person<'_>,
    zones: &[&TimeZone],
    findings: &mut Vec<Finding>,
) -> Vec<Date> {
    let Some(register) = &entries.register else { return Vec::new() };
    let mut dates = Vec::new();
    for row in &register.rows {
        let Some(date) = Date::of_cell(register, row, kind.column(), zones) else { continue };
        if kind == Kind::Contract {
            dates.push(extended(date, register, row, person, zones, findings));
        } else {
            dates.push(date);
        }
    }
    dates
}

/// The contract's end, or that of an extension which somebody else approved.
fn extended(
    contract: Date,
    register: &Rows,
    row: &Row,
    person: &Person<'_>,
    zones: &[&TimeZone],
    findings: &mut Vec<Finding>,
) -> Date {
    let Some(extension) = Date::of_cell(register, row, "extended_until", zones) else {
        return contract;
    };
    let approver = row.text("extension_approver");
    let approver = approver.as_deref().filter(|approver| !approver.trim().is_empty());
    if approver.is_none_or(|approver| person.is(approver)) {
        let finding = Finding::new("CONTRACTOR_EXTENSION_NOT_APPROVED", Effect::Allow);
        findings.push(finding.severity(Severity::Medium));
        return contract;
    }
    match (contract.moment, extension.moment) {
        (Some(end), Some(until)) if until <= end => contract,
        (None, _) => contract,
        (Some(_), _) => extension,
    }
}

/// The dates of the tables of trainings and licences: of each course or licence the latest.
fn proven(
    kind: Kind,
    item: &Item,
    entries: &Entries,
    zones: &[&TimeZone],
    findings: &mut Vec<Finding>,
) -> Vec<Date> {
    let (rows, column) = match kind {
        Kind::Training => (&entries.training, "course"),
        Kind::Licence => (&entries.licences, "kind"),
        _ => return Vec::new(),
    };
    let Some(rows) = rows else { return Vec::new() };
    let mut malformed = Vec::new();
    let mut latest: BTreeMap<String, Timestamp> = BTreeMap::new();
    for row in &rows.rows {
        let name = row.text(column).unwrap_or_default();
        if !item.required.is_empty() && !item.required.iter().any(|wanted| same(wanted, &name)) {
            continue;
        }
        let Some(date) = Date::of_cell(rows, row, "expires", zones) else { continue };
        let Some(moment) = date.moment else {
            malformed.push(date);
            continue;
        };
        let known = latest.entry(name.trim().to_lowercase()).or_insert(moment);
        *known = moment.max(*known);
    }
    for wanted in &item.required {
        if !latest.keys().any(|name| same(wanted, name)) {
            let place = format!("{}: {wanted}", rows.table);
            findings.push(about_item("CONTRACTOR_ITEM_MISSING", kind, &place));
        }
    }
    let dates = latest.into_values().map(|moment| {
        let place = rows.place("expires");
        Date { place, moment: Some(moment) }
    });
    dates.chain(malformed).collect()
}

/// A finding where a claim and the tables have different ends.
fn disagreement(kind: Kind, claim: &Date, entered: &Date) -> Option<Finding> {
    let (claimed, moment) = (claim.moment?, entered.moment?);
    if claimed == moment {
        return None;
    }
    let text = |name, moment| Attribute::text(name, &whole_second(moment).to_string());
    let finding = Finding::new("CONTRACTOR_DATES_DISAGREE", Effect::Allow)
        .severity(Severity::Low)
        .argument(Attribute::text("item", kind.name()))
        .argument(Attribute::text("attribute", &claim.place))
        .argument(text("attribute_end", claimed))
        .argument(Attribute::text("entry", &entered.place))
        .argument(text("entry_end", moment));
    Some(finding)
}

/// The places where an item can stand.
fn places(kind: Kind, item: &Item, entries: &Entries) -> String {
    let proofs = match kind {
        Kind::Training => &entries.training,
        Kind::Licence => &entries.licences,
        _ => &None,
    };
    let register = entries.register.as_ref().map(|register| register.place(kind.column()));
    let proofs = proofs.as_ref().map(|rows| rows.place("expires"));
    let places: Vec<_> = item.attribute.iter().cloned().chain(register).chain(proofs).collect();
    places.join(", ")
}

//! One call: whether the subject is a contractor, when their access ends, and what that means for this answer.
//!
//! Invariant: what is missing, unreadable or over denies; nothing later in the walk takes that back.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_guest::{
    Attribute, Call, Cap, Change, Decision, Edit, Effect, Finding, Principal, Severity, Target,
    strings, text,
};

use crate::compiled::Compiled;
use crate::contract_end::end_of;
use crate::settings::{Gone, Kind, Sponsor, WhenMissing};

/// Judges one call.
pub(crate) fn judge(settings: &Compiled, call: &Call) -> Decision {
    let Some(subject) = call.subject.as_ref().filter(|subject| applies(settings, subject)) else {
        return Decision::default();
    };
    let mut decision = Decision::default();
    let end = earliest_end(settings, subject, &mut decision.findings);
    if let Some(sponsor) = &settings.sponsor {
        judge_sponsor(sponsor, subject, &mut decision.findings);
    }
    match end {
        Some(end) => judge_end(settings, call, &end, decision),
        None => decision,
    }
}

fn applies(settings: &Compiled, subject: &Principal) -> bool {
    let applies_to = &settings.applies_to;
    let Some(values) = subject.attribute(&applies_to.attribute).and_then(strings) else {
        return matches!(applies_to.when_missing, WhenMissing::Apply);
    };
    values.iter().any(|value| applies_to.values.iter().any(|wanted| same(value, wanted)))
}

/// Where access ends first, and for which reason.
struct End {
    item: Kind,
    moment: Timestamp,
}

/// The earliest end of all items that are there. Those that are missing or cannot be read are found.
fn earliest_end(
    settings: &Compiled,
    subject: &Principal,
    findings: &mut Vec<Finding>,
) -> Option<End> {
    let zones = zones(settings, subject);
    let mut earliest: Option<End> = None;
    for (kind, item) in &settings.items {
        // Platforms send an attribute that nobody filled in as `null` or as empty text.
        let value = subject
            .attribute(&item.attribute)
            .filter(|json| text(json).is_none_or(|text| !text.is_empty()));
        let Some(json) = value else {
            if item.mandatory {
                findings.push(about_item("CONTRACTOR_ITEM_MISSING", kind.name(), &item.attribute));
            }
            continue;
        };
        let Some(moment) = text(json).and_then(|text| end_of(&text, zones.iter().copied())) else {
            findings.push(about_item("CONTRACTOR_ITEM_MALFORMED", kind.name(), &item.attribute));
            continue;
        };
        if earliest.as_ref().is_none_or(|end| moment < end.moment) {
            earliest = Some(End { item: *kind, moment });
        }
    }
    earliest
}

/// The time zones of the facilities that the subject is at. The default stands for a facility that is not known.
fn zones<'a>(settings: &'a Compiled, subject: &Principal) -> Vec<&'a TimeZone> {
    let known = settings.zones.as_ref().and_then(|(attribute, by_value)| {
        let facilities = strings(subject.attribute(attribute)?)?;
        Some(
            facilities
                .iter()
                .map(|facility| by_value.get(facility.as_ref()).unwrap_or(&settings.zone))
                .collect::<Vec<_>>(),
        )
    });
    known.filter(|zones| !zones.is_empty()).unwrap_or_else(|| vec![&settings.zone])
}

fn judge_sponsor(settings: &Sponsor, subject: &Principal, findings: &mut Vec<Finding>) {
    let named = subject.attribute(&settings.attribute);
    let sponsor = named.and_then(text).filter(|sponsor| !sponsor.trim().is_empty());
    let Some(sponsor) = sponsor else {
        findings.push(about_item("CONTRACTOR_ITEM_MISSING", "sponsor", &settings.attribute));
        return;
    };
    let is_self = |own: &str| same(own, &sponsor);
    let owns = settings
        .self_attributes
        .iter()
        .filter_map(|attribute| subject.attribute(attribute))
        .filter_map(strings);
    if subject.id.as_deref().is_some_and(is_self) || owns.flatten().any(|own| is_self(&own)) {
        findings
            .push(Finding::new("CONTRACTOR_SPONSOR_SELF", Effect::Deny).severity(Severity::High));
    }
    let Some(attribute) = &settings.status_attribute else { return };
    let status = subject.text(attribute);
    if !status.is_some_and(|status| settings.active.iter().any(|active| same(active, &status))) {
        let effect = match settings.gone {
            Gone::Deny => Effect::Deny,
            Gone::StepUp => Effect::StepUp,
        };
        findings.push(Finding::new("CONTRACTOR_SPONSOR_GONE", effect).severity(Severity::High));
    }
}

/// What the end means for this call.
fn judge_end(settings: &Compiled, call: &Call, end: &End, mut decision: Decision) -> Decision {
    for (target, path) in settings.access_end.iter().filter(|(target, _)| carries(call, *target)) {
        let value = format!("\"{}\"", whole_second(end.moment));
        decision =
            decision.change(Change::Set(Edit { target: *target, path: path.clone(), value }));
    }
    let skew = i64::from(settings.clock_skew_seconds).saturating_mul(1000);
    let now = i64::try_from(call.received).unwrap_or(i64::MAX);
    let left_millis = end.moment.as_millisecond().saturating_sub(skew).saturating_sub(now);
    if left_millis <= 0 {
        return decision.finding(about_end("CONTRACTOR_ENDED", Effect::Deny, Severity::High, end));
    }
    let left = left_millis / 1000;
    if call.lifetimes.iter().any(|lifetime| left < i64::from(lifetime.least)) {
        let finding = about_end("CONTRACTOR_ENDS_TOO_SOON", Effect::Deny, Severity::Medium, end);
        return decision.finding(finding.argument(Attribute::number("seconds", left)));
    }
    decision = cap(settings, call, end, left, decision);
    // The narrowest window that the end lies in.
    if let Some(days) = settings.warn_days.iter().find(|days| left <= i64::from(**days) * DAY) {
        let finding = about_end("CONTRACTOR_ENDING_SOON", Effect::Allow, Severity::Info, end);
        decision = decision.finding(finding.argument(Attribute::number("days", *days)));
    }
    decision
}

/// Shortens whatever would live longer than what is left, or than the settings let anything live. `left`, in seconds, is no
/// less than any lifetime's least.
fn cap(settings: &Compiled, call: &Call, end: &End, left: i64, mut decision: Decision) -> Decision {
    let left = u32::try_from(left).unwrap_or(u32::MAX);
    let mut shortest = None;
    for lifetime in &call.lifetimes {
        let longest = settings.longest_seconds.unwrap_or(u32::MAX).max(lifetime.least);
        let seconds = left.min(longest);
        if lifetime.seconds > seconds {
            decision =
                decision.change(Change::CapLifetime(Cap { target: lifetime.target, seconds }));
            shortest = Some(shortest.map_or(seconds, |shortest: u32| shortest.min(seconds)));
        }
    }
    match shortest {
        Some(seconds) => {
            let finding =
                about_end("CONTRACTOR_LIFETIME_CAPPED", Effect::Allow, Severity::Info, end);
            decision.finding(finding.argument(Attribute::number("seconds", seconds)))
        }
        None => decision,
    }
}

/// Whether this call's answer has that part.
fn carries(call: &Call, target: Target) -> bool {
    match target {
        Target::User | Target::AppUser => call.hook == "okta.user-import",
        _ => call.lifetimes.iter().any(|lifetime| lifetime.target == target),
    }
}

fn about_item(code: &str, item: &str, attribute: &str) -> Finding {
    Finding::new(code, Effect::Deny)
        .severity(Severity::Medium)
        .argument(Attribute::text("item", item))
        .argument(Attribute::text("attribute", attribute))
}

fn about_end(code: &str, effect: Effect, severity: Severity, end: &End) -> Finding {
    Finding::new(code, effect)
        .severity(severity)
        .argument(Attribute::text("item", end.item.name()))
        .argument(Attribute::text("end", &whole_second(end.moment).to_string()))
}

/// The second it lies in: an end is never told later than it is.
fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

/// People write the same word in several ways.
fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// Seconds.
const DAY: i64 = 86_400;

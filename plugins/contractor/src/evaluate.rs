//! One call: whether the subject is a contractor, when their access ends, and what that means for
//! this answer.
//!
//! Invariant: an item that is missing, unreadable or over denies; no later step takes that back.

use jiff::tz::TimeZone;
use portcullis_guest::{
    Attribute, Call, Cap, Change, Decision, Edit, Effect, Finding, Principal, Severity, Target,
    strings,
};

use crate::compiled::Compiled;
use crate::ends::{End, earliest, whole_second};
use crate::entries::Entries;
use crate::person::{Person, same};
use crate::settings::{Kind, WhenMissing};
use crate::sponsor;

/// Judges one call.
pub(crate) fn judge(settings: &Compiled, call: &Call) -> Decision {
    let Some(subject) = &call.subject else { return Decision::default() };
    let Some(entries) = about(settings, subject) else { return Decision::default() };
    let mut decision = Decision::default();
    let findings = &mut decision.findings;
    let end = if entries.register.as_ref().is_some_and(|register| register.rows.is_empty()) {
        entries.report(findings);
        // That is the reason. What else the person lacks follows from it; an end may still be told.
        end_of_access(settings, call, subject, &entries, &mut Vec::new())
    } else {
        let entries = entries.with_proofs(&settings.tables);
        entries.report(findings);
        end_of_access(settings, call, subject, &entries, findings)
    };
    match end {
        Some(end) => judge_end(settings, call, &end, decision),
        None => decision,
    }
}

/// The end by all sources. Adds what is wrong with items and sponsor.
fn end_of_access(
    settings: &Compiled,
    call: &Call,
    subject: &Principal,
    entries: &Entries,
    findings: &mut Vec<Finding>,
) -> Option<End> {
    let (person, zones) =
        (Person::of(settings, subject, entries), zones(settings, subject, entries));
    let end = earliest(settings, subject, entries, &person, &zones, findings);
    let sponsor = sponsor::judge(settings, call, subject, entries, &person, &zones, findings);
    let sponsor = sponsor.map(|moment| End { item: Kind::Sponsor, moment });
    end.into_iter().chain(sponsor).min_by_key(|end| end.moment)
}

/// The register's entries of a subject whom the plugin is about; `None` for all others, for whom no
/// table is looked up unless only the register can tell.
fn about(settings: &Compiled, subject: &Principal) -> Option<Entries> {
    let applies_to = &settings.applies_to;
    let register = || Entries::of_register(&settings.tables);
    let Some(values) = subject.attribute(&applies_to.attribute).and_then(strings) else {
        return match applies_to.when_missing {
            WhenMissing::Abstain => None,
            WhenMissing::Apply => Some(register()),
            WhenMissing::Register => Some(register()).filter(|entries| {
                entries.register.as_ref().is_some_and(|it| it.is_missing || !it.rows.is_empty())
            }),
        };
    };
    let is_contractor =
        values.iter().any(|value| applies_to.values.iter().any(|wanted| same(value, wanted)));
    is_contractor.then(register)
}

/// The time zones of the facilities that the subject is at. The default stands for a facility that
/// is not known.
fn zones<'a>(settings: &'a Compiled, subject: &Principal, entries: &Entries) -> Vec<&'a TimeZone> {
    let zone = |facility: &str| settings.zones.get(facility).unwrap_or(&settings.zone);
    let claimed = settings.facility.as_deref().and_then(|name| strings(subject.attribute(name)?));
    let claimed = claimed.into_iter().flatten();
    let registered =
        entries.registered().iter().filter_map(|row| strings(row.json("facility")?)).flatten();
    let zones: Vec<_> = claimed.chain(registered).map(|facility| zone(&facility)).collect();
    if zones.is_empty() { vec![&settings.zone] } else { zones }
}

/// What the end means for this call.
fn judge_end(settings: &Compiled, call: &Call, end: &End, mut decision: Decision) -> Decision {
    for (target, path) in settings.access_end.iter().filter(|(target, _)| carries(call, *target)) {
        let value = format!("\"{}\"", whole_second(end.moment));
        decision =
            decision.change(Change::Set(Edit { target: *target, path: path.clone(), value }));
    }
    let left_millis = settings.left_millis(call, end.moment);
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

fn about_end(code: &str, effect: Effect, severity: Severity, end: &End) -> Finding {
    Finding::new(code, effect)
        .severity(severity)
        .argument(Attribute::text("item", end.item.name()))
        .argument(Attribute::text("end", &whole_second(end.moment).to_string()))
}

/// Seconds.
const DAY: i64 = 86_400;

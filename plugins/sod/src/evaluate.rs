//! One call: what the subject would hold, which rules that breaks, and what is said about it.
//!
//! Invariant: the answer depends on the sets of things held, requested and proposed, never on their order.

use std::cmp::Reverse;

use portcullis_guest::{
    Attribute, Call, Change, Decision, Effect, Finding, Grant, Severity, strings,
};

use crate::bitset::BitSet;
use crate::compiled::{Compiled, Exempt, Facts};
use crate::minimal::smallest;
use crate::names::Name;
use crate::settings::{Existing, Of, Scope};

/// Judges one call.
pub(crate) fn judge(compiled: &Compiled, call: &Call) -> Decision {
    let mut after = BitSet::new(compiled.functions.len());
    let mut before = BitSet::new(compiled.functions.len());
    for item in holdings(call) {
        for function in compiled.names.numbers(item.name) {
            after.insert(function);
            if item.held {
                before.insert(function);
            }
        }
    }
    let broken = compiled.rules.broken(&after);
    if broken.is_empty() {
        return Decision::default();
    }
    let mut conflicts: Vec<Conflict<'_>> = broken
        .into_iter()
        .filter_map(|rule| conflict(compiled, call, rule, compiled.rules.breaks(rule, &before)))
        .collect();
    // Rules are numbered by id, so that of equals the one with the first id is told first.
    conflicts.sort_by_key(|conflict| Reverse((conflict.effect, conflict.severity)));
    let (told, untold) = conflicts.split_at(conflicts.len().min(MAX_FINDINGS));
    let findings =
        told.iter().map(|conflict| conflict.finding(compiled, call)).chain(more(untold)).collect();
    Decision { findings, ..Decision::default() }
}

/// Something the subject would hold after this call.
struct Item<'a> {
    name: Name<'a>,
    /// Held before, and not dropped.
    held: bool,
}

/// Everything the subject would hold after this call, in any order and perhaps twice.
fn holdings(call: &Call) -> impl Iterator<Item = Item<'_>> {
    let dropped = || {
        call.proposed.iter().filter_map(|change| match change {
            Change::DropGrant(grant) => Some(named(grant)),
            _ => None,
        })
    };
    let added = call.proposed.iter().filter_map(|change| match change {
        Change::AddGrant(grant) => Some(named(grant)),
        _ => None,
    });
    let current =
        call.subject.iter().flat_map(|subject| &subject.entitlements).map(|held| Name::parse(held));
    current
        .map(|name| Item { name, held: true })
        .chain(call.requested.iter().map(named).chain(added).map(|name| Item { name, held: false }))
        .filter(move |item| !dropped().any(|dropped| dropped.matches(&item.name)))
}

fn named(grant: &Grant) -> Name<'_> {
    Name { kind: Some(grant.kind), id: &grant.id }
}

/// A broken rule and what it comes to.
struct Conflict<'a> {
    rule: u32,
    code: &'static str,
    effect: Effect,
    severity: Severity,
    existing: bool,
    facts: &'a Facts,
    exempt: Option<&'a Exempt>,
}

/// What a broken rule comes to; `None` where it does not apply.
fn conflict<'a>(
    compiled: &'a Compiled,
    call: &Call,
    rule: u32,
    existing: bool,
) -> Option<Conflict<'a>> {
    let facts = compiled.facts.get(rule as usize)?;
    if facts.scope.as_ref().is_some_and(|scope| !in_scope(scope, call)) {
        return None;
    }
    let subject = call.subject.as_ref().and_then(|subject| subject.id.as_deref());
    let exemptions = subject.and_then(|subject| compiled.exceptions.get(subject));
    let exempt = exemptions
        .into_iter()
        .flatten()
        .find(|exempt| exempt.rule == rule && call.received < exempt.until);
    let expired = facts.expires.is_some_and(|expires| call.received >= expires);
    let (code, effect, severity) = match (expired, exempt, existing) {
        (true, _, _) => ("SOD_RULE_EXPIRED", Effect::Allow, Severity::Low),
        (false, Some(_), _) => ("SOD_EXCEPTION", Effect::Allow, Severity::Info),
        (false, None, false) => ("SOD_CONFLICT", facts.effect, facts.severity),
        (false, None, true) => {
            let most = match compiled.existing {
                Existing::Report => Effect::Allow,
                Existing::Review => Effect::Review,
                Existing::Enforce => Effect::Deny,
            };
            ("SOD_EXISTING", facts.effect.min(most), facts.severity)
        }
    };
    Some(Conflict {
        rule,
        code,
        effect,
        severity,
        existing,
        facts,
        exempt: exempt.filter(|_| !expired),
    })
}

/// Whether the rule applies. Where the attribute is absent or no text, nobody knows: then it applies.
fn in_scope(scope: &Scope, call: &Call) -> bool {
    let attribute = match scope.of {
        Of::Subject => {
            call.subject.as_ref().and_then(|subject| subject.attribute(&scope.attribute))
        }
        Of::Resource => {
            call.resource.as_ref().and_then(|resource| resource.attribute(&scope.attribute))
        }
    };
    let Some(values) = attribute.and_then(strings) else {
        return true;
    };
    values.is_empty()
        || values.iter().any(|value| scope.values.iter().any(|wanted| value == wanted))
}

impl Conflict<'_> {
    /// The finding, with the fewest entitlements that still break the rule.
    fn finding(&self, compiled: &Compiled, call: &Call) -> Finding {
        let (set, at_least) = compiled.rules.forbidden(self.rule);
        let mask = |item: &Item<'_>| {
            let functions = compiled
                .names
                .numbers(item.name)
                .filter_map(|function| set.binary_search(&function).ok());
            functions.fold(0_u64, |mask, position| mask | 1 << (position % 64))
        };
        // A conflict that was there before is explained by what was there before.
        let mut items: Vec<(Name<'_>, u64)> = holdings(call)
            .filter(|item| item.held || !self.existing)
            .map(|item| (item.name, mask(&item)))
            .filter(|(_, mask)| *mask != 0)
            .collect();
        items.sort_unstable();
        items.dedup();
        let masks: Vec<u64> = items.iter().map(|(_, mask)| *mask).collect();
        let chosen = smallest(&masks, at_least);
        let chosen = || chosen.iter().filter_map(|position| items.get(*position));
        let together = chosen().fold(0, |together, (_, mask)| together | mask);
        let functions = crate::bitset::ones(together).filter_map(|bit| {
            set.get(bit as usize).and_then(|function| compiled.functions.get(*function as usize))
        });
        let entitlements: Vec<String> = chosen().map(|(name, _)| name.to_string()).collect();
        let finding = Finding::new(self.code, self.effect)
            .severity(self.severity)
            .argument(Attribute::text("rule", &self.facts.id))
            .argument(Attribute::texts("functions", functions.map(String::as_str)))
            .argument(Attribute::texts("entitlements", entitlements.iter().map(String::as_str)))
            .argument(Attribute::text("owner", &self.facts.owner));
        match self.exempt {
            Some(exempt) => finding
                .argument(Attribute::text("until", &exempt.until_text))
                .argument(Attribute::text("approver", &exempt.approver))
                .argument(Attribute::text("control", &exempt.control)),
            None => finding,
        }
    }
}

/// What stands for the conflicts that are not told one by one: as strict and as severe as the worst of them.
fn more(untold: &[Conflict<'_>]) -> Option<Finding> {
    let worst = untold.first()?;
    let severity = untold.iter().map(|conflict| conflict.severity).max().unwrap_or(worst.severity);
    let count = i64::try_from(untold.len()).unwrap_or(i64::MAX);
    Some(
        Finding::new("SOD_MORE", worst.effect)
            .severity(severity)
            .argument(Attribute::number("count", count)),
    )
}

/// How many conflicts are told one by one: 20 stay well within the output limit of the manifest.
pub(crate) const MAX_FINDINGS: usize = 20;

//! One person: the rules that are broken by what the person would hold, and the entitlements that
//! break them.
//!
//! Invariant: the answer depends on the sets of things held, requested and proposed, never on their
//! order.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::bitset::{BitSet, ones};
use crate::compiled::{Compiled, Exempt, Facts};
use crate::exceptions::{ExceptionRow, Fault, Standing};
use crate::hierarchy::Holding;
use crate::minimal::smallest;
use crate::names::Name;
use crate::settings::{Action, Existing, Of, Scope, Severity};

/// One person, as the rules look at the person.
pub struct Situation<'a> {
    /// Everything that the person would hold, in any order and perhaps twice.
    pub holdings: Vec<Holding<'a>>,
    /// The person's id.
    pub subject: Option<&'a str>,
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    /// The texts of an attribute; `None` where it is absent or no text.
    pub attribute: &'a dyn Fn(Of, &str) -> Option<Vec<String>>,
}

/// A broken rule and its consequence.
pub struct Conflict<'a> {
    compiled: &'a Compiled,
    rule: u32,
    /// Whether the person broke it before.
    existing: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// The consequence.
    pub action: Action,
    /// How bad it is.
    pub severity: Severity,
    /// The rule.
    pub facts: &'a Facts,
    /// The exception that covers it.
    pub exempt: Option<Exempt>,
}

/// What became of a broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The call would cause it.
    New,
    /// The person broke it before, by what is kept.
    Existing,
    /// An exception covers it.
    Excepted,
    /// The rule only reports, because it has expired.
    RuleExpired,
}

/// Why a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The functions that come together.
    pub functions: Vec<String>,
    /// The fewest entitlements of the person's that give them.
    pub entitlements: Vec<String>,
}

/// The rules of these settings that are broken, in the order of their ids.
pub fn conflicts<'a>(compiled: &'a Compiled, situation: &Situation<'_>) -> Vec<Conflict<'a>> {
    let mut after = BitSet::new(compiled.functions.len());
    let mut before = BitSet::new(compiled.functions.len());
    for holding in &situation.holdings {
        for function in holding.functions(compiled) {
            after.insert(function);
            if holding.held {
                before.insert(function);
            }
        }
    }
    let broken = compiled.rules.broken(&after);
    broken
        .into_iter()
        .filter_map(|rule| {
            conflict(compiled, situation, rule, compiled.rules.breaks(rule, &before))
        })
        .collect()
}

/// Sorts conflicts, strictest first, and keeps one of each rule's.
pub fn strictest_first(conflicts: &mut Vec<Conflict<'_>>) {
    conflicts.sort_by(|one, other| {
        let key = |it: &Conflict<'_>| Reverse((it.action, it.severity));
        let ids = || one.facts.id.cmp(&other.facts.id);
        key(one).cmp(&key(other)).then_with(ids).then(one.outcome.cmp(&other.outcome))
    });
    let mut seen = BTreeSet::new();
    conflicts.retain(|conflict| seen.insert(conflict.facts.id.as_str()));
}

/// What a broken rule comes to; `None` where it does not apply.
fn conflict<'a>(
    compiled: &'a Compiled,
    situation: &Situation<'_>,
    rule: u32,
    existing: bool,
) -> Option<Conflict<'a>> {
    let facts = compiled.facts.get(rule as usize)?;
    if facts.scope.as_ref().is_some_and(|scope| !in_scope(scope, situation)) {
        return None;
    }
    let exemptions = situation.subject.and_then(|subject| compiled.exceptions.get(subject));
    let exempt = exemptions
        .into_iter()
        .flatten()
        .find(|exempt| exempt.rule == rule && situation.now < exempt.until);
    let expired = facts.expires.is_some_and(|expires| situation.now >= expires);
    let (outcome, action, severity) = match (expired, exempt, existing) {
        (true, _, _) => (Outcome::RuleExpired, Action::Allow, Severity::Low),
        (false, Some(_), _) => (Outcome::Excepted, Action::Allow, Severity::Info),
        (false, None, false) => (Outcome::New, facts.action, facts.severity),
        (false, None, true) => {
            let most = match compiled.existing {
                Existing::Report => Action::Allow,
                Existing::Review => Action::Review,
                Existing::Enforce => Action::Deny,
            };
            (Outcome::Existing, facts.action.min(most), facts.severity)
        }
    };
    let exempt = exempt.filter(|_| !expired).cloned();
    Some(Conflict { compiled, rule, existing, outcome, action, severity, facts, exempt })
}

/// Whether the rule applies. Where the attribute is absent or no text, nobody knows: then it
/// applies.
fn in_scope(scope: &Scope, situation: &Situation<'_>) -> bool {
    let Some(values) = (situation.attribute)(scope.of, &scope.attribute) else { return true };
    values.is_empty()
        || values.iter().any(|value| scope.values.iter().any(|wanted| value == wanted))
}

impl Conflict<'_> {
    /// Whether an exception can change it: it is neither excepted nor of an expired rule.
    pub fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::New | Outcome::Existing)
    }

    /// Applies the rows of a table of exceptions. The valid one that ends last lets the conflict
    /// through; where there is none, the faults of the rows for this rule are returned, sorted,
    /// each once. `people` are the names under which the subject might have approved one.
    pub fn except(
        &mut self,
        rows: &[ExceptionRow],
        now: u64,
        people: &[&str],
    ) -> Vec<(Fault, ExceptionRow)> {
        if !self.is_open() {
            return Vec::new();
        }
        let (mut best, mut faults) = (None::<Exempt>, Vec::new());
        for row in rows.iter().filter(|row| row.rule.as_deref() == Some(&self.facts.id)) {
            match row.standing(now, people) {
                Standing::Valid { until, until_text, approver, control } => {
                    let rule = self.rule;
                    let exempt =
                        Exempt { rule, until, until_text, approver, control, from_table: true };
                    let is_better = |best: &Exempt| {
                        let own = (best.until, &exempt.approver, &exempt.control);
                        own < (exempt.until, &best.approver, &best.control)
                    };
                    if best.as_ref().is_none_or(is_better) {
                        best = Some(exempt);
                    }
                }
                Standing::Invalid(fault) => faults.push((fault, row.clone())),
            }
        }
        if best.is_some() {
            (self.outcome, self.action) = (Outcome::Excepted, Action::Allow);
            (self.severity, self.exempt) = (Severity::Info, best);
            return Vec::new();
        }
        faults.sort();
        faults.dedup();
        faults
    }

    /// The fewest entitlements that still break the rule, and the functions that they give.
    pub fn explain(&self, situation: &Situation<'_>) -> Explanation {
        let compiled = self.compiled;
        let (set, at_least) = compiled.rules.forbidden(self.rule);
        let mask = |holding: &Holding<'_>| {
            let functions = holding
                .functions(compiled)
                .filter_map(|function| set.binary_search(&function).ok());
            functions.fold(0_u64, |mask, position| mask | 1 << (position % 64))
        };
        // A conflict that was there before is explained by what was there before.
        let mut items: Vec<(Name<'_>, u64)> = situation
            .holdings
            .iter()
            .filter(|holding| holding.held || !self.existing)
            .map(|holding| (holding.name, mask(holding)))
            .filter(|(_, mask)| *mask != 0)
            .collect();
        items.sort_unstable();
        items.dedup();
        let masks: Vec<u64> = items.iter().map(|(_, mask)| *mask).collect();
        let chosen = smallest(&masks, at_least);
        let chosen = || chosen.iter().filter_map(|position| items.get(*position));
        let together = chosen().fold(0, |together, (_, mask)| together | mask);
        let functions = ones(together).filter_map(|bit| {
            set.get(bit as usize).and_then(|function| compiled.functions.get(*function as usize))
        });
        Explanation {
            functions: functions.cloned().collect(),
            entitlements: chosen().map(|(name, _)| name.to_string()).collect(),
        }
    }
}

impl Holding<'_> {
    /// The functions that it gives; one may come twice.
    pub(crate) fn functions<'c>(
        &'c self,
        compiled: &'c Compiled,
    ) -> impl Iterator<Item = u32> + 'c {
        let contained = self.contains.iter().map(|name| Name::parse(name));
        std::iter::once(self.name).chain(contained).flat_map(|name| compiled.names.numbers(name))
    }
}

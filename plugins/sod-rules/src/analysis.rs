//! Rules against each other: repeated, contradicting and shadowed ones, and names that alone break
//! a rule.
//!
//! Invariant: an observation is true of every person. A rule is called shadowed only where another
//! one is broken whenever it is, at least as strictly, wherever it applies and for as long. Rules
//! are compared by their functions; two functions that the same entitlements give count as two.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::compiled::Compiled;
use crate::hierarchy::Holding;
use crate::judge::{Situation, conflicts, strictest_first};
use crate::names::Name;
use crate::settings::{Action, Rule, Scope};

/// A rule as it is compared with others.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// The place in its source, such as `rules[3]` or `row 7`.
    pub place: String,
    /// Its name.
    pub id: String,
    /// Its functions.
    pub functions: BTreeSet<String>,
    /// How many of them are too many.
    pub at_least: usize,
    /// The consequence.
    pub action: Action,
    /// Where it applies.
    pub scope: Option<Scope>,
    /// From then on it only reports.
    pub expires: Option<Timestamp>,
}

/// Something about two rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What it is.
    pub kind: ObservationKind,
    /// The number of the rule that it is about.
    pub rule: usize,
    /// The number of the rule that it is compared with.
    pub other: usize,
}

/// The kinds of observations about two rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObservationKind {
    /// Both forbid the same in the same places, with different consequences.
    Contradiction,
    /// Both forbid the same with the same consequence.
    Duplicate,
    /// Whenever the rule is broken, so is the other, which is at least as strict.
    Shadowed,
}

impl RuleView {
    /// A rule of the settings.
    pub fn of(rule: &Rule, place: String) -> Self {
        let names = rule.a.iter().chain(&rule.b).chain(rule.set.iter().flatten());
        Self {
            place,
            id: rule.id.clone(),
            functions: names.cloned().collect(),
            at_least: usize::try_from(rule.at_least.unwrap_or(2)).unwrap_or(usize::MAX),
            action: rule.action,
            scope: rule.scope.clone(),
            expires: rule.expires,
        }
    }

    /// Whether this rule is broken whenever the other one is.
    fn is_broken_with(&self, other: &Self) -> bool {
        // At least so many of the functions that break the other one are this one's.
        let outside = other.functions.difference(&self.functions).count();
        other.at_least.saturating_sub(outside) >= self.at_least
    }

    /// Whether this rule is at least as strict, wherever the other applies and for as long.
    fn is_as_strict_as(&self, other: &Self) -> bool {
        let everywhere = match (&self.scope, &other.scope) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(theirs)) => {
                (own.of, &own.attribute) == (theirs.of, &theirs.attribute)
                    && theirs.values.iter().all(|value| own.values.contains(value))
            }
        };
        let as_long = match (self.expires, other.expires) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(theirs)) => own >= theirs,
        };
        everywhere && as_long && self.action >= other.action
    }
}

/// Compares rules with each other; at most one observation is made of each, about the first rule
/// that gives reason to.
pub fn observe(rules: &[RuleView]) -> Vec<Observation> {
    let mut with: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        for function in &rule.functions {
            with.entry(function).or_default().push(number);
        }
    }
    let mut observations = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let sharing = rule.functions.iter().filter_map(|function| with.get(function.as_str()));
        let others: BTreeSet<usize> = sharing.flatten().copied().collect();
        let found = others.into_iter().filter(|other| *other != number).find_map(|other| {
            let kind = compare(rule, rules.get(other)?, other < number)?;
            Some(Observation { kind, rule: number, other })
        });
        observations.extend(found);
    }
    observations
}

/// The observation about a rule beside another one, which stands before it (`earlier`) or after.
fn compare(rule: &RuleView, other: &RuleView, earlier: bool) -> Option<ObservationKind> {
    let same = (&rule.functions, rule.at_least) == (&other.functions, other.at_least);
    if same && rule.scope == other.scope {
        // Said once, of the later one.
        return earlier.then_some(match rule.action == other.action {
            true => ObservationKind::Duplicate,
            false => ObservationKind::Contradiction,
        });
    }
    if !(other.is_broken_with(rule) && other.is_as_strict_as(rule)) {
        return None;
    }
    let mutual = rule.is_broken_with(other) && rule.is_as_strict_as(other);
    (!mutual || earlier).then_some(ObservationKind::Shadowed)
}

/// The names that break a rule on their own, each with the ids of these rules: roles that nobody
/// can hold, and entitlements with two functions of a pair.
pub fn roles_that_conflict<'a>(
    compiled: &Compiled,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<(&'a str, Vec<String>)> {
    let alone = names.into_iter().filter_map(|name| {
        let holding = Holding { name: Name::parse(name), held: true, contains: Vec::new() };
        let situation =
            Situation { holdings: vec![holding], subject: None, now: 0, attribute: &|_, _| None };
        let mut broken = conflicts(compiled, &situation);
        strictest_first(&mut broken);
        let ids: Vec<String> = broken.iter().map(|conflict| conflict.facts.id.clone()).collect();
        (!ids.is_empty()).then_some((name, ids))
    });
    alone.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(functions: &[&str], at_least: usize, action: Action) -> RuleView {
        RuleView {
            place: String::new(),
            id: String::new(),
            functions: functions.iter().map(|it| (*it).to_owned()).collect(),
            at_least,
            action,
            scope: None,
            expires: None,
        }
    }

    fn kinds(rules: &[RuleView]) -> Vec<(ObservationKind, usize, usize)> {
        observe(rules).into_iter().map(|it| (it.kind, it.rule, it.other)).collect()
    }

    #[test]
    fn repeated_contradicting_and_shadowed_rules_are_told_apart() {
        use ObservationKind::{Contradiction, Duplicate, Shadowed};
        let pair = |action| rule(&["a", "b"], 2, action);
        let three = |at_least| rule(&["a", "b", "c"], at_least, Action::Deny);
        assert_eq!(kinds(&[pair(Action::Deny), pair(Action::Deny)]), [(Duplicate, 1, 0)]);
        assert_eq!(kinds(&[pair(Action::Deny), pair(Action::Allow)]), [(Contradiction, 1, 0)]);
        assert_eq!(kinds(&[pair(Action::Deny), three(2)]), [(Shadowed, 0, 1)]);
        assert_eq!(kinds(&[pair(Action::Deny), three(3)]), [(Shadowed, 1, 0)]);
        assert_eq!(kinds(&[pair(Action::Review), three(3)]), [], "the milder one does not cover");
        assert_eq!(kinds(&[pair(Action::Deny), rule(&["b", "c"], 2, Action::Deny)]), []);
        let mut north = pair(Action::Deny);
        north.scope = Some(Scope {
            of: crate::Of::Subject,
            attribute: "facility".to_owned(),
            values: vec!["north".to_owned()],
        });
        assert_eq!(kinds(&[pair(Action::Deny), north.clone()]), [(Shadowed, 1, 0)]);
        assert_eq!(kinds(&[pair(Action::Review), north]), [], "stricter at one place");
        let mut ending = pair(Action::Deny);
        ending.expires = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(kinds(&[ending, three(3)]), [], "the other lasts longer");
    }

    proptest! {
        #[test]
        fn whoever_breaks_a_shadowed_rule_breaks_the_other(
            rules in prop::collection::vec((1..64_u8, 2..4_usize), 2..5),
        ) {
            let bits = |set: u8| (0..6_u8).filter(move |bit| set >> bit & 1 == 1);
            let usable = rules.iter().filter(|(set, least)| set.count_ones() as usize >= *least);
            let views: Vec<RuleView> = usable
                .map(|(set, least)| {
                    let mut view = rule(&[], *least, Action::Deny);
                    view.functions = bits(*set).map(|bit| bit.to_string()).collect();
                    view
                })
                .collect();
            let broken = |view: &RuleView, held: u8| {
                bits(held).filter(|bit| view.functions.contains(&bit.to_string())).count()
                    >= view.at_least
            };
            let implied = |rule: &RuleView, other: &RuleView| {
                (0..64).all(|held| !broken(rule, held) || broken(other, held))
            };
            let observed = observe(&views);
            for it in &observed {
                prop_assert!(implied(&views[it.rule], &views[it.other]));
            }
            // Nothing is missed: a rule that another one covers is observed, or the other one is.
            for (number, rule) in views.iter().enumerate() {
                let mut others = views.iter().enumerate().filter(|(at, _)| *at != number);
                let covered = others.any(|(_, other)| implied(rule, other));
                let said = observed.iter().any(|it| it.rule == number || it.other == number);
                prop_assert_eq!(covered && !said, false);
            }
        }
    }
}

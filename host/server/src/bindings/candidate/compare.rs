//! What differs between what two plugins said about the same call.
//!
//! Invariant: pure and symmetric: who is called the live one changes nothing of whether they differ. Order means nothing, arguments of
//! messages and risk scores neither: what binds is compared (verdict, findings, changes), and the time.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_model::json::build_members;
use portcullis_model::{Change, Decision, Effect, Finding};

use crate::bindings::evaluate::BindingResult;

/// How one call went for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    pair: PairOutcome,
    slower: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PairOutcome {
    /// Both decided.
    Both(Differences),
    /// The candidate did not.
    CandidateFailed,
    /// The live one did not.
    LiveFailed,
}

/// In what two decisions differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The strictest effect.
    pub verdict: bool,
    /// Codes, their effects and fields.
    pub findings: bool,
    /// What is wanted changed.
    pub changes: bool,
}

impl Comparison {
    /// What can come of a comparison, as metrics name it.
    pub const OUTCOMES: [&str; 4] = ["same", "differs", "candidate-failed", "live-failed"];
    /// What can differ, as metrics and records name it.
    pub const DIFFERENCES: [&str; 4] = ["verdict", "findings", "changes", "slower"];

    /// Compares what both said; the candidate was slower if it took more than `slower` longer.
    pub fn of(live: &BindingResult, candidate: &BindingResult, slower: Duration) -> Self {
        let said = match (&live.outcome, &candidate.outcome) {
            (Ok(ours), Ok(theirs)) => {
                PairOutcome::Both(differences((ours, &live.waived), (theirs, &candidate.waived)))
            }
            (Ok(_), Err(_)) => PairOutcome::CandidateFailed,
            (Err(_), _) => PairOutcome::LiveFailed,
        };
        let slower = matches!(said, PairOutcome::Both(_))
            && candidate.last_run > live.last_run.saturating_add(slower);
        Self { pair: said, slower }
    }

    /// Whether both decided and said different things.
    pub fn differs(&self) -> bool {
        matches!(self.pair, PairOutcome::Both(differences) if differences != Differences::default())
    }

    /// Whether the candidate failed where the live one did not.
    pub fn failed(&self) -> bool {
        self.pair == PairOutcome::CandidateFailed
    }

    /// Whether the candidate was slower.
    pub fn slower(&self) -> bool {
        self.slower
    }

    /// Whether nothing can be learned of it.
    pub fn is_inconclusive(&self) -> bool {
        self.pair == PairOutcome::LiveFailed
    }

    /// Whether it is worth a record.
    pub fn diverges(&self) -> bool {
        self.differs() || self.failed()
    }

    /// Its place among [`Self::OUTCOMES`].
    pub fn outcome(&self) -> usize {
        match self.pair {
            PairOutcome::Both(_) => usize::from(self.differs()),
            PairOutcome::CandidateFailed => 2,
            PairOutcome::LiveFailed => 3,
        }
    }

    /// Places among [`Self::DIFFERENCES`].
    pub fn differences(&self) -> impl Iterator<Item = usize> + use<> {
        let Differences { verdict, findings, changes } =
            if let PairOutcome::Both(differences) = self.pair {
                differences
            } else {
                Differences::default()
            };
        let marks = [verdict, findings, changes, self.slower];
        marks.into_iter().enumerate().filter(|(_, mark)| *mark).map(|(place, _)| place)
    }

    /// The members of its record: codes and kinds, nothing out of a body.
    pub fn fields(
        &self,
        hook: &str,
        way: &str,
        of: Option<u64>,
        live: &BindingResult,
        candidate: &BindingResult,
    ) -> String {
        let words = self.differences().filter_map(|place| Self::DIFFERENCES.get(place));
        build_members(|fields| {
            fields
                .number_or_null("decision", of)
                .text("hook", hook)
                .text("kind", way)
                .texts("differs", words)
                .object("live", |leaf| live.write_leaf(leaf))
                .object("candidate", |leaf| candidate.write_leaf(leaf));
        })
    }

    #[cfg(test)]
    pub fn for_test(differs: bool, failed: bool, slower: bool) -> Self {
        let differences = Differences { verdict: differs, ..Differences::default() };
        Self {
            pair: if failed {
                PairOutcome::CandidateFailed
            } else {
                PairOutcome::Both(differences)
            },
            slower,
        }
    }
}

/// A decision, and the findings that a waiver has taken out of it.
type WithWaived<'a> = (&'a Decision, &'a [Finding]);

/// In what two of them differ.
fn differences(one: WithWaived<'_>, other: WithWaived<'_>) -> Differences {
    Differences {
        verdict: verdict(one) != verdict(other),
        findings: finding_set(one) != finding_set(other),
        changes: change_set(one) != change_set(other),
    }
}

fn verdict((decision, waived): WithWaived<'_>) -> Effect {
    decision.findings.iter().chain(waived).map(|finding| finding.effect).max().unwrap_or_default()
}

fn finding_set<'a>(
    (decision, waived): WithWaived<'a>,
) -> BTreeSet<(&'a str, Effect, Option<&'a str>)> {
    let findings = decision.findings.iter().chain(waived);
    findings
        .map(|finding| (finding.code.as_str(), finding.effect, finding.field.as_deref()))
        .collect()
}

fn change_set<'a>((decision, _): WithWaived<'a>) -> BTreeSet<&'a Change> {
    decision.changes.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_model::{Grant, GrantKind, Severity};
    use proptest::prelude::*;

    /// Codes, effects and whether there is a field; grants, and whether they are dropped.
    type Plan = (Vec<(usize, usize, bool)>, Vec<(u32, bool)>);

    fn plan() -> impl Strategy<Value = Plan> {
        let findings = prop::collection::vec((0..4usize, 0..5usize, any::<bool>()), 0..4);
        (findings, prop::collection::vec((0..3u32, any::<bool>()), 0..4))
    }

    fn decision((findings, changes): &Plan) -> Decision {
        let finding = |(code, effect, field): &(usize, usize, bool)| Finding {
            code: format!("CODE-{code}"),
            effect: Effect::ALL[*effect],
            severity: Severity::Low,
            arguments: Vec::new(),
            field: field.then(|| "ward".to_owned()),
        };
        let change = |(which, drop): &(u32, bool)| {
            let grant = Grant { kind: GrantKind::Role, id: format!("role-{which}") };
            if *drop { Change::DropGrant(grant) } else { Change::AddGrant(grant) }
        };
        let (findings, changes) =
            (findings.iter().map(finding).collect(), changes.iter().map(change).collect());
        Decision { findings, changes, risk: None }
    }

    proptest! {
        #[test]
        fn it_is_symmetric_and_order_means_nothing(one in plan(), other in plan(), split in 0..4usize) {
            let (one, other) = (decision(&one), decision(&other));
            let said = differences((&one, &[]), (&other, &[]));
            prop_assert_eq!(said, differences((&other, &[]), (&one, &[])));
            prop_assert!(!said.verdict || said.findings, "another verdict comes of other findings");
            let mut turned = one.clone();
            turned.findings.reverse();
            turned.changes.reverse();
            turned.risk = Some(99);
            prop_assert_eq!(differences((&one, &[]), (&turned, &[])), Differences::default());
            prop_assert_eq!(differences((&turned, &[]), (&other, &[])), said);
            // A waived finding was made all the same.
            let waived = turned.findings.split_off(split.min(turned.findings.len()));
            prop_assert_eq!(differences((&turned, &waived), (&other, &[])), said);
        }
    }
}

//! Properties of merging and combining: order is nothing, guards only restrict, no grant escapes.

use portcullis_model::{GrantKind, Severity};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

fn grant(id: &str) -> Grant {
    Grant { kind: GrantKind::Group, id: id.to_owned() }
}

fn set(path: &str, value: &str) -> Change {
    Change::Set { target: Target::AccessToken, path: path.to_owned(), value: value.to_owned() }
}

fn cap(seconds: u32) -> Change {
    Change::CapLifetime { target: Target::AccessToken, seconds }
}

fn finding(code: &str, effect: Effect, severity: Severity) -> Finding {
    Finding { code: code.to_owned(), effect, severity, arguments: Vec::new(), field: None }
}

/// A change that a failing case can print: real ones may name people and cannot be.
#[derive(Clone, Debug)]
enum Wish {
    Set(&'static str, &'static str),
    Remove(&'static str),
    Cap(u32),
    Add(&'static str),
    Drop(&'static str),
    Create,
    Link,
    Approvers(Vec<&'static str>),
    Auto,
}

impl Wish {
    fn change(&self) -> Change {
        match self {
            Self::Set(path, value) => set(path, value),
            Self::Remove(path) => {
                Change::Remove { target: Target::AccessToken, path: (*path).to_owned() }
            }
            Self::Cap(seconds) => cap(*seconds),
            Self::Add(id) => Change::AddGrant(grant(id)),
            Self::Drop(id) => Change::DropGrant(grant(id)),
            Self::Create => Change::CreateUser,
            Self::Link => Change::LinkUser("00u1".to_owned()),
            Self::Approvers(names) => {
                Change::RequireApprovers(names.iter().map(|name| (*name).to_owned()).collect())
            }
            Self::Auto => Change::AutoApprove,
        }
    }
}

/// A decision that a failing case can print.
#[derive(Clone, Debug)]
struct Plan {
    findings: Vec<(&'static str, Effect, Severity)>,
    wishes: Vec<Wish>,
}

impl Plan {
    fn decision(&self) -> Decision {
        let findings = self
            .findings
            .iter()
            .map(|(code, effect, severity)| finding(code, *effect, *severity))
            .collect();
        Decision { findings, changes: self.wishes.iter().map(Wish::change).collect(), risk: None }
    }
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let grants = || select(vec!["g1", "g2", "g3"]);
    prop_oneof![
        (select(vec!["/claims/a", "/claims/a/b", "/claims/c"]), select(vec!["1", "2"]))
            .prop_map(|(path, value)| Wish::Set(path, value)),
        select(vec!["/claims/a", "/claims/c"]).prop_map(Wish::Remove),
        (200_u32..5_000).prop_map(Wish::Cap),
        grants().prop_map(Wish::Add),
        grants().prop_map(Wish::Drop),
        Just(Wish::Create),
        Just(Wish::Link),
        subsequence(vec!["x", "y", "z"], 1..3).prop_map(Wish::Approvers),
        Just(Wish::Auto),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let severity = select(vec![Severity::Info, Severity::Medium, Severity::Critical]);
    let finding = (select(vec!["A", "B", "C"]), select(Effect::ALL.to_vec()), severity);
    let wish = prop_oneof![
        (select(vec!["/claims/a", "/claims/b"]), select(vec!["1", "2"]))
            .prop_map(|(path, value)| Wish::Set(path, value)),
        (200_u32..5_000).prop_map(Wish::Cap),
    ];
    (proptest::collection::vec(finding, 0..4), proptest::collection::vec(wish, 0..3))
        .prop_map(|(findings, wishes)| Plan { findings, wishes })
}

/// What can be compared of an outcome.
type Facts = Result<(Effect, Vec<String>, Option<(String, String)>), CombineError>;

fn facts(decisions: &[(usize, &Decision)]) -> Facts {
    let fallback: BTreeMap<_, _> = [("review", "deny"), ("step-up", "deny")]
        .map(|(what, to)| (what.to_owned(), to.to_owned()))
        .into();
    let names = ["org.a", "org.b", "org.c", "org.d"];
    let decisions: Vec<_> = decisions
        .iter()
        .map(|(number, decision)| BindingDecision {
            plugin: names[*number],
            decision,
            fallback: &fallback,
        })
        .collect();
    let lifetimes =
        [Lifetime { target: Target::AccessToken, seconds: 3_600, least: 300, most: 86_400 }];
    combine(HookKind::OktaToken, &decisions, &lifetimes).map(|combined| {
        let changes = combined.changes.iter().map(describe).collect();
        (
            combined.verdict,
            changes,
            combined
                .reasons
                .first()
                .map(|(plugin, finding)| ((*plugin).to_owned(), finding.code.clone())),
        )
    })
}

fn describe(change: &Change) -> String {
    match change {
        Change::Set { path, value, .. } => format!("set {path} {value}"),
        Change::CapLifetime { seconds, .. } => format!("cap {seconds}"),
        other => other.kind().to_string(),
    }
}

fn described(wishes: &[Wish]) -> Option<Vec<String>> {
    let changes: Vec<_> = wishes.iter().map(Wish::change).collect();
    merge(&changes).ok().map(|merged| merged.iter().map(describe).collect())
}

fn numbered(decisions: &[Decision]) -> Vec<(usize, &Decision)> {
    decisions.iter().enumerate().collect()
}

proptest! {
    #[test]
    fn the_order_of_changes_never_changes_a_merge(
        (wishes, shuffled) in proptest::collection::vec(any_wish(), 0..8).prop_flat_map(|wishes| (Just(wishes.clone()), Just(wishes).prop_shuffle()))
    ) {
        prop_assert_eq!(described(&wishes), described(&shuffled));
    }

    #[test]
    fn the_order_of_bindings_never_changes_an_outcome(plans in proptest::collection::vec(any_plan(), 1..4)) {
        let decisions: Vec<_> = plans.iter().map(Plan::decision).collect();
        let forwards = numbered(&decisions);
        let backwards: Vec<_> = forwards.iter().rev().copied().collect();
        prop_assert_eq!(facts(&forwards).map_err(drop), facts(&backwards).map_err(drop));
    }

    #[test]
    fn a_further_voice_never_makes_the_verdict_milder(plans in proptest::collection::vec(any_plan(), 2..4)) {
        let decisions: Vec<_> = plans.iter().map(Plan::decision).collect();
        let all = numbered(&decisions);
        if let (Ok((few, ..)), Ok((many, ..))) = (facts(&all[1..]), facts(&all)) {
            prop_assert!(many >= few);
        }
    }

    #[test]
    fn a_dropped_grant_never_stays(wishes in proptest::collection::vec(any_wish(), 0..10)) {
        let changes: Vec<_> = wishes.iter().map(Wish::change).collect();
        if let Ok(merged) = merge(&changes) {
            for change in &changes {
                if let Change::DropGrant(grant) = change {
                    prop_assert!(!merged.contains(&Change::AddGrant(grant.clone())));
                }
            }
        }
    }

    /// Whatever grant leaves was in what the guards were shown: nothing an earlier plugin adds escapes them.
    #[test]
    fn no_grant_leaves_that_the_guards_did_not_see(
        proposed in proptest::collection::vec(any_wish(), 0..8),
        guarded in proptest::collection::vec(prop_oneof![
            (200_u32..5_000).prop_map(Wish::Cap),
            select(vec!["g1", "g2", "g3"]).prop_map(Wish::Drop),
            Just(Wish::Approvers(vec!["x"])),
        ], 0..4),
    ) {
        let proposed: Vec<_> = proposed.iter().map(Wish::change).collect();
        let guarded: Vec<_> = guarded.iter().map(Wish::change).collect();
        prop_assert!(guarded.iter().all(Change::restricts));
        if let (Ok(shown), Ok(leaves)) = (merge(&proposed), merge(proposed.iter().chain(&guarded))) {
            for change in leaves.iter().filter(|change| matches!(change, Change::AddGrant(_))) {
                prop_assert!(shown.contains(change));
            }
        }
    }

    #[test]
    fn the_shortest_lifetime_wins(seconds in proptest::collection::vec(300_u32..90_000, 1..6)) {
        let caps: Vec<_> = seconds.iter().map(|seconds| cap(*seconds)).collect();
        prop_assert!(merge(&caps).unwrap() == vec![cap(*seconds.iter().min().unwrap())]);
    }
}

#[test]
fn different_wishes_for_one_place_are_a_conflict() {
    let conflict = |one: Change, other: Change| merge([&one, &other]).is_err();
    assert!(conflict(set("/claims/a", "1"), set("/claims/a", "2")));
    assert!(conflict(set("/claims/a", "1"), set("/claims/a/b", "1")), "one stands above the other");
    assert!(conflict(
        set("/claims/a", "1"),
        Change::Remove { target: Target::AccessToken, path: "/claims/a".to_owned() }
    ));
    assert!(conflict(Change::CreateUser, Change::LinkUser("00u1".to_owned())));
    assert!(!conflict(set("/claims/a", "1"), set("/claims/a", "1")), "the same wish twice is one");
    assert!(
        !conflict(set("/claims/a", "1"), set("/claims/ab", "2")),
        "a longer name is another place"
    );
}

#[test]
fn less_life_than_can_be_said_is_a_denial() {
    let decision = Decision {
        findings: vec![finding("A", Effect::Allow, Severity::Info)],
        changes: vec![cap(299)],
        risk: None,
    };
    assert_eq!(facts(&[(0, &decision)]).unwrap().0, Effect::Deny);
    let decision = Decision { changes: vec![cap(300)], ..decision };
    assert_eq!(facts(&[(0, &decision)]).unwrap().0, Effect::Allow);
}

#[test]
fn what_cannot_be_said_and_is_not_named_is_nobodys_allow() {
    let decision = Decision {
        findings: vec![finding("A", Effect::Review, Severity::Low)],
        ..Decision::default()
    };
    let voice =
        BindingDecision { plugin: "org.a", decision: &decision, fallback: &BTreeMap::new() };
    let error = combine(HookKind::OktaToken, &[voice], &[]).err();
    assert_eq!(
        error,
        Some(CombineError::Unsupported {
            plugin: "org.a".to_owned(),
            utterance: "review".to_owned()
        })
    );
}

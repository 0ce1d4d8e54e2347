//! The whole plugin, from settings to findings, against a judge that tries everything.

use std::collections::BTreeSet;

use portcullis_guest::{Change, Effect, Finding, Grant, GrantKind, Severity, testing};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn sod(settings: &Value) -> Sod {
    testing::configured(&settings.to_string())
}

fn refusal(settings: &Value) -> Vec<String> {
    testing::configure::<Sod>(&settings.to_string()).err().unwrap_or_default()
}

fn decide(sod: &Sod, call: testing::CallBuilder) -> Decision {
    let call = call.build();
    let decision = testing::decide(sod, &call);
    testing::assert_declared(MANIFEST, &call.hook, &decision);
    decision
}

fn texts(finding: &Finding, name: &str) -> Vec<String> {
    let argument = finding.arguments.iter().find(|argument| argument.name == name);
    portcullis_guest::strings(&argument.unwrap().value).unwrap().into_iter().map(Into::into).collect()
}

fn pharmacy() -> Value {
    json!({
        "functions": {"prescribe": ["P", "group:P2"], "dispense": ["D"], "stock": ["S"]},
        "rules": [
            {"id": "R1", "kind": "pair", "a": "prescribe", "b": "dispense", "severity": "critical", "owner": "o"},
        ],
    })
}

fn grant(kind: GrantKind, id: &str) -> Grant {
    Grant { kind, id: id.to_owned() }
}

#[test]
fn a_request_that_completes_a_conflict_is_denied_and_explained() {
    let call = || testing::call("okta.token").subject("u1").entitlements(["P", "S"]);
    let decision = decide(&sod(&pharmacy()), call().requested(GrantKind::Scope, "D"));
    assert_eq!(decision.codes(), ["SOD_CONFLICT"]);
    assert_eq!(decision.verdict(), Effect::Deny);
    let finding = &decision.findings[0];
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(texts(finding, "rule"), ["R1"]);
    assert_eq!(texts(finding, "functions"), ["dispense", "prescribe"]);
    assert_eq!(texts(finding, "entitlements"), ["P", "scope:D"]);
    assert!(decision.changes.is_empty());
    assert!(decide(&sod(&pharmacy()), call().requested(GrantKind::Scope, "X")).findings.is_empty());
    assert!(decide(&sod(&pharmacy()), testing::call("okta.token")).findings.is_empty());
}

#[test]
fn grants_that_others_propose_are_judged_too() {
    let sod = sod(&pharmacy());
    let holds = || testing::call("okta.user-import").subject("u1").entitlement("D");
    let add = || Change::AddGrant(grant(GrantKind::Group, "P2"));
    assert_eq!(decide(&sod, holds().proposed(add())).codes(), ["SOD_CONFLICT"]);
    // Dropped again: no conflict. A grant of another kind is another grant.
    let drop = |kind, id| Change::DropGrant(grant(kind, id));
    assert!(decide(&sod, holds().proposed(add()).proposed(drop(GrantKind::Group, "P2"))).findings.is_empty());
    assert!(decide(&sod, holds().proposed(drop(GrantKind::Scope, "D")).proposed(add())).findings.is_empty());
    let kept = holds().proposed(drop(GrantKind::Role, "P2")).proposed(add());
    assert_eq!(decide(&sod, kept).codes(), ["SOD_CONFLICT"]);
}

#[test]
fn a_conflict_from_before_is_weighed_as_the_settings_say() {
    for (existing, effect) in [("report", Effect::Allow), ("review", Effect::Review), ("enforce", Effect::Deny)] {
        let mut settings = pharmacy();
        settings["existing"] = json!(existing);
        let holds = || testing::call("okta.token").subject("u1").entitlements(["D", "P"]);
        let decision = decide(&sod(&settings), holds().requested(GrantKind::Scope, "P2"));
        assert_eq!((decision.codes(), decision.verdict()), (vec!["SOD_EXISTING"], effect));
        assert_eq!(texts(&decision.findings[0], "entitlements"), ["D", "P"]);
        // Never more than the rule's own action.
        settings["rules"][0]["action"] = json!("step-up");
        assert_eq!(decide(&sod(&settings), holds()).verdict(), effect.min(Effect::StepUp));
    }
    let decision = decide(&sod(&pharmacy()), testing::call("okta.token").subject("u1").entitlements(["D", "P"]));
    assert_eq!(decision.verdict(), Effect::Review, "review is the default");
}

#[test]
fn exceptions_hold_for_one_person_and_one_rule_until_their_last_millisecond() {
    let mut settings = pharmacy();
    settings["exceptions"] = json!([
        {"rule": "R1", "subject": "u1", "until": "2026-12-01T00:00:00+01:00", "approver": "boss", "control": "look"},
    ]);
    let sod = sod(&settings);
    let call = |subject, received| {
        let call = testing::call("okta.token").received(received).entitlement("P").requested(GrantKind::Group, "D");
        if let Some(subject) = subject { call.subject(subject) } else { call }
    };
    let until = 1_796_079_600_000; // 2026-11-30T23:00:00Z
    let decision = decide(&sod, call(Some("u1"), until - 1));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["SOD_EXCEPTION"], Effect::Allow));
    assert_eq!(texts(&decision.findings[0], "approver"), ["boss"]);
    assert_eq!(texts(&decision.findings[0], "until"), ["2026-11-30T23:00:00Z"]);
    for other in [call(Some("u1"), until), call(Some("u2"), 0), call(None, 0)] {
        assert_eq!(decide(&sod, other).codes(), ["SOD_CONFLICT"]);
    }
}

#[test]
fn an_expired_rule_only_reports() {
    let mut settings = pharmacy();
    settings["rules"][0]["expires"] = json!("2026-11-30T23:00:00Z");
    let call =
        |received| testing::call("okta.token").received(received).entitlement("P").requested(GrantKind::Role, "D");
    assert_eq!(decide(&sod(&settings), call(1_796_079_599_999)).codes(), ["SOD_CONFLICT"]);
    let decision = decide(&sod(&settings), call(1_796_079_600_000));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["SOD_RULE_EXPIRED"], Effect::Allow));
}

#[test]
fn a_scope_narrows_a_rule_but_never_by_what_is_unknown() {
    let mut settings = pharmacy();
    settings["rules"][0]["scope"] = json!({"attribute": "facility", "values": ["north", "south"]});
    let subject = sod(&settings);
    let call = || testing::call("okta.token").subject("u1").entitlement("P").requested(GrantKind::Role, "D");
    let applies = |sod: &Sod, call| !decide(sod, call).findings.is_empty();
    assert!(applies(&subject, call().attribute("facility", "south")));
    assert!(applies(&subject, call().attribute("facility", ["west", "north"])));
    assert!(!applies(&subject, call().attribute("facility", "west")));
    for unknown in [json!(null), json!(7), json!([]), json!([1]), json!({"north": 1})] {
        assert!(applies(&subject, call().attribute("facility", unknown)));
    }
    assert!(applies(&subject, call()));
    settings["rules"][0]["scope"]["of"] = json!("resource");
    let resource = sod(&settings);
    assert!(!applies(&resource, call().attribute("facility", "north").resource_attribute("facility", "west")));
    assert!(applies(&resource, call().attribute("facility", "west").resource_attribute("facility", "north")));
}

#[test]
fn roles_contain_what_their_roles_contain_and_cycles_end() {
    let mut settings = pharmacy();
    settings["roles"] =
        json!({"Top": ["Middle"], "Middle": ["P", "role:Loop"], "Loop": ["Top", "Deep"], "Deep": ["D"]});
    settings["existing"] = json!("enforce");
    let sod = sod(&settings);
    for role in ["Top", "Middle", "Loop", "role:Middle"] {
        let decision = decide(&sod, testing::call("okta.token").subject("u1").entitlement(role));
        assert_eq!(texts(&decision.findings[0], "entitlements"), [role], "one role is enough to break the rule");
    }
    assert!(decide(&sod, testing::call("okta.token").subject("u1").entitlement("Deep")).findings.is_empty());
}

#[test]
fn many_conflicts_are_cut_short_without_losing_the_strictest() {
    let functions: serde_json::Map<String, Value> =
        (0..12).map(|at| (format!("f{at:02}"), json!([format!("e{at:02}")]))).collect();
    let rules: Vec<Value> = (0..12)
        .flat_map(|a| (a + 1..12).map(move |b| (a, b)))
        .map(|(a, b)| {
            let action = if (a, b) == (10, 11) { "deny" } else { "review" };
            json!({"id": format!("{a:02}-{b:02}"), "kind": "pair", "a": format!("f{a:02}"), "b": format!("f{b:02}"), "action": action, "owner": "o"})
        })
        .collect();
    let sod = sod(&json!({"functions": functions, "rules": rules, "existing": "enforce"}));
    let decision =
        decide(&sod, testing::call("okta.token").subject("u").entitlements((0..12).map(|at| format!("e{at:02}"))));
    assert_eq!(decision.findings.len(), judge::MOST_FINDINGS + 1);
    assert_eq!(texts(&decision.findings[0], "rule"), ["10-11"]);
    let last = decision.findings.last().unwrap();
    assert_eq!((last.code.as_str(), last.effect, last.arguments[0].value.as_str()), ("SOD_MORE", Effect::Review, "46"));
}

#[test]
fn wrong_settings_are_named_by_path() {
    let exception = |member: &str, value: Value| {
        let mut settings = pharmacy();
        settings["exceptions"] = json!([{"rule": "R1", "subject": "u1", "until": "2026-12-01T00:00:00Z", "approver": "boss", "control": "look"}]);
        settings["exceptions"][0][member] = value;
        refusal(&settings)
    };
    let rule = |member: &str, value: Value| {
        let mut settings = pharmacy();
        settings["rules"][0][member] = value;
        refusal(&settings)
    };
    let card = |set: Value, at_least: u32| {
        let mut settings = pharmacy();
        settings["rules"] = json!([{"id": "C", "kind": "cardinality", "set": set, "at_least": at_least, "owner": "o"}]);
        refusal(&settings)
    };
    let pharmacy_twice = || {
        let mut settings = pharmacy();
        settings["rules"] = json!([settings["rules"][0], settings["rules"][0]]);
        refusal(&settings)
    };
    let cases = [
        (exception("approver", json!(null)), "exceptions[0].approver` is missing"),
        (exception("approver", json!(" U1")), "exceptions[0].approver` is the subject"),
        (exception("until", json!(null)), "exceptions[0].until` is missing"),
        (exception("until", json!("2026-12-01")), "exceptions[0].until` is wrong"),
        (exception("control", json!("")), "exceptions[0].control` is missing"),
        (exception("rule", json!("R9")), "exceptions[0].rule` names no rule"),
        (exception("subject", json!("")), "exceptions[0].subject` is empty"),
        (rule("a", json!("nothing")), "rules[0].a` names no function: `nothing`"),
        (rule("b", json!("prescribe")), "rules[0].b` is the same"),
        (rule("set", json!(["dispense"])), "rules[0]` is a pair"),
        (rule("kind", json!("cardinality")), "rules[0]` is about cardinality"),
        (rule("owner", json!(null)), "rules[0].owner` is missing"),
        (rule("id", json!("")), "rules[0].id` is empty"),
        (rule("scope", json!({"attribute": "facility", "values": []})), "rules[0].scope` needs"),
        (rule("severity", json!("dire")), "rules[0].severity` is wrong"),
        (rule("colour", json!("red")), "rules[0].colour` is wrong"),
        (card(json!(["prescribe", "dispense"]), 1), "rules[0].at_least` must be"),
        (card(json!(["prescribe", "dispense"]), 3), "rules[0].at_least` must be"),
        (card(json!(["prescribe", "prescribe", "stock"]), 2), "rules[0].set` needs"),
        (card(json!(["prescribe", "gone"]), 2), "rules[0].set[1]` names no function"),
        (pharmacy_twice(), "rules[1].id` is also that of `rules[0]`"),
        (refusal(&json!({"functions": {}, "rules": []})), "functions` is empty"),
        (refusal(&json!({"functions": {"f": []}, "rules": []})), "functions.f` needs"),
    ];
    for (sentences, expected) in cases {
        assert!(sentences.iter().any(|sentence| sentence.contains(expected)), "{expected}: {sentences:?}");
    }
    let twice = r#"{"functions": {"f": ["a"], "f": ["b"]}, "rules": []}"#;
    assert!(testing::configure::<Sod>(twice).err().unwrap().concat().contains("`f` stands there twice"));
}

#[test]
fn the_example_and_the_schema_agree_with_the_plugin() {
    let example: Value = serde_json::from_str(EXAMPLE).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    assert!(schema.is_valid(&example));
    let sod = sod(&example);
    let doctor = || testing::call("okta.token").subject("u1").entitlement("Hospital Physician");
    assert!(decide(&sod, doctor()).findings.is_empty());
    assert_eq!(decide(&sod, doctor().requested(GrantKind::Role, "Pharmacist")).verdict(), Effect::Deny);
    // What the plugin refuses for its shape, the schema refuses too.
    let edits: [(&str, Value); 8] = [
        ("/existing", json!("perhaps")),
        ("/rules/0/owner", json!("")),
        ("/rules/0/set", json!(["prescribe", "dispense"])),
        ("/rules/3/at_least", json!(1)),
        ("/rules/0/severity", json!("dire")),
        ("/exceptions/0/control", json!("")),
        ("/functions/prescribe", json!([])),
        ("/rules/2/scope/values", json!([])),
    ];
    for (pointer, value) in edits {
        let mut wrong = example.clone();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[member] = value;
        assert!(!schema.is_valid(&wrong), "the schema takes a wrong {pointer}");
        assert!(!refusal(&wrong).is_empty(), "the plugin takes a wrong {pointer}");
    }
}

// ---- everything tried out --------------------------------------------------------------------------------------------

/// A small world: which of six entitlements stand where. Bit by bit.
#[derive(Clone, Debug)]
struct World {
    functions: [u8; 5],
    role: u8,
    rules: Vec<(u8, u32)>,
    held: u8,
    requested: u8,
    added: u8,
    dropped: u8,
}

fn world() -> impl Strategy<Value = World> {
    let rules = prop::collection::vec((1..32_u8, 2..4_u32), 0..6);
    (prop::array::uniform5(1..64_u8), 0..64_u8, rules, 0..128_u8, 0..128_u8, any::<u8>(), 0..16_u8).prop_map(
        |(functions, role, rules, held, requested, added, dropped)| World {
            functions,
            role,
            rules: rules.into_iter().filter(|(set, at_least)| set.count_ones() >= *at_least).collect(),
            held,
            requested,
            added: added & 0b111_1111,
            dropped,
        },
    )
}

impl World {
    /// Entitlement 6 is the role.
    fn id(bit: usize) -> String {
        if bit == 6 { "role".to_owned() } else { format!("e{bit}") }
    }

    fn ids(mask: u8) -> Vec<String> {
        (0..7).filter(|bit| mask >> bit & 1 == 1).map(Self::id).collect()
    }

    fn settings(&self) -> Value {
        let functions: serde_json::Map<String, Value> =
            (0..5).map(|at| (format!("f{at}"), json!(Self::ids(self.functions[at])))).collect();
        let rules: Vec<Value> = self.rules.iter().enumerate().map(|(at, (set, at_least))| {
            let set: Vec<String> = (0..5).filter(|bit| set >> bit & 1 == 1).map(|bit| format!("f{bit}")).collect();
            if *at_least == 2 && set.len() == 2 {
                json!({"id": format!("r{at}"), "kind": "pair", "a": set[0], "b": set[1], "owner": "o"})
            } else {
                json!({"id": format!("r{at}"), "kind": "cardinality", "set": set, "at_least": at_least, "owner": "o"})
            }
        }).collect();
        let mut settings = json!({"functions": functions, "rules": rules});
        if self.role > 0 {
            settings["roles"] = json!({"role": Self::ids(self.role)});
        }
        settings
    }

    fn call(&self) -> testing::CallBuilder {
        let mut call = testing::call("okta.token").subject("u").entitlements(Self::ids(self.held));
        for id in Self::ids(self.requested) {
            call = call.requested(GrantKind::Group, &id);
        }
        for id in Self::ids(self.added) {
            call = call.proposed(Change::AddGrant(grant(GrantKind::Group, &id)));
        }
        for id in Self::ids(self.dropped) {
            call = call.proposed(Change::DropGrant(grant(GrantKind::Group, &id)));
        }
        call
    }

    /// The functions of a rule that these entitlements give.
    fn given(&self, entitlements: u8, set: u8) -> u32 {
        let entitlements = if entitlements >> 6 & 1 == 1 { entitlements | self.role } else { entitlements };
        (0..5).filter(|at| set >> at & 1 == 1 && self.functions[*at] & entitlements & 0b11_1111 != 0).count() as u32
    }

    /// (rule, was it broken before, the size of the smallest set that breaks it), by trying every subset.
    fn judged(&self) -> BTreeSet<(String, bool, usize)> {
        let before = self.held & !self.dropped;
        let after = (self.held | self.requested | self.added) & !self.dropped;
        let broken = |with: u8, set, at_least| self.given(with, set) >= at_least;
        let judge = |(at, (set, at_least)): (usize, &(u8, u32))| {
            if !broken(after, *set, *at_least) {
                return None;
            }
            let existing = broken(before, *set, *at_least);
            let from = if existing { before } else { after };
            let subsets = (0..128_u8).filter(|subset| subset & !from == 0);
            let smallest = subsets.filter(|subset| broken(*subset, *set, *at_least)).map(u8::count_ones).min();
            Some((format!("r{at}"), existing, smallest.unwrap() as usize))
        };
        self.rules.iter().enumerate().filter_map(judge).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn judges_as_somebody_who_tries_everything(world in world()) {
        let decision = decide(&sod(&world.settings()), world.call());
        let found: BTreeSet<(String, bool, usize)> = decision
            .findings
            .iter()
            .map(|finding| (texts(finding, "rule").remove(0), finding.code == "SOD_EXISTING", texts(finding, "entitlements").len()))
            .collect();
        prop_assert_eq!(found, world.judged());
        for finding in &decision.findings {
            // What is named breaks the rule when it is all that the subject asks for.
            let rule: usize = texts(finding, "rule")[0][1..].parse().unwrap();
            let (set, at_least) = world.rules[rule];
            let named = texts(finding, "entitlements").iter().fold(0_u8, |mask, name| {
                let id = name.strip_prefix("group:").unwrap_or(name);
                mask | 1 << (0..7).find(|bit| World::id(*bit) == id).unwrap()
            });
            prop_assert!(world.given(named, set) >= at_least);
        }
    }

    #[test]
    fn order_never_matters(world in world(), seed in any::<u64>()) {
        let mut settings = world.settings();
        let mut call = world.call().build();
        let before = testing::decide(&sod(&settings), &call);
        shuffle(settings["rules"].as_array_mut().unwrap(), seed);
        for list in settings["functions"].as_object_mut().unwrap().values_mut() {
            shuffle(list.as_array_mut().unwrap(), seed);
        }
        shuffle(&mut call.subject.as_mut().unwrap().entitlements, seed);
        shuffle(&mut call.requested, seed);
        shuffle(&mut call.proposed, seed);
        prop_assert!(testing::decide(&sod(&settings), &call) == before);
    }
}

/// Fisher and Yates, with a generator that repeats itself for the same seed.
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for at in (1..list.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        list.swap(at, (state >> 33) as usize % (at + 1));
    }
}

// ---- large settings --------------------------------------------------------------------------------------------------

/// Functions `f0`… with entitlement `e0`…, and as many rules, every other one of cardinality.
fn large(functions: usize, rules: usize) -> Value {
    let name = |at: usize| format!("f{}", at % functions);
    let table: serde_json::Map<String, Value> =
        (0..functions).map(|at| (format!("f{at}"), json!([format!("e{at}")]))).collect();
    // Steps that share no factor with the number of functions, so that no two functions of a rule are the same.
    let rules: Vec<Value> = (0..rules)
        .map(|at| match at % 2 {
            0 => json!({"id": format!("r{at:05}"), "kind": "pair", "a": name(at), "b": name(at + 61), "owner": "o"}),
            _ => json!({"id": format!("r{at:05}"), "kind": "cardinality", "at_least": 3, "owner": "o",
                        "set": [name(at), name(at + 67), name(at + 131), name(at + 197), name(at + 263)]}),
        })
        .collect();
    json!({"functions": table, "rules": rules})
}

#[test]
fn ten_thousand_rules_over_few_and_many_functions() {
    for functions in [600, 10_007] {
        let sod = sod(&large(functions, 10_000));
        // Sixty neighbours: no two functions of a pair, at most one of a cardinality rule.
        let sixty = || testing::call("okta.token").subject("u").entitlements((0..60).map(|at| format!("e{at}")));
        assert!(decide(&sod, sixty()).findings.is_empty());
        // The last rule, and what it takes to break it.
        let name = |at: usize| format!("e{}", at % functions);
        let missing = [9999, 9999 + 67, 9999 + 131].map(name);
        let decision = missing.iter().fold(sixty(), |call, id| call.requested(GrantKind::Entitlement, id));
        let decision = decide(&sod, decision);
        let rules: Vec<String> = decision.findings.iter().flat_map(|finding| texts(finding, "rule")).collect();
        assert!(rules.contains(&"r09999".to_owned()), "{rules:?}");
        assert_eq!(decision.verdict(), Effect::Deny);
    }
}

#[test]
fn ten_thousand_entitlements_held_against_five_hundred_rules() {
    let functions = 500;
    let mut settings = large(functions, 500);
    for at in 0..functions {
        settings["functions"][format!("f{at}")] = (0..20).map(|copy| format!("e{at}-{copy}")).collect();
    }
    let sod = sod(&settings);
    let all = (0..functions).flat_map(|at| (0..20).map(move |copy| format!("e{at}-{copy}")));
    let decision = decide(&sod, testing::call("okta.token").subject("u").entitlements(all));
    assert_eq!(decision.findings.len(), judge::MOST_FINDINGS + 1);
    assert_eq!(decision.findings.last().unwrap().arguments[0].value, "480");
    let one_side = (0..functions).step_by(300).map(|at| format!("e{at}-7"));
    assert!(decide(&sod, testing::call("okta.token").subject("u").entitlements(one_side)).findings.is_empty());
}

const MANIFEST: &str = include_str!("../manifest.toml");
const EXAMPLE: &str = include_str!("../settings.example.json");

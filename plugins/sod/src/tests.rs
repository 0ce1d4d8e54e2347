//! The whole plugin, from settings to findings, and with as many rules as anybody has.

use portcullis_guest::{Change, Effect, Finding, Grant, GrantKind, Severity, testing};
use serde_json::{Value, json};

use super::*;

mod exhaustive;
mod tables;
mod tables_exhaustive;

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
    portcullis_guest::strings(&argument.unwrap().value)
        .unwrap()
        .into_iter()
        .map(Into::into)
        .collect()
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
    assert!(
        decide(&sod, holds().proposed(add()).proposed(drop(GrantKind::Group, "P2")))
            .findings
            .is_empty()
    );
    assert!(
        decide(&sod, holds().proposed(drop(GrantKind::Scope, "D")).proposed(add()))
            .findings
            .is_empty()
    );
    let kept = holds().proposed(drop(GrantKind::Role, "P2")).proposed(add());
    assert_eq!(decide(&sod, kept).codes(), ["SOD_CONFLICT"]);
}

#[test]
fn a_conflict_from_before_is_weighed_as_the_settings_say() {
    for (existing, effect) in
        [("report", Effect::Allow), ("review", Effect::Review), ("enforce", Effect::Deny)]
    {
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
    let decision = decide(
        &sod(&pharmacy()),
        testing::call("okta.token").subject("u1").entitlements(["D", "P"]),
    );
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
        let call = testing::call("okta.token")
            .received(received)
            .entitlement("P")
            .requested(GrantKind::Group, "D");
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
    let call = |received| {
        testing::call("okta.token")
            .received(received)
            .entitlement("P")
            .requested(GrantKind::Role, "D")
    };
    assert_eq!(decide(&sod(&settings), call(1_796_079_599_999)).codes(), ["SOD_CONFLICT"]);
    let decision = decide(&sod(&settings), call(1_796_079_600_000));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["SOD_RULE_EXPIRED"], Effect::Allow));
}

#[test]
fn a_scope_narrows_a_rule_but_never_by_what_is_unknown() {
    let mut settings = pharmacy();
    settings["rules"][0]["scope"] = json!({"attribute": "facility", "values": ["north", "south"]});
    let subject = sod(&settings);
    let call = || {
        testing::call("okta.token").subject("u1").entitlement("P").requested(GrantKind::Role, "D")
    };
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
    assert!(!applies(
        &resource,
        call().attribute("facility", "north").resource_attribute("facility", "west")
    ));
    assert!(applies(
        &resource,
        call().attribute("facility", "west").resource_attribute("facility", "north")
    ));
}

#[test]
fn roles_contain_what_their_roles_contain_and_cycles_end() {
    let mut settings = pharmacy();
    settings["roles"] = json!({"Top": ["Middle"], "Middle": ["P", "role:Loop"], "Loop": ["Top", "Deep"], "Deep": ["D"]});
    settings["existing"] = json!("enforce");
    let sod = sod(&settings);
    for role in ["Top", "Middle", "Loop", "role:Middle"] {
        let decision = decide(&sod, testing::call("okta.token").subject("u1").entitlement(role));
        assert_eq!(
            texts(&decision.findings[0], "entitlements"),
            [role],
            "one role is enough to break the rule"
        );
    }
    assert!(
        decide(&sod, testing::call("okta.token").subject("u1").entitlement("Deep"))
            .findings
            .is_empty()
    );
}

#[test]
fn of_equally_strict_conflicts_the_first_id_comes_first() {
    let mut settings = pharmacy();
    settings["existing"] = json!("enforce");
    settings["rules"][0]["id"] = json!("A-HELD");
    let rules = settings["rules"].as_array_mut().unwrap();
    rules.push(json!({"id": "B-ASKED", "kind": "pair", "a": "prescribe", "b": "stock",
                      "severity": "critical", "owner": "o"}));
    let call = testing::call("okta.token").subject("u1").entitlements(["P", "D"]);
    let decision = decide(&sod(&settings), call.requested(GrantKind::Role, "S"));
    assert_eq!(decision.codes(), ["SOD_EXISTING", "SOD_CONFLICT"]);
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
    let decision = decide(
        &sod,
        testing::call("okta.token")
            .subject("u")
            .entitlements((0..12).map(|at| format!("e{at:02}"))),
    );
    assert_eq!(decision.findings.len(), evaluate::MAX_FINDINGS + 1);
    assert_eq!(texts(&decision.findings[0], "rule"), ["10-11"]);
    let last = decision.findings.last().unwrap();
    assert_eq!(
        (last.code.as_str(), last.effect, last.arguments[0].value.as_str()),
        ("SOD_MORE", Effect::Review, "46")
    );
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
        assert!(
            sentences.iter().any(|sentence| sentence.contains(expected)),
            "{expected}: {sentences:?}"
        );
    }
    let twice = r#"{"functions": {"f": ["a"], "f": ["b"]}, "rules": []}"#;
    assert!(
        testing::configure::<Sod>(twice).err().unwrap().concat().contains("`f` stands there twice")
    );
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
    assert_eq!(
        decide(&sod, doctor().requested(GrantKind::Role, "Pharmacist")).verdict(),
        Effect::Deny
    );
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

/// Functions `f0`… with entitlement `e0`…, and as many rules, every other one of cardinality.
fn large(functions: usize, rules: usize) -> Value {
    let name = |at: usize| format!("f{}", at % functions);
    let table: serde_json::Map<String, Value> =
        (0..functions).map(|at| (format!("f{at}"), json!([format!("e{at}")]))).collect();
    // Steps that share no factor with the number of functions, so that no two functions of a rule
    // are the same.
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
        let sixty = || {
            testing::call("okta.token")
                .subject("u")
                .entitlements((0..60).map(|at| format!("e{at}")))
        };
        assert!(decide(&sod, sixty()).findings.is_empty());
        // The last rule, and what it takes to break it.
        let name = |at: usize| format!("e{}", at % functions);
        let missing = [9999, 9999 + 67, 9999 + 131].map(name);
        let decision =
            missing.iter().fold(sixty(), |call, id| call.requested(GrantKind::Entitlement, id));
        let decision = decide(&sod, decision);
        let rules: Vec<String> =
            decision.findings.iter().flat_map(|finding| texts(finding, "rule")).collect();
        assert!(rules.contains(&"r09999".to_owned()), "{rules:?}");
        assert_eq!(decision.verdict(), Effect::Deny);
    }
}

#[test]
fn ten_thousand_entitlements_held_against_five_hundred_rules() {
    let functions = 500;
    let mut settings = large(functions, 500);
    for at in 0..functions {
        settings["functions"][format!("f{at}")] =
            (0..20).map(|copy| format!("e{at}-{copy}")).collect();
    }
    let sod = sod(&settings);
    let all = (0..functions).flat_map(|at| (0..20).map(move |copy| format!("e{at}-{copy}")));
    let decision = decide(&sod, testing::call("okta.token").subject("u").entitlements(all));
    assert_eq!(decision.findings.len(), evaluate::MAX_FINDINGS + 1);
    assert_eq!(decision.findings.last().unwrap().arguments[0].value, "480");
    let one_side = (0..functions).step_by(300).map(|at| format!("e{at}-7"));
    assert!(
        decide(&sod, testing::call("okta.token").subject("u").entitlements(one_side))
            .findings
            .is_empty()
    );
}

const MANIFEST: &str = include_str!("../manifest.toml");
const EXAMPLE: &str = include_str!("../settings.example.json");

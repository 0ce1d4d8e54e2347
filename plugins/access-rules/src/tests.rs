//! The whole plugin, from settings to findings.

use portcullis_guest::{Effect, Finding, SearchTarget, testing};
use serde_json::{Value, json};

use super::*;

mod certification;
mod interop;
mod properties;

fn rules(settings: &Value) -> AccessRules {
    testing::configured(&settings.to_string())
}

fn refusal(settings: &Value) -> Vec<String> {
    testing::configure::<AccessRules>(&settings.to_string()).err().unwrap_or_default()
}

fn decide(plugin: &AccessRules, call: testing::CallBuilder) -> Decision {
    let call = call.build();
    let decision = testing::decide(plugin, &call);
    testing::assert_declared(MANIFEST, &call.hook, &decision);
    decision
}

/// The decision's one code.
fn code(plugin: &AccessRules, call: testing::CallBuilder) -> String {
    let decision = decide(plugin, call);
    assert_eq!(decision.codes().len(), 1, "{:?}", decision.codes());
    decision.codes().concat()
}

fn text(finding: &Finding, name: &str) -> String {
    let argument = finding.arguments.iter().find(|argument| argument.name == name);
    portcullis_guest::text(&argument.unwrap().value).unwrap().into_owned()
}

/// Somebody does something to something.
fn call(who: &str, what: &str, to: &str) -> testing::CallBuilder {
    testing::call("authzen").subject(who).action("action", what).resource("record", to)
}

/// One rule over a small directory.
fn one(rule: Value) -> Value {
    json!({
        "owner": "o",
        "subjects": [
            {"type": "user", "id": "ann", "roles": ["nurse"], "attributes": {"ward": "north", "level": 3, "vip": false}},
            {"type": "user", "id": "ben", "attributes": {"role": "doctor", "wards": ["north", "south"], "licence": null}},
        ],
        "resources": [
            {"type": "record", "id": "r1", "attributes": {"ward": "north", "owner": "ann"}},
            {"type": "record", "id": "r2", "attributes": {"ward": "south", "owner": "ben"}},
        ],
        "actions": [{"name": "read"}, {"name": "print", "attributes": {"risk": "high"}}],
        "rules": [rule],
    })
}

/// Whether a rule with this condition allows, and whether one denies, what an otherwise unbounded rule set allows.
fn met(condition: Value, call: testing::CallBuilder) -> (bool, bool) {
    met_in(|settings| settings, condition, call)
}

fn met_in(
    change: impl Fn(Value) -> Value,
    condition: Value,
    call: testing::CallBuilder,
) -> (bool, bool) {
    let rule = |effect: &str| json!({"id": "R", "effect": effect, "when": [condition]});
    let allows =
        decide(&rules(&change(one(rule("allow")))), call.clone()).verdict() == Effect::Allow;
    let mut denying = one(rule("deny"));
    let everything = json!({"id": "A", "effect": "allow", "when": [{"what": "payload:/never", "present": false}]});
    denying["rules"].as_array_mut().unwrap().push(everything);
    let denies = decide(&rules(&change(denying)), call).verdict() == Effect::Deny;
    (allows, denies)
}

/// Met, not met, and not known: an allowing rule applies when it is met, a denying one unless it is not.
const MET: (bool, bool) = (true, true);
const UNMET: (bool, bool) = (false, false);
const UNKNOWN: (bool, bool) = (false, true);

#[test]
fn a_denial_beats_every_permission_and_nothing_is_allowed_by_silence() {
    let mut settings =
        one(json!({"id": "ALL", "effect": "allow", "subject": {"roles": ["nurse"]}}));
    settings["rules"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "NOT-PRINT", "effect": "deny", "owner": "Privacy", "action": {"names": ["print"]}}));
    let plugin = rules(&settings);
    let decision = decide(&plugin, call("ann", "read", "r1"));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["ACCESS_ALLOWED"], Effect::Allow));
    assert_eq!(text(&decision.findings[0], "rule"), "ALL");
    let decision = decide(&plugin, call("ann", "print", "r1"));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["ACCESS_DENIED"], Effect::Deny));
    assert_eq!(text(&decision.findings[0], "owner"), "Privacy");
    let decision = decide(&plugin, call("ben", "read", "r1"));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["NO_RULE"], Effect::Deny));
    assert_eq!(text(&decision.findings[0], "owner"), "o");
    settings["otherwise"] = json!("abstain");
    let decision = decide(&rules(&settings), call("ben", "read", "r1"));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["NO_RULE"], Effect::Abstain));
    assert_eq!(decide(&rules(&settings), call("ann", "print", "r1")).verdict(), Effect::Deny);
}

#[test]
fn a_rule_is_for_those_it_names() {
    let everything = json!({
        "id": "R", "effect": "allow",
        "subject": {"types": ["user"], "ids": ["ann", "eve"], "roles": ["nurse", "doctor"]},
        "action": {"names": ["read", "write"]},
        "resource": {"types": ["record"], "ids": ["r1"]},
    });
    let plugin = rules(&one(everything));
    let allowed = |call| decide(&plugin, call).verdict() == Effect::Allow;
    assert!(allowed(call("ann", "read", "r1")) && allowed(call("ann", "write", "r1")));
    assert!(!allowed(call("ann", "print", "r1")));
    assert!(!allowed(call("ann", "read", "r2")));
    assert!(!allowed(call("ben", "read", "r1")), "not among the ids");
    assert!(!allowed(call("eve", "read", "r1")), "without a role");
    assert!(allowed(call("eve", "read", "r1").entitlement("doctor")));
    assert!(!allowed(
        testing::call("authzen").subject("ann").action("action", "read").resource("bed", "r1")
    ));
    let of_type = testing::call("authzen").subject_of_type("robot", "ann").action("action", "read");
    assert!(!allowed(of_type.resource("record", "r1").entitlement("nurse")));
    for (listed, who) in [(true, "ann"), (false, "eve")] {
        let plugin =
            rules(&one(json!({"id": "R", "effect": "allow", "subject": {"listed": listed}})));
        for other in ["ann", "eve"] {
            assert_eq!(
                decide(&plugin, call(other, "read", "r1")).verdict() == Effect::Allow,
                other == who
            );
        }
    }
    let plugin = rules(&one(json!({"id": "R", "effect": "allow", "resource": {"listed": true}})));
    assert_eq!(code(&plugin, call("x", "y", "r2")), "ACCESS_ALLOWED");
    assert_eq!(code(&plugin, call("x", "y", "r3")), "NO_RULE");
}

#[test]
fn comparisons_are_met_unmet_or_not_known() {
    let ann = || call("ann", "read", "r1");
    let ben = || call("ben", "print", "r2");
    let cases = [
        (json!({"what": "subject.attributes.ward", "is": "north"}), ann(), MET),
        (json!({"what": "subject.attributes.ward", "is": "south"}), ann(), UNMET),
        (json!({"what": "subject.attributes.ward", "is_not": "south"}), ann(), MET),
        (json!({"what": "subject.attributes.ward", "is_not": "north"}), ann(), UNMET),
        (json!({"what": "subject.attributes.ward", "is": "north"}), ben(), UNKNOWN),
        (json!({"what": "subject.attributes.ward", "is_not": "north"}), ben(), UNKNOWN),
        (json!({"what": "subject.attributes.ward", "is": "north", "if_absent": true}), ben(), MET),
        (
            json!({"what": "subject.attributes.ward", "is": "north", "if_absent": false}),
            ben(),
            UNMET,
        ),
        (json!({"what": "subject.attributes.licence", "is": "x"}), ben(), UNKNOWN),
        (json!({"what": "subject.attributes.licence", "present": true}), ben(), UNMET),
        (json!({"what": "subject.attributes.licence", "present": false}), ben(), MET),
        (json!({"what": "subject.attributes.wards", "is": "south"}), ben(), MET),
        (json!({"what": "subject.attributes.wards", "is_not": "south"}), ben(), UNMET),
        (json!({"what": "subject.attributes.wards", "in": ["west", "north"]}), ben(), MET),
        (json!({"what": "subject.attributes.wards", "not_in": ["west", "east"]}), ben(), MET),
        (
            json!({"what": "subject.attributes.wards", "same_as": "resource.attributes.ward"}),
            ben(),
            MET,
        ),
        (
            json!({"what": "subject.attributes.ward", "same_as": "resource.attributes.ward"}),
            ann(),
            MET,
        ),
        (
            json!({"what": "subject.attributes.ward", "not_same_as": "resource.attributes.ward"}),
            ann(),
            UNMET,
        ),
        (json!({"what": "subject.id", "same_as": "resource.attributes.owner"}), ann(), MET),
        (
            json!({"what": "subject.id", "same_as": "resource.attributes.owner"}),
            call("ben", "read", "r1"),
            UNMET,
        ),
        (json!({"what": "subject.id", "same_as": "resource.attributes.nobody"}), ann(), UNKNOWN),
        (
            json!({"what": "subject.id", "same_as": "resource.attributes.nobody", "if_absent": false}),
            ann(),
            UNMET,
        ),
        (json!({"what": "subject.attributes.level", "at_least": 3}), ann(), MET),
        (json!({"what": "subject.attributes.level", "more_than": 3}), ann(), UNMET),
        (json!({"what": "subject.attributes.level", "at_most": 2.5}), ann(), UNMET),
        (json!({"what": "subject.attributes.level", "less_than": 3.5}), ann(), MET),
        (json!({"what": "subject.attributes.level", "is": 3.0}), ann(), MET),
        (json!({"what": "subject.attributes.level", "is": "3"}), ann(), UNMET),
        (json!({"what": "subject.attributes.ward", "at_least": 3}), ann(), UNKNOWN),
        (json!({"what": "subject.attributes.vip", "is": false}), ann(), MET),
        (json!({"what": "resource.id", "starts_with": "r"}), ann(), MET),
        (json!({"what": "resource.id", "starts_with": "x"}), ann(), UNMET),
        (json!({"what": "resource.type", "is": "record"}), ann(), MET),
        (json!({"what": "action.name", "in": ["print"]}), ben(), MET),
        (json!({"what": "action.attributes.risk", "is": "high"}), ben(), MET),
        (json!({"what": "subject.roles", "is": "doctor"}), ben(), MET),
        (json!({"what": "subject.roles", "not_in": ["doctor"]}), ann(), MET),
        (
            json!({"what": "context:/ip", "is": "192.0.2.1"}),
            ann().payload(r#"{"context":{"ip":"192.0.2.1"}}"#),
            MET,
        ),
        (
            json!({"what": "context:/ip", "is": "192.0.2.1"}),
            ann().payload(r#"{"context":{"ip":"192.0.2.2"}}"#),
            UNMET,
        ),
        (json!({"what": "context:/ip", "is": "192.0.2.1"}), ann(), UNKNOWN),
        (
            json!({"what": "context:/ip", "is": "x"}),
            ann().payload(r#"{"context":{"ip":{"v4":1}}}"#),
            UNKNOWN,
        ),
        (json!({"what": "payload:/a/1", "is": true}), ann().payload(r#"{"a":[0,true]}"#), MET),
    ];
    for (condition, call, expected) in cases {
        assert_eq!(met(condition.clone(), call), expected, "{condition}");
    }
}

#[test]
fn what_comes_with_a_call_counts_as_the_settings_say() {
    let is = |name: &str, value: &str| json!({"what": format!("resource.attributes.{name}"), "is": value});
    let weighed = |weight: Option<&str>, condition: Value, id: &str| {
        let call = call("ann", "read", id)
            .resource_attribute("ward", "west")
            .resource_attribute("room", "7");
        let change = |mut settings: Value| {
            if let Some(weight) = weight {
                settings["properties"] = json!({"resource": weight});
            }
            settings
        };
        met_in(change, condition, call)
    };
    // What the settings say of what they list, what they do not say of it, and what they do not list.
    for (weight, listed, filled, unlisted) in [
        (Some("ignore"), "north", UNKNOWN, UNKNOWN),
        (Some("unlisted"), "north", UNKNOWN, MET),
        (None, "north", UNKNOWN, MET),
        (Some("fill"), "north", MET, MET),
        (Some("override"), "west", MET, MET),
    ] {
        assert_eq!(weighed(weight, is("ward", listed), "r1"), MET, "{weight:?}");
        assert_eq!(weighed(weight, is("room", "7"), "r1"), filled, "{weight:?}");
        assert_eq!(weighed(weight, is("ward", "west"), "r9"), unlisted, "{weight:?}");
    }
    // That there is none is something the settings say, and `null` is nothing that a call says.
    let licence = json!({"what": "subject.attributes.licence", "present": true});
    let sent = || call("ben", "read", "r1").attribute("licence", "L1");
    let with = |weight: &'static str| {
        move |mut settings: Value| {
            settings["properties"] = json!({"subject": weight});
            settings
        }
    };
    assert_eq!(met_in(with("fill"), licence.clone(), sent()), UNMET);
    assert_eq!(met_in(with("override"), licence, sent()), MET);
    let ward = json!({"what": "subject.attributes.ward", "is": "north"});
    assert_eq!(
        met_in(with("override"), ward, call("ann", "read", "r1").attribute("ward", json!(null))),
        MET
    );
    // How an action is meant is for the call to say.
    let soft = json!({"what": "action.attributes.soft", "is": true});
    assert_eq!(met(soft, call("ann", "print", "r1").action_attribute("soft", true)), MET);
}

#[test]
fn roles_come_from_where_the_settings_let_them() {
    let allowed =
        |weight: &str, who: &str, add: fn(testing::CallBuilder) -> testing::CallBuilder| {
            let mut settings =
                one(json!({"id": "R", "effect": "allow", "subject": {"roles": ["admin"]}}));
            settings["properties"] = json!({"subject": weight});
            settings["roles"] = json!({"owner": ["admin", "owner"], "root": ["owner"]});
            decide(&rules(&settings), add(call(who, "read", "r1"))).verdict() == Effect::Allow
        };
    let attribute: fn(testing::CallBuilder) -> testing::CallBuilder =
        |call| call.attribute("role", "admin");
    let list: fn(testing::CallBuilder) -> testing::CallBuilder =
        |call| call.attribute("roles", ["x", "root"]);
    let held: fn(testing::CallBuilder) -> testing::CallBuilder = |call| call.entitlement("owner");
    for add in [attribute, list, held] {
        // Ann's roles are in the settings; of Ben they know an attribute; of Eve nothing.
        assert!(
            !allowed("ignore", "ann", add)
                && !allowed("ignore", "ben", add)
                && !allowed("ignore", "eve", add)
        );
        assert!(
            !allowed("unlisted", "ann", add)
                && !allowed("unlisted", "ben", add)
                && allowed("unlisted", "eve", add)
        );
        assert!(!allowed("fill", "ann", add) && allowed("fill", "eve", add));
        assert!(
            allowed("override", "ann", add)
                && allowed("override", "ben", add)
                && allowed("override", "eve", add)
        );
    }
    assert!(!allowed("fill", "ben", attribute), "the settings say which role he has");
    assert!(allowed("fill", "ben", list) && allowed("fill", "ben", held), "and nothing of these");
}

#[test]
fn rules_have_their_time() {
    let mut rule = json!({"id": "R", "effect": "allow", "action": {"names": ["read"]}});
    rule["from"] = json!("2026-12-01T00:00:00+01:00");
    rule["until"] = json!("2027-01-01T00:00:00Z");
    let plugin = rules(&one(rule));
    let at = |millis| {
        decide(&plugin, call("ann", "read", "r1").received(millis)).verdict() == Effect::Allow
    };
    assert!(!at(1_796_079_599_999) && at(1_796_079_600_000)); // 2026-11-30T23:00:00Z
    assert!(at(1_798_761_599_999) && !at(1_798_761_600_000));
    let hours =
        json!({"zone": "Europe/Berlin", "days": ["fri"], "from": "07:00", "until": "19:00"});
    let night = json!({"id": "N", "effect": "deny", "action": {"names": ["read"]}, "hours": hours});
    let mut settings = one(json!({"id": "R", "effect": "allow", "action": {"names": ["read"]}}));
    settings["rules"].as_array_mut().unwrap().push(night);
    let plugin = rules(&settings);
    let at = |millis| {
        decide(&plugin, call("ann", "read", "r1").received(millis)).verdict() == Effect::Allow
    };
    assert!(!at(1_783_054_800_000), "2026-07-03T05:00:00Z, a Friday, 07:00 there");
    assert!(at(1_783_054_799_999) && at(1_783_141_200_000));
    assert!(!at(u64::MAX), "a moment that no calendar has weakens no denial");
}

#[test]
fn what_a_call_does_not_say_lets_nobody_in() {
    let mut settings = one(json!({"id": "R", "effect": "allow", "subject": {"types": ["user"]}}));
    settings["rules"].as_array_mut().unwrap().extend([
        json!({"id": "D1", "effect": "deny", "resource": {"ids": ["r9"]}}),
        json!({"id": "D2", "effect": "deny", "when": [{"what": "subject.attributes.ward", "is": "west"}]}),
    ]);
    let plugin = rules(&settings);
    assert_eq!(code(&plugin, call("ann", "read", "r1")), "ACCESS_ALLOWED");
    let decision = decide(&plugin, call("ben", "read", "r1"));
    assert_eq!(decision.codes(), ["ACCESS_UNKNOWN"]);
    assert_eq!(text(&decision.findings[0], "missing"), "subject.attributes.ward");
    let decision =
        decide(&plugin, testing::call("generic").subject("ann").action("action", "read"));
    assert_eq!(
        (decision.codes(), text(&decision.findings[0], "missing")),
        (vec!["ACCESS_UNKNOWN"], "resource.id".into())
    );
    let decision = decide(&plugin, testing::call("generic"));
    assert_eq!(decision.codes(), ["ACCESS_UNKNOWN", "ACCESS_UNKNOWN"]);
}

#[test]
fn many_denials_are_cut_short() {
    let mut settings = one(json!({"id": "R", "effect": "allow", "subject": {"types": ["user"]}}));
    let denials = (0..20).map(
        |at| json!({"id": format!("D{at:02}"), "effect": "deny", "action": {"names": ["read"]}}),
    );
    settings["rules"].as_array_mut().unwrap().extend(denials);
    let decision = decide(&rules(&settings), call("ann", "read", "r1"));
    assert_eq!(decision.findings.len(), evaluate::MAX_FINDINGS + 1);
    assert_eq!(text(&decision.findings[0], "rule"), "D00");
    assert_eq!(decision.findings.last().unwrap().arguments[0].value, "12");
}

#[test]
fn wrong_settings_are_named_by_path() {
    let with = |pointer: &str, value: Value| {
        let mut settings = one(
            json!({"id": "R", "effect": "allow", "action": {"names": ["read"]}, "when": [{"what": "subject.id", "is": "ann"}],
            "hours": {"zone": "Europe/Berlin", "from": "07:00", "until": "19:00"}}),
        );
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        settings.pointer_mut(parent).unwrap()[member] = value;
        refusal(&settings)
    };
    let cases = [
        ("/owner", json!(""), "`owner` is empty"),
        ("/rules", json!([]), "`rules` is empty"),
        ("/otherwise", json!("perhaps"), "`otherwise` is wrong"),
        ("/properties", json!({"subject": "trust"}), "`properties.subject` is wrong"),
        ("/roles", json!({"a": [""]}), "`roles.a` has an empty name"),
        (
            "/subjects",
            json!([{"type": "user", "id": ""}]),
            "`subjects[0].id` needs 1 to 1024 bytes",
        ),
        ("/subjects", json!([{"type": "", "id": "x"}]), "`subjects[0].type` is empty"),
        (
            "/subjects",
            json!([{"type": "u", "id": "x"}, {"type": "u", "id": "x"}]),
            "`subjects[1]` is listed already",
        ),
        (
            "/subjects",
            json!([{"type": "u", "id": "x", "roles": [""]}]),
            "`subjects[0].roles` has an empty name",
        ),
        (
            "/resources",
            json!([{"type": "r", "id": "x", "attributes": {"a": {}}}]),
            "`resources[0].attributes.a` must be",
        ),
        ("/actions", json!([{"name": ""}]), "`actions[0].name` needs"),
        ("/rules/0/id", json!(""), "`rules[0].id` is empty"),
        ("/rules/0/owner", json!(""), "`rules[0].owner` is empty"),
        ("/rules/0/effect", json!("permit"), "`rules[0].effect` is wrong"),
        ("/rules/0/colour", json!("red"), "`rules[0].colour` is wrong"),
        ("/rules/0/action", json!({"names": []}), "`rules[0].action.names` needs at least one"),
        ("/rules/0/subject", json!({"roles": [""]}), "`rules[0].subject.roles` needs"),
        ("/rules/0/hours/zone", json!("Atlantis"), "`rules[0].hours.zone` is no time zone"),
        ("/rules/0/hours/from", json!("7 am"), "`rules[0].hours.from` is no time of day"),
        ("/rules/0/hours/days", json!([]), "`rules[0].hours.days` is empty"),
        ("/rules/0/when/0/what", json!("subject"), "`rules[0].when[0].what` names no part"),
        ("/rules/0/when/0/is", json!(null), "`rules[0].when[0]` needs exactly one"),
        ("/rules/0/when/0/is", json!({"a": 1}), "`rules[0].when[0].is` must be"),
        ("/rules/0/when/0/in", json!(["a"]), "`rules[0].when[0]` needs exactly one"),
        (
            "/rules/0/when",
            json!([{"what": "subject.id", "in": []}]),
            "`rules[0].when[0].in` must be",
        ),
        (
            "/rules/0/when",
            json!([{"what": "subject.id", "same_as": "x"}]),
            "`rules[0].when[0].same_as` names no part",
        ),
        (
            "/rules/0/when",
            json!([{"what": "subject.id", "at_most": "x"}]),
            "`rules[0].when[0].at_most` must be a number",
        ),
    ];
    for (pointer, value, expected) in cases {
        let sentences = with(pointer, value);
        assert!(
            sentences.iter().any(|sentence| sentence.contains(expected)),
            "{expected}: {sentences:?}"
        );
    }
    let twice = json!({"owner": "o", "rules": [{"id": "R", "effect": "deny"}, {"id": "R", "effect": "deny"}]});
    assert!(refusal(&twice).concat().contains("`rules[1].id` is also that of `rules[0]`"));
    let open = json!({"owner": "o", "rules": [{"id": "R", "effect": "allow"}]});
    assert!(refusal(&open).concat().contains("allows everything to everybody"));
    let over = json!({"id": "R", "effect": "deny", "from": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"});
    assert!(
        refusal(&json!({"owner": "o", "rules": [over]}))
            .concat()
            .contains("`rules[0].until` is not later")
    );
}

#[test]
fn the_example_and_the_schema_agree_with_the_plugin() {
    let example: Value = serde_json::from_str(EXAMPLE).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    assert!(schema.is_valid(&example));
    assert!(schema.is_valid(&interop::settings()));
    // What the plugin refuses for its shape, the schema refuses too.
    let edits: [(&str, Value); 11] = [
        ("/owner", json!("")),
        ("/otherwise", json!("perhaps")),
        ("/properties/subject", json!("trust")),
        ("/subjects/0/id", json!("")),
        ("/subjects/0/attributes", json!({"a": {}})),
        ("/rules/0/effect", json!("permit")),
        ("/rules/0/subject/types", json!([])),
        ("/rules/1/when/0/what", json!("subject")),
        ("/rules/1/when/0/is", json!({})),
        ("/rules/1/when/0/in", json!(["x"])),
        ("/rules/1/hours", json!({"zone": "UTC", "from": "7", "until": "8"})),
    ];
    for (pointer, value) in edits {
        let mut wrong = example.clone();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[member] = value;
        assert!(!schema.is_valid(&wrong), "the schema takes a wrong {pointer}");
        assert!(!refusal(&wrong).is_empty(), "the plugin takes a wrong {pointer}");
    }
}

#[test]
fn what_is_listed_is_found_and_nothing_else() {
    let mut settings = one(
        json!({"id": "R", "effect": "allow", "subject": {"roles": ["nurse"]}, "action": {"names": ["write"]}}),
    );
    settings["rules"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "D", "effect": "deny", "resource": {"ids": ["r2"]}}));
    let plugin = rules(&settings);
    let find = |call: testing::CallBuilder| testing::find(&plugin, &call.build(), 1);
    assert_eq!(find(call("", "write", "r1").search(SearchTarget::Subject, "user")), ["ann"]);
    assert_eq!(find(call("ann", "write", "").search(SearchTarget::Resource, "record")), ["r1"]);
    // An action that only a rule names is one of those that can be found.
    assert_eq!(find(call("ann", "", "r1").search(SearchTarget::Action, "")), ["write"]);
    for nothing in [
        call("", "write", "r2").search(SearchTarget::Subject, "user"),
        call("", "write", "r1").search(SearchTarget::Subject, "robot"),
        call("nobody", "write", "").search(SearchTarget::Resource, "record"),
        call("ann", "fly", "").search(SearchTarget::Resource, "record"),
        call("ann", "write", "").search(SearchTarget::Resource, "bed"),
        call("nobody", "", "r1").search(SearchTarget::Action, ""),
    ] {
        assert!(find(nothing).is_empty());
    }
    // What is sought has the attributes that come with the call, as far as they count.
    let held =
        call("", "write", "r1").search(SearchTarget::Subject, "user").attribute("role", "nurse");
    assert_eq!(find(held), ["ann"]);
}

const MANIFEST: &str = include_str!("../manifest.toml");
const EXAMPLE: &str = include_str!("../settings.example.json");

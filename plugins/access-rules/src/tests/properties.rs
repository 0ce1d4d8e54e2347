//! What holds for any settings and any call: search is the filter of evaluation, the index leaves out nothing that applies, the
//! order of rules is nothing, and a further denial never opens anything. And as many rules as anybody has.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::compiled::Applies;
use crate::evaluate::evaluate;
use crate::request::EvaluationRequest;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.to_vec())
}

fn names() -> impl Strategy<Value = Value> {
    prop_oneof![2 => Just(json!(null)), 3 => prop::collection::vec(name(), 1..3).prop_map(|names| json!(names))]
}

fn literal() -> impl Strategy<Value = Value> {
    prop_oneof![
        name().prop_map(|name| json!(name)),
        (0..3).prop_map(|number| json!(number)),
        any::<bool>().prop_map(|it| json!(it))
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("subject.id".to_owned()),
        Just("resource.id".to_owned()),
        Just("subject.roles".to_owned()),
        Just("action.name".to_owned()),
        Just("resource.type".to_owned()),
        name().prop_map(|name| format!("subject.attributes.{name}")),
        name().prop_map(|name| format!("resource.attributes.{name}")),
        name().prop_map(|name| format!("action.attributes.{name}")),
        name().prop_map(|name| format!("context:/{name}")),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    let comparison = prop_oneof![
        literal().prop_map(|it| ("is", it)),
        literal().prop_map(|it| ("is_not", it)),
        prop::collection::vec(literal(), 1..3).prop_map(|it| ("in", json!(it))),
        prop::collection::vec(literal(), 1..3).prop_map(|it| ("not_in", json!(it))),
        path().prop_map(|it| ("same_as", json!(it))),
        path().prop_map(|it| ("not_same_as", json!(it))),
        (0..3).prop_map(|it| ("at_least", json!(it))),
        name().prop_map(|it| ("starts_with", json!(it))),
        any::<bool>().prop_map(|it| ("present", json!(it))),
    ];
    (path(), comparison, prop::option::weighted(0.2, any::<bool>())).prop_map(
        |(what, (test, value), if_absent)| {
            let mut condition = json!({"what": what, test: value});
            if let Some(if_absent) = if_absent {
                condition["if_absent"] = json!(if_absent);
            }
            condition
        },
    )
}

fn rule() -> impl Strategy<Value = Value> {
    let listed = || prop::option::weighted(0.1, any::<bool>());
    let parts = (
        names(),
        names(),
        names(),
        names(),
        names(),
        listed(),
        prop::collection::vec(condition(), 0..3),
    );
    (any::<bool>(), parts).prop_map(
        |(allow, (ids, roles, actions, types, resources, listed, when))| {
            json!({
                "effect": if allow { "allow" } else { "deny" },
                "subject": {"ids": ids, "roles": roles, "listed": listed},
                "action": {"names": actions},
                "resource": {"types": types, "ids": resources},
                "when": when,
            })
        },
    )
}

fn attributes() -> impl Strategy<Value = Value> {
    let value = prop_oneof![3 => literal(), 1 => Just(json!(null)), 1 => prop::collection::vec(literal(), 0..3).prop_map(|it| json!(it))];
    prop::collection::btree_map(name(), value, 0..3).prop_map(|it| json!(it))
}

fn settings() -> impl Strategy<Value = Value> {
    let weight = || prop::sample::select(vec!["ignore", "unlisted", "fill", "override"]);
    let subject = (name(), prop::option::of(prop::collection::vec(name(), 0..2)), attributes());
    let subjects = prop::collection::btree_map(name(), subject, 0..4);
    let resources = prop::collection::btree_map((name(), name()), attributes(), 0..6);
    let actions = prop::collection::btree_map(name(), attributes(), 0..3);
    let rules = prop::collection::vec(rule(), 1..8);
    (rules, subjects, resources, actions, weight(), weight(), weight()).prop_map(
        |(mut rules, subjects, resources, actions, subject, resource, action)| {
            for (at, rule) in rules.iter_mut().enumerate() {
                rule["id"] = json!(format!("R{at}"));
                if rule["effect"] == "allow" {
                    // Never everything to everybody, which is refused.
                    rule["subject"]["types"] = json!(["user"]);
                }
            }
            let subjects = subjects.into_iter().map(|(id, (_, roles, attributes))| {
                json!({"type": "user", "id": id, "roles": roles, "attributes": attributes})
            });
            let resources = resources.into_iter().map(|((kind, id), attributes)| json!({"type": kind, "id": id, "attributes": attributes}));
            let actions = actions.into_iter().map(|(name, attributes)| json!({"name": name, "attributes": attributes}));
            json!({
                "owner": "o", "rules": rules, "subjects": subjects.collect::<Vec<_>>(), "resources": resources.collect::<Vec<_>>(),
                "actions": actions.collect::<Vec<_>>(), "roles": {"a": ["b"]}, "role_attributes": ["a"],
                "properties": {"subject": subject, "resource": resource, "action": action},
            })
        },
    )
}

#[derive(Clone, Debug)]
struct SampleRequest {
    subject: Option<(&'static str, Value, Vec<&'static str>)>,
    action: Option<(&'static str, Value)>,
    resource: Option<(&'static str, &'static str, Value)>,
    context: Value,
}

impl SampleRequest {
    fn call(&self) -> testing::CallBuilder {
        let mut call =
            testing::call("authzen").payload(&json!({"context": self.context}).to_string());
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
        if let Some((id, attributes, held)) = &self.subject {
            call = call.subject(id).entitlements(held.iter().copied());
            for (name, value) in members(attributes) {
                call = call.attribute(&name, value);
            }
        }
        if let Some((name, attributes)) = &self.action {
            call = call.action("action", name);
            for (name, value) in members(attributes) {
                call = call.action_attribute(&name, value);
            }
        }
        if let Some((kind, id, attributes)) = &self.resource {
            call = call.resource(kind, id);
            for (name, value) in members(attributes) {
                call = call.resource_attribute(&name, value);
            }
        }
        call
    }
}

fn sample_request() -> impl Strategy<Value = SampleRequest> {
    let subject = (name(), attributes(), prop::collection::vec(name(), 0..2));
    let parts = (
        prop::option::weighted(0.9, subject),
        prop::option::weighted(0.9, (name(), attributes())),
        prop::option::weighted(0.9, (name(), name(), attributes())),
        attributes(),
    );
    parts.prop_map(|(subject, action, resource, context)| SampleRequest {
        subject,
        action,
        resource,
        context,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn search_is_the_filter_of_evaluation(settings in settings(), request in sample_request(), limit in 1_u32..4) {
        let plugin = rules(&settings);
        let listed = |list: &str, member: &str, kind: Option<&str>| -> Vec<String> {
            let all = settings[list].as_array().unwrap().iter();
            let all = all.filter(|it| kind.is_none_or(|kind| it["type"] == kind));
            let mut ids: Vec<String> = all.map(|it| it[member].as_str().unwrap().to_owned()).collect();
            ids.sort();
            ids
        };
        let yes = |call: testing::CallBuilder| decide(&plugin, call).verdict() == Effect::Allow;

        let find = |sought, kind: &str| testing::find(&plugin, &request.call().search(sought, kind).build(), limit);
        let expected: Vec<String> = listed("subjects", "id", Some("user")).into_iter()
            .filter(|id| yes(request.call().subject(id))).collect();
        prop_assert_eq!(find(SearchTarget::Subject, "user"), expected);

        let kind = request.resource.as_ref().map_or("a", |(kind, ..)| kind);
        let expected: Vec<String> = listed("resources", "id", Some(kind)).into_iter()
            .filter(|id| {
                let mut call = request.call();
                if request.resource.is_none() {
                    call = call.resource(kind, id);
                    return yes(call);
                }
                let mut candidate = request.clone();
                let found = NAMES.into_iter().find(|name| name == id).unwrap();
                if let Some((_, place, _)) = &mut candidate.resource {
                    *place = found;
                }
                yes(candidate.call())
            }).collect();
        prop_assert_eq!(find(SearchTarget::Resource, kind), expected);

        // A search for actions leaves the action out, properties included.
        let mut actions = listed("actions", "name", None);
        for rule in settings["rules"].as_array().unwrap() {
            let named = rule["action"]["names"].as_array().into_iter().flatten();
            actions.extend(named.map(|name| name.as_str().unwrap().to_owned()));
        }
        actions.sort();
        actions.dedup();
        let without = SampleRequest { action: None, ..request.clone() };
        let expected: Vec<String> = actions.into_iter().filter(|name| yes(without.call().action("action", name))).collect();
        prop_assert_eq!(find(SearchTarget::Action, ""), expected);
    }

    #[test]
    fn the_index_leaves_out_nothing_that_applies(settings in settings(), request in sample_request()) {
        let plugin = rules(&settings);
        let call = request.call().build();
        let scene = EvaluationRequest::of(&plugin.0, &call);
        let considered = plugin.0.index.rules(&scene);
        for (number, rule) in (0..).zip(&plugin.0.rules) {
            if !considered.contains(&number) {
                prop_assert!(matches!(rule.applies(&scene), Applies::No), "{}", rule.id);
            }
        }
        prop_assert!(considered.is_sorted_by(|one, other| one < other));
    }

    #[test]
    fn the_order_of_rules_is_nothing_and_a_denial_never_opens(settings in settings(), request in sample_request(), more in rule()) {
        let call = request.call().build();
        let plugin = rules(&settings);
        let before = testing::decide(&plugin, &call);
        prop_assert_eq!(evaluate(&plugin.0, &call).allows(), before.verdict() == Effect::Allow);
        let mut turned = settings.clone();
        turned["rules"].as_array_mut().unwrap().reverse();
        turned["subjects"].as_array_mut().unwrap().reverse();
        prop_assert!(testing::decide(&rules(&turned), &call) == before);
        let mut stricter = settings;
        let (mut more, rules_of) = (more, stricter["rules"].as_array_mut().unwrap());
        (more["id"], more["effect"]) = (json!("Z"), json!("deny"));
        rules_of.push(more);
        prop_assert!(testing::decide(&rules(&stricter), &call).verdict() >= before.verdict());
    }
}

/// As many rules over as many resources, in the ways that people write them: by resource, by role, by type, by person.
fn large(count: usize) -> Value {
    let rule = |at: usize| match at % 4 {
        0 => {
            json!({"id": format!("R{at}"), "effect": "allow", "action": {"names": ["read"]}, "resource": {"types": ["record"], "ids": [format!("r{at}")]}})
        }
        1 => {
            json!({"id": format!("R{at}"), "effect": "allow", "subject": {"roles": [format!("role{at}")]}, "action": {"names": ["read"]}, "resource": {"types": ["record"]}})
        }
        2 => {
            json!({"id": format!("R{at}"), "effect": "deny", "action": {"names": ["read"]}, "resource": {"types": [format!("type{at}")]}})
        }
        _ => {
            json!({"id": format!("R{at}"), "effect": "deny", "subject": {"ids": [format!("u{at}")]}, "action": {"names": ["write"]}, "resource": {"types": ["record"]}})
        }
    };
    let subject =
        |at: usize| json!({"type": "user", "id": format!("u{at}"), "roles": [format!("role{at}")]});
    let resource = |at: usize| json!({"type": "record", "id": format!("r{at}"), "attributes": {"status": "active"}});
    json!({
        "owner": "o",
        "rules": (0..count).map(rule).collect::<Vec<_>>(),
        "subjects": (0..count).map(subject).collect::<Vec<_>>(),
        "resources": (0..count).map(resource).collect::<Vec<_>>(),
    })
}

#[test]
fn ten_thousand_rules_are_held_against_a_call_by_the_few_that_can_concern_it() {
    let plugin = rules(&large(10_000));
    let ask = |who: &str, what: &str, to: &str| decide(&plugin, call(who, what, to));
    assert_eq!(ask("u9999", "read", "r8000").codes(), ["ACCESS_ALLOWED"]);
    assert_eq!(ask("u5", "read", "r9999").codes(), ["ACCESS_ALLOWED"], "by role");
    assert_eq!(ask("u9999", "write", "r1").codes(), ["ACCESS_DENIED"]);
    assert_eq!(ask("u6", "read", "r9999").codes(), ["NO_RULE"]);
    for (who, what, to) in
        [("u9999", "read", "r8000"), ("u5", "read", "r9999"), ("u9999", "write", "r1")]
    {
        let call = call(who, what, to).build();
        let scene = EvaluationRequest::of(&plugin.0, &call);
        let considered = plugin.0.index.rules(&scene).len();
        assert!((1..=2).contains(&considered), "{considered} rules for {who} {what} {to}");
    }
    // For whoever reads the output; what a call costs in its sandbox is measured elsewhere.
    let call = call("u5", "read", "r8000").build();
    let begun = Instant::now();
    let yes = (0..10_000).filter(|_| evaluate(&plugin.0, &call).allows()).count();
    println!("{yes} calls, each {:?}", begun.elapsed() / 10_000);
}

#[test]
fn ten_thousand_are_searched() {
    let plugin = rules(&large(10_000));
    let search = call("u4", "read", "").search(SearchTarget::Resource, "record").build();
    let found = testing::find(&plugin, &search, 1_000);
    assert_eq!(found.len(), 2_500);
    assert!(found.is_sorted());
}

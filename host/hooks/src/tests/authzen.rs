//! AuthZEN: what is read, the defaults of evaluations against a plain reading of the rule, errors to the letter, and answers.

use std::borrow::Cow;

use portcullis_model::{Cause, Change, Effect, Entity, Statement};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::requests::tell;
use super::{SETTINGS, frame, golden, in_order, json, post, posted, reasons, text};
use crate::HookKind::Authzen;
use crate::{
    AnswerParts, HookRequest, HookSettings, OnFailure, Outcome, Parsed, RenderError,
    RenderErrorKind, Request, SafeAnswerInput, SearchPage, ShortCircuit, UnparsedItem, preflight,
    read, render_batch, render_search, write, write_safe_answer,
};

const ONE: &str = "/access/v1/evaluation";
const MANY: &str = "/access/v1/evaluations";
const SUBJECTS: &str = "/access/v1/search/subject";
const RESOURCES: &str = "/access/v1/search/resource";
const ACTIONS: &str = "/access/v1/search/action";
const METADATA: &str = "/.well-known/authzen-configuration";

fn question() -> Value {
    json!({
        "subject": {"type": "user", "id": "noor.haddad", "properties": {
            "department": "cardiology", "roles": ["ward-nurse", "triage"], "ip_address": "192.0.2.44", "device_id": "cart-7",
        }},
        "action": {"name": "read", "properties": {"break_glass": false}},
        "resource": {"type": "chart", "id": "mrn-0042", "properties": {"ward": "4b", "vip": true}},
        "context": {"purpose": "treatment", "time": "2026-03-02T07:15:00Z"},
        "of-next-year": {"deep": [1, {"er": null}]},
    })
}

fn many(
    route: &'static str,
    body: &Value,
) -> (Vec<Result<HookRequest, Box<UnparsedItem>>>, ShortCircuit) {
    match post(Authzen, route, &body.to_string(), &SETTINGS) {
        Ok(Parsed::Batch(batch)) => (batch.items, batch.until),
        Ok(_) => panic!("not many"),
        Err(malformed) => panic!("{malformed}"),
    }
}

fn wrong(route: &'static str, body: &Value) -> Option<Cow<'static, str>> {
    let malformed = post(Authzen, route, &body.to_string(), &SETTINGS).err()?;
    assert_eq!(malformed.cause, Cause::SchemaMismatch);
    Some(malformed.detail)
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value == json!("(absent)") {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
    body
}

#[test]
fn reads_what_the_standard_says() {
    golden("authzen.call.txt", &tell(&posted(Authzen, ONE, &question().to_string()).call));
    for (route, name) in [(SUBJECTS, "subject"), (RESOURCES, "resource"), (ACTIONS, "action")] {
        let mut body = question();
        body["page"] = json!({"token": "after-7", "limit": 20, "properties": {"sort": "name"}});
        let Ok(Parsed::Search(incoming, page)) = post(Authzen, route, &body.to_string(), &SETTINGS)
        else {
            panic!("no search")
        };
        assert_eq!((page.limit, page.token.as_deref()), (Some(20), Some("after-7")));
        assert!(!page.of.contains("after-7"), "a list is the same whatever page is asked for");
        golden(&format!("authzen-search-{name}.call.txt"), &tell(&incoming.call));
    }
}

#[test]
fn the_request_id_is_the_events_and_comes_back() {
    let body = question().to_string();
    let header = |name: &str| match name {
        "content-type" => Some("Application/JSON"),
        "x-request-id" => Some("req-77"),
        _ => None,
    };
    let request =
        Request { get: false, route: ONE, header: &header, searches: false, body: body.as_bytes() };
    let Ok(Parsed::Single(incoming)) = read(Authzen, &request, &frame()) else { panic!() };
    assert_eq!(
        (incoming.call.id.as_str(), incoming.call.correlation.as_deref()),
        ("req-77", Some("req-77"))
    );
    assert_eq!(Authzen.echoed_header(), Some("x-request-id"));
    let nameless = posted(Authzen, ONE, &body).call;
    assert_eq!((nameless.id.len(), nameless.correlation), (16, None));
}

#[test]
fn a_content_type_is_json_or_the_request_is_none() {
    let body = question().to_string();
    for (sent, taken) in [
        (Some("application/json"), true),
        (Some("application/json;charset=UTF-8"), true),
        (Some("APPLICATION/JSON ; x=y"), true),
        (Some("text/plain"), false),
        (Some("application/jsonp"), false),
        (Some("application/json-patch+json"), false),
        (Some(""), false),
        (None, false),
    ] {
        let header = |name: &str| sent.filter(|_| name == "content-type");
        let request = Request {
            get: false,
            route: ONE,
            header: &header,
            searches: false,
            body: body.as_bytes(),
        };
        assert_eq!(read(Authzen, &request, &frame()).is_ok(), taken, "{sent:?}");
    }
}

#[test]
fn a_required_part_that_is_missing_or_of_the_wrong_type_refuses() {
    for pointer in ["/subject", "/action", "/resource"] {
        for value in [json!("(absent)"), json!(null), json!("alice"), json!(7), json!([])] {
            let named = wrong(ONE, &with(question(), pointer, value));
            assert_eq!(named.as_deref(), pointer.strip_prefix('/'));
        }
    }
    for (pointer, path) in [
        ("/subject/type", "subject.type"),
        ("/subject/id", "subject.id"),
        ("/action/name", "action.name"),
        ("/resource/type", "resource.type"),
        ("/resource/id", "resource.id"),
    ] {
        for value in [json!("(absent)"), json!(null), json!(""), json!(123), json!({}), json!(true)]
        {
            assert_eq!(wrong(ONE, &with(question(), pointer, value)).as_deref(), Some(path));
        }
    }
    let optional = ["/subject/properties", "/action/properties", "/resource/properties"];
    for pointer in optional {
        for value in [json!(null), json!("(absent)"), json!({}), json!([1]), json!("x"), json!(7)] {
            assert_eq!(wrong(ONE, &with(question(), pointer, value)), None);
        }
    }
    for value in [json!(null), json!("(absent)"), json!({})] {
        assert_eq!(wrong(ONE, &with(question(), "/context", value)), None);
    }
    // It could be meant as a condition.
    let context = with(question(), "/context", json!([1]));
    assert_eq!(wrong(ONE, &context).as_deref(), Some("context"));
    for (body, cause) in [
        ("", Cause::NotJson),
        ("{", Cause::NotJson),
        ("[]", Cause::SchemaMismatch),
        ("\"alice\"", Cause::SchemaMismatch),
        ("null", Cause::SchemaMismatch),
        (
            r#"{"subject":{"type":"user","id":"a"},"subject":{"type":"user","id":"b"}}"#,
            Cause::DuplicateMember,
        ),
        (r#"{"subject":{"type":"user","id":"a","i\u0064":"b"}}"#, Cause::DuplicateMember),
    ] {
        assert_eq!(post(Authzen, ONE, body, &SETTINGS).err().unwrap().cause, cause, "{body}");
    }
}

#[test]
fn a_search_needs_all_but_what_it_is_for() {
    for (route, needed, free) in [
        (
            SUBJECTS,
            &["/subject/type", "/action", "/action/name", "/resource", "/resource/id"][..],
            &["/subject/id"][..],
        ),
        (RESOURCES, &["/subject", "/subject/id", "/action", "/resource/type"], &["/resource/id"]),
        (
            ACTIONS,
            &["/subject/id", "/resource", "/resource/type", "/resource/id"],
            &["/action", "/action/name"],
        ),
    ] {
        for pointer in needed {
            assert!(
                wrong(route, &with(question(), pointer, json!("(absent)"))).is_some(),
                "{route} {pointer}"
            );
        }
        for pointer in free {
            for value in [json!("(absent)"), json!(7)] {
                assert_eq!(
                    wrong(route, &with(question(), pointer, value)),
                    None,
                    "{route} {pointer}"
                );
            }
        }
        for (page, path) in [
            (json!(3), "page"),
            (json!({"limit": "3"}), "page.limit"),
            (json!({"limit": -1}), "page.limit"),
            (json!({"limit": 1.5}), "page.limit"),
            (json!({"token": 1}), "page.token"),
        ] {
            let named = wrong(route, &with(question(), "/page", page));
            assert_eq!(named.as_deref(), Some(path));
        }
        for page in [json!({"token": "", "limit": u64::MAX}), json!({"limit": 0}), json!(null)] {
            assert_eq!(wrong(route, &with(question(), "/page", page)), None);
        }
    }
}

#[test]
fn nothing_searches_where_no_plugin_can() {
    let body = question().to_string();
    for route in [SUBJECTS, RESOURCES, ACTIONS] {
        let header = |name: &str| (name == "content-type").then_some("application/json");
        let request =
            Request { get: false, route, header: &header, searches: false, body: body.as_bytes() };
        let Ok(Parsed::Immediate(answer)) = read(Authzen, &request, &frame()) else { panic!() };
        assert_eq!(answer.status, 404);
        assert!(json(&answer).is_string());
    }
}

#[test]
fn without_evaluations_there_is_one_question() {
    for evaluations in [json!("(absent)"), json!(null), json!([])] {
        let body = with(question(), "/evaluations", evaluations);
        let one = posted(Authzen, MANY, &body.to_string());
        assert_eq!(one.call.subject.unwrap().id.as_deref(), Some("noor.haddad"));
    }
    assert_eq!(
        wrong(MANY, &json!({"evaluations": []})).as_deref(),
        Some("subject"),
        "a single question, and none"
    );
    for evaluations in [json!({}), json!("x"), json!(1)] {
        assert_eq!(
            wrong(MANY, &with(question(), "/evaluations", evaluations)).as_deref(),
            Some("evaluations")
        );
    }
    // On the other endpoint it is a member like any that is not known.
    posted(Authzen, ONE, &with(question(), "/evaluations", json!(7)).to_string());
}

#[test]
fn options_are_ignored_but_for_the_semantic_which_must_be_known() {
    let body = with(question(), "/evaluations", json!([{}]));
    for (options, until) in [
        (json!("(absent)"), ShortCircuit::Never),
        (json!(null), ShortCircuit::Never),
        (json!({"another": {"option": 1}}), ShortCircuit::Never),
        (json!([]), ShortCircuit::Never),
        (json!("execute_all"), ShortCircuit::Never),
        (json!({"evaluations_semantic": null}), ShortCircuit::Never),
        (json!({"evaluations_semantic": "execute_all"}), ShortCircuit::Never),
        (json!({"evaluations_semantic": "deny_on_first_deny", "x": 1}), ShortCircuit::OnDeny),
        (json!({"evaluations_semantic": "permit_on_first_permit"}), ShortCircuit::OnPermit),
    ] {
        assert_eq!(many(MANY, &with(body.clone(), "/options", options)).1, until);
    }
    for semantic in [json!(1), json!("EXECUTE_ALL"), json!([])] {
        let options = json!({ "evaluations_semantic": semantic });
        let named = wrong(MANY, &with(body.clone(), "/options", options));
        assert_eq!(named.as_deref(), Some("options.evaluations_semantic"));
    }
}

#[test]
fn an_evaluation_that_is_none_fails_alone() {
    let body = json!({
        "subject": {"type": "user", "id": "a"}, "action": {"name": "read"},
        "evaluations": [{"resource": {"type": "r", "id": "1"}}, {}, 7, {"resource": {"type": "r"}}, {"resource": "r"},
            {"resource": {"type": "r", "id": "6"}}],
    });
    let (items, _) = many(MANY, &body);
    let told: Vec<_> = items
        .iter()
        .map(|item| {
            item.as_ref().map_or_else(
                |unread| json(&unread.answer)["context"]["error"]["message"].clone(),
                |_| json!("question"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "question",
            "schema-mismatch: resource",
            "schema-mismatch: the evaluation, which must be an object",
            "schema-mismatch: resource.id",
            "schema-mismatch: resource",
            "question"
        ]
    );
    for unread in items.iter().filter_map(|item| item.as_ref().err()) {
        let answer = &unread.answer;
        assert!(unread.question.is_none(), "the answer tells the caller");
        assert_eq!(
            (answer.status, &json(answer)["decision"], &json(answer)["context"]["error"]["status"]),
            (200, &json!(false), &json!(400))
        );
    }
    assert_eq!(
        wrong(MANY, &with(body.clone(), "/subject", json!("a"))).as_deref(),
        Some("subject"),
        "a default is everybody's"
    );
    let seeds: std::collections::BTreeSet<_> =
        items.iter().filter_map(|item| Some(item.as_ref().ok()?.call.seed)).collect();
    assert_eq!(seeds.len(), 2, "each question has randomness of its own");
    let too_many = with(body.clone(), "/evaluations", vec![json!({}); 257].into());
    assert_eq!(wrong(MANY, &too_many).as_deref(), Some("evaluations, of which there may be 256"));
    assert_eq!(many(MANY, &with(body, "/evaluations", vec![json!({}); 256].into())).0.len(), 256);
}

proptest! {
    /// An item's part stands for the whole default.
    #[test]
    fn defaults_are_as_the_rule_reads(defaults in parts(), items in prop::collection::vec(parts(), 1..5)) {
        let mut body = defaults.clone();
        body["evaluations"] = items.clone().into();
        let (read, _) = many(MANY, &body);
        prop_assert_eq!(read.len(), items.len());
        for (item, read) in items.iter().zip(read) {
            let whole = plainly_merged(&defaults, item);
            let alone = post(Authzen, ONE, &whole.to_string(), &SETTINGS);
            match (read, alone) {
                (Ok(read), Ok(Parsed::Single(alone))) => {
                    let payload: Value = serde_json::from_str(read.call.payload.text()).unwrap();
                    prop_assert_eq!(payload, whole);
                    let (mut read, alone) = (read.call, alone.call);
                    (read.id, read.seed) = (alone.id.clone(), alone.seed);
                    prop_assert_eq!(tell(&read), tell(&alone));
                }
                (Err(unread), Err(malformed)) => {
                    let message = format!("schema-mismatch: {}", malformed.detail);
                    prop_assert_eq!(&json(&unread.answer)["context"]["error"]["message"], &json!(message));
                }
                (read, alone) => prop_assert!(false, "{} {} {whole}", read.is_ok(), alone.is_ok()),
            }
        }
    }
}

/// The four parts, each perhaps absent, `null` or lacking members; never of a type that refuses the request as a whole.
fn parts() -> impl Strategy<Value = Value> {
    let member = |name: &'static str| {
        prop_oneof![4 => "[ab]".prop_map(Value::from), 1 => Just(json!(null)), 1 => Just(json!(7))]
            .prop_map(move |value| (name, value))
    };
    let properties =
        prop_oneof![Just(json!({})), Just(json!({"x": 1})), Just(json!({"roles": ["r"]}))]
            .prop_map(|value| ("properties", value));
    let object = prop::collection::vec(
        prop_oneof![member("type"), member("id"), member("name"), properties],
        0..5,
    )
    .prop_map(|members| {
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    });
    let part =
        prop_oneof![5 => object.prop_map(Some), 1 => Just(Some(json!(null))), 2 => Just(None)];
    prop::collection::vec(part, 4).prop_map(|parts| {
        let named = ["subject", "action", "resource", "context"].into_iter().zip(parts);
        Value::Object(named.filter_map(|(name, part)| Some((name.to_owned(), part?))).collect())
    })
}

fn plainly_merged(defaults: &Value, item: &Value) -> Value {
    let mut whole = serde_json::Map::new();
    for name in ["subject", "action", "resource", "context"] {
        let part = if item[name].is_null() { &defaults[name] } else { &item[name] };
        if !part.is_null() {
            whole.insert(name.to_owned(), part.clone());
        }
    }
    Value::Object(whole)
}

#[test]
fn nothing_of_a_default_is_put_into_an_item_s_own_part() {
    let default = json!({
        "subject": {"type": "user", "id": "alice"}, "action": {"name": "read"},
        "resource": {"type": "record", "id": "record-1"},
    });
    for (item, path) in [
        (json!({"resource": {"type": "record"}}), "resource.id"),
        (json!({"resource": {"id": "record-2"}}), "resource.type"),
        (json!({"resource": {"properties": {"a": 1}}}), "resource.type"),
        (json!({"subject": {"type": "user"}}), "subject.id"),
        (json!({"subject": {}}), "subject.type"),
        (json!({"action": {}}), "action.name"),
    ] {
        let (items, _) = many(MANY, &with(default.clone(), "/evaluations", json!([item, {}])));
        let [Err(unread), Ok(_)] = items.as_slice() else { panic!("{item}") };
        assert_eq!(unread.malformed.detail, path, "{item}");
        assert_eq!(json(&unread.answer)["decision"], json!(false));
    }
}

#[test]
fn a_property_is_whatever_json_it_is_and_only_a_string_is_an_entitlement() {
    let held = |properties: Value| {
        let body = with(question(), "/subject/properties", properties);
        let subject = posted(Authzen, ONE, &body.to_string()).call.subject.unwrap();
        let held: Vec<_> = subject.entitlements.iter().map(|it| it.as_str().to_owned()).collect();
        (subject.attributes.len(), held)
    };
    for (properties, expected) in [
        (json!({"groups": [{"id": "g1", "display": "Nurses"}]}), vec![]),
        (json!({"entitlements": {"app": "x"}}), vec![]),
        (json!({"roles": [1, "nurse", null, {"a": 1}, ["b"], true]}), vec!["nurse"]),
        (json!({"roles": 7}), vec![]),
        (json!({"groups": "nurses"}), vec!["nurses"]),
    ] {
        assert_eq!(
            held(properties.clone()),
            (1, expected.iter().map(|it| (*it).to_owned()).collect()),
            "{properties}"
        );
    }
    let body = with(
        question(),
        "/subject/properties",
        json!({"ip_address": ["192.0.2.1"], "device_id": 7}),
    );
    assert!(posted(Authzen, ONE, &body.to_string()).call.origin.is_none());
}

#[test]
fn a_list_is_the_same_however_it_is_spelled_and_another_where_the_question_is() {
    let of = |route, body: &str| match post(Authzen, route, body, &SETTINGS) {
        Ok(Parsed::Search(_, page)) => page.of,
        _ => panic!("no search: {body}"),
    };
    let one = r#"{"subject":{"type":"user","properties":{"a":1,"b":["x"]}},"action":{"name":"read"},"resource":{"type":"r","id":"1"}}"#;
    for same in [
        r#"{ "resource": {"id":"1", "type":"r"}, "action":{"name":"r\u0065ad"}, "subject":{"properties":{"b":["x"],"a":1},"type":"user","id":"ignored"}}"#,
        r#"{"subject":{"type":"user","properties":{"a":1,"b":["x"]}},"action":{"name":"read"},"resource":{"type":"r","id":"1"},"page":{"token":"t","limit":3},"unknown":1}"#,
    ] {
        assert_eq!(of(SUBJECTS, same), of(SUBJECTS, one), "{same}");
    }
    for other in [
        one.replace("read", "write"),
        one.replace(r#""id":"1""#, r#""id":"2""#),
        one.replace(r#""a":1"#, r#""a":2"#),
        one.replace(r#"["x"]"#, r#"["x","y"]"#),
        one.replacen('{', r#"{"context":{"time":"now"},"#, 1),
    ] {
        assert_ne!(of(SUBJECTS, &other), of(SUBJECTS, one), "{other}");
    }
    assert_ne!(of(RESOURCES, &question().to_string()), of(SUBJECTS, &question().to_string()));
}

#[test]
fn context_and_page_are_left_out_where_they_are_switched_off() {
    let settings = HookSettings {
        answer: AnswerParts { context: false, page: false },
        ..HookSettings::default()
    };
    let ask = |route, body: &Value| post(Authzen, route, &body.to_string(), &settings);
    let Ok(Parsed::Single(incoming)) = ask(ONE, &question()) else { panic!() };
    for (verdict, whole) in
        [(Effect::Allow, r#"{"decision":true}"#), (Effect::Deny, r#"{"decision":false}"#)]
    {
        let outcome =
            Outcome { verdict, text: Some("No."), reasons: &reasons(&["A"]), ..Outcome::default() };
        let answer = write(Authzen, &incoming, &outcome).unwrap();
        assert_eq!(text(&answer), whole);
        let reference =
            crate::RecordRef { log: "l", index: 1, leaf: "x", generation: 1, spent_us: 1 };
        assert_eq!(answer.with_reference(&reference), whole.as_bytes(), "no reference either");
        // The deciding one of several says nothing more.
        let until =
            if verdict == Effect::Deny { ShortCircuit::OnDeny } else { ShortCircuit::OnPermit };
        let gathered = render_batch(Authzen, &[answer.body().to_vec()], &in_order(until));
        assert_eq!(text(&gathered), format!(r#"{{"evaluations":[{whole}]}}"#));
    }
    let body = with(question(), "/evaluations", json!([{"subject": {}}]));
    let Ok(Parsed::Batch(batch)) = ask(MANY, &body) else { panic!() };
    let Err(unread) = &batch.items[0] else { panic!() };
    assert_eq!(text(&unread.answer), r#"{"decision":false}"#);

    let found =
        |next: Option<&str>| SearchPage { results: Vec::new(), next: next.map(str::to_owned) };
    let search = |body: &Value| match ask(SUBJECTS, body) {
        Ok(Parsed::Search(incoming, _)) => incoming,
        _ => panic!(),
    };
    let plain = search(&question());
    assert_eq!(text(&render_search(Authzen, &plain, &found(None))), r#"{"results":[]}"#);
    // Where a list goes on, or somebody asked for a page, it has to be told.
    assert_eq!(json(&render_search(Authzen, &plain, &found(Some("t"))))["page"]["next_token"], "t");
    let paged = search(&with(question(), "/page", json!({"limit": 1})));
    assert_eq!(json(&render_search(Authzen, &paged, &found(None)))["page"]["next_token"], "");
}

#[test]
fn decisions_are_as_ever() {
    let incoming = posted(Authzen, ONE, &question().to_string());
    let statement = |obligatory| {
        Change::Statement(Statement {
            name: "mask".into(),
            code: "MASK".into(),
            payload: r#"["ssn"]"#.into(),
            obligatory,
        })
    };
    let say = |verdict, changes: &[Change], text| {
        write(
            Authzen,
            &incoming,
            &Outcome {
                verdict,
                changes,
                text,
                language: "de",
                reasons: &reasons(&["A_CODE", "B_CODE"]),
                reference: None,
            },
        )
    };
    for verdict in Effect::ALL {
        let answer = say(verdict, &[statement(false)], Some("Nicht \"erlaubt\".")).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(
            json(&answer)["decision"],
            json!(verdict == Effect::Allow),
            "only `allow` permits"
        );
        golden(&format!("authzen-{}.json", verdict.name()), text(&answer));
    }
    assert_eq!(text(&say(Effect::Allow, &[], None).unwrap()), r#"{"decision":true,"context":{}}"#);
    let obliged = say(Effect::Allow, &[statement(true)], None).err().unwrap();
    assert_eq!(
        obliged,
        RenderError { change: Some((1, statement(true).kind())), why: RenderErrorKind::Obligation }
    );
    assert!(
        say(Effect::Deny, &[statement(true)], None).is_ok(),
        "who is stopped can be told what would be asked"
    );
}

#[test]
fn answers_are_gathered_in_order_and_the_deciding_one_says_so() {
    let answers = |decisions: &[bool]| -> Vec<Vec<u8>> {
        let one = |(at, decision): (usize, &bool)| {
            format!(r#"{{"decision":{decision},"context":{{"record":"l#{at}"}}}}"#).into_bytes()
        };
        decisions.iter().enumerate().map(one).collect()
    };
    let tell = |decisions: &[bool], until| {
        json(&render_batch(Authzen, &answers(decisions), &in_order(until)))["evaluations"].clone()
    };
    let all = tell(&[true, false, true], ShortCircuit::Never);
    assert_eq!(
        all,
        json!([{"decision": true, "context": {"record": "l#0"}}, {"decision": false, "context": {"record": "l#1"}}, {"decision": true, "context": {"record": "l#2"}}])
    );
    let denied = tell(&[true, false], ShortCircuit::OnDeny);
    assert_eq!(
        denied[1],
        json!({"decision": false, "context": {"record": "l#1", "code": "200", "reason": "deny_on_first_deny"}})
    );
    assert_eq!(denied[0], all[0]);
    let permitted = tell(&[false, true], ShortCircuit::OnPermit);
    assert_eq!(permitted[1]["context"]["reason"], "permit_on_first_permit");
    // Where the end came first, nothing decided.
    assert_eq!(tell(&[true, true], ShortCircuit::OnDeny)[1]["context"], json!({"record": "l#1"}));
    assert_eq!(tell(&[false], ShortCircuit::OnPermit)[0]["context"], json!({"record": "l#0"}));
    let until = in_order(ShortCircuit::OnDeny);
    let bare = render_batch(Authzen, &[br#"{"decision":false,"context":{}}"#.to_vec()], &until);
    assert_eq!(
        json(&bare)["evaluations"][0]["context"],
        json!({"code": "200", "reason": "deny_on_first_deny"})
    );
}

#[test]
fn lists_are_of_ids_and_end_with_an_empty_token() {
    let entity = |type_name: &str, id: &str| Entity {
        type_name: type_name.into(),
        id: Some(id.into()),
        attributes: Vec::new(),
    };
    let found = |next: Option<&str>| SearchPage {
        results: vec![entity("user", "a"), entity("user", "b\"")],
        next: next.map(str::to_owned),
    };
    let which = |route| match post(Authzen, route, &question().to_string(), &SETTINGS) {
        Ok(Parsed::Search(incoming, _)) => incoming,
        _ => panic!(),
    };
    let users = render_search(Authzen, &which(SUBJECTS), &found(Some("t")));
    golden("authzen-list-subjects.json", text(&users));
    assert_eq!(json(&users)["page"], json!({"next_token": "t", "count": 2}));
    let actions = json(&render_search(Authzen, &which(ACTIONS), &found(None)));
    assert_eq!(actions["results"], json!([{"name": "a"}, {"name": "b\""}]));
    assert_eq!(actions["page"]["next_token"], "");
    let none = json(&render_search(
        Authzen,
        &which(RESOURCES),
        &SearchPage { results: Vec::new(), next: None },
    ));
    assert_eq!(none["results"], json!([]));
}

#[test]
fn metadata_names_what_is_answered_and_only_by_the_operators_url() {
    let settings = |url: Option<&str>| HookSettings {
        public_url: url.map(str::to_owned),
        ..HookSettings::default()
    };
    let get = |searches, settings: &HookSettings| {
        preflight(
            Authzen,
            &Request { get: true, route: METADATA, header: &|_| None, searches, body: &[] },
            settings,
        )
    };
    let whole = get(true, &settings(Some("https://pdp.hospital.example/ward"))).unwrap();
    golden("authzen-metadata.json", text(&whole));
    let without = json(&get(false, &settings(Some("https://pdp.hospital.example/"))).unwrap());
    assert_eq!(
        without,
        json!({
            "policy_decision_point": "https://pdp.hospital.example/",
            "access_evaluation_endpoint": "https://pdp.hospital.example/access/v1/evaluation",
            "access_evaluations_endpoint": "https://pdp.hospital.example/access/v1/evaluations",
        })
    );
    assert_eq!(get(true, &settings(None)).unwrap().status, 404);
    let elsewhere = Request { get: true, route: ONE, header: &|_| None, searches: true, body: &[] };
    assert!(preflight(Authzen, &elsewhere, &SETTINGS).is_none());
    let routes =
        |path: &str| Authzen.routes(path).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(routes("/")[0], "/access/v1/evaluation");
    assert_eq!(routes("/")[5], "/.well-known/authzen-configuration");
    assert_eq!(routes("/tenant1/")[1], "/tenant1/access/v1/evaluations");
    assert_eq!(routes("/tenant1")[5], "/.well-known/authzen-configuration/tenant1");
}

#[test]
fn errors_are_a_status_and_a_string() {
    for (cause, status) in [
        (Cause::Unauthenticated, 401),
        (Cause::NotJson, 400),
        (Cause::SchemaMismatch, 400),
        (Cause::DuplicateMember, 400),
        (Cause::BodyTooLarge, 413),
        (Cause::Overload, 503),
        (Cause::InternalError, 500),
    ] {
        for on_failure in [OnFailure::Closed, OnFailure::Open] {
            let refusal = SafeAnswerInput {
                settings: &SETTINGS,
                on_failure: &on_failure,
                cause,
                detail: "subject.id",
                route: MANY,
                incoming: None,
                reference: None,
            };
            let answer = write_safe_answer(Authzen, &refusal);
            assert_eq!(answer.status, status, "{cause:?} {on_failure:?}");
            assert_eq!(json(&answer), json!(format!("{}: subject.id", cause.code())));
            assert_eq!(
                answer.headers.iter().any(|(name, _)| *name == "www-authenticate"),
                status == 401
            );
        }
    }
}

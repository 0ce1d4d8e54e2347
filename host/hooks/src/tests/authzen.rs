//! AuthZEN: what is read, the defaults of evaluations against a plain reading of the rule, errors to the letter, and answers.

use portcullis_model::{Cause, Change, Effect, Entity, Statement};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::requests::tell;
use super::{SETTINGS, frame, golden, grounds, json, post, posted, text};
use crate::HookKind::Authzen;
use crate::{
    Answer, Found, Heard, Incoming, OnFailure, Outcome, Page, Refusal, Request, Settings,
    Unsayable, Until, Why, gather, greet, list, read, refuse, write,
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

fn many(route: &'static str, body: &Value) -> (Vec<Result<Incoming, Answer>>, Until) {
    match post(Authzen, route, &body.to_string(), &SETTINGS) {
        Ok(Heard::Many(batch)) => (batch.items, batch.until),
        Ok(_) => panic!("not many"),
        Err(malformed) => panic!("{malformed}"),
    }
}

fn wrong(route: &'static str, body: &Value) -> Option<&'static str> {
    let malformed = post(Authzen, route, &body.to_string(), &SETTINGS).err()?;
    assert_eq!(malformed.cause, Cause::WrongShape);
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
        let Ok(Heard::Which(incoming, page)) = post(Authzen, route, &body.to_string(), &SETTINGS)
        else {
            panic!("no search")
        };
        assert_eq!(page, Page { limit: Some(20), token: Some("after-7".into()) });
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
    let Ok(Heard::One(incoming)) = read(Authzen, &request, &frame()) else { panic!() };
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
            assert_eq!(wrong(ONE, &with(question(), pointer, value)), pointer.strip_prefix('/'));
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
            assert_eq!(wrong(ONE, &with(question(), pointer, value)), Some(path));
        }
    }
    for (pointer, path) in [
        ("/subject/properties", "subject.properties"),
        ("/action/properties", "action.properties"),
        ("/resource/properties", "resource.properties"),
        ("/context", "context"),
    ] {
        assert_eq!(wrong(ONE, &with(question(), pointer, json!([1]))), Some(path));
        for optional in [json!(null), json!("(absent)"), json!({})] {
            assert_eq!(wrong(ONE, &with(question(), pointer, optional)), None);
        }
    }
    for (body, cause) in [
        ("", Cause::NotJson),
        ("{", Cause::NotJson),
        ("[]", Cause::WrongShape),
        ("\"alice\"", Cause::WrongShape),
        ("null", Cause::WrongShape),
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
            (json!({"limit": 0}), "page.limit"),
            (json!({"limit": -1}), "page.limit"),
            (json!({"limit": 1.5}), "page.limit"),
            (json!({"token": 1}), "page.token"),
        ] {
            assert_eq!(wrong(route, &with(question(), "/page", page)), Some(path));
        }
        assert_eq!(
            wrong(route, &with(question(), "/page", json!({"token": "", "limit": u64::MAX}))),
            None
        );
    }
}

#[test]
fn nothing_searches_where_no_plugin_can() {
    let body = question().to_string();
    for route in [SUBJECTS, RESOURCES, ACTIONS] {
        let header = |name: &str| (name == "content-type").then_some("application/json");
        let request =
            Request { get: false, route, header: &header, searches: false, body: body.as_bytes() };
        let Ok(Heard::Nothing(answer)) = read(Authzen, &request, &frame()) else { panic!() };
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
        wrong(MANY, &json!({"evaluations": []})),
        Some("subject"),
        "a single question, and none"
    );
    for evaluations in [json!({}), json!("x"), json!(1)] {
        assert_eq!(
            wrong(MANY, &with(question(), "/evaluations", evaluations)),
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
        (json!("(absent)"), Until::End),
        (json!(null), Until::End),
        (json!({"another": {"option": 1}}), Until::End),
        (json!({"evaluations_semantic": null}), Until::End),
        (json!({"evaluations_semantic": "execute_all"}), Until::End),
        (json!({"evaluations_semantic": "deny_on_first_deny", "x": 1}), Until::FirstDeny),
        (json!({"evaluations_semantic": "permit_on_first_permit"}), Until::FirstPermit),
    ] {
        assert_eq!(many(MANY, &with(body.clone(), "/options", options)).1, until);
    }
    for (options, path) in [
        (json!([]), "options"),
        (json!("execute_all"), "options"),
        (json!({"evaluations_semantic": 1}), "options.evaluations_semantic"),
        (json!({"evaluations_semantic": "EXECUTE_ALL"}), "options.evaluations_semantic"),
    ] {
        assert_eq!(wrong(MANY, &with(body.clone(), "/options", options)), Some(path));
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
                |answer| json(answer)["context"]["error"]["message"].clone(),
                |_| json!("question"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "question",
            "wrong-shape: resource",
            "wrong-shape: the evaluation, which must be an object",
            "wrong-shape: resource.id",
            "wrong-shape: resource",
            "question"
        ]
    );
    for answer in items.iter().filter_map(|item| item.as_ref().err()) {
        assert_eq!(
            (answer.status, &json(answer)["decision"], &json(answer)["context"]["error"]["status"]),
            (200, &json!(false), &json!(400))
        );
    }
    assert_eq!(
        wrong(MANY, &with(body.clone(), "/subject", json!("a"))),
        Some("subject"),
        "a default is everybody's"
    );
    let seeds: std::collections::BTreeSet<_> =
        items.iter().filter_map(|item| Some(item.as_ref().ok()?.call.seed)).collect();
    assert_eq!(seeds.len(), 2, "each question has randomness of its own");
    let too_many = with(body.clone(), "/evaluations", vec![json!({}); 257].into());
    assert_eq!(wrong(MANY, &too_many), Some("evaluations, of which there may be 256"));
    assert_eq!(many(MANY, &with(body, "/evaluations", vec![json!({}); 256].into())).0.len(), 256);
}

proptest! {
    /// An item's part stands for the whole default, but for a required member that it lacks (AZ-CERT).
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
                (Ok(read), Ok(Heard::One(alone))) => {
                    let payload: Value = serde_json::from_str(read.call.payload.text()).unwrap();
                    prop_assert_eq!(payload, whole);
                    let (mut read, alone) = (read.call, alone.call);
                    (read.id, read.seed) = (alone.id.clone(), alone.seed);
                    prop_assert_eq!(tell(&read), tell(&alone));
                }
                (Err(answer), Err(malformed)) => {
                    let message = format!("wrong-shape: {}", malformed.detail);
                    prop_assert_eq!(&json(&answer)["context"]["error"]["message"], &json!(message));
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
    for (name, required) in [
        ("subject", &["type", "id"][..]),
        ("action", &["name"]),
        ("resource", &["type", "id"]),
        ("context", &[]),
    ] {
        let (own, default) = (&item[name], &defaults[name]);
        let part = match (own.is_null(), default.is_null()) {
            (true, true) => continue,
            (true, false) => default.clone(),
            (false, true) => own.clone(),
            (false, false) => {
                let mut own = own.clone();
                for member in required {
                    if own[member].is_null() {
                        own.as_object_mut().unwrap().remove(*member);
                        if !default[member].is_null() {
                            own[member] = default[member].clone();
                        }
                    }
                }
                own
            }
        };
        whole.insert(name.to_owned(), part);
    }
    Value::Object(whole)
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
                grounds: &grounds(&["A_CODE", "B_CODE"]),
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
        Unsayable { change: Some((1, statement(true).kind())), why: Why::Obligation }
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
        json(&gather(Authzen, &answers(decisions), until))["evaluations"].clone()
    };
    let all = tell(&[true, false, true], Until::End);
    assert_eq!(
        all,
        json!([{"decision": true, "context": {"record": "l#0"}}, {"decision": false, "context": {"record": "l#1"}}, {"decision": true, "context": {"record": "l#2"}}])
    );
    let denied = tell(&[true, false], Until::FirstDeny);
    assert_eq!(
        denied[1],
        json!({"decision": false, "context": {"record": "l#1", "code": "200", "reason": "deny_on_first_deny"}})
    );
    assert_eq!(denied[0], all[0]);
    let permitted = tell(&[false, true], Until::FirstPermit);
    assert_eq!(permitted[1]["context"]["reason"], "permit_on_first_permit");
    // Where the end came first, nothing decided.
    assert_eq!(tell(&[true, true], Until::FirstDeny)[1]["context"], json!({"record": "l#1"}));
    assert_eq!(tell(&[false], Until::FirstPermit)[0]["context"], json!({"record": "l#0"}));
    let bare = gather(Authzen, &[br#"{"decision":false,"context":{}}"#.to_vec()], Until::FirstDeny);
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
    let found = |next: Option<&str>| Found {
        results: vec![entity("user", "a"), entity("user", "b\"")],
        next: next.map(str::to_owned),
    };
    let which = |route| match post(Authzen, route, &question().to_string(), &SETTINGS) {
        Ok(Heard::Which(incoming, _)) => incoming,
        _ => panic!(),
    };
    let users = list(Authzen, &which(SUBJECTS), &found(Some("t")));
    golden("authzen-list-subjects.json", text(&users));
    assert_eq!(json(&users)["page"], json!({"next_token": "t", "count": 2}));
    let actions = json(&list(Authzen, &which(ACTIONS), &found(None)));
    assert_eq!(actions["results"], json!([{"name": "a"}, {"name": "b\""}]));
    assert_eq!(actions["page"]["next_token"], "");
    let none = json(&list(Authzen, &which(RESOURCES), &Found { results: Vec::new(), next: None }));
    assert_eq!(none["results"], json!([]));
}

#[test]
fn metadata_names_what_is_answered_and_only_by_the_operators_url() {
    let settings =
        |url: Option<&str>| Settings { public_url: url.map(str::to_owned), ..Settings::default() };
    let get = |searches, settings: &Settings| {
        greet(
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
    assert!(greet(Authzen, &elsewhere, &SETTINGS).is_none());
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
        (Cause::CallerUnproven, 401),
        (Cause::NotJson, 400),
        (Cause::WrongShape, 400),
        (Cause::DuplicateMember, 400),
        (Cause::BodyTooLarge, 413),
        (Cause::Overload, 503),
        (Cause::HostFault, 500),
    ] {
        for on_failure in [OnFailure::Closed, OnFailure::Open] {
            let refusal = Refusal {
                settings: &SETTINGS,
                on_failure: &on_failure,
                cause,
                detail: "subject.id",
                route: MANY,
                incoming: None,
            };
            let answer = refuse(Authzen, &refusal);
            assert_eq!(answer.status, status, "{cause:?} {on_failure:?}");
            assert_eq!(json(&answer), json!(format!("{}: subject.id", cause.code())));
            assert_eq!(
                answer.headers.iter().any(|(name, _)| *name == "www-authenticate"),
                status == 401
            );
        }
    }
}

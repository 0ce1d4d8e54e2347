//! The generic hook: mappings that can be used and those that cannot, what is read by them, and answers by template.

use std::sync::Arc;

use portcullis_model::{Cause, Change, Effect, GrantKind, Target};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::requests::tell;
use super::{SETTINGS, golden, json, post, reasons, text};
use crate::HookKind::Generic;
use crate::{
    Answer, HookRequest, HookSettings, Mapping, MappingSource, Outcome, Parsed, RecordRef,
    RenderError, RenderErrorKind, write,
};

const BODY: &str = r#"{
    "interaction": 4711, "trace": "t-1", "why": "treatment",
    "user": {"id": "nhaddad", "profile": {"department": "cardiology", "locale": "de"}, "groups": ["ward-nurse"]},
    "client": {"id": "flow-7"}, "operation": {"verb": "assign", "args": {"until": "2026-09-30"}},
    "target": {"kind": "role", "name": "prescriber"}, "roles": ["prescriber", "dispenser"], "net": {"ip": "192.0.2.44"}
}"#;

/// As it stands in `portcullis.toml`.
fn source() -> MappingSource {
    let source = json!({
        "id": "/interaction", "correlation": "/trace", "purpose": "/why",
        "subject": {"kind": "person", "type": "employee", "id": "/user/id", "attributes": ["/user/profile"]},
        "actor": {"id": "/client/id"},
        "action": {"type": "provisioning", "id": "/operation/verb", "attributes": ["/operation/args"]},
        "resource": {"type": "/target/kind", "id": "/target/name"},
        "requested": [{"kind": "role", "at": "/roles"}],
        "origin": {"ip": "/net/ip"},
        "required": ["/user/id"],
        "answer": {
            "allow": r#"{"result": {"allowed": true}, "call": "{id}"}"#,
            "deny": r#"{"result": {"allowed": false, "why": "{text}", "line": "{verdict}: {text} ({codes}) {{}}"}, "codes": "{codes}"}"#,
            "review": r#"{"result": {"allowed": false, "wait": true}}"#,
            "deny_status": 403, "failure_status": 503, "record": "evidence",
        },
    });
    serde_json::from_value(source).unwrap()
}

fn settings(source: MappingSource) -> HookSettings {
    let mapping = Mapping::compile(source).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    HookSettings {
        mapping: Some(Arc::new(mapping)),
        entitlements: vec!["/user/groups".into()],
        ..HookSettings::default()
    }
}

/// A request and the settings of its hook.
pub(super) fn sample() -> (Value, HookSettings) {
    (serde_json::from_str(BODY).unwrap(), settings(source()))
}

fn ask(body: &str) -> HookRequest {
    match post(Generic, "", body, &settings(source())) {
        Ok(Parsed::Single(incoming)) => incoming,
        Ok(_) => panic!(),
        Err(malformed) => panic!("{malformed}"),
    }
}

fn say(verdict: Effect, changes: &[Change]) -> Result<Answer, RenderError> {
    let outcome = Outcome {
        verdict,
        changes,
        text: Some("Nein: \"so\" nicht.\\"),
        language: "de",
        reasons: &reasons(&["A", "B"]),
        reference: None,
    };
    write(Generic, &ask(BODY), &outcome)
}

#[test]
fn reads_by_its_mapping() {
    let call = ask(BODY).call;
    golden("generic.call.txt", &tell(&call));
    assert_eq!(call.requested[0].kind, GrantKind::Role);
    let with = |pointer: &str, value: Value| {
        let mut body: Value = serde_json::from_str(BODY).unwrap();
        *body.pointer_mut(pointer).unwrap() = value;
        post(Generic, "", &body.to_string(), &settings(source()))
            .err()
            .map(|malformed| (malformed.cause, malformed.member()))
    };
    // What must be there, and the places that the operator named as lists of what somebody holds or
    // asks for.
    for (pointer, value, member) in [
        ("/user/id", json!(null), "/user/id"),
        ("/roles", json!({}), "/roles"),
        ("/roles", json!(["a", 1]), "/roles"),
        ("/user/groups", json!(7), "/user/groups"),
        ("/user/groups", json!([{"id": "g"}]), "/user/groups"),
    ] {
        let refused = with(pointer, value).map(|(cause, member)| (cause, member.into_owned()));
        assert_eq!(refused, Some((Cause::SchemaMismatch, member.to_owned())), "{pointer}");
    }
    for (pointer, value) in [
        ("/interaction", json!({})),
        ("/interaction", json!("x".repeat(257))),
        ("/trace", json!([])),
        ("/user/id", json!({})),
        ("/user/profile", json!("x")),
        ("/target/kind", json!(false)),
        ("/net/ip", json!(["192.0.2.44"])),
        ("/why", json!(7.5)),
    ] {
        assert_eq!(with(pointer, value), None, "{pointer}");
    }
    for pointer in [
        "/interaction",
        "/trace",
        "/user/profile",
        "/roles",
        "/net",
        "/target",
        "/operation",
        "/client",
    ] {
        assert_eq!(with(pointer, json!(null)), None, "{pointer}");
    }
    assert_eq!(post(Generic, "", "{", &settings(source())).err().unwrap().cause, Cause::NotJson);
    assert!(
        post(Generic, "", BODY, &SETTINGS).is_err(),
        "without a mapping there is nothing to read by"
    );
}

#[test]
fn answers_by_its_templates() {
    for verdict in Effect::ALL {
        let answer = say(verdict, &[]).unwrap();
        assert_eq!(answer.status, if verdict <= Effect::Allow { 200 } else { 403 });
        golden(&format!("generic-{}.json", verdict.name()), text(&answer));
    }
    let add = |path: &str, value: &str| Change::Set {
        target: Target::Response,
        path: path.into(),
        value: value.into(),
    };
    let changed =
        say(Effect::Allow, &[add("/until", "\"2026-09-30\""), add("/result/scopes", "[\"read\"]")])
            .unwrap();
    golden("generic-changed.json", text(&changed));
    let reference = RecordRef {
        log: "hospital.example/hooks",
        index: 12,
        leaf: "3q2+7w==",
        generation: 1,
        spent_us: 1,
    };
    let whole: Value = serde_json::from_slice(&changed.with_reference(&reference)).unwrap();
    assert_eq!(whole["evidence"], "hospital.example/hooks#12");
    for (path, value, why) in [
        ("/result", "1", RenderErrorKind::Reserved),
        ("/result/allowed", "false", RenderErrorKind::Reserved),
        ("/call", "1", RenderErrorKind::Reserved),
        ("/none/x", "1", RenderErrorKind::NoTarget),
        ("/result/allowed/x", "1", RenderErrorKind::NoTarget),
        ("", "1", RenderErrorKind::Place),
        ("x", "1", RenderErrorKind::Place),
        ("/x", "yes", RenderErrorKind::Value),
        ("/x", "1,\"allowed\":true", RenderErrorKind::Value),
    ] {
        assert_eq!(say(Effect::Allow, &[add(path, value)]).err().unwrap().why, why, "{path}");
    }
    assert_eq!(say(Effect::Allow, &[Change::CreateUser]).err().unwrap().why, RenderErrorKind::Kind);
    assert!(
        say(Effect::Deny, &[add("/result", "1")]).is_ok(),
        "who is stopped gets the denial and nothing else"
    );
}

#[test]
fn a_mapping_is_checked_whole() {
    let refused = |change: &dyn Fn(&mut MappingSource)| {
        let mut source = source();
        change(&mut source);
        let wrong = Mapping::compile(source).err().unwrap_or_default();
        assert!(wrong.len() < 2, "{wrong:?}");
        wrong.first().map(ToString::to_string)
    };
    assert_eq!(refused(&|_| {}), None);
    type Case = (&'static str, Box<dyn Fn(&mut MappingSource)>);
    let cases: Vec<Case> = vec![
        ("mapping.answer.allow is missing", Box::new(|it| it.answer.allow = None)),
        ("mapping.answer.deny is missing", Box::new(|it| it.answer.deny = None)),
        ("mapping.answer.deny is not JSON", Box::new(|it| it.answer.deny = Some("{".into()))),
        (
            "mapping.answer.deny is not JSON",
            Box::new(|it| it.answer.deny = Some(r#"{"a":1,"a":2}"#.into())),
        ),
        ("mapping.answer.deny is not an object", Box::new(|it| it.answer.deny = Some("[]".into()))),
        (
            "mapping.answer.step_up has another placeholder",
            Box::new(|it| it.answer.step_up = Some(r#"{"a":"{record}"}"#.into())),
        ),
        (
            "mapping.answer.deny has another placeholder",
            Box::new(|it| it.answer.deny = Some(r#"{"a":"x {text"}"#.into())),
        ),
        (
            "mapping.answer.deny has another placeholder",
            Box::new(|it| it.answer.deny = Some(r#"{"a":"x } y"}"#.into())),
        ),
        (
            "mapping.answer.deny is the same as mapping.answer.allow",
            Box::new(|it| it.answer.deny = it.answer.allow.clone()),
        ),
        (
            "mapping.answer.review is the same as mapping.answer.allow",
            Box::new(|it| it.answer.review = it.answer.allow.clone()),
        ),
        (
            "mapping.answer.deny_status is not a status",
            Box::new(|it| it.answer.deny_status = Some(204)),
        ),
        (
            "mapping.answer.failure_status is not a status",
            Box::new(|it| it.answer.failure_status = Some(99)),
        ),
        (
            "mapping.answer.record is a member",
            Box::new(|it| it.answer.record = Some("codes".into())),
        ),
        (
            "mapping.answer.record is a member",
            Box::new(|it| it.answer.record = Some(String::new())),
        ),
        ("mapping.id is not a JSON Pointer", Box::new(|it| it.id = Some("interaction".into()))),
        (
            "mapping.subject.id is not a JSON Pointer",
            Box::new(|it| it.subject.as_mut().unwrap().id = Some("/a~".into())),
        ),
        (
            "mapping.subject.attributes is not",
            Box::new(|it| it.subject.as_mut().unwrap().attributes = vec!["user".into()]),
        ),
        (
            "mapping.subject.kind must be",
            Box::new(|it| it.subject.as_mut().unwrap().kind = Some("human".into())),
        ),
        (
            "mapping.action.id is not a JSON Pointer",
            Box::new(|it| it.action.as_mut().unwrap().id = Some(String::new())),
        ),
        (
            "mapping.resource.type is not",
            Box::new(|it| it.resource.as_mut().unwrap().type_name = Some("/~2".into())),
        ),
        ("mapping.requested.at is not", Box::new(|it| it.requested[0].at = "roles".into())),
        ("mapping.origin is not", Box::new(|it| it.origin.ip = Some("ip".into()))),
        ("mapping.required is not", Box::new(|it| it.required = vec![String::new()])),
    ];
    for (begins, change) in cases {
        let told = refused(&*change).unwrap_or_default();
        assert!(told.starts_with(begins), "{begins}: {told}");
    }
    let unknown = json!({"subjct": {}});
    assert!(serde_json::from_value::<MappingSource>(unknown).is_err());
    // The verdict alone can tell them apart.
    assert_eq!(
        refused(&|it| (it.answer.allow, it.answer.deny) =
            (Some(r#"{"v":"{verdict}"}"#.into()), Some(r#"{"v":"{verdict}"}"#.into()))),
        None
    );
}

proptest! {
    /// Whatever is filled in, the answer is one object with the template's own members.
    #[test]
    fn what_is_filled_in_stays_in_its_place(told: Option<String>, code: String, id in "[^\u{0}]{1,20}") {
        let body = json!({"interaction": id, "user": {"id": "a"}}).to_string();
        let incoming = ask(&body);
        let codes = [code.as_str()];
        let outcome = Outcome { verdict: Effect::Deny, text: told.as_deref(), reasons: &reasons(&codes), ..Outcome::default() };
        let answer = json(&write(Generic, &incoming, &outcome).unwrap());
        let line = format!("deny: {} ({code}) {{}}", told.clone().unwrap_or_default());
        prop_assert_eq!(answer, json!({"result": {"allowed": false, "why": told, "line": line}, "codes": [code]}));
        let allowed = json(&write(Generic, &incoming, &Outcome { verdict: Effect::Allow, ..Outcome::default() }).unwrap());
        prop_assert_eq!(allowed, json!({"result": {"allowed": true}, "call": id}));
    }
}

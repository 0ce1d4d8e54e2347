//! Our own SAML patches against an interpreter as strict as Okta may be, written from its rules and not from our code, and against a plain
//! reading of what the changes ask for.

use portcullis_model::{Change, Effect, Target};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{SAML, golden, incoming};
use crate::{HookKind, Outcome, RenderErrorKind, write};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn no_patch_fails_at_okta_and_all_do_what_was_asked(
        request in request(),
        requested in prop::collection::vec(any_change(), 0..5),
    ) {
        let changes: Vec<Change> = requested.iter().map(RequestedChange::change).collect();
        let call = incoming(HookKind::OktaSaml, &request.to_string());
        let rendered = write(HookKind::OktaSaml, &call, &Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() });
        match (rendered, ask(&request["data"]["assertion"], &requested)) {
            (Ok(answer), Some(requested)) => {
                let answer: Value = serde_json::from_slice(answer.body()).unwrap();
                match okta(&request["data"]["assertion"], &answer) {
                    Ok(got) => prop_assert_eq!(got, requested, "{}", answer),
                    Err(reason) => prop_assert!(false, "{}: {}", reason, answer),
                }
            }
            (Err(_), None) => {}
            (Ok(answer), None) => prop_assert!(false, "should be unsayable: {}", String::from_utf8_lossy(answer.body())),
            (Err(unsayable), Some(_)) => prop_assert!(false, "should be sayable: {}", unsayable),
        }
    }

    #[test]
    fn a_cap_never_lengthens(present in prop::option::of(0..100_000u32), seconds in 0..100_000u32) {
        let mut request: Value = serde_json::from_str(SAML).unwrap();
        if let Some(present) = present {
            request["data"]["assertion"]["authentication"]["sessionLifetime"] = present.into();
        }
        let call = incoming(HookKind::OktaSaml, &request.to_string());
        let changes = [Change::CapLifetime { target: Target::Assertion, seconds }];
        match write(HookKind::OktaSaml, &call, &Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() }) {
            Ok(answer) => {
                let answer = serde_json::from_slice(answer.body()).unwrap();
                let patched = okta(&request["data"]["assertion"], &answer).unwrap();
                let got = patched["authentication"]["sessionLifetime"].as_u64().unwrap();
                prop_assert!(got <= u64::from(seconds.min(present.unwrap_or(u32::MAX))));
            }
            Err(unsayable) => prop_assert!(unsayable.why == RenderErrorKind::TooShort && seconds < 300),
        }
    }
}

/// A plain value keeps the attributes that the changes before it leave, not those that Okta sent.
#[test]
fn a_plain_value_keeps_the_attributes_that_stand_there() {
    let call = incoming(HookKind::OktaSaml, SAML);
    let set = |path: &str, value: Value| RequestedChange::Set(path.to_owned(), value).change();
    let whole = json!({"attributes": {"NameFormat": "whole"}, "attributeValues": ["v"]});
    for (first, format) in [
        (set("/claims/groups", whole), "whole"),
        (set("/claims/groups/attributes/NameFormat", json!("alone")), "alone"),
    ] {
        let changes = [first, set("/claims/groups", json!("plain"))];
        let outcome = Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() };
        let answer = write(HookKind::OktaSaml, &call, &outcome).unwrap();
        let answer = serde_json::from_slice(answer.body()).unwrap();
        let request: Value = serde_json::from_str(SAML).unwrap();
        let patched = okta(&request["data"]["assertion"], &answer).unwrap();
        assert_eq!(patched["claims"]["groups"]["attributes"]["NameFormat"], format);
    }
}

/// The interpreter takes what Okta's own example shows, and refuses what its rules do.
#[test]
fn the_interpreter_is_as_strict_as_it_says() {
    let request: Value = serde_json::from_str(SAML).unwrap();
    let assertion = &request["data"]["assertion"];
    let tried = |op: &str, path: &str, value: Value| {
        let operation = json!({"op": op, "path": path, "value": value});
        okta(
            assertion,
            &json!({"commands": [{"type": "com.okta.assertion.patch", "value": [operation]}]}),
        )
    };
    let statement = json!({"attributes": {"NameFormat": "f"}, "attributeValues": [{"attributes": {"xsi:type": "xs:string"}, "value": "v"}]});
    for (op, path, value) in [
        ("replace", "/claims/groups/attributeValues/1/value", json!("other")),
        ("replace", "/authentication/authnContext", json!({"authnContextClassRef": "other"})),
        ("add", "/claims/new", statement.clone()),
        ("add", "/claims/https:~1~1x~1y", statement.clone()),
        ("add", "/authentication/sessionLifetime", json!(300)),
        ("replace", "/conditions/audienceRestriction/0", json!("urn:other")),
    ] {
        tried(op, path, value).unwrap();
    }
    for (op, path, value) in [
        ("add", "/claims/groups", statement.clone()),
        ("replace", "/claims/new", statement),
        ("add", "/claims/new", json!("bare")),
        (
            "add",
            "/claims/groups/attributeValues/-",
            json!({"attributes": {"xsi:type": "xs:string"}, "value": "v"}),
        ),
        ("replace", "/claims/groups/attributeValues/2/value", json!("x")),
        ("remove", "/claims/groups", Value::Null),
        ("add", "/authentication/sessionLifetime", json!(299)),
        ("add", "/authentication/sessionLifetime", json!("300")),
        ("replace", "/authentication/sessionLifetime", json!(300)),
        ("replace", "/lifetime/expiration", json!(300)),
        ("replace", "/subject/nameId", json!(7)),
        ("replace", "/conditions/audienceRestriction", json!([])),
    ] {
        assert!(tried(op, path, value).is_err(), "{op} {path}");
    }
}

/// Okta: every operation in order, and the first that fails fails all.
pub(super) fn okta(assertion: &Value, answer: &Value) -> Result<Value, String> {
    let mut patched = assertion.clone();
    let none = Vec::new();
    for command in answer.get("commands").map_or(&none, |commands| commands.as_array().unwrap()) {
        assert_eq!(command.as_object().unwrap().len(), 2);
        if command["type"] != "com.okta.assertion.patch" {
            return Err(format!("unknown command {}", command["type"]));
        }
        let operations = command["value"].as_array().unwrap();
        assert!(!operations.is_empty());
        for operation in operations {
            let members: Vec<&str> =
                operation.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, ["op", "path", "value"]);
            let (name, path, value) = (
                operation["op"].as_str().unwrap(),
                operation["path"].as_str().unwrap(),
                &operation["value"],
            );
            operate(&mut patched, name, path, value)
                .map_err(|why| format!("{name} {path}: {why}"))?;
        }
    }
    Ok(patched)
}

fn operate(
    assertion: &mut Value,
    name: &str,
    path: &str,
    value: &Value,
) -> Result<(), &'static str> {
    let bad = path.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
    let tokens: Vec<String> =
        path.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
    if bad || !path.starts_with('/') || tokens.len() < 2 {
        return Err("no place");
    }
    let lifetime = path == "/authentication/sessionLifetime";
    if lifetime && !value.as_u64().is_some_and(|seconds| (300..=86_400).contains(&seconds)) {
        return Err("no lifetime");
    }
    match (name, tokens[0].as_str()) {
        ("add", "authentication") if lifetime && assertion["authentication"].is_object() => {
            if assertion.pointer(path).is_some() {
                return Err("already there");
            }
            assertion["authentication"]["sessionLifetime"] = value.clone();
            Ok(())
        }
        ("add", "claims") if tokens.len() == 2 && !tokens[1].is_empty() => {
            let claims = assertion["claims"].as_object_mut().ok_or("no statements")?;
            if claims.contains_key(&tokens[1]) || !is_statement(value) {
                return Err("already there, or no statement");
            }
            claims.insert(tokens[1].clone(), value.clone());
            Ok(())
        }
        ("replace", "claims" | "subject" | "authentication" | "conditions") => {
            let place = assertion.pointer_mut(path).ok_or("nothing there")?;
            let fits = match (tokens[0].as_str(), &tokens[2..]) {
                ("claims", []) => is_statement(value),
                ("claims", [values]) if values == "attributeValues" => is_values(value),
                ("claims", [values, _]) if values == "attributeValues" => is_value(value),
                ("claims", [.., last])
                    if ["value", "NameFormat", "xsi:type"].contains(&last.as_str()) =>
                {
                    value.is_string()
                }
                ("claims", _) => false,
                _ => alike(place, value),
            };
            if !fits {
                return Err("another shape");
            }
            *place = value.clone();
            Ok(())
        }
        _ => Err("no such operation there"),
    }
}

fn is_statement(value: &Value) -> bool {
    has(value, ["attributeValues", "attributes"])
        && are_strings(&value["attributes"])
        && is_values(&value["attributeValues"])
}

fn is_values(value: &Value) -> bool {
    value.as_array().is_some_and(|values| !values.is_empty() && values.iter().all(is_value))
}

fn is_value(value: &Value) -> bool {
    has(value, ["attributes", "value"])
        && are_strings(&value["attributes"])
        && value["value"].is_string()
}

fn has(value: &Value, members: [&str; 2]) -> bool {
    value.as_object().is_some_and(|object| object.keys().map(String::as_str).eq(members))
}

fn are_strings(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.values().all(Value::is_string))
}

fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(_), Value::String(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_)) => true,
        (Value::Array(one), Value::Array(other)) => {
            let text = Value::from("");
            let first = one.first().unwrap_or(&text);
            !other.is_empty() && other.iter().all(|it| alike(first, it))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.keys().eq(other.keys()) && one.iter().all(|(name, it)| alike(it, &other[name]))
        }
        _ => false,
    }
}

/// What the changes ask for, without any patch: nothing where they ask for what cannot be.
fn ask(assertion: &Value, requested: &[RequestedChange]) -> Option<Value> {
    let mut wanted = assertion.clone();
    let mut brought = Vec::new();
    for requested in requested {
        match requested {
            RequestedChange::Remove(_) => return None,
            RequestedChange::Cap(seconds) => {
                let session = wanted["authentication"].as_object_mut()?;
                let sent = assertion["authentication"]["sessionLifetime"].as_u64();
                if sent.is_some_and(|sent| u64::from(*seconds) >= sent) {
                    continue;
                }
                (*seconds >= 300).then_some(())?;
                let now =
                    session.get("sessionLifetime").and_then(Value::as_u64).unwrap_or(u64::MAX);
                session.insert(
                    "sessionLifetime".into(),
                    now.min(u64::from(*seconds)).min(86_400).into(),
                );
            }
            RequestedChange::Set(path, value) => {
                let tokens: Vec<String> = path
                    .split('/')
                    .skip(1)
                    .map(|token| token.replace("~1", "/").replace("~0", "~"))
                    .collect();
                let (section, inner) = (tokens[0].as_str(), tokens.get(2..)?);
                if section != "claims" {
                    let there = wanted.pointer_mut(path)?;
                    (section != "lifetime"
                        && path != "/authentication/sessionLifetime"
                        && alike(there, value))
                    .then_some(())?;
                    *there = value.clone();
                    continue;
                }
                let claims = wanted["claims"].as_object_mut()?;
                let name = &tokens[1];
                if inner.is_empty() {
                    let statement =
                        statement(value, claims.get(name).map(|sent| &sent["attributes"]))?;
                    // Once brought, it is not brought again.
                    (!brought.contains(name)).then_some(())?;
                    if claims.insert(name.clone(), statement).is_none() {
                        brought.push(name.clone());
                    }
                    continue;
                }
                (!brought.contains(name)).then_some(())?;
                let value = match inner.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                    ["attributeValues"] => {
                        Value::Array(value.as_array()?.iter().map(element).collect::<Option<_>>()?)
                    }
                    ["attributeValues", _] => element(value)?,
                    ["attributeValues", _, "value"] => plain(value)?.1.into(),
                    ["attributes", "NameFormat"]
                    | ["attributeValues", _, "attributes", "xsi:type"] => value.as_str()?.into(),
                    _ => return None,
                };
                value.as_array().is_none_or(|values| !values.is_empty()).then_some(())?;
                *wanted.pointer_mut(path)? = value;
            }
        }
    }
    Some(wanted)
}

fn statement(value: &Value, present: Option<&Value>) -> Option<Value> {
    let basic = json!({"NameFormat": "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"});
    let basic = present.cloned().unwrap_or(basic);
    let (attributes, values) = match value {
        Value::Object(object) => {
            object
                .keys()
                .all(|name| name == "attributes" || name == "attributeValues")
                .then_some(())?;
            let attributes = object.get("attributes").cloned().unwrap_or(basic);
            are_strings(&attributes).then_some(())?;
            (attributes, object.get("attributeValues")?.as_array()?.clone())
        }
        Value::Array(values) => (basic, values.clone()),
        plain => (basic, vec![plain.clone()]),
    };
    let values: Vec<_> = values.iter().map(element).collect::<Option<_>>()?;
    (!values.is_empty()).then(|| json!({"attributes": attributes, "attributeValues": values}))
}

fn element(value: &Value) -> Option<Value> {
    let Value::Object(object) = value else {
        let (kind, text) = plain(value)?;
        return Some(json!({"attributes": {"xsi:type": kind}, "value": text}));
    };
    object.keys().all(|name| name == "attributes" || name == "value").then_some(())?;
    let (kind, text) = plain(object.get("value")?)?;
    let attributes = object.get("attributes").cloned().unwrap_or_else(|| json!({"xsi:type": kind}));
    are_strings(&attributes).then(|| json!({"attributes": attributes, "value": text}))
}

fn plain(value: &Value) -> Option<(&'static str, String)> {
    match value {
        Value::String(text) => Some(("xs:string", text.clone())),
        Value::Bool(it) => Some(("xs:boolean", it.to_string())),
        Value::Number(it) if it.is_f64() => Some(("xs:double", it.to_string())),
        Value::Number(it) => Some(("xs:integer", it.to_string())),
        _ => None,
    }
}

fn request() -> impl Strategy<Value = Value> {
    let claims = prop::collection::btree_map(claim_name(), sent(), 0..3);
    let claims = claims.prop_map(|claims| Value::Object(claims.into_iter().collect::<Map<_, _>>()));
    let absent = |share| prop::bool::weighted(share);
    (prop::option::weighted(0.9, claims), absent(0.1), prop::option::weighted(0.3, 0..90_000u32))
        .prop_map(|(claims, without, lifetime)| {
            let mut request: Value = serde_json::from_str(SAML).unwrap();
            let assertion = &mut request["data"]["assertion"];
            assertion["claims"] = claims.unwrap_or(Value::Null);
            if let Some(lifetime) = lifetime {
                assertion["authentication"]["sessionLifetime"] = lifetime.into();
            }
            if without {
                assertion["authentication"] = Value::Null;
            }
            request
        })
}

/// A statement as Okta sends it.
fn sent() -> impl Strategy<Value = Value> {
    prop::collection::vec("[a-c]{0,2}", 0..3).prop_map(|values| {
        let values: Vec<_> = values
            .into_iter()
            .map(|value| json!({"attributes": {"xsi:type": "xs:string"}, "value": value}))
            .collect();
        json!({"attributes": {"NameFormat": "f"}, "attributeValues": values})
    })
}

fn claim_name() -> impl Strategy<Value = String> + Clone {
    prop::sample::select(vec!["a", "b", "https://x/~y"]).prop_map(String::from)
}

/// What a plugin may want at a place: plain, or as Okta has it, or neither.
fn value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        "[a-c\"\\\\]{0,3}".prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(json!(1.5)),
    ];
    let element = prop_oneof![
        3 => plain.clone(),
        2 => plain.clone().prop_map(|value| json!({"attributes": {"xsi:type": "xs:string"}, "value": value})),
        1 => plain.clone().prop_map(|value| json!({"value": value})),
        1 => Just(json!({"value": null})),
        1 => plain.clone().prop_map(|value| json!({"value": value, "other": 1})),
    ];
    let list = prop::collection::vec(element.clone(), 0..3).prop_map(Value::from);
    prop_oneof![
        4 => element,
        3 => list.clone(),
        3 => list.clone().prop_map(|values| json!({"attributes": {"NameFormat": "g"}, "attributeValues": values})),
        1 => list.prop_map(|values| json!({"attributeValues": values})),
        1 => Just(json!({"authnContextClassRef": "urn:other"})),
        1 => Just(json!(["urn:x", "urn:y", "urn:z"])),
    ]
}

/// A change that proptest may show.
#[derive(Clone, Debug)]
enum RequestedChange {
    Set(String, Value),
    Remove(String),
    Cap(u32),
}

impl RequestedChange {
    fn change(&self) -> Change {
        let target = Target::Assertion;
        match self.clone() {
            Self::Set(path, value) => Change::Set { target, path, value: value.to_string() },
            Self::Remove(path) => Change::Remove { target, path },
            Self::Cap(seconds) => Change::CapLifetime { target, seconds },
        }
    }
}

fn any_change() -> impl Strategy<Value = RequestedChange> {
    let inner = prop::sample::select(vec![
        "",
        "",
        "",
        "/attributeValues",
        "/attributeValues/0",
        "/attributeValues/1",
        "/attributeValues/-",
        "/attributeValues/0/value",
        "/attributeValues/1/value",
        "/attributeValues/0/attributes/xsi:type",
        "/attributes/NameFormat",
        "/attributes",
        "/other",
    ]);
    let claims = (claim_name(), inner).prop_map(|(name, inner)| {
        format!("/claims/{}{inner}", name.replace('~', "~0").replace('/', "~1"))
    });
    let others = prop::sample::select(vec![
        "/subject/nameId",
        "/subject/confirmation/data/recipient",
        "/subject/none",
        "/authentication/sessionIndex",
        "/authentication/authnContext",
        "/authentication/sessionLifetime",
        "/conditions/audienceRestriction",
        "/conditions/audienceRestriction/1",
        "/conditions/audienceRestriction/2",
        "/lifetime/expiration",
    ]);
    let path = prop_oneof![3 => claims, 1 => others.prop_map(String::from)];
    prop_oneof![
        12 => (path.clone(), value()).prop_map(|(path, value)| RequestedChange::Set(path, value)),
        1 => path.prop_map(RequestedChange::Remove),
        2 => (200..90_000u32).prop_map(RequestedChange::Cap),
    ]
}

#[test]
fn what_okta_would_refuse_is_named() {
    let call = incoming(HookKind::OktaSaml, SAML);
    let set = |path: &str, value: &str| Change::Set {
        target: Target::Assertion,
        path: path.into(),
        value: value.into(),
    };
    let why = |changes: &[Change]| {
        write(
            HookKind::OktaSaml,
            &call,
            &Outcome { verdict: Effect::Allow, changes, ..Outcome::default() },
        )
        .err()
        .unwrap()
        .why
    };
    for place in [
        "",
        "/",
        "/claims",
        "/claims/",
        "claims/x",
        "/claims/~x",
        "/claims/groups/attributes",
        "/claims/groups/other",
        "/authentication/sessionLifetime",
        "/lifetime/expiration",
        "/subject",
    ] {
        assert_eq!(why(&[set(place, "1")]), RenderErrorKind::Place, "{place}");
    }
    for nowhere in [
        "/claims/none/attributeValues/0",
        "/claims/groups/attributeValues/2",
        "/claims/groups/attributeValues/-",
        "/subject/none",
    ] {
        assert_eq!(why(&[set(nowhere, "\"x\"")]), RenderErrorKind::NoTarget, "{nowhere}");
    }
    for value in [
        "",
        "x",
        "null",
        "[]",
        "{}",
        "[null]",
        "{\"attributeValues\":[],\"x\":1}",
        "\"x\",{\"op\":\"remove\"}",
    ] {
        assert_eq!(why(&[set("/claims/x", value)]), RenderErrorKind::Value, "{value}");
    }
    assert_eq!(why(&[set("/claims/x", "1"), set("/claims/x", "2")]), RenderErrorKind::Conflict);
    assert_eq!(why(&[set("/subject/nameId", "7")]), RenderErrorKind::Value);
    assert_eq!(
        why(&[Change::CapLifetime { target: Target::Assertion, seconds: 299 }]),
        RenderErrorKind::TooShort
    );
    let long = format!("\"{}\"", "x".repeat(256_000));
    assert_eq!(why(&[set("/claims/x", &long)]), RenderErrorKind::TooLong);
}

#[test]
fn answers_are_as_ever() {
    let call = incoming(HookKind::OktaSaml, SAML);
    let set = |path: &str, value: &str| Change::Set {
        target: Target::Assertion,
        path: path.into(),
        value: value.into(),
    };
    let changes = [
        set("/claims/accessEnd", "\"2026-09-30\""),
        set("/claims/https:~1~1hospital.example~1unit", "4712"),
        set("/claims/badges", "[\"b1\", 7, true, 0.5]"),
        set("/claims/groups/attributeValues/1/value", "\"off-call\""),
        set(
            "/claims/shift",
            r#"{"attributes": {"NameFormat": "urn:x"}, "attributeValues": [{"value": "night"}]}"#,
        ),
        set("/authentication/authnContext", r#"{"authnContextClassRef": "urn:x"}"#),
        set("/conditions/audienceRestriction", r#"["urn:hospital:pacs"]"#),
        Change::CapLifetime { target: Target::Assertion, seconds: 7200 },
        Change::CapLifetime { target: Target::Assertion, seconds: 3600 },
    ];
    let answer = write(
        HookKind::OktaSaml,
        &call,
        &Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() },
    );
    let answer = answer.unwrap();
    okta(
        &serde_json::from_str::<Value>(SAML).unwrap()["data"]["assertion"],
        &serde_json::from_slice(answer.body()).unwrap(),
    )
    .unwrap();
    golden("saml-changes.json", std::str::from_utf8(answer.body()).unwrap());
}

//! Paths, and views against a plain reading of what the paths name.

use proptest::prelude::*;

use super::*;
use crate::call::{PrincipalKind, Secrets};
use crate::grant::{Grant, GrantKind};
use crate::json::Document;
use crate::millis::Millis;

fn reads(reads: &[&str], requires: &[&str]) -> Result<Reads, ReadsError> {
    let owned = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    Reads::compile(&owned(reads), &owned(requires))
}

fn call(body: &str) -> Call {
    let attribute = |name: &str, value: &str| Attribute { name: name.into(), value: value.into() };
    let principal = |id: &str| Principal {
        kind: PrincipalKind::Person,
        type_name: "user".into(),
        id: Some(id.into()),
        attributes: vec![
            attribute("dept", "\"D\""),
            attribute("a.b", "1"),
            attribute("none", "null"),
        ],
        entitlements: vec!["E".into()],
    };
    Call {
        id: "event".into(),
        correlation: Some("corr".into()),
        tenant: "default".into(),
        hook: "okta.token",
        phase: None,
        received: Millis(1),
        seed: 2,
        subject: Some(principal("subject")),
        actors: vec![principal("actor")],
        action: Some(Entity {
            type_name: "token".into(),
            id: None,
            attributes: vec![attribute("grant", "\"g\"")],
        }),
        resource: Some(Entity {
            type_name: "server".into(),
            id: Some("R".into()),
            attributes: vec![],
        }),
        requested: vec![Grant { kind: GrantKind::Scope, id: "openid".into() }],
        lifetimes: vec![],
        origin: Some(Origin {
            ip: Some("192.0.2.1".into()),
            session: Some("S".into()),
            ..Origin::default()
        }),
        purpose: None,
        proposed: vec![],
        payload: Document::parse(body.as_bytes()).unwrap(),
        secrets: Secrets::default(),
    }
}

fn payload(paths: &[&str], body: &str) -> String {
    let paths: Vec<String> = paths.iter().map(|path| format!("okta.token:{path}")).collect();
    let reads = Reads::compile(&paths, &[]).unwrap();
    reads.view(&call(body)).unwrap_or_else(|missing| panic!("{missing}")).payload.into_owned()
}

#[test]
fn refuses_paths_by_what_is_wrong_with_them() {
    let wrong = [
        ("hr.job_code", "reads-table"),
        ("Subject.id", "reads-table"),
        ("tables", "reads-unknown"),
        ("tables.hr", "reads-unknown"),
        ("tables.HR.job_code", "reads-unknown"),
        ("tables.hr.", "reads-unknown"),
        ("tables..job_code", "reads-unknown"),
        ("subject", "reads-unknown"),
        ("subject.name", "reads-unknown"),
        ("subject.attributes.", "reads-unknown"),
        ("subject.attributes", "reads-unknown"),
        ("action.entitlements", "reads-unknown"),
        ("origin.planet", "reads-unknown"),
        ("origin", "reads-unknown"),
        ("requested.id", "reads-unknown"),
        ("requested.", "reads-unknown"),
        ("", "reads-unknown"),
        ("everything", "reads-unknown"),
        ("okta.token:data", "reads-pointer"),
        ("okta.token:/a~b", "reads-pointer"),
        (":/data", "reads-pointer"),
        ("Okta Token:/data", "reads-pointer"),
    ];
    for (path, code) in wrong {
        let error = reads(&[path], &[]).err().unwrap_or_else(|| panic!("{path}"));
        assert_eq!(error.code(), code, "{path}");
        assert!(error.to_string().contains(&format!("`{path}`")) && error.hint().is_some());
    }
}

#[test]
fn columns_of_tables_are_read_by_table() {
    let read = reads(&["tables.hr.job_code", "tables.hr.job.title", "tables.net.*"], &[]).unwrap();
    let tables: Vec<_> = read.tables().map(|(name, _)| name).collect();
    assert_eq!(tables, ["hr", "net"]);
    let hr = read.table("hr").unwrap();
    assert!(hr.covers("job_code") && hr.covers("job.title"));
    assert!(!hr.covers("salary") && !hr.covers_all());
    assert!(read.table("net").unwrap().covers("anything"));
    assert!(read.table("other").is_none());
    assert!(read.covers_path("tables.hr.job_code") && !read.covers_path("tables.hr.salary"));

    let required = reads(&["tables.hr.job_code"], &["tables.hr.job_code"]);
    assert_eq!(required.err().unwrap().code(), "requires-table");
}

#[test]
fn what_is_required_must_be_read_and_no_wildcard() {
    let read =
        ["subject.attributes.*", "origin.ip", "okta.token:/data/list/*", "okta.token:/data/user"];
    for within in [
        "subject.attributes.x",
        "origin.ip",
        "okta.token:/data/list/3/y",
        "okta.token:/data/user/id",
    ] {
        assert!(reads(&read, &[within]).is_ok(), "{within}");
    }
    for beyond in [
        "subject.id",
        "actors.attributes.x",
        "origin.asn",
        "okta.token:/data",
        "okta.token:/data/list/x",
        "okta.saml:/data/user",
    ] {
        assert_eq!(reads(&read, &[beyond]).err().unwrap().code(), "requires-not-read", "{beyond}");
    }
    for wildcard in ["subject.attributes.*", "okta.token:/data/list/*"] {
        assert_eq!(
            reads(&read, &[wildcard]).err().unwrap().code(),
            "requires-wildcard",
            "{wildcard}"
        );
    }
}

#[test]
fn tables_and_columns_may_be_optional() {
    let read = ["tables.hr.job", "tables.hr.ends", "tables.shifts.*", "subject.id"];
    let optional = |optional: &[&str]| {
        let optional: Vec<_> = optional.iter().map(ToString::to_string).collect();
        reads(&read, &[]).unwrap().with_optional(&optional)
    };
    let lacks = |paths: &[&str]| {
        let reads = optional(paths).unwrap();
        (
            reads.is_optional_table("hr"),
            ["job", "ends"].map(|it| reads.is_optional_column("hr", it)),
        )
    };
    assert_eq!(lacks(&[]), (false, [false, false]));
    assert_eq!(lacks(&["tables.hr.ends"]), (false, [false, true]));
    assert_eq!(lacks(&["tables.hr.job", "tables.hr.ends"]), (false, [true, true]));
    assert_eq!(lacks(&["tables.hr.*"]), (true, [true, true]));
    assert_eq!(lacks(&["tables.shifts.*", "tables.shifts.from"]), (false, [false, false]));
    for (path, code) in [
        ("subject.id", "optional-not-table"),
        ("tables.hr.pay", "optional-not-read"),
        ("tables.rooms.*", "optional-not-read"),
        ("tables.rooms", "reads-unknown"),
    ] {
        assert_eq!(optional(&[path]).err().unwrap().code(), code, "{path}");
    }
}

#[test]
fn nothing_read_is_nothing_seen() {
    let call = call(r#"{"data":1}"#);
    let view = Reads::default().view(&call).ok().unwrap();
    assert!(
        view.subject.is_none()
            && view.actors.is_empty()
            && view.action.is_none()
            && view.resource.is_none()
    );
    assert!(view.requested.is_empty() && view.origin.is_none() && view.correlation.is_none());
    assert_eq!((view.payload.as_ref(), view.id, view.seed), ("null", "event", 2));
}

#[test]
fn each_path_shows_its_own_part() {
    let paths = [
        "subject.attributes.a.b",
        "actors.id",
        "action.attributes.*",
        "resource.id",
        "origin.ip",
        "requested",
        "correlation",
    ];
    let call = call("{}");
    let reads = reads(&paths, &[]).unwrap();
    let view = reads.view(&call).ok().unwrap();
    let subject = view.subject.unwrap();
    assert_eq!((subject.id, subject.entitlements.len(), subject.type_name), (None, 0, "user"));
    assert_eq!(subject.attributes.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a.b"]);
    assert_eq!((view.actors[0].id, view.actors[0].attributes.len()), (Some("actor"), 0));
    assert_eq!(view.action.unwrap().attributes.len(), 1);
    assert_eq!(view.resource.unwrap().id, Some("R"));
    let origin = view.origin.unwrap();
    assert_eq!((origin.ip, origin.session), (Some("192.0.2.1"), None));
    assert_eq!((view.requested.len(), view.correlation), (1, Some("corr")));
    assert_eq!(reads.paths().len(), 7);
}

#[test]
fn what_is_required_and_missing_is_named() {
    let missing = |path: &str, call: &Call| {
        reads(&[path], &[path]).unwrap().view(call).err().map(|missing| missing.path)
    };
    let mut call = call(r#"{"data":{"a":null,"b":1}}"#);
    let there = [
        "subject.id",
        "subject.attributes.dept",
        "subject.entitlements",
        "actors.id",
        "origin.ip",
        "requested",
        "resource.id",
        "okta.token:/data/b",
        "okta.saml:/data/x",
    ];
    for path in there {
        assert_eq!(missing(path, &call), None, "{path}");
    }
    let absent = [
        "subject.attributes.none",
        "subject.attributes.x",
        "origin.asn",
        "purpose",
        "action.id",
        "okta.token:/data/a",
        "okta.token:/data/x",
    ];
    for path in absent {
        assert_eq!(missing(path, &call).as_deref(), Some(path));
    }
    (call.subject, call.actors, call.requested) = (None, vec![], vec![]);
    for path in ["subject.id", "actors.entitlements", "requested"] {
        assert_eq!(missing(path, &call).as_deref(), Some(path));
    }
}

#[test]
fn a_payload_keeps_its_nesting_and_its_positions() {
    let body = r#"{"data":{"user":{"id": 7,"name":"n"},"list":[{"x":1,"y":2},{"x":3},4,{"y":5},6]},"a/b":{"0":{"x":1,"y":2}}}"#;
    let cases: &[(&[&str], &str)] = &[
        (&["/data/user/id"], r#"{"data":{"user":{"id":7}}}"#),
        (&["/data/user/id", "/data/user"], r#"{"data":{"user":{"id": 7,"name":"n"}}}"#),
        (&["/a~1b/0/y"], r#"{"a/b":{"0":{"y":2}}}"#),
        (&["/a~1b/*/x", "/a~1b/0/y"], r#"{"a/b":{"0":{"y":2}}}"#),
        (&["/data/list/1"], r#"{"data":{"list":[null,{"x":3}]}}"#),
        (&["/data/list/*/x"], r#"{"data":{"list":[{"x":1},{"x":3}]}}"#),
        (
            &["/data/list/*/x", "/data/list/0/y", "/data/list/3/y"],
            r#"{"data":{"list":[{"x":1,"y":2},{"x":3},null,{"y":5}]}}"#,
        ),
        (&["/data/list/9", "/data/none", "/data/user/id/x"], "null"),
        (&[""], body),
    ];
    for (paths, expected) in cases {
        assert_eq!(payload(paths, body), *expected, "{paths:?}");
    }
    let mut other = call(body);
    other.hook = "okta.user-import";
    assert_eq!(
        reads(&["okta.token:/data"], &[]).unwrap().view(&other).ok().unwrap().payload,
        "null"
    );
}

/// Paths over a small world, in which every leaf is a text of its own.
fn world() -> impl Strategy<Value = serde_json::Value> {
    let leaf = any::<u32>().prop_map(|number| serde_json::json!(format!("leaf-{number}")));
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[abc01*]", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether a pointer that is read leads to, or above, this place.
fn is_read(pointers: &[String], place: &[(String, bool)]) -> bool {
    pointers.iter().any(|pointer| {
        let tokens: Vec<&str> = pointer.split('/').skip(1).collect();
        let same = |(token, (name, is_element)): (&&str, &(String, bool))| {
            *token == name || (*is_element && *token == "*")
        };
        tokens.len() <= place.len() && tokens.iter().zip(place).all(same)
    })
}

/// Only what is read, by a definition that has nothing in common with the code: leaf by leaf.
fn cut(
    value: &serde_json::Value,
    pointers: &[String],
    place: &mut Vec<(String, bool)>,
) -> Option<serde_json::Value> {
    if is_read(pointers, place) {
        return Some(value.clone());
    }
    let mut below = |name: String, is_element, value| {
        place.push((name, is_element));
        let cut = cut(value, pointers, place);
        place.pop();
        cut
    };
    match value {
        serde_json::Value::Object(members) => {
            let kept: serde_json::Map<_, _> = members
                .iter()
                .filter_map(|(name, value)| {
                    Some((name.clone(), below(name.clone(), false, value)?))
                })
                .collect();
            (!kept.is_empty()).then(|| kept.into())
        }
        serde_json::Value::Array(elements) => {
            let mut kept: Vec<_> = elements
                .iter()
                .enumerate()
                .map(|(at, value)| below(at.to_string(), true, value))
                .collect();
            kept.truncate(kept.iter().rposition(Option::is_some)? + 1);
            Some(kept.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().into())
        }
        _ => None,
    }
}

fn add_everywhere(value: &mut serde_json::Value, name: &str) {
    match value {
        serde_json::Value::Object(members) => {
            members.values_mut().for_each(|member| add_everywhere(member, name));
            members.insert(name.into(), "undeclared".into());
        }
        serde_json::Value::Array(elements) => {
            elements.iter_mut().for_each(|element| add_everywhere(element, name))
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn a_payload_is_exactly_what_is_read(world in world(), pointers in prop::collection::vec("(/[abc01*]){1,4}", 0..4)) {
        let paths: Vec<&str> = pointers.iter().map(String::as_str).collect();
        let got: serde_json::Value = serde_json::from_str(&payload(&paths, &world.to_string())).unwrap();
        prop_assert_eq!(got, cut(&world, &pointers, &mut Vec::new()).unwrap_or_default());
    }

    #[test]
    fn undeclared_members_change_no_view(world in world(), pointers in prop::collection::vec("(/[abc01*]){1,4}", 0..4)) {
        // Read to the leaves, so that what is added beside them is not part of something that is read whole.
        let leaves: Vec<String> = pointers.iter().map(|pointer| format!("{pointer}/leaf")).collect();
        let paths: Vec<&str> = leaves.iter().map(String::as_str).collect();
        let mut declared = world.clone();
        add_everywhere(&mut declared, "leaf");
        let mut more = declared.clone();
        add_everywhere(&mut more, "z");
        prop_assert_eq!(payload(&paths, &declared.to_string()), payload(&paths, &more.to_string()));
    }
}

#[test]
fn a_secret_is_seen_only_by_who_names_it() {
    let body = r#"{"data":{"context":{"credential":{"username":"noor","password":"hunter2"}}}}"#;
    let mut call = call(body);
    call.secrets = Secrets::at(&["/data/context/credential/password"]);
    let seen =
        |paths: &[&str]| reads(paths, &[]).unwrap().view(&call).unwrap().payload.into_owned();
    let hidden = r#"{"data":{"context":{"credential":{"username":"noor","password":null}}}}"#;
    for around in ["okta.token:", "okta.token:/data", "okta.token:/data/context/credential"] {
        assert_eq!(seen(&[around]), hidden, "{around}");
    }
    let named = "okta.token:/data/context/credential/password";
    assert_eq!(seen(&[named]), r#"{"data":{"context":{"credential":{"password":"hunter2"}}}}"#);
    assert_eq!(seen(&["okta.token:/data", named]), body);
}

#[test]
fn a_secret_in_an_array_is_named_by_its_place_or_for_every_element() {
    let body = r#"{"headers":[{"host":"a"},{"cookie":"hunter2"}]}"#;
    let mut call = call(body);
    call.secrets.add("/headers/1/cookie".into());
    let seen =
        |paths: &[&str]| reads(paths, &[]).unwrap().view(&call).unwrap().payload.into_owned();
    let hidden = r#"{"headers":[{"host":"a"},{"cookie":null}]}"#;
    for around in ["okta.token:", "okta.token:/headers", "okta.token:/headers/*"] {
        assert_eq!(seen(&[around]), hidden, "{around}");
    }
    for named in ["okta.token:/headers/1/cookie", "okta.token:/headers/*/cookie"] {
        assert!(seen(&[named]).contains("hunter2"), "{named}");
    }
}

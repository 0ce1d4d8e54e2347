//! Requests: what is read of good ones, and why bad ones are refused.

use std::fmt::Write as _;

use portcullis_model::{Attribute, AttributeFilter, Call, Cause, Entity, Principal};
use proptest::prelude::*;
use serde_json::json;

use super::{IMPORT, OKTA, SAML, TOKEN, TOKEN_OF_A_CLIENT, frame, golden, incoming, parse};
use crate::{HookKind, HookSettings, ParseContext};

#[test]
fn reads_what_the_contract_says() {
    let cases = [
        (HookKind::OktaToken, TOKEN, "token.call.txt"),
        (HookKind::OktaToken, TOKEN_OF_A_CLIENT, "token-client.call.txt"),
        (HookKind::OktaUserImport, IMPORT, "import.call.txt"),
        (HookKind::OktaSaml, SAML, "saml.call.txt"),
        (
            HookKind::OktaRegistration,
            include_str!("../../tests/payloads/registration.json"),
            "registration.call.txt",
        ),
        (
            HookKind::OktaRegistration,
            include_str!("../../tests/payloads/registration-progressive.json"),
            "registration-progressive.call.txt",
        ),
        (
            HookKind::OktaPasswordImport,
            include_str!("../../tests/payloads/password.json"),
            "password.call.txt",
        ),
        (
            HookKind::OktaTelephony,
            include_str!("../../tests/payloads/telephony.json"),
            "telephony.call.txt",
        ),
    ];
    for (kind, body, name) in cases {
        golden(name, &tell(&incoming(kind, body).call));
    }
}

#[test]
fn what_nobody_reads_is_left_out_and_nothing_else_changes() {
    for (kind, body) in OKTA {
        let tell_with = |wanted: &AttributeFilter| {
            parse(kind, body.as_bytes(), &ParseContext { wanted, ..frame() })
                .ok()
                .map(|incoming| incoming.call)
        };
        let all = tell_with(AttributeFilter::all()).unwrap();
        let names = all
            .subject
            .iter()
            .flat_map(|subject| &subject.attributes)
            .map(|attribute| &*attribute.name);
        for name in names.chain(["nothing of the kind"]) {
            let mut wanted = AttributeFilter::default();
            wanted.add([name, "email", name]);
            let mut less = tell_with(&wanted).unwrap();
            let is_wanted = |call: &Call| {
                let attributes = call.subject.iter().flat_map(|subject| &subject.attributes);
                attributes
                    .filter(|attribute| wanted.contains(&attribute.name))
                    .cloned()
                    .collect::<Vec<_>>()
            };
            assert!(is_wanted(&less) == is_wanted(&all), "{name}");
            // All else is as ever, and of the others none or all are there.
            let kept = less.subject.iter().map(|subject| subject.attributes.len()).sum::<usize>();
            let among = [
                is_wanted(&all).len(),
                all.subject.iter().map(|subject| subject.attributes.len()).sum(),
            ];
            assert!(among.contains(&kept), "{name}: {kept} of {among:?}");
            if let (Some(less), Some(all)) = (&mut less.subject, &all.subject) {
                less.attributes.clone_from(&all.attributes);
            }
            assert_eq!(tell(&less), tell(&all));
        }
    }
}

#[test]
fn every_optional_part_may_be_absent_or_null() {
    for (kind, body) in OKTA {
        let whole: serde_json::Value = serde_json::from_str(body).unwrap();
        let mut pointers = Vec::new();
        pointers_below(&whole["data"], "/data", &mut pointers);
        pointers.retain(|pointer| !NEEDED.iter().any(|needed| needed.starts_with(pointer)));
        for pointer in pointers {
            let mut without = whole.clone();
            *without.pointer_mut(&pointer).unwrap() = serde_json::Value::Null;
            assert!(
                parse(kind, without.to_string().as_bytes(), &frame()).is_ok(),
                "{pointer} is null"
            );
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            if let Some(members) = without.pointer_mut(parent).unwrap().as_object_mut() {
                members.remove(&name.replace("~1", "/"));
                assert!(
                    parse(kind, without.to_string().as_bytes(), &frame()).is_ok(),
                    "{pointer} is absent"
                );
            }
        }
    }
}

#[test]
fn refuses_by_cause_and_shows_nothing_of_the_body() {
    let with = |pointer: &str, value: &str| {
        let mut body: serde_json::Value = serde_json::from_str(TOKEN).unwrap();
        *body.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
        body.to_string().into_bytes()
    };
    let nested = format!("{{\"eventId\":\"e\",\"x\":{}{}}}", "[".repeat(9000), "]".repeat(9000));
    let cases: Vec<(Vec<u8>, Cause, Option<&str>)> = vec![
        (b"".to_vec(), Cause::NotJson, None),
        (b"secret: yaml".to_vec(), Cause::NotJson, None),
        (
            TOKEN.replace("\"eventId\"", "\"eventId\": 1, \"eventId\"").into_bytes(),
            Cause::DuplicateMember,
            None,
        ),
        (
            TOKEN.replace("\"session\"", "\"user\":1, \"session\"").into_bytes(),
            Cause::DuplicateMember,
            None,
        ),
        (nested.into_bytes(), Cause::TooDeep, None),
        (b"{\"eventId\":\"\xFF\xFEsecret\"}".to_vec(), Cause::NotUtf8, None),
        (b"[]".to_vec(), Cause::SchemaMismatch, None),
        (b"null".to_vec(), Cause::SchemaMismatch, None),
        (with("/eventType", "null"), Cause::SchemaMismatch, Some("Zq3_ward-7.clean")),
        (with("/eventType", "\"secret\""), Cause::UnknownEvent, Some("Zq3_ward-7.clean")),
        (
            with("/eventType", "\"com.okta.import.transform\""),
            Cause::UnknownEvent,
            Some("Zq3_ward-7.clean"),
        ),
        (with("/data", "\"secret\""), Cause::SchemaMismatch, Some("Zq3_ward-7.clean")),
    ];
    for (body, cause, event) in cases {
        let text = String::from_utf8_lossy(&body);
        let malformed =
            parse(HookKind::OktaToken, &body, &frame()).err().unwrap_or_else(|| panic!("{text}"));
        assert_eq!((malformed.cause, malformed.event.as_deref()), (cause, event), "{text}");
        assert!(!format!("{malformed} {malformed:?}").contains("secret"), "{malformed:?}");
    }
}

#[test]
fn a_claim_of_another_shape_is_no_entitlement_and_stops_nobody() {
    let held = |settings: &HookSettings, claims: &[(&str, serde_json::Value)]| {
        let mut body: serde_json::Value = serde_json::from_str(TOKEN).unwrap();
        for token in ["identity", "access"] {
            for name in ["groups", "roles", "entitlements"] {
                body["data"][token]["claims"].as_object_mut().unwrap().remove(name);
            }
        }
        for (name, value) in claims {
            body["data"]["access"]["claims"][*name] = value.clone();
        }
        let frame = ParseContext { settings, ..frame() };
        parse(HookKind::OktaToken, body.to_string().as_bytes(), &frame)
            .map(|incoming| {
                let held = incoming.call.subject.unwrap().entitlements;
                held.iter().map(|it| it.as_str().to_owned()).collect::<Vec<_>>()
            })
            .map_err(|malformed| malformed.member().into_owned())
    };
    let none: &[&str] = &[];
    for (claims, expected) in [
        (vec![("roles", json!([1001, 1002]))], none),
        (vec![("entitlements", json!({"app1": ["read", "write"]}))], none),
        (vec![("groups", json!(7))], none),
        (vec![("groups", json!([["nested"]]))], none),
        (vec![("roles", json!([1, "nurse", null, {"x": "y"}]))], &["nurse"]),
        (
            vec![("groups", json!("alone")), ("roles", json!(["nurse", "alone"]))],
            &["alone", "nurse"],
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(held(&HookSettings::default(), &claims), Ok(expected), "{claims:?}");
    }
    // Where the operator says that they stand there, what cannot be read could be what somebody
    // holds.
    let place = "/data/access/claims/roles";
    let settings = HookSettings { entitlements: vec![place.into()], ..HookSettings::default() };
    assert_eq!(held(&settings, &[("roles", json!(["nurse"]))]), Ok(vec!["nurse".into()]));
    assert_eq!(held(&settings, &[]), Ok(vec![]));
    for unreadable in [json!([1001]), json!(["nurse", 7]), json!({"a": ["b"]}), json!(true)] {
        assert_eq!(
            held(&settings, &[("roles", unreadable.clone())]),
            Err(place.into()),
            "{unreadable}"
        );
    }
}

#[test]
fn an_event_without_a_readable_id_is_decided_under_one_of_its_own() {
    let with = |id: Option<serde_json::Value>| {
        let mut body: serde_json::Value = serde_json::from_str(TOKEN).unwrap();
        body.as_object_mut().unwrap().remove("eventTime");
        match id {
            Some(id) => body["eventId"] = id,
            None => drop(body.as_object_mut().unwrap().remove("eventId")),
        }
        body.to_string()
    };
    let id = |body: &str, seed| {
        parse(HookKind::OktaToken, body.as_bytes(), &ParseContext { seed, ..frame() })
            .ok()
            .unwrap()
            .call
            .id
    };
    for wrong in
        [None, Some(json!(null)), Some(json!("")), Some(json!(7)), Some("e".repeat(257).into())]
    {
        let body = with(wrong);
        assert_eq!((id(&body, 1).len(), id(&body, 1) == id(&body, 2)), (16, false), "{body}");
    }
    let spelled = with(None).replacen('{', r#"{"eventID":"other-case","#, 1);
    assert_eq!(id(&spelled, 1), "other-case");
    let twice = spelled.replacen('{', r#"{"EVENTID":"another","#, 1);
    assert_eq!(id(&twice, 1).len(), 16, "which of the two is meant would be a guess");
}

#[test]
fn a_user_who_cannot_be_read_is_no_client() {
    let mut body: serde_json::Value = serde_json::from_str(TOKEN).unwrap();
    body["data"]["context"]["user"] = json!(["00u1"]);
    let subject = incoming(HookKind::OktaToken, &body.to_string()).call.subject.unwrap();
    assert_eq!((subject.kind, subject.id), (portcullis_model::PrincipalKind::Person, None));
}

#[test]
fn an_event_id_that_is_no_plain_word_is_not_repeated() {
    let body = r#"{"eventId":"Mary Smith","eventType":"x"}"#;
    assert_eq!(parse(HookKind::OktaToken, body.as_bytes(), &frame()).err().unwrap().event, None);
}

#[test]
fn a_hook_says_where_entitlements_stand() {
    let settings = HookSettings {
        entitlements: vec!["/data/identity/claims/wards".into(), "/data/nowhere".into()],
        ..HookSettings::default()
    };
    let frame = ParseContext { settings: &settings, ..frame() };
    let call = parse(HookKind::OktaToken, TOKEN.as_bytes(), &frame).ok().unwrap().call;
    assert_eq!(call.subject.unwrap().entitlements, ["3a", "3b"]);
}

#[test]
fn many_members_take_little_time() {
    let members: Vec<String> = (0..40_000).map(|index| format!("\"m{index}\":0")).collect();
    let members = members.join(",");
    let body = format!(
        r#"{{"eventId":"e","eventType":"com.okta.oauth2.tokens.transform","data":{{"context":{{"user":{{"profile":{{{members}}}}}}},"access":{{"claims":{{{members}}}}}}}}}"#
    );
    let call = incoming(HookKind::OktaToken, &body).call;
    assert_eq!(call.subject.unwrap().attributes.len(), 40_000);
}

proptest! {
    #[test]
    fn damaged_bodies_never_panic(place in 0..TOKEN.len(), cut in 0..200usize, insert: Vec<u8>, which in 0..OKTA.len()) {
        let (kind, body) = OKTA[which];
        let mut body = body.as_bytes().to_vec();
        let place = place.min(body.len());
        let end = (place + cut).min(body.len());
        body.splice(place..end, insert);
        let theirs = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
        prop_assert!(theirs || parse(kind, &body, &frame()).is_err());
    }
}

/// What a call is nothing without.
const NEEDED: [&str; 4] = [
    "/data/context/credential/username",
    "/data/context/credential/password",
    "/data/messageProfile/phoneNumber",
    "/data/messageProfile/otpCode",
];

fn pointers_below(value: &serde_json::Value, at: &str, into: &mut Vec<String>) {
    for (name, member) in value.as_object().into_iter().flatten() {
        let pointer = format!("{at}/{}", name.replace('/', "~1"));
        pointers_below(member, &pointer, into);
        into.push(pointer);
    }
}

/// A call in lines of text.
pub(super) fn tell(call: &Call) -> String {
    let mut text = format!(
        "id {}\ncorrelation {:?}\ntenant {}\nhook {}\nphase {:?}\nreceived {}\nseed {}\n",
        call.id, call.correlation, call.tenant, call.hook, call.phase, call.received, call.seed
    );
    call.subject.iter().for_each(|subject| tell_principal(&mut text, "subject", subject));
    call.actors.iter().for_each(|actor| tell_principal(&mut text, "actor", actor));
    call.action.iter().for_each(|action| tell_entity(&mut text, "action", action));
    call.resource.iter().for_each(|resource| tell_entity(&mut text, "resource", resource));
    for grant in &call.requested {
        let _ = writeln!(text, "requested {:?} {}", grant.kind, grant.id);
    }
    for lifetime in &call.lifetimes {
        let _ = writeln!(text, "{lifetime:?}");
    }
    if let Some(origin) = &call.origin {
        let _ = writeln!(
            text,
            "origin ip {:?} session {:?} user-agent {:?}",
            origin.ip, origin.session, origin.user_agent
        );
    }
    let _ = write!(text, "purpose {:?}, proposed {}", call.purpose, call.proposed.len());
    text
}

fn tell_principal(text: &mut String, what: &str, principal: &Principal) {
    let _ =
        writeln!(text, "{what} {:?} {} {:?}", principal.kind, principal.type_name, principal.id);
    tell_attributes(text, &principal.attributes);
    let entitlements: Vec<_> = principal.entitlements.iter().map(|held| held.as_str()).collect();
    let _ = writeln!(text, "  entitlements {entitlements:?}");
}

fn tell_entity(text: &mut String, what: &str, entity: &Entity) {
    let _ = writeln!(text, "{what} {} {:?}", entity.type_name, entity.id);
    tell_attributes(text, &entity.attributes);
}

fn tell_attributes(text: &mut String, attributes: &[Attribute]) {
    for attribute in attributes {
        let _ = writeln!(text, "  {} = {}", &*attribute.name, &*attribute.value);
    }
}

//! Answers: golden files of what Okta gets, and what is unsayable.

use portcullis_model::{Cause, Change, ChangeKind, Credential, Effect, Grant, GrantKind, Target};

use super::{IMPORT, OKTA, SAML, TOKEN, TOKEN_OF_A_CLIENT, golden, incoming};
use crate::capabilities::{self, Support};
use crate::{
    Answer, HookKind, HookRequest, OnFailure, Outcome, RecordRef, RenderError, RenderErrorKind,
    safe_answer, write,
};

use HookKind::{OktaToken, OktaUserImport};

fn set(target: Target, path: &str, value: &str) -> Change {
    Change::Set { target, path: path.into(), value: value.into() }
}

fn answer(
    kind: HookKind,
    body: &str,
    verdict: Effect,
    changes: &[Change],
) -> Result<Answer, RenderError> {
    write(kind, &incoming(kind, body), &Outcome { verdict, changes, ..Outcome::default() })
}

fn why(kind: HookKind, body: &str, changes: &[Change]) -> RenderErrorKind {
    answer(kind, body, Effect::Allow, changes).err().unwrap().why
}

fn is_golden(name: &str, answer: &Answer) {
    assert_eq!(answer.status, 200);
    let text = std::str::from_utf8(answer.body()).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(text).unwrap().is_object());
    golden(name, text);
}

#[test]
fn token_answers_are_as_ever() {
    let changes = [
        set(Target::AccessToken, "/claims/accessEnd", "\"2026-09-30\""),
        set(Target::AccessToken, "/claims/shift/to", "\"12:00\""),
        set(Target::AccessToken, "/claims/shift/ward", "{\"no\":3}"),
        set(Target::AccessToken, "/claims/https:~1~1hospital.example~1unit", "\"0\""),
        set(Target::AccessToken, "/claims/badges/3", "\"b4\""),
        set(Target::AccessToken, "/claims/badges/-", "\"b5\""),
        set(Target::AccessToken, "/claims/badges/0", "\"b0\""),
        set(Target::AccessToken, "/claims/aud", "\"api://other\""),
        Change::Remove { target: Target::AccessToken, path: "/claims/department".into() },
        Change::Remove { target: Target::IdToken, path: "/claims/wards/1".into() },
        Change::CapLifetime { target: Target::AccessToken, seconds: 1800 },
        Change::CapLifetime { target: Target::AccessToken, seconds: 900 },
        Change::CapLifetime { target: Target::IdToken, seconds: 3600 },
    ];
    is_golden("token-changes.json", &answer(OktaToken, TOKEN, Effect::Allow, &changes).unwrap());
    is_golden("token-allow.json", &answer(OktaToken, TOKEN, Effect::Abstain, &[]).unwrap());
    is_golden("token-deny.json", &answer(OktaToken, TOKEN, Effect::Deny, &changes).unwrap());
    let token = incoming(OktaToken, TOKEN);
    let outcome = Outcome {
        verdict: Effect::Deny,
        changes: &[],
        text: Some("Rôle \"A\" und B schließen sich aus."),
        ..Outcome::default()
    };
    let told = write(OktaToken, &token, &outcome).unwrap();
    is_golden("token-deny-text.json", &told);
    let reference = RecordRef {
        log: "hospital.example/portcullis",
        index: 12,
        leaf: "3q2+7w==",
        generation: 1,
        spent_us: 1,
    };
    golden(
        "token-deny-text.reference.json",
        &String::from_utf8(told.with_reference(&reference)).unwrap(),
    );
}

#[test]
fn import_answers_are_as_ever() {
    let changes = [
        set(Target::User, "/accessEnd", "\"2026-09-30\""),
        set(Target::AppUser, "/a~1b", "[1,null]"),
        set(Target::User, "/city", "null"),
        set(Target::User, "/city", "null"),
        Change::CreateUser,
    ];
    is_golden(
        "import-changes.json",
        &answer(OktaUserImport, IMPORT, Effect::Allow, &changes).unwrap(),
    );
    let link = [Change::LinkUser("00u-\"x\"".into())];
    is_golden("import-link.json", &answer(OktaUserImport, IMPORT, Effect::Allow, &link).unwrap());
    is_golden(
        "import-report.json",
        &answer(OktaUserImport, IMPORT, Effect::Review, &changes).unwrap(),
    );
    is_golden("import-allow.json", &answer(OktaUserImport, IMPORT, Effect::Allow, &[]).unwrap());
}

#[test]
fn safe_answers_are_as_ever() {
    let restricted =
        OnFailure::Restricted { applications: vec!["chart-app".into(), "lab-interface".into()] };
    let (token, client) = (incoming(OktaToken, TOKEN), incoming(OktaToken, TOKEN_OF_A_CLIENT));
    let restrict = |call| safe_answer(OktaToken, &restricted, Cause::BudgetExhausted, Some(call));
    is_golden("token-restricted.json", &restrict(&token));
    is_golden("token-client-restricted.json", &restrict(&client));
    let saml = incoming(HookKind::OktaSaml, SAML);
    let applications = OnFailure::Restricted { applications: vec!["0oa-pacs".into()] };
    is_golden(
        "saml-restricted.json",
        &safe_answer(HookKind::OktaSaml, &applications, Cause::PluginFault, Some(&saml)),
    );
    is_golden(
        "saml-closed.json",
        &safe_answer(HookKind::OktaSaml, &OnFailure::Closed, Cause::PluginFault, Some(&saml)),
    );
    is_golden(
        "token-closed.json",
        &safe_answer(OktaToken, &OnFailure::Closed, Cause::Overload, None),
    );
    is_golden(
        "import-closed.json",
        &safe_answer(OktaUserImport, &OnFailure::Closed, Cause::Overload, None),
    );
}

#[test]
fn a_closed_token_hook_stops_whatever_the_cause() {
    let (token, import) = (incoming(OktaToken, TOKEN), incoming(OktaUserImport, IMPORT));
    let stops = |answer: &Answer| answer.status == 200 && answer.body().starts_with(b"{\"error\":");
    let restricted =
        |application: &str| OnFailure::Restricted { applications: vec![application.into()] };
    for cause in Cause::ALL {
        for incoming in [None, Some(&token)] {
            assert!(
                stops(&safe_answer(OktaToken, &OnFailure::Closed, cause, incoming)),
                "{cause:?}"
            );
            assert!(
                stops(&safe_answer(OktaToken, &restricted("another-app"), cause, incoming)),
                "{cause:?}"
            );
            let open = safe_answer(OktaToken, &OnFailure::Open, cause, incoming);
            let expected =
                if cause == Cause::Unauthenticated { (401, &b""[..]) } else { (200, &b"{}"[..]) };
            assert_eq!((open.status, open.body()), expected, "{cause:?}");
        }
        assert!(stops(&safe_answer(OktaToken, &restricted("chart-app"), cause, None)), "{cause:?}");
        for on_failure in [OnFailure::Closed, restricted("0oa-hr")] {
            assert!(
                stops(&safe_answer(OktaUserImport, &on_failure, cause, Some(&import))),
                "{cause:?}"
            );
        }
    }
    // What is wrong with the request itself is no reason to let it through.
    for cause in
        [Cause::Unauthenticated, Cause::EventIdReused, Cause::SchemaMismatch, Cause::UnknownEvent]
    {
        assert!(
            stops(&safe_answer(OktaToken, &restricted("chart-app"), cause, Some(&token))),
            "{cause:?}"
        );
    }
}

#[test]
fn a_restriction_that_cannot_be_said_is_a_refusal() {
    let restricted = OnFailure::Restricted { applications: vec!["chart-app".into()] };
    for (from, to) in [
        (r#""token": {"lifetime": {"expiration": 7200}},"#, r#""token": null,"#),
        (r#""expiration": 7200"#, r#""expiration": null"#),
        (r#""client": {"id": "chart-app", "#, r#""client": {"id": "chart-ap", "#),
    ] {
        let body = TOKEN.replace(from, to);
        assert_ne!(body, TOKEN);
        let answer = safe_answer(
            OktaToken,
            &restricted,
            Cause::PluginFault,
            Some(&incoming(OktaToken, &body)),
        );
        assert!(answer.body().starts_with(b"{\"error\":"), "{to}");
    }
    let neither = r#"{"eventId":"e","eventType":"com.okta.oauth2.tokens.transform","data":{"context":{"protocol":{"client":{"id":"chart-app"}}}}}"#;
    let answer = safe_answer(
        OktaToken,
        &restricted,
        Cause::PluginFault,
        Some(&incoming(OktaToken, neither)),
    );
    assert!(answer.body().starts_with(b"{\"error\":"));
}

#[test]
fn what_okta_would_refuse_is_named() {
    let id = |path: &str, value: &str| [set(Target::IdToken, path, value)];
    let access = |path: &str, value: &str| [set(Target::AccessToken, path, value)];
    let remove = |path: &str| [Change::Remove { target: Target::AccessToken, path: path.into() }];
    for reserved in ["sub", "aud", "groups", "role", "acr", "scope", "okta_emailVerified"] {
        assert_eq!(
            why(OktaToken, TOKEN, &id(&format!("/claims/{reserved}"), "1")),
            RenderErrorKind::Reserved,
            "{reserved}"
        );
    }
    for reserved in ["scp", "uid", "groups", "iss", "cnf"] {
        assert_eq!(
            why(OktaToken, TOKEN, &access(&format!("/claims/{reserved}/0"), "1")),
            RenderErrorKind::Reserved,
            "{reserved}"
        );
    }
    for place in [
        "",
        "/",
        "/claims",
        "/claims/",
        "/claim/x",
        "claims/x",
        "/claims/~x",
        "/token/lifetime/expiration",
    ] {
        assert_eq!(why(OktaToken, TOKEN, &access(place, "1")), RenderErrorKind::Place, "{place}");
    }
    for nowhere in [
        "/claims/none/x",
        "/claims/shift/none/x",
        "/claims/badges/4",
        "/claims/badges/x",
        "/claims/badges/01",
        "/claims/roles/x",
    ] {
        assert_eq!(
            why(OktaToken, TOKEN, &access(nowhere, "1")),
            RenderErrorKind::NoTarget,
            "{nowhere}"
        );
    }
    for nowhere in [
        "/claims/none",
        "/claims/shift/none",
        "/claims/badges/3",
        "/claims/badges/-",
        "/claims/roles/0",
    ] {
        assert_eq!(why(OktaToken, TOKEN, &remove(nowhere)), RenderErrorKind::NoTarget, "{nowhere}");
    }
    for value in ["", "x", "null", "{\"a\":1,\"a\":1}", "1,{\"op\":\"remove\"}"] {
        assert_eq!(
            why(OktaToken, TOKEN, &access("/claims/x", value)),
            RenderErrorKind::Value,
            "{value}"
        );
    }
    let cap = |seconds| [Change::CapLifetime { target: Target::AccessToken, seconds }];
    assert_eq!(why(OktaToken, TOKEN, &cap(299)), RenderErrorKind::TooShort);
    let long = format!("\"{}\"", "x".repeat(256_000));
    let too_long =
        answer(OktaToken, TOKEN, Effect::Allow, &access("/claims/x", &long)).err().unwrap();
    assert_eq!((too_long.why, too_long.change), (RenderErrorKind::TooLong, None));
    // A cap of a token that is not issued, or that lives shorter anyway, needs no words.
    let vacuous =
        [Change::CapLifetime { target: Target::IdToken, seconds: 1 }, cap(600)[0].clone()];
    assert_eq!(
        answer(OktaToken, TOKEN_OF_A_CLIENT, Effect::Allow, &vacuous).unwrap().body(),
        b"{}"
    );
}

#[test]
fn imports_have_their_own_limits() {
    for place in ["", "/", "/a/b", "a", "/a~"] {
        assert_eq!(
            why(OktaUserImport, IMPORT, &[set(Target::User, place, "1")]),
            RenderErrorKind::Place,
            "{place}"
        );
    }
    let conflicts = [
        [Change::CreateUser, Change::LinkUser("x".into())],
        [Change::LinkUser("y".into()), Change::LinkUser("x".into())],
        [set(Target::User, "/a", "1"), set(Target::User, "/a", "2")],
    ];
    for changes in conflicts {
        let unsayable = answer(OktaUserImport, IMPORT, Effect::Allow, &changes).err().unwrap();
        assert_eq!(
            (unsayable.why, unsayable.change),
            (RenderErrorKind::Conflict, Some((2, changes[1].kind())))
        );
    }
    assert_eq!(
        why(OktaUserImport, IMPORT, &[Change::LinkUser(String::new())]),
        RenderErrorKind::Value
    );
    assert_eq!(
        why(OktaUserImport, IMPORT, &[set(Target::AppUser, "/a", "x")]),
        RenderErrorKind::Value
    );
}

/// The table and the renderers agree on every kind of change.
#[test]
fn native_is_what_renders() {
    let sample = |kind: ChangeKind| match kind {
        ChangeKind::Set(target @ (Target::User | Target::AppUser)) => set(target, "/x", "1"),
        ChangeKind::Set(target) => set(target, "/claims/x", "1"),
        ChangeKind::Remove(target) => Change::Remove { target, path: "/claims/department".into() },
        ChangeKind::CapLifetime(target) => Change::CapLifetime { target, seconds: 300 },
        ChangeKind::AddGrant => Change::AddGrant(Grant { kind: GrantKind::Scope, id: "x".into() }),
        ChangeKind::DropGrant => {
            Change::DropGrant(Grant { kind: GrantKind::Scope, id: "x".into() })
        }
        ChangeKind::LinkUser => Change::LinkUser("x".into()),
        ChangeKind::CreateUser => Change::CreateUser,
        ChangeKind::Credential => Change::Credential(Credential::Verified),
        ChangeKind::AutoApprove => Change::AutoApprove,
        ChangeKind::RequireApprovers => Change::RequireApprovers(vec![]),
        ChangeKind::Statement => Change::Statement(portcullis_model::Statement {
            name: "x".into(),
            code: "x".into(),
            payload: "1".into(),
            obligatory: true,
        }),
        ChangeKind::Waive => Change::Waive(vec![]),
    };
    for (kind, body) in OKTA {
        for change in ChangeKind::all() {
            let native = matches!(capabilities::change(kind, change), Support::Native(_));
            match answer(kind, body, Effect::Allow, &[sample(change)]) {
                Ok(answer) => {
                    // A waiver has had its effect before: the platform is told of nothing.
                    let told = answer.body() != b"{}" || change == ChangeKind::Waive;
                    assert!(native && told, "{kind:?} {change}");
                }
                Err(unsayable) => {
                    assert!(!native, "{kind:?} {change}");
                    assert_eq!(
                        unsayable,
                        RenderError { change: Some((1, change)), why: RenderErrorKind::Kind }
                    );
                }
            }
        }
        let request: HookRequest = incoming(kind, body);
        for verdict in Effect::ALL {
            let answer = write(kind, &request, &Outcome { verdict, ..Outcome::default() }).unwrap();
            let text = String::from_utf8_lossy(answer.body());
            let refuses = text.contains("\"error\":") || text.contains("UNVERIFIED");
            assert_eq!(
                refuses,
                verdict > Effect::Allow || kind == HookKind::OktaPasswordImport,
                "{kind:?} {verdict:?}"
            );
        }
    }
}

#[test]
fn a_change_for_a_token_that_is_not_issued_is_skipped_and_told() {
    let client = incoming(OktaToken, TOKEN_OF_A_CLIENT);
    let set = |target, path: &str| Change::Set { target, path: path.into(), value: "1".into() };
    let changes = [
        set(Target::IdToken, "/claims/x"),
        Change::Remove { target: Target::IdToken, path: "/claims/y".into() },
        Change::CapLifetime { target: Target::IdToken, seconds: 300 },
        set(Target::AccessToken, "/claims/x"),
    ];
    let outcome = Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() };
    let answer = write(OktaToken, &client, &outcome).unwrap();
    let commands = super::json(&answer)["commands"].clone();
    assert_eq!(
        commands,
        serde_json::json!([{"type": "com.okta.access.patch", "value": [{"op": "add", "path": "/claims/x", "value": 1}]}])
    );
    let skipped: Vec<_> =
        crate::skipped(OktaToken, &client, &outcome).iter().map(ToString::to_string).collect();
    assert_eq!(skipped, ["set:id-token", "remove:id-token", "cap-lifetime:id-token"]);
    // One that is issued and cannot be read is not passed over.
    let mut odd: serde_json::Value = serde_json::from_str(TOKEN_OF_A_CLIENT).unwrap();
    odd["data"]["identity"] = serde_json::json!(7);
    let odd = incoming(OktaToken, &odd.to_string());
    assert!(crate::skipped(OktaToken, &odd, &outcome).is_empty());
    assert!(write(OktaToken, &odd, &outcome).is_err());
}

#[test]
fn an_event_id_that_is_used_again_explains_itself() {
    for (kind, body) in OKTA {
        let known = incoming(kind, body);
        let answer = crate::safe_answer(
            kind,
            &crate::OnFailure::Closed,
            portcullis_model::Cause::EventIdReused,
            Some(&known),
        );
        let reference =
            crate::RecordRef { log: "l", index: 1, leaf: "x", generation: 1, spent_us: 1 };
        let whole = String::from_utf8(answer.with_reference(&reference)).unwrap();
        assert!(whole.contains("preview") && whole.contains("eventId"), "{}: {whole}", kind.name());
    }
}

//! Entra: what is read, what is answered, and what the platform makes of it.

mod platform;
mod secrets;

use std::sync::{Arc, LazyLock};

use portcullis_model::{
    Attribution, Cause, Change, ChangeKind, Credential, Effect, Grant, GrantKind, Statement, Target,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use self::platform::{Does, does};
use super::requests::tell;
use super::{frame, golden};
use crate::capabilities::{self, Support};
use crate::{
    Answer, Decryptor, HookKind, HookRequest, HookSettings, OnFailure, Outcome, ParseContext,
    ParseError, Parsed, Reason, RenderError, RenderErrorKind, Request, Resume, SideEffect,
    preflight, read, safe_answer, side_effect, write,
};

/// Every kind with a request of its own, by the name of its files.
const REQUESTS: [(HookKind, &str, &str); 13] = [
    (
        HookKind::EntraTokenIssuanceStart,
        "token-issuance",
        include_str!("../../tests/payloads/entra/token-issuance.json"),
    ),
    (
        HookKind::EntraAttributeCollectionStart,
        "collection-start",
        include_str!("../../tests/payloads/entra/collection-start.json"),
    ),
    (
        HookKind::EntraAttributeCollectionSubmit,
        "collection-submit",
        include_str!("../../tests/payloads/entra/collection-submit.json"),
    ),
    (HookKind::EntraOtpSend, "otp", include_str!("../../tests/payloads/entra/otp.json")),
    (
        HookKind::EntraPasswordSubmit,
        "password",
        include_str!("../../tests/payloads/entra/password.json"),
    ),
    (
        HookKind::EntraVerifiedId,
        "verified-id",
        include_str!("../../tests/payloads/entra/verified-id.json"),
    ),
    (HookKind::EntraPim, "pim-group", include_str!("../../tests/payloads/entra/pim-group.json")),
    (HookKind::EntraPim, "pim-role", include_str!("../../tests/payloads/entra/pim-role.json")),
    (HookKind::EntraPim, "pim-azure", include_str!("../../tests/payloads/entra/pim-azure.json")),
    (
        HookKind::EntraEntitlement,
        "entitlement",
        include_str!("../../tests/payloads/entra/entitlement.json"),
    ),
    (
        HookKind::EntraEntitlement,
        "entitlement-approval",
        include_str!("../../tests/payloads/entra/entitlement-approval.json"),
    ),
    (
        HookKind::EntraEntitlement,
        "entitlement-retired",
        include_str!("../../tests/payloads/entra/entitlement-retired.json"),
    ),
    (
        HookKind::EntraLifecycle,
        "lifecycle",
        include_str!("../../tests/payloads/entra/lifecycle.json"),
    ),
];

const EVENTS: [HookKind; 6] = [
    HookKind::EntraTokenIssuanceStart,
    HookKind::EntraAttributeCollectionStart,
    HookKind::EntraAttributeCollectionSubmit,
    HookKind::EntraOtpSend,
    HookKind::EntraPasswordSubmit,
    HookKind::EntraVerifiedId,
];

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../tests/jwe/vectors.json")).unwrap());

static SETTINGS: LazyLock<HookSettings> = LazyLock::new(|| {
    let decryptor = Decryptor::from_pem([include_str!("../../tests/jwe/key.pem")]).unwrap();
    HookSettings { decryptor: Some(Arc::new(decryptor)), ..HookSettings::default() }
});

/// The settings of a hook that decrypts.
pub(super) fn settings() -> HookSettings {
    SETTINGS.clone()
}

/// A request of every form of every kind.
pub(super) fn bodies() -> Vec<(HookKind, Value)> {
    REQUESTS.iter().map(|(_, name, _)| request(name)).collect()
}

fn hear(kind: HookKind, body: &[u8]) -> Result<Parsed, ParseError> {
    let frame = ParseContext { settings: &SETTINGS, ..frame() };
    read(kind, &Request { get: false, route: "", header: &|_| None, searches: false, body }, &frame)
}

fn incoming(kind: HookKind, body: &Value) -> HookRequest {
    match hear(kind, body.to_string().as_bytes()) {
        Ok(Parsed::Single(incoming)) => incoming,
        Ok(_) => panic!("not one question"),
        Err(malformed) => panic!("{malformed}: {body}"),
    }
}

/// A request of that name, with a good token where it needs one.
fn request(name: &str) -> (HookKind, Value) {
    let (kind, _, text) = REQUESTS.iter().find(|(_, own, _)| *own == name).unwrap();
    let text = text.replace("{jwe}", VECTORS["tokens"]["good"].as_str().unwrap());
    (*kind, serde_json::from_str(&text).unwrap())
}

fn resumed(kind: HookKind, incoming: &HookRequest, outcome: &Outcome<'_>) -> Option<Resume> {
    match side_effect(kind, incoming, outcome) {
        Some(SideEffect::Resume(resume)) => Some(resume),
        _ => None,
    }
}

/// What the platform does, resume call included.
fn react(name: &str, incoming: &HookRequest, answer: &Answer, outcome: &Outcome<'_>) -> Does {
    let (kind, body) = request(name);
    let resume =
        resumed(kind, incoming, outcome).map(|resume| serde_json::from_str(&resume.body).unwrap());
    does(kind, &body, answer, resume.as_ref())
}

fn set(target: Target, path: &str, value: &str) -> Change {
    Change::Set { target, path: path.into(), value: value.into() }
}

fn reason<'a>(text: &str, field: Option<&'a str>) -> Reason<'a> {
    Reason { code: "X", text: text.to_owned(), field }
}

#[test]
fn reads_what_the_contract_says() {
    for (kind, name, _) in REQUESTS {
        let incoming = incoming(kind, &request(name).1);
        let tenant = incoming.platform_tenant.as_deref();
        golden(
            &format!("entra/{name}.call.txt"),
            &format!("tenant of the platform {tenant:?}\n{}", tell(&incoming.call)),
        );
    }
}

#[test]
fn every_optional_part_may_be_absent_or_null() {
    for kind in EVENTS {
        let name = REQUESTS.iter().find(|(own, ..)| *own == kind).unwrap().1;
        let whole = request(name).1;
        let mut pointers = Vec::new();
        pointers_below(&whole["data"], "/data", &mut pointers);
        let needed =
            ["@odata.type", "encryptedPasswordContext", "otpContext", "identifier", "oneTimeCode"];
        for pointer in pointers {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            if needed.contains(&member) && kind != HookKind::EntraPasswordSubmit
                || needed[..2].contains(&member)
            {
                continue;
            }
            let mut without = whole.clone();
            // The parts of an attribute are its type and value, without which it is none.
            if pointer.contains("userSignUpInfo/attributes/") && parent.ends_with("attributes") {
                continue;
            }
            *without.pointer_mut(&pointer).unwrap() = Value::Null;
            incoming(kind, &without);
            without
                .pointer_mut(parent)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove(&member.replace("~1", "/"));
            incoming(kind, &without);
        }
    }
}

#[test]
fn an_event_that_is_none_is_refused() {
    for kind in EVENTS {
        let (_, name, _) = REQUESTS.iter().find(|(own, ..)| *own == kind).unwrap();
        let whole = request(name).1;
        let with = |pointer: &str, value: Value| {
            let mut body = whole.clone();
            *body.pointer_mut(pointer).unwrap() = value;
            body
        };
        let without = |parent: &str, member: &str| {
            let mut body = whole.clone();
            body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member).unwrap();
            body
        };
        let mut twice = whole.clone();
        twice["data"]["@ODATA.type"] = twice["data"]["@odata.type"].clone();
        let cases = [
            (json!(null), Cause::SchemaMismatch),
            (json!([]), Cause::SchemaMismatch),
            (json!({}), Cause::SchemaMismatch),
            (without("", "type"), Cause::SchemaMismatch),
            (without("", "source"), Cause::SchemaMismatch),
            (with("/source", json!("")), Cause::SchemaMismatch),
            (with("/source", json!(7)), Cause::SchemaMismatch),
            (without("", "data"), Cause::SchemaMismatch),
            (with("/data", json!([])), Cause::SchemaMismatch),
            (without("/data", "@odata.type"), Cause::SchemaMismatch),
            (with("/data/@odata.type", json!(7)), Cause::SchemaMismatch),
            (twice, Cause::SchemaMismatch),
            (
                with("/type", json!("microsoft.graph.authenticationEvent.secret")),
                Cause::UnknownEvent,
            ),
            (
                with("/data/@odata.type", json!("microsoft.graph.secretCalloutData")),
                Cause::UnknownEvent,
            ),
            (with("/data/tenantId", json!("secret-other-tenant")), Cause::SchemaMismatch),
        ];
        for (body, cause) in cases {
            let malformed =
                hear(kind, body.to_string().as_bytes()).err().unwrap_or_else(|| panic!("{body}"));
            assert_eq!(malformed.cause, cause, "{body}");
            assert!(!format!("{malformed} {malformed:?}").contains("secret"), "{malformed:?}");
            let answer = safe_answer(kind, &OnFailure::Closed, cause, None);
            assert_eq!(answer.status, 400);
            assert!(
                serde_json::from_slice::<Value>(answer.body()).unwrap()["errors"][0].is_string()
            );
        }
        assert_eq!(safe_answer(kind, &OnFailure::Closed, Cause::Unauthenticated, None).status, 401);
        assert_eq!(
            safe_answer(kind, &OnFailure::Closed, Cause::InternalError, None).status % 100,
            0
        );
    }
}

#[test]
fn the_letter_case_of_a_type_is_no_matter() {
    let (kind, mut body) = request("token-issuance");
    let data = body["data"].as_object_mut().unwrap();
    let stated = data.remove("@odata.type").unwrap().as_str().unwrap().to_ascii_uppercase();
    data.insert("@odata.Type".into(), json!(format!("#{stated}")));
    incoming(kind, &body);
    // Without `tenantId`, the tenant is the source's.
    body["data"].as_object_mut().unwrap().remove("tenantId");
    assert_eq!(
        incoming(kind, &body).platform_tenant.as_deref(),
        Some("5b1f7c0a-93d2-4f6e-8a15-2c70d9e4b611")
    );
}

#[test]
fn requests_of_governance_that_are_none_are_refused() {
    let cases: [(&str, &str, Value); 14] = [
        ("pim-group", "/principalId", json!(null)),
        ("pim-group", "/groupId", json!("")),
        ("pim-group", "/@odata.type", json!("#microsoft.graph.secret")),
        ("pim-role", "/roleDefinitionId", json!([])),
        ("pim-azure", "/properties", json!("secret")),
        ("pim-azure", "/properties/principalId", json!(null)),
        ("entitlement", "/AccessPackageAssignmentRequestId", json!("../../secret")),
        ("entitlement", "/AccessPackageAssignmentRequestId", json!(null)),
        ("entitlement", "/CustomExtensionStageInstanceId", json!("")),
        ("entitlement", "/Stage", json!("secret stage")),
        ("entitlement", "/Stage", json!(null)),
        ("lifecycle", "/data/taskProcessingResult/id", json!("r/../secret")),
        ("lifecycle", "/data/task/id", json!("%2e%2e")),
        ("lifecycle", "/data/workflow/id", json!("")),
    ];
    for (name, pointer, value) in cases {
        let (kind, mut body) = request(name);
        *body.pointer_mut(pointer).unwrap() = value;
        let malformed = hear(kind, body.to_string().as_bytes())
            .err()
            .unwrap_or_else(|| panic!("{name} {pointer}"));
        assert!(!format!("{malformed} {malformed:?}").contains("secret"), "{malformed:?}");
    }
}

#[test]
fn nothing_that_waits_is_called() {
    let allow = Outcome { verdict: Effect::Allow, ..Outcome::default() };
    let deny = Outcome { verdict: Effect::Deny, ..Outcome::default() };
    let launched = |name: &str, members: &[(&str, Value)]| {
        let (kind, mut body) = request(name);
        for (pointer, value) in members {
            *body.pointer_mut(pointer).unwrap() = value.clone();
        }
        let incoming = incoming(kind, &body);
        for outcome in [&allow, &deny] {
            assert_eq!(write(kind, &incoming, outcome).unwrap().status, 202);
            assert!(resumed(kind, &incoming, outcome).is_none(), "{name} {members:?}");
        }
        assert!(resumed(kind, &incoming, &allow).is_none());
        incoming
    };
    for nothing in [json!(null), json!(""), json!(7), json!({})] {
        let path = ("/CallbackUriPath", nothing.clone());
        launched("entitlement", &[path.clone(), ("/CallbackConfiguration", json!(null))]);
        launched("lifecycle", &[("/data/callbackUriPath", nothing)]);
    }
    // Then the ids that only a call needs may be missing.
    let incoming = launched(
        "entitlement",
        &[
            ("/CallbackUriPath", json!(null)),
            ("/CallbackConfiguration", json!("none")),
            ("/AccessPackageAssignmentRequestId", json!(null)),
            ("/CustomExtensionStageInstanceId", json!(null)),
        ],
    );
    assert!(incoming.call.action.unwrap().id.is_none());
    launched("lifecycle", &[("/data/callbackUriPath", json!(null)), ("/data/task/id", json!(1))]);
    // Either of the two says that it waits.
    let (kind, mut body) = request("entitlement");
    body["CallbackUriPath"] = json!(null);
    assert!(resumed(kind, &self::incoming(kind, &body), &allow).is_some());
}

#[test]
fn a_code_is_read_however_its_place_is_spelled_and_is_a_secret_there() {
    let (kind, whole) = request("otp");
    let place = "/data/otpContext/oneTimeCode";
    let code = whole.pointer(place).unwrap().as_str().unwrap().to_owned();
    let spelled = |context: &str, name: &str| {
        let mut body = whole.clone();
        let data = body["data"].as_object_mut().unwrap();
        let mut otp = data.remove("otpContext").unwrap();
        let value = otp.as_object_mut().unwrap().remove("oneTimeCode").unwrap();
        otp[name] = value;
        data.insert(context.to_owned(), otp);
        body
    };
    for (context, name) in [
        ("otpContext", "oneTimeCode"),
        ("otpContext", "onetimecode"),
        ("OtpContext", "OneTimeCode"),
        ("otpcontext", "ONETIMECODE"),
    ] {
        let incoming = incoming(kind, &spelled(context, name));
        assert_eq!(incoming.call.secrets.pointers(), [format!("/data/{context}/{name}")]);
        let outcome = Outcome { verdict: Effect::Allow, ..Outcome::default() };
        let Some(SideEffect::Deliver(message)) = side_effect(kind, &incoming, &outcome) else {
            panic!("{name}: nothing is delivered")
        };
        assert_eq!(message.code, code);
    }
    // Two of them would be a guess.
    let mut both = whole.clone();
    both["data"]["otpContext"]["onetimecode"] = json!("000000");
    let refused = hear(kind, both.to_string().as_bytes()).err().unwrap();
    assert_eq!(refused.member(), "data.otpContext.oneTimeCode");
}

#[test]
fn a_connection_test_needs_no_decision() {
    for body in [
        json!({"Stage": "CustomExtensionConnectionTest"}),
        json!({"stage": "customExtensionConnectionTest", "callbackUriPath": null}),
        json!({"Event": "CustomActionConnectionTest", "AccessPackageId": ""}),
    ] {
        let Ok(Parsed::Immediate(answer)) =
            hear(HookKind::EntraEntitlement, body.to_string().as_bytes())
        else {
            panic!()
        };
        assert_eq!(answer.status, 200);
    }
    let get = Request { get: true, route: "", header: &|_| None, searches: false, body: b"" };
    for kind in EVENTS {
        let greeting = preflight(kind, &get, &SETTINGS);
        assert_eq!(
            greeting.is_some_and(|answer| answer.status == 200),
            kind == HookKind::EntraPasswordSubmit
        );
    }
}

/// For every cause, known or not what was asked: the answer of a closed hook is none on which the platform goes on.
#[test]
fn a_closed_hook_stops_whatever_the_cause() {
    let nobody = OnFailure::Restricted { applications: vec!["another-app".into()] };
    for (kind, name, _) in REQUESTS {
        let incoming = incoming(kind, &request(name).1);
        for cause in Cause::ALL {
            for on_failure in [&OnFailure::Closed, &nobody] {
                for known in [None, Some(&incoming)] {
                    let answer = safe_answer(kind, on_failure, cause, known);
                    let deny = Outcome { verdict: Effect::Deny, ..Outcome::default() };
                    let resume = known.and_then(|known| resumed(kind, known, &deny));
                    let resume = resume.map(|resume| serde_json::from_str(&resume.body).unwrap());
                    let does = does(kind, &request(name).1, &answer, resume.as_ref());
                    assert!(does.stops(), "{name}, {cause:?}: {does:?}");
                }
            }
        }
    }
}

#[test]
fn an_open_hook_goes_on_but_for_strangers() {
    let open = OnFailure::Open;
    for (kind, name, _) in REQUESTS {
        let incoming = incoming(kind, &request(name).1);
        for cause in Cause::ALL {
            let answer = safe_answer(kind, &open, cause, Some(&incoming));
            let allow = Outcome::default();
            let does = react(name, &incoming, &answer, &allow);
            match (kind, cause) {
                (_, Cause::Unauthenticated) => {
                    assert_eq!((answer.status, answer.body()), (401, &b""[..]))
                }
                // Nobody has sent the code, and nobody has checked the password.
                (HookKind::EntraOtpSend, _) => assert_eq!(does, Does::Stops("500".into())),
                (HookKind::EntraPasswordSubmit, _) => assert_eq!(does, Does::Stops("Retry".into())),
                // Nothing waits for the retired form, and nobody said who approves.
                (HookKind::EntraEntitlement, _) if name != "entitlement" => {
                    assert_eq!(does, Does::Stops("waits".into()))
                }
                _ => assert!(matches!(does, Does::GoesOn(_)), "{name}: {does:?}"),
            }
        }
    }
}

#[test]
fn restricted_is_for_the_named_applications() {
    let (kind, body) = request("token-issuance");
    let incoming = incoming(kind, &body);
    let restricted = OnFailure::Restricted { applications: vec!["chart-app".into()] };
    for cause in Cause::ALL {
        let answer = safe_answer(kind, &restricted, cause, Some(&incoming));
        let goes_on =
            does(kind, &body, &answer, None) == Does::GoesOn("provideClaimsForToken".into());
        assert_eq!(goes_on, cause.attribution() != Attribution::Caller, "{cause:?}");
        assert!(does(kind, &body, &safe_answer(kind, &restricted, cause, None), None).stops());
    }
    let answer = safe_answer(kind, &restricted, Cause::BudgetExhausted, Some(&incoming));
    golden("entra/token-issuance.restricted.json", str::from_utf8(answer.body()).unwrap());
}

/// The table and the renderers agree on every kind of change and every effect, and the platform does what the table says.
#[test]
fn native_is_what_renders() {
    for (kind, name, _) in REQUESTS {
        let incoming = incoming(kind, &request(name).1);
        for change in ChangeKind::all() {
            if change == ChangeKind::Waive {
                // It has had its effect before: the answer is the one without it.
                let waived = [Change::Waive(vec!["X".into()])];
                let plain = Outcome { verdict: Effect::Allow, ..Outcome::default() };
                let outcome = Outcome { changes: &waived, ..plain };
                let answer = write(kind, &incoming, &outcome).unwrap();
                assert_eq!(answer.body(), write(kind, &incoming, &plain).unwrap().body(), "{name}");
                continue;
            }
            let sample = [sample(kind, change)];
            let native = matches!(capabilities::change(kind, change), Support::Native(_));
            let outcome =
                Outcome { verdict: Effect::Allow, changes: &sample, ..Outcome::default() };
            match write(kind, &incoming, &outcome) {
                Ok(answer) => {
                    assert!(native, "{name}: {change}");
                    let does = react(name, &incoming, &answer, &outcome);
                    assert!(matches!(does, Does::GoesOn(_)), "{name}: {change}: {does:?}");
                }
                Err(unsayable) => {
                    // Approvers are named at one stage only.
                    let place = native
                        && kind == HookKind::EntraEntitlement
                        && name != "entitlement-approval";
                    assert_eq!(native, place, "{name}: {change}");
                    let why = if place { RenderErrorKind::Place } else { RenderErrorKind::Kind };
                    assert_eq!(unsayable, RenderError { change: Some((1, change)), why }, "{name}");
                }
            }
        }
        for verdict in Effect::ALL {
            let outcome = Outcome { verdict, text: Some("Rôle \"A\""), ..Outcome::default() };
            let answer = write(kind, &incoming, &outcome).unwrap();
            let does = react(name, &incoming, &answer, &outcome);
            let silent = matches!(name, "entitlement-approval" | "entitlement-retired");
            let waits = verdict > Effect::Allow || kind == HookKind::EntraPasswordSubmit || silent;
            let goes_on = !waits || (kind == HookKind::EntraPim && verdict == Effect::Review);
            assert_eq!(matches!(does, Does::GoesOn(_)), goes_on, "{name}: {verdict:?}: {does:?}");
            assert_eq!(does.stops(), !goes_on, "{name}: {verdict:?}: {does:?}");
        }
    }
}

#[test]
fn answers_are_as_ever() {
    let tell = |name: &str, golden_name: &str, outcome: &Outcome<'_>| {
        let (kind, body) = request(name);
        let incoming = incoming(kind, &body);
        let answer = write(kind, &incoming, outcome).unwrap();
        let mut text = format!("{} {}", answer.status, str::from_utf8(answer.body()).unwrap());
        if let Some(resume) = resumed(kind, &incoming, outcome) {
            text.push_str(&format!("\nPOST {}\n{}", resume.path, resume.body));
        }
        golden(&format!("entra/{name}.{golden_name}.txt"), &text);
        assert!(!matches!(react(name, &incoming, &answer, outcome), Does::Chokes(_)), "{text}");
    };
    let long = "Zwei Rollen schließen sich aus: \"verordnen\" und \"ausgeben\".";
    let deny = Outcome { verdict: Effect::Deny, text: Some(long), ..Outcome::default() };
    let allow = Outcome { verdict: Effect::Allow, ..Outcome::default() };
    for (_, name, _) in REQUESTS {
        tell(name, "allow", &allow);
        tell(name, "deny", &deny);
    }
    let claims = [
        set(Target::AccessToken, "/claims/wards", "[\"3a\", \"3b\"]"),
        set(Target::IdToken, "/claims/wards", "[\"3a\", \"3b\"]"),
        set(Target::Assertion, "/claims/https:~1~1hospital.example~1unit", "\"Chirurgie \\u00e4\""),
        set(Target::AccessToken, "/claims/accessEnd", "\"2026-09-30\""),
    ];
    tell("token-issuance", "claims", &Outcome { changes: &claims, ..allow });
    let prefill = [
        set(Target::User, "/givenName", "\"Maria\""),
        set(Target::User, "/country", "\"Luxemburg\""),
        set(Target::User, "/extension_7c1d5a520f3e4d0a9b385f1a2c9e4b77_wards", "[\"3a\",\"4b\"]"),
        set(Target::User, "/extension_7c1d5a520f3e4d0a9b385f1a2c9e4b77_badge", "2011"),
        set(Target::User, "/extension_7c1d5a520f3e4d0a9b385f1a2c9e4b77_onCall", "true"),
    ];
    tell("collection-start", "prefill", &Outcome { changes: &prefill, ..allow });
    let known: Vec<_> = prefill
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != 1)
        .map(|(_, change)| change.clone())
        .collect();
    tell("collection-submit", "modify", &Outcome { changes: &known, ..allow });
    let badge = "extension_7c1d5a520f3e4d0a9b385f1a2c9e4b77_badge";
    let fields = [
        reason("Kein Ort.", Some("city")),
        reason("Zu kurz.", Some(badge)),
        reason("Gibt es nicht.", Some(badge)),
    ];
    tell("collection-submit", "errors", &Outcome { reasons: &fields, ..deny });
    // One reason that is about the whole, or about nothing on the form: going back to the form
    // would not help.
    for field in [None, Some("street")] {
        let fields = [reason("Kein Ort.", Some("city")), reason("Geht nicht.", field)];
        tell("collection-submit", "deny-several", &Outcome { reasons: &fields, ..deny });
    }
    for credential in [
        Credential::Migrate,
        Credential::Update,
        Credential::Retry,
        Credential::Block,
        Credential::Unverified,
    ] {
        let changes = [Change::Credential(credential)];
        tell("password", credential.name(), &Outcome { changes: &changes, ..allow });
    }
    let fields = [reason("x", Some("dateOfBirth")), reason("y", Some("nothing"))];
    tell("verified-id", "failed", &Outcome { reasons: &fields, ..deny });
    let (automatic, reasons) = (
        [Change::AutoApprove],
        [reason("Ticket fehlt.", None), reason("Schulung abgelaufen.", None)],
    );
    tell("pim-group", "auto-approve", &Outcome { changes: &automatic, ..allow });
    tell(
        "pim-role",
        "review",
        &Outcome { verdict: Effect::Review, changes: &automatic, ..Outcome::default() },
    );
    tell("pim-azure", "reasons", &Outcome { reasons: &reasons, ..deny });
    let approvers =
        [Change::RequireApprovers(vec!["2f9d7a10-5c3b".into(), "07fc263f-6655".into()])];
    tell("entitlement-approval", "approvers", &Outcome { changes: &approvers, ..allow });
    tell("entitlement-approval", "auto-approve", &Outcome { changes: &automatic, ..allow });
    for (kind, name, _) in REQUESTS {
        let incoming = incoming(kind, &request(name).1);
        let safe = |cause| {
            let answer = safe_answer(kind, &OnFailure::Closed, cause, Some(&incoming));
            format!("{} {}", answer.status, str::from_utf8(answer.body()).unwrap())
        };
        let lines = [
            Cause::Unauthenticated,
            Cause::SchemaMismatch,
            Cause::BudgetExhausted,
            Cause::NotDurable,
        ]
        .map(safe);
        golden(&format!("entra/{name}.closed.txt"), &lines.join("\n"));
    }
}

#[test]
fn what_entra_would_refuse_is_named() {
    let why = |name: &str, changes: &[Change]| {
        let (kind, body) = request(name);
        let outcome = Outcome { verdict: Effect::Allow, changes, ..Outcome::default() };
        write(kind, &incoming(kind, &body), &outcome)
            .err()
            .unwrap_or_else(|| panic!("{name} said it"))
            .why
    };
    let claim = |path: &str, value: &str| [set(Target::AccessToken, path, value)];
    for place in
        ["", "/", "/claims", "/claims/", "/claims/a/b", "claims/a", "/claim/a", "/claims/~"]
    {
        assert_eq!(
            why("token-issuance", &claim(place, "\"x\"")),
            RenderErrorKind::Place,
            "{place}"
        );
    }
    for value in ["true", "1", "{}", "null", "[1]", "[[\"x\"]]", "x", "", "\"x\",\"y\":\"z\""] {
        assert_eq!(
            why("token-issuance", &claim("/claims/a", value)),
            RenderErrorKind::Value,
            "{value}"
        );
    }
    let different = [
        set(Target::AccessToken, "/claims/a", "\"x\""),
        set(Target::IdToken, "/claims/a", "\"y\""),
    ];
    assert_eq!(why("token-issuance", &different), RenderErrorKind::Conflict);
    assert_eq!(
        why("token-issuance", &claim("/claims/a", &format!("\"{}\"", "x".repeat(2_998)))),
        RenderErrorKind::TooLong
    );
    for name in ["collection-start", "collection-submit"] {
        let user = |path: &str, value: &str| [set(Target::User, path, value)];
        for place in ["", "/", "/a/b", "a"] {
            assert_eq!(why(name, &user(place, "\"x\"")), RenderErrorKind::Place, "{place}");
        }
        let badge = "/extension_7c1d5a520f3e4d0a9b385f1a2c9e4b77_badge";
        for (path, value) in [
            ("/city", "1"),
            ("/city", "true"),
            ("/city", "null"),
            ("/city", "{}"),
            ("/city", "[\"a,b\"]"),
            ("/city", "[1]"),
            (badge, "\"1\""),
            (badge, "1.5"),
            (badge, "1e3"),
            (badge, "9223372036854775808"),
        ] {
            assert_eq!(why(name, &user(path, value)), RenderErrorKind::Value, "{path} {value}");
        }
        let twice = [set(Target::User, "/city", "\"a\""), set(Target::User, "/city", "\"b\"")];
        assert_eq!(why(name, &twice), RenderErrorKind::Conflict);
        assert_eq!(
            why(name, &user("/city", &format!("\"{}\"", "x".repeat(40_000)))),
            RenderErrorKind::TooLong
        );
    }
    assert_eq!(
        why("collection-submit", &[set(Target::User, "/street", "\"x\"")]),
        RenderErrorKind::NoTarget
    );
    assert_eq!(
        why("password", &[Change::Credential(Credential::Verified)]),
        RenderErrorKind::Value
    );
    let both = [Change::Credential(Credential::Migrate), Change::Credential(Credential::Update)];
    assert_eq!(why("password", &both), RenderErrorKind::Conflict);
    for ids in [vec![], vec!["../x".to_owned()], vec!["x y".to_owned()], vec!["a".to_owned(); 21]] {
        assert_eq!(
            why("entitlement-approval", &[Change::RequireApprovers(ids)]),
            RenderErrorKind::Value
        );
    }
}

/// Where the resume call goes: to the one address there is for these ids, whatever else the body says.
#[test]
fn no_body_steers_a_resume_call() {
    let allow = Outcome { verdict: Effect::Allow, ..Outcome::default() };
    for path in [
        "https://evil.example/",
        "//evil.example",
        "/identityGovernance/../users/x",
        "@evil.example/resume",
        "?x=/resume",
    ] {
        for (name, pointer) in [
            ("entitlement", "/CallbackUriPath"),
            ("entitlement-approval", "/callbackUriPath"),
            ("lifecycle", "/data/callbackUriPath"),
        ] {
            let (kind, honest) = request(name);
            let mut body = honest.clone();
            *body.pointer_mut(pointer).unwrap() = json!(path);
            let approvers = [Change::RequireApprovers(vec!["a".into()])];
            for changes in [&[][..], &approvers] {
                let outcome = Outcome { changes, ..allow };
                let there = |body: &Value| {
                    resumed(kind, &incoming(kind, body), &outcome).map(|resume| resume.path)
                };
                assert_eq!(there(&body), there(&honest));
            }
        }
    }
    // Of the two addresses of a request, the one that the body names.
    let (kind, mut body) = request("entitlement-approval");
    let other = "/identityGovernance/entitlementManagement/assignmentRequests/3e8b5d21-7c94-4a60-8f13-5b2d9c7e1a46/resume";
    body["callbackUriPath"] = json!(other);
    let changes = [Change::RequireApprovers(vec!["a".into()])];
    let resume =
        resumed(kind, &incoming(kind, &body), &Outcome { changes: &changes, ..allow }).unwrap();
    assert_eq!(resume.path, format!("/beta{other}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever plugins want: what leaves is what Entra takes, or nothing leaves.
    #[test]
    fn claims_that_leave_are_claims_that_entra_takes(claims in prop::collection::vec((claim(), any::<bool>()), 0..40)) {
        let (kind, body) = request("token-issuance");
        let incoming = incoming(kind, &body);
        let changes: Vec<_> = claims.iter().map(|((path, value), access)| {
            set(if *access { Target::AccessToken } else { Target::IdToken }, path, &value.to_string())
        }).collect();
        let outcome = Outcome { verdict: Effect::Allow, changes: &changes, ..Outcome::default() };
        if let Ok(answer) = write(kind, &incoming, &outcome) {
            prop_assert_eq!(does(kind, &body, &answer, None), Does::GoesOn("provideClaimsForToken".into()));
            let said: Value = serde_json::from_slice(answer.body()).unwrap();
            for ((path, value), _) in &claims {
                let name = path.rsplit('/').next().unwrap();
                prop_assert_eq!(&said["data"]["actions"][0]["claims"][name], value);
            }
        }
    }

    #[test]
    fn damaged_bodies_never_panic(which in 0..REQUESTS.len(), place: prop::sample::Index, cut in 0..200usize, insert: Vec<u8>) {
        let (kind, name, _) = REQUESTS[which];
        let mut body = request(name).1.to_string().into_bytes();
        let place = place.index(body.len());
        let end = (place + cut).min(body.len());
        body.splice(place..end, insert);
        let theirs = serde_json::from_slice::<Value>(&body).is_ok();
        prop_assert!(theirs || hear(kind, &body).is_err());
    }
}

fn claim() -> impl Strategy<Value = (String, Value)> {
    let value = prop_oneof![
        3 => "[a-z\"ä]{0,120}".prop_map(Value::from),
        2 => prop::collection::vec("[a-z]{0,60}", 0..6).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
    ];
    ("[a-e]{1,2}".prop_map(|name| format!("/claims/{name}")), value)
}

fn sample(kind: HookKind, change: ChangeKind) -> Change {
    match change {
        ChangeKind::Set(target @ Target::User) => set(target, "/city", "\"x\""),
        ChangeKind::Set(target) => set(target, "/claims/x", "\"x\""),
        ChangeKind::Remove(target) => Change::Remove { target, path: "/claims/x".into() },
        ChangeKind::CapLifetime(target) => Change::CapLifetime { target, seconds: 300 },
        ChangeKind::AddGrant => Change::AddGrant(Grant { kind: GrantKind::Scope, id: "x".into() }),
        ChangeKind::DropGrant => {
            Change::DropGrant(Grant { kind: GrantKind::Scope, id: "x".into() })
        }
        ChangeKind::LinkUser => Change::LinkUser("x".into()),
        ChangeKind::CreateUser => Change::CreateUser,
        ChangeKind::Credential if kind == HookKind::EntraPasswordSubmit => {
            Change::Credential(Credential::Migrate)
        }
        ChangeKind::Credential => Change::Credential(Credential::Verified),
        ChangeKind::AutoApprove => Change::AutoApprove,
        ChangeKind::RequireApprovers => Change::RequireApprovers(vec!["x".into()]),
        ChangeKind::Statement => Change::Statement(Statement {
            name: "x".into(),
            code: "x".into(),
            payload: "1".into(),
            obligatory: true,
        }),
        ChangeKind::Waive => Change::Waive(vec![]),
    }
}

fn pointers_below(value: &Value, at: &str, into: &mut Vec<String>) {
    for (name, member) in value.as_object().into_iter().flatten() {
        let pointer = format!("{at}/{}", name.replace('/', "~1"));
        pointers_below(member, &pointer, into);
        into.push(pointer);
    }
}

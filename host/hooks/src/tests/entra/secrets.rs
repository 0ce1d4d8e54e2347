//! Codes and passwords: where they are, and where they are not.

use portcullis_model::{Cause, Effect, Millis};
use serde_json::{Value, json};

use super::platform::NONCE;
use super::{SETTINGS, VECTORS, frame, hear, incoming, request};
use crate::{
    HookKind, HookSettings, Outcome, ParseContext, Request, SideEffect, read, side_effect,
};

const PASSWORD: &str = "Zwölf Äpfel \"am\" Baum 12!";

fn password(token: &Value) -> Value {
    let (_, mut body) = request("password");
    body["data"]["encryptedPasswordContext"] = token.clone();
    body
}

#[test]
fn a_password_is_a_secret_of_the_payload_and_stands_nowhere_else() {
    let incoming = incoming(HookKind::EntraPasswordSubmit, &password(&VECTORS["tokens"]["good"]));
    let call = &incoming.call;
    let said = call
        .payload
        .pointer("/data/encryptedPasswordContext/user-password")
        .and_then(|it| it.as_str());
    assert_eq!(said.as_deref(), Some(PASSWORD));
    let nonce =
        call.payload.pointer("/data/encryptedPasswordContext/nonce").and_then(|it| it.as_str());
    assert_eq!(nonce.as_deref(), Some(NONCE));
    let kept = call.payload.root().without(&call.secrets.pointers(), "null");
    assert!(kept.contains(NONCE) && !kept.contains("Baum"));
    let attributes = &call.subject.as_ref().unwrap().attributes;
    assert!(attributes.iter().all(|attribute| !attribute.value.contains("Baum")));
    assert!(
        attributes
            .iter()
            .any(|it| it.name == "username" && it.value == "\"m.okoye@hospital.example\"")
    );
    // Nothing else is left of what was sent.
    assert!(!call.payload.text().contains(VECTORS["tokens"]["good"].as_str().unwrap()));
}

#[test]
fn what_is_encrypted_well_and_says_nothing_good_is_refused() {
    for (name, token) in VECTORS["wrong"].as_object().unwrap() {
        let body = password(token).to_string();
        let malformed = hear(HookKind::EntraPasswordSubmit, body.as_bytes())
            .err()
            .unwrap_or_else(|| panic!("{name}"));
        assert_eq!(malformed.cause, Cause::SchemaMismatch, "{name}");
        assert!(!format!("{malformed:?}").contains("Baum"));
    }
    for (name, token) in VECTORS["refused"].as_object().unwrap() {
        let malformed = hear(HookKind::EntraPasswordSubmit, password(token).to_string().as_bytes())
            .err()
            .unwrap();
        assert_eq!(
            malformed.detail, "data.encryptedPasswordContext, which cannot be decrypted",
            "{name}"
        );
    }
    assert!(
        hear(HookKind::EntraPasswordSubmit, password(&json!({})).to_string().as_bytes()).is_err()
    );
    incoming(HookKind::EntraPasswordSubmit, &password(&VECTORS["tokens"]["without username"]));
}

#[test]
fn a_password_context_has_its_time_and_its_audience() {
    let body = password(&VECTORS["tokens"]["ten minutes"]).to_string();
    let hear = |at: u64, settings: &HookSettings| {
        let frame = ParseContext { received: Millis(at * 1_000), settings, ..frame() };
        let request = Request {
            get: false,
            route: "",
            header: &|_| None,
            searches: false,
            body: body.as_bytes(),
        };
        read(HookKind::EntraPasswordSubmit, &request, &frame).is_ok()
    };
    // From 1772435690, for ten minutes; a minute between two clocks.
    let at =
        [1_772_435_629, 1_772_435_630, 1_772_436_349, 1_772_436_350].map(|at| hear(at, &SETTINGS));
    assert_eq!(at, [false, true, true, false]);
    let application = VECTORS["application"].as_str().unwrap();
    for (audience, good) in
        [(application.to_ascii_uppercase(), true), ("another".to_owned(), false)]
    {
        let settings = HookSettings { audience: Some(audience), ..SETTINGS.clone() };
        assert_eq!(hear(1_772_435_700, &settings), good);
    }
    assert!(!hear(1_772_435_700, &HookSettings::default()), "without a key nothing is decrypted");
}

#[test]
fn a_code_is_delivered_to_whom_it_is_for() {
    let (kind, body) = request("otp");
    let heard = incoming(kind, &body);
    let kept = heard.call.payload.root().without(&heard.call.secrets.pointers(), "null");
    assert!(!kept.contains("90417352"));
    let allow = Outcome { verdict: Effect::Allow, ..Outcome::default() };
    let deliver = |incoming: &crate::HookRequest, outcome: &Outcome<'_>| match side_effect(
        kind, incoming, outcome,
    ) {
        Some(SideEffect::Deliver(message)) => Some(message),
        _ => None,
    };
    let message = deliver(&heard, &allow).unwrap();
    assert_eq!(
        (message.channel, &*message.to, &*message.code),
        ("email", "mary@partner.example", "90417352")
    );
    assert_eq!(message.locale.as_deref(), Some("de-DE"));
    let mut other = body.clone();
    other["data"]["otpContext"]["oneTimeCode"] = json!("90417353");
    let again = deliver(&incoming(kind, &body), &allow).unwrap();
    let other = deliver(&incoming(kind, &other), &allow).unwrap();
    assert_eq!(again.key, message.key);
    assert_ne!(other.key, message.key);
    for verdict in [Effect::StepUp, Effect::Review, Effect::Deny] {
        assert!(deliver(&heard, &Outcome { verdict, ..Outcome::default() }).is_none());
    }
}

//! Tests across parse and render: golden files for what third parties see, hostile bodies, and the patches
//! against an interpreter of their own.

mod answers;
mod assertions;
mod patches;
mod platform;
mod requests;

use portcullis_model::Millis;

use crate::{Frame, Heard, HookKind, Incoming, Malformed, Request, Settings, read};

pub(crate) const TOKEN: &str = include_str!("../tests/payloads/token.json");
pub(crate) const TOKEN_OF_A_CLIENT: &str = include_str!("../tests/payloads/token-client.json");
pub(crate) const IMPORT: &str = include_str!("../tests/payloads/import.json");
pub(crate) const SAML: &str = include_str!("../tests/payloads/saml.json");

/// An ordinary request of every kind of Okta's that asks one question.
pub(crate) const OKTA: [(HookKind, &str); 6] = [
    (HookKind::OktaPasswordImport, include_str!("../tests/payloads/password.json")),
    (HookKind::OktaRegistration, include_str!("../tests/payloads/registration.json")),
    (HookKind::OktaSaml, SAML),
    (HookKind::OktaTelephony, include_str!("../tests/payloads/telephony.json")),
    (HookKind::OktaToken, TOKEN),
    (HookKind::OktaUserImport, IMPORT),
];

static SETTINGS: Settings = Settings { path: String::new(), entitlements: Vec::new() };

pub(crate) fn frame() -> Frame<'static> {
    Frame { tenant: "default", received: Millis(1_772_435_700_000), seed: 42, settings: &SETTINGS }
}

/// Reads a body that is posted to the kind's only route and holds one question.
pub(crate) fn parse(kind: HookKind, body: &[u8], frame: &Frame<'_>) -> Result<Incoming, Malformed> {
    let request = Request { get: false, route: "", header: &|_| None, searches: false, body };
    match read(kind, &request, frame)? {
        Heard::One(incoming) => Ok(incoming),
        _ => panic!("not one question"),
    }
}

pub(crate) fn incoming(kind: HookKind, body: &str) -> Incoming {
    parse(kind, body.as_bytes(), &frame()).unwrap_or_else(|malformed| panic!("{malformed}"))
}

/// Compares with a golden file; with `BLESS` in the environment, writes it.
pub(crate) fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, format!("{text}\n")).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(text, expected.trim_end_matches('\n'), "{name}");
}

//! Tests across parse and render: golden files for what third parties see, hostile bodies, and the patches
//! against an interpreter of their own.

mod answers;
mod assertions;
mod authzen;
mod closed;
mod entra;
mod generic;
pub(crate) mod mutations;
mod patches;
mod pdp;
mod platform;
mod requests;
mod sideband;
mod texts;

use portcullis_model::{AttributeFilter, Millis};

use crate::{
    Answer, AnswerParts, BatchContext, HookKind, HookRequest, HookSettings, ParseContext,
    ParseError, Parsed, Reason, Request, ShortCircuit, read,
};

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

pub(crate) static SETTINGS: HookSettings = HookSettings {
    path: String::new(),
    entitlements: Vec::new(),
    decryptor: None,
    audience: None,
    public_url: None,
    subject: None,
    secrets: Vec::new(),
    mapping: None,
    answer: AnswerParts { context: true, page: true },
};

pub(crate) fn frame() -> ParseContext<'static> {
    ParseContext {
        tenant: "default",
        received: Millis(1_772_435_700_000),
        seed: 42,
        settings: &SETTINGS,
        wanted: AttributeFilter::all(),
    }
}

/// Reads a body that is posted to the kind's only route and holds one question.
pub(crate) fn parse(
    kind: HookKind,
    body: &[u8],
    frame: &ParseContext<'_>,
) -> Result<HookRequest, ParseError> {
    let request = Request { get: false, route: "", header: &|_| None, searches: false, body };
    match read(kind, &request, frame)? {
        Parsed::Single(incoming) => Ok(incoming),
        _ => panic!("not one question"),
    }
}

/// Posts a body to one of the kind's routes.
pub(crate) fn post(
    kind: HookKind,
    route: &'static str,
    body: &str,
    settings: &HookSettings,
) -> Result<Parsed, ParseError> {
    let header = |name: &str| (name == "content-type").then_some("application/json; charset=utf-8");
    let request =
        Request { get: false, route, header: &header, searches: true, body: body.as_bytes() };
    read(kind, &request, &ParseContext { settings, ..frame() })
}

/// Posts a body that holds one question.
pub(crate) fn posted(kind: HookKind, route: &'static str, body: &str) -> HookRequest {
    match post(kind, route, body, &SETTINGS) {
        Ok(Parsed::Single(incoming)) => incoming,
        Ok(_) => panic!("not one question"),
        Err(malformed) => panic!("{malformed}"),
    }
}

/// A batch whose answers stand in the order of its questions.
pub(crate) fn in_order(until: ShortCircuit) -> BatchContext {
    BatchContext { until, query: Vec::new() }
}

/// An answer's body.
pub(crate) fn text(answer: &Answer) -> &str {
    std::str::from_utf8(answer.body()).unwrap()
}

/// An answer's body, as somebody else's parser reads it.
pub(crate) fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(answer.body()).unwrap()
}

/// Findings with these codes.
pub(crate) fn reasons<'a>(codes: &[&'a str]) -> Vec<Reason<'a>> {
    codes.iter().map(|code| Reason { code, text: String::new(), field: None }).collect()
}

pub(crate) fn incoming(kind: HookKind, body: &str) -> HookRequest {
    parse(kind, body.as_bytes(), &frame()).unwrap_or_else(|malformed| panic!("{malformed}"))
}

/// Compares with a golden file; with `BLESS` in the environment, writes it.
pub(crate) fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, format!("{text}\n")).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(text, expected.trim_end_matches('\n'), "{name}");
}

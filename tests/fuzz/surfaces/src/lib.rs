//! Every surface that untrusted bytes reach, as a function of those bytes that must never panic and whose claims are checked.
//!
//! The fuzz targets (`../fuzz_targets`, nightly) and the ordinary test (`tests/smoke.rs`, every run) call the same functions, so that
//! neither can rot. What is checked beside "no panic" stands in each function.

use portcullis_audit::prove::check_proof;
use portcullis_hooks::{
    Frame, Heard, HookKind, Incoming, OnFailure, Outcome, Request, Settings, errand, read, safe_answer, write,
};
use portcullis_keys::PublicKey;
use portcullis_model::{Cause, Change, Credential, Document, Effect, Millis, Target};
use portcullis_trust::{
    Envelope, ManifestSource, ReleaseSource, RootSource, verify_manifest, verify_release, verify_root,
};

/// What is done with untrusted bytes.
pub type Surface = fn(&[u8]);

/// Every surface and its name: the name of its fuzz target and of its corpus.
pub const SURFACES: [(&str, Surface); 13] = [
    ("json", json),
    ("token", token),
    ("import", import),
    ("saml", saml),
    ("registration", registration),
    ("password", password),
    ("telephony", telephony),
    ("event", event),
    ("envelope", envelope),
    ("source", source),
    ("note", note),
    ("proof", proof),
    ("component", component),
];

/// A JSON document: what it says of a value is what stands there.
pub fn json(bytes: &[u8]) {
    let Ok(document) = Document::parse(bytes) else { return };
    let root = document.root();
    assert_eq!(document.text().trim(), root.raw(), "the root is the whole text");
    for (name, value) in root.members() {
        assert_eq!(root.get(&name).map(|found| found.raw()), Some(value.raw()));
    }
    for (place, value) in root.elements().enumerate() {
        assert_eq!(root.index(place).map(|found| found.raw()), Some(value.raw()));
    }
}

/// The body of an `okta.token` call, answered in every way: each answer is one that Okta reads.
pub fn token(bytes: &[u8]) {
    body(HookKind::OktaToken, bytes);
}

/// The body of an `okta.user-import` call, likewise.
pub fn import(bytes: &[u8]) {
    body(HookKind::OktaUserImport, bytes);
}

/// The body of an `okta.saml` call, likewise.
pub fn saml(bytes: &[u8]) {
    body(HookKind::OktaSaml, bytes);
}

/// The body of an `okta.registration` call, likewise.
pub fn registration(bytes: &[u8]) {
    body(HookKind::OktaRegistration, bytes);
}

/// The body of an `okta.password-import` call: nothing but `credential(verified)` verifies.
pub fn password(bytes: &[u8]) {
    body(HookKind::OktaPasswordImport, bytes);
}

/// The body of an `okta.telephony` call: `SUCCESSFUL` is said of a message that there is.
pub fn telephony(bytes: &[u8]) {
    body(HookKind::OktaTelephony, bytes);
}

/// The body of an `okta.event` call: each event by itself.
pub fn event(bytes: &[u8]) {
    body(HookKind::OktaEvent, bytes);
}

/// A DSSE envelope with whatever inside: nobody's signature, nobody's document.
pub fn envelope(bytes: &[u8]) {
    let now = Millis(1_795_000_000_000);
    if let Ok(parsed) = Envelope::parse(bytes) {
        let again = parsed.to_bytes();
        assert!(Envelope::parse(&again).is_ok(), "what was read can be written and read");
    }
    if let Ok(root) = verify_root(bytes, now) {
        // Only who holds the root's own keys can make one: then it must at least refuse itself as anything else.
        assert!(verify_manifest(&root, bytes, now).is_err() && verify_release(&root, bytes, now).is_err());
    }
}

/// The TOML that authors and operators write.
pub fn source(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = Millis(1_795_000_000_000);
    if let Ok(manifest) = ManifestSource::parse(text) {
        drop(manifest.to_statement(b"\0asm", None, now));
    }
    if let Ok(root) = RootSource::parse(text) {
        drop(root.to_payload(now));
    }
    drop(ReleaseSource::parse(text));
}

/// A signed note: never ours, since we do not have its key.
pub fn note(bytes: &[u8]) {
    let Ok(key) = PublicKey::parse(VKEY) else { return };
    assert!(portcullis_audit::note::verify(bytes, &key).is_err());
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(PublicKey::parse(text));
    }
}

/// A proof: never of a record that it was not made for.
pub fn proof(bytes: &[u8]) {
    let (Ok(key), Ok(text)) = (PublicKey::parse(VKEY), std::str::from_utf8(bytes)) else { return };
    assert!(check_proof(text, b"{}", &key).is_err());
}

/// A component: looked at, never compiled.
pub fn component(bytes: &[u8]) {
    if let Ok(inspection) = portcullis_engine::inspect(bytes) {
        assert!(inspection.imports.iter().all(|import| import.starts_with("portcullis:policy/")));
    }
}

fn body(kind: HookKind, bytes: &[u8]) {
    let settings = Settings::default();
    let frame = Frame { tenant: "t", received: Millis(1), seed: 2, settings: &settings };
    let request = Request { get: false, route: "", header: &|_| None, searches: false, body: bytes };
    let heard = read(kind, &request, &frame);
    let questions: Vec<_> = match &heard {
        Ok(Heard::One(incoming)) => vec![incoming],
        Ok(Heard::Many(batch)) => batch.items.iter().filter_map(|item| item.as_ref().ok()).collect(),
        _ => Vec::new(),
    };
    for incoming in [None].into_iter().chain(questions.iter().copied().map(Some)) {
        refused(kind, incoming);
    }
    for incoming in questions {
        answered(kind, incoming);
    }
}

/// Every safe answer is one that the platform reads, and a closed hook that can stop does.
fn refused(kind: HookKind, incoming: Option<&Incoming>) {
    for on_failure in
        [OnFailure::Closed, OnFailure::Open, OnFailure::Restricted { applications: vec!["0oaportal".into()] }]
    {
        for cause in Cause::ALL {
            let answer = safe_answer(kind, &on_failure, cause, incoming);
            let body = Document::parse(answer.body());
            assert!(answer.body().is_empty() || body.is_ok());
            let with_error = [HookKind::OktaToken, HookKind::OktaSaml, HookKind::OktaRegistration];
            if with_error.contains(&kind) && on_failure == OnFailure::Closed {
                let stops = body.is_ok_and(|body| body.pointer("/error").is_some());
                assert!(answer.status == 200 && stops, "a closed hook stops");
            }
            let text = String::from_utf8_lossy(answer.body());
            assert!(!text.contains("\"VERIFIED\"") && !text.contains("SUCCESSFUL"), "nothing is vouched for");
        }
    }
}

/// Every answer is one that the platform reads, and vouches for nothing that was not said.
fn answered(kind: HookKind, incoming: &Incoming) {
    let changes = [
        Change::Set { target: Target::AccessToken, path: "/claims/x".into(), value: "\"y\"".into() },
        Change::Set { target: Target::Assertion, path: "/claims/x".into(), value: "[\"y\",1]".into() },
        Change::CapLifetime { target: Target::AccessToken, seconds: 600 },
        Change::CapLifetime { target: Target::Assertion, seconds: 600 },
        Change::Set { target: Target::User, path: "/accessEnd".into(), value: "\"2026-12-31\"".into() },
        Change::Credential(Credential::Verified),
    ];
    for changes in changes.chunks(1).chain([&[][..]]) {
        for verdict in Effect::ALL {
            let outcome = Outcome { verdict, changes, text: Some("no \"way\"\n"), ..Outcome::default() };
            let Ok(answer) = write(kind, incoming, &outcome) else { continue };
            assert!(answer.body().is_empty() || Document::parse(answer.body()).is_ok());
            let text = String::from_utf8_lossy(answer.body());
            if kind == HookKind::OktaPasswordImport && text.contains("\"VERIFIED\"") {
                assert!(verdict <= Effect::Allow && changes.len() == 1);
            }
            if kind == HookKind::OktaTelephony {
                assert_eq!(text.contains("\"SUCCESSFUL\""), errand(kind, incoming, &outcome).is_some());
            }
        }
    }
}

/// A key that signed nothing here.
const VKEY: &str = "demo.example/hooks/2026+6b9f624a+Ac4Kto9nSGHUF+AH7lcdgHIwqQwdDPjMAwk2GDAeCwjb";

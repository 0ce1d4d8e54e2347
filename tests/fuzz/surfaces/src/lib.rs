//! Every surface that untrusted bytes reach, as a function of those bytes that must never panic and whose claims are checked.
//!
//! The fuzz targets (`../fuzz_targets`, nightly) and the ordinary test (`tests/smoke.rs`, every run) call the same functions, so that
//! neither can rot. What is checked beside "no panic" stands in each function.

use portcullis_audit::prove::check_proof;
use portcullis_callers::{Discovery, Issuer, KeySet, Token};
use portcullis_hooks::{Frame, Heard, HookKind, OnFailure, Outcome, Request, Settings, read, safe_answer, write};
use portcullis_keys::PublicKey;
use portcullis_model::{Cause, Change, Document, Effect, Millis, Target};
use portcullis_trust::{
    Envelope, ManifestSource, ReleaseSource, RootSource, verify_manifest, verify_release, verify_root,
};

/// What is done with untrusted bytes.
pub type Surface = fn(&[u8]);

/// Every surface and its name: the name of its fuzz target and of its corpus.
pub const SURFACES: [(&str, Surface); 9] = [
    ("json", json),
    ("token", token),
    ("import", import),
    ("envelope", envelope),
    ("source", source),
    ("note", note),
    ("proof", proof),
    ("component", component),
    ("bearer", bearer),
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

/// An OAuth bearer, or what an issuer publishes: only the one token that our key signed is ever proven, and only by its own claims.
pub fn bearer(bytes: &[u8]) {
    drop(KeySet::parse(bytes));
    drop(Discovery::parse(bytes, ["https://issuer.example"].into_iter()));
    let (Ok(text), Ok(keys)) = (std::str::from_utf8(bytes), KeySet::parse(BEARER_KEYS)) else { return };
    let Ok(token) = Token::parse(text) else { return };
    let issuer = Issuer {
        names: vec![("https://issuer.example".to_owned(), "cid".to_owned())],
        tenant: Some("tenant".into()),
        audiences: vec!["api://hooks".to_owned()],
        clients: vec!["client".into()],
        skew: 60,
    };
    let screened = issuer.screen(&token, Millis(1_795_000_100_000));
    assert_eq!(token.verify(&keys).is_ok(), bytes == BEARER, "nobody else has the key");
    assert!(screened.is_ok() || bytes != BEARER, "what it says is what is expected");
}

fn body(kind: HookKind, bytes: &[u8]) {
    let settings = Settings::default();
    let frame = Frame { tenant: "t", received: Millis(1), seed: 2, settings: &settings };
    let request = Request { get: false, route: "", header: &|_| None, searches: false, body: bytes };
    let heard = read(kind, &request, &frame);
    let incoming = match &heard {
        Ok(Heard::One(incoming)) => Some(incoming),
        _ => None,
    };
    for on_failure in
        [OnFailure::Closed, OnFailure::Open, OnFailure::Restricted { applications: vec!["0oaportal".into()] }]
    {
        for cause in Cause::ALL {
            let answer = safe_answer(kind, &on_failure, cause, incoming);
            assert!(answer.body().is_empty() || Document::parse(answer.body()).is_ok());
            if kind == HookKind::OktaToken && on_failure == OnFailure::Closed {
                let stops = Document::parse(answer.body()).is_ok_and(|body| body.pointer("/error").is_some());
                assert!(answer.status == 200 && stops, "a closed token hook stops");
            }
        }
    }
    let Some(incoming) = incoming else { return };
    let changes = [
        Change::Set { target: Target::AccessToken, path: "/claims/x".into(), value: "\"y\"".into() },
        Change::CapLifetime { target: Target::AccessToken, seconds: 600 },
        Change::Set { target: Target::User, path: "/accessEnd".into(), value: "\"2026-12-31\"".into() },
    ];
    for changes in changes.chunks(1).chain([&[][..]]) {
        for verdict in Effect::ALL {
            if let Ok(answer) = write(kind, incoming, &Outcome { verdict, changes, text: Some("no \"way\"\n") }) {
                assert!(Document::parse(answer.body()).is_ok());
            }
        }
    }
}

/// The one token that is good, and the keys of its issuer; the private half was thrown away.
const BEARER: &[u8] = include_bytes!("../../corpus/bearer/good.jwt");
const BEARER_KEYS: &[u8] = include_bytes!("../../corpus/bearer/keys.json");
/// A key that signed nothing here.
const VKEY: &str = "demo.example/hooks/2026+6b9f624a+Ac4Kto9nSGHUF+AH7lcdgHIwqQwdDPjMAwk2GDAeCwjb";

//! Every surface that untrusted bytes reach, as a function of those bytes that must never panic and whose claims are checked.
//!
//! The fuzz targets (`../fuzz_targets`, nightly) and the ordinary test (`tests/smoke.rs`, every run) call the same functions, so that
//! neither can rot. What is checked beside "no panic" stands in each function.

use std::sync::{Arc, LazyLock};

use portcullis_hooks::{
    AnswerSource, Decryptor, HookKind, HookRequest, HookSettings, Mapping, MappingSource,
    OnFailure, Outcome, ParseContext, Parsed, Request, SafeAnswerInput, SideEffect, read,
    safe_answer, side_effect, write, write_safe_answer,
};
use portcullis_keys::PublicKey;
use portcullis_model::{
    AttributeFilter, Cause, Change, Credential, Document, Effect, Millis, Reads, Target,
};
use portcullis_registry::{
    Documents, Image, ImageRef, Index, MANIFEST_ARTIFACT, MAX_PLUGINS, Release, SUITE_ARTIFACT,
};
use portcullis_server::net::proxy_protocol;
use portcullis_suite::{Suite, Syntax, check_settings};
use portcullis_tlog::prove::check_proof;
use portcullis_tokens::{Discovery, Issuer, KeySet, Token};
use portcullis_trust::{
    BreakGlass, Downgrade, Envelope, ManifestSource, ReleaseSet, ReleaseSource, RootSource,
    TrustRoot, verify_manifest, verify_release, verify_revocations, verify_root,
};

/// What is done with untrusted bytes.
pub type Surface = fn(&[u8]);

/// Every surface and its name: the name of its fuzz target and of its corpus.
pub const SURFACES: [(&str, Surface); 23] = [
    ("json", json),
    ("token", token),
    ("import", import),
    ("entra", entra),
    ("jwe", jwe),
    ("sideband", sideband),
    ("pdp", pdp),
    ("authzen", authzen),
    ("generic", generic),
    ("saml", saml),
    ("registration", registration),
    ("password", password),
    ("telephony", telephony),
    ("event", event),
    ("envelope", envelope),
    ("source", source),
    ("suite", suite),
    ("note", note),
    ("proof", proof),
    ("component", component),
    ("bearer", bearer),
    ("registry", registry),
    ("proxy", proxy),
];

/// The beginning of a connection of a listed proxy: a header is read whole or not at all, never
/// past its end, and what follows it changes nothing.
pub fn proxy(bytes: &[u8]) {
    match proxy_protocol::parse(bytes) {
        Ok(Some((origin, length))) => {
            assert!(length <= bytes.len().min(proxy_protocol::MAX_HEADER), "no more than there is");
            let header = bytes.get(..length).unwrap_or_default();
            let again = proxy_protocol::parse(header).ok().flatten();
            assert_eq!(again, Some((origin, length)), "what follows changes nothing");
            let cut = header.get(..length.saturating_sub(1)).unwrap_or_default();
            assert!(
                matches!(proxy_protocol::parse(cut), Ok(None)),
                "a header that is cut is awaited"
            );
        }
        Ok(None) => assert!(bytes.len() < proxy_protocol::MAX_HEADER, "it is not awaited for ever"),
        Err(error) => drop(error.to_string()),
    }
}

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

/// The body of a call of each of Entra's kinds: a closed hook never says one of the words with which the platform goes on, and what a
/// body says never steers where a resume call goes.
pub fn entra(bytes: &[u8]) {
    for kind in HookKind::ALL.into_iter().filter(|kind| kind.name().starts_with("entra.")) {
        body(kind, bytes);
        let settings = HookSettings::default();
        let frame = ParseContext {
            tenant: "t",
            received: Millis(1),
            seed: 2,
            settings: &settings,
            wanted: AttributeFilter::all(),
        };
        let request =
            Request { get: false, route: "", header: &|_| None, searches: false, body: bytes };
        let heard = read(kind, &request, &frame);
        let Ok(Parsed::Single(incoming)) = &heard else { continue };
        for cause in Cause::ALL {
            let closed = safe_answer(kind, &OnFailure::Closed, cause, Some(incoming));
            let said = String::from_utf8_lossy(closed.body()).into_owned();
            let goes_on = [
                "provideClaims",
                "continueWith",
                "setPrefill",
                "modifyAttribute",
                "Migrate",
                "Update",
                ".pass\"",
                "Approved",
            ];
            assert!(
                closed.status != 200 || !goes_on.iter().any(|word| said.contains(word)),
                "a closed hook stops"
            );
        }
        let approvers = [Change::RequireApprovers(vec!["a".into()])];
        for changes in [&[][..], &approvers] {
            let outcome = Outcome { verdict: Effect::Allow, changes, ..Outcome::default() };
            if let Some(SideEffect::Resume(resume)) = side_effect(kind, incoming, &outcome) {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
                assert!(
                    resume.path.bytes().all(plain)
                        && !resume.path.contains("..")
                        && !resume.path.contains("//")
                );
                assert!(
                    resume.path.ends_with("/resume")
                        && Document::parse(resume.body.as_bytes()).is_ok()
                );
            }
        }
    }
}

/// A compact JWE that nobody encrypted for us.
pub fn jwe(bytes: &[u8]) {
    static DECRYPTOR: LazyLock<Option<Decryptor>> = LazyLock::new(|| {
        Decryptor::from_pem([include_str!("../../../../host/hooks/tests/jwe/key.pem")]).ok()
    });
    let (Some(decryptor), Ok(text)) = (&*DECRYPTOR, std::str::from_utf8(bytes)) else { return };
    if let Ok(plaintext) = decryptor.decrypt(text) {
        assert!(plaintext.len() <= 16 << 10, "what is inflated is bounded");
    }
    drop(Decryptor::from_pem([text]));
}

/// The body of a `ping.sideband` call in both phases: each answer is JSON, and what is allowed is echoed whole.
pub fn sideband(bytes: &[u8]) {
    let settings = HookSettings::default();
    for route in ["/sideband/request", "/sideband/response"] {
        for incoming in questions(HookKind::PingSideband, route, bytes, &settings) {
            let outcome = Outcome { verdict: Effect::Allow, ..Outcome::default() };
            let Ok(answer) = write(HookKind::PingSideband, &incoming, &outcome) else { continue };
            let echo =
                Document::parse(answer.body()).map(|echo| echo.root().get("response").is_none());
            assert_eq!(echo, Ok(true), "what is allowed is no refusal");
            answered(HookKind::PingSideband, route, Some(&incoming), &settings);
        }
        answered(HookKind::PingSideband, route, None, &settings);
    }
}

/// The body of a `ping.pdp` call, single and as a batch.
pub fn pdp(bytes: &[u8]) {
    let settings =
        HookSettings { subject: Some("/attributes/User".to_owned()), ..HookSettings::default() };
    every_way(
        HookKind::PingPdp,
        &["/governance-engine", "/governance-engine/batch"],
        bytes,
        &settings,
    );
}

/// The body of an `authzen` call on every endpoint: only a verdict `allow` makes a `decision: true`.
pub fn authzen(bytes: &[u8]) {
    let routes = [
        "/access/v1/evaluation",
        "/access/v1/evaluations",
        "/access/v1/search/subject",
        "/access/v1/search/action",
    ];
    every_way(HookKind::Authzen, &routes, bytes, &HookSettings::default());
}

/// The body of a `generic` call, and the same bytes as the template of its answers.
pub fn generic(bytes: &[u8]) {
    let source = MappingSource {
        id: Some("/id".to_owned()),
        answer: AnswerSource {
            allow: Some(r#"{"allowed":true,"id":"{id}"}"#.to_owned()),
            deny: Some(r#"{"allowed":false,"why":"{text}: {codes}"}"#.to_owned()),
            ..AnswerSource::default()
        },
        ..MappingSource::default()
    };
    if let Ok(text) = std::str::from_utf8(bytes) {
        let own = MappingSource {
            answer: AnswerSource { deny: Some(text.to_owned()), ..source.answer.clone() },
            ..source.clone()
        };
        if let Ok(mapping) = Mapping::compile(own) {
            let settings =
                HookSettings { mapping: Some(Arc::new(mapping)), ..HookSettings::default() };
            every_way(HookKind::Generic, &[""], b"{}", &settings);
        }
    }
    if let Ok(mapping) = Mapping::compile(source) {
        every_way(
            HookKind::Generic,
            &[""],
            bytes,
            &HookSettings { mapping: Some(Arc::new(mapping)), ..HookSettings::default() },
        );
    }
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
    // Read without a signature, for showing: never a panic.
    drop((
        TrustRoot::unverified(bytes),
        ReleaseSet::unverified(bytes),
        BreakGlass::unverified(bytes),
    ));
    if let Ok(root) = verify_root(bytes, now) {
        // Only who holds the root's own keys can make one: then it must at least refuse itself as anything else.
        assert!(
            verify_manifest(&root, bytes, now).is_err()
                && verify_release(&root, bytes, now).is_err()
        );
        assert!(verify_revocations(&root, bytes).is_err() && root.next(bytes).is_err());
        assert!(
            Downgrade::verify(&root, bytes, now).is_err()
                && BreakGlass::verify(&root, bytes, now).is_err()
        );
    }
}

/// The TOML that authors and operators write.
pub fn source(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = Millis(1_795_000_000_000);
    if let Ok(manifest) = ManifestSource::parse(text) {
        drop(manifest.to_statement(b"\0asm", None, None, now));
    }
    if let Ok(root) = RootSource::parse(text) {
        drop(root.to_payload(None, now));
    }
    drop(ReleaseSource::parse(text));
}

/// A test suite in any of its syntaxes: what is read has a bundle that reads back as the same, and settings never make a schema panic.
pub fn suite(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for syntax in [Syntax::Toml, Syntax::Yaml, Syntax::Json] {
        let Ok(mut suite) = Suite::parse(text, syntax) else { continue };
        if suite.resolve(&mut |_| Ok(b"{}".to_vec())).is_err() {
            continue;
        }
        let Ok(bundle) = suite.bundle() else { continue };
        let again = std::str::from_utf8(&bundle)
            .ok()
            .and_then(|text| Suite::parse(text, Syntax::Json).ok());
        assert!(again.as_ref() == Some(&suite), "a bundle is the suite");
        let (planned, replanned) = (
            suite.plan().map(|plan| plan.cases()),
            again.map(|suite| suite.plan().map(|plan| plan.cases())),
        );
        assert_eq!(Some(planned.ok()), replanned.map(Result::ok));
    }
    let reads = Reads::default();
    drop(check_settings(text, "{}", &reads));
    drop(check_settings(r#"{"type": "object", "x-reads": "subject.attributes.*"}"#, text, &reads));
}

/// A signed note: never ours, since we do not have its key.
pub fn note(bytes: &[u8]) {
    let Ok(key) = PublicKey::parse(VKEY) else { return };
    assert!(portcullis_tlog::note::verify(bytes, &key).is_err());
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
    let (Ok(text), Ok(keys)) = (std::str::from_utf8(bytes), KeySet::parse(BEARER_KEYS)) else {
        return;
    };
    let Ok(token) = Token::parse(text) else { return };
    let issuer = Issuer {
        names: vec![("https://issuer.example".to_owned(), "cid".to_owned())],
        tenant: Some("tenant".into()),
        audiences: vec!["api://hooks".to_owned()],
        clients: vec!["client".into()],
        skew: 60,
    };
    let screened = issuer.check_claims(&token, Millis(1_795_000_100_000));
    assert_eq!(token.verify(&keys).is_ok(), bytes == BEARER, "nobody else has the key");
    assert!(screened.is_ok() || bytes != BEARER, "what it says is what is expected");
}

/// What a registry serves: a manifest, an index, a component's configuration, a challenge, and what a person writes as a reference.
pub fn registry(bytes: &[u8]) {
    let (image, index) = (Image::parse(bytes), Index::parse(bytes));
    assert!(image.is_err() || index.is_err(), "no bytes are both");
    if let Ok(image) = image {
        assert_eq!(
            Image::parse(&image.to_bytes()).as_ref(),
            Ok(&image),
            "what was read can be written and read"
        );
        drop(Documents::of(&image));
        if let Ok(layer) = portcullis_registry::layer(&image, bytes) {
            assert_eq!(image.layers.first(), Some(layer));
        }
        for kind in [MANIFEST_ARTIFACT, SUITE_ARTIFACT] {
            let to = portcullis_model::sha256(bytes);
            assert!(
                portcullis_registry::attachment(&image, to, kind).is_err(),
                "no manifest refers to itself"
            );
        }
    }
    if let Ok(index) = index {
        assert_eq!(Index::parse(&index.to_bytes()).as_ref(), Ok(&index));
        if let Ok(release) = Release::of(&index) {
            assert!(release.components.len().max(release.manifests.len()) <= MAX_PLUGINS);
        }
    }
    let _ = portcullis_registry::subject(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(portcullis_registry::challenges(text));
    if let Ok(reference) = text.parse::<ImageRef>() {
        assert_eq!(reference.to_string(), text);
        assert!(!reference.repository.name.contains("..") && !text.contains("//"));
    }
}

/// Every question in a body, answered in every way.
fn every_way(kind: HookKind, routes: &[&'static str], bytes: &[u8], settings: &HookSettings) {
    for route in routes {
        for incoming in questions(kind, route, bytes, settings) {
            for verdict in Effect::ALL {
                let outcome = Outcome {
                    verdict,
                    text: Some("no \"way\"\n"),
                    language: "en",
                    ..Outcome::default()
                };
                let Ok(answer) = write(kind, &incoming, &outcome) else { continue };
                let body = Document::parse(answer.body());
                assert!(body.is_ok(), "an answer is JSON");
                let permits = body.is_ok_and(|body| {
                    let member = |name| body.root().get(name).and_then(|value| value.as_bool());
                    member("decision") == Some(true) || member("authorized") == Some(true)
                });
                assert!(!permits || verdict == Effect::Allow, "only `allow` permits");
            }
            answered(kind, route, Some(&incoming), settings);
        }
        answered(kind, route, None, settings);
    }
}

/// The questions in a body, of whichever form.
fn questions(
    kind: HookKind,
    route: &'static str,
    bytes: &[u8],
    settings: &HookSettings,
) -> Vec<HookRequest> {
    let frame = ParseContext {
        tenant: "t",
        received: Millis(1),
        seed: 2,
        settings,
        wanted: AttributeFilter::all(),
    };
    let header = |name: &str| (name == "content-type").then_some("application/json");
    let request = Request { get: false, route, header: &header, searches: true, body: bytes };
    match read(kind, &request, &frame) {
        Ok(Parsed::Single(incoming) | Parsed::Search(incoming, _)) => vec![incoming],
        Ok(Parsed::Batch(batch)) => batch.items.into_iter().flatten().collect(),
        Ok(Parsed::Immediate(_)) | Err(_) => Vec::new(),
    }
}

/// Each refusal is JSON, or nothing.
fn answered(
    kind: HookKind,
    route: &'static str,
    incoming: Option<&HookRequest>,
    settings: &HookSettings,
) {
    for on_failure in [OnFailure::Closed, OnFailure::Open] {
        for cause in Cause::ALL {
            let refusal = SafeAnswerInput {
                settings,
                on_failure: &on_failure,
                cause,
                detail: "",
                route,
                incoming,
                reference: None,
            };
            let answer = write_safe_answer(kind, &refusal);
            assert!(answer.body().is_empty() || Document::parse(answer.body()).is_ok());
        }
    }
}

fn body(kind: HookKind, bytes: &[u8]) {
    let settings = HookSettings::default();
    let frame = ParseContext {
        tenant: "t",
        received: Millis(1),
        seed: 2,
        settings: &settings,
        wanted: AttributeFilter::all(),
    };
    let request =
        Request { get: false, route: "", header: &|_| None, searches: false, body: bytes };
    let heard = read(kind, &request, &frame);
    let questions: Vec<_> = match &heard {
        Ok(Parsed::Single(incoming)) => vec![incoming],
        Ok(Parsed::Batch(batch)) => {
            batch.items.iter().filter_map(|item| item.as_ref().ok()).collect()
        }
        _ => Vec::new(),
    };
    for incoming in [None].into_iter().chain(questions.iter().copied().map(Some)) {
        refused(kind, incoming);
    }
    for incoming in questions {
        spoken(kind, incoming);
    }
}

/// Every safe answer is one that the platform reads, and a closed hook that can stop does.
fn refused(kind: HookKind, incoming: Option<&HookRequest>) {
    for on_failure in [
        OnFailure::Closed,
        OnFailure::Open,
        OnFailure::Restricted { applications: vec!["0oaportal".into()] },
    ] {
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
            assert!(
                !text.contains("\"VERIFIED\"") && !text.contains("SUCCESSFUL"),
                "nothing is vouched for"
            );
        }
    }
}

/// Every answer is one that the platform reads, and vouches for nothing that was not said.
fn spoken(kind: HookKind, incoming: &HookRequest) {
    let changes = [
        Change::Set {
            target: Target::AccessToken,
            path: "/claims/x".into(),
            value: "\"y\"".into(),
        },
        Change::Set {
            target: Target::Assertion,
            path: "/claims/x".into(),
            value: "[\"y\",1]".into(),
        },
        Change::CapLifetime { target: Target::AccessToken, seconds: 600 },
        Change::CapLifetime { target: Target::Assertion, seconds: 600 },
        Change::Set {
            target: Target::User,
            path: "/accessEnd".into(),
            value: "\"2026-12-31\"".into(),
        },
        Change::Credential(Credential::Verified),
    ];
    for changes in changes.chunks(1).chain([&[][..]]) {
        for verdict in Effect::ALL {
            let outcome =
                Outcome { verdict, changes, text: Some("no \"way\"\n"), ..Outcome::default() };
            let Ok(answer) = write(kind, incoming, &outcome) else { continue };
            assert!(answer.body().is_empty() || Document::parse(answer.body()).is_ok());
            let text = String::from_utf8_lossy(answer.body());
            if kind == HookKind::OktaPasswordImport && text.contains("\"VERIFIED\"") {
                assert!(verdict <= Effect::Allow && changes.len() == 1);
            }
            if kind == HookKind::OktaTelephony {
                assert_eq!(
                    text.contains("\"SUCCESSFUL\""),
                    side_effect(kind, incoming, &outcome).is_some()
                );
            }
        }
    }
}

/// The one token that is good, and the keys of its issuer; the private half was thrown away.
const BEARER: &[u8] = include_bytes!("../../corpus/bearer/good.jwt");
const BEARER_KEYS: &[u8] = include_bytes!("../../corpus/bearer/keys.json");
/// A key that signed nothing here.
const VKEY: &str = "demo.example/hooks/2026+6b9f624a+Ac4Kto9nSGHUF+AH7lcdgHIwqQwdDPjMAwk2GDAeCwjb";

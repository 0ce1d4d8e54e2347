//! Every trick on plugins, manifests and sources that are otherwise right, and the code it is refused with.

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use std::collections::BTreeSet;

use common::{DAY, Hospital, MANIFEST_TOML, NOW, WASM, refused, whole_second};
use portcullis_keys::SecretKey;
use portcullis_model::Millis;
use portcullis_trust::{
    CLOCK_TOLERANCE, Manifest, ManifestSource, RefusalCode, ReleaseSet, ReleaseSource, RootSource,
    sign, verify_manifest,
};

#[test]
fn the_tricks_on_plugins() {
    let hospital = Hospital::new();
    let Hospital { alice, bob, carol, mallory, release_key, .. } = &hospital;
    let good = hospital.statement();
    let envelope = |keys: &[&SecretKey]| sign(Manifest::PAYLOAD_TYPE, good.as_bytes(), keys);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let signed = text(envelope(&[alice, bob]));
    let load = |envelope: &[u8]| hospital.load(envelope, WASM, NOW);
    assert!(load(signed.as_bytes()).is_ok());

    refused("unsigned", load(&envelope(&[])));
    refused("below-threshold", load(&envelope(&[alice])));
    refused("below-threshold", load(&envelope(&[alice, alice])));
    refused("below-threshold", load(&envelope(&[alice, mallory])));
    refused("unknown-publisher", load(&envelope(&[mallory])));
    refused("unknown-publisher", load(&envelope(&[release_key])));
    refused("publisher-overreach", load(&envelope(&[carol])));
    refused(
        "keyid-mismatch",
        load(signed.replace(&alice.public().keyid(), "alice+00000000").as_bytes()),
    );
    refused(
        "keyid-mismatch",
        load(signed.replace(&alice.public().keyid(), &carol.public().keyid()).as_bytes()),
    );
    refused(
        "bad-signature",
        load(
            text(envelope(&[mallory, bob]))
                .replace(&mallory.public().keyid(), &alice.public().keyid())
                .as_bytes(),
        ),
    );
    refused(
        "wrong-payload-type",
        load(&sign(ReleaseSet::PAYLOAD_TYPE, good.as_bytes(), &[alice, bob])),
    );
    refused(
        "bad-signature",
        load(
            text(sign("text/plain", good.as_bytes(), &[alice, bob]))
                .replace("text/plain", Manifest::PAYLOAD_TYPE)
                .as_bytes(),
        ),
    );
    refused("envelope-malformed", load(format!("{signed}{signed}").as_bytes()));
    refused("envelope-malformed", load(WASM));

    // A manifest that is right, signed and not the one that is live: an older or newer one of the same
    // plugin.
    let other = hospital.sign_manifest(&good.replace(r#""serial":7"#, r#""serial":6"#));
    assert!(verify_manifest(&hospital.root(), &other, NOW).is_ok());
    refused("manifest-not-in-release", load(&other));
    refused("manifest-not-in-release", hospital.release().entry("org.hospital.other"));

    let load_wasm = |wasm: &[u8]| hospital.load(signed.as_bytes(), wasm, NOW);
    let with_custom_section = [WASM, b"\0\x05\x04note"].concat();
    refused("size-mismatch", load_wasm(&with_custom_section));
    refused("size-mismatch", load_wasm(b""));
    let mut altered = WASM.to_vec();
    altered[10] ^= 1;
    refused("digest-mismatch", load_wasm(&altered));

    let (begins, ends) = (whole_second(NOW), Millis(whole_second(NOW).0 + 365 * DAY));
    let too_early = Millis(begins.0 - CLOCK_TOLERANCE.0 - 1);
    let manifest_at = |now| verify_manifest(&hospital.root(), signed.as_bytes(), now);
    refused("not-yet-valid", manifest_at(too_early));
    assert!(manifest_at(Millis(too_early.0 + 1)).is_ok());
    assert!(manifest_at(Millis(ends.0 - 1)).is_ok());
    refused("expired", manifest_at(ends));
}

#[test]
fn the_tricks_in_manifests() {
    let hospital = Hospital::new();
    let good = hospital.statement();
    let verify = |statement: &str| {
        let envelope = hospital.sign_manifest(statement);
        verify_manifest(&hospital.root(), &envelope, NOW)
    };
    assert!(verify(&good).is_ok());
    let both_ids = good.replace("org.hospital.sod", "org.pharmacy.sod");
    refused("publisher-overreach", verify(&both_ids));
    refused("publisher-overreach", verify(&good.replace("org.hospital.sod", "org.hospitalx.sod")));
    for (code, from, to) in [
        ("publisher-overreach", r#""okta.user-import""#, r#""entra.token""#),
        ("publisher-overreach", r#""okta.user-import""#, r#""authzen""#),
        ("publisher-overreach", r#"["journal"]"#, r#"["journal","search"]"#),
        ("capability-unavailable", r#"["journal"]"#, r#"["journal","telepathy"]"#),
        ("manifest-malformed", r#""subject.id""#, r#""hr.job_code""#),
        ("manifest-malformed", r#""subject.id""#, r#""tables.hr.job_code""#),
        ("world-unsupported", "plugin@0.2.0", "plugin@0.3.0"),
        ("limits-too-high", r#""time_ms":20"#, r#""time_ms":1001"#),
        ("limits-too-high", r#""memory_bytes":16777216"#, r#""memory_bytes":67108865"#),
        ("manifest-malformed", r#""time_ms":20"#, r#""time_ms":0"#),
        ("manifest-malformed", r#""time_ms":20"#, r#""time_ms":20,"fuel":1"#),
        ("capability-unavailable", r#"["journal"]"#, r#"["network"]"#),
        ("manifest-malformed", r#"["journal"]"#, r#"[7]"#),
        ("manifest-malformed", r#""serial":7"#, r#""serial":7,"serial":8"#),
        ("manifest-malformed", r#""serial":7"#, r#""serial":0"#),
        ("manifest-malformed", r#""serial":7"#, r#""serial":-1"#),
        ("manifest-malformed", r#""serial":7"#, r#""serial":1e30"#),
        ("manifest-malformed", r#""en":"#, r#""en":"","en":"#),
        ("manifest-malformed", r#""en":"#, r#""fr":"#),
        ("manifest-malformed", "SOD_CONFLICT", "sod"),
        ("manifest-malformed", "{functions} must", "{functions must"),
        ("manifest-malformed", r#""version":"2.0.0""#, r#""version":"2""#),
        ("manifest-malformed", r#""okta.user-import""#, r#""okta""#),
        ("manifest-malformed", r#""hooks":["okta.token","okta.user-import"]"#, r#""hooks":[]"#),
        ("manifest-malformed", r#""subject.id""#, r#""subject.shoe-size""#),
        (
            "manifest-malformed",
            r#""requires":["subject.entitlements"]"#,
            r#""requires":["origin.ip"]"#,
        ),
        ("manifest-malformed", r#""requires":"#, r#""optional":["subject.id"],"requires":"#),
        ("manifest-malformed", r#""requires":"#, r#""optional":["tables.hr.*"],"requires":"#),
        ("manifest-malformed", "cap-lifetime:access-token", "cap-lifetime"),
        ("manifest-malformed", r#"["allow","#, r#"["permit","#),
        ("manifest-malformed", "Statement/v1", "Statement/v0.1"),
        ("manifest-malformed", "plugin-manifest/v1", "plugin-manifest/v2"),
        (
            "manifest-malformed",
            r#""subject":[{"#,
            r#""subject":[{"name":"x","digest":{"sha256":""}},{"#,
        ),
        ("manifest-malformed", r#"{"name":"org.hospital.sod""#, r#"{"name":"org.hospital.other""#),
        ("manifest-malformed", r#""digest":{"sha256":""#, r#""digest":{"sha512":"","sha256":""#),
        ("manifest-malformed", r#""digest":{"sha256":""#, r#""digest":{"sha256":"0"#),
        ("manifest-malformed", r#""type": "object""#, r#""type": "string""#),
        ("manifest-malformed", r#""not_before":"2026"#, r#""not_before":"2028"#),
        (
            "manifest-malformed",
            r#""not_before":"2026-11-01T12:00:00Z""#,
            r#""not_before":"2026-11-01T13:00:00+01:00""#,
        ),
    ] {
        assert!(good.contains(from), "{from}");
        refused(code, verify(&good.replacen(from, to, 1)));
    }
    refused("manifest-malformed", verify(&format!("{good}{{}}")));
    refused("manifest-malformed", verify(""));
    // Nesting that would exhaust a stack.
    refused("manifest-malformed", verify(&"[".repeat(100_000)));
}

#[test]
fn sources_are_refused_before_anything_is_signed() {
    let hospital = Hospital::new();
    let manifest = |text: &str| {
        ManifestSource::parse(text).and_then(|source| source.to_statement(WASM, None, None, NOW))
    };
    refused("source-malformed", manifest(MANIFEST_TOML));
    refused("source-malformed", manifest("id = 1"));
    refused(
        "source-malformed",
        manifest(&MANIFEST_TOML.replace("serial = 7", "serial = 7\nserial = 8")),
    );
    let without_schema = MANIFEST_TOML.replace("settings_schema = \"settings.schema.json\"\n", "");
    assert!(manifest(&without_schema).is_ok());
    refused("source-malformed", manifest(&without_schema.replace("journal", "telepathy")));
    let schema = |text| {
        ManifestSource::parse(MANIFEST_TOML).unwrap().to_statement(WASM, Some(text), None, NOW)
    };
    for wrong in ["", "{", "{} {}", r#"{"a":1,"a":2}"#] {
        assert!(schema(wrong).is_err(), "{wrong}");
    }
    let release = |text: &str| {
        ReleaseSource::parse(text)
            .and_then(|source| source.to_payload(&hospital.root(), &Default::default(), NOW))
    };
    refused("source-malformed", release(common::RELEASE_TOML));
    refused("release-malformed", release("version = 0\nplugins = []\n[validity]\ndays = 1"));
    let root = |text: &str| RootSource::parse(text).and_then(|source| source.to_payload(None, NOW));
    refused("source-malformed", root(&hospital.root_toml().replace('+', "-")));
    refused(
        "root-malformed",
        root(&hospital.root_toml().replace("threshold = 2", "threshold = 3")),
    );
    refused(
        "expired",
        root(&hospital.root_toml().replace("days = 365", "expires = \"2020-01-01T00:00:00Z\"")),
    );
}

#[test]
fn a_detached_second_signature_reaches_the_threshold() {
    let hospital = Hospital::new();
    let first = sign(Manifest::PAYLOAD_TYPE, hospital.statement().as_bytes(), &[&hospital.alice]);
    refused("below-threshold", hospital.load(&first, WASM, NOW));
    let both = portcullis_trust::add_signature(&first, &hospital.bob).unwrap();
    assert!(
        hospital.load(&both, WASM, NOW).is_ok(),
        "the release set's digest is of the statement, which did not change"
    );
}

#[test]
fn refusals_speak_to_operators() {
    let hospital = Hospital::new();
    let hostile = hospital.statement().replacen(
        "\"version\":\"2.0.0\"",
        "\"version\":\"\\u001b[2J\\n`\\u202e\"",
        1,
    );
    let refusal =
        verify_manifest(&hospital.root(), &hospital.sign_manifest(&hostile), NOW).err().unwrap();
    let sentence = refusal.to_string();
    assert!(!sentence.contains(['\u{1b}', '\n', '\u{202e}']), "{sentence:?}");
    let long = hospital.statement().replacen("org.hospital.sod", &"a".repeat(100_000), 1);
    let refusal =
        verify_manifest(&hospital.root(), &hospital.sign_manifest(&long), NOW).err().unwrap();
    assert!(refusal.to_string().len() < 1_000);
    let codes: BTreeSet<_> = RefusalCode::ALL.iter().map(|code| code.remedy()).collect();
    assert!(
        codes.iter().all(|remedy| !remedy.ends_with('.') && remedy.starts_with(char::is_lowercase))
    );
}

//! Downgrades and break-glass documents: signed by whom, for what, for how long; and every trick on them.

#![expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")]

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use common::{DAY, Hospital, NOW, refused};
use portcullis_keys::SecretKey;
use portcullis_model::{Digest, Millis};
use portcullis_trust::{
    BreakGlass, Downgrade, RootSource, TrustRoot, sign, verify_revocations, verify_root,
};

#[cfg(test)]
fn downgrade() -> Downgrade {
    let text = |text: &str| text.to_owned();
    Downgrade {
        from: 412,
        to: 410,
        set: Digest([1; 32]),
        person: text("Noor Haddad"),
        reason: text("412 stops night shifts"),
        ticket: text("CHG-77"),
        issued: NOW,
        expires: Millis(NOW.0 + DAY),
    }
}

#[test]
fn downgrades() {
    let hospital = Hospital::new();
    let root = hospital.root();
    let good = String::from_utf8(downgrade().to_payload().unwrap()).unwrap();
    golden("downgrade.payload.json", &good);
    let signed =
        |text: &str, keys: &[&SecretKey]| sign(Downgrade::PAYLOAD_TYPE, text.as_bytes(), keys);
    let verify =
        |text: &str| Downgrade::verify(&root, &signed(text, &[&hospital.release_key]), NOW);
    assert_eq!(verify(&good).unwrap().to, 410);
    let by = |keys: &[&SecretKey]| Downgrade::verify(&root, &signed(&good, keys), NOW);
    refused("unsigned", by(&[]));
    refused("unknown-signer", by(&[&hospital.root_key, &hospital.alice]));
    refused(
        "wrong-payload-type",
        Downgrade::verify(&root, &hospital.sign_release(&hospital.release_payload()), NOW),
    );
    let at = |now| Downgrade::verify(&root, &signed(&good, &[&hospital.release_key]), Millis(now));
    refused("expired", at(NOW.0 + DAY));
    refused("not-yet-valid", at(NOW.0 - DAY));
    for (from, to) in [
        (r#""to":410"#, r#""to":413"#),
        (r#""to":410"#, r#""to":0"#),
        (r#""to":410"#, r#""to":410,"also":409"#),
        (r#""ticket":"CHG-77""#, r#""ticket":" ""#),
        ("Noor", "No\\nor"),
        (r#""expires":"2026-11-02"#, r#""expires":"2026-11-12"#),
        (r#""expires":"2026-11-02"#, r#""expires":"2026-10-02"#),
    ] {
        assert!(good.contains(from), "{from}");
        refused("downgrade-malformed", verify(&good.replace(from, to)));
    }
}

#[cfg(test)]
fn document() -> BreakGlass {
    let text = |text: &str| text.to_owned();
    BreakGlass {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        tenant: text("default"),
        hook: text("token"),
        waives: ["SOD_CONFLICT".to_owned()].into(),
        fail_open: true,
        minutes: 30,
        person: text("the physician in charge"),
        reason: text("sign-in stops care"),
        ticket: text("PLAN-7"),
        issued: NOW,
        expires: Millis(NOW.0 + 300 * DAY),
    }
}

#[test]
fn break_glass_documents() {
    let hospital = Hospital::new();
    let keys = [31, 32, 33]
        .map(|seed| SecretKey::from_seed(&format!("keeper-{seed}.example"), &[seed; 32]).unwrap());
    let vkeys: Vec<_> = keys.iter().map(|key| format!("\"{}\"", key.public())).collect();
    let role = format!("[break_glass]\nkeys = [{}]\nthreshold = 2\n\n[log]", vkeys.join(", "));
    let text = hospital.root_toml().replace("[log]", &role);
    let payload = RootSource::parse(&text).unwrap().to_payload(None, NOW).unwrap();
    let root =
        verify_root(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&hospital.root_key]), NOW).unwrap();
    let good = String::from_utf8(document().to_payload().unwrap()).unwrap();
    golden("break-glass.payload.json", &good);

    let signed =
        |text: &str, keys: &[&SecretKey]| sign(BreakGlass::PAYLOAD_TYPE, text.as_bytes(), keys);
    let [one, two, three] = &keys;
    let by = |keys: &[&SecretKey]| BreakGlass::verify(&root, &signed(&good, keys), NOW);
    assert!(by(&[one, two]).is_ok() && by(&[three, one]).is_ok());
    refused("unsigned", by(&[]));
    refused("below-threshold", by(&[one]));
    refused("below-threshold", by(&[one, one, &hospital.mallory]));
    refused("unknown-signer", by(&[&hospital.root_key, &hospital.release_key]));
    refused(
        "break-glass-unavailable",
        BreakGlass::verify(&hospital.root(), &signed(&good, &[one, two]), NOW),
    );
    let at = |now| BreakGlass::verify(&root, &signed(&good, &[one, two]), Millis(now));
    assert!(at(NOW.0 + 299 * DAY).is_ok(), "sealed in advance");
    refused("expired", at(NOW.0 + 300 * DAY));
    refused("not-yet-valid", at(NOW.0 - DAY));
    for (from, to) in [
        (r#""minutes":30"#, r#""minutes":61"#),
        (r#""minutes":30"#, r#""minutes":0"#),
        (r#""hook":"token""#, r#""hook":"*""#),
        (r#""waives":["SOD_CONFLICT"]"#, r#""waives":["*"]"#),
        (r#""waives":["SOD_CONFLICT"],"fail_open":true"#, r#""fail_open":false"#),
        (r#""id":"0123"#, r#""id":"123"#),
        (r#""id":"0123"#, r#""id":"A123"#),
        (r#""reason":"sign-in stops care""#, r#""reason":"""#),
        (r#""fail_open":true"#, r#""fail_open":true,"revokes":true"#),
    ] {
        assert!(good.contains(from), "{from}");
        let text = good.replace(from, to);
        refused(
            "break-glass-malformed",
            BreakGlass::verify(&root, &signed(&text, &[one, two]), NOW),
        );
    }
}

#[test]
fn revocations_are_read_from_a_set_of_which_nothing_else_is_taken() {
    let hospital = Hospital::new();
    let root = hospital.root();
    let revoking =
        r#"{"revoked":{"serials":{"org.hospital.sod":[7]}},"version":"of a later format"}"#;
    let revoked = verify_revocations(&root, &hospital.sign_release(revoking)).unwrap();
    // Not by the keys that another root has revoked since.
    let keys = root.release.keys.clone();
    refused(
        "revoked-key",
        verify_revocations(&root.without_keys(&keys), &hospital.sign_release(revoking)),
    );
    assert!(revoked.covers(Digest([0; 32]), "org.hospital.sod", 7));
    refused(
        "unknown-signer",
        verify_revocations(
            &root,
            &sign(
                portcullis_trust::ReleaseSet::PAYLOAD_TYPE,
                revoking.as_bytes(),
                &[&hospital.alice],
            ),
        ),
    );
    for wrong in [
        r#"{"revoked":{"serials":{"org.hospital.sod":[0]}}}"#,
        r#"{"revoked":{"serials":{"sod":[7]}}}"#,
        r#"{"revoked":{"everything":true}}"#,
        r#"{"revoked":{},"revoked":{"serials":{"org.hospital.sod":[7]}}}"#,
    ] {
        refused("release-malformed", verify_revocations(&root, &hospital.sign_release(wrong)));
    }
    assert!(
        verify_revocations(&root, &hospital.sign_release(&hospital.release_payload()))
            .unwrap()
            .is_empty()
    );
}

#[cfg(test)]
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
}

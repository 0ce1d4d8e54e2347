//! Downgrades and break-glass documents: signed by whom, for what, for how long; and every trick on them.

#![expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")]

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use common::{DAY, Hospital, NOW, refused};
use portcullis_keys::SecretKey;
use portcullis_model::{Digest, Millis};
use portcullis_trust::{
    BreakGlass, Downgrade, RootSource, TableVersion, TrustRoot, sign, verify_revocations,
    verify_root,
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
fn versions_of_reference_tables() {
    let hospital = Hospital::new();
    let keys = [41, 42, 43]
        .map(|seed| SecretKey::from_seed(&format!("hr-{seed}.example"), &[seed; 32]).unwrap());
    let vkeys: Vec<_> = keys.iter().map(|key| format!("\"{}\"", key.public())).collect();
    let role = format!("[data]\nkeys = [{}]\nthreshold = 2\n\n[log]", vkeys.join(", "));
    let text = hospital.root_toml().replace("[log]", &role);
    let payload = RootSource::parse(&text).unwrap().to_payload(None, NOW).unwrap();
    let root =
        verify_root(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&hospital.root_key]), NOW).unwrap();
    let version =
        TableVersion { table: "roster".to_owned(), version: Digest([7; 32]), issued: NOW };
    let good = String::from_utf8(version.to_payload().unwrap()).unwrap();
    golden("table-version.payload.json", &good);

    let signed =
        |text: &str, keys: &[&SecretKey]| sign(TableVersion::PAYLOAD_TYPE, text.as_bytes(), keys);
    let [one, two, three] = &keys;
    let by = |keys: &[&SecretKey]| TableVersion::verify(&root, &signed(&good, keys), "roster", NOW);
    let verified = by(&[one, two]).unwrap();
    assert!(by(&[three, one]).is_ok());
    refused("unsigned", by(&[]));
    refused("below-threshold", by(&[one]));
    refused("below-threshold", by(&[one, one, &hospital.mallory]));
    refused("unknown-signer", by(&[&hospital.root_key, &hospital.release_key]));
    let of = |root: &TrustRoot, table: &str, now: u64| {
        TableVersion::verify(root, &signed(&good, &[one, two]), table, Millis(now))
    };
    refused("data-unavailable", of(&hospital.root(), "roster", NOW.0));
    refused("table-version-mismatch", of(&root, "networks", NOW.0));
    refused("not-yet-valid", of(&root, "roster", NOW.0 - DAY));
    assert!(of(&root, "roster", NOW.0 - 60_000).is_ok(), "within the tolerance of clocks");
    assert!(of(&root, "roster", NOW.0 + 5_000 * DAY).is_ok(), "the root's end is not asked");
    for (from, to) in [(r#""roster""#, r#""""#), ("}", r#","rows":1}"#), ("sha256:07", "sha256:7")]
    {
        assert!(good.contains(from), "{from}");
        let text = good.replace(from, to);
        let verify = TableVersion::verify(&root, &signed(&text, &[one, two]), "roster", NOW);
        refused("table-version-malformed", verify);
    }

    // Its file, its order, and keys that a later root revokes.
    assert!(version.check_file(Digest([7; 32])).is_ok());
    refused("table-version-mismatch", version.check_file(Digest([8; 32])));
    assert!(version.check_order(NOW).is_ok() && version.check_order(Millis(NOW.0 - 1)).is_ok());
    refused("table-version-older", version.check_order(Millis(NOW.0 + 1)));
    let without = |key: &SecretKey| root.without_keys(std::slice::from_ref(key.public()));
    assert!(verified.is_valid_under(&root).is_ok());
    assert!(verified.is_valid_under(&without(three)).is_ok(), "it did not sign");
    assert!(verified.is_valid_under(&hospital.root()).is_ok(), "left out, not revoked");
    refused("revoked-key", verified.is_valid_under(&without(one)));
    refused("revoked-key", of(&without(one), "roster", NOW.0));
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

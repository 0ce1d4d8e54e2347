//! Every trick on release sets and trust roots that are otherwise right, and the code it is refused with.

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use common::{DAY, Hospital, NOW, refused, whole_second};
use portcullis_keys::SecretKey;
use portcullis_model::{Digest, Millis};
use portcullis_trust::{
    Active, ReleaseSet, TrustHistory, TrustRoot, sign, verify_manifest, verify_release, verify_root,
};

#[test]
fn the_tricks_on_release_sets() {
    let hospital = Hospital::new();
    let good = hospital.release_payload();
    let root = hospital.root();
    let verify = |payload: &str, now| verify_release(&root, &hospital.sign_release(payload), now);
    assert!(verify(&good, NOW).is_ok());
    let by = |keys: &[&SecretKey]| {
        verify_release(&root, &sign(ReleaseSet::PAYLOAD_TYPE, good.as_bytes(), keys), NOW)
    };
    refused("unsigned", by(&[]));
    refused("unknown-signer", by(&[&hospital.mallory]));
    refused("unknown-signer", by(&[&hospital.root_key, &hospital.alice, &hospital.bob]));
    refused(
        "wrong-payload-type",
        verify_release(&root, &hospital.sign_root(&hospital.root_payload()), NOW),
    );
    refused("expired", verify(&good, Millis(whole_second(NOW).0 + 7 * DAY)));
    refused("not-yet-valid", verify(&good, Millis(NOW.0 - DAY)));
    for (code, from, to) in [
        ("root-too-old", r#""root_version":3"#, r#""root_version":4"#),
        ("release-malformed", r#""version":412"#, r#""version":0"#),
        ("release-malformed", r#""version":412"#, r#""version":412,"priority":1"#),
        ("release-malformed", r#""grace":"2026-11-15"#, r#""grace":"2026-11-07"#),
        ("release-malformed", r#""grace":"2026-11-15"#, r#""grace":"2027-11-15"#),
        (
            "release-malformed",
            r#""bindings":"#,
            r#""min_serial":{"org.hospital.sod":8},"bindings":"#,
        ),
        ("release-malformed", r#""bindings":"#, r#""min_serial":{"sod":1},"bindings":"#),
        (
            "release-malformed",
            r#""bindings":"#,
            r#""revoked":{"manifests":["sha512:"]},"bindings":"#,
        ),
        (
            "release-malformed",
            r#""bindings":"#,
            r#""revoked":{"serials":{"org.hospital.sod":[]}},"bindings":"#,
        ),
        ("release-malformed", r#""plugin":"org.hospital.sod""#, r#""plugin":"org.hospital.other""#),
        (
            "release-malformed",
            r#"{"org.hospital.sod":"#,
            r#"{"org.hospital.sod":null,"org.hospital.sod":"#,
        ),
        ("release-malformed", r#"{"org.hospital.sod":"#, r#"{"../sod":"#),
        ("release-malformed", r#""hook":"token""#, r#""hook":"/token""#),
        ("release-malformed", r#"{"review":"deny"}"#, r#"{"shrug":"deny"}"#),
        ("release-malformed", r#"{"review":"deny"}"#, r#"{"review":""}"#),
        ("release-malformed", r#""mode":"enforce""#, r#""mode":"shadow""#),
        ("release-malformed", r#""manifest":"sha256:"#, r#""manifest":"sha512:"#),
        ("release-malformed", r#""issued":"2026"#, r#""issued":"2027"#),
    ] {
        assert!(good.contains(from), "{from}");
        refused(code, verify(&good.replacen(from, to, 1), NOW));
    }
    let (_, bindings) = good.split_once(r#""bindings":["#).unwrap();
    let twice = good.replace(bindings, &format!("{},{bindings}", bindings.trim_end_matches("]}")));
    refused("release-malformed", verify(&twice.replacen("monitor", "advise", 1), NOW));
}

#[test]
fn the_tricks_on_candidates() {
    let hospital = Hospital::new();
    let source = Hospital::release_toml_with_candidate();
    let good = hospital.release_payload_of(&source).unwrap();
    let root = hospital.root();
    let verify = |payload: &str| verify_release(&root, &hospital.sign_release(payload), NOW);
    let set = verify(&good).unwrap();
    let token = set.bindings.iter().find(|binding| binding.hook == "token").unwrap();
    let candidate = token.candidate.as_ref().unwrap();
    let (live, tried) = (set.entry("org.hospital.sod").unwrap(), set.candidate(candidate).unwrap());
    assert_eq!((live.serial, tried.serial, candidate.plugin.as_str()), (7, 8, "org.hospital.sod"));
    assert_eq!(
        (candidate.abort.window, candidate.abort.max_differences, token.bounds.failure_threshold),
        (200, 1, Some(3))
    );
    let active = |version| Active { version, set: Digest([9; 32]), root: 3, since: NOW, resets: 0 };
    assert_eq!(
        TrustHistory::of(&set, active(412)).serials["org.hospital.sod"],
        7,
        "a candidate raises no floor"
    );
    // What is bad about a live plugin is bad about a candidate.
    let history = TrustHistory {
        serials: [("org.hospital.sod".to_owned(), 9)].into(),
        ..TrustHistory::default()
    };
    refused("serial-older", history.admit(&set, Digest([1; 32]), None, NOW));
    let mut history = TrustHistory::default();
    history.revoked.serials.entry("org.hospital.sod".to_owned()).or_default().insert(8);
    refused("revoked-manifest", history.admit(&set, Digest([1; 32]), None, NOW));
    for (from, to) in [
        (r#""candidates":{"#, r#""tried":{"#),
        (r#""candidates":{"org.hospital.sod":"#, r#""candidates":{"org.hospital.other":"#),
        (r#""bindings":"#, r#""min_serial":{"org.hospital.sod":8},"bindings":"#),
        (r#""canary":{"#, r#""shadow":true,"canary":{"#),
        (r#""percent":5"#, r#""percent":0"#),
        (r#""percent":5"#, r#""percent":101"#),
        (r#""percent":5"#, r#""percent":5,"wards":[]"#),
        (r#""departments":["radiology"]"#, r#""departments":[""]"#),
        (r#""window":200"#, r#""window":0"#),
        (r#""window":200"#, r#""window":100000"#),
        (r#""max_differences":1"#, r#""max_differences":201"#),
        (r#""slower_by_ms":5"#, r#""slower_by_ms":50000"#),
        (r#""slower_by_ms":5"#, r#""slower_by_ms":5,"never":true"#),
        (r#""bounds":{"concurrency":2"#, r#""bounds":{"concurrency":0"#),
        (r#""bounds":{"concurrency":2"#, r#""bounds":{"memory":2"#),
    ] {
        assert!(good.contains(from), "{from} in {good}");
        refused("release-malformed", verify(&good.replacen(from, to, 1)));
    }
    let no_part =
        source.replace("canary = { percent = 5, departments = [\"radiology\"] }", "canary = {}");
    refused("release-malformed", hospital.release_payload_of(&no_part));
    refused(
        "source-malformed",
        hospital.release_payload_of(&source.replace("max_differences = 1", "differences = 1")),
    );
}

#[test]
fn the_tricks_on_trust_roots() {
    let hospital = Hospital::new();
    let good = hospital.root_payload();
    let verify = |payload: &str, now| verify_root(&hospital.sign_root(payload), now);
    assert!(verify(&good, NOW).is_ok());
    let by = |keys: &[&SecretKey]| {
        verify_root(&sign(TrustRoot::PAYLOAD_TYPE, good.as_bytes(), keys), NOW)
    };
    refused("unsigned", by(&[]));
    refused("unknown-signer", by(&[&hospital.mallory]));
    refused("unknown-signer", by(&[&hospital.release_key]));
    let ends = Millis(whole_second(NOW).0 + 365 * DAY);
    refused("expired", verify(&good, ends));
    let root = hospital.root();
    refused(
        "expired",
        verify_release(&root, &hospital.sign_release(&hospital.release_payload()), ends),
    );
    refused(
        "expired",
        verify_manifest(&root, &hospital.sign_manifest(&hospital.statement()), ends),
    );
    refused(
        "wrong-payload-type",
        verify_root(&hospital.sign_release(&hospital.release_payload()), NOW),
    );

    let (alice, release) = (hospital.alice.public(), hospital.release_key.public());
    let alias = SecretKey::from_seed("alias.example", &[4; 32]).unwrap();
    for (from, to) in [
        (r#""threshold":1"#.to_owned(), r#""threshold":0"#.to_owned()),
        (r#""threshold":1"#.to_owned(), r#""threshold":2"#.to_owned()),
        (r#""threshold":2"#.to_owned(), r#""threshold":3"#.to_owned()),
        // One key for two roles; one key under two names; a key for nothing; no key.
        (
            format!(r#"["{}"]"#, release.keyid()),
            format!(r#"["{}"]"#, hospital.root_key.public().keyid()),
        ),
        (format!(r#""{}""#, hospital.bob.public()), format!(r#""{}""#, alias.public())),
        (format!(r#""{alice}""#), format!(r#""{alice}","{}""#, hospital.mallory.public())),
        (
            format!(r#""log":{{"keys":["{}"]}}"#, hospital.log_key.public().keyid()),
            r#""log":{"keys":[]}"#.to_owned(),
        ),
        (alice.to_string(), alice.keyid()),
        (r#""org.hospital.""#.to_owned(), r#""org.hospital""#.to_owned()),
        (r#""org.hospital.""#.to_owned(), r#""""#.to_owned()),
        (r#"["okta.*"]"#.to_owned(), r#"["*"]"#.to_owned()),
        (r#"["journal"]"#.to_owned(), r#"["network"]"#.to_owned()),
        (r#""name":"pharmacy""#.to_owned(), r#""name":"security-team""#.to_owned()),
        (
            r#""name":"pharmacy""#.to_owned(),
            r#""name":"pharmacy","needs_reviewer":true"#.to_owned(),
        ),
        (r#""version":3"#.to_owned(), r#""version":0"#.to_owned()),
    ] {
        assert!(good.contains(&from), "{from}");
        refused("root-malformed", verify(&good.replacen(&from, &to, 1), NOW));
    }
}

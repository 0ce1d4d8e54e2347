//! Trust roots that follow each other, and every trick on the way from one to the next.

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use common::{DAY, Hospital, NOW, refused};
use portcullis_keys::SecretKey;
use portcullis_model::Millis;
use portcullis_trust::{
    Refusal, RootSource, TrustRoot, add_signature, sign, verify_manifest, verify_pinned_root,
    verify_root,
};

/// The hospital's roots: root 3 with one root key, root 4 with two others, of which both are needed.
#[cfg(test)]
struct Chain {
    hospital: Hospital,
    third: TrustRoot,
    one: SecretKey,
    two: SecretKey,
    fourth: String,
}

#[cfg(test)]
impl Chain {
    fn new() -> Self {
        let hospital = Hospital::new();
        let third = hospital.root();
        let key = |name: &str, seed| SecretKey::from_seed(name, &[seed; 32]).unwrap();
        let (one, two) = (key("root-1.hospital.example", 11), key("root-2.hospital.example", 12));
        let before = format!("[root]\nkeys = [\"{}\"]\nthreshold = 1", hospital.root_key.public());
        let after =
            format!("[root]\nkeys = [\"{}\", \"{}\"]\nthreshold = 2", one.public(), two.public());
        let source = hospital.root_toml().replace("version = 3\n", "").replace(&before, &after);
        assert!(source.contains("root-2"));
        let payload = RootSource::parse(&source).unwrap().to_payload(Some(&third), NOW).unwrap();
        Self { hospital, third, one, two, fourth: String::from_utf8(payload).unwrap() }
    }

    fn sign(&self, payload: &str, keys: &[&SecretKey]) -> Vec<u8> {
        sign(TrustRoot::PAYLOAD_TYPE, payload.as_bytes(), keys)
    }

    fn follow(&self, payload: &str, keys: &[&SecretKey]) -> Result<TrustRoot, Refusal> {
        self.third.next(&self.sign(payload, keys))
    }
}

#[test]
fn a_root_follows_by_the_old_and_the_new_threshold() {
    let chain = Chain::new();
    let Chain { hospital, one, two, fourth, .. } = &chain;
    let old = &hospital.root_key;
    let next = chain.follow(fourth, &[old, one, two]).unwrap();
    assert_eq!((next.version, next.root.threshold), (4, 2));
    // Signatures come one by one, from wherever their keys are.
    let mut envelope = chain.sign(fourth, &[old]);
    for (key, short) in [(one, "unknown-signer"), (two, "below-threshold")] {
        refused(short, chain.third.next(&envelope));
        envelope = add_signature(&envelope, key).unwrap();
    }
    assert!(chain.third.next(&envelope).is_ok());

    refused("root-unchained", chain.follow(fourth, &[one, two]));
    refused("root-unchained", chain.follow(fourth, &[&hospital.release_key, one, two]));
    refused("unsigned", chain.follow(fourth, &[]));
    refused("unknown-signer", chain.follow(fourth, &[old]));
    refused("below-threshold", chain.follow(fourth, &[old, one]));
    refused("below-threshold", chain.follow(fourth, &[old, one, one]));
    refused("root-unchained", chain.follow(fourth, &[&hospital.mallory, one, two]));
    let skipping = fourth.replace(r#""version":4"#, r#""version":5"#);
    refused("root-skipped", chain.follow(&skipping, &[old, one, two]));
    let same = fourth.replace(r#""version":4"#, r#""version":3"#);
    refused("root-skipped", chain.follow(&same, &[old, one, two]));
    refused(
        "root-malformed",
        chain.follow(&fourth.replace(r#""threshold":2"#, r#""threshold":0"#), &[old, one, two]),
    );
    refused(
        "wrong-payload-type",
        chain.third.next(&hospital.sign_release(&hospital.release_payload())),
    );
    // The old key signs for its own root, not for the next one.
    let fifth = fourth.replace(r#""version":4"#, r#""version":5"#);
    refused("root-unchained", next.next(&chain.sign(&fifth, &[old])));
    assert!(next.next(&chain.sign(&fifth, &[one, two])).is_ok());
}

#[test]
fn only_the_last_one_has_to_be_fresh() {
    let chain = Chain::new();
    let later = Millis(NOW.0 + 400 * DAY);
    let third = chain.hospital.sign_root(&chain.hospital.root_payload());
    refused("expired", verify_root(&third, later));
    let pinned = verify_pinned_root(&third).unwrap();
    let Chain { hospital, one, two, fourth, .. } = &chain;
    let longer = fourth.replace(r#""expires":"2027"#, r#""expires":"2029"#);
    let next = pinned.next(&chain.sign(&longer, &[&hospital.root_key, one, two])).unwrap();
    assert_eq!(next.fresh(later), Ok(()));
}

#[test]
fn revocations_are_for_good() {
    let chain = Chain::new();
    let Chain { hospital, one, two, .. } = &chain;
    let manifest = hospital.sign_manifest(&hospital.statement());
    let verified = verify_manifest(&chain.third, &manifest, NOW).unwrap();
    let source = |revoked: &str| {
        let text = format!(
            "{}\n[revoked]\n{revoked}\n",
            hospital.root_toml().replace("version = 3\n", "")
        );
        RootSource::parse(&text).unwrap()
    };
    let follow = |before: &TrustRoot, revoked: &str| {
        let payload = source(revoked).to_payload(Some(before), NOW).unwrap();
        before.next(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&hospital.root_key])).unwrap()
    };
    for revoked in [
        "serials = { \"org.hospital.sod\" = [7] }".to_owned(),
        format!("manifests = [\"{}\"]", verified.digest),
    ] {
        let next = follow(&chain.third, &revoked);
        refused("revoked-manifest", verify_manifest(&next, &manifest, NOW));
        refused("revoked-manifest", verified.is_valid_under(&next));
        // The next root carries it on by itself; one that was written to leave it out is refused.
        let after = follow(&next, "");
        refused("revoked-manifest", verify_manifest(&after, &manifest, NOW));
        let without = source("").to_payload(None, NOW).unwrap();
        let without =
            String::from_utf8(without).unwrap().replace(r#""version":1"#, r#""version":5"#);
        refused("revocation-dropped", next.next(&chain.sign(&without, &[&hospital.root_key])));
    }

    // A revoked key: of the two that the publisher needs, one is left, and a third takes its place.
    let revoked = format!("keys = [\"{}\"]", hospital.bob.public());
    let text =
        format!("{}\n[revoked]\n{revoked}\n", hospital.root_toml().replace("version = 3\n", ""));
    let both = RootSource::parse(&text).unwrap().to_payload(Some(&chain.third), NOW);
    refused("root-malformed", both);
    let text = text.replacen(
        &hospital.bob.public().to_string(),
        &hospital.mallory.public().to_string(),
        1,
    );
    let payload = RootSource::parse(&text).unwrap().to_payload(Some(&chain.third), NOW).unwrap();
    let next =
        chain.third.next(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&hospital.root_key])).unwrap();
    refused("revoked-key", verify_manifest(&next, &manifest, NOW));
    refused("revoked-key", verified.is_valid_under(&next));
    let third = add_signature(&manifest, &hospital.mallory).unwrap();
    assert!(
        verify_manifest(&next, &third, NOW).is_ok(),
        "what counts are the keys that still serve"
    );
    // Another name does not bring it back.
    let alias = SecretKey::from_seed("robert.hospital.example", &[5; 32]).unwrap();
    let aliased =
        text.replacen(&hospital.mallory.public().to_string(), &alias.public().to_string(), 1);
    refused("root-malformed", RootSource::parse(&aliased).unwrap().to_payload(None, NOW));
    // What a root merely leaves out does not touch what was let in before.
    let left_out = text.replace(&format!("[revoked]\n{revoked}\n"), "");
    let payload =
        RootSource::parse(&left_out).unwrap().to_payload(Some(&chain.third), NOW).unwrap();
    let next =
        chain.third.next(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&hospital.root_key])).unwrap();
    assert_eq!(verified.is_valid_under(&next), Ok(()));
    refused("below-threshold", verify_manifest(&next, &manifest, NOW));

    // A revoked root key no longer lets a root in.
    let text = hospital.root_toml().replace("version = 3\n", "");
    let keys = format!("[\"{}\", \"{}\"]", one.public(), two.public());
    let text = text.replace(&format!("[\"{}\"]", hospital.root_key.public()), &keys);
    let text = format!("{text}\n[revoked]\nkeys = [\"{}\"]\n", hospital.root_key.public());
    let payload = RootSource::parse(&text).unwrap().to_payload(Some(&chain.third), NOW).unwrap();
    refused(
        "revoked-key",
        chain.third.next(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&hospital.root_key])),
    );
    let envelope = sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&hospital.root_key, one]);
    assert!(chain.third.next(&envelope).is_ok(), "for its own root it signs a last time");
}

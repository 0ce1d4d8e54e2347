//! The reviewer's signature: where it is needed, and every way to get round it that is refused.

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use common::{Hospital, NOW, refused};
use portcullis_keys::SecretKey;
use portcullis_trust::{
    Manifest, Refusal, RootSource, TrustRoot, VerifiedManifest, sign, verify_manifest, verify_root,
};

#[cfg(test)]
struct House {
    hospital: Hospital,
    root: TrustRoot,
    dora: SecretKey,
    /// Alice's own reviewer's key.
    other_alice: SecretKey,
}

#[cfg(test)]
impl House {
    fn new(threshold: usize) -> Self {
        let hospital = Hospital::new();
        let dora = SecretKey::from_seed("dora.hospital.example", &[21; 32]).unwrap();
        let other_alice = SecretKey::from_seed("Alice.hospital.example", &[22; 32]).unwrap();
        let role = format!(
            "[reviewer]\nkeys = [\"{}\", \"{}\"]\nthreshold = {threshold}\n\n[[publisher]]\nname = \"security-team\"\nneeds_reviewer = true",
            dora.public(),
            other_alice.public()
        );
        let text = hospital.root_toml().replace("[[publisher]]\nname = \"security-team\"", &role);
        let payload = RootSource::parse(&text).unwrap().to_payload(None, NOW).unwrap();
        let root =
            verify_root(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[&hospital.root_key]), NOW)
                .unwrap();
        Self { hospital, root, dora, other_alice }
    }

    fn verify(&self, keys: &[&SecretKey]) -> Result<VerifiedManifest, Refusal> {
        let envelope = sign(Manifest::PAYLOAD_TYPE, self.hospital.statement().as_bytes(), keys);
        verify_manifest(&self.root, &envelope, NOW)
    }
}

#[test]
fn a_manifest_needs_the_reviewer_where_the_root_asks_for_one() {
    let house = House::new(1);
    let House { hospital: Hospital { alice, bob, carol, mallory, .. }, dora, other_alice, .. } =
        &house;
    let verified = house.verify(&[alice, bob, dora]).unwrap();
    assert_eq!(verified.reviewers, [dora.public().keyid()]);
    assert_eq!(verified.signers, [alice.public().keyid(), bob.public().keyid()]);
    refused("review-missing", house.verify(&[alice, bob]));
    refused("review-missing", house.verify(&[alice, bob, mallory]));
    refused("review-missing", house.verify(&[alice, bob, carol]));
    refused("review-by-author", house.verify(&[alice, bob, other_alice]));
    assert!(
        house.verify(&[alice, bob, other_alice, dora]).is_ok(),
        "somebody else has read it too"
    );
    refused("below-threshold", house.verify(&[alice, dora]));
    refused("unknown-publisher", house.verify(&[dora]));

    let two = House::new(2);
    refused("review-by-author", two.verify(&[alice, bob, other_alice, dora]));
    refused("review-missing", two.verify(&[alice, bob, dora, dora]));
}

#[test]
fn a_reviewer_whose_key_is_revoked_has_reviewed_nothing() {
    let house = House::new(1);
    let House { hospital, dora, .. } = &house;
    let Hospital { alice, bob, root_key, .. } = hospital;
    let verified = house.verify(&[alice, bob, dora]).unwrap();
    let role = format!(
        "[reviewer]\nkeys = [\"{}\"]\nthreshold = 1\n\n[[publisher]]\nname = \"security-team\"\nneeds_reviewer = true",
        house.other_alice.public()
    );
    let text = hospital
        .root_toml()
        .replace("version = 3\n", "")
        .replace("[[publisher]]\nname = \"security-team\"", &role);
    let text = format!("{text}\n[revoked]\nkeys = [\"{}\"]\n", dora.public());
    let payload = RootSource::parse(&text).unwrap().to_payload(Some(&house.root), NOW).unwrap();
    let next = house.root.next(&sign(TrustRoot::PAYLOAD_TYPE, &payload, &[root_key])).unwrap();
    refused("revoked-key", verified.is_valid_under(&next));
    let envelope =
        sign(Manifest::PAYLOAD_TYPE, hospital.statement().as_bytes(), &[alice, bob, dora]);
    refused("revoked-key", verify_manifest(&next, &envelope, NOW));
}

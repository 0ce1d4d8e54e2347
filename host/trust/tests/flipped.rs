//! No byte that a signature is needed for can be changed: every single bit of an envelope, and any
//! byte to anything. Signatures beyond those that are needed can be spoilt, which changes nothing.

#[cfg(test)]
#[expect(dead_code, reason = "the fixture serves several files")]
mod common;

use common::{Hospital, NOW};
use portcullis_trust::{Envelope, Manifest, sign, verify_manifest, verify_release, verify_root};
use proptest::prelude::*;

#[test]
fn every_flipped_bit_is_refused() {
    let hospital = Hospital::new();
    let root = hospital.root();
    let keys = [&hospital.alice, &hospital.bob];
    let envelope = sign(Manifest::PAYLOAD_TYPE, hospital.statement().as_bytes(), &keys);
    assert!(verify_manifest(&root, &envelope, NOW).is_ok());
    for (at, bit, flipped) in flipped(&envelope) {
        assert!(verify_manifest(&root, &flipped, NOW).is_err(), "bit {bit} of byte {at}");
    }
}

#[test]
fn a_bit_flipped_in_a_signature_too_many_changes_nothing() {
    let hospital = Hospital::new();
    let root = hospital.root();
    let keys = [&hospital.bob, &hospital.carol, &hospital.alice];
    let envelope = sign(Manifest::PAYLOAD_TYPE, hospital.statement().as_bytes(), &keys);
    let whole = verify_manifest(&root, &envelope, NOW).unwrap();
    let mut taken = 0;
    for (at, bit, flipped) in flipped(&envelope) {
        let Ok(verified) = verify_manifest(&root, &flipped, NOW) else { continue };
        taken += 1;
        let place = format!("bit {bit} of byte {at}");
        assert_eq!(verified.digest, whole.digest, "{place}");
        assert_eq!(verified.signers, whole.signers, "{place}: enough of its publisher's hold");
        let payload = Envelope::parse(&flipped).unwrap().unverified_payload().to_vec();
        assert_eq!(payload, hospital.statement().into_bytes(), "{place}");
        let rejected = root.rejected_signatures(&flipped).unwrap();
        assert!(rejected.len() <= 1, "{place}");
    }
    assert!(taken > 0, "carol's signature is one too many");
}

/// Every envelope that differs by one bit: byte, bit and envelope.
fn flipped(envelope: &[u8]) -> impl Iterator<Item = (usize, usize, Vec<u8>)> {
    (0..envelope.len()).flat_map(move |at| {
        (0..8).map(move |bit| {
            let mut flipped = envelope.to_vec();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1 << bit;
            }
            (at, bit, flipped)
        })
    })
}

proptest! {
    // Cases are found again by their seed in the output, not by files beside the tests.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_other_byte_is_refused(which in 0..3usize, at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let hospital = Hospital::new();
        let mut envelope = match which {
            0 => hospital.sign_root(&hospital.root_payload()),
            1 => hospital.sign_release(&hospital.release_payload()),
            _ => hospital.sign_manifest(&hospital.statement()),
        };
        let at = at.index(envelope.len());
        prop_assume!(envelope[at] != to);
        let signed = envelope.clone();
        envelope[at] = to;
        let root = hospital.root();
        let taken = match which {
            0 => verify_root(&envelope, NOW).is_ok(),
            1 => verify_release(&root, &envelope, NOW).is_ok(),
            _ => verify_manifest(&root, &envelope, NOW).is_ok(),
        };
        // The one letter of a file that tells the alphabets of base64 apart may be either
        // alphabet's: nothing is changed.
        let unchanged = || Envelope::parse(&envelope).is_ok_and(|read| read.to_bytes() == signed);
        prop_assert!(!taken || unchanged(), "byte {}", at);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "[{}\\[\\]\":,a-z0-9\\\\]{0,200}") {
        let hospital = Hospital::new();
        let root = hospital.root();
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            prop_assert!(verify_root(bytes, NOW).is_err());
            prop_assert!(verify_manifest(&root, bytes, NOW).is_err());
            // Signed by the right people, whatever it is.
            prop_assert!(verify_manifest(&root, &sign(Manifest::PAYLOAD_TYPE, bytes, &[&hospital.alice, &hospital.bob]), NOW).is_err());
            prop_assert!(verify_root(&hospital.sign_root(&String::from_utf8_lossy(bytes)), NOW).is_err());
        }
    }
}

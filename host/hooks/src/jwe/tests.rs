//! Against other implementations, and against whoever forges.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const KEY: &str = include_str!("../../tests/jwe/key.pem");
const OTHER: &str = include_str!("../../tests/jwe/other.pem");

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/jwe/vectors.json")).unwrap()
}

fn decryptor() -> Decryptor {
    Decryptor::from_pem([OTHER, KEY]).unwrap()
}

fn good() -> String {
    vectors()["tokens"]["good"].as_str().unwrap().to_owned()
}

#[test]
fn what_others_encrypt_is_decrypted() {
    let decryptor = decryptor();
    let vectors = vectors();
    let all = vectors["vectors"].as_array().unwrap();
    for vector in all {
        let plaintext = decryptor.decrypt(vector["compact"].as_str().unwrap()).unwrap();
        assert_eq!(
            str::from_utf8(&plaintext).unwrap(),
            vector["plaintext"].as_str().unwrap(),
            "{}",
            vector["enc"]
        );
    }
    assert_eq!(all.len(), 2 * 2 * 4 * 2);
}

#[test]
fn either_key_serves_while_one_rotates() {
    let both = decryptor();
    let vectors = vectors();
    for (token, pem) in [("good", KEY), ("of the other key", OTHER)] {
        let compact = vectors["tokens"][token].as_str().unwrap();
        assert!(both.decrypt(compact).is_ok());
        assert!(Decryptor::from_pem([pem]).unwrap().decrypt(compact).is_ok());
        assert!(
            Decryptor::from_pem([if pem == KEY { OTHER } else { KEY }])
                .unwrap()
                .decrypt(compact)
                .is_err()
        );
    }
    let rotated = Decryptor::from_pem([KEY]).unwrap();
    rotated.replace(&Decryptor::from_pem([OTHER]).unwrap());
    assert!(rotated.decrypt(&good()).is_err());
    rotated.replace(&both);
    assert!(rotated.decrypt(&good()).is_ok());
    let in_one_file = format!("{OTHER}{KEY}");
    assert!(Decryptor::from_pem([&*in_one_file]).unwrap().decrypt(&good()).is_ok());
}

#[test]
fn what_is_not_taken_is_one_error() {
    let decryptor = Decryptor::from_pem([KEY]).unwrap();
    let vectors = vectors();
    for (name, compact) in vectors["refused"].as_object().unwrap() {
        assert_eq!(
            decryptor.decrypt(compact.as_str().unwrap()).err(),
            Some(Undecryptable),
            "{name}"
        );
    }
    let good = good();
    let parts: Vec<_> = good.split('.').collect();
    let without = |at: usize| {
        let mut parts = parts.clone();
        parts.remove(at);
        parts.join(".")
    };
    let with = |at: usize, part: &str| {
        let mut parts = parts.clone();
        parts[at] = part;
        parts.join(".")
    };
    let mut wrong: Vec<_> = (0..5)
        .flat_map(|at| [without(at), with(at, ""), with(at, "!"), with(at, "AAAA")])
        .collect();
    wrong.extend(["", ".", "....", "a.b.c.d.e", "{5-part-JWE}"].map(str::to_owned));
    wrong.push(format!("{good}."));
    wrong.push("A".repeat(MAX_BYTES + 1));
    let header = |text: &str| with(0, &BASE64URL.encode(text));
    for text in [
        "{}",
        "[]",
        "null",
        r#"{"alg":"none","enc":"A128CBC-HS256"}"#,
        r#"{"alg":"dir","enc":"A128CBC-HS256"}"#,
        r#"{"alg":"RSA-OAEP","enc":"none"}"#,
        r#"{"alg":"RSA-OAEP","alg":"RSA-OAEP","enc":"A128CBC-HS256"}"#,
        r#"{"alg":["RSA-OAEP"],"enc":"A128CBC-HS256"}"#,
        r#"{"alg":"RSA-OAEP","enc":"A128CBC-HS256","zip":null}"#,
    ] {
        wrong.push(header(text));
    }
    for compact in wrong {
        assert_eq!(decryptor.decrypt(&compact).err(), Some(Undecryptable), "{compact}");
    }
}

#[test]
fn only_rsa_keys_in_pem_are_taken() {
    let none: [&str; 0] = [];
    assert_eq!(Decryptor::from_pem(none).err(), Some(DecryptorError::NoKey));
    for text in
        ["", "secret", "-----BEGIN PRIVATE KEY-----\nAAAA\n", &KEY.replace("PRIVATE", "PUBLIC")]
    {
        assert_eq!(Decryptor::from_pem([KEY, text]).err(), Some(DecryptorError::NoKey), "{text}");
    }
    // An Ed25519 key (RFC 8410, 10.3).
    let other = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    assert_eq!(Decryptor::from_pem([other]).err(), Some(DecryptorError::NotRsa));
    assert_eq!(format!("{:?}", decryptor()), "[redacted]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The last character of a part can stand for bits that are not there; every other one counts.
    #[test]
    fn nothing_that_was_changed_is_decrypted(place: prop::sample::Index, letter in "[A-Za-z0-9_.-]") {
        let decryptor = Decryptor::from_pem([KEY]).unwrap();
        let mut compact = good();
        let place = place.index(compact.len());
        prop_assume!(!compact.split_at(place).1.starts_with(&letter));
        compact.replace_range(place..=place, &letter);
        prop_assert!(decryptor.decrypt(&compact).is_err());
    }
}

//! Public keys: `name+8 hexadecimal digits+base64(0x01 || key)`, the *vkey* of C2SP signed-note.
//!
//! Invariant: a value of this type has a usable name, a point of full order, and the id that its name and bytes give.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::{KeyError, check_name};

/// An Ed25519 public key with its name.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads a vkey. Only type 0x01 (Ed25519) is taken; a key of small order is refused.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        let (name, id, material) =
            split(vkey).ok_or(KeyError::Public("it does not have three parts"))?;
        let key = Self::from_bytes(name, &ed25519(material).map_err(KeyError::Public)?)?;
        if key.id != id {
            return Err(KeyError::Public("its id does not belong to its name and bytes"));
        }
        Ok(key)
    }

    /// Names 32 bytes of an Ed25519 public key.
    pub fn from_bytes(name: &str, bytes: &[u8; 32]) -> Result<Self, KeyError> {
        check_name(name)?;
        let key = VerifyingKey::from_bytes(bytes)
            .map_err(|_| KeyError::Public("its bytes are not a point of the curve"))?;
        if key.is_weak() {
            return Err(KeyError::Public("its point is of small order"));
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, TYPE_ED25519, bytes), key })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The four bytes that a signature line carries, as a number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How documents and lists name this key: `name+8 hexadecimal digits`.
    pub fn keyid(&self) -> String {
        format!("{}+{:08x}", self.name, self.id)
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature` is this key's over `message`, by the strict rules (RFC 8032 and no small-order points), so that all
    /// verifiers agree.
    pub fn verify_strict(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = [TYPE_ED25519; 33];
        for (to, from) in material.iter_mut().skip(1).zip(self.bytes()) {
            *to = *from;
        }
        write!(f, "{}+{:08x}+{}", self.name, self.id, STANDARD.encode(material))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        Self::parse(vkey)
    }
}

/// `SHA-256(name || 0x0A || type || public key)`, its first four bytes big-endian (C2SP signed-note, *Signatures*).
pub fn key_id(name: &str, key_type: u8, public: &[u8]) -> u32 {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', key_type]);
    hash.update(public);
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

/// Name, id and key material of `name+hex8+base64`, for public keys and (after their prefix) secret ones.
pub(crate) fn split(text: &str) -> Option<(&str, u32, &str)> {
    let (name, rest) = text.split_once('+')?;
    let (id, material) = rest.split_once('+')?;
    let spelled_once = id.len() == 8 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    Some((name, u32::from_str_radix(id, 16).ok().filter(|_| spelled_once)?, material))
}

/// Base64 of the type byte and 32 bytes, to the 32 bytes.
pub(crate) fn ed25519(material: &str) -> Result<[u8; 32], &'static str> {
    let bytes = zeroize::Zeroizing::new(
        STANDARD.decode(material).map_err(|_| "its last part is not base64")?,
    );
    match bytes.split_first() {
        Some((&TYPE_ED25519, key)) => {
            key.try_into().map_err(|_| "its last part does not have 33 bytes")
        }
        Some(_) => Err("its algorithm is not ed25519 (type byte 0x01)"),
        None => Err("its last part is empty"),
    }
}

/// Ed25519 over the note's text (C2SP signed-note).
pub(crate) const TYPE_ED25519: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example in the documentation of Go's `x/mod/sumdb/note`.
    const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn reads_and_writes_what_go_wrote() {
        let key = PublicKey::parse(NEUMANN).unwrap();
        assert_eq!((key.name(), key.id()), ("PeterNeumann", 0xc74f_20a3));
        assert_eq!(
            (key.to_string().as_str(), key.keyid().as_str()),
            (NEUMANN, "PeterNeumann+c74f20a3")
        );
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know \
                    what your problem is.\n";
        let line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let signature = STANDARD.decode(line).unwrap();
        assert_eq!(signature[..4], key.id().to_be_bytes());
        assert!(key.verify_strict(text.as_bytes(), &signature[4..]));
        assert!(!key.verify_strict(&text.as_bytes()[1..], &signature[4..]));
        assert!(!key.verify_strict(text.as_bytes(), &signature[5..]));
    }

    #[test]
    fn refuses_small_order() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(
            PublicKey::from_bytes("k", &identity),
            Err(KeyError::Public("its point is of small order"))
        );
    }

    proptest! {
        #[test]
        fn any_other_character_is_another_key_or_none(at in 0..NEUMANN.len(), to in any::<char>()) {
            let mut text: Vec<char> = NEUMANN.chars().collect();
            prop_assume!(text[at] != to);
            text[at] = to;
            prop_assert!(PublicKey::parse(&text.into_iter().collect::<String>()).is_err());
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = PublicKey::parse(&text);
        }
    }
}

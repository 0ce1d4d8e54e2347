//! Secret keys: `PRIVATE+KEY+name+8 hexadecimal digits+base64(0x01 || seed)`, as Go's `x/mod/sumdb/note` writes them.
//!
//! Invariant: the seed leaves only through `to_text`, in memory that is wiped when dropped; there is no `Debug`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::public::{TYPE_ED25519, ed25519, split};
use crate::{KeyError, PublicKey};

/// An Ed25519 secret key with its name.
#[derive(Clone)]
pub struct SecretKey {
    key: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    /// The key of an RFC 8032 seed.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey::from_bytes(name, key.verifying_key().as_bytes())?;
        Ok(Self { key, public })
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let rest = text
            .strip_prefix(PREFIX)
            .ok_or(KeyError::Secret("it does not begin with `PRIVATE+KEY+`"))?;
        let (name, id, material) = split(rest)
            .ok_or(KeyError::Secret("it does not have three parts after `PRIVATE+KEY+`"))?;
        let seed = Zeroizing::new(ed25519(material).map_err(KeyError::Secret)?);
        let key = Self::from_seed(name, &seed)?;
        if key.public.id() != id {
            return Err(KeyError::Secret("its id does not belong to its name and bytes"));
        }
        Ok(key)
    }

    /// The text form, for a file that only its owner may read.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut material = Zeroizing::new(Vec::with_capacity(33));
        material.push(TYPE_ED25519);
        material.extend_from_slice(self.key.as_bytes());
        let material = Zeroizing::new(STANDARD.encode(material.as_slice()));
        Zeroizing::new(format!("{PREFIX}{}+{}", self.public.keyid(), material.as_str()))
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

const PREFIX: &str = "PRIVATE+KEY+";

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation of Go's `x/mod/sumdb/note`.
    const NEUMANN: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    #[test]
    fn reads_signs_and_writes_as_go_does() {
        let key = SecretKey::parse(NEUMANN).unwrap();
        assert_eq!(key.to_text().as_str(), NEUMANN);
        assert_eq!(
            key.public().to_string(),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        );
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know \
                    what your problem is.\n";
        let line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        assert_eq!(STANDARD.decode(line).unwrap()[4..], key.sign(text.as_bytes()));
    }

    #[test]
    fn generated_keys_differ_and_come_back() {
        let (one, two) = (SecretKey::generate("k").unwrap(), SecretKey::generate("k").unwrap());
        assert_ne!(one.public(), two.public());
        let again = SecretKey::parse(&one.to_text()).unwrap();
        assert!(one.public().verify_strict(b"m", &again.sign(b"m")));
        assert!(!two.public().verify_strict(b"m", &again.sign(b"m")));
    }

    #[test]
    fn wrong_text_is_named_without_being_shown() {
        let wrong = [
            "",
            "PRIVATE+KEY+",
            "PRIVATE+KEY+n+c74f20a3+AA==",
            &NEUMANN.replace("c74f20a3", "c74f20a4"),
            NEUMANN.trim_start_matches('P'),
        ];
        for text in wrong {
            let Err(error) = SecretKey::parse(text) else { panic!("{text}") };
            assert_eq!(error.code(), "key-secret-malformed");
            assert!(!error.to_string().contains("AYEK"));
        }
    }
}

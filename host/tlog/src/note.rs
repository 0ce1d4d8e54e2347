//! Signed notes (C2SP signed-note v1.0.0): text, an empty line, and signature lines.
//!
//! Invariant: the text that is returned is the exact bytes that were signed. Signatures by other
//! keys are ignored; a bad signature by the known key makes the whole note invalid.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_keys::{PublicKey, SecretKey};

/// Something that signs for one named key: a file's key now; a token, a TPM or a key service later.
pub trait Signer: Send + Sync {
    /// Returns the public half.
    fn public(&self) -> &PublicKey;

    /// Returns an Ed25519 signature over the message.
    fn sign(&self, message: &[u8]) -> [u8; 64];

    /// Returns the public half as text: `name+8 hexadecimal digits+base64`.
    fn vkey(&self) -> String {
        self.public().to_string()
    }
}

impl Signer for SecretKey {
    fn public(&self) -> &PublicKey {
        SecretKey::public(self)
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        SecretKey::sign(self, message)
    }
}

/// Why a note is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form of a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// No signature line names the key.
    #[error("no signature by `{0}`")]
    Unsigned(String),
    /// A signature line names the key, and its signature is not the key's over this text.
    #[error("the signature by `{0}` does not fit the text")]
    BadSignature(String),
}

/// Signs a text, which must end in a line feed, and returns the note.
pub fn sign(text: &str, signer: &dyn Signer) -> String {
    let mut signature = signer.public().id().to_be_bytes().to_vec();
    signature.extend_from_slice(&signer.sign(text.as_bytes()));
    format!("{text}\n{DASH}{} {}\n", signer.public().name(), STANDARD.encode(signature))
}

/// Checks the signature by `key` on a note, and returns its text.
pub fn verify<'a>(note: &'a [u8], key: &PublicKey) -> Result<&'a str, NoteError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(NoteError::Malformed("it is larger than 64 KiB"));
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed("it is not UTF-8"))?;
    if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(NoteError::Malformed("it holds a control character"));
    }
    let (text, signatures) =
        note.rsplit_once("\n\n").ok_or(NoteError::Malformed("it has no empty line"))?;
    let lines =
        signatures.strip_suffix('\n').ok_or(NoteError::Malformed("its last line does not end"))?;
    let mut verified = false;
    // The line feed that ends the text is the first of the two that were split off.
    let text = note.get(..text.len() + 1).ok_or(NoteError::Malformed("it has no text"))?;
    for (count, line) in lines.split('\n').enumerate() {
        if count >= MAX_SIGNATURES {
            return Err(NoteError::Malformed("it has more than 100 signatures"));
        }
        let (name, id, signature) =
            signature_line(line).ok_or(NoteError::Malformed("a signature line is not one"))?;
        if name != key.name() || id != key.id() {
            continue;
        }
        // A second line of the same key is refused as well: whoever reads only the first must see
        // what we see.
        if verified || !key.verify_strict(text.as_bytes(), &signature) {
            return Err(NoteError::BadSignature(key.keyid()));
        }
        verified = true;
    }
    if verified { Ok(text) } else { Err(NoteError::Unsigned(key.keyid())) }
}

fn signature_line(line: &str) -> Option<(&str, u32, Vec<u8>)> {
    let (name, base64) = line.strip_prefix(DASH)?.split_once(' ')?;
    portcullis_keys::check_name(name).ok()?;
    let bytes = STANDARD.decode(base64).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    (!signature.is_empty()).then(|| (name, u32::from_be_bytes(*id), signature.to_vec()))
}

const DASH: &str = "\u{2014} ";
const MAX_NOTE_BYTES: usize = 64 * 1024;
const MAX_SIGNATURES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example in the documentation of Go's `x/mod/sumdb/note`.
    const TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't \
                        know what your problem is.\n";
    const LINE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const SKEY: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    fn key() -> SecretKey {
        SecretKey::parse(SKEY).unwrap()
    }

    #[test]
    fn signs_and_verifies_as_go_does() {
        let note = sign(TEXT, &key());
        assert_eq!(note, format!("{TEXT}\n{LINE}"));
        assert_eq!(verify(note.as_bytes(), key().public()), Ok(TEXT));
    }

    #[test]
    fn other_signatures_are_passed_over_and_a_bad_one_of_ours_is_not() {
        let other = SecretKey::generate("other").unwrap();
        let theirs = sign(TEXT, &other).replace(&format!("{TEXT}\n"), "");
        let both = format!("{TEXT}\n{theirs}{LINE}");
        assert_eq!(verify(both.as_bytes(), key().public()), Ok(TEXT));
        assert_eq!(verify(both.as_bytes(), other.public()), Ok(TEXT));
        let only_theirs = format!("{TEXT}\n{theirs}");
        assert_eq!(
            verify(only_theirs.as_bytes(), key().public()),
            Err(NoteError::Unsigned("PeterNeumann+c74f20a3".into()))
        );
        let twice = format!("{TEXT}\n{LINE}{LINE}");
        assert_eq!(
            verify(twice.as_bytes(), key().public()).unwrap_err(),
            NoteError::BadSignature("PeterNeumann+c74f20a3".into())
        );
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let note = sign(TEXT, &key());
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut changed = note.clone().into_bytes();
                changed[at] ^= 1 << bit;
                assert!(verify(&changed, key().public()).is_err(), "byte {at} bit {bit}");
            }
        }
        for length in 0..note.len() {
            assert!(verify(&note.as_bytes()[..length], key().public()).is_err(), "cut to {length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            prop_assert!(verify(&bytes, key().public()).is_err());
        }
    }
}

//! Checkpoints (C2SP tlog-checkpoint v1.0.0): origin, size and root of a log, as a signed note.
//!
//! Invariant: a checkpoint that was read has exactly three lines in their one spelling, is signed
//! by the log's key, and names the origin asked for. The log's key is named like its origin.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_keys::PublicKey;

use crate::note::{self, NoteError, Signer};
use crate::tree::Hash;

/// The head of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// Returns the signed note.
    pub fn sign(&self, signer: &dyn Signer) -> String {
        note::sign(&self.text(), signer)
    }

    /// Reads a note that `key` signed; the origin must be the key's name.
    pub fn verify(note: &[u8], key: &PublicKey) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(note::verify(note, key)?)?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::Malformed("its origin is not the name of the log's key"));
        }
        Ok(checkpoint)
    }

    /// Returns the text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    fn parse(text: &str) -> Result<Self, NoteError> {
        let checkpoint = Self::read(text)
            .ok_or(NoteError::Malformed("it has not an origin, a size and a root"))?;
        // Extension lines and second spellings of a number would be lost in what we keep; the
        // format does not recommend them.
        if checkpoint.text() != text {
            return Err(NoteError::Malformed(
                "it is not spelled as origin, decimal size and base64 root, and nothing more",
            ));
        }
        Ok(checkpoint)
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        (!origin.is_empty()).then_some(Self {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::empty_root;
    use portcullis_keys::SecretKey;

    #[test]
    fn reads_what_it_wrote_and_no_other_spelling() {
        let key = SecretKey::from_seed("log.example/2026", &[7; 32]).unwrap();
        let head =
            Checkpoint { origin: "log.example/2026".into(), size: 70_000, root: empty_root() };
        assert_eq!(
            head.text(),
            "log.example/2026\n70000\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
        );
        assert_eq!(Checkpoint::verify(head.sign(&key).as_bytes(), key.public()), Ok(head.clone()));
        for (from, to) in [
            ("70000", "+70000"),
            ("70000", "070000"),
            ("uFU=\n", "uFU=\nextension\n"),
            ("70000", "x"),
        ] {
            let note = note::sign(&head.text().replace(from, to), &key);
            assert!(Checkpoint::verify(note.as_bytes(), key.public()).is_err(), "{to}");
        }
        let other = Checkpoint { origin: "other".into(), ..head };
        assert!(Checkpoint::verify(other.sign(&key).as_bytes(), key.public()).is_err());
    }
}

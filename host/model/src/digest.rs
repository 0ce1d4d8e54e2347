//! A SHA-256 digest as it is written everywhere: `sha256:` and 64 lower-case hexadecimal digits.
//!
//! Invariant: one spelling, so that equal digests are equal text. Bytes that arrive in pieces are
//! hashed where they arrive.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::hex::{digits, parse_hex};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every leaf has a handful of digests: one piece of text, not 33.
        let mut text = [0; 71];
        let (head, tail) = text.split_at_mut(7);
        head.copy_from_slice(b"sha256:");
        for (pair, byte) in tail.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = digits(byte);
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("sha256:").and_then(parse_hex).map(Self).ok_or(NotADigest)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|NotADigest| {
            serde::de::Error::custom("not `sha256:` and 64 lower-case hexadecimal digits")
        })
    }
}

/// The text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADigest;

/// Returns the digest of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Returns the digest of several pieces, one after the other.
pub fn sha256_of(pieces: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    pieces.iter().for_each(|piece| hash.update(piece));
    Digest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc").to_string(), abc);
        assert_eq!(sha256_of(&[b"a", b"", b"bc"]), sha256(b"abc"));
    }

    #[test]
    fn one_spelling_only() {
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        for wrong in [
            text.get(7..).unwrap(),
            text.get(..70).unwrap(),
            &text.to_uppercase(),
            &format!("{text}0"),
            "sha256:",
        ] {
            assert_eq!(wrong.parse::<Digest>(), Err(NotADigest), "{wrong}");
        }
    }
}

//! Pseudonyms: what stands in a leaf where a person's or device's name would.
//!
//! Invariant: the same value of the same tenant and namespace has the same pseudonym while the key
//! lasts, and nobody without the key can go from one to the other or try out names.

use std::fmt;

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use portcullis_keys::SymmetricKey;

/// Makes pseudonyms under one key.
pub struct Pseudonyms {
    key: Key,
    version: u32,
}

/// A pseudonym. As text: `p`, the key's version, `_` and 26 letters: the first 128 bits of
/// HMAC-SHA256, in lower-case base32 (RFC 4648).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pseudonym {
    version: u32,
    bits: u128,
}

impl Pseudonym {
    /// Its 128 bits.
    pub fn bits(&self) -> u128 {
        self.bits
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 26 letters hold 130 bits: the last one is filled up with two zeros.
        let mut letters = [b'a'; 26];
        for (letter, place) in letters.iter_mut().zip(0..26_u32) {
            let five =
                31 & if place < 25 { self.bits >> (123 - place * 5) } else { self.bits << 2 };
            *letter = usize::try_from(five)
                .ok()
                .and_then(|five| ALPHABET.get(five))
                .copied()
                .unwrap_or(b'a');
        }
        write!(f, "p{}_{}", self.version, str::from_utf8(&letters).unwrap_or_default())
    }
}

impl Pseudonyms {
    /// Takes the key of a file that serves nothing else, and the key's version, which pseudonyms
    /// carry.
    pub fn new(key: &SymmetricKey, version: u32) -> Self {
        Self { key: Key::new(HMAC_SHA256, key.expose()), version }
    }

    /// The pseudonym of a value in a namespace of a tenant.
    pub fn of(&self, tenant: &str, namespace: &str, value: &str) -> Pseudonym {
        Pseudonym { version: self.version, bits: self.bits(tenant, namespace, value) }
    }

    /// A number below `limit`, always the same one for the same value, and evenly spread: what
    /// nobody without the key can foretell. The limit is small against 2^64, so that the remainder
    /// favours nobody by more than a part in a million.
    pub fn number(&self, tenant: &str, namespace: &str, value: &str, limit: u32) -> u32 {
        let bits = self.bits(tenant, namespace, value) >> 64;
        u32::try_from(bits % u128::from(limit.max(1))).unwrap_or_default()
    }

    fn bits(&self, tenant: &str, namespace: &str, value: &str) -> u128 {
        let mut mac = Context::with_key(&self.key);
        for part in [tenant, namespace, value] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let tag = mac.sign();
        tag.as_ref().first_chunk().copied().map_or(0, u128::from_be_bytes)
    }
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_implementation_says() {
        let key = SymmetricKey::from_bytes([7; 32]);
        let pseudonyms = Pseudonyms::new(&key, 1);
        assert_eq!(pseudonyms.of("default", "user", "00u1").to_string(), EXPECTED);
        let second = Pseudonyms::new(&key, 2).of("default", "user", "00u1");
        assert_eq!(second.to_string(), EXPECTED.replacen("p1", "p2", 1));
    }

    #[test]
    fn parts_do_not_run_together() {
        let pseudonyms = Pseudonyms::new(&SymmetricKey::from_bytes([7; 32]), 1);
        assert_ne!(pseudonyms.of("a", "bc", "d"), pseudonyms.of("ab", "c", "d"));
        assert_ne!(pseudonyms.of("a", "b", "cd"), pseudonyms.of("a", "bc", "d"));
    }

    /// Python: `base64.b32encode(hmac.new(b"\x07" * 32, parts, "sha256").digest()[:16])`, lower
    /// case, without padding.
    const EXPECTED: &str = "p1_d3cmds6yg2mgqkp7r2ldvdp6pq";
}

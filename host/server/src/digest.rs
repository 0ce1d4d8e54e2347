//! SHA-256 of bytes at hand.

use portcullis_model::Digest;
use sha2::{Digest as _, Sha256};

/// The digest of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    sha256_of(&[bytes])
}

/// The digest of several pieces, one after the other.
pub fn sha256_of(pieces: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    pieces.iter().for_each(|piece| hash.update(piece));
    Digest(hash.finalize().into())
}

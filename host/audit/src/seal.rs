//! The sealed part of a record: AES-256-GCM under a key of the host, so that it can be shown to an
//! auditor or made unreadable for good.
//!
//! A blob is `version (1) | key id (16) | salt (16) | nonce (12) | ciphertext | tag (16)`; tenant
//! and record type are authenticated with it. The subkey that encrypts is HKDF-SHA256(key, salt): a
//! fresh random salt for each start and each 2^24 records, so that random 96-bit nonces stay far
//! below their bound (2^32 records a key, NIST SP 800-38D, 8.3; here two nonces of one subkey
//! coincide with probability below 2^-49), however often a host restarts or a machine image is
//! copied.
//!
//! Invariant: a leaf names the digest of the blob and the key's id, a commitment to the key, since
//! AES-GCM alone would let one blob open under two keys: each sealed part decrypts in one way only.
//! No salted commitment to the plaintext is needed beside that: the digest is over ciphertext,
//! which tells nothing about the plaintext once the key is destroyed. The id has 128 bits: making
//! two keys with one id takes about 2^64 work. What is sealed is not decided here.

use std::fmt;
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use portcullis_keys::SymmetricKey;
use portcullis_model::hex;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use portcullis_tlog::sealed_files::OpenSealed;

/// Names a sealing key: the first 16 bytes of SHA-256 over a label and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A key that seals and opens.
#[derive(Clone)]
pub struct SealKey {
    key: SymmetricKey,
    id: KeyId,
}

impl SealKey {
    /// Takes the key of a file that serves nothing else.
    pub fn new(key: SymmetricKey) -> Self {
        let digest: [u8; 32] =
            Sha256::new().chain_update(ID_LABEL).chain_update(key.expose()).finalize().into();
        let id = digest.first_chunk().copied().unwrap_or_default();
        Self { key, id: KeyId(id) }
    }

    /// The id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn subkey(&self, salt: &[u8; SALT_LEN]) -> Result<LessSafeKey, SealError> {
        let extracted = Salt::new(HKDF_SHA256, salt).extract(self.key.expose());
        let expanded =
            extracted.expand(&[SUBKEY_LABEL], &AES_256_GCM).map_err(|_| SealError::Cryptography)?;
        Ok(LessSafeKey::new(UnboundKey::from(expanded)))
    }
}

/// A sealed part.
pub struct Sealed {
    /// The bytes that are kept, and whose digest the leaf holds.
    pub blob: Vec<u8>,
    /// The key that opens it.
    pub key: KeyId,
}

/// Why something could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not the form of a sealed part.
    #[error("not a sealed part")]
    Malformed,
    /// Sealed under another key.
    #[error("sealed under another key")]
    OtherKey,
    /// Changed, or moved to another tenant or record type.
    #[error("the sealed part was changed, or belongs to another tenant or record type")]
    Changed,
    /// The cryptographic library refused.
    #[error("the cryptographic library refused to work")]
    Cryptography,
}

/// Seals for many threads at once.
pub struct Sealer {
    key: SealKey,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    subkey: Option<Subkey>,
    /// Random, and each used once.
    nonces: Vec<[u8; NONCE_LEN]>,
}

impl Clone for Sealer {
    /// Seals under the same key, with subkeys of its own.
    fn clone(&self) -> Self {
        Self::new(self.key.clone())
    }
}

impl Sealer {
    /// Seals under `key`.
    pub fn new(key: SealKey) -> Self {
        Self { key, current: Mutex::default() }
    }

    /// Encrypts `plaintext` where it stands, if it has capacity for [`OVERHEAD`] more bytes; it is
    /// overwritten in any case.
    pub fn seal(&self, tenant: &str, kind: &str, plaintext: Vec<u8>) -> Result<Sealed, SealError> {
        let mut blob = with_room(plaintext);
        let sealed = self.seal_in(tenant, kind, &mut blob);
        if sealed.is_err() {
            blob.zeroize();
        }
        sealed.map(|()| Sealed { blob, key: self.key.id })
    }

    /// Encrypts what stands behind the header's room.
    fn seal_in(&self, tenant: &str, kind: &str, blob: &mut Vec<u8>) -> Result<(), SealError> {
        let (subkey, nonce) = self.subkey()?;
        let Some((header, body)) = blob.split_first_chunk_mut::<HEADER_LEN>() else {
            return Err(SealError::Cryptography);
        };
        let parts = [&[VERSION][..], &self.key.id.0, &subkey.salt, &nonce];
        header.iter_mut().zip(parts.into_iter().flatten()).for_each(|(byte, part)| *byte = *part);
        let aad = Aad::from(associated(header, tenant, kind));
        let tag =
            subkey.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, body);
        let tag = tag.map_err(|_| SealError::Cryptography)?;
        blob.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// A subkey and a nonce for one record.
    fn subkey(&self) -> Result<(Subkey, [u8; NONCE_LEN]), SealError> {
        let mut current = self.current.lock().map_err(|_| SealError::Cryptography)?;
        let Current { subkey, nonces } = &mut *current;
        if nonces.is_empty() {
            // Asked for in bulk: a call of the generator costs more than the bytes.
            let mut bulk = [0; NONCE_LEN * NONCES_AT_ONCE];
            fill(&mut bulk)?;
            nonces.extend_from_slice(bulk.as_chunks().0);
        }
        let nonce = nonces.pop().ok_or(SealError::Cryptography)?;
        if let Some(subkey) = subkey.as_mut().filter(|subkey| subkey.left > 0) {
            subkey.left -= 1;
            return Ok((subkey.clone(), nonce));
        }
        let mut salt = [0; SALT_LEN];
        fill(&mut salt)?;
        let key = Arc::new(self.key.subkey(&salt)?);
        Ok((subkey.insert(Subkey { salt, key, left: RECORDS_PER_SUBKEY - 1 }).clone(), nonce))
    }
}

/// Decrypts a blob; the plaintext is wiped when dropped.
pub fn open_sealed(
    key: &SealKey,
    tenant: &str,
    kind: &str,
    blob: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (header, body) = blob.split_at_checked(HEADER_LEN).ok_or(SealError::Malformed)?;
    let ([version], rest) = header.split_first_chunk().ok_or(SealError::Malformed)?;
    let (id, rest) = rest.split_first_chunk().ok_or(SealError::Malformed)?;
    let (salt, nonce) = rest.split_first_chunk().ok_or(SealError::Malformed)?;
    let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| SealError::Malformed)?;
    if *version != VERSION {
        return Err(SealError::Malformed);
    }
    if KeyId(*id) != key.id {
        return Err(SealError::OtherKey);
    }
    let mut body = Zeroizing::new(body.to_vec());
    let aad = Aad::from(associated(header, tenant, kind));
    let opened =
        key.subkey(salt)?.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut body);
    let length = opened.map_err(|_| SealError::Changed)?.len();
    body.truncate(length);
    Ok(body)
}

impl OpenSealed for SealKey {
    fn open(&self, tenant: &str, kind: &str, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        open_sealed(self, tenant, kind, blob).map_err(|error| error.to_string())
    }
}

#[derive(Clone)]
struct Subkey {
    salt: [u8; SALT_LEN],
    key: Arc<LessSafeKey>,
    left: u64,
}

/// Header, then the tenant with its length, then the record type: no two pairs give the same bytes.
fn associated(header: &[u8], tenant: &str, kind: &str) -> Vec<u8> {
    let mut aad = Vec::with_capacity(header.len() + 8 + tenant.len() + kind.len());
    aad.extend_from_slice(header);
    aad.extend_from_slice(&(tenant.len() as u64).to_be_bytes());
    aad.extend_from_slice(tenant.as_bytes());
    aad.extend_from_slice(kind.as_bytes());
    aad
}

/// The plaintext behind room for the header, with capacity for the tag; no copy of it stays
/// elsewhere.
fn with_room(mut plaintext: Vec<u8>) -> Vec<u8> {
    let length = plaintext.len();
    if plaintext.capacity() - length >= OVERHEAD {
        plaintext.resize(length + HEADER_LEN, 0);
        plaintext.copy_within(..length, HEADER_LEN);
        return plaintext;
    }
    let mut room = Vec::with_capacity(length + OVERHEAD);
    room.resize(HEADER_LEN, 0);
    room.extend_from_slice(&plaintext);
    plaintext.zeroize();
    room
}

fn fill(bytes: &mut [u8]) -> Result<(), SealError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| SealError::Cryptography)
}

const VERSION: u8 = 1;
const SALT_LEN: usize = 16;
const HEADER_LEN: usize = 1 + 16 + SALT_LEN + NONCE_LEN;

/// Bytes that sealing adds.
pub const OVERHEAD: usize = HEADER_LEN + 16;

const NONCES_AT_ONCE: usize = 64;
const RECORDS_PER_SUBKEY: u64 = 1 << 24;
const ID_LABEL: &[u8] = b"portcullis seal key id v1\n";
const SUBKEY_LABEL: &[u8] = b"portcullis seal subkey v1";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealKey {
        SealKey::new(SymmetricKey::from_bytes([byte; 32]))
    }

    #[test]
    fn opens_only_as_it_was_sealed() {
        let sealer = Sealer::new(key(1));
        let sealed = sealer.seal("north", "hook.decision", b"name of a patient".to_vec()).unwrap();
        assert_eq!((sealed.blob.len(), sealed.key), (17 + OVERHEAD, key(1).id()));
        let open = |key: &SealKey, tenant, kind, blob: &[u8]| {
            open_sealed(key, tenant, kind, blob).map(|plain| plain.to_vec())
        };
        assert_eq!(
            open(&key(1), "north", "hook.decision", &sealed.blob).unwrap(),
            b"name of a patient"
        );
        assert_eq!(open(&key(2), "north", "hook.decision", &sealed.blob), Err(SealError::OtherKey));
        assert_eq!(open(&key(1), "south", "hook.decision", &sealed.blob), Err(SealError::Changed));
        assert_eq!(open(&key(1), "northh", "ook.decision", &sealed.blob), Err(SealError::Changed));
        for at in 0..sealed.blob.len() {
            let mut changed = sealed.blob.clone();
            changed[at] ^= 1;
            assert!(open(&key(1), "north", "hook.decision", &changed).is_err(), "{at}");
        }
        for length in 0..sealed.blob.len() {
            assert!(
                open(&key(1), "north", "hook.decision", &sealed.blob[..length]).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn seals_where_the_plaintext_stands_if_there_is_room() {
        let sealer = Sealer::new(key(1));
        for spare in [0, OVERHEAD - 1, OVERHEAD, 100] {
            let mut plain = Vec::with_capacity(20 + spare);
            plain.extend_from_slice(b"name of some patient");
            let (place, room) = (plain.as_ptr(), plain.capacity() - 20);
            let sealed = sealer.seal("t", "k", plain).unwrap();
            assert_eq!(sealed.blob.as_ptr() == place, room >= OVERHEAD, "{spare}");
            assert_eq!(
                &**open_sealed(&key(1), "t", "k", &sealed.blob).unwrap(),
                b"name of some patient"
            );
        }
    }

    #[test]
    fn never_the_same_bytes_twice() {
        let (one, two) = (Sealer::new(key(1)), Sealer::new(key(1)));
        let blobs =
            [&one, &one, &two].map(|sealer| sealer.seal("t", "k", vec![0; 16]).unwrap().blob);
        assert!(blobs[0] != blobs[1] && blobs[1] != blobs[2]);
        assert_eq!(blobs[0][17..33], blobs[1][17..33], "one salt a start");
        assert_ne!(blobs[1][17..33], blobs[2][17..33]);
    }

    #[test]
    fn a_subkey_is_changed_before_it_has_sealed_too_much() {
        let sealer = Sealer::new(key(1));
        let before = sealer.seal("t", "k", vec![]).unwrap().blob;
        sealer.current.lock().unwrap().subkey.as_mut().unwrap().left = 1;
        let last = sealer.seal("t", "k", vec![]).unwrap().blob;
        let after = sealer.seal("t", "k", vec![]).unwrap().blob;
        assert_eq!(before[17..33], last[17..33]);
        assert_ne!(last[17..33], after[17..33]);
        assert!(open_sealed(&key(1), "t", "k", &after).is_ok());
    }
}

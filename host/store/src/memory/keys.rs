//! The keys of memory: the store's, and one for each cell.
//!
//! Invariant: all that leaves this process's memory is encrypted under the random key of its cell,
//! with the cell's name authenticated. That key is stored only wrapped by a key that is derived
//! from the store's; without it the cell cannot be read. The cipher is AES-256-GCM-SIV (RFC 8452),
//! since nonces are random and a cell is encrypted for as long as its owner is known. Keys are
//! wiped when dropped.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use portcullis_keys::SymmetricKey;
use zeroize::{Zeroize as _, Zeroizing};

use super::names::{CellId, NamespaceId, Owner};

/// The store's keys, all derived from one.
pub(super) struct StoreKeys {
    wrap: LessSafeKey,
    owners: Key,
    members: Key,
    check: [u8; CHECK_LEN],
}

/// The key of a cell.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct CellKey(Zeroizing<[u8; KEY_LEN]>);

/// A cell's key as it is stored: encrypted under a key that is derived from the store's.
pub type WrappedKey = [u8; WRAPPED_LEN];

/// The cryptographic library refused to work, or what was to be decrypted was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it could not be encrypted or decrypted")]
pub struct CryptographyError;

impl StoreKeys {
    pub(super) fn new(key: &SymmetricKey) -> Result<Self, CryptographyError> {
        let secret = Salt::new(HKDF_SHA256, SALT).extract(key.expose());
        let wrap = derive::<KEY_LEN>(&secret, b"wrap")?;
        let wrap = UnboundKey::new(&AES_256_GCM_SIV, &*wrap).map_err(|_| CryptographyError)?;
        let mac = |label| Ok(Key::new(HMAC_SHA256, &*derive::<KEY_LEN>(&secret, label)?));
        Ok(Self {
            wrap: LessSafeKey::new(wrap),
            owners: mac(b"owners")?,
            members: mac(b"members")?,
            check: *derive(&secret, b"check")?,
        })
    }

    /// Names the store's key, without giving it away.
    pub(super) fn check(&self) -> [u8; CHECK_LEN] {
        self.check
    }

    /// The pseudonym of a subject of a tenant: the same in all namespaces of the tenant.
    pub(super) fn subject(&self, tenant: &str, subject: &str) -> Owner {
        Owner(u128::from_be_bytes(self.owner(&[b"subject", tenant.as_bytes(), subject.as_bytes()])))
    }

    /// The pseudonym of a key in the shared scope of a namespace.
    pub(super) fn shared(&self, namespace: NamespaceId, key: &[u8]) -> Owner {
        Owner(u128::from_be_bytes(self.owner(&[b"shared", &namespace.0, key])))
    }

    /// The hash of a member of a set.
    pub(super) fn member(&self, cell: &CellId, key: &[u8], member: &[u8]) -> u64 {
        u64::from_be_bytes(mac(&self.members, &[&cell.to_bytes(), key, member]))
    }

    /// Encrypts a cell's key. The nonce is always the same: keys are random, and all that this
    /// cipher then gives away is that two wrapped keys of one cell are equal (RFC 8452, section 9).
    pub(super) fn wrap(
        &self,
        cell: &CellId,
        key: &CellKey,
    ) -> Result<WrappedKey, CryptographyError> {
        let mut secret = key.0.clone();
        let aad = Aad::from(cell.to_bytes());
        let tag = self
            .wrap
            .seal_in_place_separate_tag(wrapping_nonce(), aad, &mut secret[..])
            .map_err(|_| CryptographyError)?;
        let mut wrapped = [0; WRAPPED_LEN];
        let parts = [&secret[..], tag.as_ref()];
        wrapped.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        Ok(wrapped)
    }

    pub(super) fn unwrap(
        &self,
        cell: &CellId,
        wrapped: &WrappedKey,
    ) -> Result<CellKey, CryptographyError> {
        let mut secret = Zeroizing::new(*wrapped);
        let aad = Aad::from(cell.to_bytes());
        let opened = self.wrap.open_in_place(wrapping_nonce(), aad, &mut secret[..]);
        let opened = opened.map_err(|_| CryptographyError)?;
        opened.first_chunk().map(|key| CellKey(Zeroizing::new(*key))).ok_or(CryptographyError)
    }

    fn owner(&self, parts: &[&[u8]]) -> [u8; 16] {
        mac(&self.owners, parts)
    }
}

impl CellKey {
    pub(super) fn generate() -> Result<Self, CryptographyError> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    pub(super) fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Encrypts: nonce, then the encrypted bytes.
    pub(super) fn seal(
        &self,
        cell: &CellId,
        purpose: Purpose,
        plain: &[u8],
    ) -> Result<Vec<u8>, CryptographyError> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = Vec::with_capacity(plain.len() + SEALED_OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let body = sealed.get_mut(NONCE_LEN..).ok_or(CryptographyError)?;
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.of(cell)),
                body,
            )
            .map_err(|_| CryptographyError);
        match tag {
            Ok(tag) => sealed.extend_from_slice(tag.as_ref()),
            Err(error) => {
                sealed.zeroize();
                return Err(error);
            }
        }
        Ok(sealed)
    }

    pub(super) fn open(
        &self,
        cell: &CellId,
        purpose: Purpose,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptographyError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CryptographyError)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(purpose.of(cell)), &mut body);
        let length = opened.map_err(|_| CryptographyError)?.len();
        body.truncate(length);
        Ok(body)
    }

    fn cipher(&self) -> Result<LessSafeKey, CryptographyError> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &self.0[..]).map_err(|_| CryptographyError)?;
        Ok(LessSafeKey::new(key))
    }
}

impl fmt::Debug for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The two uses of a cell's key: bytes of one are never taken for the other.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// A row of the disk view.
    Row,
    /// Changes in the write-ahead log.
    Changes,
}

impl Purpose {
    fn of(self, cell: &CellId) -> [u8; 34] {
        let label = match self {
            Self::Row => 0,
            Self::Changes => 1,
        };
        let mut bytes = [label; 34];
        bytes.iter_mut().skip(1).zip(cell.to_bytes()).for_each(|(to, from)| *to = from);
        bytes
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(
    secret: &Prk,
    label: &[u8],
) -> Result<Zeroizing<[u8; N]>, CryptographyError> {
    let mut bytes = Zeroizing::new([0; N]);
    let info = [label];
    let expanded = secret.expand(&info, Length(N)).map_err(|_| CryptographyError)?;
    expanded.fill(&mut *bytes).map_err(|_| CryptographyError)?;
    Ok(bytes)
}

/// The first bytes of an HMAC over parts, each with its length.
fn mac<const N: usize>(key: &Key, parts: &[&[u8]]) -> [u8; N] {
    let mut mac = Context::with_key(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.sign().as_ref().first_chunk().copied().unwrap_or([0; N])
}

fn wrapping_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn random<const N: usize>() -> Result<[u8; N], CryptographyError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CryptographyError)?;
    Ok(bytes)
}

const SALT: &[u8] = b"portcullis memory v1";

/// Bytes of a cell's key.
pub(super) const KEY_LEN: usize = 32;

/// Bytes of the name of the store's key.
pub(super) const CHECK_LEN: usize = 16;

/// Bytes of a [`WrappedKey`].
pub const WRAPPED_LEN: usize = KEY_LEN + 16;

/// Bytes that encrypting adds.
pub(super) const SEALED_OVERHEAD: usize = NONCE_LEN + 16;

#[cfg(test)]
mod tests {
    use super::super::names::Scope;
    use super::*;

    fn cell(owner: u128) -> CellId {
        CellId { namespace: NamespaceId([3; 16]), scope: Scope::Subject, owner: Owner(owner) }
    }

    #[test]
    fn a_cell_opens_under_its_own_key_and_name_alone() {
        let store = StoreKeys::new(&SymmetricKey::from_bytes([1; 32])).unwrap();
        let other = StoreKeys::new(&SymmetricKey::from_bytes([2; 32])).unwrap();
        assert_ne!(store.check(), other.check());
        let key = CellKey::generate().unwrap();
        let wrapped = store.wrap(&cell(1), &key).unwrap();
        assert!(store.unwrap(&cell(1), &wrapped).unwrap() == key);
        assert!(
            store.unwrap(&cell(2), &wrapped).is_err() && other.unwrap(&cell(1), &wrapped).is_err()
        );
        let sealed = key.seal(&cell(1), Purpose::Row, b"a device").unwrap();
        assert_eq!(sealed.len(), 8 + SEALED_OVERHEAD);
        assert_eq!(&**key.open(&cell(1), Purpose::Row, &sealed).unwrap(), b"a device");
        assert!(key.open(&cell(1), Purpose::Changes, &sealed).is_err());
        assert!(key.open(&cell(2), Purpose::Row, &sealed).is_err());
        assert!(CellKey::generate().unwrap().open(&cell(1), Purpose::Row, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(&cell(1), Purpose::Row, &changed).is_err(), "{at}");
            assert!(key.open(&cell(1), Purpose::Row, &sealed[..at]).is_err(), "{at}");
        }
        assert_eq!(format!("{key:?}"), "[redacted]");
    }

    #[test]
    fn pseudonyms_differ_by_tenant_and_kind_and_stay() {
        let store = StoreKeys::new(&SymmetricKey::from_bytes([7; 32])).unwrap();
        assert_ne!(store.subject("a", "bc"), store.subject("ab", "c"));
        assert_ne!(store.subject("a", "b").0, store.shared(NamespaceId([b'a'; 16]), b"b").0);
        assert_ne!(store.member(&cell(1), b"k", b"m"), store.member(&cell(2), b"k", b"m"));
        // Files of earlier versions name their rows by it.
        assert_eq!(store.subject("default", "00u1").0, EXPECTED);
    }

    /// Python's `hmac` and `hashlib`: HKDF-SHA256 with salt `portcullis memory v1` and label
    /// `owners`, then HMAC-SHA256 over the parts `subject`, `default` and `00u1`, 16 bytes.
    const EXPECTED: u128 = 0x0cb6_6e0e_2cf2_7832_b4e7_1d02_2f83_f9d8;
}

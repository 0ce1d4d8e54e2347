//! Compact JWE (RFC 7516) with RSA-OAEP: what Entra encrypts a password with.
//!
//! Invariants: nothing of a plaintext is looked at before its tag is verified, in constant time; all failures are one error, so that
//! nobody learns from us at which step a forgery failed (RFC 7516, 11.5); what is inflated fits a buffer of fixed size. Buffers that held a
//! plaintext or a key are wiped. Whether the caller may be listened to at all is decided before.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm as Aead, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm as Cipher, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Algorithm as Mac, Context, HMAC_SHA256, HMAC_SHA512, Key as MacKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    PrivateDecryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use portcullis_model::Document;
use portcullis_model::json::Value;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

/// The keys that decrypt, the current and, while one rotates, others.
pub struct Decryptor(RwLock<Arc<[OaepPrivateDecryptingKey]>>);

/// Operator: a key file that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptorError {
    /// Not PEM, or nothing in it.
    #[error("it has no `PRIVATE KEY` in PEM form (PKCS#8)")]
    NoKey,
    /// Another kind of key, or too small.
    #[error("a key in it is not an RSA key of 2,048 to 8,192 bits")]
    NotRsa,
}

/// Caller: not encrypted for us, changed on the way, or of a form that is not taken. Which of these, nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be decrypted")]
pub struct Undecryptable;

impl Decryptor {
    /// Takes the keys of PEM texts; each has at least one.
    ///
    /// # Errors
    /// The first text that has none, or one of another kind.
    pub fn from_pem<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, DecryptorError> {
        let mut keys = Vec::new();
        for text in texts {
            let before = keys.len();
            for der in PrivatePkcs8KeyDer::pem_slice_iter(text.as_bytes()) {
                let der = der.map_err(|_| DecryptorError::NoKey)?;
                let key = PrivateDecryptingKey::from_pkcs8(der.secret_pkcs8_der())
                    .map_err(|_| DecryptorError::NotRsa)?;
                keys.push(OaepPrivateDecryptingKey::new(key).map_err(|_| DecryptorError::NotRsa)?);
            }
            if keys.len() == before {
                return Err(DecryptorError::NoKey);
            }
        }
        if keys.is_empty() {
            Err(DecryptorError::NoKey)
        } else {
            Ok(Self(RwLock::new(keys.into())))
        }
    }

    /// Takes the other's keys in the place of its own; what is being decrypted is, with those it began with.
    pub fn replace(&self, other: &Self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = other.keys();
    }

    fn keys(&self) -> Arc<[OaepPrivateDecryptingKey]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The plaintext of a compact JWE.
    ///
    /// # Errors
    /// [`Undecryptable`], whatever is wrong.
    pub fn decrypt(&self, compact: &str) -> Result<Zeroizing<Vec<u8>>, Undecryptable> {
        if compact.len() > MAX_BYTES {
            return Err(Undecryptable);
        }
        let parts: Vec<_> = compact.split('.').collect();
        let [header, key, iv, text, tag] = parts.as_slice() else { return Err(Undecryptable) };
        let protected = Header::read(header)?;
        let (key, iv, text, tag) = (decode(key)?, decode(iv)?, decode(text)?, decode(tag)?);
        let encrypted = Encrypted { aad: header.as_bytes(), iv: &iv, text: &text, tag: &tag };
        // The header's `x5t` names a certificate, and we have keys only: there are one or two, and one of them fits or none.
        let opened = self.keys().iter().find_map(|ours| {
            let secret = unwrap(ours, protected.wrapping, &key, protected.encryption.key_len());
            protected.encryption.open(&secret, &encrypted)
        });
        let opened = opened.ok_or(Undecryptable)?;
        if protected.deflated { inflate(&opened) } else { Ok(opened) }
    }
}

/// Nothing of the keys.
impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The protected header, as far as it is understood.
struct Header {
    wrapping: &'static OaepAlgorithm,
    encryption: Encryption,
    deflated: bool,
}

impl Header {
    fn read(encoded: &str) -> Result<Self, Undecryptable> {
        let document = Document::parse(&decode(encoded)?).map_err(|_| Undecryptable)?;
        let root = document.root();
        let word = |name: &str| root.get(name).and_then(Value::as_str);
        // What must be understood and is not: RFC 7516, 4.1.13.
        if !root.is_object() || root.get("crit").is_some() {
            return Err(Undecryptable);
        }
        let wrapping = match word("alg").as_deref() {
            Some("RSA-OAEP") => &OAEP_SHA1_MGF1SHA1,
            Some("RSA-OAEP-256") => &OAEP_SHA256_MGF1SHA256,
            _ => return Err(Undecryptable),
        };
        let encryption = match word("enc").as_deref() {
            Some("A128CBC-HS256") => Encryption::CbcHmac(&AES_128, HMAC_SHA256, 16),
            Some("A256CBC-HS512") => Encryption::CbcHmac(&AES_256, HMAC_SHA512, 32),
            Some("A128GCM") => Encryption::Gcm(&AES_128_GCM),
            Some("A256GCM") => Encryption::Gcm(&AES_256_GCM),
            _ => return Err(Undecryptable),
        };
        let deflated = match (root.get("zip"), word("zip").as_deref()) {
            (None, _) => false,
            (Some(_), Some("DEF")) => true,
            _ => return Err(Undecryptable),
        };
        Ok(Self { wrapping, encryption, deflated })
    }
}

/// How the content is encrypted (RFC 7518, 5).
#[derive(Clone, Copy)]
enum Encryption {
    /// AES in CBC mode, and an HMAC: cipher, HMAC, and the length of each half of the key and of the tag.
    CbcHmac(&'static Cipher, Mac, usize),
    /// AES in GCM mode.
    Gcm(&'static Aead),
}

/// A content as it came.
struct Encrypted<'a> {
    aad: &'a [u8],
    iv: &'a [u8],
    text: &'a [u8],
    tag: &'a [u8],
}

impl Encryption {
    fn key_len(self) -> usize {
        match self {
            Self::CbcHmac(_, _, half) => 2 * half,
            Self::Gcm(algorithm) => algorithm.key_len(),
        }
    }

    fn open(self, key: &[u8], encrypted: &Encrypted<'_>) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::CbcHmac(cipher, mac, half) => {
                // RFC 7518, 5.2.2.2: the tag first, over header, vector, text and the header's length in bits.
                let (mac_key, cipher_key) = key.split_at_checked(half)?;
                let iv: [u8; 16] = encrypted.iv.try_into().ok()?;
                let mut context = Context::with_key(&MacKey::new(mac, mac_key));
                for part in [encrypted.aad, encrypted.iv, encrypted.text] {
                    context.update(part);
                }
                context.update(&(encrypted.aad.len() as u64 * 8).to_be_bytes());
                let tag = context.sign();
                verify_slices_are_equal(tag.as_ref().get(..half)?, encrypted.tag).ok()?;
                let key = UnboundCipherKey::new(cipher, cipher_key).ok()?;
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
                let mut text = Zeroizing::new(encrypted.text.to_vec());
                let length = key
                    .decrypt(&mut text, DecryptionContext::Iv128(FixedLength::from(iv)))
                    .ok()?
                    .len();
                text.truncate(length);
                Some(text)
            }
            Self::Gcm(algorithm) => {
                let iv: [u8; NONCE_LEN] = encrypted.iv.try_into().ok()?;
                if encrypted.tag.len() != algorithm.tag_len() {
                    return None;
                }
                let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
                let mut text = Zeroizing::new([encrypted.text, encrypted.tag].concat());
                let nonce = Nonce::assume_unique_for_key(iv);
                let length =
                    key.open_in_place(nonce, Aad::from(encrypted.aad), &mut text).ok()?.len();
                text.truncate(length);
                Some(text)
            }
        }
    }
}

/// The content's key. One that cannot be had is replaced by a random one, with which the tag fails like any forgery's.
fn unwrap(
    ours: &OaepPrivateDecryptingKey,
    wrapping: &'static OaepAlgorithm,
    key: &[u8],
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let mut random = Zeroizing::new(vec![0; length]);
    // The operating system's generator does not fail once it is up; and a key of zeros would be no secret, but one that fits nothing.
    let usable = aws_lc_rs::rand::fill(&mut random).is_ok();
    let mut room = Zeroizing::new(vec![0; ours.min_output_size()]);
    match ours.decrypt(wrapping, key, &mut room, None) {
        Ok(secret) if secret.len() == length => Zeroizing::new(secret.to_vec()),
        _ if usable => random,
        _ => Zeroizing::new(Vec::new()),
    }
}

fn inflate(deflated: &[u8]) -> Result<Zeroizing<Vec<u8>>, Undecryptable> {
    let mut room = Zeroizing::new(vec![0; MAX_INFLATED_BYTES]);
    let whole = std::iter::once(deflated);
    let length =
        miniz_oxide::inflate::decompress_slice_iter_to_slice(&mut room, whole, false, true);
    room.truncate(length.map_err(|_| Undecryptable)?);
    Ok(room)
}

fn decode(part: &str) -> Result<Vec<u8>, Undecryptable> {
    BASE64URL.decode(part).map_err(|_| Undecryptable)
}

/// The longest compact form that is taken, bytes: 64 KiB. Entra's have about 2 KB.
pub const MAX_BYTES: usize = 64 << 10;

/// The longest plaintext after inflating, bytes: 16 KiB. Entra's have under 1 KB.
pub const MAX_INFLATED_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests;

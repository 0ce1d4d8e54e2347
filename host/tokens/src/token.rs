//! A token as it came: a JWS in compact form (RFC 7515 section 3.1) whose claims are JSON (RFC 7519).
//!
//! Invariant: nothing here is believed yet. Strict where leniency has been an attack before (RFC 8725): canonical base64url without
//! padding, JSON without duplicate members, `crit` refused, no key taken from the token itself, and bounded in length.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_model::json::Value;
use portcullis_model::{Document, Millis};

use crate::{Algorithm, AuthError, Key, KeySet};

/// A token, read and not yet believed. No `Debug`: it is a credential.
pub struct Token<'t> {
    /// What is signed: header and claims as they came.
    signed: &'t str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    /// `kid`; a token of an issuer with one key may have none (RFC 7515 section 4.1.4).
    key: Option<Box<str>>,
    claims: Document,
}

impl<'t> Token<'t> {
    /// The longest token, bytes: 16 KiB. Those of platforms have one to two thousand.
    pub const MAX_BYTES: usize = 16 << 10;

    /// Reads the value of an `Authorization: Bearer` header behind its scheme.
    pub fn parse(text: &'t str) -> Result<Self, AuthError> {
        if text.len() > Self::MAX_BYTES {
            return Err(AuthError::TokenTooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(AuthError::TokenMalformed)?;
        let (header, claims) = signed.split_once('.').ok_or(AuthError::TokenMalformed)?;
        let header = document(header)?;
        let (algorithm, key) = check_header(header.root())?;
        let claims = document(claims)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AuthError::TokenMalformed)?;
        Ok(Self { signed, signature, algorithm, key, claims })
    }

    /// A claim that is text.
    pub fn text(&self, claim: &str) -> Option<Cow<'_, str>> {
        self.claims.root().get(claim)?.as_str()
    }

    /// A claim that is a time: seconds since the epoch, perhaps with a fraction (`NumericDate`, RFC
    /// 7519 section 2), as milliseconds. `Err` where it is there and is none.
    pub fn time(&self, claim: &str) -> Result<Option<Millis>, AuthError> {
        let value = self.claims.root().get(claim);
        let time = |value: Value<'_>| value.as_epoch_millis().map(Millis);
        value.map(|value| time(value).ok_or(AuthError::TokenMalformed)).transpose()
    }

    /// Whether a claim that is text, or a list of texts, has this one.
    pub fn lists(&self, claim: &str, text: &str) -> bool {
        let Some(value) = self.claims.root().get(claim) else { return false };
        let same = |value: Value<'_>| value.as_str().is_some_and(|said| said == text);
        same(value) || value.elements().any(same)
    }

    /// Which of its issuer's keys it claims to be signed with, where it says so.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether the token's `kid` is that of a key of the set: only then does it say which key it
    /// means, and a signature that does not hold is nobody's but the caller's fault.
    pub fn names_key_of(&self, keys: &KeySet) -> bool {
        self.key.as_ref().is_some_and(|name| keys.named(name).next().is_some())
    }

    /// Whether the signature holds under the key of that `kid`. Where several have it, any of them.
    ///
    /// A token without `kid` names no key, and no token names a key without one. Then the key
    /// counts that the token's algorithm fits, where it is the only one: what a key may be used
    /// with is the key's own word, here as everywhere.
    pub fn verify(&self, keys: &KeySet) -> Result<(), AuthError> {
        if !self.names_key_of(keys) {
            let may_be_meant = |key: &&Key| self.key.is_none() || !key.is_named();
            let fits = |key: &&Key| key.serves(self.algorithm);
            let mut fitting = keys.all().filter(may_be_meant).filter(fits);
            let (Some(key), None) = (fitting.next(), fitting.next()) else {
                return Err(AuthError::TokenKey);
            };
            return key.verify(self.algorithm, self.signed.as_bytes(), &self.signature);
        }
        let mut verdict = Err(AuthError::TokenKey);
        for key in keys.named(self.key().unwrap_or_default()) {
            match key.verify(self.algorithm, self.signed.as_bytes(), &self.signature) {
                Ok(()) => return Ok(()),
                // A key that fits and refuses says more than one that does not fit.
                Err(AuthError::TokenAlgorithm) if verdict == Err(AuthError::TokenSignature) => {}
                Err(why) => verdict = Err(why),
            }
        }
        verdict
    }
}

/// A part that is a JSON object.
fn document(part: &str) -> Result<Document, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::TokenMalformed)?;
    let document = Document::parse(&bytes).map_err(|_| AuthError::TokenMalformed)?;
    if document.root().is_object() { Ok(document) } else { Err(AuthError::TokenMalformed) }
}

/// Algorithm and `kid`, where there is one. `jku`, `jwk`, `x5u` and `x5c` are not looked at: keys
/// come from the issuer alone.
fn check_header(header: Value<'_>) -> Result<(Algorithm, Option<Box<str>>), AuthError> {
    if header.get("crit").is_some() {
        return Err(AuthError::TokenType);
    }
    if let Some(sort) = header.get("typ") {
        let sort = sort.as_str().ok_or(AuthError::TokenMalformed)?;
        let bare =
            sort.get(..APPLICATION.len()).filter(|start| start.eq_ignore_ascii_case(APPLICATION));
        let bare = bare.and_then(|_| sort.get(APPLICATION.len()..)).unwrap_or(&sort);
        if !SORTS.iter().any(|known| bare.eq_ignore_ascii_case(known)) {
            return Err(AuthError::TokenType);
        }
    }
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(AuthError::TokenMalformed)?;
    let algorithm = Algorithm::from_name(&algorithm).ok_or(AuthError::TokenAlgorithm)?;
    let Some(key) = header.get("kid") else { return Ok((algorithm, None)) };
    let key = key.as_str().ok_or(AuthError::TokenKey)?;
    if key.len() > MAX_KEY_NAME_BYTES {
        return Err(AuthError::TokenMalformed);
    }
    Ok((algorithm, Some(key.into())))
}

/// RFC 7519 section 5.1 and RFC 9068 section 2.1; in any case, with or without [`APPLICATION`].
const SORTS: [&str; 2] = ["jwt", "at+jwt"];
/// A media type's first half, which `typ` should leave out and need not.
const APPLICATION: &str = "application/";
/// The longest `kid`; platforms' have 43 characters or fewer.
const MAX_KEY_NAME_BYTES: usize = 256;

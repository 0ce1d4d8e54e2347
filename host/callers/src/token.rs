//! A token as it came: a JWS in compact form (RFC 7515 section 3.1) whose claims are JSON (RFC 7519).
//!
//! Invariant: nothing here is believed yet. Strict where leniency has been an attack before (RFC 8725): canonical base64url without
//! padding, JSON without duplicate members, `crit` refused, no key taken from the token itself, and bounded in length.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_model::Document;
use portcullis_model::json::Value;

use crate::{Algorithm, KeySet, Unproven};

/// A token, read and not yet believed. No `Debug`: it is a credential.
pub struct Token<'t> {
    /// What is signed: header and claims as they came.
    signed: &'t str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    key: Box<str>,
    claims: Document,
}

impl<'t> Token<'t> {
    /// The longest token, bytes: 16 KiB. Those of platforms have one to two thousand.
    pub const LONGEST: usize = 16 << 10;

    /// Reads the value of an `Authorization: Bearer` header behind its scheme.
    pub fn parse(text: &'t str) -> Result<Self, Unproven> {
        if text.len() > Self::LONGEST {
            return Err(Unproven::TokenTooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Unproven::TokenMalformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Unproven::TokenMalformed)?;
        let header = document(header)?;
        let (algorithm, key) = check_header(header.root())?;
        let claims = document(claims)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Unproven::TokenMalformed)?;
        Ok(Self { signed, signature, algorithm, key, claims })
    }

    /// A claim that is text.
    pub fn text(&self, claim: &str) -> Option<Cow<'_, str>> {
        self.claims.root().get(claim)?.as_str()
    }

    /// A claim that is a time (`NumericDate`): whole seconds since the epoch. `Err` where it is there and is none.
    pub fn time(&self, claim: &str) -> Result<Option<u64>, Unproven> {
        let value = self.claims.root().get(claim);
        value.map(|value| value.as_u64().ok_or(Unproven::TokenMalformed)).transpose()
    }

    /// Whether a claim that is text, or a list of texts, has this one.
    pub fn lists(&self, claim: &str, text: &str) -> bool {
        let Some(value) = self.claims.root().get(claim) else { return false };
        let same = |value: Value<'_>| value.as_str().is_some_and(|said| said == text);
        same(value) || value.elements().any(same)
    }

    /// Which of its issuer's keys it claims to be signed with.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the signature holds under the key of that `kid`. Where several have it, any of them.
    pub fn verify(&self, keys: &KeySet) -> Result<(), Unproven> {
        let mut verdict = Err(Unproven::TokenKey);
        for key in keys.named(&self.key) {
            match key.verify(self.algorithm, self.signed.as_bytes(), &self.signature) {
                Ok(()) => return Ok(()),
                // A key that fits and refuses says more than one that does not fit.
                Err(Unproven::TokenAlgorithm) if verdict == Err(Unproven::TokenSignature) => {}
                Err(why) => verdict = Err(why),
            }
        }
        verdict
    }
}

/// A part that is a JSON object.
fn document(part: &str) -> Result<Document, Unproven> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Unproven::TokenMalformed)?;
    let document = Document::parse(&bytes).map_err(|_| Unproven::TokenMalformed)?;
    if document.root().is_object() { Ok(document) } else { Err(Unproven::TokenMalformed) }
}

/// Algorithm and `kid`. `jku`, `jwk`, `x5u` and `x5c` are not looked at: keys come from the issuer alone.
fn check_header(header: Value<'_>) -> Result<(Algorithm, Box<str>), Unproven> {
    if header.get("crit").is_some() {
        return Err(Unproven::TokenType);
    }
    if let Some(sort) = header.get("typ") {
        let sort = sort.as_str().ok_or(Unproven::TokenMalformed)?;
        let bare =
            sort.get(..APPLICATION.len()).filter(|start| start.eq_ignore_ascii_case(APPLICATION));
        let bare = bare.and_then(|_| sort.get(APPLICATION.len()..)).unwrap_or(&sort);
        if !SORTS.iter().any(|known| bare.eq_ignore_ascii_case(known)) {
            return Err(Unproven::TokenType);
        }
    }
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Unproven::TokenMalformed)?;
    let algorithm = Algorithm::from_name(&algorithm).ok_or(Unproven::TokenAlgorithm)?;
    let key = header.get("kid").and_then(Value::as_str).ok_or(Unproven::TokenKey)?;
    if key.len() > LONGEST_KEY_NAME {
        return Err(Unproven::TokenMalformed);
    }
    Ok((algorithm, key.into()))
}

/// RFC 7519 section 5.1 and RFC 9068 section 2.1; in any case, with or without [`APPLICATION`].
const SORTS: [&str; 2] = ["jwt", "at+jwt"];
/// A media type's first half, which `typ` should leave out and need not.
const APPLICATION: &str = "application/";
/// The longest `kid`; platforms' have 43 characters or fewer.
const LONGEST_KEY_NAME: usize = 256;

//! An issuer's public keys: a JWK Set (RFC 7517), each key prepared for the algorithms it may be
//! used with.
//!
//! Invariant: a key verifies only what its own `kty`, `crv`, `alg`, `use` and `key_ops` allow, never what a token would like. A key that is
//! not understood or too weak is left out (RFC 7517 section 5); a set without one usable key is refused whole, so that a broken answer
//! never replaces a good one.

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_model::Document;
use portcullis_model::json::Value;

use crate::{Algorithm, AuthError};

/// The keys of one issuer.
pub struct KeySet {
    keys: Vec<Key>,
}

/// One public key.
pub struct Key {
    /// `kid`, where the issuer gave one.
    name: Option<Box<str>>,
    /// Whose tokens it is for, where the set serves several issuers: Entra's `issuer` member, with `{tenantid}` for a tenant's id.
    issuer: Option<Box<str>>,
    uses: Vec<(Algorithm, ParsedPublicKey)>,
}

/// Why an issuer's document is of no use. Says nothing of what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON that means one thing.
    #[error("it is not JSON, or has a member twice")]
    NotJson,
    /// A member that is needed is missing or has the wrong type.
    #[error("its `{0}` is missing or invalid")]
    Member(&'static str),
    /// More keys than any issuer has.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// No key that could verify anything.
    #[error("it has no key that can be used to verify a signature")]
    NoKey,
    /// The document is another issuer's.
    #[error("it names another issuer")]
    OtherIssuer,
}

impl KeySet {
    /// Reads a JWK Set.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let document = Document::parse(bytes).map_err(|_| KeySetError::NotJson)?;
        let keys = document
            .root()
            .get("keys")
            .filter(|keys| keys.is_array())
            .ok_or(KeySetError::Member("keys"))?;
        if keys.elements().nth(MAX_KEYS).is_some() {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<_> = keys.elements().filter_map(Key::read).collect();
        if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(Self { keys }) }
    }

    /// Leaves out keys that are for another issuer's tokens. `tenant` stands for `{tenantid}` in what a key says.
    #[must_use]
    pub fn only_of(mut self, issuer: &str, tenant: &str) -> Self {
        let ours =
            |name: &str| name.replace("{tenantid}", tenant) == issuer.replace("{tenantid}", tenant);
        self.keys.retain(|key| key.issuer.as_deref().is_none_or(ours));
        self
    }

    /// The keys of that `kid`.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.name.as_deref() == Some(name))
    }

    /// Every key.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Key {
    /// Whether it has a `kid`.
    pub fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Whether it may be used with that algorithm.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.uses.iter().any(|(of, _)| *of == algorithm)
    }

    /// Whether a signature of that algorithm holds.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), AuthError> {
        let key = self.uses.iter().find(|(of, _)| *of == algorithm).map(|(_, key)| key);
        let key = key.ok_or(AuthError::TokenAlgorithm)?;
        key.verify_sig(message, signature).map_err(|_| AuthError::TokenSignature)
    }

    fn read(key: Value<'_>) -> Option<Self> {
        let text = |name: &str| key.get(name)?.as_str();
        // A member that is null says as much as one that is absent.
        let said = |name: &str| key.get(name).filter(|value| !value.is_null());
        if said("use").is_some_and(|used| used.as_str().as_deref() != Some("sig")) {
            return None;
        }
        let verifies = |operations: Value<'_>| {
            operations.elements().any(|it| it.as_str().as_deref() == Some("verify"))
        };
        if said("key_ops").is_some_and(|operations| !verifies(operations)) {
            return None;
        }
        // One that has no name is one all the same; one whose name is no text is not understood.
        let name = match said("kid") {
            None => None,
            Some(name) => Some(name.as_str()?.into()),
        };
        let uses = match &*text("kty")? {
            "RSA" => rsa(&bytes(key, "n")?, &bytes(key, "e")?),
            "EC" => {
                let (algorithm, verifier, length) = Algorithm::of_curve(&text("crv")?)?;
                let (x, y) = (bytes(key, "x")?, bytes(key, "y")?);
                let whole =
                    algorithm != Algorithm::Ed25519 && x.len() == length && y.len() == length;
                // Uncompressed, as SEC 1 section 2.3.3 writes it.
                let point = whole.then(|| [&[4][..], &x, &y].concat())?;
                vec![(algorithm, ParsedPublicKey::new(verifier, point).ok()?)]
            }
            "OKP" => {
                let (algorithm, verifier, length) = Algorithm::of_curve(&text("crv")?)?;
                let x = bytes(key, "x")
                    .filter(|x| algorithm == Algorithm::Ed25519 && x.len() == length)?;
                vec![(algorithm, ParsedPublicKey::new(verifier, x).ok()?)]
            }
            _ => return None,
        };
        // A key that names its algorithm serves no other.
        let only = match said("alg") {
            Some(named) => Some(Algorithm::from_name(&named.as_str()?)?),
            None => None,
        };
        let uses: Vec<_> =
            uses.into_iter().filter(|(of, _)| only.is_none_or(|only| only == *of)).collect();
        let issuer = text("issuer").map(|issuer| issuer.into());
        (!uses.is_empty()).then_some(Self { name, issuer, uses })
    }
}

/// What an RSA key can be used for: nothing, if it is weaker than 2,048 bits, larger than 8,192, or has an exponent that is none.
fn rsa(n: &[u8], e: &[u8]) -> Vec<(Algorithm, ParsedPublicKey)> {
    let exponent =
        (e.len() <= 4).then(|| e.iter().fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte)));
    let sound = (256..=1024).contains(&n.len())
        && n.first().is_some_and(|first| *first != 0)
        && (n.len() > 256 || n.first().is_some_and(|first| *first >= 0x80))
        && n.last().is_some_and(|last| last % 2 == 1)
        && exponent.is_some_and(|exponent| exponent >= 3 && exponent % 2 == 1);
    if !sound {
        return Vec::new();
    }
    let components = RsaPublicKeyComponents { n, e };
    let ready = |(algorithm, parameters)| {
        Some((algorithm, components.to_parsed_public_key(parameters).ok()?))
    };
    Algorithm::RSA.into_iter().filter_map(ready).collect()
}

fn bytes(key: Value<'_>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(&*key.get(name)?.as_str()?).ok()
}

/// The most keys of one issuer. Entra's common set has about ten.
const MAX_KEYS: usize = 100;

//! DSSE 1.0.2: signing bytes together with their type, and counting who signed.
//!
//! Invariant: the payload is decoded once, and [`Verified`] hands out the very bytes that the
//! signatures cover. Distinct public keys that verify count. A signature that does not
//! hold, or whose key id names another key than the one that made it, counts for nothing and harms
//! nothing: otherwise anybody who carries a document could have it refused without a key. It is
//! named where too few others are left. Stricter than the specification in two places, so that
//! changing a byte of what counts is found: unknown members are refused, and base64 is canonical
//! and in one alphabet throughout the envelope, the standard or the URL-safe one (RFC 4648, 4 and
//! 5; the latter with or without padding). So whatever is changed in a file is refused, or leaves
//! its decoded bytes and enough signatures as they were: where a file has a single letter that
//! tells the two alphabets apart, that letter has two spellings. The documents say who may sign.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use portcullis_keys::{PublicKey, SecretKey};
use portcullis_model::json;
use serde::Deserialize;

use crate::names::quoted;
use crate::refusal::{Refusal, RefusalCode};
use crate::strict_json;

/// A signed document whose signatures nobody has looked at yet.
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signature of an envelope.
pub struct Signature {
    /// Which key made it, as [`PublicKey::keyid`] names it. A hint; empty where the signer gave none.
    pub keyid: String,
    /// Ed25519 over [`pae`].
    pub bytes: [u8; 64],
}

/// What an envelope's signatures prove.
pub struct Verified<'e, 'k> {
    /// The bytes that were signed.
    pub payload: &'e [u8],
    /// The keys, of those given, that signed: each public key once, however often or under whatever name it
    /// signed.
    pub signers: Vec<&'k PublicKey>,
    /// How many signatures are by none of the keys given.
    pub unknown: usize,
    /// Signatures that count for nothing: they do not hold under the key that they name, or they
    /// name another key than the one that made them.
    pub rejected: Vec<Refusal>,
}

impl Envelope {
    /// Reads an envelope (DSSE `envelope.md`, *Standard JSON envelope*). No larger than [`Self::MAX_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what: String| {
            Refusal::new(RefusalCode::EnvelopeMalformed, format!("the envelope {what}"))
        };
        if bytes.len() > Self::MAX_BYTES {
            return Err(malformed(format!("is larger than {} bytes", Self::MAX_BYTES)));
        }
        let text: EnvelopeText = strict_json::json(bytes)
            .map_err(|what| malformed(format!("cannot be read: {what}")))?;
        if text.signatures.len() > Self::MAX_SIGNATURES {
            return Err(malformed(format!("has more than {} signatures", Self::MAX_SIGNATURES)));
        }
        let texts = || {
            let signatures = text.signatures.iter().map(|signature| signature.sig.as_str());
            std::iter::once(text.payload.as_str()).chain(signatures)
        };
        let has = |letters: [char; 2]| texts().any(|text| text.contains(letters));
        let (standard, url_safe) = (has(['+', '/']), has(['-', '_']));
        if standard && url_safe {
            return Err(malformed("mixes the two alphabets of base64".into()));
        }
        // Without a letter of its own an envelope is in both alphabets, and may leave out the
        // padding as one may.
        let decode = |field: &str, base64: &str| {
            let whole = base64.len().is_multiple_of(4);
            let decoded = match (standard, whole) {
                (true, _) => STANDARD.decode(base64),
                (false, true) => URL_SAFE.decode(base64),
                (false, false) => URL_SAFE_NO_PAD.decode(base64),
            };
            decoded.map_err(|_| {
                malformed(format!("has a `{field}` that is not canonical base64 (RFC 4648)"))
            })
        };
        let payload = decode("payload", &text.payload)?;
        let mut signatures = Vec::with_capacity(text.signatures.len());
        for signature in text.signatures {
            let bytes = decode("sig", &signature.sig)?;
            let bytes = bytes
                .try_into()
                .map_err(|_| malformed("has a signature that is not 64 bytes".into()))?;
            signatures.push(Signature { keyid: signature.keyid, bytes });
        }
        Ok(Self { payload_type: text.payload_type, payload, signatures })
    }

    /// Counts who, among `known`, signed this payload as this type.
    ///
    /// `known` are all keys that the caller has ever heard of, not only those that may sign this: so that a
    /// signature under a known name that does not hold is told from one by an unknown key.
    pub fn verify<'e, 'k>(
        &'e self,
        payload_type: &str,
        known: &'k [PublicKey],
    ) -> Result<Verified<'e, 'k>, Refusal> {
        self.expect_type(payload_type)?;
        if self.signatures.is_empty() {
            return Err(Refusal::new(RefusalCode::Unsigned, "the envelope has no signature"));
        }
        let message = pae(&self.payload_type, &self.payload);
        let mut verified = Verified {
            payload: &self.payload,
            signers: Vec::new(),
            unknown: 0,
            rejected: Vec::new(),
        };
        for signature in &self.signatures {
            match signature.maker(&message, known) {
                Ok(Some(key))
                    if verified.signers.iter().any(|counted| counted.bytes() == key.bytes()) => {}
                Ok(Some(key)) => verified.signers.push(key),
                Ok(None) => verified.unknown += 1,
                Err(refusal) => verified.rejected.push(refusal),
            }
        }
        Ok(verified)
    }

    /// Refuses an envelope that holds another type of document.
    pub(crate) fn expect_type(&self, payload_type: &str) -> Result<(), Refusal> {
        if self.payload_type == payload_type {
            return Ok(());
        }
        let sentence = format!(
            "the envelope holds {}, not {}",
            quoted(&self.payload_type),
            quoted(payload_type)
        );
        Err(Refusal::new(RefusalCode::WrongPayloadType, sentence))
    }

    /// The type that the envelope claims.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The payload, for showing it. To act on it, [`verify`](Self::verify).
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, for showing them.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature that was made elsewhere (a hardware token, another machine) over [`Self::message`].
    /// One that does not hold is refused; one that is there already is not added twice.
    pub fn add(&mut self, key: &PublicKey, bytes: [u8; 64]) -> Result<(), Refusal> {
        let keyid = key.keyid();
        if !key.verify_strict(&self.message(), &bytes) {
            return Err(bad_signature(&keyid));
        }
        let there = self
            .signatures
            .iter()
            .any(|signature| signature.keyid == keyid && signature.bytes == bytes);
        if !there {
            if self.signatures.len() >= Self::MAX_SIGNATURES {
                let sentence =
                    format!("the envelope has {} signatures already", Self::MAX_SIGNATURES);
                return Err(Refusal::new(RefusalCode::EnvelopeMalformed, sentence));
            }
            self.signatures.push(Signature { keyid, bytes });
        }
        Ok(())
    }

    /// What a signer signs: [`pae`] of this envelope's type and payload.
    pub fn message(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// The envelope as a file: compact JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = json::build_object(|envelope| {
            envelope
                .text("payload", &STANDARD.encode(&self.payload))
                .text("payloadType", &self.payload_type)
                .array("signatures", |list| {
                    for signature in &self.signatures {
                        list.object(|object| {
                            object.text("keyid", &signature.keyid);
                            object.text("sig", &STANDARD.encode(signature.bytes));
                        });
                    }
                });
        });
        text.into_bytes()
    }

    /// The largest envelope that is read: room for a settings schema and a message catalogue in many
    /// languages.
    pub const MAX_BYTES: usize = 2 << 20;

    /// The most signatures on one envelope, so that checking them all stays cheap.
    pub const MAX_SIGNATURES: usize = 16;
}

impl Signature {
    /// The known key that made this signature over `message`; `None` if it is a stranger's.
    fn maker<'k>(
        &self,
        message: &[u8],
        known: &'k [PublicKey],
    ) -> Result<Option<&'k PublicKey>, Refusal> {
        let made_it = |key: &&PublicKey| key.verify_strict(message, &self.bytes);
        let named = known.iter().find(|key| key.keyid() == self.keyid);
        if let Some(key) = named.filter(made_it) {
            return Ok(Some(key));
        }
        match (known.iter().find(made_it), named) {
            (Some(key), _) if !self.keyid.is_empty() => {
                let sentence = format!(
                    "a signature says that it is by {} and is by {}",
                    quoted(&self.keyid),
                    quoted(&key.keyid())
                );
                Err(Refusal::new(RefusalCode::KeyidMismatch, sentence))
            }
            (Some(key), _) => Ok(Some(key)),
            (None, Some(_)) => Err(bad_signature(&self.keyid)),
            (None, None) => Ok(None),
        }
    }
}

/// Puts a payload of this type into an envelope signed by these keys.
pub fn sign(payload_type: &str, payload: &[u8], keys: &[&SecretKey]) -> Vec<u8> {
    let message = pae(payload_type, payload);
    let sign =
        |key: &&SecretKey| Signature { keyid: key.public().keyid(), bytes: key.sign(&message) };
    let signatures = keys.iter().map(sign).collect();
    Envelope { payload_type: payload_type.to_owned(), payload: payload.to_vec(), signatures }
        .to_bytes()
}

/// Adds this key's signature to an envelope; the payload and the other signatures stay as they are.
pub fn add_signature(envelope: &[u8], key: &SecretKey) -> Result<Vec<u8>, Refusal> {
    let mut envelope = Envelope::parse(envelope)?;
    let bytes = key.sign(&envelope.message());
    envelope.add(key.public(), bytes)?;
    Ok(envelope.to_bytes())
}

/// The pre-authentication encoding: the bytes that DSSE signs (`protocol.md`, *Signature Definition*).
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

fn bad_signature(keyid: &str) -> Refusal {
    Refusal::new(
        RefusalCode::BadSignature,
        format!("the signature by {} does not hold for these bytes", quoted(keyid)),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EnvelopeText {
    payload: String,
    payload_type: String,
    signatures: Vec<SignatureText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureText {
    /// Optional in DSSE; unset is the same as empty.
    #[serde(default)]
    keyid: String,
    sig: String,
}

#[cfg(test)]
mod tests;

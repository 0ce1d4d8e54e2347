//! Documents that `portcullis` refuses to make: signed with the house's own keys, by another hand (DSSE
//! 1.0.2, Ed25519).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::House;

/// Payload type of a release set.
pub const RELEASE_SET: &str = "application/vnd.portcullis.release-set.v1+json";
/// Payload type of a manifest.
pub const MANIFEST: &str = "application/vnd.in-toto+json";

#[expect(clippy::unwrap_used, reason = "a house whose own files do not read is a failed test")]
impl House {
    /// The payload of the envelope in a file, to the byte.
    pub fn opened_text(&self, file: &str) -> String {
        let envelope: Value = serde_json::from_str(&self.read(file)).unwrap();
        String::from_utf8(BASE64.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
    }

    /// What the envelope in a file says.
    pub fn opened(&self, file: &str) -> Value {
        serde_json::from_str(&self.opened_text(file)).unwrap()
    }

    /// An envelope for any payload, signed with a key of the house (`release`, `publisher`, …).
    pub fn forge(&self, key: &str, payload_type: &str, payload: &str) -> String {
        let text = self.read(&format!("keys/{key}.key"));
        let mut parts = text.trim().strip_prefix("PRIVATE+KEY+").unwrap().splitn(3, '+');
        let (name, id, secret) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        // An algorithm byte, then the seed, as in Go's `note` package.
        let seed: [u8; 32] = BASE64.decode(secret).unwrap().get(1..).unwrap().try_into().unwrap();
        let message = format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len());
        let signature = SigningKey::from_bytes(&seed).sign(message.as_bytes());
        json!({
            "payload": BASE64.encode(payload), "payloadType": payload_type,
            "signatures": [{"keyid": format!("{name}+{id}"), "sig": BASE64.encode(signature.to_bytes())}],
        })
        .to_string()
    }
}

/// The envelope with its first signature changed by one letter.
#[expect(clippy::unwrap_used, reason = "an envelope that does not read is a failed test")]
pub fn wrongly_signed(envelope: &str) -> String {
    let mut envelope: Value = serde_json::from_str(envelope).unwrap();
    let signature = envelope["signatures"][0]["sig"].as_str().unwrap();
    let (first, rest) = signature.split_at(1);
    envelope["signatures"][0]["sig"] = json!(format!("{}{rest}", if first == "A" { "B" } else { "A" }));
    envelope.to_string()
}

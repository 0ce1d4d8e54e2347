//! Documents that `portcullis` refuses to make: signed with the deployment's own keys, by another
//! hand (DSSE 1.0.2, Ed25519).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::TestDeployment;

/// Payload type of a release set.
pub const RELEASE_SET: &str = "application/vnd.portcullis.release-set.v1+json";
/// Payload type of a trust root.
pub const TRUST_ROOT: &str = "application/vnd.portcullis.trust-root.v1+json";
/// Payload type of a manifest.
pub const MANIFEST: &str = "application/vnd.in-toto+json";

#[expect(clippy::unwrap_used, reason = "a deployment whose own files do not read is a failed test")]
impl TestDeployment {
    /// The payload of the envelope in a file, to the byte.
    pub fn opened_text(&self, file: &str) -> String {
        let envelope: Value = serde_json::from_str(&self.read(file)).unwrap();
        String::from_utf8(BASE64.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
    }

    /// What the envelope in a file says.
    pub fn opened(&self, file: &str) -> Value {
        serde_json::from_str(&self.opened_text(file)).unwrap()
    }

    /// An envelope for any payload, signed with a key of the deployment (`release`, `publisher`,
    /// …).
    pub fn forge(&self, key: &str, payload_type: &str, payload: &str) -> String {
        self.forge_by(&[key], payload_type, payload)
    }

    /// The same, signed with several keys.
    pub fn forge_by(&self, keys: &[&str], payload_type: &str, payload: &str) -> String {
        let message =
            format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len());
        let signatures: Vec<_> = keys
            .iter()
            .map(|key| {
                let (keyid, signature) = self.signature(key, message.as_bytes());
                json!({"keyid": keyid, "sig": BASE64.encode(signature)})
            })
            .collect();
        json!({"payload": BASE64.encode(payload), "payloadType": payload_type, "signatures": signatures}).to_string()
    }

    /// The id of a key of the deployment, and its signature over a message: as a token would make
    /// it.
    pub fn signature(&self, key: &str, message: &[u8]) -> (String, [u8; 64]) {
        let text = self.read(&format!("keys/{key}.key"));
        let mut parts = text.trim().strip_prefix("PRIVATE+KEY+").unwrap().splitn(3, '+');
        let (name, id, secret) =
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        // An algorithm byte, then the seed, as in Go's `note` package.
        let seed: [u8; 32] = BASE64.decode(secret).unwrap().get(1..).unwrap().try_into().unwrap();
        (format!("{name}+{id}"), SigningKey::from_bytes(&seed).sign(message).to_bytes())
    }
}

/// The envelope with its first signature changed by one letter.
#[expect(clippy::unwrap_used, reason = "an envelope that does not read is a failed test")]
pub fn wrongly_signed(envelope: &str) -> String {
    let mut envelope: Value = serde_json::from_str(envelope).unwrap();
    let signature = envelope["signatures"][0]["sig"].as_str().unwrap();
    let (first, rest) = signature.split_at(1);
    envelope["signatures"][0]["sig"] =
        json!(format!("{}{rest}", if first == "A" { "B" } else { "A" }));
    envelope.to_string()
}

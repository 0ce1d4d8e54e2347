//! The authentication of files in the host's own folder.
//!
//! Invariant: a file that this host has not written, or that was altered, is told from one of its
//! own; the key is derived from the host's sealing key (HKDF, RFC 5869). Keeps nothing secret.

use std::io;

use aws_lc_rs::{hkdf, hmac};
use portcullis_keys::SymmetricKey;
use portcullis_model::{parse_hex, push_hex};
use serde::Serialize;

/// Authenticates files of the host.
#[derive(Clone)]
pub struct StateMac(hmac::Key);

impl StateMac {
    /// Derives the key.
    pub fn new(sealing: &SymmetricKey) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(sealing.expose());
        Ok(Self(hmac::Key::from(extracted.expand(&[LABEL], hmac::HMAC_SHA256)?)))
    }

    /// Reads what was written by [`authenticate`](Self::authenticate); the error says what is wrong
    /// with it.
    pub fn verify<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let (body, tag) = text.trim_end_matches('\n').rsplit_once('\n').ok_or("it is truncated")?;
        let tag = tag
            .strip_prefix(TAG)
            .and_then(parse_hex::<32>)
            .ok_or("its last line is not an authentication tag")?;
        hmac::verify(&self.0, body.as_bytes(), &tag).map_err(|_| {
            "its authentication tag is not valid: the file was altered, or the sealing key was \
             changed"
        })?;
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    /// One line of JSON, and one that authenticates it.
    pub fn authenticate<T: Serialize>(&self, value: &T) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_string(value)?;
        let tag = hmac::sign(&self.0, text.as_bytes());
        text.push('\n');
        text.push_str(TAG);
        push_hex(&mut text, tag.as_ref());
        text.push('\n');
        Ok(text.into_bytes())
    }
}

const LABEL: &[u8] = b"portcullis memory of trust v1";

const TAG: &str = "hmac-sha256:";

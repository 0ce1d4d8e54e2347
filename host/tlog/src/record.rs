//! Records as they are read back: a leaf is one line of compact JSON, whose exact bytes are hashed.
//!
//! Invariant: a leaf begins `{"v":1,"seq":N,"t":"…","tenant":"…","at":N`. The caller
//! that appended it decides about its other members; they are not read here.

use portcullis_model::sha256;
use serde::Deserialize;

/// The type of the record that permits an earlier time than the record before it has.
pub const TIME_RESET: &str = "trust.time-reset";

/// The members that the log writes into every leaf, read back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Record {
    /// Version of the leaf's schema: 1.
    pub v: u64,
    /// Its place in the log.
    pub seq: u64,
    /// Its type.
    #[serde(rename = "t")]
    pub kind: String,
    /// The tenant that it belongs to.
    pub tenant: String,
    /// When it was given its place, in milliseconds since 1970 UTC; less than in the record before
    /// only in a record of the type [`TIME_RESET`].
    pub at: u64,
    /// Why the host's clock was not believed at that time. `None`: it was believed.
    #[serde(default)]
    pub time: Option<String>,
    /// The host's clock in that case, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub host_clock: Option<u64>,
    /// `sha256:` and the digest of the sealed part's bytes. `None`: it has no sealed part.
    #[serde(default)]
    pub sealed: Option<String>,
    /// The key that opens it.
    #[serde(default)]
    pub seal_key: Option<String>,
    /// The help-desk reference of a decision: eight characters of base32.
    #[serde(default)]
    pub help_desk_reference: Option<String>,
}

impl Record {
    /// Reads a leaf.
    ///
    /// # Errors
    /// It is no record, with the reason.
    pub fn parse(leaf: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(leaf).map_err(|error| error.to_string())?;
        if record.v == 1 { Ok(record) } else { Err(format!("its version is {}, not 1", record.v)) }
    }

    /// Returns whether `blob` is the sealed part that this leaf commits to.
    pub fn commits_to(&self, blob: &[u8]) -> bool {
        self.sealed.as_deref() == Some(&sha256(blob).to_string())
    }
}

//! The signature of one version of a reference table, whose rows change without a release.
//!
//! Invariant: it names one table and the digest of its bytes, so that it fits no other file, and
//! the time at which it was signed, which never goes back on a host: an older export stays an older
//! export. Whether a later version was used before is for the host, which remembers
//! ([`TrustHistory`](crate::TrustHistory)). The rows themselves are never read here.

use portcullis_keys::PublicKey;
use portcullis_model::{Digest, Millis};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document};
use crate::dsse::Envelope;
use crate::names::{is_word, quoted};
use crate::refusal::{Refusal, RefusalCode};
use crate::root::{Signers, TrustRoot};
use crate::time;
use crate::validity::CLOCK_TOLERANCE;

/// The statement that a file is a version of a reference table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableVersion {
    /// The name of the table, as a release set declares it.
    pub table: String,
    /// The digest of the file.
    pub version: Digest,
    /// The time at which it was signed. The age of the rows never counts from a later time.
    #[serde(with = "time::text")]
    pub issued: Millis,
}

/// A version that enough keys of the role `data` have signed.
#[derive(Clone, Debug)]
pub struct VerifiedTableVersion {
    /// The statement.
    pub signed: TableVersion,
    /// The keys that signed it.
    signers: Vec<PublicKey>,
    /// The number of them that is needed.
    threshold: usize,
}

impl TableVersion {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.table-version.v1+json";

    /// Returns the payload to sign.
    pub fn to_payload(&self) -> Result<Vec<u8>, Refusal> {
        document::to_payload(self)
    }

    /// Verifies the signature of a table's version.
    ///
    /// 1. The root has a role `data`. Whether the root has expired is not asked: rows must not
    ///    become stale because a ceremony is late.
    /// 2. Enough of that role's keys signed the document, and the root revokes none of these.
    /// 3. It says what its format needs.
    /// 4. It was not signed in the future (but for [`CLOCK_TOLERANCE`]), since a later version
    ///    could never follow it.
    /// 5. It is for this table.
    ///
    /// Whether the file has the digest is asked with [`TableVersion::check_file`], once the file
    /// was read.
    pub fn verify(
        root: &TrustRoot,
        envelope: &[u8],
        table: &str,
        now: Millis,
    ) -> Result<VerifiedTableVersion, Refusal> {
        let Some(role) = &root.data else {
            let sentence = format!("the trust root {} has no role `data`", root.version);
            return Err(Refusal::new(RefusalCode::DataUnavailable, sentence));
        };
        let parsed = Envelope::parse(envelope)?;
        let signers = root.signers(&parsed, Self::PAYLOAD_TYPE)?;
        role.demand(&signers, Self::NAME, "data")?;
        let ours = role.among(&signers.counted).into_iter().cloned().collect();
        let signed: Self = document::parse(parsed.unverified_payload())?;
        if now.0.saturating_add(CLOCK_TOLERANCE.0) < signed.issued.0 {
            let at = time::format(signed.issued);
            let sentence = format!("the signature of the table's version was made at {at}");
            return Err(Refusal::new(RefusalCode::NotYetValid, sentence));
        }
        if signed.table != table {
            let sentence = format!(
                "the signature is for the table {}, not for {}",
                quoted(&signed.table),
                quoted(table)
            );
            return Err(Refusal::new(RefusalCode::TableVersionMismatch, sentence));
        }
        Ok(VerifiedTableVersion { signed, signers: ours, threshold: role.threshold })
    }

    /// Refuses a file that has another digest than the one that was signed.
    pub fn check_file(&self, version: Digest) -> Result<(), Refusal> {
        if self.version == version {
            return Ok(());
        }
        let sentence = format!("the signature is for {}, and the file is {version}", self.version);
        Err(Refusal::new(RefusalCode::TableVersionMismatch, sentence))
    }

    /// Refuses a version that was signed before `newest`, the time of the newest one that was used.
    pub fn check_order(&self, newest: Millis) -> Result<(), Refusal> {
        if self.issued >= newest {
            return Ok(());
        }
        let sentence = format!(
            "the version was signed at {}, and one of {} was used here before",
            time::format(self.issued),
            time::format(newest)
        );
        Err(Refusal::new(RefusalCode::TableVersionOlder, sentence))
    }

    /// Reads one for showing it; to act on it, [`verify`](Self::verify).
    pub fn unverified(envelope: &[u8]) -> Result<Self, Refusal> {
        document::unverified(envelope)
    }
}

impl VerifiedTableVersion {
    /// Returns the ids of the keys that signed it.
    pub fn signers(&self) -> Vec<String> {
        self.signers.iter().map(PublicKey::keyid).collect()
    }

    /// Refuses it where a later trust root has revoked so many of its signers' keys that too few
    /// are left. What a later root merely leaves out does not touch what was accepted before.
    pub fn is_valid_under(&self, later: &TrustRoot) -> Result<(), Refusal> {
        let (revoked, counted): (Vec<_>, Vec<_>) =
            self.signers.iter().partition(|key| later.is_revoked(key));
        if revoked.is_empty() || counted.len() >= self.threshold {
            return Ok(());
        }
        Err(Signers { counted, revoked, rejected: None }.revoked(TableVersion::NAME))
    }
}

impl Document for TableVersion {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "the table's version";
    const MALFORMED: RefusalCode = RefusalCode::TableVersionMalformed;

    fn times(&mut self) -> Vec<&mut Millis> {
        vec![&mut self.issued]
    }

    fn check(&self) -> Result<(), String> {
        if is_word(&self.table) {
            return Ok(());
        }
        Err(format!("{} is not the name of a table", quoted(&self.table)))
    }
}

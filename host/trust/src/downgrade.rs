//! The downgrade: the release role's word that a host may go back to an older release set.
//!
//! Invariant: it names one set by digest and the highest version that the host may have seen, and it ends within a week, so it cannot
//! be kept for another day. It lifts the order of versions and serials, never a signed floor and never a revocation.

use portcullis_model::{Digest, Millis};
use serde::{Deserialize, Serialize};

use crate::dsse::Envelope;
use crate::names::is_remark;
use crate::refusal::{Refusal, RefusalCode};
use crate::root::TrustRoot;
use crate::{strict, time};

/// A downgrade that says what its format needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downgrade {
    /// The highest version that may have been active on the host.
    pub from: u64,
    /// The version that it may go back to.
    pub to: u64,
    /// The digest of that set's payload.
    pub set: Digest,
    /// Who asked for it.
    pub person: String,
    /// Why.
    pub reason: String,
    /// Under which ticket.
    pub ticket: String,
    /// When it was made.
    #[serde(with = "time::text")]
    pub issued: Millis,
    /// Until when it may be used; the set then stays in force as any other.
    #[serde(with = "time::text")]
    pub expires: Millis,
}

impl Downgrade {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.downgrade.v1+json";

    /// The payload to sign.
    pub fn to_payload(&self) -> Result<Vec<u8>, Refusal> {
        let whole = Self {
            issued: time::whole_second(self.issued),
            expires: time::whole_second(self.expires),
            ..self.clone()
        };
        let payload = serde_json::to_vec(&whole).map_err(|error| malformed(&error.to_string()))?;
        Self::parse(&payload)?;
        Ok(payload)
    }

    /// Verifies a downgrade.
    ///
    /// 1. The root's time is not over.
    /// 2. Enough of the root's release keys signed it.
    /// 3. It says what its format needs.
    /// 4. Its time has begun and is not over.
    ///
    /// Whether it is for this set and this host's past is for [`History`](crate::History).
    pub fn verify(root: &TrustRoot, envelope: &[u8], now: Millis) -> Result<Self, Refusal> {
        root.fresh(now)?;
        let envelope = Envelope::parse(envelope)?;
        let signers = root.signers(&envelope, Self::PAYLOAD_TYPE)?;
        root.release.demand(&signers, "the downgrade", "release")?;
        let downgrade = Self::parse(envelope.unverified_payload())?;
        crate::verify::within("the downgrade", downgrade.issued, downgrade.expires, now)?;
        Ok(downgrade)
    }

    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let downgrade: Self = strict::json(payload).map_err(|what| malformed(&what))?;
        let Self { from, to, issued, expires, .. } = &downgrade;
        if *to == 0 || to > from {
            return Err(malformed("`to` is 0, or above `from`"));
        }
        if issued >= expires || expires.0 - issued.0 > LONGEST.0 {
            return Err(malformed("it ends before it begins, or more than seven days after"));
        }
        for (name, text) in [
            ("person", &downgrade.person),
            ("reason", &downgrade.reason),
            ("ticket", &downgrade.ticket),
        ] {
            if !is_remark(text) {
                return Err(malformed(&format!("`{name}` is not one line of 1 to 200 characters")));
            }
        }
        Ok(downgrade)
    }
}

/// How long a downgrade may be used.
const LONGEST: Millis = Millis(7 * 24 * 60 * 60 * 1_000);

fn malformed(what: &str) -> Refusal {
    Refusal::new(RefusalCode::DowngradeMalformed, format!("the downgrade is malformed: {what}"))
}

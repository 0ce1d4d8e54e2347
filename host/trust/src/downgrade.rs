//! The downgrade: the release role's word that a host may go back to an older release set.
//!
//! Invariant: it names one set by digest and the highest version that the host may have seen, and it ends within a week, so it cannot
//! be kept for another day. It lifts the order of versions and serials, never a signed floor and never a revocation.

use portcullis_model::{Digest, Millis};
use serde::{Deserialize, Serialize};

use crate::document::{self, Document, check_remarks, check_validity};
use crate::refusal::{Refusal, RefusalCode};
use crate::root::TrustRoot;
use crate::time;

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
    /// Until when it may be used; the set then stays active as any other.
    #[serde(with = "time::text")]
    pub expires: Millis,
}

impl Downgrade {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.downgrade.v1+json";

    /// The payload to sign.
    pub fn to_payload(&self) -> Result<Vec<u8>, Refusal> {
        document::to_payload(self)
    }

    /// Verifies a downgrade.
    ///
    /// 1. The root's time is not over.
    /// 2. Enough of the root's release keys signed it.
    /// 3. It says what its format needs.
    /// 4. Its time has begun and is not over.
    ///
    /// Whether it is for this set and this host's past is for
    /// [`TrustHistory`](crate::TrustHistory).
    pub fn verify(root: &TrustRoot, envelope: &[u8], now: Millis) -> Result<Self, Refusal> {
        root.fresh(now)?;
        let downgrade: Self = document::signed(root, (&root.release, "release"), envelope)?;
        crate::validity::within(Self::NAME, downgrade.issued, downgrade.expires, now)?;
        Ok(downgrade)
    }
}

impl Document for Downgrade {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "the downgrade";
    const MALFORMED: RefusalCode = RefusalCode::DowngradeMalformed;

    fn times(&mut self) -> Vec<&mut Millis> {
        vec![&mut self.issued, &mut self.expires]
    }

    fn check(&self) -> Result<(), String> {
        let Self { from, to, person, reason, ticket, issued, expires, .. } = self;
        if *to == 0 || to > from {
            return Err("`to` is 0, or above `from`".to_owned());
        }
        check_validity((*issued, *expires), MAX_VALIDITY, "seven days")?;
        check_remarks(&[("person", person), ("reason", reason), ("ticket", ticket)])
    }
}

/// How long a downgrade may be used.
const MAX_VALIDITY: Millis = Millis(7 * 24 * 60 * 60 * 1_000);

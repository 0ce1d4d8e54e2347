//! The chain of trust roots: each is let in by the one before.
//!
//! Invariant: a root follows another only with the next number, signed by enough root keys of the one before *and* by enough of its
//! own (TUF 1.0.34, 5.3.5), and with all of that one's revocations. Whether a root has expired matters for the last one alone, so
//! a host that slept for years can still walk. Which roots a host has accepted is for `server`, which remembers.

use crate::dsse::Envelope;
use crate::names::quoted;
use crate::refusal::{Refusal, RefusalCode};
use crate::root::TrustRoot;

impl TrustRoot {
    /// Reads a trust root without asking who signed it: to tell which one a file claims to be. To use it, verify it.
    pub fn unverified(envelope: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(envelope)?;
        envelope.expect_type(Self::PAYLOAD_TYPE)?;
        Self::parse(envelope.unverified_payload())
    }

    /// Verifies the trust root that follows this one. Its expiry is not looked at.
    ///
    /// 1. The envelope holds a trust root that says what its format needs.
    /// 2. Its number is the next one.
    /// 3. Enough root keys of this root signed it,
    /// 4. and enough of its own.
    /// 5. It revokes everything that this root revokes.
    pub fn next(&self, envelope: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(envelope)?;
        envelope.expect_type(Self::PAYLOAD_TYPE)?;
        let next = Self::parse(envelope.unverified_payload())?;
        let what = format!("the trust root {}", next.version);
        if self.version.checked_add(1) != Some(next.version) {
            let sentence = format!(
                "{what} does not follow {}: each root follows the one before it",
                self.version
            );
            return Err(Refusal::new(RefusalCode::RootSkipped, sentence));
        }
        let before = self.signers(&envelope, Self::PAYLOAD_TYPE)?;
        if self.root.count(&before.counted) < self.root.threshold {
            before.unrejected()?;
            let sentence = format!(
                "{what} is signed by {} of the {} root keys that the root before it, {}, asks \
                 for",
                self.root.count(&before.counted),
                self.root.threshold,
                self.version
            );
            return Err(Refusal::new(RefusalCode::RootUnchained, sentence));
        }
        let own = next.signers(&envelope, Self::PAYLOAD_TYPE)?;
        // A key that this very root revokes signed for its predecessor; for itself it counts no more.
        next.root.demand(&own, &what, "root")?;
        self.keeps_revocations(&next)?;
        Ok(next)
    }

    fn keeps_revocations(&self, next: &Self) -> Result<(), Refusal> {
        let dropped = |what: String| {
            let sentence = format!(
                "the trust root {} no longer revokes {what}, but revocations are final",
                next.version
            );
            Err(Refusal::new(RefusalCode::RevocationDropped, sentence))
        };
        let kept = |key: &&portcullis_keys::PublicKey| next.is_revoked(key);
        if let Some(key) = self.revoked_keys.iter().find(|key| !kept(key)) {
            return dropped(format!("the key {}", quoted(&key.keyid())));
        }
        if next.revoked.includes(&self.revoked) {
            return Ok(());
        }
        dropped("a manifest that the root before it revokes".to_owned())
    }
}

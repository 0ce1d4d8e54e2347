//! Signed documents about the time: the time reset and the clock confirmation.
//!
//! Invariant: each is for one log, ends soon and works once. A time reset takes a host's trusted
//! time back after its records got a time of the future; since that lets documents hold again that
//! had expired, the role `root` signs it. A clock confirmation says only that a clock is right,
//! which a fresh release set says too, so the role `release` signs it. Neither asks whether the
//! trust root has expired: the time is what is in doubt. That each works once is for the host,
//! which remembers ([`TimeDocuments`]).

use portcullis_keys::PublicKey;
use portcullis_model::Millis;
use serde::{Deserialize, Serialize};

use crate::document::{self, Document, check_remarks, check_validity};
use crate::history::TimeDocuments;
use crate::refusal::{Refusal, RefusalCode};
use crate::root::TrustRoot;
use crate::time;

/// A document that takes the trusted time of one host back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeReset {
    /// The public key (vkey) of the log of the host that it is for.
    pub log: String,
    /// Above that of every reset that the host has used.
    pub serial: u64,
    /// The new trusted time: a time that has certainly passed.
    #[serde(with = "time::text")]
    pub floor: Millis,
    /// The person who asked for it.
    pub person: String,
    /// Why.
    pub reason: String,
    /// Under which ticket.
    pub ticket: String,
    /// When it was made.
    #[serde(with = "time::text")]
    pub issued: Millis,
    /// Until when it may be used, by the clock of the host.
    #[serde(with = "time::text")]
    pub expires: Millis,
}

/// A document that says that the clock of one host is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockConfirmation {
    /// The public key (vkey) of the log of the host that it is for.
    pub log: String,
    /// The person who asked for it.
    pub person: String,
    /// Why.
    pub reason: String,
    /// Under which ticket.
    pub ticket: String,
    /// When it was made: what it says of the time.
    #[serde(with = "time::text")]
    pub issued: Millis,
    /// Until when it may be used, by the clock that it confirms.
    #[serde(with = "time::text")]
    pub expires: Millis,
}

impl TimeReset {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.time-reset.v1+json";

    /// The longest time for which one may be used: seven days.
    pub const MAX_VALID: Millis = Millis(7 * 24 * 60 * 60 * 1_000);

    /// The payload to sign.
    pub fn to_payload(&self) -> Result<Vec<u8>, Refusal> {
        document::to_payload(self)
    }

    /// Verifies a time reset for the host with this log, which has used these documents before.
    ///
    /// 1. Enough keys of the role `root` signed it.
    /// 2. It says what its format needs.
    /// 3. It is for this log.
    /// 4. Its serial is above those that were used.
    /// 5. Its time has begun and is not over by the host's own clock, since trusted time is what is
    ///    wrong.
    pub fn verify(
        root: &TrustRoot,
        envelope: &[u8],
        log: &PublicKey,
        used: TimeDocuments,
        clock: Millis,
    ) -> Result<Self, Refusal> {
        let reset = Self::signed(root, envelope)?;
        is_for(&reset.log, log)?;
        if reset.serial <= used.reset {
            let sentence = format!(
                "the time reset has the serial {}, but this host has used {} already",
                reset.serial, used.reset
            );
            return Err(Refusal::new(RefusalCode::TimeDocumentUsed, sentence));
        }
        crate::validity::within(Self::NAME, reset.issued, reset.expires, clock)?;
        Ok(reset)
    }

    /// Verifies its signatures and its format: what whoever signs it can look at.
    pub fn signed(root: &TrustRoot, envelope: &[u8]) -> Result<Self, Refusal> {
        document::signed(root, (&root.root, "root"), envelope)
    }

    /// Reads one for showing it; to act on it, [`verify`](Self::verify).
    pub fn unverified(envelope: &[u8]) -> Result<Self, Refusal> {
        document::unverified(envelope)
    }
}

impl Document for TimeReset {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "the time reset";
    const MALFORMED: RefusalCode = RefusalCode::TimeDocumentMalformed;

    fn times(&mut self) -> Vec<&mut Millis> {
        vec![&mut self.floor, &mut self.issued, &mut self.expires]
    }

    fn check(&self) -> Result<(), String> {
        let Self { log, person, reason, ticket, issued, expires, .. } = self;
        if self.serial == 0 {
            return Err("`serial` is 0; the first is 1".to_owned());
        }
        if self.floor > self.issued {
            let what = "`floor` is later than `issued`: it must be a time that has passed";
            return Err(what.to_owned());
        }
        check_validity((*issued, *expires), Self::MAX_VALID, "seven days")?;
        check_log(log)?;
        check_remarks(&[("person", person), ("reason", reason), ("ticket", ticket)])
    }
}

impl ClockConfirmation {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portcullis.clock-confirmation.v1+json";

    /// The longest time for which one may be used: a day.
    pub const MAX_VALID: Millis = Millis(24 * 60 * 60 * 1_000);

    /// The payload to sign.
    pub fn to_payload(&self) -> Result<Vec<u8>, Refusal> {
        document::to_payload(self)
    }

    /// Verifies a clock confirmation for the host with this log, which has used these documents
    /// before.
    ///
    /// 1. Enough keys of the role `release` signed it.
    /// 2. It says what its format needs.
    /// 3. It is for this log.
    /// 4. It was made after the one that was used last.
    /// 5. Its time has begun and is not over by the host's clock, which it is to confirm.
    pub fn verify(
        root: &TrustRoot,
        envelope: &[u8],
        log: &PublicKey,
        used: TimeDocuments,
        clock: Millis,
    ) -> Result<Self, Refusal> {
        let confirmation = Self::signed(root, envelope)?;
        is_for(&confirmation.log, log)?;
        if confirmation.issued <= used.confirmed {
            let sentence = format!(
                "the clock confirmation was made at {}, but this host has used one of {}",
                time::format(confirmation.issued),
                time::format(used.confirmed)
            );
            return Err(Refusal::new(RefusalCode::TimeDocumentUsed, sentence));
        }
        let (issued, expires) = (confirmation.issued, confirmation.expires);
        crate::validity::within(Self::NAME, issued, expires, clock)?;
        Ok(confirmation)
    }

    /// Verifies its signatures and its format: what whoever signs it can look at.
    pub fn signed(root: &TrustRoot, envelope: &[u8]) -> Result<Self, Refusal> {
        document::signed(root, (&root.release, "release"), envelope)
    }
}

impl Document for ClockConfirmation {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "the clock confirmation";
    const MALFORMED: RefusalCode = RefusalCode::TimeDocumentMalformed;

    fn times(&mut self) -> Vec<&mut Millis> {
        vec![&mut self.issued, &mut self.expires]
    }

    fn check(&self) -> Result<(), String> {
        let Self { log, person, reason, ticket, issued, expires } = self;
        check_validity((*issued, *expires), Self::MAX_VALID, "a day")?;
        check_log(log)?;
        check_remarks(&[("person", person), ("reason", reason), ("ticket", ticket)])
    }
}

fn is_for(named: &str, log: &PublicKey) -> Result<(), Refusal> {
    // The whole key, not its id: an id is short enough to be made twice.
    let is_same = PublicKey::parse(named).is_ok_and(|key| key == *log && key.name() == log.name());
    if is_same {
        return Ok(());
    }
    let sentence = format!(
        "the document is for the log `{named}`, but this host's log is \
     `{log}`"
    );
    Err(Refusal::new(RefusalCode::TimeDocumentWrongTarget, sentence))
}

fn check_log(log: &str) -> Result<(), String> {
    let read = PublicKey::parse(log).map(drop);
    read.map_err(|_| "`log` is not a public key (vkey), such as `keys list` prints".to_owned())
}

#[cfg(test)]
mod tests {
    use portcullis_keys::SecretKey;

    use super::*;
    use crate::dsse::sign;

    const NOW: Millis = Millis(1_793_534_400_000);
    const DAY: u64 = 24 * 60 * 60 * 1_000;

    struct Keys {
        root: SecretKey,
        second: SecretKey,
        release: SecretKey,
        log: SecretKey,
    }

    fn key(name: &str, byte: u8) -> SecretKey {
        SecretKey::from_seed(name, &[byte; 32]).unwrap()
    }

    fn keys() -> Keys {
        let (root, second) = (key("example/root", 1), key("example/second", 2));
        Keys { root, second, release: key("example/release", 3), log: key("example/log", 4) }
    }

    /// A root that two root keys sign for; it has expired, as by a time of the future every root
    /// has.
    fn root(keys: &Keys) -> TrustRoot {
        let id = |key: &SecretKey| key.public().keyid();
        let publisher = key("example/publisher", 5);
        let text = serde_json::json!({
            "version": 1, "expires": "2026-01-01T00:00:00Z",
            "keys": [
                keys.root.public().to_string(), keys.second.public().to_string(),
                keys.release.public().to_string(), keys.log.public().to_string(),
                publisher.public().to_string(),
            ],
            "roles": {
                "root": {"keys": [id(&keys.root), id(&keys.second)], "threshold": 2},
                "release": {"keys": [id(&keys.release)], "threshold": 1},
                "log": {"keys": [id(&keys.log)]},
                "publishers": [{
                    "name": "p", "keys": [id(&publisher)], "threshold": 1,
                    "plugin_prefix": "org.a.", "hooks": ["okta.*"], "capabilities": [],
                }],
            },
        });
        TrustRoot::parse(text.to_string().as_bytes()).unwrap()
    }

    fn reset(keys: &Keys) -> TimeReset {
        let text = || "x".to_owned();
        TimeReset {
            log: keys.log.public().to_string(),
            serial: 3,
            floor: NOW,
            person: text(),
            reason: text(),
            ticket: text(),
            issued: NOW,
            expires: Millis(NOW.0 + DAY),
        }
    }

    fn confirmation(keys: &Keys) -> ClockConfirmation {
        let TimeReset { log, person, reason, ticket, issued, expires, .. } = reset(keys);
        ClockConfirmation { log, person, reason, ticket, issued, expires }
    }

    fn used(reset: u64, confirmed: u64) -> TimeDocuments {
        TimeDocuments { reset, confirmed: Millis(confirmed) }
    }

    #[test]
    fn a_time_reset_is_for_one_log_and_works_once() {
        let keys = keys();
        let root = root(&keys);
        let payload = reset(&keys).to_payload().unwrap();
        let both = sign(TimeReset::PAYLOAD_TYPE, &payload, &[&keys.root, &keys.second]);
        let verify = |envelope: &[u8], log: &SecretKey, last, clock| {
            TimeReset::verify(&root, envelope, log.public(), used(last, 0), Millis(clock))
                .map(|reset| reset.serial)
                .map_err(|refusal| refusal.code())
        };
        assert_eq!(verify(&both, &keys.log, 2, NOW.0), Ok(3));
        assert_eq!(verify(&both, &keys.log, 3, NOW.0), Err("time-document-already-used"));
        assert_eq!(verify(&both, &keys.log, 2, NOW.0 + DAY), Err("expired"));
        assert_eq!(verify(&both, &keys.log, 2, NOW.0 - DAY), Err("not-yet-valid"));
        let wrong = "time-document-wrong-target";
        assert_eq!(verify(&both, &key("example/log", 9), 2, NOW.0), Err(wrong), "the name alone");
        assert_eq!(verify(&both, &key("example/other", 4), 2, NOW.0), Err(wrong));
        let one = sign(TimeReset::PAYLOAD_TYPE, &payload, &[&keys.root]);
        assert_eq!(verify(&one, &keys.log, 2, NOW.0), Err("below-threshold"));
        let other = sign(TimeReset::PAYLOAD_TYPE, &payload, &[&keys.release]);
        assert_eq!(verify(&other, &keys.log, 2, NOW.0), Err("unknown-signer"));
        let typed = sign(ClockConfirmation::PAYLOAD_TYPE, &payload, &[&keys.root, &keys.second]);
        assert_eq!(verify(&typed, &keys.log, 2, NOW.0), Err("wrong-payload-type"));
    }

    #[test]
    fn a_confirmation_is_the_release_roles_and_works_once() {
        let keys = keys();
        let root = root(&keys);
        let payload = confirmation(&keys).to_payload().unwrap();
        let signed = sign(ClockConfirmation::PAYLOAD_TYPE, &payload, &[&keys.release]);
        let verify = |envelope: &[u8], confirmed, clock| {
            let (log, used) = (keys.log.public(), used(7, confirmed));
            ClockConfirmation::verify(&root, envelope, log, used, Millis(clock))
                .map(drop)
                .map_err(|refusal| refusal.code())
        };
        assert_eq!(verify(&signed, 0, NOW.0), Ok(()));
        assert_eq!(verify(&signed, NOW.0, NOW.0), Err("time-document-already-used"));
        assert_eq!(verify(&signed, 0, NOW.0 + DAY), Err("expired"));
        assert_eq!(verify(&signed, 0, NOW.0 - DAY), Err("not-yet-valid"));
        let root_only =
            sign(ClockConfirmation::PAYLOAD_TYPE, &payload, &[&keys.root, &keys.second]);
        assert_eq!(verify(&root_only, 0, NOW.0), Err("unknown-signer"));
    }

    #[test]
    fn what_makes_no_sense_is_not_signed() {
        let keys = keys();
        let good = || reset(&keys);
        for wrong in [
            TimeReset { serial: 0, ..good() },
            TimeReset { floor: Millis(NOW.0 + 1_000), ..good() },
            TimeReset { expires: NOW, ..good() },
            TimeReset { expires: Millis(NOW.0 + 8 * DAY), ..good() },
            TimeReset { log: "log".to_owned(), ..good() },
            TimeReset { reason: "two\nlines".to_owned(), ..good() },
        ] {
            assert!(wrong.to_payload().is_err(), "{wrong:?}");
        }
        let long = ClockConfirmation { expires: Millis(NOW.0 + 2 * DAY), ..confirmation(&keys) };
        assert!(long.to_payload().is_err());
    }
}

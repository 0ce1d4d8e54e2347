//! The features of a session that its events told, kept until the session's tokens are requested.
//!
//! Okta's token and SAML hooks have the address and the session, and no user agent, device or
//! network; the event of the same session has them, seconds earlier or later. This is the join.
//!
//! Invariant: a session's memory is a function of the set of its events: of each value the
//! greatest, or that of the latest event, is kept.

use crate::attempt::{Attempt, Known, PlatformRisk};
use crate::features::Features;
use crate::history::{Reader, encode_features};
use crate::world::{Scope, World};

/// The memory of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// The latest event and its features.
    latest: (u32, Features),
    /// The latest success of a second factor, in seconds; 0 where there is none.
    second_factor: u32,
    platform_risk: PlatformRisk,
    is_proxy: bool,
    /// The device is a shared one.
    is_shared_device: bool,
}

impl Session {
    /// The memory of an attempt's session.
    pub(crate) fn recall(attempt: &Attempt, world: &dyn World) -> Option<Self> {
        let key = key(attempt.session?);
        Self::decode(&world.recall(Scope::Subject, &key)?)
    }

    /// Adds an event to its session's memory, with the tables' knowledge of its origin;
    /// `is_second_factor`: a second factor succeeded.
    pub(crate) fn add(attempt: &Attempt, known: &Known, is_second_factor: bool, world: &dyn World) {
        let Some(id) = attempt.session else { return };
        let mut session = Self::recall(attempt, world).unwrap_or_default();
        session.latest = session.latest.max((attempt.seconds, attempt.features));
        if is_second_factor {
            session.second_factor = session.second_factor.max(attempt.seconds);
        }
        session.platform_risk = session.platform_risk.max(attempt.platform_risk);
        session.is_proxy |= attempt.is_proxy;
        session.is_shared_device |= known.is_shared_device;
        world.remember(Scope::Subject, &key(id), &session.encode(), KEPT_SECONDS);
    }

    /// Adds to an attempt what the session's events know and it does not. Features of another
    /// address are not the attempt's: a stolen session cookie is used from elsewhere.
    pub(crate) fn complete(&self, attempt: &mut Attempt, second_factor_seconds: u32) {
        let (_, features) = &self.latest;
        if attempt.features.address == features.address || attempt.features.address == 0 {
            attempt.features = attempt.features.filled_from(features);
            attempt.is_proxy |= self.is_proxy;
            attempt.is_shared_device |= self.is_shared_device;
            let since = attempt.seconds.abs_diff(self.second_factor);
            attempt.has_second_factor |= since <= second_factor_seconds;
        }
        attempt.platform_risk = attempt.platform_risk.max(self.platform_risk);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.latest.0.to_be_bytes());
        bytes.extend(self.second_factor.to_be_bytes());
        bytes.push(self.platform_risk as u8);
        bytes.push(u8::from(self.is_proxy) | u8::from(self.is_shared_device) << 1);
        encode_features(&self.latest.1, &mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        (reader.u8()? == VERSION).then_some(())?;
        let (at, second_factor) = (reader.u32()?, reader.u32()?);
        let platform_risk = PlatformRisk::from_number(reader.u8()?);
        let flags = reader.u8()?;
        let features = reader.features()?;
        let session = Self {
            latest: (at, features),
            second_factor,
            platform_risk,
            is_proxy: flags & 1 != 0,
            is_shared_device: flags & 2 != 0,
        };
        reader.0.is_empty().then_some(session)
    }
}

fn key(session: u64) -> String {
    format!("session/{session:016x}")
}

/// The version of the stored form.
const VERSION: u8 = 1;

/// For how long a session's events are kept: a day, as Okta's sessions live at most by default 2
/// hours of idle time, and a nurse's day is shorter than this.
const KEPT_SECONDS: u32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_session_completes_only_what_comes_from_its_address() {
        let features = Features { address: 7, ..Features::default() }.with_agent("Firefox/133.0");
        let session = Session {
            latest: (100, features),
            second_factor: 150,
            platform_risk: PlatformRisk::High,
            is_proxy: true,
            is_shared_device: true,
        };
        let attempt = |address| Attempt {
            seconds: 200,
            features: Features { address, ..Features::default() },
            ..Attempt::default()
        };
        let mut same = attempt(7);
        session.complete(&mut same, 60);
        assert_eq!((same.features, same.has_second_factor), (features, true));
        assert!(same.is_shared_device);
        let mut later = attempt(7);
        session.complete(&mut later, 49);
        assert!(!later.has_second_factor);
        let mut stolen = attempt(8);
        session.complete(&mut stolen, 60);
        assert_eq!((stolen.features.agent, stolen.has_second_factor), (0, false));
        assert!(!stolen.is_shared_device);
        assert_eq!(stolen.platform_risk, PlatformRisk::High, "the session's risk stays");
    }

    proptest! {
        #[test]
        fn what_is_stored_reads_back(at in any::<u32>(), second in any::<u32>(), risk in 0..3_u8, (proxy, shared) in any::<(bool, bool)>(), address in any::<u32>()) {
            let session = Session {
                latest: (at, Features { address, ..Features::default() }),
                second_factor: second,
                platform_risk: PlatformRisk::from_number(risk),
                is_proxy: proxy,
                is_shared_device: shared,
            };
            prop_assert_eq!(Session::decode(&session.encode()), Some(session));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            Session::decode(&bytes);
        }
    }
}

//! Things that end: the trust root, the release set, its manifests and the TLS certificate, and
//! when that is spoken of.
//!
//! Invariant: one list for `check`, `/ready`, `/status` and the host's log, so that all of them
//! warn from the same moment. Nothing here stops anything, and every time is handed in.

use std::collections::BTreeSet;

use portcullis_model::Millis;
use portcullis_trust::{TrustRoot, time};

use crate::bindings::generation::{Bindings, Generation};

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiration {
    /// The thing.
    pub subject: Subject,
    /// The same with its number or name, for a sentence: `the release set 7`.
    pub name: String,
    /// When it ends, milliseconds since 1970.
    pub ends: Millis,
}

/// The kind of thing that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The newest trust root.
    TrustRoot,
    /// The active release set.
    Release,
    /// A manifest of it.
    Manifest,
    /// The host's own TLS certificate.
    Certificate,
}

impl Subject {
    /// Returns whether the host is still ready once this has ended.
    pub fn may_end_in(self, admin: &crate::config::AdminConfig) -> bool {
        admin.ready_when_expired.unwrap_or(self != Self::Certificate)
    }
}

/// How near an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// More than [`EXPIRES_SOON_MS`] away.
    Far,
    /// At most [`EXPIRES_SOON_MS`] away.
    Soon,
    /// It is over.
    Expired,
}

/// Remembers what was said today, so that everything is said once a day.
#[derive(Debug, Default)]
pub struct Reminders {
    day: u64,
    reported: BTreeSet<(String, Urgency)>,
}

/// Returns everything that ends.
pub fn expirations(
    root: &TrustRoot,
    generation: Option<&Generation>,
    certificate: Option<Millis>,
) -> Vec<Expiration> {
    let ending = |subject, name: String, ends| Expiration { subject, name, ends };
    let mut expirations =
        vec![ending(Subject::TrustRoot, format!("the trust root {}", root.version), root.expires)];
    if let Some(generation) = generation {
        let name = format!("the release set {}", generation.number);
        expirations.push(ending(Subject::Release, name, generation.expires));
        for binding in generation.hooks.iter().flat_map(Bindings::with_candidates) {
            let manifest = binding.manifest();
            let name = format!("the manifest of {} {}", manifest.id, manifest.version);
            let of_manifest = ending(Subject::Manifest, name, manifest.expires);
            if !expirations.contains(&of_manifest) {
                expirations.push(of_manifest);
            }
        }
    }
    let own = "the TLS certificate".to_owned();
    expirations.extend(certificate.map(|ends| ending(Subject::Certificate, own, ends)));
    expirations
}

impl Expiration {
    /// Returns how near the end is.
    pub fn urgency(&self, now: Millis) -> Urgency {
        if now >= self.ends {
            Urgency::Expired
        } else if now.0 >= self.ends.0.saturating_sub(EXPIRES_SOON_MS) {
            Urgency::Soon
        } else {
            Urgency::Far
        }
    }

    /// Returns the stable code of its end, or of its nearing.
    pub fn code(&self, urgency: Urgency) -> &'static str {
        let over = urgency == Urgency::Expired;
        match (self.subject, over) {
            (Subject::TrustRoot, true) => "trust-root-expired",
            (Subject::TrustRoot, false) => "trust-root-expires",
            (Subject::Release, true) => "release-expired",
            (Subject::Release, false) => "release-expires",
            (Subject::Manifest, true) => "manifest-expired",
            (Subject::Manifest, false) => "manifest-expires",
            (Subject::Certificate, true) => "certificate-expired",
            (Subject::Certificate, false) => "certificate-expires",
        }
    }

    /// Returns what ends and when, in a sentence.
    pub fn sentence(&self, urgency: Urgency) -> String {
        let verb = if urgency == Urgency::Expired { "ended" } else { "ends" };
        format!("{} {verb} at {}", self.name, time::format(self.ends))
    }

    /// Returns what to do.
    pub fn hint(&self) -> &'static str {
        match self.subject {
            Subject::TrustRoot => "sign the next trust root and put it into trust.roots",
            Subject::Release => "sign a new release set",
            Subject::Manifest => {
                "ask the plugin's publisher to sign the manifest again, then sign a release set \
                 with it"
            }
            Subject::Certificate => "renew the certificate and replace its file",
        }
    }
}

impl Reminders {
    /// Returns what is to be said now: what has ended or ends soon, each once a day, and at once
    /// when it gets nearer.
    pub fn due(&mut self, expirations: Vec<Expiration>, now: Millis) -> Vec<(Expiration, Urgency)> {
        let day = now.0 / DAY_MS;
        if self.day != day {
            self.day = day;
            self.reported.clear();
        }
        let near = expirations.into_iter().map(|ending| {
            let urgency = ending.urgency(now);
            (ending, urgency)
        });
        near.filter(|(ending, urgency)| {
            *urgency != Urgency::Far && self.reported.insert((ending.name.clone(), *urgency))
        })
        .collect()
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// How long before its end something is spoken of: 7 days.
pub const EXPIRES_SOON_MS: u64 = 7 * DAY_MS;

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_793_534_400_000;

    fn release(number: u64, ends: u64) -> Expiration {
        let name = format!("the release set {number}");
        Expiration { subject: Subject::Release, name, ends: Millis(ends) }
    }

    #[test]
    fn an_end_is_spoken_of_from_seven_days_before() {
        let ending = release(7, NOON);
        for (now, urgency, code) in [
            (NOON - EXPIRES_SOON_MS - 1, Urgency::Far, "release-expires"),
            (NOON - EXPIRES_SOON_MS, Urgency::Soon, "release-expires"),
            (NOON - 1, Urgency::Soon, "release-expires"),
            (NOON, Urgency::Expired, "release-expired"),
            (NOON + 9 * EXPIRES_SOON_MS, Urgency::Expired, "release-expired"),
        ] {
            assert_eq!(ending.urgency(Millis(now)), urgency, "{now}");
            assert_eq!(ending.code(urgency), code);
        }
        assert_eq!(
            ending.sentence(Urgency::Soon),
            "the release set 7 ends at 2026-11-01T12:00:00Z"
        );
        assert!(ending.sentence(Urgency::Expired).contains(" ended at "));
    }

    #[test]
    fn everything_is_said_once_a_day_and_at_once_when_it_is_over() {
        let mut reminders = Reminders::default();
        let all = || vec![release(7, NOON), release(8, NOON + 30 * DAY_MS)];
        let mut due = |now: u64| {
            let said = reminders.due(all(), Millis(now));
            said.into_iter().map(|(_, urgency)| urgency).collect::<Vec<_>>()
        };
        assert_eq!(due(NOON - 8 * DAY_MS), []);
        assert_eq!(due(NOON - 7 * DAY_MS), [Urgency::Soon], "the other one ends much later");
        assert_eq!(due(NOON - 7 * DAY_MS + 1_000), []);
        assert_eq!(due(NOON - 6 * DAY_MS), [Urgency::Soon]);
        assert_eq!(due(NOON - 1), [Urgency::Soon]);
        assert_eq!(due(NOON), [Urgency::Expired], "on the same day");
        assert_eq!(due(NOON + 1_000), []);
        assert_eq!(due(NOON + DAY_MS), [Urgency::Expired]);
    }
}

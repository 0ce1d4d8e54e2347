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
pub struct Ending {
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
    /// The release set in force.
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
pub enum Nearness {
    /// More than [`SOON_MS`] away.
    Far,
    /// At most [`SOON_MS`] away.
    Soon,
    /// It is over.
    Over,
}

/// Remembers what was said today, so that everything is said once a day.
#[derive(Debug, Default)]
pub struct Reminders {
    day: u64,
    said: BTreeSet<(String, Nearness)>,
}

/// Returns everything that ends.
pub fn endings(
    root: &TrustRoot,
    generation: Option<&Generation>,
    certificate: Option<Millis>,
) -> Vec<Ending> {
    let ending = |subject, name: String, ends| Ending { subject, name, ends };
    let mut endings =
        vec![ending(Subject::TrustRoot, format!("the trust root {}", root.version), root.expires)];
    if let Some(generation) = generation {
        let name = format!("the release set {}", generation.number);
        endings.push(ending(Subject::Release, name, generation.expires));
        for binding in generation.hooks.iter().flat_map(Bindings::with_candidates) {
            let manifest = binding.manifest();
            let name = format!("the manifest of {} {}", manifest.id, manifest.version);
            let of_manifest = ending(Subject::Manifest, name, manifest.expires);
            if !endings.contains(&of_manifest) {
                endings.push(of_manifest);
            }
        }
    }
    let own = "the TLS certificate".to_owned();
    endings.extend(certificate.map(|ends| ending(Subject::Certificate, own, ends)));
    endings
}

impl Ending {
    /// Returns how near the end is.
    pub fn nearness(&self, now: Millis) -> Nearness {
        if now >= self.ends {
            Nearness::Over
        } else if now.0 >= self.ends.0.saturating_sub(SOON_MS) {
            Nearness::Soon
        } else {
            Nearness::Far
        }
    }

    /// Returns the stable code of its end, or of its nearing.
    pub fn code(&self, nearness: Nearness) -> &'static str {
        let over = nearness == Nearness::Over;
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
    pub fn sentence(&self, nearness: Nearness) -> String {
        let verb = if nearness == Nearness::Over { "ended" } else { "ends" };
        format!("{} {verb} at {}", self.name, time::format(self.ends))
    }

    /// Returns what to do.
    pub fn hint(&self) -> &'static str {
        match self.subject {
            Subject::TrustRoot => "sign the next trust root and put it into trust.roots",
            Subject::Release => "sign a new release set",
            Subject::Manifest => {
                "have the plugin's publisher sign it anew, and sign a release set with it"
            }
            Subject::Certificate => "renew it and put it in the old one's place",
        }
    }
}

impl Reminders {
    /// Returns what is to be said now: what has ended or ends soon, each once a day, and at once
    /// when it gets nearer.
    pub fn due(&mut self, endings: Vec<Ending>, now: Millis) -> Vec<(Ending, Nearness)> {
        let day = now.0 / DAY_MS;
        if self.day != day {
            self.day = day;
            self.said.clear();
        }
        let near = endings.into_iter().map(|ending| {
            let nearness = ending.nearness(now);
            (ending, nearness)
        });
        near.filter(|(ending, nearness)| {
            *nearness != Nearness::Far && self.said.insert((ending.name.clone(), *nearness))
        })
        .collect()
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// How long before its end something is spoken of: 7 days.
pub const SOON_MS: u64 = 7 * DAY_MS;

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_793_534_400_000;

    fn release(number: u64, ends: u64) -> Ending {
        let name = format!("the release set {number}");
        Ending { subject: Subject::Release, name, ends: Millis(ends) }
    }

    #[test]
    fn an_end_is_spoken_of_from_seven_days_before() {
        let ending = release(7, NOON);
        for (now, nearness, code) in [
            (NOON - SOON_MS - 1, Nearness::Far, "release-expires"),
            (NOON - SOON_MS, Nearness::Soon, "release-expires"),
            (NOON - 1, Nearness::Soon, "release-expires"),
            (NOON, Nearness::Over, "release-expired"),
            (NOON + 9 * SOON_MS, Nearness::Over, "release-expired"),
        ] {
            assert_eq!(ending.nearness(Millis(now)), nearness, "{now}");
            assert_eq!(ending.code(nearness), code);
        }
        assert_eq!(
            ending.sentence(Nearness::Soon),
            "the release set 7 ends at 2026-11-01T12:00:00Z"
        );
        assert!(ending.sentence(Nearness::Over).contains(" ended at "));
    }

    #[test]
    fn everything_is_said_once_a_day_and_at_once_when_it_is_over() {
        let mut reminders = Reminders::default();
        let all = || vec![release(7, NOON), release(8, NOON + 30 * DAY_MS)];
        let mut due = |now: u64| {
            let said = reminders.due(all(), Millis(now));
            said.into_iter().map(|(_, nearness)| nearness).collect::<Vec<_>>()
        };
        assert_eq!(due(NOON - 8 * DAY_MS), []);
        assert_eq!(due(NOON - 7 * DAY_MS), [Nearness::Soon], "the other one ends much later");
        assert_eq!(due(NOON - 7 * DAY_MS + 1_000), []);
        assert_eq!(due(NOON - 6 * DAY_MS), [Nearness::Soon]);
        assert_eq!(due(NOON - 1), [Nearness::Soon]);
        assert_eq!(due(NOON), [Nearness::Over], "on the same day");
        assert_eq!(due(NOON + 1_000), []);
        assert_eq!(due(NOON + DAY_MS), [Nearness::Over]);
    }
}

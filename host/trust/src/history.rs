//! What a host remembers of trust, and what of a release set that decides.
//!
//! Invariant: a history only grows: [`TrustHistory::merge`] of two is what both know, whichever is
//! older, so that a record, a file and a second copy can each be brought back without anything
//! being forgotten or believed twice. Nothing here is a secret; that it was not altered is for
//! whoever keeps it.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::{Digest, Millis};
use serde::{Deserialize, Serialize};

use crate::break_glass::BreakGlass;
use crate::downgrade::Downgrade;
use crate::names::quoted;
use crate::refusal::{Refusal, RefusalCode};
use crate::release::ReleaseSet;
use crate::revoked::RevokedPlugins;
use crate::time;

/// Everything that must not be forgotten. Also its pieces, as records carry them: what is empty says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustHistory {
    /// The newest trust root that was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<RootMark>,
    /// The highest version of a release set that was active.
    #[serde(skip_serializing_if = "is_zero")]
    pub highest: u64,
    /// The set that was active last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Active>,
    /// The release sets that became active last, the oldest first: what a way back goes by. Never
    /// part of a record, whose `active` says as much.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub activations: Vec<Active>,
    /// The highest serial of each plugin that was active.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub serials: BTreeMap<String, u64>,
    /// The floors that active sets have signed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(rename = "floors")]
    pub min_serials: BTreeMap<String, u64>,
    /// What must never run again.
    #[serde(skip_serializing_if = "RevokedPlugins::is_empty")]
    pub revoked: RevokedPlugins,
    /// Break-glass documents that were opened, by id, and until when they could have been.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(rename = "spent")]
    pub used_documents: BTreeMap<String, Millis>,
    /// Candidates of a release set that were stopped: digests of which one in which set. A later set begins anew.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub stopped: BTreeSet<Digest>,
    /// The times at which the newest used versions of signed reference tables were signed, by the
    /// table's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, Millis>,
    /// The signed documents about the time that were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeDocuments>,
}

/// The signed documents about the time that a host has used: none works twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeDocuments {
    /// The serial of the last time reset. What was confirmed before it counts no more.
    pub reset: u64,
    /// When the newest clock confirmation since then was made.
    pub confirmed: Millis,
}

/// A trust root, by number and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootMark {
    /// Its number.
    pub version: u64,
    /// The digest of its payload.
    pub digest: Digest,
}

/// A release set that was activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Active {
    /// Its version.
    pub version: u64,
    /// The digest of its payload.
    pub set: Digest,
    /// The trust root under which it was let in.
    pub root: u64,
    /// When: what it is held against when it starts again.
    pub since: Millis,
    /// The serial of the last time reset before that: moments compare only under the same one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resets: u64,
}

/// How a release set may become active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// It is newer than all before.
    New,
    /// It is the one that was active last: it was verified then, and is held against that moment.
    Restart(Active),
    /// It is older, and the release role has said that it may.
    Downgrade(Digest),
}

impl TrustHistory {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Learns what `other` knows. Says whether anything was new.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.root = self.root.max(other.root);
        self.highest = self.highest.max(other.highest);
        if let Some(theirs) = other.active
            && self
                .active
                .is_none_or(|ours| (ours.resets, ours.since) < (theirs.resets, theirs.since))
        {
            self.active = Some(theirs);
        }
        self.activations.extend(other.activations.iter().chain(&other.active));
        self.activations.sort_by_key(|it| (it.resets, it.since, it.version, it.set, it.root));
        self.activations.dedup();
        let surplus = self.activations.len().saturating_sub(MAX_ACTIVATIONS);
        drop(self.activations.drain(..surplus));
        raise(&mut self.serials, &other.serials);
        raise(&mut self.min_serials, &other.min_serials);
        self.revoked.merge(&other.revoked);
        for (id, until) in &other.used_documents {
            self.used_documents.insert(id.clone(), *until);
        }
        self.stopped.extend(&other.stopped);
        for (table, issued) in &other.tables {
            let ours = self.tables.entry(table.clone()).or_default();
            *ours = (*ours).max(*issued);
        }
        self.time = self.time.max(other.time);
        *self != before
    }

    /// What of `self` is not known to `other`: nothing, where `other` is as new.
    pub fn minus(&self, other: &Self) -> bool {
        other.clone().merge(self)
    }

    /// The serial of the last time reset; 0 where there was none.
    pub fn resets(&self) -> u64 {
        self.time.map_or(0, |time| time.reset)
    }

    /// Returns the set that a way back from the active one leads to: the one that was active before
    /// it. A set that was left by going back is passed over, so that going back twice never returns
    /// to it.
    pub fn before_active(&self) -> Option<Active> {
        let mut line: Vec<Active> = Vec::new();
        for activation in &self.activations {
            // Going back to a version leaves all above it.
            while line.last().is_some_and(|last| last.version >= activation.version) {
                line.pop();
            }
            line.push(*activation);
        }
        let active = line.pop()?;
        line.pop().filter(|_| self.active.is_none_or(|it| it.set == active.set))
    }

    /// Whether a release set may become active.
    ///
    /// 1. The one that was active last may, until its grace is over: nothing else is asked of it here.
    /// 2. Nothing in it is revoked.
    /// 3. It is newer than all that were active, or a downgrade is for it: made for this very set, by somebody who knew of the highest
    ///    version that was active here.
    /// 4. No plugin has a lower serial than was active here (but by a downgrade) or than an active set's floor.
    pub fn admit(
        &self,
        set: &ReleaseSet,
        digest: Digest,
        downgrade: Option<(&Downgrade, Digest)>,
        now: Millis,
    ) -> Result<Activation, Refusal> {
        if let Some(active) = self.active.filter(|active| active.set == digest) {
            if now < set.grace {
                return Ok(Activation::Restart(active));
            }
            let sentence = format!(
                "the release set {} has expired, and its grace ended at {}",
                set.version,
                time::format(set.grace)
            );
            return Err(Refusal::new(RefusalCode::GraceOver, sentence));
        }
        set.unrevoked(&self.revoked)?;
        let passage = self.order(set, digest, downgrade)?;
        let no_floor = BTreeMap::new();
        let active = if passage == Activation::New { &self.serials } else { &no_floor };
        for (id, entry) in set.entries() {
            let least = active.get(id).max(self.min_serials.get(id)).copied().unwrap_or(0);
            if entry.serial < least {
                let sentence = format!(
                    "{} has the serial {}, which is below the minimum of {least}",
                    quoted(id),
                    entry.serial
                );
                return Err(Refusal::new(RefusalCode::SerialOlder, sentence));
            }
        }
        Ok(passage)
    }

    fn order(
        &self,
        set: &ReleaseSet,
        digest: Digest,
        downgrade: Option<(&Downgrade, Digest)>,
    ) -> Result<Activation, Refusal> {
        if set.version > self.highest {
            return Ok(Activation::New);
        }
        let Some((downgrade, document)) = downgrade else {
            let sentence = format!(
                "the release set has version {}, and {} was active here",
                set.version, self.highest
            );
            return Err(Refusal::new(RefusalCode::ReleaseOlder, sentence));
        };
        if downgrade.set == digest && downgrade.to == set.version && downgrade.from >= self.highest
        {
            return Ok(Activation::Downgrade(document));
        }
        let Downgrade { from, to, .. } = downgrade;
        let sentence = format!(
            "the downgrade is from {from} to {to} ({}), the set is {} ({digest}) and {} was active here",
            downgrade.set, set.version, self.highest
        );
        Err(Refusal::new(RefusalCode::DowngradeMismatch, sentence))
    }

    /// What is remembered of a set that becomes active. Candidates are not: the way back from one
    /// must stay open until it is live.
    pub fn of(set: &ReleaseSet, active: Active) -> Self {
        Self {
            highest: set.version,
            active: Some(active),
            serials: set.plugins.iter().map(|(id, entry)| (id.clone(), entry.serial)).collect(),
            min_serials: set.min_serial.clone(),
            ..Self::default()
        }
    }

    /// Refuses a break-glass document that was opened before.
    pub fn check_unused(&self, document: &BreakGlass) -> Result<(), Refusal> {
        if !self.used_documents.contains_key(&document.id) {
            return Ok(());
        }
        let sentence = format!("the break-glass document {} was opened before", document.id);
        Err(Refusal::new(RefusalCode::BreakGlassSpent, sentence))
    }
}

/// Each floor at least as high as in both.
fn raise(ours: &mut BTreeMap<String, u64>, theirs: &BTreeMap<String, u64>) {
    for (id, serial) in theirs {
        let ours = ours.entry(id.clone()).or_default();
        *ours = (*ours).max(*serial);
    }
}

/// The activations that are remembered.
const MAX_ACTIVATIONS: usize = 32;

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(version: u64, serial: u64) -> ReleaseSet {
        let text = format!(
            r#"{{"version":{version},"issued":"2026-11-01T12:00:00Z","expires":"2026-11-08T12:00:00Z","grace":"2026-11-15T12:00:00Z","root_version":1,"plugins":{{"org.a":{{"version":"1.0.0","serial":{serial},"manifest":"{}"}}}},"bindings":[]}}"#,
            Digest([u8::try_from(serial).unwrap(); 32])
        );
        ReleaseSet::parse(text.as_bytes()).unwrap()
    }

    const NOW: Millis = Millis(1_793_534_400_000);
    const SINCE: Millis = Millis(1_793_534_300_000);

    fn active(history: &mut TrustHistory, version: u64, serial: u64, digest: u8) {
        let active = Active {
            version,
            set: Digest([digest; 32]),
            root: 1,
            since: Millis(SINCE.0 + version),
            resets: 0,
        };
        history.merge(&TrustHistory::of(&set(version, serial), active));
    }

    fn downgrade(from: u64, to: u64, digest: u8) -> Downgrade {
        let text = || "x".to_owned();
        let set = Digest([digest; 32]);
        Downgrade {
            from,
            to,
            set,
            person: text(),
            reason: text(),
            ticket: text(),
            issued: SINCE,
            expires: NOW,
        }
    }

    #[test]
    fn versions_and_serials_only_grow_but_by_a_downgrade() {
        let mut history = TrustHistory::default();
        active(&mut history, 410, 6, 10);
        active(&mut history, 412, 7, 12);
        let admit =
            |history: &TrustHistory, set: &ReleaseSet, digest: u8, document: Option<&Downgrade>| {
                let document = document.map(|document| (document, Digest([99; 32])));
                history
                    .admit(set, Digest([digest; 32]), document, NOW)
                    .map_err(|refusal| refusal.code())
            };
        assert_eq!(admit(&history, &set(413, 7), 13, None), Ok(Activation::New));
        assert!(matches!(admit(&history, &set(412, 7), 12, None), Ok(Activation::Restart(_))));
        assert_eq!(admit(&history, &set(413, 6), 13, None), Err("serial-older"));
        for (version, digest) in [(410, 10), (412, 13), (1, 1)] {
            assert_eq!(admit(&history, &set(version, 7), digest, None), Err("release-older"));
        }
        let back = downgrade(412, 410, 10);
        assert_eq!(
            admit(&history, &set(410, 6), 10, Some(&back)),
            Ok(Activation::Downgrade(Digest([99; 32])))
        );
        assert_eq!(
            admit(&history, &set(410, 6), 11, Some(&back)),
            Err("downgrade-mismatch"),
            "another set"
        );
        assert_eq!(admit(&history, &set(409, 6), 10, Some(&back)), Err("downgrade-mismatch"));
        // Once a later set was active the same paper is worth nothing.
        active(&mut history, 413, 7, 13);
        assert_eq!(admit(&history, &set(410, 6), 10, Some(&back)), Err("downgrade-mismatch"));
        // A signed floor holds for a downgrade too, and so does a revocation.
        history.min_serials.insert("org.a".to_owned(), 7);
        let back = downgrade(413, 410, 10);
        assert_eq!(admit(&history, &set(410, 6), 10, Some(&back)), Err("serial-older"));
        history.revoked.manifests.insert(Digest([7; 32]));
        assert_eq!(admit(&history, &set(410, 7), 10, Some(&back)), Err("revoked-manifest"));
        assert_eq!(admit(&history, &set(414, 7), 14, None), Err("revoked-manifest"));
    }

    #[test]
    fn what_was_active_may_start_again_until_its_grace_ends() {
        let mut history = TrustHistory::default();
        active(&mut history, 412, 7, 12);
        let digest = Digest([12; 32]);
        let set = set(412, 7);
        let again = |now| history.admit(&set, digest, None, now).map_err(|refusal| refusal.code());
        assert!(matches!(again(set.expires), Ok(Activation::Restart(_))));
        assert!(matches!(again(Millis(set.grace.0 - 1)), Ok(Activation::Restart(_))));
        assert_eq!(again(set.grace), Err("grace-over"));
    }

    #[test]
    fn the_way_back_never_leads_to_a_set_that_was_left() {
        let mut history = TrustHistory::default();
        let mut now = SINCE.0;
        let mut activate = |version: u64| {
            now += 1;
            let digest = Digest([u8::try_from(version).unwrap(); 32]);
            let (root, since) = (1, Millis(now));
            let active = Active { version, set: digest, root, since, resets: 0 };
            history.merge(&TrustHistory::of(&set(version, 1), active));
            history.before_active().map(|active| active.version)
        };
        assert_eq!(activate(1), None);
        assert_eq!(activate(2), Some(1));
        assert_eq!(activate(1), None, "2 was left");
        assert_eq!(activate(3), Some(1), "not 2, which was left");
        assert_eq!(activate(4), Some(3));
        assert_eq!(activate(2), Some(1), "3 and 4 were left for 2");
        for version in 5..60 {
            activate(version);
        }
        assert_eq!(activate(60), Some(59));
        assert_eq!(history.activations.len(), MAX_ACTIVATIONS);
        // A restart of the active set is no further activation.
        let last = history.activations.last().copied().unwrap();
        assert!(!history.merge(&TrustHistory { active: Some(last), ..TrustHistory::default() }));
    }

    #[test]
    fn pieces_say_only_what_they_know() {
        let mut history = TrustHistory::default();
        assert_eq!(serde_json::to_string(&history).unwrap(), "{}");
        active(&mut history, 3, 1, 3);
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<TrustHistory>(&text).unwrap(), history);
        assert!(serde_json::from_str::<TrustHistory>(r#"{"more":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn joining_forgets_nothing_in_any_order(
            pieces in prop::collection::vec((1..50u64, 1..9u64, 1..200u8, 0..5usize), 0..12),
            seed in any::<u64>(),
        ) {
            let piece = |(version, serial, digest, what): (u64, u64, u8, usize)| {
                let mut piece = TrustHistory::default();
                match what {
                    0 => active(&mut piece, version, serial, u8::try_from(version).unwrap()),
                    1 => drop(piece.revoked.manifests.insert(Digest([digest; 32]))),
                    2 => drop(piece.stopped.insert(Digest([digest; 32]))),
                    3 => drop(piece.tables.insert("roster".to_owned(), Millis(version))),
                    _ => drop(piece.min_serials.insert("org.a".to_owned(), serial)),
                }
                piece
            };
            let pieces: Vec<_> = pieces.into_iter().map(piece).collect();
            let all = |order: &[usize]| {
                let mut whole = TrustHistory::default();
                for at in order {
                    whole.merge(&pieces[*at]);
                }
                whole
            };
            let forward: Vec<_> = (0..pieces.len()).collect();
            let mut other = forward.clone();
            if !other.is_empty() {
                let turn = usize::try_from(seed % other.len() as u64).unwrap();
                other.rotate_left(turn);
                other.reverse();
            }
            let whole = all(&forward);
            prop_assert_eq!(&whole, &all(&other));
            for piece in &pieces {
                prop_assert!(!piece.minus(&whole));
            }
        }
    }
}

//! The plugin's memory of one person: the last sign-ins, the hours of all, the last denied
//! pushes.
//!
//! Invariants:
//! - The memory is a function of the set of sign-ins and denials that were added, whatever their
//!   order, as long as nothing is added twice. Event logs deliver late and out of order.
//! - It never encodes to more than `MAX_BYTES` (`encoding.rs`).
//! - "The last place" is that of the latest sign-in, so a late event does not move it backwards.
//!
//! It keeps the latest sign-ins: at most [`MAX_SIGN_INS`], with at most [`MAX_TUPLES`] different
//! features. The first sign-in that has no room marks the horizon: it and everything older is
//! forgotten, and stays so. Two sign-ins with the same features in the same second are one.
//!
//! It does not decide which sign-ins are worth remembering (`judge.rs`), and it
//! does not know event ids (`events.rs`).

mod encoding;

use std::collections::BTreeSet;

use crate::features::{Features, Place};

pub(crate) use encoding::{DecodeError, Reader, encode_features};

/// The most sign-ins of a person that are kept. Okta's behaviour detection evaluates 20 by default
/// and 100 at most (`maxEventsUsedForEvaluation`).
pub(crate) const MAX_SIGN_INS: usize = 36;

/// The most different features among them: a person's places and devices.
pub(crate) const MAX_TUPLES: usize = 15;

/// The most denied pushes of a person whose times are kept: the latest.
pub(crate) const MAX_DENIALS: usize = 8;

/// The most bytes of an encoded history.
#[cfg(test)]
pub(crate) const MAX_BYTES: usize = 700;

/// The memory of one person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The earliest sign-in that was ever added, seconds since the Unix epoch; 0 where there is
    /// none.
    first_seen: u32,
    /// The number of sign-ins that were ever added, up to 65,535.
    total: u16,
    /// Sign-ins of this second and before are forgotten; 0 where none is.
    horizon: u32,
    /// Local hour of the day to sign-ins of that hour, up to 255.
    hours: [u8; 24],
    /// Seconds since the Unix epoch, ascending.
    denials: Vec<u32>,
    sign_ins: BTreeSet<(u32, Features)>,
}

/// The number of denials and the time that make a burst, and the time for which it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    /// At least 1.
    pub count: usize,
    pub within_seconds: u32,
    pub remembered_seconds: u32,
}

impl History {
    /// Adds a sign-in at a time in seconds, in this local hour.
    pub(crate) fn add_sign_in(&mut self, seconds: u32, hour: usize, features: Features) {
        self.total = self.total.saturating_add(1);
        if self.first_seen == 0 || seconds < self.first_seen {
            self.first_seen = seconds;
        }
        if let Some(count) = self.hours.get_mut(hour) {
            *count = count.saturating_add(1);
        }
        if seconds <= self.horizon {
            return;
        }
        self.sign_ins.insert((seconds, features));
        while self.sign_ins.len() > MAX_SIGN_INS || self.tuples().len() > MAX_TUPLES {
            let Some((oldest, _)) = self.sign_ins.first().copied() else { return };
            self.horizon = oldest;
            self.sign_ins.retain(|(seconds, _)| *seconds > oldest);
        }
    }

    /// Adds a denied push.
    pub(crate) fn add_denial(&mut self, seconds: u32) {
        let place = self.denials.partition_point(|earlier| *earlier <= seconds);
        self.denials.insert(place, seconds);
        if self.denials.len() > MAX_DENIALS {
            self.denials.remove(0);
        }
    }

    /// The number of sign-ins that were ever added, up to 65,535.
    pub(crate) fn total(&self) -> u16 {
        self.total
    }

    /// The earliest sign-in that was ever added, in seconds.
    pub(crate) fn first_seen(&self) -> Option<u32> {
        (self.total > 0).then_some(self.first_seen)
    }

    /// The latest sign-in that is kept, in seconds.
    pub(crate) fn last_seen(&self) -> Option<u32> {
        self.sign_ins.last().map(|(seconds, _)| *seconds)
    }

    /// Local hour of the day to sign-ins of that hour.
    pub(crate) fn hours(&self) -> &[u8; 24] {
        &self.hours
    }

    /// The kept sign-ins that followed no burst of denied pushes, oldest first. A sign-in after
    /// such a burst may be the one that the attacker got through.
    pub(crate) fn sign_ins(&self, burst: Burst) -> impl Iterator<Item = (u32, &Features)> {
        let ends = self.bursts(burst);
        self.sign_ins.iter().map(|(seconds, features)| (*seconds, features)).filter(
            move |(seconds, _)| {
                !ends.iter().any(|end| {
                    seconds >= end && seconds.saturating_sub(*end) <= burst.remembered_seconds
                })
            },
        )
    }

    /// Returns whether a sign-in like this was added within the last `seconds` before (or after)
    /// `at`.
    pub(crate) fn has_recent(&self, features: &Features, at: u32, seconds: u32) -> bool {
        self.sign_ins.iter().any(|(time, known)| known == features && time.abs_diff(at) <= seconds)
    }

    /// Returns whether a kept sign-in within `seconds` of `at` came from the same address and, as
    /// far as both sides know it, the same device: two events of one sign-in do not always have the
    /// same features.
    pub(crate) fn has_like(&self, features: &Features, at: u32, seconds: u32) -> bool {
        let is_like = |known: &Features| {
            known.address == features.address
                && (known.family == features.family || known.family == 0 || features.family == 0)
        };
        self.sign_ins.iter().any(|(time, known)| time.abs_diff(at) <= seconds && is_like(known))
    }

    /// Returns whether the sign-ins of this second are no longer kept.
    pub(crate) fn is_forgotten(&self, at: u32) -> bool {
        self.horizon > 0 && at <= self.horizon
    }

    /// Returns whether a push was denied in this second, or the kept denials are all later.
    pub(crate) fn has_denial(&self, at: u32) -> bool {
        let is_full = self.denials.len() >= MAX_DENIALS;
        self.denials.contains(&at) || (is_full && self.denials.first().is_some_and(|it| at < *it))
    }

    /// Returns whether a kept sign-in came from this address.
    pub(crate) fn has_address(&self, address: u32) -> bool {
        self.sign_ins.iter().any(|(_, features)| features.address == address)
    }

    /// The latest place, and when; bursts as in [`History::sign_ins`].
    pub(crate) fn last_place(&self, burst: Burst) -> Option<(u32, Place)> {
        self.sign_ins(burst).filter_map(|(seconds, it)| Some((seconds, it.place?))).last()
    }

    /// The number of pushes that were denied within `seconds` before `at`, at most [`MAX_DENIALS`].
    pub(crate) fn denials_before(&self, at: u32, seconds: u32) -> usize {
        let from = at.saturating_sub(seconds);
        self.denials.iter().filter(|time| (from..=at).contains(time)).count()
    }

    /// Returns whether a burst of denied pushes ended so shortly before `at` that it still counts.
    pub(crate) fn is_bombed(&self, at: u32, burst: Burst) -> bool {
        let counts = |end: &u32| at >= *end && at.saturating_sub(*end) <= burst.remembered_seconds;
        self.bursts(burst).iter().any(counts)
    }

    /// The ends of all bursts among the kept denials.
    fn bursts(&self, burst: Burst) -> Vec<u32> {
        let count = burst.count.max(1);
        let ends = self.denials.windows(count).filter_map(|window| {
            let (first, last) = (window.first()?, window.last()?);
            (last.saturating_sub(*first) <= burst.within_seconds).then_some(*last)
        });
        ends.collect()
    }

    fn tuples(&self) -> BTreeSet<&Features> {
        self.sign_ins.iter().map(|(_, features)| features).collect()
    }
}

#[cfg(test)]
mod tests;

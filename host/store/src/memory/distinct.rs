//! A set whose different members are counted: all of them while they are few, a sample of them when
//! they are many.
//!
//! Invariant: a set keeps exactly the members whose hash begins with `level` zero bits, at most
//! [`CAPACITY`], each with the second in which it was last added. So a count is exact as long as
//! there were never more than [`CAPACITY`] members in the window. Beyond that a count is the number
//! of kept members times `2^level`; since at least about half of [`CAPACITY`] are kept, its
//! standard error is at most 6.3 % of the largest number of members that the window had (`1 /
//! sqrt(CAPACITY / 2)`). Hashes are keyed, so nobody can choose members that are all kept or all
//! left out. Adaptive sampling: Flajolet, Computing 43 (1990).

use super::codec::{Malformed, Reader, put_number};
use super::counter::{seconds, window_start};

/// The members of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Distinct {
    /// The longest window, in seconds, that was ever counted over; members not added since are
    /// dropped.
    window: u32,
    level: u8,
    /// Hashes, in order, and the second in which each was last added.
    members: Vec<(u64, u32)>,
}

impl Distinct {
    /// Adds a member, by its hash, at a time (milliseconds since 1970), to be counted over `window`
    /// seconds.
    pub(super) fn add(&mut self, hash: u64, at: u64, window: u32) {
        let second = seconds(at);
        self.window = self.window.max(window);
        let span = u64::from(self.window);
        self.members.retain(|(_, seen)| u64::from(*seen) + span >= u64::from(second));
        if self.members.is_empty() {
            self.level = 0;
        }
        if hash.leading_zeros() < u32::from(self.level) {
            return;
        }
        match self.members.binary_search_by_key(&hash, |(hash, _)| *hash) {
            Ok(place) => {
                if let Some((_, seen)) = self.members.get_mut(place) {
                    *seen = second.max(*seen);
                }
            }
            Err(place) => self.members.insert(place, (hash, second)),
        }
        while self.members.len() > CAPACITY && self.level < 63 {
            self.level += 1;
            self.members.retain(|(hash, _)| hash.leading_zeros() >= u32::from(self.level));
        }
    }

    /// Returns the number of different members in the `window` seconds before `now` (milliseconds
    /// since 1970).
    pub(super) fn count(&self, now: u64, window: u32) -> u32 {
        let from = window_start(now, window);
        let within = |seen: u32| (u64::from(seen) + 1) * 1000 > from;
        let kept = self.members.iter().filter(|(_, seen)| within(*seen)).count() as u64;
        u32::try_from(kept << self.level.min(52)).unwrap_or(u32::MAX)
    }

    /// Whether no window that it was counted over has a member any more.
    pub(super) fn is_expired(&self, now: u64) -> bool {
        let last = self.members.iter().map(|(_, seen)| *seen).max();
        last.is_none_or(|last| (u64::from(last) + 1 + u64::from(self.window)) * 1000 <= now)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.window));
        out.push(self.level);
        for (hash, seen) in &self.members {
            out.extend_from_slice(&hash.to_be_bytes());
            put_number(out, u64::from(*seen));
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (window, level) = (reader.number_u32()?, reader.byte()?);
        // A member takes nine bytes at least.
        let mut members: Vec<(u64, u32)> = Vec::with_capacity((bytes.len() / 9).min(CAPACITY));
        while !reader.is_empty() {
            let hash = u64::from_be_bytes(reader.array()?);
            let fits = hash.leading_zeros() >= u32::from(level) && members.len() < CAPACITY;
            if !fits || members.last().is_some_and(|(last, _)| *last >= hash) {
                return Err(Malformed);
            }
            members.push((hash, reader.number_u32()?));
        }
        if level > 63 { Err(Malformed) } else { Ok(Self { window, level, members }) }
    }
}

/// Members that are kept at most: about 7 KiB.
pub(super) const CAPACITY: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_800_000_000_000;

    /// Evenly spread hashes (SplitMix64).
    fn hashes(seed: u64) -> impl Iterator<Item = u64> {
        (1_u64..).map(move |step| {
            let mut x = seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        })
    }

    #[test]
    fn the_error_is_as_stated_over_many_seeds() {
        for size in [600_usize, 1500, 5000, 40_000] {
            let (mut squares, seeds) = (0.0, 200);
            for seed in 0..seeds {
                let mut set = Distinct::default();
                hashes(seed * 7919 + size as u64)
                    .take(size)
                    .for_each(|hash| set.add(hash, START, 60));
                let error = f64::from(set.count(START, 60)) / size as f64 - 1.0;
                assert!(error.abs() < 0.28, "{size} members, seed {seed}: {error}");
                squares += error * error;
            }
            let deviation = (squares / seeds as f64).sqrt();
            assert!(deviation < 0.063, "{size} members: {deviation}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn few_members_are_counted_exactly(
            adds in prop::collection::vec((0_usize..200, 0_u64..40_000), 1..400),
            window in 1_u32..3600,
        ) {
            let pool: Vec<u64> = hashes(5).take(200).collect();
            let (mut set, mut now) = (Distinct::default(), START);
            let mut last = [None; 200];
            for (member, step) in adds {
                now += step;
                set.add(pool[member], now, 3600);
                last[member] = Some(now);
                let from = now / 1000 - u64::from(window);
                let expected = last.iter().flatten().filter(|at| **at / 1000 + 1 > from
                    && (**at / 1000 + 1) * 1000 > now - u64::from(window) * 1000).count();
                prop_assert_eq!(set.count(now, window) as usize, expected);
            }
            let mut out = Vec::new();
            set.write(&mut out);
            prop_assert_eq!(Distinct::read(&out), Ok(set));
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let _ = Distinct::read(&bytes);
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let all: Vec<u64> = hashes(1).take(3000).collect();
        let (mut one, mut other) = (Distinct::default(), Distinct::default());
        all.iter().for_each(|hash| one.add(*hash, START, 60));
        all.iter().rev().for_each(|hash| other.add(*hash, START, 60));
        assert_eq!(one, other);
    }

    #[test]
    fn a_set_begins_anew_once_all_members_are_old() {
        let mut set = Distinct::default();
        hashes(1).take(5000).for_each(|hash| set.add(hash, START, 60));
        assert!(!set.is_expired(START + 60_000) && set.is_expired(START + 61_000));
        set.add(7, START + 62_000, 60);
        assert_eq!(set.count(START + 62_000, 60), 1);
    }
}

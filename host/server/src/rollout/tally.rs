//! The divergence budget: how the calls compared last went.
//!
//! Invariant: what was compared longest ago falls out first; a call in which the live one failed says nothing about the candidate and is
//! not among them. Whether the budget is spent depends on the last `of` comparisons alone.

use std::collections::VecDeque;

use portcullis_trust::Stop;

use super::compare::Comparison;

/// The last comparisons.
pub struct Tally {
    stop: Stop,
    /// Whether it differed, failed, was slower.
    last: VecDeque<[bool; 3]>,
    counts: Counts,
}

/// Of the last comparisons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many there are.
    pub compared: u32,
    /// In which the candidate said something else.
    pub differ: u32,
    /// In which it failed.
    pub fail: u32,
    /// In which it was slower.
    pub slow: u32,
}

impl Tally {
    /// Nothing yet.
    pub fn new(stop: Stop) -> Self {
        Self { stop, last: VecDeque::new(), counts: Counts::default() }
    }

    /// One more. What the budget is spent on, if it is.
    pub fn note(&mut self, comparison: &Comparison) -> Option<&'static str> {
        if comparison.says_nothing() {
            return None;
        }
        if u32::try_from(self.last.len()).unwrap_or(u32::MAX) >= self.stop.of {
            let oldest = self.last.pop_front().unwrap_or_default();
            self.counts.add(oldest, u32::wrapping_sub);
        }
        let marks = [comparison.differs(), comparison.failed(), comparison.slower()];
        self.last.push_back(marks);
        self.counts.add(marks, u32::wrapping_add);
        self.counts.why(&self.stop)
    }

    /// How they went.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Counts {
    fn add(&mut self, [differs, failed, slower]: [bool; 3], how: fn(u32, u32) -> u32) {
        self.compared = how(self.compared, 1);
        self.differ = how(self.differ, u32::from(differs));
        self.fail = how(self.fail, u32::from(failed));
        self.slow = how(self.slow, u32::from(slower));
    }

    /// What the budget is spent on.
    pub fn why(&self, stop: &Stop) -> Option<&'static str> {
        let of = [
            ("fail", self.fail, stop.fail),
            ("differ", self.differ, stop.differ),
            ("slow", self.slow, stop.slow),
        ];
        // Where all may go wrong nothing is too much.
        of.into_iter().find(|(_, is, most)| is > most).map(|(word, ..)| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_the_last_ones_count(
            of in 1..20u32, most in 0..4u32, marks in prop::collection::vec((any::<bool>(), any::<bool>()), 0..80),
        ) {
            let stop = Stop { of, differ: most, fail: most, slow: of, slower_ms: 0 };
            let mut tally = Tally::new(stop);
            let mut all: Vec<(bool, bool)> = Vec::new();
            for (differs, failed) in marks {
                let spent = tally.note(&Comparison::planted(differs && !failed, failed, false));
                all.push((differs && !failed, failed));
                let last: Vec<_> = all.iter().rev().take(of as usize).collect();
                let (differ, fail) = (last.iter().filter(|it| it.0).count(), last.iter().filter(|it| it.1).count());
                prop_assert_eq!(tally.counts().compared as usize, last.len());
                prop_assert_eq!((tally.counts().differ as usize, tally.counts().fail as usize), (differ, fail));
                prop_assert_eq!(spent.is_some(), differ > most as usize || fail > most as usize);
            }
        }
    }
}

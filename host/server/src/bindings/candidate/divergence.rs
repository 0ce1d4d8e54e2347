//! The divergence budget: how the calls compared last went.
//!
//! Invariant: what was compared longest ago falls out first; a call in which the live one failed says nothing about the candidate and is
//! not among them. Whether the budget is spent depends on the last `window` comparisons alone.

use std::collections::VecDeque;

use portcullis_trust::Abort;

use super::compare::Comparison;

/// The last comparisons.
pub struct DivergenceBudget {
    abort: Abort,
    /// Whether it differed, failed, was slower.
    last: VecDeque<[bool; 3]>,
    counts: DivergenceCounts,
}

/// Of the last comparisons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DivergenceCounts {
    /// How many there are.
    pub compared: u32,
    /// In which the candidate said something else.
    pub differences: u32,
    /// In which it failed.
    pub failures: u32,
    /// In which it was slower.
    pub slower: u32,
}

impl DivergenceBudget {
    /// Nothing yet.
    pub fn new(abort: Abort) -> Self {
        Self { abort, last: VecDeque::new(), counts: DivergenceCounts::default() }
    }

    /// One more. What the budget is spent on, if it is.
    pub fn record(&mut self, comparison: &Comparison) -> Option<&'static str> {
        if comparison.is_inconclusive() {
            return None;
        }
        if u32::try_from(self.last.len()).unwrap_or(u32::MAX) >= self.abort.window {
            let oldest = self.last.pop_front().unwrap_or_default();
            self.counts.add(oldest, u32::wrapping_sub);
        }
        let marks = [comparison.differs(), comparison.failed(), comparison.slower()];
        self.last.push_back(marks);
        self.counts.add(marks, u32::wrapping_add);
        self.counts.exceeded(&self.abort)
    }

    /// How they went.
    pub fn counts(&self) -> DivergenceCounts {
        self.counts
    }
}

impl DivergenceCounts {
    fn add(&mut self, [differs, failed, slower]: [bool; 3], how: fn(u32, u32) -> u32) {
        self.compared = how(self.compared, 1);
        self.differences = how(self.differences, u32::from(differs));
        self.failures = how(self.failures, u32::from(failed));
        self.slower = how(self.slower, u32::from(slower));
    }

    /// What the budget is spent on.
    pub fn exceeded(&self, abort: &Abort) -> Option<&'static str> {
        let of = [
            ("failures", self.failures, abort.max_failures),
            ("differences", self.differences, abort.max_differences),
            ("slower", self.slower, abort.max_slower),
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
            let abort = Abort { window: of, max_differences: most, max_failures: most, max_slower: of, slower_by_ms: 0 };
            let mut tally = DivergenceBudget::new(abort);
            let mut all: Vec<(bool, bool)> = Vec::new();
            for (differs, failed) in marks {
                let spent = tally.record(&Comparison::for_test(differs && !failed, failed, false));
                all.push((differs && !failed, failed));
                let last: Vec<_> = all.iter().rev().take(of as usize).collect();
                let (differences, failures) = (last.iter().filter(|it| it.0).count(), last.iter().filter(|it| it.1).count());
                prop_assert_eq!(tally.counts().compared as usize, last.len());
                prop_assert_eq!((tally.counts().differences as usize, tally.counts().failures as usize), (differences, failures));
                prop_assert_eq!(spent.is_some(), differences > most as usize || failures > most as usize);
            }
        }
    }
}

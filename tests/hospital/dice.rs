//! Random numbers from a seed (SplitMix64, Steele et al., OOPSLA 2014).
//!
//! Invariant: the same seed gives the same numbers on every machine.

/// A source of random numbers.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source that this one's later numbers do not depend on.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// At least `low` and below `high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low).unwrap();
        low + i64::try_from(self.next() % span).unwrap()
    }

    /// An index below a number.
    pub fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.next() % below as u64).unwrap()
    }

    /// One of some.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// True in so many of a thousand cases.
    pub fn permille(&mut self, share: u64) -> bool {
        self.next() % 1_000 < share
    }

    /// About `mean`, with this spread (the sum of three dice), in the same unit.
    pub fn about(&mut self, mean: i64, spread: i64) -> i64 {
        let three: i64 = (0..3).map(|_| self.between(-spread, spread + 1)).sum();
        mean + three / 2
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

//! Which rules a set of functions breaks, without looking at the others.
//!
//! Every rule is "no `at_least` functions of `set` together"; a pair is two of two. To break it,
//! somebody must hold at least two of any `set.len() - at_least + 2` of its functions (all but
//! `at_least - 2`). So each rule watches the pairs of that many of its rarest functions, and only
//! rules whose watched pair is held are looked at. Rules with so many pairs that the table would
//! burst watch single functions instead: `set.len() - at_least + 1` of them.
//!
//! Invariant: [`Rules::broken`] gives exactly the rules that a walk over all of them would.

use std::cmp::Reverse;

use crate::bitset::{BitSet, Lists, ones, small};

/// A rule: no `at_least` of these functions together. `set` is sorted, without repetition; `2 ≤
/// at_least ≤ set.len()`.
pub(crate) struct Forbidden {
    pub set: Vec<u32>,
    pub at_least: u32,
}

/// Rules, numbered as they were given.
///
/// A call touches little of this and the host clears what it touched, so what is looked at together
/// lies together.
#[derive(Clone)]
pub(crate) struct Rules {
    /// Each rule: its number, its `at_least`, then its functions. Those that can be nearly broken
    /// come last.
    book: Lists<u32>,
    /// For each rule number: its place in the book.
    places: Vec<u32>,
    /// For each function: the 64-number words in which it has watched pairs with higher-numbered
    /// functions.
    rows: Lists<Word>,
    /// For each watched pair: the place of its rule, or [`SEVERAL`] and a list of `shared`.
    pairs: Vec<u32>,
    shared: Lists<u32>,
    /// For each function: the places of the rules that watch it alone.
    singles: Lists<u32>,
}

/// 64 neighbours of a function: those it has a watched pair with.
#[derive(Clone)]
struct Word {
    at: u32,
    mask: u64,
    /// The number of the first pair; the others follow in order.
    first: u32,
}

impl Rules {
    /// Compiles rules over functions numbered below `functions`.
    pub fn new(rules: &[Forbidden], functions: usize) -> Self {
        let mut popularity = vec![0_u32; functions];
        for function in rules.iter().flat_map(|rule| &rule.set) {
            if let Some(count) = popularity.get_mut(*function as usize) {
                *count += 1;
            }
        }
        let mut order: Vec<(u32, &Forbidden)> = (0..).zip(rules).collect();
        order.sort_by_key(|(_, rule)| rule.at_least);
        let (mut book, mut places) = (Lists::default(), vec![0; rules.len()]);
        let (mut pairs, mut singles, mut watched) = (Vec::new(), Vec::new(), Vec::new());
        for (number, rule) in order {
            let place =
                book.push([number, rule.at_least].into_iter().chain(rule.set.iter().copied()));
            if let Some(entry) = places.get_mut(number as usize) {
                *entry = place;
            }
            watched.clone_from(&rule.set);
            watched.sort_unstable_by_key(|function| {
                (popularity.get(*function as usize), Reverse(*function))
            });
            let spare = rule.set.len().saturating_sub(rule.at_least as usize);
            if spare + 2 > MAX_PAIRED {
                watched.truncate(spare + 1);
                singles.extend(watched.iter().map(|function| (*function, place)));
                continue;
            }
            watched.truncate(spare + 2);
            watched.sort_unstable();
            for (at, low) in watched.iter().enumerate() {
                pairs.extend(watched.iter().skip(at + 1).map(|high| (*low, *high, place)));
            }
        }
        pairs.sort_unstable();
        singles.sort_unstable();
        let (rows, pairs, shared) = rows(&pairs);
        Self { book, places, rows, pairs, shared, singles: Lists::from_sorted(singles) }
    }

    /// The numbers of the rules that whoever holds these functions breaks, smallest first.
    pub fn broken(&self, held: &BitSet) -> Vec<u32> {
        let mut broken = Vec::new();
        let mut look = |place: u32| broken.extend(self.broken_at(place, held));
        for function in held.iter() {
            for word in self.rows.get(function) {
                for bit in ones(word.mask & held.word(word.at)) {
                    let before = (word.mask & !(u64::MAX << bit)).count_ones();
                    match self.pairs.get((word.first + before) as usize) {
                        Some(several) if several & SEVERAL != 0 => {
                            self.shared
                                .get(several & !SEVERAL)
                                .iter()
                                .for_each(|place| look(*place));
                        }
                        Some(place) => look(*place),
                        None => {}
                    }
                }
            }
            self.singles.get(function).iter().for_each(|place| look(*place));
        }
        broken.sort_unstable();
        broken.dedup();
        broken
    }

    /// Whether whoever holds these functions breaks this rule.
    pub fn breaks(&self, rule: u32, held: &BitSet) -> bool {
        self.places.get(rule as usize).is_some_and(|place| self.broken_at(*place, held).is_some())
    }

    /// The functions that a rule is about, sorted, and how many of them are too many.
    pub fn forbidden(&self, rule: u32) -> (&[u32], u32) {
        match self.places.get(rule as usize).map(|place| self.book.get(*place)) {
            Some([_, at_least, set @ ..]) => (set, *at_least),
            _ => (&[], u32::MAX),
        }
    }

    /// The number of the rule at this place, if whoever holds these functions breaks it.
    fn broken_at(&self, place: u32, held: &BitSet) -> Option<u32> {
        let [number, at_least, set @ ..] = self.book.get(place) else { return None };
        let count = set.iter().filter(|function| held.has(**function)).count();
        (count >= *at_least as usize).then_some(*number)
    }
}

/// From (low function, high function, place), sorted: each function's words, each pair's place, and
/// lists of places for pairs that several rules watch.
fn rows(watched: &[(u32, u32, u32)]) -> (Lists<Word>, Vec<u32>, Lists<u32>) {
    let (mut words, mut pairs) = (Vec::<(u32, Word)>::new(), Vec::with_capacity(watched.len()));
    let mut shared = Lists::default();
    for same in watched.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1)) {
        let Some((low, high, place)) = same.first().copied() else { continue };
        let (at, bit) = (high / 64, 1 << (high % 64));
        match words.last_mut() {
            Some((function, word)) if *function == low && word.at == at => word.mask |= bit,
            _ => words.push((low, Word { at, mask: bit, first: small(pairs.len()) })),
        }
        pairs.push(match same {
            [_] => place,
            several => SEVERAL | shared.push(several.iter().map(|(_, _, place)| *place)),
        });
    }
    (Lists::from_sorted(words), pairs, shared)
}

/// The highest bit: no memory holds so many rules that a place could have it.
const SEVERAL: u32 = 1 << 31;

/// Of how many functions a rule may watch the pairs: 8, which is 28 pairs.
const MAX_PAIRED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FUNCTIONS: u32 = 150;

    fn forbidden() -> impl Strategy<Value = Forbidden> {
        let set = prop_oneof![
            3 => prop::collection::btree_set(0..12_u32, 2..6),
            2 => prop::collection::btree_set(0..FUNCTIONS, 2..6),
            1 => prop::collection::btree_set(0..FUNCTIONS, 6..40),
        ];
        (set, any::<prop::sample::Index>()).prop_map(|(set, at_least)| Forbidden {
            at_least: 2 + small(at_least.index(set.len() - 1)),
            set: set.into_iter().collect(),
        })
    }

    impl std::fmt::Debug for Forbidden {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{} of {:?}", self.at_least, self.set)
        }
    }

    proptest! {
        #[test]
        fn gives_what_a_walk_over_all_rules_gives(
            rules in prop::collection::vec(forbidden(), 0..60),
            held in prop_oneof![
                prop::collection::btree_set(0..12_u32, 0..12),
                prop::collection::btree_set(0..FUNCTIONS, 0..60),
            ],
        ) {
            let compiled = Rules::new(&rules, FUNCTIONS as usize);
            let mut bits = BitSet::new(FUNCTIONS as usize);
            held.iter().for_each(|function| bits.insert(*function));
            let walked: Vec<u32> = (0..)
                .zip(&rules)
                .filter(|(_, rule)| rule.set.iter().filter(|function| held.contains(function)).count() >= rule.at_least as usize)
                .map(|(number, _)| number)
                .collect();
            prop_assert_eq!(compiled.broken(&bits), walked);
        }
    }

    #[test]
    fn rules_that_nobody_nearly_breaks_are_not_looked_at() {
        // 1,000 rules about one popular function: each watches it together with a rare one.
        let rules: Vec<Forbidden> =
            (1..=1000).map(|other| Forbidden { set: vec![0, other], at_least: 2 }).collect();
        let compiled = Rules::new(&rules, 1001);
        assert_eq!(compiled.rows.get(0).len(), 1001_usize.div_ceil(64));
        let mut bits = BitSet::new(1001);
        bits.insert(0);
        assert!(compiled.broken(&bits).is_empty());
        bits.insert(1000);
        assert_eq!(compiled.broken(&bits), [999]);
    }
}

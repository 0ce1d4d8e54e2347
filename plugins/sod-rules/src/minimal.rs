//! The smallest set of entitlements that still breaks a rule: what a person has to look at.
//!
//! Invariant: always the same answer for the same entitlements in the same order, always enough to
//! break the rule, and no smaller set is, as long as the search stays within [`MAX_STEPS`]; beyond
//! that none of its members can be left out.

use std::collections::BTreeMap;

/// Which entitlements to name. Each mask says which of the rule's functions (bit by bit) an
/// entitlement gives; the answer is the positions of the fewest whose functions together are
/// `at_least`. Empty when all together are not enough.
pub(crate) fn smallest(masks: &[u64], at_least: u32) -> Vec<usize> {
    let together = masks.iter().fold(0, |together, mask| together | mask);
    if together.count_ones() < at_least {
        return Vec::new();
    }
    let useful = useful(masks);
    let widest = useful.iter().map(|(_, mask)| mask.count_ones()).max().unwrap_or(0);
    let mut search = Search { useful: &useful, at_least, widest, chosen: Vec::new(), steps: 0 };
    for size in 1..=at_least {
        if search.find(0, 0, size) {
            return search.chosen;
        }
        if search.steps > MAX_STEPS {
            break;
        }
    }
    irreducible(&useful, at_least)
}

/// Without those that give nothing, or nothing that another does not give too. In their order.
fn useful(masks: &[u64]) -> Vec<(usize, u64)> {
    let mut first_with = BTreeMap::new();
    for (position, mask) in masks.iter().enumerate().filter(|(_, mask)| **mask != 0) {
        first_with.entry(*mask).or_insert(position);
    }
    let beaten = |mask: u64| first_with.keys().any(|wider| mask & !wider == 0 && mask != *wider);
    let mut useful: Vec<_> = first_with
        .iter()
        .filter(|(mask, _)| !beaten(**mask))
        .map(|(mask, position)| (*position, *mask))
        .collect();
    useful.sort_unstable();
    useful
}

struct Search<'a> {
    useful: &'a [(usize, u64)],
    at_least: u32,
    /// The most functions that one entitlement gives.
    widest: u32,
    chosen: Vec<usize>,
    steps: u32,
}

impl Search<'_> {
    /// Whether `more` entitlements from position `from` on complete what is covered; if so they are
    /// chosen.
    fn find(&mut self, from: usize, covered: u64, more: u32) -> bool {
        self.steps += 1;
        if covered.count_ones() >= self.at_least {
            return true;
        }
        if covered.count_ones() + more * self.widest < self.at_least || self.steps > MAX_STEPS {
            return false;
        }
        for (next, (position, mask)) in self.useful.iter().enumerate().skip(from) {
            self.chosen.push(*position);
            if self.find(next + 1, covered | mask, more - 1) {
                return true;
            }
            self.chosen.pop();
        }
        false
    }
}

/// Takes the one that adds most until it is enough, then leaves out whatever is not needed.
fn irreducible(useful: &[(usize, u64)], at_least: u32) -> Vec<usize> {
    let (mut chosen, mut covered) = (Vec::<(usize, u64)>::new(), 0_u64);
    while covered.count_ones() < at_least {
        // Of equals the first.
        let adds = |mask: u64| (mask & !covered).count_ones();
        let best = useful.iter().rev().max_by_key(|(_, mask)| adds(*mask));
        let Some(best) = best.filter(|(_, mask)| adds(*mask) > 0) else { break };
        covered |= best.1;
        chosen.push(*best);
    }
    let mut index = 0;
    while index < chosen.len() {
        let others = chosen.iter().enumerate().filter(|(other, _)| *other != index);
        if others.fold(0, |together, (_, (_, mask))| together | mask).count_ones() >= at_least {
            chosen.remove(index);
        } else {
            index += 1;
        }
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|(position, _)| position).collect()
}

/// How far the exact search goes: 20,000 steps, well under a millisecond.
const MAX_STEPS: u32 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn enough(masks: &[u64], chosen: impl IntoIterator<Item = usize>, at_least: u32) -> bool {
        chosen.into_iter().fold(0, |together, position| together | masks[position]).count_ones()
            >= at_least
    }

    proptest! {
        #[test]
        fn no_subset_is_smaller(masks in prop::collection::vec(0..256_u64, 0..11), at_least in 2..8_u32) {
            let best = (0..1_u32 << masks.len())
                .filter(|subset| enough(&masks, (0..masks.len()).filter(|bit| subset >> bit & 1 == 1), at_least))
                .map(u32::count_ones)
                .min();
            let found = smallest(&masks, at_least);
            prop_assert_eq!(found.len() as u32, best.unwrap_or(0));
            prop_assert_eq!(enough(&masks, found, at_least), best.is_some());
        }

        #[test]
        fn beyond_the_search_nothing_can_be_left_out(masks in prop::collection::vec(any::<u64>(), 1..12), at_least in 2..40_u32) {
            let found = irreducible(&useful(&masks), at_least);
            if enough(&masks, 0..masks.len(), at_least) {
                prop_assert!(enough(&masks, found.iter().copied(), at_least));
                for left_out in &found {
                    let rest = found.iter().copied().filter(|position| position != left_out);
                    prop_assert!(!enough(&masks, rest, at_least));
                }
            }
        }
    }

    #[test]
    fn a_search_without_end_is_cut_short() {
        // 63 overlapping threes, of which 24 functions are wanted: more combinations than anybody
        // can try.
        let masks: Vec<u64> = (0..62).map(|shift| 0b111 << shift).collect();
        let found = smallest(&masks, 40);
        assert!(enough(&masks, found, 40));
    }
}

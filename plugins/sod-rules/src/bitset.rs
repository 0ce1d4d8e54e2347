//! Many short lists in one allocation, and a set of small numbers.
//!
//! Invariant: what is not there is empty, never a panic.

/// Lists numbered from 0, one behind the other in memory.
#[derive(Clone)]
pub(crate) struct Lists<T> {
    items: Vec<T>,
    /// Where each list ends; it starts where the one before ends.
    ends: Vec<u32>,
}

impl<T> Lists<T> {
    /// List `number`; empty when there is none.
    pub fn get(&self, number: u32) -> &[T] {
        let number = number as usize;
        let end = self.ends.get(number).copied().unwrap_or(0) as usize;
        let start =
            number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
                as usize;
        self.items.get(start..end).unwrap_or(&[])
    }

    /// Appends a list and gives its number.
    pub fn push(&mut self, list: impl IntoIterator<Item = T>) -> u32 {
        self.items.extend(list);
        self.ends.push(small(self.items.len()));
        small(self.ends.len() - 1)
    }

    /// From (list number, item), sorted by number; numbers without items are empty lists.
    pub fn from_sorted(numbered: impl IntoIterator<Item = (u32, T)>) -> Self {
        let numbered = numbered.into_iter();
        let mut lists =
            Self { items: Vec::with_capacity(numbered.size_hint().0), ends: Vec::new() };
        for (number, item) in numbered {
            lists.ends.resize(number as usize, small(lists.items.len()));
            lists.items.push(item);
        }
        lists.ends.push(small(lists.items.len()));
        lists
    }
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { items: Vec::new(), ends: Vec::new() }
    }
}

/// A set of numbers below a bound.
pub(crate) struct BitSet(Vec<u64>);

impl BitSet {
    /// Empty, for numbers below `bound`.
    pub fn new(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    pub fn insert(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub fn has(&self, number: u32) -> bool {
        self.word(number / 64) >> (number % 64) & 1 == 1
    }

    /// The 64 numbers from `64 * at` on.
    pub fn word(&self, at: u32) -> u64 {
        self.0.get(at as usize).copied().unwrap_or(0)
    }

    /// Every number, smallest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.0).flat_map(|(at, word)| ones(*word).map(move |bit| 64 * at + bit))
    }
}

/// The bits that are set, lowest first.
pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.checked_sub(1)?;
        Some(bit)
    })
}

/// Counts here stay far below 2³²: an instance's memory has no more bytes than that.
pub(crate) fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_where_they_were_put() {
        let lists = Lists::from_sorted([(0, 'a'), (2, 'b'), (2, 'c'), (5, 'd')]);
        let all: Vec<String> = (0..7).map(|number| lists.get(number).iter().collect()).collect();
        assert_eq!(all, ["a", "", "bc", "", "", "d", ""]);
        let mut lists = Lists::default();
        assert_eq!((lists.push([1, 2]), lists.push([]), lists.push([3])), (0, 1, 2));
        assert_eq!((lists.get(0), lists.get(1), lists.get(2)), (&[1, 2][..], &[][..], &[3][..]));
        assert!(Lists::<u8>::from_sorted([]).get(0).is_empty());
    }

    #[test]
    fn bits_are_a_set() {
        let mut bits = BitSet::new(130);
        [129, 0, 63, 64, 129, 1000].into_iter().for_each(|number| bits.insert(number));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert!(bits.has(64) && !bits.has(65) && !bits.has(1000));
    }
}

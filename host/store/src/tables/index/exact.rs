//! Rows by the values of one or several columns.
//!
//! Invariant: a row is found by exactly those values that equal its own by the text rules; a row
//! without one of the values is not found at all. The hash is keyed with random numbers, so whoever
//! writes the export cannot choose keys that collide. Memory: 9 to 18 bytes a row, 4 more where
//! keys repeat.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use hashbrown::HashTable;

use super::Chain;
use crate::tables::columns::CellColumn;
use crate::tables::declaration::TextRules;

/// Rows by the values of columns.
pub(crate) struct ExactIndex {
    positions: Vec<usize>,
    rules: TextRules,
    hash: RandomState,
    heads: HashTable<Head>,
    chain: Chain,
}

/// The first row of a key.
#[derive(Clone, Copy)]
struct Head {
    row: u32,
    /// The position of the first value's text, where its column has one for each row, else
    /// [`NO_TEXT`]: a look-up in a large table waits for memory, and with it for one place less.
    text: u32,
}

impl ExactIndex {
    /// Indexes all rows.
    pub fn new(columns: &[CellColumn], rows: u32, positions: Vec<usize>, rules: TextRules) -> Self {
        let mut index = Self {
            positions,
            rules,
            hash: RandomState::new(),
            heads: HashTable::with_capacity(usize::try_from(rows).unwrap_or_default()),
            chain: Chain::default(),
        };
        // From the last row to the first, so that a chain has the order of the export.
        for row in (0..rows).rev() {
            index.insert(columns, row, rows);
        }
        if index.heads.len() < index.heads.capacity() / 2 {
            let (keyed, positions) = (&index.hash, &index.positions);
            index.heads.shrink_to_fit(|head| {
                hash_row(keyed, &index.rules, positions, columns, head.row).unwrap_or_default()
            });
        }
        index
    }

    /// Returns the first row whose values equal `key`, which [`TextRules::apply`] returned.
    pub fn find(&self, columns: &[CellColumn], key: &[Cow<'_, str>]) -> Option<u32> {
        if key.len() != self.positions.len() {
            return None;
        }
        let mut hasher = self.hash.build_hasher();
        for part in key {
            hasher.write(part.as_bytes());
            hasher.write_u8(PART_END);
        }
        let equals = |position: usize, head: &Head, part: &str| {
            cell(columns, position, head.row).is_some_and(|text| self.rules.equals(&text, part))
        };
        let same = |head: &Head| {
            let mut parts = self.positions.iter().zip(key);
            let first = parts.next().is_none_or(|(&position, part)| match head.text {
                at if at == NO_TEXT => equals(position, head, part),
                at => columns
                    .get(position)
                    .and_then(|column| column.text_at(at))
                    .is_some_and(|text| self.rules.equals(text, part)),
            });
            first && parts.all(|(&position, part)| equals(position, head, part))
        };
        self.heads.find(hasher.finish(), same).map(|head| head.row)
    }

    /// Returns the rules by which values are compared.
    pub fn rules(&self) -> &TextRules {
        &self.rules
    }

    /// Returns the first row of each key, in no order.
    pub fn heads(&self) -> impl Iterator<Item = u32> + '_ {
        self.heads.iter().map(|head| head.row)
    }

    /// Returns the number of keys.
    pub fn keys(&self) -> usize {
        self.heads.len()
    }

    /// Returns the rows that share keys.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Returns the bytes that the index occupies.
    pub fn bytes(&self) -> usize {
        self.heads.allocation_size() + self.chain.bytes()
    }

    fn insert(&mut self, columns: &[CellColumn], row: u32, rows: u32) {
        let (keyed, positions, rules) = (&self.hash, &self.positions, &self.rules);
        let Some(hash) = hash_row(keyed, rules, positions, columns, row) else { return };
        let same = |head: &Head| {
            let other = head.row;
            positions.iter().all(|&position| {
                match (cell(columns, position, row), cell(columns, position, other)) {
                    (Some(one), Some(other)) => {
                        one == other || rules.equals(&other, &rules.apply(&one))
                    }
                    _ => false,
                }
            })
        };
        let first = positions.first().and_then(|&position| columns.get(position));
        let at = usize::try_from(row).ok().and_then(|row| first?.text_position(row));
        let new = Head { row, text: at.unwrap_or(NO_TEXT) };
        if let Some(head) = self.heads.find_mut(hash, same) {
            self.chain.link(row, head.row, rows);
            *head = new;
        } else {
            self.heads.insert_unique(hash, new, |head| {
                hash_row(keyed, rules, positions, columns, head.row).unwrap_or_default()
            });
        }
    }
}

#[inline]
fn cell(columns: &[CellColumn], position: usize, row: u32) -> Option<Cow<'_, str>> {
    columns.get(position)?.text(usize::try_from(row).ok()?)
}

/// Returns the hash of a row's values; none where one is absent.
fn hash_row(
    keyed: &RandomState,
    rules: &TextRules,
    positions: &[usize],
    columns: &[CellColumn],
    row: u32,
) -> Option<u64> {
    let mut hasher = keyed.build_hasher();
    for &position in positions {
        let text = cell(columns, position, row)?;
        hasher.write(rules.apply(&text).as_bytes());
        hasher.write_u8(PART_END);
    }
    Some(hasher.finish())
}

/// No position of a text.
const NO_TEXT: u32 = u32::MAX;

/// No byte of UTF-8, so that `ab`, `c` and `a`, `bc` differ.
const PART_END: u8 = 0xff;

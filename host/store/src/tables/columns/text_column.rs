//! A column of texts: repeated texts are kept once, unique ones without the cost of a dictionary.
//!
//! Invariant: a row gives back the text that was pushed for it, or none where the cell is absent.
//! A column whose texts mostly differ becomes plain (4 bytes a row and the text); the others have a
//! code of 1, 2 or 4 bytes a row. The dictionary's hash table exists only while rows are added.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::chunked::Chunked;
use super::texts::Texts;

/// A column of texts.
pub(crate) enum TextColumn {
    /// A code for each row; code 0 is an absent cell, code n the n-th distinct text.
    Interned { codes: Codes, distinct: Chunked<u32>, texts: Texts, finder: Option<Finder> },
    /// The position of each row's text.
    Plain { at: Chunked<u32>, texts: Texts },
}

/// Finds the code of a text while rows are added.
pub(crate) struct Finder {
    /// Keyed: whoever writes the export cannot choose texts that collide.
    hash: RandomState,
    codes: HashTable<u32>,
}

/// Codes as wide as their number needs.
pub(crate) enum Codes {
    U8(Chunked<u8>),
    U16(Chunked<u16>),
    U32(Chunked<u32>),
}

impl TextColumn {
    pub fn new() -> Self {
        Self::Interned {
            codes: Codes::U8(Chunked::new()),
            distinct: Chunked::new(),
            texts: Texts::default(),
            finder: Some(Finder { hash: RandomState::new(), codes: HashTable::new() }),
        }
    }

    /// Appends a cell; `None` where the column is full.
    pub fn push(&mut self, text: Option<&str>) -> Option<()> {
        match self {
            Self::Plain { at, texts } => {
                at.push(text.map_or(Some(ABSENT), |text| texts.push(text))?);
            }
            Self::Interned { codes, distinct, texts, finder } => {
                let code = match text {
                    None => 0,
                    Some(text) => finder.as_mut()?.code(text, distinct, texts)?,
                };
                codes.push(code);
                let rows = codes.len();
                if rows >= FIRST_REVIEW && rows.is_power_of_two() && distinct.len() > rows / 2 {
                    self.make_plain();
                }
            }
        }
        Some(())
    }

    /// Returns the text of a row, or none where the cell is absent.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Plain { at, texts } => texts.get(at.get(row)?),
            Self::Interned { codes, distinct, texts, .. } => {
                let code = usize::try_from(codes.get(row)?).ok()?;
                texts.get(distinct.get(code.checked_sub(1)?)?)
            }
        }
    }

    /// Returns the position of a row's text in a plain column.
    pub fn position(&self, row: usize) -> Option<u32> {
        match self {
            Self::Plain { at, .. } => at.get(row).filter(|&at| at != ABSENT),
            Self::Interned { .. } => None,
        }
    }

    /// Returns the text at a position that [`Self::position`] returned.
    #[inline]
    pub fn at(&self, position: u32) -> Option<&str> {
        match self {
            Self::Plain { texts, .. } => texts.get(position),
            Self::Interned { .. } => None,
        }
    }

    /// Ends the adding of rows.
    pub fn finish(&mut self) {
        if let Self::Interned { codes, distinct, .. } = self
            && distinct.len() > codes.len() / 2
        {
            self.make_plain();
        }
        match self {
            Self::Plain { at, texts } => {
                at.shrink();
                texts.shrink();
            }
            Self::Interned { codes, distinct, texts, finder } => {
                *finder = None;
                codes.shrink();
                distinct.shrink();
                texts.shrink();
            }
        }
    }

    /// Returns the bytes that the column occupies.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Plain { at, texts } => at.bytes() + texts.bytes(),
            Self::Interned { codes, distinct, texts, finder } => {
                let finder = finder.as_ref().map_or(0, |finder| finder.codes.allocation_size());
                codes.bytes() + distinct.bytes() + texts.bytes() + finder
            }
        }
    }

    fn make_plain(&mut self) {
        let Self::Interned { codes, distinct, texts, .. } = self else { return };
        let mut at = Chunked::new();
        for row in 0..codes.len() {
            let code = codes.get(row).and_then(|code| usize::try_from(code).ok()).unwrap_or(0);
            at.push(code.checked_sub(1).and_then(|n| distinct.get(n)).unwrap_or(ABSENT));
        }
        *self = Self::Plain { at, texts: std::mem::take(texts) };
    }
}

impl Finder {
    fn code(&mut self, text: &str, distinct: &mut Chunked<u32>, texts: &mut Texts) -> Option<u32> {
        let at_code = |code: u32, distinct: &Chunked<u32>| {
            distinct.get(usize::try_from(code).ok()?.checked_sub(1)?)
        };
        let hash = self.hash.hash_one(text);
        let same = |&code: &u32| {
            at_code(code, distinct).and_then(|at| texts.get(at)).is_some_and(|found| found == text)
        };
        if let Some(&code) = self.codes.find(hash, same) {
            return Some(code);
        }
        distinct.push(texts.push(text)?);
        let code = u32::try_from(distinct.len()).ok()?;
        let keyed = &self.hash;
        self.codes.insert_unique(hash, code, |&code| {
            let text = at_code(code, distinct).and_then(|at| texts.get(at));
            keyed.hash_one(text.unwrap_or_default())
        });
        Some(code)
    }
}

impl Codes {
    fn len(&self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::U16(codes) => codes.len(),
            Self::U32(codes) => codes.len(),
        }
    }

    fn push(&mut self, code: u32) {
        match self {
            Self::U8(codes) => match u8::try_from(code) {
                Ok(code) => return codes.push(code),
                Err(_) => {
                    *self = Self::U16(std::mem::replace(codes, Chunked::new()).map(u16::from))
                }
            },
            Self::U16(codes) => match u16::try_from(code) {
                Ok(code) => return codes.push(code),
                Err(_) => {
                    *self = Self::U32(std::mem::replace(codes, Chunked::new()).map(u32::from))
                }
            },
            Self::U32(codes) => return codes.push(code),
        }
        self.push(code);
    }

    fn get(&self, row: usize) -> Option<u32> {
        match self {
            Self::U8(codes) => codes.get(row).map(u32::from),
            Self::U16(codes) => codes.get(row).map(u32::from),
            Self::U32(codes) => codes.get(row),
        }
    }

    fn shrink(&mut self) {
        match self {
            Self::U8(codes) => codes.shrink(),
            Self::U16(codes) => codes.shrink(),
            Self::U32(codes) => codes.shrink(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::U8(codes) => codes.bytes(),
            Self::U16(codes) => codes.bytes(),
            Self::U32(codes) => codes.bytes(),
        }
    }
}

/// No text begins here: a position is followed by its length.
const ABSENT: u32 = u32::MAX;

/// Rows after which a column is first asked whether its texts repeat.
const FIRST_REVIEW: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_return_whatever_their_repetition() {
        for distinct in [1usize, 200, 300, 60_000, 70_000, 200_000] {
            let text = |row: usize| {
                (row % 7 != 3).then(|| format!("t{}", row.wrapping_mul(2_654_435_761) % distinct))
            };
            let mut column = TextColumn::new();
            (0..200_000).for_each(|row| column.push(text(row).as_deref()).unwrap());
            column.finish();
            for row in 0..200_000 {
                assert_eq!(column.get(row), text(row).as_deref(), "{distinct} {row}");
            }
            assert_eq!(column.get(200_000), None);
        }
    }

    #[test]
    fn repeated_texts_cost_a_byte_a_row() {
        let mut column = TextColumn::new();
        (0..100_000).for_each(|row| column.push(Some(["ACTIVE", "LEAVE"][row % 2])).unwrap());
        column.finish();
        assert!(column.bytes() < 101_000, "{}", column.bytes());
    }
}

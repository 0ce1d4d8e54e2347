//! Finding the rows of a key.
//!
//! Invariant: an index finds exactly the rows that a scan of the table would find, in the order of
//! the export. It holds row numbers and no copies of keys.

pub(crate) mod exact;
pub(crate) mod network;

/// The rows that share a key: each row leads to the next one.
#[derive(Default)]
pub(crate) struct Chain(Option<Vec<u32>>);

impl Chain {
    /// Notes that `next` follows `row` in a table of `rows` rows.
    pub fn link(&mut self, row: u32, next: u32, rows: u32) {
        let length = usize::try_from(rows).unwrap_or_default();
        let links = self.0.get_or_insert_with(|| vec![END; length]);
        if let Some(link) = usize::try_from(row).ok().and_then(|row| links.get_mut(row)) {
            *link = next;
        }
    }

    /// Returns the row after a row.
    pub fn next(&self, row: u32) -> Option<u32> {
        let links = self.0.as_ref()?;
        links.get(usize::try_from(row).ok()?).copied().filter(|&next| next != END)
    }

    /// Returns the bytes that the links occupy: 4 a row, or none where no two rows share a key.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |links| links.capacity() * size_of::<u32>())
    }
}

const END: u32 = u32::MAX;

//! A list that grows by chunks, so that growing never holds two copies of it.
//!
//! Invariant: every chunk but the last is full. Only the first chunk is ever moved, so a list of
//! ten million values needs its own size and at most one chunk more while it is filled. The list
//! is only appended to.

/// Values in chunks of [`CHUNK`].
#[derive(Clone)]
pub(crate) struct Chunked<T> {
    chunks: Vec<Vec<T>>,
}

impl<T: Copy> Chunked<T> {
    /// Returns an empty list.
    pub fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1);
        full * CHUNK + self.chunks.last().map_or(0, Vec::len)
    }

    /// Appends a value.
    pub fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            // A table of a few rows shall not pay for a whole chunk.
            None => self.chunks.push(vec![value]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    /// Returns the value at a position.
    #[inline]
    pub fn get(&self, at: usize) -> Option<T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK).copied()
    }

    /// Returns the list with other values; each chunk is released as soon as it is converted.
    pub fn map<U>(self, convert: impl Fn(T) -> U) -> Chunked<U> {
        let chunks = self.chunks.into_iter().map(|chunk| {
            let mut converted = Vec::with_capacity(chunk.len().max(CHUNK / 64));
            converted.extend(chunk.into_iter().map(&convert));
            converted
        });
        Chunked { chunks: chunks.collect() }
    }

    /// Releases the room that the last chunk does not need.
    pub fn shrink(&mut self) {
        if let Some(last) = self.chunks.last_mut() {
            last.shrink_to_fit();
        }
    }

    /// Returns the bytes that the list occupies.
    pub fn bytes(&self) -> usize {
        let held: usize = self.chunks.iter().map(Vec::capacity).sum();
        held * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

/// Values in a chunk: at most half a megabyte of 8-byte values is reserved and unused.
const CHUNK: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_return_across_chunks() {
        let count = u32::try_from(CHUNK).unwrap() * 2 + 7;
        let mut list = Chunked::new();
        (0..count).for_each(|value| list.push(value));
        list.shrink();
        assert_eq!(list.len(), CHUNK * 2 + 7);
        assert!((0..count).all(|at| list.get(at as usize) == Some(at)));
        assert_eq!(list.get(count as usize), None);
        assert!(list.bytes() < count as usize * 4 + 4096);
        let wide = list.map(u64::from);
        assert!((0..count).all(|at| wide.get(at as usize) == Some(at.into())));
    }
}

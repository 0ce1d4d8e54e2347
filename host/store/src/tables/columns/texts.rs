//! Many short texts in few allocations.
//!
//! Invariant: a position that [`Texts::push`] returned leads to the text that was pushed. A text
//! never spans two chunks, so it is borrowed whole. Positions are 32 bits: a column holds at most
//! 4 GiB of text, and `push` says when it is full.

/// Texts, each found by its position.
#[derive(Clone, Default)]
pub(crate) struct Texts {
    chunks: Vec<String>,
}

impl Texts {
    /// Appends a text of at most `MAX_TEXT_BYTES`; `None` where the column is full.
    pub fn push(&mut self, text: &str) -> Option<u32> {
        let needed = text.len() + LENGTH_BYTES;
        if needed > TEXT_CHUNK {
            return None;
        }
        match self.chunks.last() {
            Some(last) if last.len() + needed <= TEXT_CHUNK => {}
            None => self.chunks.push(String::new()),
            Some(_) if self.chunks.len() < MAX_CHUNKS => {
                self.chunks.push(String::with_capacity(TEXT_CHUNK));
            }
            Some(_) => return None,
        }
        let number = self.chunks.len().checked_sub(1)?;
        let chunk = self.chunks.last_mut()?;
        let at = u32::try_from(number * TEXT_CHUNK + chunk.len()).ok()?;
        push_length(chunk, text.len());
        chunk.push_str(text);
        Some(at)
    }

    /// Returns the text at a position.
    #[inline]
    pub fn get(&self, at: u32) -> Option<&str> {
        let at = usize::try_from(at).ok()?;
        let chunk = self.chunks.get(at / TEXT_CHUNK)?;
        let start = at % TEXT_CHUNK;
        let (length, digits) = read_length(chunk.as_bytes().get(start..)?)?;
        chunk.get(start + digits..start + digits + length)
    }

    /// Releases the room that the last chunk does not need.
    pub fn shrink(&mut self) {
        if let Some(last) = self.chunks.last_mut() {
            last.shrink_to_fit();
        }
    }

    /// Returns the bytes that the texts occupy.
    pub fn bytes(&self) -> usize {
        let held: usize = self.chunks.iter().map(String::capacity).sum();
        held + self.chunks.capacity() * size_of::<String>()
    }
}

/// Writes a length as ASCII characters of six bits, the lowest first; 0x40 marks that more follow.
/// Characters keep the chunk valid UTF-8, so that a text is borrowed without a check of its bytes.
fn push_length(chunk: &mut String, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x3f).unwrap_or_default();
        length >>= 6;
        if length == 0 {
            chunk.push(char::from(low));
            return;
        }
        chunk.push(char::from(low | 0x40));
    }
}

fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (digit, &byte) in bytes.iter().take(LENGTH_BYTES).enumerate() {
        length |= usize::from(byte & 0x3f) << (6 * digit);
        if byte & 0x40 == 0 {
            return Some((length, digit + 1));
        }
    }
    None
}

/// Bytes of a chunk; the last part of a chunk that the next text does not fit into stays unused.
const TEXT_CHUNK: usize = 1 << 20;
/// 4 GiB of text.
const MAX_CHUNKS: usize = 1 << 12;
/// Lengths up to 18 bits.
const LENGTH_BYTES: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_return(
            texts in prop::collection::vec("\\PC{0,200}", 0..200), repeat in 0usize..900,
        ) {
            let mut store = Texts::default();
            let long = "ü".repeat(repeat * 36);
            let placed: Vec<_> = texts.iter().chain([&long]).cycle().take(600)
                .map(|text| (store.push(text).unwrap(), text)).collect();
            store.shrink();
            for (at, text) in placed {
                prop_assert_eq!(store.get(at), Some(text.as_str()));
            }
        }
    }

    #[test]
    fn a_text_beyond_a_chunk_and_a_position_beyond_the_end_are_refused() {
        let mut store = Texts::default();
        assert_eq!(store.push(&"x".repeat(TEXT_CHUNK)), None);
        assert_eq!(store.get(0), None);
        store.push("a").unwrap();
        assert_eq!(store.get(5), None);
        assert_eq!(store.get(u32::MAX), None);
    }
}

//! From text to tape: one pass, recursive by at most [`DEEPEST`] levels.
//!
//! Invariant: a tape is only ever made of a text that is strict RFC 8259, has no duplicate member in any
//! object (compared unescaped) and no escape that stands for half a surrogate pair. Time is at most n log n
//! in the length of the text.

use std::cmp::Ordering;

use super::{DEEPEST, Kind, Node, ParseError, text};
use crate::cause::Cause;

/// Parses a text that is not longer than [`super::LONGEST`].
pub(super) fn parse(text: &str) -> Result<Vec<Node>, ParseError> {
    // Hook bodies have a name or value every twelve bytes or so; one that has more grows its tape.
    let tape = Vec::with_capacity(text.len() / 10 + 1);
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, tape, keys: Vec::new() };
    parser.space();
    parser.value(0)?;
    parser.space();
    match parser.peek() {
        None => Ok(parser.tape),
        Some(_) => Err(parser.not_json()),
    }
}

struct Parser<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    tape: Vec<Node>,
    /// The names of the object that is being closed: kept to be allocated once.
    keys: Vec<Node>,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<(), ParseError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b't') => self.literal("true", Kind::Bool),
            Some(b'f') => self.literal("false", Kind::Bool),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => Err(self.not_json()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), ParseError> {
        let opened = self.open(Kind::Object, depth)?;
        if !self.closes(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.not_json());
                }
                self.string()?;
                self.space();
                self.expect(b':')?;
                self.space();
                self.value(depth + 1)?;
                self.space();
                if self.closes(b'}') {
                    break;
                }
                self.expect(b',')?;
                self.space();
            }
        }
        self.close(opened);
        self.refuse_duplicates(opened)
    }

    fn array(&mut self, depth: usize) -> Result<(), ParseError> {
        let opened = self.open(Kind::Array, depth)?;
        if !self.closes(b']') {
            loop {
                self.value(depth + 1)?;
                self.space();
                if self.closes(b']') {
                    break;
                }
                self.expect(b',')?;
                self.space();
            }
        }
        self.close(opened);
        Ok(())
    }

    /// Puts a container on the tape, to be finished by `close`.
    fn open(&mut self, kind: Kind, depth: usize) -> Result<usize, ParseError> {
        if depth == DEEPEST {
            return Err(ParseError { cause: Cause::TooDeep, at: self.at });
        }
        let opened = self.tape.len();
        self.push(kind, self.at, false);
        self.at += 1;
        self.space();
        Ok(opened)
    }

    fn close(&mut self, opened: usize) {
        let (end, next) = (narrow(self.at), narrow(self.tape.len()));
        if let Some(node) = self.tape.get_mut(opened) {
            node.end = end;
            node.next = next;
        }
    }

    fn string(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.not_json()),
            }
        }
        self.at += 1;
        self.push(Kind::String, start, escaped);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), ParseError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => match self.unit()? {
                0xD800..=0xDBFF => {
                    // RFC 8259 section 8.2: half a pair has no meaning that two readers share.
                    self.expect(b'\\')?;
                    if self.peek() != Some(b'u') || !matches!(self.unit()?, 0xDC00..=0xDFFF) {
                        return Err(self.not_json());
                    }
                }
                0xDC00..=0xDFFF => return Err(self.not_json()),
                _ => {}
            },
            _ => return Err(self.not_json()),
        }
        Ok(())
    }

    /// The UTF-16 code unit of `u` and four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, ParseError> {
        self.at += 1;
        (0..4).try_fold(0, |unit, _| {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(|| self.not_json())?;
            self.at += 1;
            Ok(unit << 4 | digit)
        })
    }

    fn number(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.push(Kind::Number, start, false);
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), ParseError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.not_json());
        }
        self.at += count;
        Ok(())
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Result<(), ParseError> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            return Err(self.not_json());
        }
        let start = self.at;
        self.at += word.len();
        self.push(kind, start, false);
        Ok(())
    }

    /// Puts a value that ends here on the tape.
    fn push(&mut self, kind: Kind, start: usize, escaped: bool) {
        let next = narrow(self.tape.len() + 1);
        self.tape.push(Node { start: narrow(start), end: narrow(self.at), next, kind, escaped });
    }

    /// Few names are compared each with each; many are sorted, so that no body buys quadratic time.
    fn refuse_duplicates(&mut self, object: usize) -> Result<(), ParseError> {
        self.keys.clear();
        let mut at = object + 1;
        while let Some(key) = self.tape.get(at) {
            self.keys.push(*key);
            let value = self.tape.get(key.next as usize);
            at = value.map_or(self.tape.len(), |value| value.next as usize);
        }
        let duplicate = if self.keys.len() <= COMPARED_IN_PAIRS {
            let mut rest = self.keys.as_slice();
            loop {
                let Some((key, after)) = rest.split_first() else {
                    break None;
                };
                if let Some(again) = after.iter().find(|other| same(self.text, key, other)) {
                    break Some(again.start);
                }
                rest = after;
            }
        } else {
            let text = self.text;
            // By length first, which needs no look at the text, unless some name is spelled longer than it is.
            let escaped = self.keys.iter().any(|key| key.escaped);
            let lengths = |a: &Node, b: &Node| if escaped { Ordering::Equal } else { a.bytes().cmp(&b.bytes()) };
            let order = |a: &Node, b: &Node| lengths(a, b).then_with(|| compare(text, a, b));
            self.keys.sort_unstable_by(order);
            let pairs = self.keys.iter().zip(self.keys.iter().skip(1));
            pairs.filter(|(a, b)| order(a, b).is_eq()).map(|(a, b)| a.start.max(b.start)).min()
        };
        duplicate.map_or(Ok(()), |at| Err(ParseError { cause: Cause::DuplicateMember, at: at as usize }))
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn closes(&mut self, bracket: u8) -> bool {
        let closes = self.peek() == Some(bracket);
        self.at += usize::from(closes);
        closes
    }

    fn expect(&mut self, byte: u8) -> Result<(), ParseError> {
        if self.closes(byte) { Ok(()) } else { Err(self.not_json()) }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn not_json(&self) -> ParseError {
        ParseError { cause: Cause::NotJson, at: self.at }
    }
}

/// Whether two names mean the same. Most differ in length already, which needs no look at the text.
fn same(text: &str, a: &Node, b: &Node) -> bool {
    let as_spelled = !a.escaped && !b.escaped;
    if as_spelled && a.bytes() != b.bytes() {
        return false;
    }
    compare(text, a, b).is_eq()
}

/// Compares two names as they are meant, not as they are spelled. Bytes and characters of UTF-8 sort alike.
fn compare(text: &str, a: &Node, b: &Node) -> Ordering {
    let (left, right) = (inner(text, a), inner(text, b));
    if a.escaped || b.escaped { text::unescape(left).cmp(text::unescape(right)) } else { left.cmp(right) }
}

/// What stands between a string's quotation marks.
fn inner<'t>(text: &'t str, string: &Node) -> &'t str {
    text.get(string.start as usize + 1..string.end as usize - 1).unwrap_or_default()
}

/// How many bytes at the start of `rest` stand for themselves in a string. Eight at a time: most of a body is
/// strings.
fn plain(rest: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    /// Marks the bytes of `word` below `bound`, at most 0x80, by their highest bits. A mark may be wrong only above
    /// a right one, since that is where a borrow comes from.
    const fn below(word: u64, bound: u8) -> u64 {
        word.wrapping_sub(ONES * bound as u64) & !word & HIGHS
    }
    let (chunks, tail) = rest.as_chunks::<8>();
    let mut skipped = 0;
    for chunk in chunks {
        // The first byte lowest, so that the first mark is the lowest and right.
        let word = u64::from_le_bytes(*chunk);
        let quote = below(word ^ (ONES * b'"' as u64), 1);
        let special = below(word, 0x20) | quote | below(word ^ (ONES * b'\\' as u64), 1);
        if special != 0 {
            return skipped + special.trailing_zeros() as usize / 8;
        }
        skipped += 8;
    }
    skipped + tail.iter().take_while(|byte| !matches!(byte, 0..0x20 | b'"' | b'\\')).count()
}

/// Offsets and positions: below [`super::LONGEST`], so they always fit.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// Up to so many names, comparing pairs is quicker than sorting.
const COMPARED_IN_PAIRS: usize = 16;

//! From text to tape: one pass, recursive by at most [`MAX_DEPTH`] levels.
//!
//! Invariant: a tape is only ever made of a text that is strict RFC 8259, has no duplicate member in any
//! object (compared unescaped) and no escape that stands for half a surrogate pair. Time is at most n log n
//! in the length of the text.

use std::cmp::Ordering;

use super::{Kind, MAX_DEPTH, Node, ParseError, text};
use crate::cause::Cause;

/// Parses a text that is not longer than [`super::MAX_BYTES`].
pub(super) fn parse(text: &str) -> Result<Vec<Node>, ParseError> {
    // Hook bodies have a name or value every twelve bytes or so; one that has more grows its tape.
    let tape = Vec::with_capacity(text.len() / 10 + 1);
    let mut parser = Parser {
        text,
        bytes: text.as_bytes(),
        at: 0,
        tape,
        keys: Vec::new(),
        cause: Cause::NotJson,
    };
    parser.space();
    let whole = parser.value(0).is_some() && {
        parser.space();
        parser.peek().is_none()
    };
    if whole { Ok(parser.tape) } else { Err(ParseError { cause: parser.cause, at: parser.at }) }
}

struct Parser<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    tape: Vec<Node>,
    /// The names of the object that is being closed: kept to be allocated once.
    keys: Vec<Node>,
    /// What is wrong at `at`, once something is. Here and not in what each step gives back, which is looked at a thousand times a
    /// body.
    cause: Cause,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b't') => self.literal("true", Kind::Bool),
            Some(b'f') => self.literal("false", Kind::Bool),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let opened = self.open(Kind::Object, depth)?;
        if !self.closes(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return None;
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

    fn array(&mut self, depth: usize) -> Option<()> {
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
        Some(())
    }

    /// Puts a container on the tape, to be finished by `close`.
    fn open(&mut self, kind: Kind, depth: usize) -> Option<usize> {
        if depth == MAX_DEPTH {
            self.cause = Cause::TooDeep;
            return None;
        }
        let opened = self.tape.len();
        self.push(kind, self.at, false);
        self.at += 1;
        self.space();
        Some(opened)
    }

    fn close(&mut self, opened: usize) {
        let (end, next) = (narrow(self.at), narrow(self.tape.len()));
        if let Some(node) = self.tape.get_mut(opened) {
            node.end = end;
            node.next = next;
        }
    }

    #[inline]
    fn string(&mut self) -> Option<()> {
        let start = self.at;
        self.at += 1;
        self.at += plain(self.bytes.get(self.at..).unwrap_or_default());
        if self.peek() != Some(b'"') {
            return self.string_with_escapes(start);
        }
        self.at += 1;
        self.push(Kind::String, start, false);
        Some(())
    }

    /// Goes on with a string at the first byte that is not plain. Apart, so that the usual string stays quick.
    #[cold]
    #[inline(never)]
    fn string_with_escapes(&mut self, start: usize) -> Option<()> {
        while self.peek()? != b'"' {
            if self.peek()? != b'\\' {
                return None;
            }
            self.escape()?;
            self.at += plain(self.bytes.get(self.at..).unwrap_or_default());
        }
        self.at += 1;
        self.push(Kind::String, start, true);
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => match self.unit()? {
                0xD800..=0xDBFF => {
                    // RFC 8259 section 8.2: half a pair has no meaning that two readers share.
                    self.expect(b'\\')?;
                    if self.peek() != Some(b'u') || !matches!(self.unit()?, 0xDC00..=0xDFFF) {
                        return None;
                    }
                }
                0xDC00..=0xDFFF => return None,
                _ => {}
            },
            _ => return None,
        }
        Some(())
    }

    /// The UTF-16 code unit of `u` and four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        self.at += 1;
        (0..4).try_fold(0, |unit, _| {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16))?;
            self.at += 1;
            Some(unit << 4 | digit)
        })
    }

    fn number(&mut self) -> Option<()> {
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
        Some(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        self.at += count;
        Some(())
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Option<()> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            return None;
        }
        let start = self.at;
        self.at += word.len();
        self.push(kind, start, false);
        Some(())
    }

    /// Puts a value that ends here on the tape.
    #[inline]
    fn push(&mut self, kind: Kind, start: usize, escaped: bool) {
        let next = narrow(self.tape.len() + 1);
        self.tape.push(Node { start: narrow(start), end: narrow(self.at), next, kind, escaped });
    }

    /// Each name is compared with those before it that could be the same; where there are many names they are sorted, so that no body
    /// buys quadratic time.
    fn refuse_duplicates(&mut self, object: usize) -> Option<()> {
        self.keys.clear();
        let (mut at, mut escaped) = (object + 1, false);
        while let Some(key) = self.tape.get(at) {
            escaped |= key.escaped;
            self.keys.push(*key);
            let value = self.tape.get(key.next as usize);
            at = value.map_or(self.tape.len(), |value| value.next as usize);
        }
        // What is spelled with escapes can mean what is marked otherwise, and marks do not pay for few names.
        let marked = !escaped && self.keys.len() > COMPARED_AT_ONCE;
        if self.keys.len() <= COMPARED_IN_PAIRS {
            let mut seen = [0_u64; MARKS / 64];
            for (number, key) in self.keys.iter().enumerate() {
                if marked {
                    let mark = mark(inner(self.bytes, key));
                    let marks = seen.get_mut(mark / 64)?;
                    let new = *marks & 1 << (mark % 64) == 0;
                    *marks |= 1 << (mark % 64);
                    if new {
                        continue;
                    }
                }
                if self.keys.iter().take(number).any(|other| same(self.text, key, other)) {
                    let key = *key;
                    return self.duplicate(&key);
                }
            }
            return Some(());
        }
        let text = self.text;
        // By length first, which needs no look at the text, unless some name is spelled longer than it is.
        let lengths =
            |a: &Node, b: &Node| if escaped { Ordering::Equal } else { a.bytes().cmp(&b.bytes()) };
        let order = |a: &Node, b: &Node| lengths(a, b).then_with(|| compare(text, a, b));
        self.keys.sort_unstable_by(order);
        let pairs = self.keys.iter().zip(self.keys.iter().skip(1));
        let repeated = pairs
            .filter(|(a, b)| order(a, b).is_eq())
            .map(|(a, b)| if a.start > b.start { a } else { b });
        let repeated = repeated.min_by_key(|key| key.start).copied();
        repeated.map_or(Some(()), |key| self.duplicate(&key))
    }

    fn duplicate<T>(&mut self, key: &Node) -> Option<T> {
        (self.cause, self.at) = (Cause::DuplicateMember, key.start as usize);
        None
    }

    #[inline]
    fn space(&mut self) {
        // Mostly there is none, and one look says so.
        while let Some(byte) = self.peek().filter(|byte| *byte <= b' ') {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return;
            }
            self.at += 1;
        }
    }

    #[inline]
    fn closes(&mut self, bracket: u8) -> bool {
        let closes = self.peek() == Some(bracket);
        self.at += usize::from(closes);
        closes
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.closes(byte).then_some(())
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

/// Names that differ mostly differ in this: how long they are, and how they begin, go on and end.
fn mark(name: &[u8]) -> usize {
    let at = |index: usize| usize::from(name.get(index).copied().unwrap_or_default());
    let last = name.len().saturating_sub(1);
    (name.len()
        ^ at(0).wrapping_mul(29)
        ^ at(last / 2).wrapping_mul(53)
        ^ at(last).wrapping_mul(101))
        % MARKS
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
    if a.escaped || b.escaped {
        let characters =
            |node| text::unescape(str::from_utf8(inner(text.as_bytes(), node)).unwrap_or_default());
        return characters(a).cmp(characters(b));
    }
    inner(text.as_bytes(), a).cmp(inner(text.as_bytes(), b))
}

/// What stands between a string's quotation marks.
fn inner<'t>(text: &'t [u8], string: &Node) -> &'t [u8] {
    text.get(string.start as usize + 1..string.end as usize - 1).unwrap_or_default()
}

/// How many bytes at the start of `rest` stand for themselves in a string. Eight at a time: most of a body is
/// strings.
#[inline]
fn plain(rest: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let (chunks, tail) = rest.as_chunks::<8>();
    let mut skipped = 0;
    for chunk in chunks {
        // The first byte lowest, so that the first mark is the lowest. A byte is marked by its highest bit where taking
        // something from it borrows: 0x20, or one where it was made zero. A mark may be wrong only above a right one, since
        // that is where a borrow comes from; and where the byte has that bit itself, which is taken out last.
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20);
        let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
        let escape = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
        let special = (control | quote | escape) & !word & HIGHS;
        if special != 0 {
            return skipped + special.trailing_zeros() as usize / 8;
        }
        skipped += 8;
    }
    skipped + tail.iter().take_while(|byte| !matches!(byte, 0..0x20 | b'"' | b'\\')).count()
}

/// Offsets and positions: below [`super::MAX_BYTES`], so they always fit.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// Up to so many names, comparing those that could be the same is quicker than sorting.
const COMPARED_IN_PAIRS: usize = 64;
/// Up to so many names, comparing each with each is quickest.
const COMPARED_AT_ONCE: usize = 8;
/// How finely names are told apart before they are compared.
const MARKS: usize = 256;

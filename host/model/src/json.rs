//! JSON as it was sent: strict RFC 8259, parsed once into a compact tape that points back into the text.
//!
//! Invariant: a [`Document`] is valid UTF-8, valid JSON, at most [`MAX_DEPTH`] levels deep and
//! without duplicate members, so that no two readers of it can understand it differently; every
//! [`Value`] can show the exact text it came from. Ours, because it is the call path: one
//! allocation for the text and one for the tape, whatever the number of values. A document does not
//! convert numbers (a value keeps its spelling). [`ObjectWriter`] writes JSON and shares with it
//! only how a string is escaped.

mod document_text;
mod parse;
mod pointer;
mod text;
mod write;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroize as _;

use crate::cause::Cause;

pub use document_text::Text;
pub use pointer::{array_index, escape_token, split_pointer};
pub use text::quote;
pub use write::{
    ArrayWriter, Number, ObjectWriter, build_array, build_members, build_object, build_text,
    write_array, write_object,
};

/// A parsed text; clones share it. Deliberately without `Debug`: it holds what a platform says about people.
#[derive(Clone)]
pub struct Document(Arc<Parsed>);

struct Parsed {
    text: Box<str>,
    tape: Vec<Node>,
    secret: AtomicBool,
}

/// One value of a [`Document`].
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document,
    node: &'a Node,
    /// Where `node` stands on the tape.
    at: usize,
}

/// What sort of value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, kept as it is spelled.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// Why a text was refused. Says where, never what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is refused at byte {at}: {}", cause.code())]
pub struct ParseError {
    /// [`Cause::NotUtf8`], [`Cause::NotJson`], [`Cause::DuplicateMember`], [`Cause::TooDeep`] or
    /// [`Cause::BodyTooLarge`].
    pub cause: Cause,
    /// Byte offset of the first thing that is wrong; of the repeated name for a duplicate member.
    pub at: usize,
}

impl Document {
    /// Parses a whole text; nothing but white space may follow the value.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_BYTES {
            return Err(ParseError { cause: Cause::BodyTooLarge, at: MAX_BYTES });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ParseError { cause: Cause::NotUtf8, at: error.valid_up_to() })?;
        let tape = parse::parse(text)?;
        Ok(Self(Arc::new(Parsed { text: text.into(), tape, secret: AtomicBool::new(false) })))
    }

    /// Likewise, wiped when the last that shares it is dropped: it holds a secret.
    #[must_use]
    pub fn secret(self) -> Self {
        self.0.secret.store(true, Ordering::Relaxed);
        self
    }

    /// The outermost value.
    #[inline]
    pub fn root(&self) -> Value<'_> {
        Value { document: self, node: self.0.tape.first().unwrap_or(&NULL), at: 0 }
    }

    /// The whole text, byte for byte as it was parsed.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// [`Value::pointer`] from the root.
    pub fn pointer(&self, pointer: &str) -> Option<Value<'_>> {
        self.root().pointer(pointer)
    }

    #[inline]
    fn value(&self, at: usize) -> Option<Value<'_>> {
        Some(Value { document: self, node: self.0.tape.get(at)?, at })
    }
}

impl<'a> Value<'a> {
    /// The text of this value as it was sent.
    #[inline]
    pub fn raw(self) -> &'a str {
        self.document
            .text()
            .get(self.node.start as usize..self.node.end as usize)
            .unwrap_or_default()
    }

    /// The same as a text that outlives this value.
    #[inline]
    pub fn text(self) -> Text {
        Text::part(self.document, self.node.start..self.node.end)
    }

    /// [`Value::as_str`] as a text that outlives this value; only one with escapes is copied.
    #[inline]
    pub fn string(self) -> Option<Text> {
        if self.node.escaped {
            return self.as_str().map(Text::from);
        }
        (self.node.kind == Kind::String)
            .then(|| Text::part(self.document, self.node.start + 1..self.node.end - 1))
    }

    /// The text of this value, but with `instead` (JSON text) wherever one of the pointers, which start at the document's root, leads
    /// to a value strictly inside it.
    pub fn without(self, pointers: &[&str], instead: &str) -> Cow<'a, str> {
        let inside = |value: &Value<'_>| {
            value.node.start > self.node.start && value.node.end <= self.node.end
        };
        let mut spans: Vec<_> = pointers
            .iter()
            .filter_map(|pointer| self.document.pointer(pointer).filter(inside))
            .map(|value| (value.node.start as usize, value.node.end as usize))
            .collect();
        if spans.is_empty() {
            return Cow::Borrowed(self.raw());
        }
        spans.sort_unstable();
        let (mut out, mut at) = (String::with_capacity(self.raw().len()), self.node.start as usize);
        for (start, end) in spans {
            // One inside another is gone already.
            if start >= at {
                out.push_str(self.document.text().get(at..start).unwrap_or_default());
                out.push_str(instead);
                at = end;
            }
        }
        out.push_str(self.document.text().get(at..self.node.end as usize).unwrap_or_default());
        Cow::Owned(out)
    }

    /// What sort of value it is.
    #[inline]
    pub fn kind(self) -> Kind {
        self.node.kind
    }

    /// Whether it is `null`.
    #[inline]
    pub fn is_null(self) -> bool {
        self.node.kind == Kind::Null
    }

    /// Whether it is an object.
    #[inline]
    pub fn is_object(self) -> bool {
        self.node.kind == Kind::Object
    }

    /// Whether it is an array.
    #[inline]
    pub fn is_array(self) -> bool {
        self.node.kind == Kind::Array
    }

    /// The string, unescaped; nothing where it is no string.
    #[inline]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.quoted()?;
        Some(if self.node.escaped {
            Cow::Owned(text::unescape(inner).collect())
        } else {
            Cow::Borrowed(inner)
        })
    }

    /// The number, where it is spelled as a whole number from 0 to 2^64 - 1 without fraction or exponent.
    pub fn as_u64(self) -> Option<u64> {
        (self.node.kind == Kind::Number).then(|| self.raw().parse().ok())?
    }

    /// A time as JSON Web Tokens have it (`NumericDate`, RFC 7519 section 2): seconds since the
    /// epoch, perhaps with a fraction, as whole milliseconds. Nothing where it is no number,
    /// negative, or too large for any date.
    pub fn as_epoch_millis(self) -> Option<u64> {
        if self.node.kind != Kind::Number {
            return None;
        }
        if let Some(seconds) = self.as_u64() {
            return Some(seconds.saturating_mul(1_000));
        }
        let millis = self.raw().parse::<f64>().ok()? * 1_000.0;
        // Up to there every whole number is one; it is the year 287,396.
        const MAX_MILLIS: f64 = 9_007_199_254_740_992.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked, and what is cut off is less than a millisecond"
        )]
        (0.0..MAX_MILLIS).contains(&millis).then_some(millis as u64)
    }

    /// The truth value.
    pub fn as_bool(self) -> Option<bool> {
        (self.node.kind == Kind::Bool).then(|| self.raw() == "true")
    }

    /// The member of that name; nothing where there is none or this is no object.
    #[inline]
    pub fn get(self, name: &str) -> Option<Self> {
        self.walk(Kind::Object, 2).find(|key| key.spells(name))?.following()
    }

    /// The element at that index, from 0; nothing where there is none or this is no array.
    pub fn index(self, index: usize) -> Option<Self> {
        self.walk(Kind::Array, 1).nth(index)
    }

    /// What a JSON Pointer (RFC 6901) points at; nothing where the pointer is malformed or points nowhere.
    #[inline]
    pub fn pointer(self, pointer: &str) -> Option<Self> {
        let Some(tokens) = pointer.strip_prefix('/') else {
            return pointer.is_empty().then_some(self);
        };
        tokens.split('/').try_fold(self, |value, token| {
            let token = pointer::unescape_token(token)?;
            match value.kind() {
                Kind::Array => value.index(array_index(&token)?),
                _ => value.get(&token),
            }
        })
    }

    /// Names and values of an object, in the order sent; none where it is no object.
    #[inline]
    pub fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        self.named().filter_map(|(key, value)| Some((key.as_str()?, value)))
    }

    /// The same, with the names as values.
    #[inline]
    pub fn named(self) -> impl Iterator<Item = (Self, Self)> {
        self.walk(Kind::Object, 2).filter_map(|key| Some((key, key.following()?)))
    }

    /// Elements of an array, in order; none where it is no array.
    #[inline]
    pub fn elements(self) -> impl Iterator<Item = Self> {
        self.walk(Kind::Array, 1)
    }

    /// Every `stride`-th value directly below, where this is of that kind. Two for objects: their names stand
    /// on the tape too.
    #[inline]
    fn walk(self, kind: Kind, stride: usize) -> impl Iterator<Item = Self> {
        let end = if self.node.kind == kind { self.node.next as usize } else { 0 };
        let document = self.document;
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            let value = document.value(at).filter(|_| at < end)?;
            at = value.node.next as usize;
            if stride == 2 {
                at = document.value(at)?.node.next as usize;
            }
            Some(value)
        })
    }

    /// The value after this one, on any level: the member's value where this is its name.
    #[inline]
    fn following(self) -> Option<Self> {
        self.document.value(self.node.next as usize)
    }

    /// Whether this string is that text.
    #[inline]
    fn spells(self, name: &str) -> bool {
        if self.node.escaped {
            return self.quoted().is_some_and(|inner| text::unescape(inner).eq(name.chars()));
        }
        // The length tells most apart, without a look at the text.
        let inner = self.node.start as usize + 1..self.node.end as usize - 1;
        self.node.kind == Kind::String
            && inner.len() == name.len()
            && self.document.text().as_bytes().get(inner) == Some(name.as_bytes())
    }

    /// The string between its quotation marks, still escaped.
    #[inline]
    fn quoted(self) -> Option<&'a str> {
        if self.node.kind != Kind::String {
            return None;
        }
        self.document.text().get(self.node.start as usize + 1..self.node.end as usize - 1)
    }
}

impl Drop for Parsed {
    fn drop(&mut self) {
        if *self.secret.get_mut() {
            self.text.zeroize();
        }
    }
}

/// One value on the tape; a member's name is a string before its value. 16 bytes, so the tape of the worst
/// text (`[1,1,1…`) is eight times as long as the text.
#[derive(Clone, Copy)]
struct Node {
    /// Byte offset where the value starts, quotation mark or bracket included.
    start: u32,
    /// Byte offset behind it.
    end: u32,
    /// The tape's position behind everything that belongs to it.
    next: u32,
    kind: Kind,
    /// Whether a string has escapes.
    escaped: bool,
}

impl Node {
    /// How long its spelling is.
    fn bytes(&self) -> u32 {
        self.end - self.start
    }
}

/// Levels of nesting. RFC 8259 section 9 leaves the limit to us; no hook sends more than about ten.
pub const MAX_DEPTH: usize = 64;

/// The longest text, bytes: 16 MiB. Far above any hook's body, whose own limit is the listener's.
pub const MAX_BYTES: usize = 16 << 20;

/// Stands in for a root that cannot be missing.
static NULL: Node = Node { start: 0, end: 0, next: 1, kind: Kind::Null, escaped: false };

#[cfg(test)]
mod tests;

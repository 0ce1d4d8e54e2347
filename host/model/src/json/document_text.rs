//! Text that a call holds: its own, or a stretch of the body that it came in.
//!
//! Invariant: reads as a `str` and never changes. A stretch keeps the body in memory instead of being copied out of it: a call has some
//! hundred of them. It names people, so `Debug` says only that it is there.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};

use super::Document;

/// A text.
#[derive(Clone)]
pub struct Text(Inner);

#[derive(Clone)]
enum Inner {
    Own(Box<str>),
    Part { document: Document, start: u32, end: u32 },
}

impl Text {
    /// A stretch of a body, by byte offsets. One that is none is empty.
    pub(crate) fn part(document: &Document, Range { start, end }: Range<u32>) -> Self {
        Self(Inner::Part { document: document.clone(), start, end })
    }

    /// As a `str`.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Inner::Own(text) => text,
            Inner::Part { document, start, end } => {
                document.text().get(*start as usize..*end as usize).unwrap_or_default()
            }
        }
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Inner::Own(text.into()))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Inner::Own(text.into()))
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        Self(Inner::Own(text.into()))
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        match text.0 {
            Inner::Own(text) => text.into(),
            Inner::Part { .. } => text.as_str().to_owned(),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_reads_as_what_it_was_cut_from() {
        let document = Document::parse("{\"clé\":\"a\\u00e9\",\"b\":[1, 2]}".as_bytes()).unwrap();
        let members: Vec<_> = document.root().named().collect();
        let [(first, escaped), (second, list)] = members[..] else { panic!("{}", members.len()) };
        drop(document.clone());
        assert!(first.string().unwrap() == *"clé" && second.string().unwrap() == *"b");
        assert!(escaped.string().unwrap() == *"aé" && escaped.text() == *"\"a\\u00e9\"");
        assert!(list.text() == *"[1, 2]" && list.string().is_none());
        let outlives = list.text();
        drop(document);
        assert!(outlives == *"[1, 2]");
    }
}

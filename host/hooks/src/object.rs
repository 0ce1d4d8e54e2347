//! Writing JSON: an object, member by member, and what several kinds write alike.
//!
//! Invariant: what is written is one JSON value as long as every member's text is; names are ours and need no escapes unless they are
//! said to be somebody else's.

use portcullis_model::Statement;
use portcullis_model::json::{Document, quote};

/// An object on its way.
pub(crate) struct Object(String);

impl Object {
    /// Without members.
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// A member that is a string.
    pub(crate) fn text(self, name: &str, text: &str) -> Self {
        self.with(name, |out| quote(out, text))
    }

    /// A member that is JSON text.
    pub(crate) fn json(self, name: &str, json: &str) -> Self {
        self.with(name, |out| out.push_str(json))
    }

    /// A member, where there is something to say.
    pub(crate) fn optional<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    /// The object.
    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn with(mut self, name: &str, write: impl FnOnce(&mut String)) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, name);
        self.0.push(':');
        write(&mut self.0);
        self
    }
}

/// An array of JSON texts.
pub(crate) fn array(elements: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut out = String::from("[");
    for element in elements {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(element.as_ref());
    }
    out.push(']');
    out
}

/// An array of strings.
pub(crate) fn strings<'a>(elements: impl IntoIterator<Item = &'a str>) -> String {
    array(elements.into_iter().map(text))
}

/// A string.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::new();
    quote(&mut out, text);
    out
}

/// A statement's payload as text: what a JSON string says, or else the JSON as it is.
pub(crate) fn payload_text(statement: &Statement) -> String {
    let document = Document::parse(statement.payload.as_bytes()).ok();
    let said = document.as_ref().and_then(|document| document.root().as_str());
    said.map_or_else(|| statement.payload.clone(), |said| said.into_owned())
}

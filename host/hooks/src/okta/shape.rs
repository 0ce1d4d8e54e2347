//! What both sorts of patches need: operations as they are written, and the shapes of what they touch.
//!
//! Invariant: a [`Shape`] knows what a value consists of, as far as paths and kinds can tell, and never a value.

use std::collections::BTreeMap;

use portcullis_model::json::{Kind, Value, array_index, write_object};

/// Operations in the order in which Okta carries them out (RFC 6902 in JSON).
#[derive(Default)]
pub(super) struct Operations(String);

/// What a value consists of.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Neither array nor object: its kind.
    Leaf(Kind),
    Array(Vec<Shape>),
    Object(BTreeMap<String, Shape>),
}

impl Operations {
    /// Appends one. `value` is JSON text.
    pub(super) fn write(&mut self, operation: &str, path: &str, value: Option<&str>) {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        write_object(&mut self.0, |object| {
            object.text("op", operation).text("path", path);
            if let Some(value) = value {
                object.json("value", value);
            }
        });
    }

    /// All of them as an array; nothing where there is none.
    pub(super) fn finish(mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push(']');
        Some(self.0)
    }
}

impl Shape {
    pub(super) fn of(value: Value<'_>) -> Self {
        match value.kind() {
            Kind::Array => Self::Array(value.elements().map(Self::of).collect()),
            Kind::Object => Self::Object(
                value.members().map(|(name, value)| (name.into_owned(), Self::of(value))).collect(),
            ),
            leaf => Self::Leaf(leaf),
        }
    }

    /// What stands below, at these tokens.
    pub(super) fn below(&mut self, tokens: &[String]) -> Option<&mut Self> {
        tokens.iter().try_fold(self, |shape, token| match shape {
            Self::Object(members) => members.get_mut(token),
            Self::Array(elements) => elements.get_mut(array_index(token)?),
            Self::Leaf(_) => None,
        })
    }

    /// Whether something of that shape can stand where this stands: the same kinds at the same places, and lists as long as they like.
    pub(super) fn takes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(Kind::Null), _) => false,
            (Self::Leaf(kind), Self::Leaf(other)) => kind == other,
            (Self::Array(elements), Self::Array(others)) => {
                let first = elements.first().unwrap_or(&Self::Leaf(Kind::String));
                !others.is_empty() && others.iter().all(|other| first.takes(other))
            }
            (Self::Object(members), Self::Object(others)) => {
                members.len() == others.len()
                    && members.iter().zip(others).all(|((name, it), (other_name, other))| {
                        name == other_name && it.takes(other)
                    })
            }
            _ => false,
        }
    }
}

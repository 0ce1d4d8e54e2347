//! The names of the person whom a call is about.
//!
//! Invariant: a name is compared without regard to case and outer spaces, so that another spelling
//! makes nobody another person.

use std::borrow::Cow;

use portcullis_guest::{Principal, strings};

use crate::compiled::Compiled;
use crate::entries::Entries;

/// The names of a person: id, attributes, and number in the register.
pub(crate) struct Person<'a>(Vec<Cow<'a, str>>);

impl<'a> Person<'a> {
    /// The names of the subject.
    pub fn of(settings: &Compiled, subject: &'a Principal, entries: &'a Entries) -> Self {
        let id = subject.id.as_deref().map(Cow::Borrowed);
        let attributes = settings
            .self_attributes
            .iter()
            .filter_map(|attribute| subject.attribute(attribute))
            .filter_map(strings);
        let numbers = entries.registered().iter().filter_map(|row| row.text("person"));
        Self(id.into_iter().chain(attributes.flatten()).chain(numbers).collect())
    }

    /// Returns whether this is one of the names.
    pub fn is(&self, name: &str) -> bool {
        self.0.iter().any(|own| same(own, name))
    }
}

/// People write the same word in several ways.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

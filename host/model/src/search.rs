//! Search: "which ones?" The subjects, resources or actions for which the answer would be yes (OpenID AuthZEN
//! Authorization API 1.0, *Search APIs*).
//!
//! Invariant: what passed [`Found::check`] is at most a page, names each result once, and has nothing in it that
//! is not well-formed. Whether the answer for a result really is yes is for the pipeline, which asks again.

use std::collections::BTreeSet;

use crate::call::Entity;
use crate::json::Document;

/// What a search is for: the one of the three that its call leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sought {
    /// Who may do it?
    Subject,
    /// To what may they do it?
    Resource,
    /// What may they do?
    Action,
}

/// Which part of the results is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// At most this many. At least 1.
    pub limit: u32,
    /// Where the page before ended; `None` for the first.
    pub token: Option<&'a str>,
}

/// One page of results.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// In the plugin's order. May be short, even empty, and not be the last.
    pub results: Vec<Entity>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Plugin: a page that cannot be used. Repeats nothing that the plugin wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    /// More results than were asked for.
    #[error("it has more results than the page may have")]
    TooMany,
    /// A token that is too long.
    #[error("its `next` is empty, longer than {LONGEST_TOKEN} bytes, or where the page began")]
    Token,
    /// A result without an id or with too long a one, or one that stands there twice.
    #[error("result {at} has no id of 1 to {LONGEST_ID} bytes that no other result has")]
    Id {
        /// Which result, counted from 1.
        at: usize,
    },
    /// An attribute whose value is not JSON.
    #[error("result {at} has an attribute whose value is not json")]
    Attribute {
        /// Which result, counted from 1.
        at: usize,
    },
}

impl Sought {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Subject, Self::Resource, Self::Action];

    /// The `phase` of a call that asks for this.
    pub fn phase(self) -> &'static str {
        match self {
            Self::Subject => "search-subject",
            Self::Resource => "search-resource",
            Self::Action => "search-action",
        }
    }

    /// What a call of this phase searches; `None` where it is no search.
    pub fn from_phase(phase: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sought| sought.phase() == phase)
    }
}

impl Found {
    /// Whether this can be the answer to a request for `page`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, page: &Page<'_>) -> Result<(), FoundError> {
        if u32::try_from(self.results.len()).map_or(true, |count| count > page.limit) {
            return Err(FoundError::TooMany);
        }
        // A page that leads back to itself would never end.
        let leads_on = |next: &str| (1..=LONGEST_TOKEN).contains(&next.len()) && page.token != Some(next);
        if self.next.as_deref().is_some_and(|next| !leads_on(next)) {
            return Err(FoundError::Token);
        }
        let mut seen = BTreeSet::new();
        for (at, result) in (1..).zip(&self.results) {
            let id = result.id.as_deref().unwrap_or_default();
            if !(1..=LONGEST_ID).contains(&id.len()) || !seen.insert((&result.type_name, id)) {
                return Err(FoundError::Id { at });
            }
            if result.attributes.iter().any(|attribute| Document::parse(attribute.value.as_bytes()).is_err()) {
                return Err(FoundError::Attribute { at });
            }
        }
        Ok(())
    }
}

/// Longest token, bytes: room for an id, and for what a plugin needs besides.
pub const LONGEST_TOKEN: usize = 2_048;

/// Longest id of a result, bytes.
pub const LONGEST_ID: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Attribute;

    fn result(id: Option<&str>, value: &str) -> Entity {
        let attributes = vec![Attribute { name: "a".into(), value: value.into() }];
        Entity { type_name: "record".into(), id: id.map(str::to_owned), attributes }
    }

    fn found(results: Vec<Entity>, next: Option<&str>) -> Found {
        Found { results, next: next.map(str::to_owned) }
    }

    #[test]
    fn phases_read_back() {
        for sought in Sought::ALL {
            assert_eq!(Sought::from_phase(sought.phase()), Some(sought));
        }
        assert_eq!(Sought::from_phase("request"), None);
    }

    #[test]
    fn a_page_is_bounded_and_well_formed() {
        let page = Page { limit: 2, token: Some("t") };
        let (one, other) = (result(Some("1"), "{}"), result(Some("2"), "null"));
        assert_eq!(found(vec![one.clone(), other.clone()], Some("u")).check(&page), Ok(()));
        assert_eq!(found(Vec::new(), None).check(&page), Ok(()));
        let third = result(Some("3"), "1");
        assert_eq!(found(vec![one.clone(), other, third], None).check(&page), Err(FoundError::TooMany));
        let long = "x".repeat(LONGEST_TOKEN + 1);
        for token in ["", "t", &long] {
            assert_eq!(found(Vec::new(), Some(token)).check(&page), Err(FoundError::Token), "{token}");
        }
        let long = "x".repeat(LONGEST_ID + 1);
        for id in [None, Some(""), Some("1"), Some(long.as_str())] {
            let found = found(vec![one.clone(), result(id, "1")], None);
            assert_eq!(found.check(&page), Err(FoundError::Id { at: 2 }), "{id:?}");
        }
        for value in ["", "{", "yes", "1 2"] {
            let found = found(vec![result(Some("1"), value)], None);
            assert_eq!(found.check(&page), Err(FoundError::Attribute { at: 1 }), "{value}");
        }
    }
}

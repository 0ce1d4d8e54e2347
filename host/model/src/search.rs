//! Search: "which ones?" The subjects, resources or actions for which the answer would be yes (OpenID AuthZEN
//! Authorization API 1.0, *Search APIs*).
//!
//! Invariant: what passed [`SearchPage::check`] is at most a page, in order, each result once, and
//! has nothing in it that is not well-formed. Whether the answer for a result really is yes is for
//! the pipeline, which asks again.

use crate::call::Entity;
use crate::json::Document;

/// The target of a search: the one of the three that its call leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SearchTarget {
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
    /// Only those whose ids come after this one, by their bytes; `None` for the first page.
    pub after: Option<&'a str>,
}

/// One page of results.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SearchPage {
    /// In the order of their ids. May be short, even empty, and not be the last.
    pub results: Vec<Entity>,
    /// The end of this page: the search has returned every result up to this id. `None` at the end.
    pub next: Option<String>,
}

/// Plugin: a page that cannot be used. Repeats nothing that the plugin wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchPageError {
    /// More results than were asked for.
    #[error("it has more results than the page may have")]
    TooMany,
    /// An end that is none.
    #[error(
        "its `next` is longer than {MAX_ID_BYTES} bytes, not after where the page began, or before \
         its last result"
    )]
    Next,
    /// A result without an id or with too long a one, or one that stands in the wrong place.
    #[error(
        "result {at} has no id of 1 to {MAX_ID_BYTES} bytes that comes after the one before it"
    )]
    Id {
        /// Which result, counted from 1.
        at: usize,
    },
    /// An attribute whose value is not JSON.
    #[error("result {at} has an attribute whose value is not JSON")]
    Attribute {
        /// Which result, counted from 1.
        at: usize,
    },
}

impl SearchTarget {
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

impl SearchPage {
    /// Whether this can be the answer to a request for `page`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, page: &Page<'_>) -> Result<(), SearchPageError> {
        if u32::try_from(self.results.len()).map_or(true, |count| count > page.limit) {
            return Err(SearchPageError::TooMany);
        }
        let mut before = page.after.unwrap_or_default();
        for (at, result) in (1..).zip(&self.results) {
            let id = result.id.as_deref().unwrap_or_default();
            if id.len() > MAX_ID_BYTES || id <= before {
                return Err(SearchPageError::Id { at });
            }
            before = id;
            if result
                .attributes
                .iter()
                .any(|attribute| Document::parse(attribute.value.as_bytes()).is_err())
            {
                return Err(SearchPageError::Attribute { at });
            }
        }
        // A page that leads back to itself would never end.
        let leads_on = |next: &str| {
            let from_here = if self.results.is_empty() { next > before } else { next >= before };
            next.len() <= MAX_ID_BYTES && from_here
        };
        if self.next.as_deref().is_some_and(|next| !leads_on(next)) {
            Err(SearchPageError::Next)
        } else {
            Ok(())
        }
    }
}

/// Longest id of a result, and longest end of a page, bytes.
pub const MAX_ID_BYTES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Attribute;

    fn result(id: Option<&str>, value: &str) -> Entity {
        let attributes = vec![Attribute { name: "a".into(), value: value.into() }];
        Entity { type_name: "record".into(), id: id.map(str::to_owned), attributes }
    }

    fn found(results: Vec<Entity>, next: Option<&str>) -> SearchPage {
        SearchPage { results, next: next.map(str::to_owned) }
    }

    #[test]
    fn phases_read_back() {
        for sought in SearchTarget::ALL {
            assert_eq!(SearchTarget::from_phase(sought.phase()), Some(sought));
        }
        assert_eq!(SearchTarget::from_phase("request"), None);
    }

    #[test]
    fn a_page_is_bounded_and_well_formed() {
        let page = Page { limit: 2, after: Some("0") };
        let (one, other) = (result(Some("1"), "{}"), result(Some("2"), "null"));
        assert_eq!(found(vec![one.clone(), other.clone()], Some("2")).check(&page), Ok(()));
        assert_eq!(found(Vec::new(), None).check(&page), Ok(()));
        let third = result(Some("3"), "1");
        assert_eq!(
            found(vec![one.clone(), other, third], None).check(&page),
            Err(SearchPageError::TooMany)
        );
        let long = "x".repeat(MAX_ID_BYTES + 1);
        for next in ["", "/", "0", &long] {
            assert_eq!(
                found(Vec::new(), Some(next)).check(&page),
                Err(SearchPageError::Next),
                "{next}"
            );
        }
        assert_eq!(found(vec![one.clone()], Some("00")).check(&page), Err(SearchPageError::Next));
        for id in [None, Some(""), Some("0"), Some("1"), Some(long.as_str())] {
            let found = found(vec![one.clone(), result(id, "1")], None);
            assert_eq!(found.check(&page), Err(SearchPageError::Id { at: 2 }), "{id:?}");
        }
        for value in ["", "{", "yes", "1 2"] {
            let found = found(vec![result(Some("1"), value)], None);
            assert_eq!(found.check(&page), Err(SearchPageError::Attribute { at: 1 }), "{value}");
        }
    }
}

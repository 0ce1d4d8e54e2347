//! Search: "which ones?" The subjects, resources or actions for which a plugin's answer would be yes.
//!
//! ```
//! use portcullis_guest::{
//!     Call, Decision, Effect, Finding, Found, Page, Plugin, Search, SearchTarget, search,
//! };
//!
//! /// Everybody on the list may read, and nobody else may do anything.
//! struct Readers(Vec<String>);
//!
//! impl Plugin for Readers {
//!     type Settings = Vec<String>;
//!
//!     fn configure(mut readers: Vec<String>) -> Result<Self, Vec<String>> {
//!         readers.sort();
//!         readers.dedup();
//!         Ok(Self(readers))
//!     }
//!
//!     fn evaluate(&self, call: &Call) -> Result<Decision, String> {
//!         let subject = call.subject.as_ref().and_then(|subject| subject.id.as_ref());
//!         let reads = call.action.as_ref().and_then(|action| action.id.as_deref()) == Some("read");
//!         let may = reads && subject.is_some_and(|subject| self.0.contains(subject));
//!         Ok(Decision::default().finding(Finding::new("READER", if may { Effect::Allow } else { Effect::Deny })))
//!     }
//! }
//!
//! impl Search for Readers {
//!     fn find(&self, call: &Call, page: &Page) -> Result<Found, String> {
//!         let actions = ["read".to_owned()];
//!         let candidates = match call.sought() {
//!             Some(SearchTarget::Subject) => &self.0[..],
//!             Some(SearchTarget::Action) => &actions,
//!             _ => &[],
//!         };
//!         search::filter_candidates(call, page, candidates, |call| {
//!             Ok(self.evaluate(call)?.verdict() == Effect::Allow)
//!         })
//!     }
//! }
//!
//! portcullis_guest::plugin!(Readers, search);
//! ```
//!
//! Invariant: what [`filter_candidates`] finds are exactly the candidates about whom the plugin
//! says yes, whichever pages they are asked for in; so a plugin that uses it never contradicts
//! itself.

use crate::{Call, Entity, Found, Page, Plugin, Principal, PrincipalKind};

/// A plugin that can also be asked which ones. Its manifest needs the capability `search`, and [`plugin!`](crate::plugin!) the
/// word `search`.
pub trait Search: Plugin {
    /// One page of those for whom [`Plugin::evaluate`] would say yes. [`Call::sought`] is what is searched. The same call
    /// and page must find the same, and what is unknown is found nowhere.
    ///
    /// What is found is proposed: the host asks about each of them again, this plugin and every other of the hook.
    ///
    /// # Errors
    /// Only when the search cannot be made: it is the plugin's failure, and the caller hears that there is no answer.
    fn find(&self, call: &Call, page: &Page) -> Result<Found, String>;
}

/// What a search is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchTarget {
    /// Who may do it?
    Subject,
    /// To what may they do it?
    Resource,
    /// What may they do?
    Action,
}

impl SearchTarget {
    /// The `phase` of a call that asks for this.
    pub fn phase(self) -> &'static str {
        match self {
            Self::Subject => "search-subject",
            Self::Resource => "search-resource",
            Self::Action => "search-action",
        }
    }
}

impl Call {
    /// What this call searches; `None` where it is no search.
    pub fn sought(&self) -> Option<SearchTarget> {
        let phase = self.phase.as_deref()?;
        [SearchTarget::Subject, SearchTarget::Resource, SearchTarget::Action]
            .into_iter()
            .find(|sought| sought.phase() == phase)
    }

    /// The type of what this call searches, in the platform's words; `None` where it is no search or does not say.
    pub fn sought_type(&self) -> Option<&str> {
        match self.sought()? {
            SearchTarget::Subject => {
                self.subject.as_ref().map(|subject| subject.type_name.as_str())
            }
            SearchTarget::Resource => {
                self.resource.as_ref().map(|resource| resource.type_name.as_str())
            }
            SearchTarget::Action => {
                Some(self.action.as_ref().map_or(ACTION, |action| action.type_name.as_str()))
            }
        }
    }
}

/// A page of the candidates about whom the answer is yes, found by asking about one after the other.
///
/// `candidates` are ids, sorted by their bytes, each once, all of the type that is sought. `yes` is
/// asked about the call with the candidate in its place, as the host would ask `evaluate`. A page
/// looks at no more than [`MAX_EVALUATED`] of them and tells no more than [`MAX_BYTES`], and may
/// then be short.
///
/// # Errors
/// The first that `yes` gives.
pub fn filter_candidates<S: AsRef<str>>(
    call: &Call,
    page: &Page,
    candidates: &[S],
    mut yes: impl FnMut(&Call) -> Result<bool, String>,
) -> Result<Found, String> {
    let mut found = Found { results: Vec::new(), next: None };
    let (Some(sought), Some(type_name)) = (call.sought(), call.sought_type()) else {
        return Ok(found);
    };
    let after = page.after.as_deref();
    let begin = candidates.partition_point(|id| after.is_some_and(|after| id.as_ref() <= after));
    let mut asked = Call { phase: None, ..call.clone() };
    let (mut rest, mut last, mut bytes) = (candidates.iter().skip(begin).peekable(), None, 0);
    for id in rest.by_ref().take(MAX_EVALUATED).map(AsRef::as_ref) {
        put(&mut asked, sought, type_name, id);
        last = Some(id);
        if !yes(&asked)? {
            continue;
        }
        bytes += type_name.len() + id.len();
        found.results.push(Entity {
            type_name: type_name.to_owned(),
            id: Some(id.to_owned()),
            attributes: Vec::new(),
        });
        if found.results.len() >= page.limit as usize || bytes >= MAX_BYTES {
            break;
        }
    }
    if rest.peek().is_some() {
        found.next = last.map(str::to_owned);
    }
    Ok(found)
}

/// The candidate in its place.
fn put(call: &mut Call, sought: SearchTarget, type_name: &str, id: &str) {
    let entity = || Entity { type_name: type_name.to_owned(), id: None, attributes: Vec::new() };
    let place = match sought {
        SearchTarget::Subject => {
            let (kind, attributes, entitlements) = (PrincipalKind::Other, Vec::new(), Vec::new());
            let nobody = || Principal {
                kind,
                type_name: type_name.to_owned(),
                id: None,
                attributes,
                entitlements,
            };
            &mut call.subject.get_or_insert_with(nobody).id
        }
        SearchTarget::Resource => &mut call.resource.get_or_insert_with(entity).id,
        SearchTarget::Action => &mut call.action.get_or_insert_with(entity).id,
    };
    let text = place.get_or_insert_default();
    text.clear();
    text.push_str(id);
}

/// How many candidates one page looks at: far more than a page has, and few enough for the time of one call.
pub const MAX_EVALUATED: usize = 10_000;

/// How many bytes of types and ids one page tells, so that it stays within any usual `output_bytes`.
pub const MAX_BYTES: usize = 32 << 10;

/// The type of an action that a call does not mention.
const ACTION: &str = "action";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    fn ids(found: &Found) -> Vec<&str> {
        found.results.iter().filter_map(|result| result.id.as_deref()).collect()
    }

    #[test]
    fn each_candidate_is_asked_about_in_its_place() {
        let call = testing::call("authzen").subject("u").action("action", "read");
        let call = call
            .resource_attribute("colour", "red")
            .search(SearchTarget::Resource, "record")
            .build();
        let mut seen = Vec::new();
        let page = Page { limit: 9, after: None };
        let found = filter_candidates(&call, &page, &["a", "b"], |call| {
            let resource = call.resource.clone().unwrap();
            assert_eq!(
                (call.phase.as_deref(), resource.text("colour").as_deref()),
                (None, Some("red"))
            );
            seen.push(resource.id.unwrap());
            Ok(true)
        });
        assert_eq!(
            (ids(&found.unwrap()), seen),
            (vec!["a", "b"], vec!["a".to_owned(), "b".to_owned()])
        );
        let nothing = testing::call("authzen").subject("u").build();
        assert!(
            filter_candidates(&nothing, &page, &["a"], |_| Ok(true)).unwrap().results.is_empty(),
            "it is no search"
        );
        let untyped = testing::call("authzen").search(SearchTarget::Action, "").build();
        assert!(filter_candidates(&untyped, &page, &["a"], |_| Err("no".to_owned())).is_err());
    }

    #[test]
    fn a_page_stops_after_so_many_and_says_where() {
        let candidates: Vec<String> = (0..MAX_EVALUATED + 5).map(|at| format!("{at:06}")).collect();
        let call = testing::call("authzen").search(SearchTarget::Subject, "user").build();
        let page = |after| Page { limit: 3, after };
        let last = candidates.last().unwrap().as_str();
        let only_last =
            |call: &Call| Ok(call.subject.as_ref().unwrap().id.as_deref() == Some(last));
        let first = filter_candidates(&call, &page(None), &candidates, only_last).unwrap();
        assert!(first.results.is_empty() && first.next.is_some());
        let second = filter_candidates(&call, &page(first.next), &candidates, only_last).unwrap();
        assert_eq!((ids(&second), second.next.as_deref()), (vec![last], None));
    }

    #[test]
    fn a_page_of_long_ids_is_short() {
        let candidates: Vec<String> = (0..100).map(|at| format!("{at:01000}")).collect();
        let call = testing::call("authzen").search(SearchTarget::Subject, "user").build();
        let found =
            filter_candidates(&call, &Page { limit: 100, after: None }, &candidates, |_| Ok(true))
                .unwrap();
        assert!(
            (30..40).contains(&found.results.len())
                && found.next.as_deref() == ids(&found).last().copied()
        );
    }

    proptest! {
        #[test]
        fn the_pages_together_are_the_filter_of_the_candidates(
            candidates in prop::collection::btree_map("[a-e]{1,3}", any::<bool>(), 0..40), limit in 1_u32..6
        ) {
            let all: Vec<&String> = candidates.keys().collect();
            let call = testing::call("authzen").search(SearchTarget::Action, "action").build();
            let yes = |call: &Call| Ok(candidates[call.action.as_ref().unwrap().id.as_ref().unwrap()]);
            let (mut together, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let found = filter_candidates(&call, &Page { limit, after }, &all, yes).unwrap();
                prop_assert!(found.results.len() <= limit as usize);
                together.extend(found.results.into_iter().filter_map(|result| result.id));
                after = found.next;
                pages += 1;
                prop_assert!(pages <= all.len() + 1);
                if after.is_none() {
                    break;
                }
            }
            let expected: Vec<String> = candidates.iter().filter(|(_, yes)| **yes).map(|(id, _)| id.clone()).collect();
            prop_assert_eq!(together, expected);
        }
    }
}

//! Search: those that the settings list, and about whom the rules say yes.
//!
//! Invariant: each is asked about as a call about it would be, so search and evaluation are the same rules over the same call.

use portcullis_guest::{Call, Found, Page, SearchTarget, search};

use crate::compiled::Compiled;
use crate::directory::ACTION;
use crate::evaluate::evaluate;

/// One page of them. Who is not listed, and whose type is not, is not found.
pub(crate) fn find(compiled: &Compiled, call: &Call, page: &Page) -> Result<Found, String> {
    let of_type = call.sought_type().unwrap_or_default();
    let candidates = match call.sought() {
        Some(SearchTarget::Subject) => compiled.subjects.ids(of_type),
        Some(SearchTarget::Resource) => compiled.resources.ids(of_type),
        Some(SearchTarget::Action) => compiled.actions.ids(ACTION),
        None => &[],
    };
    search::filter_candidates(call, page, candidates, |call| Ok(evaluate(compiled, call).allows()))
}

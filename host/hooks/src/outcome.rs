//! The outcome that an answer is written from, and the findings that it rests on.
//!
//! Invariant: an outcome is complete before it gets here: combined, mapped and with its texts. How
//! the texts are put together is in `reasons`; how an adapter writes it is in its own file.

use portcullis_model::{Change, Effect, HelpDeskReference};

/// The outcome to answer, after combination and mapping.
#[derive(Clone, Copy, Default)]
pub struct Outcome<'a> {
    /// The strictest effect. One that this hook kind cannot say, and that the binding maps, is said
    /// as it is mapped.
    pub verdict: Effect,
    /// The merged changes, without those that the binding maps.
    pub changes: &'a [Change],
    /// Text for people, from the message catalogue: of the first of the reasons. Answers show it
    /// through [`Outcome::shown_text`], which says how many more reasons there are.
    pub text: Option<&'a str>,
    /// The language of that text: a tag of the catalogue.
    pub language: &'a str,
    /// Every finding that the verdict rests on, the gravest first: for hook kinds that can point at
    /// more than one thing.
    pub reasons: &'a [Reason<'a>],
    /// The reference that the text of a denial ends with.
    pub reference: Option<HelpDeskReference>,
}

impl Outcome<'_> {
    /// The codes of the reasons, sorted, each once.
    pub fn codes(&self) -> Vec<&str> {
        let mut codes: Vec<_> = self.reasons.iter().map(|reason| reason.code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// One finding that a verdict rests on.
#[derive(Clone)]
pub struct Reason<'a> {
    /// The finding's code.
    pub code: &'a str,
    /// Text for people, from the message catalogue.
    pub text: String,
    /// The form field that it is about, as the plugin says: to be held against the request's own
    /// fields before it is repeated.
    pub field: Option<&'a str>,
}

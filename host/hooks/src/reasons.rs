//! The sentences behind the text of an answer: how many reasons it leaves out, and the help-desk
//! reference.
//!
//! Invariant: a text that stands for several reasons says so, in its own language, and the text of
//! a denial ends with its reference. The sentences hold a number, a reference and nothing that a
//! plugin wrote.

use std::borrow::Cow;
use std::collections::BTreeSet;

use portcullis_model::{Effect, HelpDeskReference};

use crate::outcome::{Outcome, Reason};

/// The most reasons of one outcome that have a text. An outcome with this many may rest on more, so
/// that a count of them is only the least there can be.
pub const MAX_REASONS: usize = 16;

impl Outcome<'_> {
    /// Returns the text that an answer shows, or `otherwise` where there is none. Where the outcome
    /// stops for other reasons too, the text says how many; that of a denial ends with its
    /// reference.
    pub fn text_or<'t>(&'t self, otherwise: &'t str) -> Cow<'t, str> {
        match self.text {
            Some(text) => self.with_count(text, |_| false),
            None => self.with_reference(Cow::Borrowed(otherwise)),
        }
    }

    /// Returns the text that an answer shows, as [`text_or`](Self::text_or) does. `None` where the
    /// outcome has neither a text nor a reference.
    pub fn shown_text(&self) -> Option<Cow<'_, str>> {
        let is_shown = self.text.is_some() || self.shown_reference().is_some();
        is_shown.then(|| self.text_or(""))
    }

    /// Returns the language of the text that an answer shows: English where the outcome has no text
    /// of its own.
    pub(crate) fn shown_language(&self) -> &str {
        if self.text.is_none() { "en" } else { self.language }
    }

    /// Adds to a text how many reasons there are besides it and those that the answer shows
    /// elsewhere, and the reference.
    pub(crate) fn with_count<'t>(
        &self,
        text: &'t str,
        shown: impl Fn(&Reason<'_>) -> bool,
    ) -> Cow<'t, str> {
        let text = match self.more(self.left_out(text, shown)) {
            Some(sentence) => Cow::Owned(format!("{text} {sentence}")),
            None => Cow::Borrowed(text),
        };
        self.with_reference(text)
    }

    /// Adds the reference to the text of a denial.
    pub(crate) fn with_reference<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        with_reference(text, self.shown_reference(), self.shown_language())
    }

    /// Returns the reference of a denial. What stops nobody shows none.
    fn shown_reference(&self) -> Option<HelpDeskReference> {
        self.reference.filter(|_| self.verdict > Effect::Allow)
    }

    /// Returns the sentence that this many reasons are left out. `None` where none is.
    pub(crate) fn more(&self, left_out: usize) -> Option<String> {
        if left_out == 0 {
            return None;
        }
        let [one, many, at_least, _] = sentences(self.language);
        let sentence = match left_out {
            _ if self.reasons.len() >= MAX_REASONS => at_least,
            1 => one,
            _ => many,
        };
        Some(sentence.replace("{}", &left_out.to_string()))
    }

    /// Returns how many different texts neither are `text` nor are shown elsewhere. An outcome that
    /// stops nobody leaves none out.
    fn left_out(&self, text: &str, shown: impl Fn(&Reason<'_>) -> bool) -> usize {
        if self.verdict <= Effect::Allow {
            return 0;
        }
        let shown: BTreeSet<&str> = self
            .reasons
            .iter()
            .filter(|reason| shown(reason))
            .map(|reason| reason.text.as_str())
            .chain([text, ""])
            .collect();
        let all: BTreeSet<&str> = self.reasons.iter().map(|reason| reason.text.as_str()).collect();
        all.difference(&shown).count()
    }
}

/// Adds a help-desk reference to a text, in the text's language.
pub(crate) fn with_reference<'t>(
    text: Cow<'t, str>,
    reference: Option<HelpDeskReference>,
    language: &str,
) -> Cow<'t, str> {
    let Some(reference) = reference else { return text };
    let [.., sentence] = sentences(language);
    let sentence = sentence.replace("{}", reference.as_str());
    Cow::Owned(if text.is_empty() { sentence } else { format!("{text} {sentence}") })
}

/// Returns the sentences of a language, given its tag.
fn sentences(language: &str) -> [&'static str; 4] {
    let primary = language.split('-').next().unwrap_or_default();
    let known = SENTENCES.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(primary));
    known.map_or(WITHOUT_WORDS, |(_, sentences)| *sentences)
}

/// Per language: the sentence for one reason, for several, for at least as many, and the one with
/// the help-desk reference.
const SENTENCES: [(&str, [&str; 4]); 7] = [
    ("", ENGLISH),
    ("en", ENGLISH),
    (
        "de",
        [
            "Es gibt {} weiteren Grund.",
            "Es gibt {} weitere Gründe.",
            "Es gibt mindestens {} weitere Gründe.",
            "Referenz für den Helpdesk: {}.",
        ],
    ),
    (
        "fr",
        [
            "Il y a {} autre raison.",
            "Il y a {} autres raisons.",
            "Il y a au moins {} autres raisons.",
            "Référence pour l’assistance : {}.",
        ],
    ),
    (
        "es",
        [
            "Hay {} motivo más.",
            "Hay {} motivos más.",
            "Hay al menos {} motivos más.",
            "Referencia para el soporte técnico: {}.",
        ],
    ),
    (
        "it",
        [
            "C’è {} altro motivo.",
            "Ci sono {} altri motivi.",
            "Ci sono almeno {} altri motivi.",
            "Riferimento per l’assistenza: {}.",
        ],
    ),
    (
        "nl",
        [
            "Er is nog {} andere reden.",
            "Er zijn nog {} andere redenen.",
            "Er zijn nog minstens {} andere redenen.",
            "Referentie voor de helpdesk: {}.",
        ],
    ),
];

const ENGLISH: [&str; 4] = [
    "There is {} more reason.",
    "There are {} more reasons.",
    "There are at least {} more reasons.",
    "Help-desk reference: {}.",
];

/// The text of a denial that has none of its own.
pub(crate) const DENIED: &str =
    "You do not have access here. Please call the help desk if you need it.";

/// The text where there is no decision.
pub(crate) const UNCHECKED: &str = "Your access could not be checked, so it is not given. Please \
     try again. If that does not help, call the help desk.";

/// For a language that has no sentence here.
const WITHOUT_WORDS: [&str; 4] = ["(+{})", "(+{})", "(+{}…)", "({})"];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(verdict: Effect, language: &str, texts: &[&str]) -> String {
        let reason = |text: &&str| Reason { code: "X", text: (*text).to_owned(), field: None };
        let reasons: Vec<_> = texts.iter().map(reason).collect();
        let text = texts.first().copied();
        let outcome = Outcome { verdict, text, language, reasons: &reasons, ..Outcome::default() };
        outcome.text_or("No text.").into_owned()
    }

    #[test]
    fn a_text_says_how_many_other_reasons_stop_the_request() {
        let deny = |texts: &[&str]| shown(Effect::Deny, "en", texts);
        assert_eq!(deny(&[]), "No text.");
        assert_eq!(deny(&["One."]), "One.");
        assert_eq!(deny(&["One.", "Two."]), "One. There is 1 more reason.");
        assert_eq!(deny(&["One.", "Two.", "Three."]), "One. There are 2 more reasons.");
        let review = shown(Effect::Review, "en", &["One.", "Two."]);
        assert_eq!(review, "One. There is 1 more reason.");
    }

    #[test]
    fn the_same_text_twice_is_one_reason() {
        assert_eq!(shown(Effect::Deny, "en", &["One.", "One.", "One."]), "One.");
        let twice = shown(Effect::Deny, "en", &["One.", "Two.", "Two."]);
        assert_eq!(twice, "One. There is 1 more reason.");
    }

    #[test]
    fn a_denial_ends_with_its_reference_in_the_language_of_its_text() {
        let reference = HelpDeskReference::parse("K7QF2MXA").ok();
        let shown = |verdict, text, language| {
            let outcome = Outcome { verdict, text, language, reference, ..Outcome::default() };
            (outcome.text_or("No text.").into_owned(), outcome.shown_text().map(Cow::into_owned))
        };
        let german = "Nein. Referenz für den Helpdesk: K7QF2MXA.".to_owned();
        assert_eq!(shown(Effect::Deny, Some("Nein."), "de-CH"), (german.clone(), Some(german)));
        assert_eq!(shown(Effect::Review, Some("Hapana."), "sw").0, "Hapana. (K7QF2MXA)");
        // A text that the host writes is English, whatever language the person reads.
        let (fixed, alone) = shown(Effect::Deny, None, "de");
        assert_eq!(fixed, "No text. Help-desk reference: K7QF2MXA.");
        assert_eq!(alone.as_deref(), Some("Help-desk reference: K7QF2MXA."));
        assert_eq!(shown(Effect::Allow, Some("Yes."), "en").0, "Yes.");
        assert_eq!(shown(Effect::Allow, None, "en").1, None);
    }

    #[test]
    fn what_stops_nobody_has_no_count() {
        assert_eq!(shown(Effect::Allow, "en", &["One.", "Two."]), "One.");
        assert_eq!(shown(Effect::Abstain, "en", &["One.", "Two."]), "One.");
    }

    #[test]
    fn the_count_is_in_the_language_of_the_text() {
        let say = |language| shown(Effect::Deny, language, &["1.", "2.", "3."]);
        assert_eq!(say("de"), "1. Es gibt 2 weitere Gründe.");
        assert_eq!(say("de-CH"), "1. Es gibt 2 weitere Gründe.");
        assert_eq!(say("FR"), "1. Il y a 2 autres raisons.");
        assert_eq!(say(""), "1. There are 2 more reasons.");
        // A number needs no words, where nobody has translated them.
        assert_eq!(say("sw"), "1. (+2)");
    }

    #[test]
    fn a_count_that_may_be_too_low_says_so() {
        let texts: Vec<_> = (0..MAX_REASONS).map(|number| format!("Rule {number}.")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let all = shown(Effect::Deny, "en", &texts);
        assert_eq!(all, "Rule 0. There are at least 15 more reasons.");
    }

    #[test]
    fn reasons_that_stand_elsewhere_in_the_answer_are_not_counted() {
        let reason = |text: &str, field| Reason { code: "X", text: text.to_owned(), field };
        let reasons = [reason("One.", None), reason("Two.", Some("email")), reason("Three.", None)];
        let outcome = Outcome { verdict: Effect::Deny, reasons: &reasons, ..Outcome::default() };
        let text = outcome.with_count("One.", |reason| reason.field.is_some());
        assert_eq!(text, "One. There is 1 more reason.");
    }
}

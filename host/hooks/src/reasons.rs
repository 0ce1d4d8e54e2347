//! The sentence that says how many reasons an answer leaves out.
//!
//! Invariant: a text that stands for several reasons says so, in its own language. The sentence
//! holds a number and nothing that a plugin wrote.

use std::borrow::Cow;
use std::collections::BTreeSet;

use portcullis_model::Effect;

use crate::{Outcome, Reason};

/// The most grounds of one outcome that have a text. An outcome with this many may rest on more, so
/// that a count of them is only the least there can be.
pub const MAX_GROUNDS: usize = 16;

impl Outcome<'_> {
    /// Returns the text that an answer shows, or `otherwise` where there is none. Where the outcome
    /// stops for other reasons too, the text says how many.
    pub fn text_or<'t>(&'t self, otherwise: &'t str) -> Cow<'t, str> {
        self.shown_text().unwrap_or(Cow::Borrowed(otherwise))
    }

    /// Returns the text that an answer shows. Where the outcome stops for other reasons too, the
    /// text says how many. `None` where the outcome has no text.
    pub fn shown_text(&self) -> Option<Cow<'_, str>> {
        self.text.map(|text| self.with_count(text, |_| false))
    }

    /// Adds to a text how many reasons there are besides it and those that the answer shows
    /// elsewhere.
    pub(crate) fn with_count<'t>(
        &self,
        text: &'t str,
        shown: impl Fn(&Reason<'_>) -> bool,
    ) -> Cow<'t, str> {
        match self.more(self.left_out(text, shown)) {
            Some(sentence) => Cow::Owned(format!("{text} {sentence}")),
            None => Cow::Borrowed(text),
        }
    }

    /// Returns the sentence that this many reasons are left out. `None` where none is.
    pub(crate) fn more(&self, left_out: usize) -> Option<String> {
        if left_out == 0 {
            return None;
        }
        let primary = self.language.split('-').next().unwrap_or_default();
        let sentences = SENTENCES.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(primary));
        let [one, many, at_least] = sentences.map_or(WITHOUT_WORDS, |(_, sentences)| *sentences);
        let sentence = match left_out {
            _ if self.reasons.len() >= MAX_GROUNDS => at_least,
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
            .filter(|ground| shown(ground))
            .map(|ground| ground.text.as_str())
            .chain([text, ""])
            .collect();
        let all: BTreeSet<&str> = self.reasons.iter().map(|ground| ground.text.as_str()).collect();
        all.difference(&shown).count()
    }
}

/// Per language: the sentence for one reason, for several, and for at least as many.
const SENTENCES: [(&str, [&str; 3]); 7] = [
    ("", ENGLISH),
    ("en", ENGLISH),
    (
        "de",
        [
            "Es gibt {} weiteren Grund.",
            "Es gibt {} weitere Gründe.",
            "Es gibt mindestens {} weitere Gründe.",
        ],
    ),
    (
        "fr",
        [
            "Il y a {} autre raison.",
            "Il y a {} autres raisons.",
            "Il y a au moins {} autres raisons.",
        ],
    ),
    ("es", ["Hay {} motivo más.", "Hay {} motivos más.", "Hay al menos {} motivos más."]),
    ("it", ["C’è {} altro motivo.", "Ci sono {} altri motivi.", "Ci sono almeno {} altri motivi."]),
    (
        "nl",
        [
            "Er is nog {} andere reden.",
            "Er zijn nog {} andere redenen.",
            "Er zijn nog minstens {} andere redenen.",
        ],
    ),
];

const ENGLISH: [&str; 3] = [
    "There is {} more reason.",
    "There are {} more reasons.",
    "There are at least {} more reasons.",
];

/// For a language that has no sentence here.
const WITHOUT_WORDS: [&str; 3] = ["(+{})", "(+{})", "(+{}…)"];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(verdict: Effect, language: &str, texts: &[&str]) -> String {
        let ground = |text: &&str| Reason { code: "X", text: (*text).to_owned(), field: None };
        let grounds: Vec<_> = texts.iter().map(ground).collect();
        let text = texts.first().copied();
        let outcome = Outcome { verdict, text, language, reasons: &grounds, changes: &[] };
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
        let texts: Vec<_> = (0..MAX_GROUNDS).map(|number| format!("Rule {number}.")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let all = shown(Effect::Deny, "en", &texts);
        assert_eq!(all, "Rule 0. There are at least 15 more reasons.");
    }

    #[test]
    fn reasons_that_stand_elsewhere_in_the_answer_are_not_counted() {
        let ground = |text: &str, field| Reason { code: "X", text: text.to_owned(), field };
        let grounds = [ground("One.", None), ground("Two.", Some("email")), ground("Three.", None)];
        let outcome = Outcome { verdict: Effect::Deny, reasons: &grounds, ..Outcome::default() };
        let text = outcome.with_count("One.", |ground| ground.field.is_some());
        assert_eq!(text, "One. There is 1 more reason.");
    }
}

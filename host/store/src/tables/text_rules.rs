//! Making texts equal before they are compared: white space, case, composition.
//!
//! Invariant: applying the rules to their own result changes nothing, so that a key that was made
//! equal once is found whatever way it takes. Text of ASCII letters is handled without allocation.
//! The cells of a table stay as they are; only comparisons use the result.

use std::borrow::Cow;

use unicase::UniCase;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

use super::declaration::{CaseRule, TextRules};

impl TextRules {
    /// Returns a text as it is compared.
    pub(crate) fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = if self.trim { text.trim() } else { text };
        if text.is_ascii() {
            return match self.case {
                CaseRule::None => Cow::Borrowed(text),
                CaseRule::Ascii | CaseRule::Unicode => lower_ascii(text),
            };
        }
        let cased = match self.case {
            CaseRule::None => Cow::Borrowed(text),
            // A letter that only looks like another case's, such as the sign for kelvin, becomes
            // one first.
            CaseRule::Ascii if self.nfc => {
                Cow::Owned(lower_ascii(&compose(Cow::Borrowed(text))).into_owned())
            }
            CaseRule::Ascii => lower_ascii(text),
            // Canonical caseless matching (Unicode 3.13, D145) decomposes before it folds.
            CaseRule::Unicode if self.nfc => Cow::Owned(fold(&text.nfd().collect::<String>())),
            CaseRule::Unicode => Cow::Owned(fold(text)),
        };
        if self.nfc { compose(cased) } else { cased }
    }

    /// Returns whether a text is compared as `applied`, which is a result of [`Self::apply`].
    pub(crate) fn equals(&self, text: &str, applied: &str) -> bool {
        if text.is_ascii() {
            let text = if self.trim { text.trim() } else { text };
            return match self.case {
                CaseRule::None => text == applied,
                CaseRule::Ascii | CaseRule::Unicode => text.eq_ignore_ascii_case(applied),
            };
        }
        self.apply(text) == applied
    }
}

fn compose(text: Cow<'_, str>) -> Cow<'_, str> {
    if is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return text;
    }
    Cow::Owned(text.nfc().collect())
}

fn lower_ascii(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn fold(text: &str) -> String {
    UniCase::unicode(text).to_folded_case()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(trim: bool, case: CaseRule, nfc: bool) -> TextRules {
        TextRules { trim, case, nfc }
    }

    #[test]
    fn spellings_of_one_name_are_equal() {
        let all = rules(true, CaseRule::Unicode, true);
        for (one, other) in [
            (" Ana ", "ANA"),
            ("STRASSE", "straße"),
            ("Jose\u{301}", "JOSÉ"),
            ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
            ("ﬁn", "FIN"),
            ("\u{1e9e}", "ss"),
            ("\u{3b1}\u{345}", "\u{391}\u{345}"),
            ("K", "\u{212a}"),
            ("J\u{30c}", "\u{1f0}"),
        ] {
            assert_eq!(all.apply(one), all.apply(other), "{one} {other}");
            assert!(all.equals(one, &all.apply(other)) && all.equals(other, &all.apply(one)));
        }
        // A dotless i is another letter than i: nothing Turkish happens by accident.
        assert_ne!(all.apply("\u{131}"), all.apply("I"));
        assert_ne!(all.apply("a b"), all.apply("ab"));
    }

    #[test]
    fn rules_that_are_off_change_nothing() {
        let none = rules(false, CaseRule::None, false);
        assert_eq!(none.apply(" E\u{301} "), " E\u{301} ");
        let ascii = rules(false, CaseRule::Ascii, false);
        assert_eq!(ascii.apply("ÉA"), "Éa");
        assert!(!ascii.equals("é", "É"));
        let composed = rules(false, CaseRule::Ascii, true);
        assert_eq!(composed.apply("\u{212a}"), "k");
        assert_eq!(composed.apply("J\u{30c}"), "\u{1f0}");
    }

    proptest! {
        #[test]
        fn applying_twice_changes_nothing(
            text in "[ a-zA-ZßİıſJK\u{212a}\u{300}-\u{345}\u{1f80}-\u{1fff}À-ž]{0,12}|\\PC{0,12}",
            trim: bool, case in 0..3, nfc: bool,
        ) {
            let case = [CaseRule::None, CaseRule::Ascii, CaseRule::Unicode][case as usize];
            let rules = rules(trim, case, nfc);
            let once = rules.apply(&text).into_owned();
            prop_assert_eq!(rules.apply(&once), once.as_str());
            prop_assert!(rules.equals(&text, &once));
        }
    }
}

//! Escapes for untrusted text that is shown: on terminals, in log lines and in JSON.
//!
//! Invariant: escaped text holds no character that moves a cursor, ends a line, changes the
//! direction of writing or is invisible; each of them is written as `\uXXXX`, which is also what
//! JSON writes, so that JSON text stays the same JSON text. This module does not escape for HTML:
//! the host writes none.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Escapes a text that is shown within one line: line breaks and tabs are escaped too.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_where(text, is_unsafe_to_show)
}

/// Escapes a text of several lines: line feeds and tabs stay.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_where(text, |character| {
        !matches!(character, '\n' | '\t') && is_unsafe_to_show(character)
    })
}

/// Returns whether a character can make a terminal or a page show something else than the text.
///
/// These are the controls C0 and C1 with DEL (ISO 6429), line and paragraph separators, the marks
/// that embed, override, isolate or hint at a direction (Unicode Standard Annex #9), invisible
/// operators and separators, and tag characters. The two joiners (U+200C, U+200D) are not among
/// them: names in several scripts need them, and they move nothing.
pub fn is_unsafe_to_show(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}')
}

fn escape_where(text: &str, unfit: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&unfit) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if unfit(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_or_turns_text_around_is_written_out() {
        for (text, shown) in [
            ("plain \"text\" é 医", "plain \"text\" é 医"),
            (
                "\u{1b}[2J\u{9b}2J\r\n\t\u{7f}\u{0}",
                r"\u001b[2J\u009b2J\u000d\u000a\u0009\u007f\u0000",
            ),
            ("\u{202e}evil\u{2066}\u{200f}\u{61c}", r"\u202eevil\u2066\u200f\u061c"),
            ("a\u{2028}b\u{feff}\u{200b}\u{e0041}", r"a\u2028b\ufeff\u200b\udb40\udc41"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ] {
            assert_eq!(escape(text), shown);
        }
        assert_eq!(escape_lines("a\n\tb\r\u{85}"), "a\n\tb\\u000d\\u0085");
    }

    proptest! {
        #[test]
        fn json_text_stays_the_same_value(value: String) {
            let mut json = String::new();
            crate::json::quote(&mut json, &value);
            let escaped = escape(&json).into_owned();
            let read = crate::Document::parse(escaped.as_bytes()).unwrap();
            prop_assert_eq!(read.root().as_str().unwrap().into_owned(), value);
            prop_assert!(!escaped.contains(is_unsafe_to_show));
        }
    }
}

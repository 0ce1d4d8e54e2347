//! The message catalogue: text for people, by finding code and language, from the signed manifest.
//!
//! Invariant: text that reaches a person is a template of the manifest, filled with typed arguments; a plugin
//! has no free text there. What is filled in can neither be long, nor break a line, nor turn the direction of
//! writing around, nor open an HTML tag.

use std::collections::BTreeMap;

use crate::call::Attribute;
use crate::json::{Document, Kind, Value};

/// Finding code → language → template. In a template, `{name}` stands for the argument of that name, `{{` and
/// `}}` for braces.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Messages(BTreeMap<String, BTreeMap<String, String>>);

/// Manifest: its message catalogue cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message `{code}`{} {problem}", language.as_deref().map(|it| format!(" in `{it}`")).unwrap_or_default())]
pub struct MessagesError {
    /// Under which finding code.
    pub code: String,
    /// In which language, where it is about one.
    pub language: Option<String>,
    /// The problem.
    pub problem: MessageProblem,
}

/// A problem of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageProblem {
    /// Codes are `[A-Z][A-Z0-9_]{0,63}`.
    #[error(
        "has a code that is not 1 to 64 capital letters, digits and underscores, a letter first"
    )]
    Code,
    /// English is what everybody gets who asks for a language that is not there.
    #[error("has no text in `en`")]
    NoEnglish,
    /// Not a language tag such as `de` or `pt-BR` (RFC 5646).
    #[error("has a language tag that is not valid")]
    Language,
    /// See [`MAX_MESSAGE_CHARS`].
    #[error("is empty or longer than {MAX_MESSAGE_CHARS} characters")]
    Length,
    /// Line breaks, other control characters, marks that turn the direction of writing.
    #[error("has a control character")]
    Control,
    /// Braces that do not pair, or a name that is none.
    #[error("has a placeholder that is not a name in braces")]
    Placeholder,
}

impl Messages {
    /// Whether every message can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn validate(&self) -> Result<(), MessagesError> {
        for (code, languages) in &self.0 {
            let wrong = |language: Option<&String>, problem| {
                Err(MessagesError { code: code.clone(), language: language.cloned(), problem })
            };
            if !is_code(code) {
                return wrong(None, MessageProblem::Code);
            }
            if !languages.contains_key(FALLBACK) {
                return wrong(None, MessageProblem::NoEnglish);
            }
            for (language, template) in languages {
                if !is_language(language) {
                    return wrong(Some(language), MessageProblem::Language);
                }
                if !(1..=MAX_MESSAGE_CHARS).contains(&template.chars().count()) {
                    return wrong(Some(language), MessageProblem::Length);
                }
                if template.contains(is_unprintable) {
                    return wrong(Some(language), MessageProblem::Control);
                }
                if pieces(template).any(|piece| piece == Piece::Malformed) {
                    return wrong(Some(language), MessageProblem::Placeholder);
                }
            }
        }
        Ok(())
    }

    /// Whether the catalogue has a message for that finding code.
    pub fn has(&self, code: &str) -> bool {
        self.0.contains_key(code)
    }

    /// The finding codes, sorted.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The languages that a code has a message in, sorted.
    pub fn languages(&self, code: &str) -> impl Iterator<Item = &str> {
        self.0.get(code).into_iter().flat_map(|languages| languages.keys().map(String::as_str))
    }

    /// The message for people and the tag of its language: in that language (case does not matter), else in its
    /// primary language (`pt` for `pt-BR`), else in English; nothing where the code is not in the catalogue.
    ///
    /// Strings are filled in without quotation marks, arrays with ", " between their elements, an
    /// argument that is missing or `null` as "…". At most [`MAX_MESSAGE_CHARS`] characters, without
    /// control characters and marks that turn the direction of writing. Arguments lose `<` and `>`
    /// too: platforms and flows show the text in pages that are not ours, and some show it as HTML.
    /// `&` stays, since names have it and it opens no tag.
    pub fn fill(
        &self,
        code: &str,
        language: &str,
        arguments: &[Attribute],
    ) -> Option<(&str, String)> {
        let languages = self.0.get(code)?;
        let primary = language.split('-').next().unwrap_or_default();
        let (tag, template) = [language, primary, FALLBACK].into_iter().find_map(|wanted| {
            languages.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(wanted))
        })?;
        let mut text = String::with_capacity(template.len() + 64);
        for piece in pieces(template) {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Argument(name) => {
                    match arguments.iter().find(|argument| argument.name == name) {
                        Some(argument) => {
                            let mut filled = String::new();
                            fill_in(&mut filled, &argument.value);
                            text.extend(filled.chars().filter(|&it| !is_unfit_argument(it)));
                        }
                        None => text.push(MISSING),
                    }
                }
                Piece::Malformed => {}
            }
        }
        Some((
            tag,
            text.chars()
                .filter(|&character| !is_unprintable(character))
                .take(MAX_MESSAGE_CHARS)
                .collect(),
        ))
    }
}

impl MessagesError {
    /// The code in records and on the command line.
    pub fn code(&self) -> &'static str {
        match self.problem {
            MessageProblem::Code => "message-code",
            MessageProblem::NoEnglish => "message-no-english",
            MessageProblem::Language => "message-language",
            MessageProblem::Length => "message-length",
            MessageProblem::Control => "message-control",
            MessageProblem::Placeholder => "message-placeholder",
        }
    }

    /// Returns the hint: what to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self.problem {
            MessageProblem::Code => "rename it, like `SOD_CONFLICT`".into(),
            MessageProblem::NoEnglish => format!("add an `en` text to `{}`", self.code),
            MessageProblem::Language => "use a tag such as `de` or `pt-BR`".into(),
            MessageProblem::Length => "shorten it, or remove it where it is empty".into(),
            MessageProblem::Control => "write it as one line of plain text".into(),
            MessageProblem::Placeholder => {
                "write `{name}` for an argument, and `{{` or `}}` for a brace".into()
            }
        })
    }
}

/// A part of a template.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Piece<'t> {
    /// As it stands.
    Text(&'t str),
    /// `{name}`: what is filled in.
    Argument(&'t str),
    /// A brace that belongs to nothing; nothing follows it.
    Malformed,
}

/// The parts of a template, in order.
pub fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (plain, brace) = rest.split_at_checked(rest.find(['{', '}']).unwrap_or(rest.len()))?;
        if !plain.is_empty() {
            rest = brace;
            return Some(Piece::Text(plain));
        }
        for (twice, once) in [("{{", "{"), ("}}", "}")] {
            if let Some(after) = rest.strip_prefix(twice) {
                rest = after;
                return Some(Piece::Text(once));
            }
        }
        let argument = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (piece, after) = match argument {
            Some((name, after)) if is_name(name) => (Piece::Argument(name), after),
            _ => (Piece::Malformed, ""),
        };
        rest = after;
        Some(piece)
    })
}

fn fill_in(text: &mut String, value: &str) {
    match Document::parse(value.as_bytes()) {
        Ok(document) => fill_in_value(text, document.root()),
        Err(_) => text.push(MISSING),
    }
}

fn fill_in_value(text: &mut String, value: Value<'_>) {
    match value.kind() {
        Kind::Null => text.push(MISSING),
        Kind::String => text.push_str(&value.as_str().unwrap_or_default()),
        Kind::Array => {
            for (index, element) in value.elements().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                fill_in_value(text, element);
            }
        }
        Kind::Bool | Kind::Number | Kind::Object => text.push_str(value.raw()),
    }
}

fn is_code(code: &str) -> bool {
    code.starts_with(|first: char| first.is_ascii_uppercase())
        && code.len() <= 64
        && code.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// The common form of RFC 5646 tags: subtags of up to eight letters and digits, the first of letters.
fn is_language(tag: &str) -> bool {
    let subtag = |subtag: &str| {
        (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let primary = tag.split('-').next().unwrap_or_default();
    primary.len() >= 2
        && primary.bytes().all(|byte| byte.is_ascii_alphabetic())
        && tag.split('-').all(subtag)
}

/// Control characters, line and paragraph separators, and the marks that embed, override or isolate a
/// direction of writing (Unicode Standard Annex #9), with which a value could make the text around it read
/// differently.
fn is_unprintable(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Characters of an argument that are left out: those above, the marks that only hint at a
/// direction (a template may need them, an argument does not), and what begins or ends an HTML tag.
fn is_unfit_argument(character: char) -> bool {
    is_unprintable(character)
        || matches!(character, '<' | '>' | '\u{200E}' | '\u{200F}' | '\u{061C}')
}

/// The longest template and the longest filled text, characters.
pub const MAX_MESSAGE_CHARS: usize = 500;

const FALLBACK: &str = "en";
const MISSING: char = '…';

#[cfg(test)]
mod tests;

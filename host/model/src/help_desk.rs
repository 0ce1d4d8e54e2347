//! The help-desk reference: eight characters that a person reads out to the help desk, which finds
//! the record of the denial by them.
//!
//! Invariant: a reference names no person and no event. It is a part of a keyed hash, so that
//! nobody without the key can tell which event it belongs to. It is short, and two events can have
//! the same one: the time and the hook of a record tell them apart.

use std::fmt;

use thiserror::Error;

/// A help-desk reference: 40 bits as eight characters of base32 (RFC 4648, section 6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HelpDeskReference {
    characters: [u8; LENGTH],
}

impl HelpDeskReference {
    /// Makes a reference of the first 40 bits of a keyed hash.
    pub fn of_hash(hash: u128) -> Self {
        let mut characters = [b'A'; LENGTH];
        for (character, place) in characters.iter_mut().zip(1_u32..) {
            let five = (hash >> (128 - 5 * place)) & 31;
            let letter = usize::try_from(five).ok().and_then(|five| ALPHABET.get(five));
            *character = letter.copied().unwrap_or(b'A');
        }
        Self { characters }
    }

    /// Reads a reference as a person writes it: in capitals or not, with blanks or hyphens between
    /// the characters, and perhaps with the full stop of the sentence that it ends.
    ///
    /// # Errors
    /// [`HelpDeskReferenceError`] where these are not eight characters of the alphabet.
    pub fn parse(text: &str) -> Result<Self, HelpDeskReferenceError> {
        let text = text.trim_end().trim_end_matches('.');
        let letters = text.chars().filter(|letter| !matches!(letter, ' ' | '-'));
        if letters.clone().count() != LENGTH {
            return Err(HelpDeskReferenceError::Length);
        }
        let mut characters = [0; LENGTH];
        for (character, letter) in characters.iter_mut().zip(letters) {
            *character = u8::try_from(letter.to_ascii_uppercase())
                .ok()
                .filter(|letter| ALPHABET.contains(letter))
                .ok_or(HelpDeskReferenceError::Character)?;
        }
        Ok(Self { characters })
    }

    /// Returns the eight characters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.characters).unwrap_or_default()
    }
}

impl fmt::Display for HelpDeskReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HelpDeskReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Operator: a text that is not a help-desk reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HelpDeskReferenceError {
    /// Too few or too many characters.
    #[error("a help-desk reference has eight characters")]
    Length,
    /// A character that no reference has.
    #[error(
        "a help-desk reference has only the letters A to Z and the digits 2 to 7: instead of 0, 1 \
         and 8 try the letters O, I and B"
    )]
    Character,
}

/// Characters of a reference, each of five bits. Among a million events the chance that any two
/// have the same reference is about one in three; the help desk looks for one of a known day and
/// hook.
const LENGTH: usize = 8;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reference_is_base32_of_the_first_forty_bits() {
        // `foobar` is the example of RFC 4648, section 10: its first five bytes are `MZXW6YTB`.
        let mut hash = [0; 16];
        hash[..6].copy_from_slice(b"foobar");
        let reference = HelpDeskReference::of_hash(u128::from_be_bytes(hash));
        assert_eq!(reference.as_str(), "MZXW6YTB");
    }

    #[test]
    fn a_reference_is_read_as_people_write_it() {
        let reference = HelpDeskReference::parse("MZXW6YTB").unwrap();
        for written in ["mzxw6ytb", "MZXW-6YTB", " mz xw 6y tb ", "MZXW6YTB."] {
            assert_eq!(HelpDeskReference::parse(written), Ok(reference), "{written}");
        }
        for short_or_long in ["", "MZXW6YT", "MZXW6YTBA"] {
            let length = Err(HelpDeskReferenceError::Length);
            assert_eq!(HelpDeskReference::parse(short_or_long), length, "{short_or_long}");
        }
        for foreign in ["MZXW0YTB", "MZXW1YTB", "MZXW8YTB", "MZXWßYTB", "MZXW6YT\u{130}"] {
            let character = Err(HelpDeskReferenceError::Character);
            assert_eq!(HelpDeskReference::parse(foreign), character, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn every_reference_is_read_back(hash: u128) {
            let reference = HelpDeskReference::of_hash(hash);
            prop_assert_eq!(HelpDeskReference::parse(reference.as_str()), Ok(reference));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = HelpDeskReference::parse(&text);
        }
    }
}

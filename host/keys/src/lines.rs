//! Files that hold secrets as lines of text: shared secrets, passwords, tokens.
//!
//! Invariant: a line that is taken is what the other side sends or checks, byte for byte.
//! Characters that an editor adds and nobody sees (a byte order mark, blanks around the text,
//! controls) are an error and are never removed, because the other side may have them too. Which
//! lines are enough, and how long each must be, is the caller's to check.

use std::path::Path;

use zeroize::Zeroizing;

use crate::{KeyError, read_secret_file};

/// The lines of a secret file, wiped when dropped.
pub struct SecretLines {
    text: Zeroizing<String>,
}

impl SecretLines {
    /// Returns the lines that are not empty, without their line ends.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| !line.is_empty())
    }

    /// Returns the first line. `None`: the file holds no text.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.iter().next()
    }
}

/// Reads a secret text file, as [`read_secret_file`] does, and checks each line.
///
/// # Errors
/// The file cannot be read, others may read it, or a line holds characters that cannot be meant.
pub fn read_secret_lines(path: &Path) -> Result<SecretLines, KeyError> {
    let text = read_secret_file(path)?;
    match fault(&text) {
        Some(why) => Err(KeyError::SecretText { path: path.display().to_string(), why }),
        None => Ok(SecretLines { text }),
    }
}

/// Returns what is wrong with a secret text, without any part of it.
fn fault(text: &str) -> Option<&'static str> {
    if text.starts_with(BYTE_ORDER_MARK) {
        return Some("it begins with a byte order mark (BOM)");
    }
    text.lines().find_map(|line| {
        if line.starts_with(is_blank) || line.ends_with(is_blank) {
            Some("a line begins or ends with a blank")
        } else if line.chars().any(|char| char.is_control() || is_invisible(char)) {
            Some("a line has a control character or an invisible character")
        } else {
            None
        }
    })
}

fn is_blank(char: char) -> bool {
    char.is_whitespace() || is_invisible(char)
}

/// Returns whether a character has no width: joiners, direction marks, the byte order mark.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
        || char == BYTE_ORDER_MARK
}

const BYTE_ORDER_MARK: char = '\u{feff}';

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<String>, KeyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        read_secret_lines(&path).map(|lines| lines.iter().map(str::to_owned).collect())
    }

    #[test]
    fn lines_are_taken_whole_with_any_line_end() {
        assert_eq!(read(b"one two\nthree").unwrap(), ["one two", "three"]);
        assert_eq!(read(b"one\r\n\r\ntwo\r\n").unwrap(), ["one", "two"]);
        assert_eq!(read("pass\u{e9}word".as_bytes()).unwrap(), ["pass\u{e9}word"]);
        assert!(read(b"\n\n").unwrap().is_empty());
    }

    #[test]
    fn characters_that_an_editor_adds_are_an_error_that_holds_no_secret() {
        for text in [
            "\u{feff}a-secret-of-sixteen\n",
            " a-secret-of-sixteen\n",
            "a-secret-of-sixteen \n",
            "a-secret-of-sixteen\t\n",
            "fine-first-line\n\u{a0}a-secret-of-sixteen\n",
            "a-secret\u{200b}-of-sixteen",
            "a-secret\0-of-sixteen",
            "a-secret-of-sixteen\u{1b}",
            " ",
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "key-secret-text", "{text:?}");
            assert!(error.hint().is_some());
            assert!(!error.to_string().contains("sixteen"), "{error}");
        }
    }

    #[test]
    fn a_file_in_another_encoding_is_an_error() {
        assert!(read(b"\xff\xfea\0b\0c\0").is_err());
    }
}

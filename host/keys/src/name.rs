//! The rules of a key's name (C2SP signed-note, *Format*).
//!
//! Invariant: a name that passes can stand in a signature line and in a vkey without being mistaken for another part of it.

use crate::KeyError;

/// Refuses a name that C2SP signed-note does not allow, or that is too long to be one.
pub fn check_name(name: &str) -> Result<(), KeyError> {
    let usable = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.chars().any(|c| c == '+' || c.is_whitespace() || c.is_control());
    usable
        .then_some(())
        .ok_or_else(|| KeyError::Name(name.chars().filter(|c| !c.is_control()).take(80).collect()))
}

/// No longer than a host name, so that a note stays small.
const MAX_NAME_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "audit.hospital.example/iam/2026", "ключ"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(254);
        for wrong in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "a\u{7}", &long] {
            assert_eq!(check_name(wrong).unwrap_err().code(), "key-name", "{wrong:?}");
        }
    }
}

//! Symmetric keys: 32 bytes, as 64 hexadecimal digits in a file (`openssl rand -hex 32` makes one).
//!
//! Invariant: wiped when dropped; no `Debug`. What a key is for is its owner's matter: derive, do not share.

use zeroize::Zeroizing;

use crate::KeyError;

/// 32 secret bytes.
#[derive(Clone)]
pub struct SymmetricKey(pub(crate) Zeroizing<[u8; 32]>);

impl SymmetricKey {
    /// Takes 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = Zeroizing::new([0; 32]);
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(KeyError::Symmetric("it does not have 64 hexadecimal digits"));
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(bytes))
    }

    /// The text form, for a file that only its owner may read.
    pub fn to_text(&self) -> Zeroizing<String> {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let mut text = Zeroizing::new(String::with_capacity(64));
        for byte in self.0.iter() {
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
        }
        text
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

fn nibble(digit: u8) -> Result<u8, KeyError> {
    let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    value.ok_or(KeyError::Symmetric("it has a character that is not a hexadecimal digit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        let key = SymmetricKey::generate().unwrap();
        assert_eq!(SymmetricKey::parse(&key.to_text()).unwrap().expose(), key.expose());
        let text = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eFF";
        let bytes = *SymmetricKey::parse(text).unwrap().expose();
        assert_eq!((bytes[0], bytes[30], bytes[31]), (0, 30, 255));
        for wrong in [
            "",
            text.trim_end_matches('F'),
            &text.replace('a', "g"),
            &format!("{text}00"),
            &text.replacen('0', " ", 1),
        ] {
            assert!(SymmetricKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! New keys from the operating system's randomness.
//!
//! Invariant: a key is made of bytes that the generator gave, or there is an error.

use zeroize::Zeroizing;

use crate::{KeyError, SecretKey, SymmetricKey};

impl SecretKey {
    /// Makes a new key from the operating system's randomness.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(seed.as_mut()).map_err(|_| KeyError::Randomness)?;
        Self::from_seed(name, &seed)
    }
}

impl SymmetricKey {
    /// Makes a new key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| KeyError::Randomness)?;
        Ok(Self(bytes))
    }
}

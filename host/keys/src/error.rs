//! Errors of a key or its file, in the operator's words.
//!
//! Invariant: no message holds any part of a secret; a key is named by its name or its file.

/// Why a key was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name breaks the rules of C2SP signed-note.
    #[error("the key name `{0}` is invalid")]
    Name(String),
    /// Not the form of a public key.
    #[error("not a public key: {0}")]
    Public(&'static str),
    /// Not the form of a secret key.
    #[error("not a secret key: {0}")]
    Secret(&'static str),
    /// Not the form of a symmetric key.
    #[error("not a symmetric key: {0}")]
    Symmetric(&'static str),
    /// The file could not be read or written.
    #[error("the key file `{path}` could not be {what}: {cause}")]
    File {
        /// The file, as the operator gave it.
        path: String,
        /// `read` or `written`.
        what: &'static str,
        /// The operating system's word.
        cause: String,
    },
    /// Others may read the file.
    #[error("the key file `{path}` is open to others (mode {mode:04o})")]
    Exposed {
        /// The file, as the operator gave it.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is larger than any key.
    #[error("the key file `{path}` is too large for a key")]
    TooLarge {
        /// The file, as the operator gave it.
        path: String,
    },
    /// A line of secret text holds characters that cannot be meant.
    #[error("the secret file `{path}` is invalid: {why}")]
    SecretText {
        /// The file, as the operator gave it.
        path: String,
        /// The problem, without any part of the secret.
        why: &'static str,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system provides no random bytes")]
    Randomness,
}

impl KeyError {
    /// The stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "key-name",
            Self::Public(_) => "key-public-malformed",
            Self::Secret(_) => "key-secret-malformed",
            Self::Symmetric(_) => "key-symmetric-malformed",
            Self::File { .. } => "key-file",
            Self::Exposed { .. } => "key-file-exposed",
            Self::TooLarge { .. } => "key-file-too-large",
            Self::SecretText { .. } => "key-secret-text",
            Self::Randomness => "key-randomness",
        }
    }

    /// Returns the hint: what to do about it, if anything can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name(_) => Some(
                "use a host and a path without spaces and `+`, such as \
                 `audit.hospital.example/2026`"
                    .into(),
            ),
            Self::Public(_) => Some(
                "give a public key in the form `name+8 hexadecimal \
             digits+base64`"
                    .into(),
            ),
            Self::Secret(_) => Some(
                "give a secret key in the form `PRIVATE+KEY+name+8 hexadecimal \
                 digits+base64`"
                    .into(),
            ),
            Self::Symmetric(_) => Some(
                "write 64 hexadecimal digits into the file; `openssl rand -hex 32` makes them"
                    .into(),
            ),
            Self::Exposed { path, .. } => {
                Some(format!("run `chmod 600 {path}`, and replace the key if others had access"))
            }
            Self::TooLarge { .. } => {
                Some("check that the setting names the key file and not another".into())
            }
            Self::SecretText { path, .. } => Some(format!(
                "write the file anew with one secret on each line and nothing else, for example \
                 with `printf '%s\\n' SECRET > {path}`"
            )),
            Self::File { .. } | Self::Randomness => None,
        }
    }
}

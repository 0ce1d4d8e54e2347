//! Keys as text: Ed25519 keys in the form of C2SP signed notes (and Go's `x/mod/sumdb/note`), 32-byte symmetric keys, and the
//! files that hold them.
//!
//! Invariant: one spelling and one check for every key of the project, whoever uses it; secret text
//! is wiped when dropped, has no `Debug`, and is read only from files that nobody else may read.
//! This crate does not decide what a key may sign. On a target without files and randomness
//! (wasm32, for verifiers) keys are read from text and checked, and nothing else.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")
)]

mod error;
#[cfg(unix)]
mod file;
#[cfg(unix)]
mod lines;
mod name;
mod public;
#[cfg(unix)]
mod random;
mod secret;
mod symmetric;

pub use error::KeyError;
#[cfg(unix)]
pub use file::{read_secret_file, write_secret_file};
#[cfg(unix)]
pub use lines::{SecretLines, read_secret_lines};
pub use name::check_name;
pub use public::{PublicKey, key_id};
pub use secret::SecretKey;
pub use symmetric::SymmetricKey;

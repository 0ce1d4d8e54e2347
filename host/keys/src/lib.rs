//! Keys as text: Ed25519 keys in the form of C2SP signed notes (and Go's `x/mod/sumdb/note`), 32-byte symmetric keys, and the
//! files that hold them.
//!
//! Invariant: one spelling and one check for every key of the project, whoever uses it; secret text is wiped when dropped, has no
//! `Debug`, and is read only from files that nobody else may read. What a key may sign is not decided here.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")
)]

mod error;
mod file;
mod lines;
mod name;
mod public;
mod secret;
mod symmetric;

pub use error::KeyError;
pub use file::{read_secret_file, write_secret_file};
pub use lines::{SecretLines, read_secret_lines};
pub use name::check_name;
pub use public::{PublicKey, key_id};
pub use secret::SecretKey;
pub use symmetric::SymmetricKey;

//! Reading what the operator names, and writing what was asked for.

use std::path::Path;

use portcullis_files::{read_bounded, read_text_bounded, write_atomic};

use crate::outcome::{Done, Failed};

/// Reads a file whole.
pub fn read(path: &Path) -> Done<Vec<u8>> {
    read_bounded(path, MAX_FILE_BYTES).map_err(|error| {
        Failed::configuration(format!("cannot read `{}`: {error}", path.display()))
    })
}

/// Reads a text file whole.
pub fn read_text(path: &Path) -> Done<String> {
    read_text_bounded(path, MAX_FILE_BYTES).map_err(|error| {
        Failed::configuration(format!("cannot read `{}`: {error}", path.display()))
    })
}

/// Writes a file whole or not at all, readable as the umask says. A link in its place is replaced.
pub fn write(path: &Path, bytes: &[u8]) -> Done {
    let failed = |error: std::io::Error| {
        Failed::configuration(format!("cannot write `{}`: {error}", path.display()))
    };
    write_atomic(path, bytes, 0o666).map_err(failed)
}

/// The largest file that a command reads, bytes: above any component and any file of a log.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

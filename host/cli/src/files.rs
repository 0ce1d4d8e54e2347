//! Reading what the operator names, and writing what was asked for.

use std::fs;
use std::path::Path;

use crate::outcome::{Done, Failed};

/// Reads a file whole.
pub fn read(path: &Path) -> Done<Vec<u8>> {
    fs::read(path).map_err(|error| {
        Failed::configuration(format!("cannot read `{}`: {error}", path.display()))
    })
}

/// Reads a text file whole.
pub fn read_text(path: &Path) -> Done<String> {
    fs::read_to_string(path).map_err(|error| {
        Failed::configuration(format!("cannot read `{}`: {error}", path.display()))
    })
}

/// Writes a file whole or not at all: beside its place first, then moved there.
pub fn write(path: &Path, bytes: &[u8]) -> Done {
    let failed = |error: std::io::Error| {
        Failed::configuration(format!("cannot write `{}`: {error}", path.display()))
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).map_err(failed)
}

//! Reading what the operator names, and writing what was asked for.

use std::io::ErrorKind;
use std::path::Path;

use portcullis_files::{read_bounded, read_text_bounded, write_atomic};
use portcullis_keys::PublicKey;

use crate::exit::{CliError, CliResult};

/// Reads a file whole.
pub fn read(path: &Path) -> CliResult<Vec<u8>> {
    read_bounded(path, MAX_FILE_BYTES).map_err(|error| {
        CliError::configuration(format!("cannot read `{}`: {error}", path.display()))
    })
}

/// Reads a text file whole.
pub fn read_text(path: &Path) -> CliResult<String> {
    read_text_bounded(path, MAX_FILE_BYTES).map_err(|error| {
        CliError::configuration(format!("cannot read `{}`: {error}", path.display()))
    })
}

/// Reads a public key's file (vkey).
pub fn read_public_key(path: &Path) -> CliResult<PublicKey> {
    let text = read_text(path)?;
    PublicKey::parse(text.trim()).map_err(|error| {
        let secret = text.trim_start().starts_with("PRIVATE+KEY");
        let hint = if secret {
            "this is the private key; give the public key, which `portcullis keys generate \
             --vkey` wrote"
        } else {
            "give the line that `portcullis keys generate --vkey` wrote"
        };
        CliError::configuration(format!("`{}`: {error}", path.display())).hint(Some(hint))
    })
}

/// Writes a file whole or not at all, readable as the umask says. A link in its place is replaced.
/// Where the file's folder is missing, it is made: `time-documents` and `trust-roots` begin so.
pub fn write(path: &Path, bytes: &[u8]) -> CliResult {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        match std::fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                let message = format!("cannot make the folder `{}`: {error}", folder.display());
                return Err(CliError::configuration(message).hint(Some(
                    "make the folders above it first; the command makes the last one \
                     only",
                )));
            }
        }
    }
    replace(path, bytes)
}

/// Writes a file of a folder that is there, whole or not at all, readable as the umask says, so
/// that hosts of other users can read it. A link in its place is replaced.
pub fn replace(path: &Path, bytes: &[u8]) -> CliResult {
    let failed = |error: std::io::Error| {
        CliError::configuration(format!("cannot write `{}`: {error}", path.display()))
    };
    write_atomic(path, bytes, 0o666).map_err(failed)
}

/// The largest file that a command reads, bytes: above any component and any file of a log.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

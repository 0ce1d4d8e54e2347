//! Files that hold secrets.
//!
//! Invariant: a secret is read only from a file that group and others may not touch, judged on the opened file itself, and a
//! secret file is created with that mode and never replaces another.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use portcullis_files::open_regular;
use zeroize::Zeroizing;

use crate::{KeyError, SecretKey, SymmetricKey};

impl SecretKey {
    /// Reads a key file: one line, readable by its owner only.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read_secret_file(path)?;
        Self::parse(text.trim_ascii_end())
    }
}

impl SymmetricKey {
    /// Reads a key file: one line, readable by its owner only.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read_secret_file(path)?;
        Self::parse(text.trim_ascii_end())
    }
}

/// Reads a secret text file of at most 4 KiB. A link is followed (mounted secrets are links); what it leads to is judged.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |cause: std::io::Error| failure(path, "read", &cause);
    let file = open_regular(path).map_err(|error| failed(error.into()))?.file;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.display().to_string(), mode });
    }
    // Allocated once at full size: a vector that grows would leave copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES + 1));
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_string(&mut text).map_err(failed)?;
    if text.len() > MAX_FILE_BYTES {
        return Err(KeyError::TooLarge { path: path.display().to_string() });
    }
    Ok(text)
}

/// Writes a secret and a line feed to a new file of mode 0600, durably. It does not use
/// `portcullis_files::write_atomic`, which would replace a key that is there.
pub fn write_secret_file(path: &Path, text: &str) -> Result<(), KeyError> {
    let failed = |cause: std::io::Error| failure(path, "written", &cause);
    #[expect(clippy::disallowed_methods, reason = "a new file, never through a link")]
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

fn failure(path: &Path, what: &'static str, cause: &std::io::Error) -> KeyError {
    KeyError::File { path: path.display().to_string(), what, cause: cause.to_string() }
}

/// Many times the longest key.
const MAX_FILE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn refuses_what_others_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_secret_file(&path, &SecretKey::generate("k").unwrap().to_text()).unwrap();
        assert!(SecretKey::read(&path).is_ok());
        assert_eq!(
            write_secret_file(&path, "again").unwrap_err().code(),
            "key-file",
            "never replaces"
        );
        for mode in [0o640, 0o604, 0o610, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let Err(error) = SecretKey::read(&path) else { panic!("{mode:o}") };
            assert_eq!(error.code(), "key-file-exposed");
            assert!(error.hint().unwrap().contains("chmod 600"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(SecretKey::read(&path).is_ok());
    }

    #[test]
    fn refuses_what_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        assert_eq!(read_secret_file(&path).unwrap_err().code(), "key-file");
        write_secret_file(&path, &"0".repeat(MAX_FILE_BYTES)).unwrap();
        assert_eq!(read_secret_file(&path).unwrap_err().code(), "key-file-too-large");
        assert!(SymmetricKey::read(&path).is_err());
    }
}

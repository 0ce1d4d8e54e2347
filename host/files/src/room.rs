//! How much room a disk has.
//!
//! Invariant: what only the superuser may use does not count as room. Between the question and a
//! write others may take the room: a write can still fail.

use std::io;
use std::path::Path;

/// Returns how many bytes an ordinary user may still write to the file system that holds `path`.
///
/// # Errors
/// The path is missing, or the file system does not tell.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let facts = rustix::fs::statvfs(path)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_tells_its_room_and_a_missing_path_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert_eq!(
            free_bytes(&folder.path().join("gone")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}

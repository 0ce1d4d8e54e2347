//! Whether the host could write its own folders, found out without writing.
//!
//! Invariant: nothing is created, opened for writing or locked. It answers for this process's user at
//! this moment: a disk that is full is found out by writing alone. For `check`; a start finds out by
//! what it does.

use std::io;
use std::path::{Path, PathBuf};

use portcullis_files::list_bounded;
use portcullis_store::memory::FILE_NAME as MEMORY_FILE;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::config::Config;
use crate::error::StartError;
use crate::memory;
use crate::start_problems::StartProblems;
use crate::trust::state_dir::STATE_HINT;

/// Checks the folders that a start must be able to write.
///
/// # Errors
/// [`StartError`] with the first place in each folder that cannot be written.
pub fn check(config: &Config) -> Result<(), StartError> {
    let mut problems = StartProblems::default();
    let own = [(&config.trust.state, STATE_HINT), (&config.audit.directory, AUDIT_HINT)];
    for (folder, hint) in own {
        let unusable = |(path, error): (PathBuf, io::Error)| StartError::File {
            what: "folder",
            path,
            why: format!("the host cannot write it: {error}"),
            hint: Some(hint.to_owned()),
        };
        problems.keep(check_folder(folder).map_err(unusable));
    }
    let (file, hint) = (memory_file(config), Some(AUDIT_HINT.to_owned()));
    let unusable = |error: io::Error| StartError::File {
        what: "memory of plugins",
        path: file.clone(),
        why: format!("the host cannot open it: {error}"),
        hint: hint.clone(),
    };
    problems.keep(check_memory(&file).map_err(unusable));
    problems.result()
}

fn memory_file(config: &Config) -> PathBuf {
    config.audit.directory.join(memory::FOLDER).join(MEMORY_FILE)
}

/// Checks the file of memory, if there is one. A running host has it open, so that only its type
/// and the rights are looked at.
fn check_memory(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent()
        && folder.symlink_metadata().is_ok_and(|it| !it.is_dir())
    {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    match file.symlink_metadata() {
        Ok(found) if !found.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"))
        }
        Ok(_) => Ok(accessat(CWD, file, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a folder can be written or, where it is missing, made; and the folders in it.
fn check_folder(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match may_write(folder) {
        Ok(()) => {
            let names = list_bounded(folder, &[], MAX_FOLDERS)
                .map_err(|error| (folder.to_owned(), error))?
                .names;
            let inside = names.into_iter().map(|name| folder.join(name));
            for below in inside.filter(|it| it.symlink_metadata().is_ok_and(|it| it.is_dir())) {
                may_write(&below).map_err(|error| (below, error))?;
            }
            Ok(())
        }
        Err(error) if missing(&error) => {
            let existing = folder
                .ancestors()
                .skip(1)
                .find(|above| above.as_os_str().is_empty() || above.symlink_metadata().is_ok());
            let above = existing.filter(|above| !above.as_os_str().is_empty());
            let above = above.unwrap_or(Path::new("."));
            may_write(above).map_err(|error| (above.to_owned(), error))
        }
        Err(error) => Err((folder.to_owned(), error)),
    }
}

fn may_write(folder: &Path) -> io::Result<()> {
    // A path with a slash at its end is a folder's, or an error.
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(accessat(CWD, folder.join(""), access, AtFlags::EACCESS)?)
}

/// Entries of one folder that are looked at: the host's own folders have a handful.
const MAX_FOLDERS: usize = 1_000;
/// The hint for a log that cannot be written.
const AUDIT_HINT: &str = "allow the host to write this folder, or set another as `audit.directory`";

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "folders of the tests' own")]
    use std::fs;

    use super::*;

    #[test]
    fn folders_that_are_there_or_can_be_made_pass() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state");
        check_folder(&folder.join("a/b")).unwrap();
        fs::create_dir_all(folder.join("roots")).unwrap();
        check_folder(&folder).unwrap();
        assert!(fs::read_dir(home.path()).unwrap().count() == 1, "nothing was made");
    }

    #[test]
    fn a_file_of_memory_is_one_or_is_missing() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("memory").join(MEMORY_FILE);
        check_memory(&file).unwrap();
        fs::write(home.path().join("memory"), "in the way").unwrap();
        assert_eq!(check_memory(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        fs::remove_file(home.path().join("memory")).unwrap();
        fs::create_dir_all(&file).unwrap();
        assert!(check_memory(&file).is_err());
        fs::remove_dir(&file).unwrap();
        fs::write(&file, "").unwrap();
        check_memory(&file).unwrap();
    }

    #[test]
    fn what_is_no_folder_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("state");
        fs::write(&file, "in the way").unwrap();
        assert_eq!(check_folder(&file).unwrap_err().0, file);
        let (named, error) = check_folder(&file.join("below")).unwrap_err();
        assert_eq!((named, error.kind()), (file.join("below"), io::ErrorKind::NotADirectory));
    }
}

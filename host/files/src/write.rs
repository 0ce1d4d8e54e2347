//! Atomic writes through temporary files with random names, and private folders.
//!
//! Invariant: a temporary file is created exclusively and never through a link, so that a planted
//! name decides nothing about what is written or where. A file is replaced by renaming: a link in
//! its place is replaced and not followed.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::rand::{GetRandomFlags, getrandom};

/// How much of a write has reached the disk when the function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The content and the name: for state that a decision or a promise rests on.
    Synced,
    /// Neither: for caches, which verify what they read and lose nothing by a power loss.
    Cached,
}

/// Creates a new file beside `path` with a random name and the permission bits `mode`, less those of the
/// process's umask.
///
/// Returns the file, open for writing, and its path. The name begins with a dot and ends in `.tmp`.
///
/// # Errors
/// The folder is not writable, or the system has no random numbers.
pub fn create_exclusive(path: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let mut random = [0_u8; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let mut name = OsString::from(".");
    // A long name is cut: with the suffix it could be longer than a file system takes.
    let stem = path.file_name().unwrap_or_default().as_bytes();
    let stem = stem.get(..stem.len().min(MAX_STEM)).unwrap_or_default();
    name.push(std::ffi::OsStr::from_bytes(stem));
    name.push(format!(".{:016x}{TEMPORARY}", u64::from_ne_bytes(random)));
    let temporary = path.with_file_name(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(&temporary, flags, Mode::from_raw_mode(mode))?;
    Ok((File::from(descriptor), temporary))
}

/// Writes a whole file so that a reader or a crash finds the old or the new content, never a part.
///
/// The content and the rename are synchronised to the disk before this function returns.
///
/// # Errors
/// The disk refused. Where it refused the content or the rename, the old file, if any, is unchanged and
/// the temporary file is removed. Where it refused only to synchronise the folder, which comes last, a
/// reader finds the new content already, and after a power loss the old or the new one. So a caller may
/// assume after an error that the file is whole, and not which of the two it is; to write it again is
/// safe.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_atomic_with(path, &[bytes], mode, Durability::Synced)
}

/// Writes a whole file of several pieces, as durable as it is asked to be.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_with(
    path: &Path,
    pieces: &[&[u8]],
    mode: u32,
    durability: Durability,
) -> io::Result<()> {
    let (mut file, temporary) = create_exclusive(path, mode)?;
    let synced = durability == Durability::Synced;
    let written = pieces
        .iter()
        .try_for_each(|piece| file.write_all(piece))
        .and_then(|()| if synced { file.sync_all() } else { Ok(()) })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    if synced { sync_folder_of(path) } else { Ok(()) }
}

/// Opens an existing regular file for reading and writing where it lies. A link is refused.
///
/// # Errors
/// The file is missing, a link, not a regular file, or not writable.
pub fn open_in_place(path: &Path) -> io::Result<File> {
    in_place(path, OFlags::empty(), 0)
}

/// Opens a regular file for reading and writing, such as a lock, and creates it where it is
/// missing. A link is refused.
///
/// # Errors
/// The file is a link, not a regular file, or not writable.
pub fn open_or_create(path: &Path, mode: u32) -> io::Result<File> {
    in_place(path, OFlags::CREATE, mode)
}

/// Creates a file that is written where it lies, or empties the one of that name. A link or a FIFO
/// of that name is removed first.
///
/// # Errors
/// The folder or the file is not writable.
pub fn create_or_empty(path: &Path, mode: u32) -> io::Result<File> {
    match in_place(path, OFlags::CREATE | OFlags::TRUNC, mode) {
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
                || error.kind() == io::ErrorKind::InvalidData =>
        {
            fs::remove_file(path)?;
            in_place(path, OFlags::CREATE | OFlags::EXCL, mode)
        }
        other => other,
    }
}

fn in_place(path: &Path, how: OFlags, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = flags | OFlags::NOCTTY | how;
    let descriptor = rustix::fs::open(path, flags, Mode::from_raw_mode(mode))?;
    let stat = rustix::fs::fstat(&descriptor)?;
    crate::read::require_regular(stat.st_mode)?;
    Ok(File::from(descriptor))
}

/// Makes the names in the folder of `path` durable.
///
/// # Errors
/// The disk refused.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
        _ => sync_folder(Path::new(".")),
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// It is no folder, or the disk refused.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    File::from(rustix::fs::open(folder, flags, Mode::empty())?).sync_all()
}

/// Creates a folder that only its owner may use, whatever the umask is; missing parents too. An
/// existing folder that others may use is closed to them where it is this user's own.
///
/// Returns whether an existing folder was open to others until now.
///
/// # Errors
/// The folder cannot be created, is no folder, or belongs to another user and is open to others.
pub fn create_private_folder(path: &Path) -> io::Result<bool> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    close_to_others(&File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Closes a folder to others than its owner, who must be this user. Returns whether it was open to them.
pub(crate) fn close_to_others(folder: &File) -> io::Result<bool> {
    let stat = rustix::fs::fstat(folder)?;
    if stat.st_mode & OTHERS == 0 {
        return Ok(false);
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        let what = "it belongs to another user, and others than its owner may use it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    rustix::fs::fchmod(folder, Mode::from_raw_mode(PRIVATE))?;
    Ok(true)
}

/// Removes temporary files that a writer left behind when it was ended, and returns how many. For
/// a folder with one writer, which is the caller.
///
/// # Errors
/// The folder is not readable.
pub fn remove_temporary_files(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)?.take(crate::MAX_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_bytes();
        if name.starts_with(b".") && name.ends_with(TEMPORARY.as_bytes()) {
            removed += usize::from(fs::remove_file(entry.path()).is_ok());
        }
    }
    Ok(removed)
}

/// How a temporary file's name ends.
const TEMPORARY: &str = ".tmp";
/// How much of a file's name its temporary file's name has: with the rest no more than 255 bytes.
const MAX_STEM: usize = 200;
/// The mode of a private folder.
const PRIVATE: u32 = 0o700;
/// The permissions of everybody but the owner.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic_with(&path, &[b"tw", b"o"], 0o600, Durability::Cached).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomic(&folder.path().join("n".repeat(255)), b"long name", 0o600).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        assert!(write_atomic(&path, b"new", 0o600).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_the_place_of_the_file_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, b"untouched").unwrap();
        let path = folder.path().join("state");
        symlink(&victim, &path).unwrap();
        write_atomic(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert!(!fs::symlink_metadata(&path).unwrap().file_type().is_symlink());
    }

    #[test]
    fn what_is_written_in_place_is_never_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, b"untouched").unwrap();
        let path = folder.path().join("segment");
        assert!(open_in_place(&path).is_err());
        symlink(&victim, &path).unwrap();
        assert!(open_in_place(&path).is_err());
        assert!(open_or_create(&path, 0o600).is_err());
        create_or_empty(&path, 0o600).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(create_or_empty(&path, 0o600).unwrap().metadata().unwrap().len(), 0);
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0)
            .unwrap();
        assert!(open_or_create(&fifo, 0o600).is_err());
        assert!(create_or_empty(&fifo, 0o600).is_ok());
    }

    #[test]
    fn a_private_folder_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert!(!create_private_folder(&path).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&folder.path().join("a")), 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(create_private_folder(&path).unwrap());
        assert_eq!(mode(&path), 0o700);
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(create_private_folder(&file).is_err());
    }

    #[test]
    fn temporary_files_of_an_ended_writer_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        drop(create_exclusive(&folder.path().join("state"), 0o600).unwrap());
        fs::write(folder.path().join("keep.tmp"), "").unwrap();
        fs::write(folder.path().join(".keep"), "").unwrap();
        assert_eq!(remove_temporary_files(folder.path()).unwrap(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

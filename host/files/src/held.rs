//! Folders that are held open: what is done below one happens in that folder, whatever its path names by then.
//!
//! Invariant: a path is looked up once, when the folder is opened. A file system that is mounted over it later, a folder
//! that is renamed, and a link in the place of a folder below it change nothing about where files are written. Paths of
//! [`HeldFolder::at`] lead through `/proc/self/fd` and are valid as long as the folder is held. Nothing here reads or
//! writes a file.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// A folder that is held open.
#[derive(Debug)]
pub struct HeldFolder {
    file: File,
    path: PathBuf,
}

/// The path of a held folder names another folder, or none.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{}` names another folder than the one that this process opened: it was renamed, or a file system was mounted \
     over it",
    path.display()
)]
pub struct Exchanged {
    path: PathBuf,
}

impl HeldFolder {
    /// Opens a folder. Links in the path are followed: the operator chose it.
    ///
    /// # Errors
    /// It is missing, no folder, or may not be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_as(path, path, OFlags::empty())
    }

    /// Opens the folder that `place` leads to, which is `path` to whoever reads of it, such as one below a held folder.
    /// Links are followed.
    ///
    /// # Errors
    /// As [`HeldFolder::open`].
    pub fn open_at(place: &Path, path: &Path) -> io::Result<Self> {
        Self::open_as(place, path, OFlags::empty())
    }

    /// Opens a folder in this one. A link of that name is refused.
    ///
    /// # Errors
    /// It is missing, no folder, or may not be opened.
    pub fn below(&self, name: &str) -> io::Result<Self> {
        Self::open_as(&self.at(name), &self.path.join(name), OFlags::NOFOLLOW)
    }

    /// Opens a folder in this one that is nobody else's, and creates it with mode 0700 where it is missing. A link of
    /// that name is removed, and what it leads to is not touched.
    ///
    /// # Errors
    /// It is no folder, or the disk refused.
    pub fn private_below(&self, name: &str) -> io::Result<Self> {
        let place = self.at(name);
        if fs::symlink_metadata(&place).is_ok_and(|facts| facts.is_symlink()) {
            fs::remove_file(&place)?;
        }
        match DirBuilder::new().mode(PRIVATE).create(&place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let folder = self.below(name)?;
        crate::write::close_to_others(&folder.file)?;
        Ok(folder)
    }

    /// A path to a name in this folder, for functions that take paths. Not for messages.
    #[must_use]
    pub fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        path.push(name.as_ref());
        path
    }

    /// The path that was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the names in this folder durable.
    ///
    /// # Errors
    /// The disk refused.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Whether its path still names this folder. A path of which the system says nothing for another reason than that it
    /// is gone counts as unchanged: a disk that fails now is noticed by whoever uses it.
    ///
    /// # Errors
    /// [`Exchanged`].
    pub fn check_path(&self) -> Result<(), Exchanged> {
        let exchanged = || Exchanged { path: self.path.clone() };
        let (named, held) = match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(named), Ok(held)) => (named, held),
            (Err(error), _)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(exchanged());
            }
            _ => return Ok(()),
        };
        let same = (named.dev(), named.ino()) == (held.dev(), held.ino());
        if same { Ok(()) } else { Err(exchanged()) }
    }

    fn open_as(place: &Path, path: &Path, flags: OFlags) -> io::Result<Self> {
        let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(place, flags, Mode::empty())?);
        Ok(Self { file, path: path.to_owned() })
    }
}

impl From<Exchanged> for io::Error {
    fn from(exchanged: Exchanged) -> Self {
        Self::other(exchanged)
    }
}

/// The mode of a private folder.
const PRIVATE: u32 = 0o700;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_written_below_a_held_folder_lands_in_it_whatever_its_path_names() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("a")).unwrap();
        let held = HeldFolder::open(&path("a")).unwrap();
        held.check_path().unwrap();
        fs::rename(path("a"), path("moved")).unwrap();
        assert!(held.check_path().is_err(), "gone");
        fs::create_dir(path("a")).unwrap();
        assert!(held.check_path().unwrap_err().to_string().contains("another folder"));
        fs::write(held.at("file"), "text").unwrap();
        held.sync().unwrap();
        assert_eq!(fs::read_to_string(path("moved/file")).unwrap(), "text");
        assert_eq!(fs::read_dir(path("a")).unwrap().count(), 0);
        fs::remove_dir(path("a")).unwrap();
        symlink(path("moved"), path("a")).unwrap();
        held.check_path().unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_below_is_refused_or_replaced_and_never_followed() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["victim", "state"] {
            fs::create_dir(path(folder)).unwrap();
        }
        fs::write(path("victim/precious"), "").unwrap();
        symlink(path("victim"), path("state/own")).unwrap();
        let held = HeldFolder::open(&path("state")).unwrap();
        assert!(held.below("own").is_err());
        assert!(held.below("missing").is_err());
        let own = held.private_below("own").unwrap();
        fs::write(own.at("file"), "").unwrap();
        assert!(path("state/own/file").exists() && !path("victim/file").exists());
        assert!(path("victim/precious").exists());
        assert_eq!(own.path(), path("state/own"));
        let mode = |name| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("state/own"), 0o700);
        fs::set_permissions(path("state/own"), fs::Permissions::from_mode(0o755)).unwrap();
        held.private_below("own").unwrap();
        assert_eq!(mode("state/own"), 0o700);
        fs::write(path("state/file"), "").unwrap();
        assert!(held.private_below("file").is_err());
    }
}

//! Bounded, non-blocking reads of regular files.
//!
//! Invariant: the type and the size are checked on the open descriptor, never on the path, so that
//! a file exchanged between the check and the read is still bounded.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The path names a FIFO, a device, a socket or a folder.
    #[error("it is not a regular file but {0}")]
    NotRegular(&'static str),
    /// The file holds more than the bound.
    #[error("it is larger than {max_bytes} bytes")]
    TooLarge {
        /// The bound, in bytes.
        max_bytes: u64,
    },
    /// The file is not UTF-8 text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ReadError {
    /// Returns whether the file is missing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidData, other.to_string()),
        }
    }
}

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct Regular {
    /// The open file.
    pub file: File,
    /// Its size in bytes when it was opened.
    pub size: u64,
}

impl Regular {
    /// Returns the file as a reader that ends after `max_bytes` bytes, for a file that is not to be
    /// held in memory whole.
    ///
    /// # Errors
    /// The file was larger than the bound when it was opened. A file that grows while it is read
    /// ends at the bound.
    pub fn take(self, max_bytes: u64) -> Result<io::Take<File>, ReadError> {
        if self.size > max_bytes {
            return Err(ReadError::TooLarge { max_bytes });
        }
        Ok(self.file.take(max_bytes))
    }

    /// Returns the whole content, of at most `max_bytes` bytes.
    ///
    /// # Errors
    /// The file is not readable or larger than the bound.
    pub fn read(self, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
        if self.size > max_bytes {
            return Err(ReadError::TooLarge { max_bytes });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        // One byte more shows that the file has grown over the bound meanwhile.
        self.file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_bytes {
            return Err(ReadError::TooLarge { max_bytes });
        }
        Ok(bytes)
    }
}

/// Opens a regular file for reading, without waiting for a writer of a FIFO or for a device.
///
/// A symbolic link is followed: a release folder is often a link to its current version, and
/// mounted secrets are links. The file that it leads to is checked on the open descriptor. The
/// first check, on the path, keeps a device from being opened at all: opening some has effects.
///
/// # Errors
/// The file is missing, not readable, or not a regular file.
pub fn open_regular(path: &Path) -> Result<Regular, ReadError> {
    let stat = rustix::fs::stat(path).map_err(io::Error::from)?;
    require_regular(stat.st_mode)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    let stat = rustix::fs::fstat(&descriptor).map_err(io::Error::from)?;
    require_regular(stat.st_mode)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(Regular { file: File::from(descriptor), size })
}

/// Refuses the mode of anything but a regular file.
pub(crate) fn require_regular(mode: rustix::fs::RawMode) -> Result<(), ReadError> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(ReadError::NotRegular("a folder")),
        FileType::Fifo => Err(ReadError::NotRegular("a FIFO")),
        FileType::Socket => Err(ReadError::NotRegular("a socket")),
        _ => Err(ReadError::NotRegular("a device")),
    }
}

/// Reads a whole regular file of at most `max_bytes` bytes.
///
/// # Errors
/// The file is missing, not readable, not regular, or larger than the bound.
pub fn read_bounded(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
    open_regular(path)?.read(max_bytes)
}

/// Reads a whole UTF-8 file of at most `max_bytes` bytes.
///
/// # Errors
/// As [`read_bounded`]; also a file that is not UTF-8.
pub fn read_text_bounded(path: &Path, max_bytes: u64) -> Result<String, ReadError> {
    String::from_utf8(read_bounded(path, max_bytes)?).map_err(|_| ReadError::NotText)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_regular_file_within_its_bound_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert!(matches!(read_bounded(&path, 4), Err(ReadError::TooLarge { max_bytes: 4 })));
        assert!(read_bounded(&folder.path().join("b"), 4).unwrap_err().is_missing());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        assert!(matches!(read_bounded(&fifo, 9), Err(ReadError::NotRegular("a FIFO"))));
        assert!(matches!(read_bounded(folder.path(), 9), Err(ReadError::NotRegular("a folder"))));
        let link = folder.path().join("zero");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert!(matches!(read_bounded(&link, 9), Err(ReadError::NotRegular("a device"))));
    }

    #[test]
    fn what_the_kernel_says_of_a_process_is_bounded_too() {
        // Regular files by their type, without an end, or that cannot be read.
        assert!(read_bounded(Path::new("/proc/self/mem"), 9).is_err());
        assert!(matches!(
            read_bounded(Path::new("/proc/self/pagemap"), 9),
            Err(ReadError::TooLarge { .. } | ReadError::Io(_))
        ));
    }

    #[test]
    fn a_reader_ends_at_the_bound_although_the_file_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grows");
        fs::write(&path, b"12345").unwrap();
        let mut reader = open_regular(&path).unwrap().take(5).unwrap();
        fs::write(&path, b"1234567890").unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), 5);
        let file = open_regular(&path).unwrap();
        fs::write(&path, vec![0; 100]).unwrap();
        assert!(matches!(file.read(50), Err(ReadError::TooLarge { max_bytes: 50 })));
    }

    #[test]
    fn a_sparse_file_over_its_bound_costs_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read_bounded(&path, 1024), Err(ReadError::TooLarge { .. })));
    }
}

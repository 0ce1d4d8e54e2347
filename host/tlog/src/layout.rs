//! The names of the files and directories in a log's directory.
//!
//! Invariant: the writer and the readers of a log take its names from here.

use std::path::{Path, PathBuf};

/// The public part of a log's directory.
pub const LOG_DIR: &str = "log";

/// The write-ahead log.
pub const WAL_DIR: &str = "wal";

/// The sealed parts.
pub const SEALED_DIR: &str = "sealed";

/// The signed head, in the public part.
pub const CHECKPOINT: &str = "checkpoint";

/// Records whose sealed parts share a file.
pub const RECORDS_PER_SEALED_FILE: u64 = 65_536;

/// Returns the paths of a pair of files below the directory of sealed parts: blobs, ends.
pub fn sealed_paths(dir: &Path, number: u64) -> (PathBuf, PathBuf) {
    (dir.join(format!("{number:06}.blobs")), dir.join(format!("{number:06}.ends")))
}

/// Returns the name of a segment of the write-ahead log.
pub fn segment_name(number: u32) -> String {
    format!("{number:04}{SEGMENT_SUFFIX}")
}

/// Returns the number of the segment that has this name. `None` for the name of another file.
pub fn segment_number(name: &str) -> Option<u32> {
    name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok().filter(|number| segment_name(*number) == name)
}

const SEGMENT_SUFFIX: &str = ".segment";

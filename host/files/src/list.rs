//! Names in a folder that others fill, bounded in number.
//!
//! Invariant: a listing holds at most so many names as its caller allows, and looks at no more
//! entries than [`MAX_ENTRIES`]; no file is opened and no link followed. A folder that hangs can
//! still hang a listing.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The names of a folder that a caller asked for, sorted by their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The names that were kept.
    pub names: Vec<OsString>,
    /// How many entries were not: those that the caller does not want, hidden ones among them.
    pub ignored: u64,
    /// Whether the folder has more than this listing: too many names, or too many entries.
    pub overfull: bool,
}

/// Lists a folder: the names that end in one of `suffixes` and do not begin with a dot, of at most
/// `max_names`. An empty list of suffixes keeps every visible name.
///
/// Hidden names are never kept: temporary files of a publisher and `._*` files of macOS among them.
///
/// # Errors
/// The folder is missing or not readable.
pub fn list_bounded(folder: &Path, suffixes: &[&str], max_names: usize) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for (number, entry) in fs::read_dir(folder)?.enumerate() {
        if number >= MAX_ENTRIES {
            listing.overfull = true;
            break;
        }
        let name = entry?.file_name();
        let bytes = name.as_bytes();
        let wanted =
            suffixes.is_empty() || suffixes.iter().any(|suffix| bytes.ends_with(suffix.as_bytes()));
        if !wanted || bytes.starts_with(b".") {
            listing.ignored = listing.ignored.saturating_add(1);
        } else if listing.names.len() >= max_names {
            listing.overfull = true;
        } else {
            listing.names.push(name);
        }
    }
    listing.names.sort_unstable();
    Ok(listing)
}

/// The most entries of one folder that a listing looks at: about 50 ms on a local disk.
pub const MAX_ENTRIES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_names_with_the_suffix_are_kept_and_no_more_than_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "._a.json", ".hidden", "c.wasm", "readme"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let listing = list_bounded(folder.path(), &[".json", ".wasm"], 9).unwrap();
        assert_eq!(listing.names, ["a.json", "b.json", "c.wasm"]);
        assert_eq!(listing.ignored, 3);
        assert!(!listing.overfull);
        let listing = list_bounded(folder.path(), &[".json", ".wasm"], 2).unwrap();
        assert_eq!(listing.names.len(), 2);
        assert!(listing.overfull);
        assert_eq!(list_bounded(folder.path(), &[], 9).unwrap().names.len(), 4);
        assert!(list_bounded(&folder.path().join("gone"), &[], 9).is_err());
    }
}

//! Names in a folder that others fill, bounded in number.
//!
//! Invariant: a listing holds at most so many names as its caller allows, and looks at no more
//! entries than its bound; no file is opened. A folder that hangs can still hang a listing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::Stamp;

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
        if !is_wanted(name.as_bytes(), suffixes) {
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

/// The newest files of a folder, of the names that a caller asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// The names that were kept, with their stamps, the newest first; what has no stamp is the oldest.
    pub files: Vec<(OsString, Option<Stamp>)>,
    /// How many further names of the kind there are.
    pub older: u64,
    /// How many entries the caller does not want, hidden ones among them.
    pub ignored: u64,
    /// Whether the folder has more entries than were looked at: newer files may be among them.
    pub overfull: bool,
}

impl Newest {
    /// How many files were passed over, as far as that is known.
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.older.saturating_add(u64::from(self.overfull))
    }

    /// The names that were kept, in the order of their bytes.
    #[must_use]
    pub fn in_order(self) -> Vec<(OsString, Option<Stamp>)> {
        let mut files = self.files;
        files.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        files
    }
}

/// Lists the newest `max_names` files of a folder whose names end in one of `suffixes` and do not begin
/// with a dot. Looks at `max_entries` entries, and asks the file system of each name of the kind when that
/// file changed last: no writer can choose that time. Links are followed for it, as [`Stamp::of`] does.
///
/// # Errors
/// The folder is missing or not readable.
pub fn list_newest(
    folder: &Path,
    suffixes: &[&str],
    max_names: usize,
    max_entries: usize,
) -> io::Result<Newest> {
    let mut newest = Newest::default();
    // The oldest of those that are kept is on top.
    let mut kept = BinaryHeap::new();
    for (number, entry) in fs::read_dir(folder)?.enumerate() {
        if number >= max_entries {
            newest.overfull = true;
            break;
        }
        let name = entry?.file_name();
        if !is_wanted(name.as_bytes(), suffixes) {
            newest.ignored = newest.ignored.saturating_add(1);
            continue;
        }
        let stamp = Stamp::of(&folder.join(&name));
        kept.push(Reverse((stamp.map(|stamp| stamp.changed()), name, stamp)));
        if kept.len() > max_names {
            kept.pop();
            newest.older = newest.older.saturating_add(1);
        }
    }
    // In ascending order of what is reversed: the newest first.
    let sorted = kept.into_sorted_vec().into_iter();
    newest.files = sorted.map(|Reverse((_, name, stamp))| (name, stamp)).collect();
    Ok(newest)
}

/// Whether a name is visible and ends as it should.
fn is_wanted(name: &[u8], suffixes: &[&str]) -> bool {
    let ends = |suffix: &&str| name.ends_with(suffix.as_bytes());
    !name.starts_with(b".") && (suffixes.is_empty() || suffixes.iter().any(ends))
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

    #[test]
    fn the_newest_files_are_listed_in_whatever_order_the_folder_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for number in 0..50 {
            fs::write(path(&format!("{number:02}.open")), "").unwrap();
        }
        fs::write(path("other"), "").unwrap();
        fs::write(path(".hidden.open"), "").unwrap();
        let all = list_newest(folder.path(), &[".open"], 99, 99).unwrap();
        assert_eq!((all.files.len(), all.older, all.overfull), (50, 0, false));
        assert_eq!((all.ignored, all.passed_over()), (2, 0));
        assert!(all.clone().in_order().is_sorted_by(|(one, _), (two, _)| one < two));
        // A file in the middle of the names becomes the newest: until the file system's clock has moved on.
        let before = all.files[0].1.unwrap().changed();
        let changed = || Stamp::of(&path("20.open")).unwrap().changed();
        while changed() <= before {
            fs::write(path("20.open"), "again").unwrap();
        }
        let newest = list_newest(folder.path(), &[".open"], 3, 99).unwrap();
        assert_eq!(newest.files[0].0, "20.open");
        assert_eq!((newest.files.len(), newest.older, newest.overfull), (3, 47, false));
        let times: Vec<_> =
            newest.files.iter().map(|(_, stamp)| stamp.unwrap().changed()).collect();
        assert!(times.is_sorted_by(|one, two| one >= two));
        assert!(list_newest(folder.path(), &[".open"], 3, 10).unwrap().overfull);
        assert!(list_newest(&path("gone"), &[".open"], 3, 9).is_err());
    }
}

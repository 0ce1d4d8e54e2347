//! The folder in which break-glass documents are opened and closed, read within bounds.
//!
//! Invariant: only files named `*.open.json` are read, the newest first, no more than
//! [`MAX_DOCUMENTS`] of them, and a file that has not changed only once; closing looks for the
//! names of open documents and nothing else. So nobody hides a document by filling the folder,
//! other than by writing newer ones all the time or more than [`MAX_ENTRIES`] files, which is
//! said. Decides nothing. A network file
//! system can hang here, so this runs on a thread that may hang.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_files::{ReadError, Stamp, list_newest, read_bounded};
use serde::Deserialize;

use crate::clock::{elapsed_since, monotonic_now};

/// A code and a sentence: why a file opens nothing.
pub type Refused = (&'static str, String);

/// The folder, and what its files held when they were read.
#[derive(Default)]
pub struct BreakGlassFolder {
    known: HashMap<PathBuf, (Stamp, Result<Arc<OpenRequest>, Refused>)>,
    /// When it may be looked at again: a folder that takes long is looked at less often.
    next: Option<Instant>,
}

/// The result of one poll.
#[derive(Default)]
pub struct FolderPoll {
    /// Files that open documents, by their names, the newest first.
    pub openings: Vec<(String, Result<Arc<OpenRequest>, Refused>)>,
    /// The same files with the stamps that they had before they were read.
    pub stamps: Vec<(PathBuf, Option<Stamp>)>,
    /// Ids of open documents that somebody closes.
    pub closing: Vec<String>,
    /// Files that open documents and were not read: there are too many.
    pub overlooked: u64,
}

/// The content of a file that opens a document.
pub struct OpenRequest {
    /// The document's envelope.
    pub envelope: Vec<u8>,
    /// The person who opens it.
    pub person: String,
    /// Why.
    pub reason: String,
    /// The number of a ticket.
    pub ticket: String,
}

/// The same as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The envelope, base64.
    document: String,
    person: String,
    reason: String,
    ticket: String,
}

impl BreakGlassFolder {
    /// Looks; `open` are the ids of documents that are open. `None` where it is too early.
    pub fn poll(&mut self, folder: &Path, open: &[String]) -> Option<FolderPoll> {
        let begin = monotonic_now();
        if self.next.is_some_and(|next| begin < next) {
            return None;
        }
        let looked = self.read(folder, open);
        let pause = elapsed_since(begin).saturating_mul(PAUSE).min(MAX_PAUSE);
        self.next = Some(monotonic_now() + pause);
        Some(looked)
    }

    fn read(&mut self, folder: &Path, open: &[String]) -> FolderPoll {
        let newest = list_newest(folder, &[OPEN], MAX_DOCUMENTS, MAX_ENTRIES).unwrap_or_default();
        let overlooked = newest.passed_over();
        let mut known = HashMap::new();
        let mut looked = FolderPoll { overlooked, ..FolderPoll::default() };
        for (name, stamp) in newest.files {
            let path = folder.join(&name);
            looked.stamps.push((path.clone(), stamp));
            let before = self.known.remove(&path).filter(|(before, _)| Some(*before) == stamp);
            let content = before.map_or_else(|| read(&path), |(_, content)| content);
            if let Some(stamp) = stamp {
                known.insert(path, (stamp, content.clone()));
            }
            looked.openings.push((name.to_string_lossy().into_owned(), content));
        }
        self.known = known;
        let is_closed =
            |id: &&String| std::fs::symlink_metadata(folder.join(format!("{id}{CLOSE}"))).is_ok();
        looked.closing = open.iter().filter(is_closed).cloned().collect();
        looked
    }
}

impl FolderPoll {
    /// Leaves out the files of which this does not say that they are as they were when they were
    /// read.
    pub fn leave_out_changed(&mut self, unchanged: &[bool]) {
        let mut unchanged = unchanged.iter();
        self.openings.retain(|_| unchanged.next().is_some_and(|is_unchanged| *is_unchanged));
    }
}

/// Puts the file of a document that is over out of the way, so that it is not taken for another try.
pub fn archive(folder: &Path, id: &str) {
    // The file may have another name, or be gone.
    drop(std::fs::rename(folder.join(format!("{id}{OPEN}")), folder.join(format!("{id}{DONE}"))));
    drop(std::fs::remove_file(folder.join(format!("{id}{CLOSE}"))));
}

/// Reads a file that opens a document.
fn read(path: &Path) -> Result<Arc<OpenRequest>, Refused> {
    let malformed = |what: &str| ("break-glass-malformed", what.to_owned());
    let bytes = match read_bounded(path, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(ReadError::TooLarge { .. }) => return Err(malformed("the file is too large")),
        Err(error) => return Err(("unreadable", error.to_string())),
    };
    let file: File =
        serde_json::from_slice(&bytes).map_err(|error| malformed(&error.to_string()))?;
    let envelope =
        BASE64.decode(&file.document).map_err(|_| malformed("the document in it is not base64"))?;
    let File { person, reason, ticket, .. } = file;
    Ok(Arc::new(OpenRequest { envelope, person, reason, ticket }))
}

/// How the name of a file ends that opens a document.
const OPEN: &str = ".open.json";
/// How the name of a file ends that closes one, after its id.
const CLOSE: &str = ".close";
/// The ending of the first file's name when the document is closed.
const DONE: &str = ".over.json";
/// The most files that are read.
const MAX_DOCUMENTS: usize = 256;
/// The most entries of the folder that are looked at, of which the newest are read: some seconds on a local
/// disk.
const MAX_ENTRIES: usize = 1_000_000;
/// The largest file that is read, bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// How many times as long as a look took the next one waits: at most a tenth of a processor's time.
const PAUSE: u32 = 9;
/// The longest time that the next look waits: a folder that did not answer for hours is looked at
/// soon after.
const MAX_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn opening(ticket: &str) -> String {
        format!(r#"{{"document":"AAAA","person":"p","reason":"r","ticket":"{ticket}"}}"#)
    }

    #[test]
    fn the_newest_documents_are_read_and_the_rest_is_counted() {
        let home = tempfile::tempdir().unwrap();
        // More than a listing of all names would hold.
        for number in 0..11_000 {
            fs::write(home.path().join(format!("!{number}.open.json")), "junk").unwrap();
        }
        for number in 0..500 {
            fs::write(home.path().join(format!("!{number}.over.json")), "old").unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(home.path().join("deadbeef.open.json"), opening("1")).unwrap();
        let mut folder = BreakGlassFolder::default();
        let looked = folder.read(home.path(), &[]);
        assert_eq!(looked.openings.len(), MAX_DOCUMENTS);
        assert_eq!(looked.overlooked, 11_001 - MAX_DOCUMENTS as u64);
        let (name, content) = &looked.openings[0];
        assert_eq!(name, "deadbeef.open.json");
        assert_eq!(content.as_ref().unwrap().ticket, "1");
        assert_eq!(looked.openings[1].1.as_ref().err().unwrap().0, "break-glass-malformed");
        assert_eq!(folder.known.len(), MAX_DOCUMENTS, "names that are gone are forgotten");
    }

    #[test]
    fn files_that_are_no_regular_files_are_refused_and_a_changed_file_is_read_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.open.json");
        symlink("/dev/zero", &path).unwrap();
        let mut folder = BreakGlassFolder::default();
        let looked = folder.read(home.path(), &[]);
        assert_eq!(looked.openings[0].1.as_ref().err().unwrap().0, "unreadable");
        fs::remove_file(&path).unwrap();
        fs::write(&path, opening("one")).unwrap();
        let looked = folder.read(home.path(), &[]);
        assert_eq!(looked.openings[0].1.as_ref().unwrap().ticket, "one");
        fs::write(&path, opening("another")).unwrap();
        let looked = folder.read(home.path(), &[]);
        assert_eq!(looked.openings[0].1.as_ref().unwrap().ticket, "another");
    }

    #[test]
    fn what_was_withdrawn_since_it_was_read_opens_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for name in ["a.open.json", "b.open.json"] {
            fs::write(path(name), opening("one")).unwrap();
        }
        let mut looked = BreakGlassFolder::default().read(home.path(), &[]);
        assert_eq!((looked.openings.len(), looked.stamps.len()), (2, 2));
        let place = looked.stamps.iter().position(|(file, _)| *file == path("a.open.json"));
        looked.leave_out_changed(&[place == Some(1), place == Some(0)]);
        let left: Vec<_> = looked.openings.iter().map(|(name, _)| &**name).collect();
        assert_eq!(left, ["b.open.json"]);
        looked.leave_out_changed(&[]);
        assert!(looked.openings.is_empty());
    }

    #[test]
    fn a_document_is_closed_by_its_name_however_full_the_folder_is() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("aa.close"), "").unwrap();
        fs::write(home.path().join("bb.close"), "").unwrap();
        let open = ["aa".to_owned(), "cc".to_owned()];
        let looked = BreakGlassFolder::default().read(home.path(), &open);
        assert_eq!(looked.closing, ["aa"]);
        fs::write(home.path().join("aa.open.json"), opening("1")).unwrap();
        archive(home.path(), "aa");
        assert!(home.path().join("aa.over.json").exists());
        assert!(!home.path().join("aa.close").exists());
    }
}

//! A read that may take longer than a look waits: its result is taken up by a later look.
//!
//! Invariant: a file system that is slow and answers is read in the end, however short the wait is;
//! one that hangs keeps nobody waiting for longer than the limit. What is read late counts as read
//! only where the folder is still as it was when the read began, and a file that was read late only
//! where it is still there: whoever withdrew it meanwhile has withdrawn it.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_files::Stamp;
use portcullis_model::Digest;

use crate::clock::{elapsed_since, monotonic_now};
use crate::fs::file_worker::FileWorker;

/// One kind of read. At most one is in progress.
pub struct LateRead<T>(Mutex<Option<Running<T>>>);

/// A read in progress.
struct Running<T> {
    result: Receiver<T>,
    /// The folder as it was when the read began.
    of: Option<Digest>,
}

/// What a look got.
pub struct LatePoll<T> {
    /// What was read; `None` where nothing has come yet.
    pub value: Option<T>,
    /// Whether that is the folder as it is now: else it is to be looked at again.
    pub is_whole: bool,
    /// Whether an earlier look began the read: what was read may not be there any more.
    pub is_late: bool,
}

impl<T> Default for LateRead<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Send + 'static> LateRead<T> {
    /// Reads on the worker's thread, or takes up the read in progress, and waits for at most
    /// `limit` for each. `of` is the folder as it is now.
    pub fn poll(
        &self,
        worker: &FileWorker,
        limit: Duration,
        of: Option<Digest>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> LatePoll<T> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = running.is_some();
        let start = || worker.start(limit, read).map(|result| Running { result, of });
        let Some(read) = running.take().or_else(start) else {
            return LatePoll { value: None, is_whole: false, is_late };
        };
        match read.result.recv_timeout(limit) {
            Ok(value) => LatePoll { value: Some(value), is_whole: read.of == of, is_late },
            Err(RecvTimeoutError::Timeout) => {
                *running = Some(read);
                LatePoll { value: None, is_whole: false, is_late }
            }
            Err(RecvTimeoutError::Disconnected) => {
                LatePoll { value: None, is_whole: false, is_late }
            }
        }
    }
}

/// Returns which of these files are as they were when they were read, in order, as far as their
/// file system tells: each within the limit, and all within [`CHECK_LIMITS`] times that. A folder
/// that is slow and answers is told in the end; one that hangs costs one limit.
pub fn unchanged(
    worker: &FileWorker,
    limit: Duration,
    files: Vec<(PathBuf, Option<Stamp>)>,
) -> Vec<bool> {
    let begin = monotonic_now();
    let mut told = Vec::new();
    for (path, stamp) in files {
        let is_unchanged = move || stamp.is_some() && Stamp::of(&path) == stamp;
        let left = (limit * CHECK_LIMITS).saturating_sub(elapsed_since(begin));
        match worker.run(limit.min(left), is_unchanged) {
            Some(is_unchanged) => told.push(is_unchanged),
            None => break,
        }
    }
    told
}

/// How many limits the check of a late read may take: less than after which its thread counts as
/// stalled.
const CHECK_LIMITS: u32 = 2;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_comes_late_is_taken_up_and_not_read_twice() {
        let worker = FileWorker::new("test", LONG);
        let read = LateRead::default();
        let (go_on, waits) = channel::<()>();
        let (one, other) = (Some(Digest([1; 32])), Some(Digest([2; 32])));
        let slow = move || {
            let _ = waits.recv();
            "late"
        };
        let looked = read.poll(&worker, SHORT, one, slow);
        assert!(looked.value.is_none() && !looked.is_whole);
        let looked = read.poll(&worker, SHORT, one, || "a second read");
        assert!(looked.value.is_none() && !looked.is_whole, "the first is still in progress");
        drop(go_on);
        let looked = read.poll(&worker, LONG, one, || "a second read");
        assert_eq!((looked.value, looked.is_whole, looked.is_late), (Some("late"), true, true));
        let looked = read.poll(&worker, LONG, other, || "at once");
        assert_eq!((looked.value, looked.is_whole, looked.is_late), (Some("at once"), true, false));
    }

    #[test]
    fn a_file_that_was_withdrawn_or_exchanged_is_not_as_it_was_read() {
        let home = tempfile::tempdir().unwrap();
        let files = ["kept", "withdrawn", "exchanged"].map(|name| home.path().join(name));
        files.iter().for_each(|file| std::fs::write(file, "content").unwrap());
        let read: Vec<_> = files.iter().map(|file| (file.clone(), Stamp::of(file))).collect();
        std::fs::remove_file(&files[1]).unwrap();
        std::fs::write(&files[2], "another").unwrap();
        std::fs::rename(&files[2], home.path().join("moved")).unwrap();
        std::fs::write(&files[2], "content").unwrap();
        let worker = FileWorker::new("test", LONG);
        assert_eq!(unchanged(&worker, LONG, read.clone()), [true, false, false]);
        let (go_on, waits) = channel::<()>();
        let hangs = worker.start(LONG, move || waits.recv().is_ok()).unwrap();
        assert!(unchanged(&worker, SHORT, read).is_empty(), "the folder does not answer");
        drop(go_on);
        hangs.recv().unwrap();
    }

    #[test]
    fn what_was_read_of_a_folder_that_has_changed_is_not_the_whole() {
        let worker = FileWorker::new("test", LONG);
        let read = LateRead::default();
        let (go_on, waits) = channel::<()>();
        let slow = move || {
            let _ = waits.recv();
        };
        assert!(read.poll(&worker, SHORT, Some(Digest([1; 32])), slow).value.is_none());
        drop(go_on);
        let looked = read.poll(&worker, LONG, Some(Digest([2; 32])), || ());
        assert!(looked.value.is_some() && !looked.is_whole);
    }

    #[test]
    fn a_read_that_panics_is_begun_anew() {
        let worker = FileWorker::new("test", LONG);
        let read = LateRead::default();
        let looked = read.poll(&worker, LONG, None, || panic!("on purpose"));
        assert!(looked.value.is_none() && !looked.is_whole);
        let looked = read.poll(&worker, LONG, None, || 7);
        assert_eq!((looked.value, looked.is_whole), (Some(7), true));
    }
}

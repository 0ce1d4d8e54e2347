//! File operations that may hang, on a thread that may hang with them.
//!
//! Invariant: whoever waits here waits no longer than the limit, and one worker has at most one
//! operation in progress: while a network file system does not answer, nothing piles up. An
//! operation that does not return keeps its thread, and is left behind when the process ends.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::{elapsed_since, monotonic_now};

/// One kind of file operation, such as the polls of one folder.
#[derive(Clone)]
pub struct FileWorker {
    name: &'static str,
    /// An operation that takes longer than this hangs.
    hangs_after: Duration,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Since when the operation in progress has been running.
    since: Mutex<Option<Instant>>,
    ended: Condvar,
}

/// The workers of a host: one for each place that can hang by itself.
pub struct FileWorkers {
    /// Polls of the release folder, and the bytes of its set.
    pub release: FileWorker,
    /// Readings of a whole release.
    pub reading: FileWorker,
    /// Scans for components that may not run.
    pub rejected_components: FileWorker,
    /// The folder of arriving trust roots.
    pub roots: FileWorker,
    /// The folder of documents about the time.
    pub time_documents: FileWorker,
    /// The configuration file and the files that a new one names.
    pub configuration: FileWorker,
    /// Secrets, keys and certificates that may be replaced.
    pub secrets: FileWorker,
    /// The folder of break-glass documents.
    pub break_glass: FileWorker,
    /// The files of reference tables.
    pub tables: FileWorker,
    /// Downloads of reference tables, which end by their own times.
    pub table_downloads: FileWorker,
}

/// A place whose file system does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The stable code.
    pub code: &'static str,
    /// The place, in words.
    pub place: &'static str,
    /// For how long it has not answered.
    pub lasts: Duration,
}

impl Default for FileWorkers {
    fn default() -> Self {
        let poll = |name| FileWorker::new(name, POLL_HANGS_AFTER);
        Self {
            release: poll("poll-release"),
            reading: FileWorker::new("read-release", READING_HANGS_AFTER),
            rejected_components: FileWorker::new("scan-release", READING_HANGS_AFTER),
            roots: poll("poll-roots"),
            time_documents: poll("poll-time"),
            configuration: poll("poll-config"),
            secrets: poll("poll-secrets"),
            break_glass: poll("poll-glass"),
            tables: FileWorker::new("read-tables", READING_HANGS_AFTER),
            table_downloads: FileWorker::new("load-tables", READING_HANGS_AFTER),
        }
    }
}

impl FileWorkers {
    /// Returns the places that do not answer.
    pub fn stalled(&self) -> Vec<Stall> {
        let release = [&self.release, &self.reading, &self.rejected_components];
        let release = release.iter().filter_map(|worker| worker.stalled_for()).max();
        let places = [
            ("release-folder-stalled", "the release folder", release),
            ("trust-roots-stalled", "the folder of trust roots", self.roots.stalled_for()),
            (
                "time-documents-stalled",
                "the folder of time documents",
                self.time_documents.stalled_for(),
            ),
            ("configuration-stalled", "the configuration", self.configuration.stalled_for()),
            (
                "secrets-stalled",
                "the files of secrets and certificates",
                self.secrets.stalled_for(),
            ),
            ("break-glass-stalled", "the break-glass folder", self.break_glass.stalled_for()),
            ("tables-stalled", "the folder of reference tables", self.tables.stalled_for()),
        ];
        let stall = |(code, place, lasts): (_, _, Option<Duration>)| {
            lasts.map(|lasts| Stall { code, place, lasts })
        };
        places.into_iter().filter_map(stall).collect()
    }
}

/// When a thread that comes round regularly did so last.
#[derive(Debug, Default)]
pub struct Heartbeat(Mutex<Option<Instant>>);

impl Heartbeat {
    /// Notes that the thread has come round.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(monotonic_now());
    }

    /// Returns for how long the thread has not come round, where that is too long; `None` before
    /// its first round.
    pub fn silent_for(&self) -> Option<Duration> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(elapsed_since).filter(|silent| *silent >= SILENT_AFTER)
    }
}

/// Notes the end of an operation, however it ends.
struct Running(Arc<Shared>);

impl FileWorker {
    /// A worker whose threads have this name, and whose operations take no longer than
    /// `hangs_after` where the file system answers. It has no thread before its first operation.
    pub fn new(name: &'static str, hangs_after: Duration) -> Self {
        Self { name, hangs_after, shared: Arc::default() }
    }

    /// Runs an operation and waits for at most `limit`. Returns `None` where it has not returned by
    /// then, where an earlier one has not, or where there is no thread for it: the result is lost.
    pub fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let end = monotonic_now() + limit;
        self.run_while(operation, limit, || monotonic_now() < end)
    }

    /// Runs an operation and asks `go_on` every `round` until it has returned. Returns `None` as
    /// [`run`](Self::run), and where `go_on` has said no.
    pub fn run_while<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> T + Send + 'static,
        round: Duration,
        mut go_on: impl FnMut() -> bool,
    ) -> Option<T> {
        let result = self.start(round, operation)?;
        loop {
            match result.recv_timeout(round) {
                Ok(value) => return Some(value),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if go_on() => {}
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }

    /// Starts an operation, whose result is received from what this returns. Waits for at most
    /// `limit` for an earlier one to return; `None` where it has not, or where there is no thread.
    pub fn start<T: Send + 'static>(
        &self,
        limit: Duration,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Receiver<T>> {
        if !self.begin(limit) {
            return None;
        }
        let running = Running(Arc::clone(&self.shared));
        let (sender, result) = sync_channel(1);
        let run = move || {
            let value = operation();
            drop(running);
            // Where nobody waits any more the value is of no use.
            drop(sender.send(value));
        };
        // This is not a `Worker`: an operation that hangs cannot be told to end.
        // Where no thread can be started, `run` is dropped, which ends the operation.
        drop(thread::Builder::new().name(self.name.to_owned()).spawn(run).ok()?);
        Some(result)
    }

    /// Returns for how long the operation in progress has not returned, where that is longer than
    /// any file system that answers takes.
    pub fn stalled_for(&self) -> Option<Duration> {
        let since = *self.shared.since();
        since.map(elapsed_since).filter(|elapsed| *elapsed >= self.hangs_after)
    }

    /// Waits for at most `limit` until nothing is in progress, and begins. An operation that hangs
    /// already is not waited for.
    fn begin(&self, limit: Duration) -> bool {
        let since = self.shared.since();
        if since.is_some_and(|since| elapsed_since(since) >= limit.min(self.hangs_after)) {
            return false;
        }
        let waited = self.shared.ended.wait_timeout_while(since, limit, |since| since.is_some());
        let (mut since, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if since.is_some() {
            return false;
        }
        *since = Some(monotonic_now());
        true
    }
}

impl Shared {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.since() = None;
        self.0.ended.notify_all();
    }
}

/// How long an operation that polls a folder is waited for.
pub const POLL_LIMIT: Duration = Duration::from_secs(2);
/// How long the start waits for a folder that others fill.
pub const START_LIMIT: Duration = Duration::from_secs(10);
/// A thread that has not come round for so long hangs.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// A poll that takes longer than this hangs.
const POLL_HANGS_AFTER: Duration = Duration::from_secs(5);
/// A reading of whole components that takes longer than this hangs.
const READING_HANGS_AFTER: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn an_operation_that_hangs_is_waited_for_once_and_the_worker_is_back_when_it_returns() {
        let worker = FileWorker::new("test", Duration::from_secs(60));
        assert_eq!(worker.run(Duration::from_secs(60), || 7), Some(7));
        let (release, hangs) = channel::<()>();
        let short = Duration::from_millis(1);
        let hang = move || hangs.recv().is_ok();
        assert_eq!(worker.run(short, hang), None);
        assert_eq!(worker.run(short, || 8), None, "one is in progress");
        release.send(()).unwrap();
        assert_eq!(worker.run(Duration::from_secs(60), || 9), Some(9));
    }

    #[test]
    fn an_operation_that_panics_gives_nothing_and_the_next_one_runs() {
        let worker = FileWorker::new("test", Duration::from_secs(60));
        let long = Duration::from_secs(60);
        let panics = || -> u8 { std::panic::resume_unwind(Box::new("no message")) };
        assert_eq!(worker.run(long, panics), None);
        assert_eq!(worker.run(long, || 1), Some(1));
    }

    #[test]
    fn whoever_waits_may_give_up_at_each_round() {
        let worker = FileWorker::new("test", Duration::from_secs(60));
        let (release, hangs) = channel::<()>();
        let mut rounds = 0;
        let result = worker.run_while(
            move || hangs.recv().is_ok(),
            Duration::from_millis(1),
            || {
                rounds += 1;
                rounds < 3
            },
        );
        assert_eq!((result, rounds), (None, 3));
        drop(release);
    }
}

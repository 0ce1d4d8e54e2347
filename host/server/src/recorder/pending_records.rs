//! Records that nobody waits for, kept until they are durable.
//!
//! Invariant: a record is given to the log in the order in which it came, and again where the log stopped
//! before it was durable, so that what happened while the log took nothing is in it afterwards. A record that
//! the log can never take is dropped and logged. Bounded by whoever adds. No I/O of its own.

use portcullis_audit::{AppendError, Entry, Log, Pending};

use crate::clock::monotonic_now;
use crate::logging::log_limit::LOG_LIMITS;
use crate::recorder::open_tally::poll;

/// Records that are not durable yet, each with what its owner needs when it is.
pub struct PendingRecords<T> {
    waiting: Vec<Waiting<T>>,
}

struct Waiting<T> {
    entry: Entry,
    tag: T,
    /// Its record, once the log was given it.
    pending: Option<Pending>,
}

impl<T> Default for PendingRecords<T> {
    fn default() -> Self {
        Self { waiting: Vec::new() }
    }
}

impl<T> PendingRecords<T> {
    /// Adds a record. [`PendingRecords::append`] gives it to the log.
    pub fn add(&mut self, entry: Entry, tag: T) {
        self.waiting.push(Waiting { entry, tag, pending: None });
    }

    /// How many records are not durable yet.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Gives the log what it takes; returns the tags of the records that have become durable since.
    pub fn append(&mut self, log: &Log) -> Vec<T> {
        let mut durable = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            match poll(&mut waiting.pending) {
                Some(Ok(())) => {
                    durable.push(waiting.tag);
                    continue;
                }
                // The log stopped before: it is given once more.
                Some(Err(_)) => waiting.pending = None,
                None => {}
            }
            self.waiting.push(waiting);
        }
        let mut refused = Vec::new();
        for (place, waiting) in self.waiting.iter_mut().enumerate() {
            if waiting.pending.is_some() {
                continue;
            }
            match log.append(copy(&waiting.entry)) {
                Ok(pending) => waiting.pending = Some(pending),
                // In order: what comes later waits too.
                Err(AppendError::Stopped(_) | AppendError::QueueFull) => break,
                Err(why) => refused.push((place, why)),
            }
        }
        for (place, why) in refused.into_iter().rev() {
            let kind = self.waiting.remove(place).entry.kind;
            if LOG_LIMITS.allows("log.append-failed", kind, monotonic_now()) {
                tracing::error!(
                    event = "log.append-failed",
                    kind,
                    refused = %why,
                    "a record could not be appended to the audit log"
                );
            }
        }
        durable
    }
}

fn copy(entry: &Entry) -> Entry {
    let Entry { kind, fields, sealed } = entry;
    Entry { kind, fields: fields.clone(), sealed: sealed.clone() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use portcullis_audit::{MAX_LEAF_BYTES, Options, SealKey, Sealer};
    use portcullis_keys::{SecretKey, SymmetricKey};

    use super::*;

    fn open(folder: &Path) -> Log {
        let sealer = Sealer::new(SealKey::new(SymmetricKey::from_bytes([9; 32])));
        let signer = Arc::new(SecretKey::from_seed("log.example/2026", &[7; 32]).unwrap());
        let clock = Arc::new(|| 1_790_000_000_000.into());
        let options = Options::new(folder.to_owned(), "t".to_owned(), signer, sealer, clock);
        Log::open(Options { segment_bytes: 2 << 20, ..options }).unwrap().0
    }

    fn entry(fields: String) -> Entry {
        Entry { kind: "plugin.stopped", fields, sealed: Some(b"who".to_vec()) }
    }

    #[test]
    fn what_the_log_does_not_take_is_in_it_once_it_takes_records_again() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let mut outbox = PendingRecords::default();
        outbox.add(entry(String::new()), 1);
        assert!(outbox.append(&log).is_empty(), "it was given just now");
        log.close().unwrap();
        assert_eq!(outbox.append(&log), [1]);
        outbox.add(entry(String::new()), 2);
        outbox.add(entry(String::new()), 3);
        assert!(outbox.append(&log).is_empty());
        assert_eq!((outbox.len(), log.health().next), (2, 1), "the log takes nothing");
        drop(log);
        let log = open(folder.path());
        assert!(outbox.append(&log).is_empty());
        log.close().unwrap();
        assert_eq!(outbox.append(&log), [2, 3]);
        assert_eq!((outbox.len(), log.health().next), (0, 3), "each is there once");
    }

    #[test]
    fn a_record_that_can_never_be_taken_keeps_no_other_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let mut outbox = PendingRecords::default();
        outbox.add(entry(format!(r#""x":"{}""#, "x".repeat(MAX_LEAF_BYTES))), 1);
        outbox.add(entry(String::new()), 2);
        outbox.append(&log);
        log.close().unwrap();
        assert_eq!(outbox.append(&log), [2]);
        assert_eq!((outbox.len(), log.health().next), (0, 1));
    }
}

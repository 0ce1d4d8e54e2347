//! Pending corrections of a hook: answers that were sent without their record, or other than it
//! says.
//!
//! Invariant: before a hook decides again, the log has been given `answer.superseded` for every
//! record that was sequenced but whose decision did not leave, and `answer.gap` for all answers
//! that were never sequenced; the log keeps its order, so they stand before the next decision. The
//! emergency ring holds the same facts until those records are durable, for the case that this
//! process ends first: no answer is known to memory alone, unless the ring's disk fails too. Where
//! the ring has no slot it counts the answer, and which record it supersedes is known to memory. The
//! ring is written by a thread of its own, because a disk that hangs must not keep a safe answer
//! from leaving.

mod pending;

use crate::clock::monotonic_now;
use crate::recorder::Recorder;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_audit::{AppendError, Log, Sequence, Slot, Tally};
use portcullis_model::{Cause, Digest, Millis};
use tokio::sync::oneshot;

use crate::logging::log_limit::LOG_LIMITS;

use pending::PendingCorrections;

/// One answer that left without its record.
#[derive(Clone, Copy)]
pub struct Correction {
    /// The record that must not be believed; `None` if there never was one.
    pub record: Option<Sequence>,
    /// Why something else left.
    pub cause: Cause,
    /// Hash of what left instead.
    pub answer: Digest,
    /// When.
    pub at: Millis,
}

/// One hook's debts.
#[derive(Default)]
pub struct Corrections {
    hook: Box<str>,
    is_pending: AtomicBool,
    pending: Mutex<PendingCorrections>,
    /// Held while the ring is written, so that no older count replaces a newer one.
    writing: Mutex<()>,
}

impl Corrections {
    /// The debts of the hook of that name.
    pub fn of(hook: &str) -> Self {
        Self { hook: hook.into(), ..Self::default() }
    }

    /// Notes a debt, and waits a moment for the emergency ring to hold it.
    pub async fn add(self: &Arc<Self>, recorder: &Arc<Recorder>, owed: Correction) {
        self.add_all(recorder, vec![owed]).await;
    }

    /// Notes the debts of one call, and waits a moment for the emergency ring to hold them: once, so
    /// that an answer with many parts is no later than one with a single part.
    pub async fn add_all(self: &Arc<Self>, recorder: &Arc<Recorder>, owed: Vec<Correction>) {
        if owed.is_empty() {
            return;
        }
        let serials: Vec<_> = {
            let mut books = self.pending();
            owed.into_iter().map(|owed| books.add(owed)).collect()
        };
        self.is_pending.store(true, Ordering::Release);
        let (kept, waits) = oneshot::channel::<()>();
        let keep = {
            let (recorder, entries) = (Arc::clone(recorder), Arc::clone(self));
            move || {
                for serial in &serials {
                    entries.persist(&recorder, *serial);
                }
                drop(kept);
            }
        };
        if recorder.ring_lane.spawn(keep).is_ok() {
            // Late: the answer leaves, and memory knows of it. The job goes on.
            drop(tokio::time::timeout(RING_WAIT, waits).await);
        }
    }

    /// Counts an answer that left and has no record. Memory alone knows of it until the ring is
    /// written.
    pub fn count(&self, cause: Cause, at: Millis) {
        self.pending().count(cause.code(), at);
        self.is_pending.store(true, Ordering::Release);
    }

    /// How many answers are only counted, and not in the log.
    pub fn counted(&self) -> u64 {
        self.pending().counted()
    }

    /// Whether anything is owed that the log has not been given.
    pub fn is_pending(&self) -> bool {
        self.is_pending.load(Ordering::Acquire)
    }

    /// Gives the log everything that is owed. It fails as long as the log takes nothing: then the
    /// hook must not decide.
    pub fn append_all(&self, recorder: &Recorder) -> Result<(), AppendError> {
        if !self.is_pending.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut books = self.pending();
        books.void(&recorder.log);
        books.append_all(&self.hook, &recorder.log)?;
        self.is_pending.store(false, Ordering::Release);
        Ok(())
    }

    /// Frees what the ring holds and the log has by now, and writes to the ring what it does not
    /// hold yet; says whether nothing is owed any more. Waits for no record; blocks on the ring's
    /// disk.
    pub fn sync_ring(&self, recorder: &Recorder) -> bool {
        let _writing = self.writing();
        let (slots, done) = self.pending().collect(&self.hook);
        if self.pending().has_unappended() {
            self.is_pending.store(true, Ordering::Release);
        }
        let unkept = self.pending().unpersisted();
        self.write_slots(recorder, &unkept);
        // A count is in the ring before the slot that it takes the place of is free.
        self.write_counts(recorder);
        slots.into_iter().for_each(|slot| free(recorder, slot));
        for tally in done {
            write_tally(recorder, &tally);
        }
        self.pending().is_clear()
    }

    /// Takes up what an earlier run counted.
    pub fn restore(&self, tally: &Tally) {
        self.pending().restore(tally);
        self.is_pending.store(true, Ordering::Release);
    }

    /// Takes up one answer that an earlier run kept and that has no record, and writes the count to
    /// the ring.
    pub fn restore_one(&self, recorder: &Recorder, cause: &str, at: Millis) {
        self.pending().count(cause, at);
        self.is_pending.store(true, Ordering::Release);
        let _writing = self.writing();
        self.write_counts(recorder);
    }

    /// Writes a debt to the ring and tells the books where; or, where it is only counted, the
    /// count.
    fn persist(&self, recorder: &Recorder, serial: Option<u64>) {
        let _writing = self.writing();
        if let Some(serial) = serial {
            self.write_slots(recorder, &[serial]);
        }
        self.write_counts(recorder);
    }

    /// Writes debts to the ring that it does not have, up to the first that it does not take: the
    /// next round tries again.
    fn write_slots(&self, recorder: &Recorder, serials: &[u64]) {
        let noted = serials.iter().try_for_each(|serial| {
            let Some(slot) = self.write_slot(&recorder.log, *serial)? else { return Ok(()) };
            // A count is in the ring before the slot that it takes the place of is free.
            self.write_counts(recorder);
            free(recorder, slot);
            Ok(())
        });
        if let Err(error) = noted {
            log_ring_failure(&self.hook, &error);
        }
    }

    /// Writes a debt to the ring and tells the books where. Returns the slot where it is to be
    /// freed again: the debt was paid or counted meanwhile.
    fn write_slot(&self, log: &Log, serial: u64) -> std::io::Result<Option<Slot>> {
        // The ring has it, or it was paid meanwhile, or is counted.
        let owed = self.pending().correction(serial);
        let Some(owed) = owed else { return Ok(None) };
        let cause = owed.cause.code();
        let is_void = || owed.record.is_some_and(|record| log.is_void(record));
        let index = owed.record.map(|record| record.index).filter(|_| !is_void());
        let slot = log.ring().note(&self.hook, index, &owed.answer.0, cause, owed.at.0)?;
        let mut books = self.pending();
        let Some(slot) = slot else {
            // Memory still knows which record it supersedes.
            books.stand_by(serial);
            return Ok(None);
        };
        // Where the log resumed meanwhile the index may be another record's.
        let is_stale = index.is_some() && is_void();
        if is_stale {
            books.count_instead(serial);
        }
        Ok((is_stale || !books.set_slot(serial, slot)).then_some(slot))
    }

    /// Writes the counts that the ring does not hold yet.
    fn write_counts(&self, recorder: &Recorder) {
        let unkept = self.pending().unpersisted_tallies(&self.hook, recorder.log.health().durable);
        for tally in unkept {
            if write_tally(recorder, &tally) {
                self.pending().mark_persisted(&tally);
            }
        }
    }

    /// How many causes have counts that the emergency ring does not hold yet.
    pub fn unpersisted_count(&self) -> usize {
        self.pending().unpersisted_count()
    }

    fn pending(&self) -> MutexGuard<'_, PendingCorrections> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a tally to the emergency ring; says whether it was written, and in the host's log where
/// it was not.
pub fn write_tally(recorder: &Recorder, tally: &Tally) -> bool {
    let written = recorder.log.ring().count(tally);
    if let Err(error) = &written {
        log_ring_failure(&tally.hook, error);
    }
    written.is_ok()
}

/// Logs that the emergency ring cannot be written.
pub fn log_ring_failure(hook: &str, error: &std::io::Error) {
    if LOG_LIMITS.allows("log.ring-failed", hook, monotonic_now()) {
        tracing::error!(
            event = "log.ring-failed",
            hook,
            %error,
            "the emergency ring cannot be written: some corrections are only in memory and would \
             be lost in a crash; check the log's disk"
        );
    }
}

/// Frees a slot of the emergency ring.
pub fn free(recorder: &Recorder, slot: Slot) {
    if let Err(error) = recorder.log.ring().settle(slot)
        && LOG_LIMITS.allows("log.ring-slot-kept", "", monotonic_now())
    {
        tracing::error!(
            event = "log.ring-slot-kept",
            %error,
            "a slot of the emergency ring could not be freed; check the log's disk"
        );
    }
}

/// How long a safe answer waits for the ring, out of the time kept back for writing.
pub const RING_WAIT: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use portcullis_audit::{Entry, Options, Recovery, SealKey, Sealer};
    use portcullis_keys::{SecretKey, SymmetricKey};

    use super::*;

    fn open(folder: &Path) -> (Log, Recovery) {
        let sealer = Sealer::new(SealKey::new(SymmetricKey::from_bytes([9; 32])));
        let signer = Arc::new(SecretKey::from_seed("log.example/2026", &[7; 32]).unwrap());
        let clock = Arc::new(|| 1_790_000_000_000.into());
        let options = Options::new(folder.to_owned(), "t".to_owned(), signer, sealer, clock);
        Log::open(Options { segment_bytes: 2 << 20, ..options }).unwrap()
    }

    #[test]
    fn a_debt_that_the_ring_did_not_take_is_written_to_it_later_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = open(folder.path());
        let entry = Entry { kind: "hook.decision", fields: String::new(), sealed: None };
        let pending = log.append(entry).unwrap();
        let record = Some(pending.sequence());
        pending.wait().unwrap();
        let entries = Corrections::of("token");
        let (cause, answer) = (Cause::NotDurable, Digest([3; 32]));
        let serial =
            entries.pending().add(Correction { record, cause, answer, at: Millis(5) }).unwrap();
        assert_eq!(entries.pending().unpersisted(), [serial], "as after a write that failed");
        assert!(entries.write_slot(&log, serial).unwrap().is_none());
        assert!(entries.pending().unpersisted().is_empty());
        // Its own turn comes later, and finds it there.
        assert!(entries.write_slot(&log, serial).unwrap().is_none());
        drop(log);
        let (_, recovery) = open(folder.path());
        let owed: Vec<_> = recovery.owed.iter().collect();
        assert!(
            matches!(owed[..], [portcullis_audit::RingEntry::Answer { index: Some(0), at: 5, .. }]),
            "{owed:?}"
        );
    }
}

//! The books of one hook: which records are superseded, and which answers are only counted.
//!
//! Invariant: an answer is in the books once, as a debt or in a count, until the log has its
//! record. A debt that has no slot of the emergency ring stands by in the tally of its cause: the
//! end of the process leaves it counted, although nothing supersedes its record then. The record of
//! such a debt names the tally, so that no start counts the answer again. Debts are bounded by
//! [`MAX_ENTRIES`]; further answers are counted. Writes nothing itself.

use std::collections::BTreeMap;

use portcullis_audit::corrections::{self, Count};
use portcullis_audit::{AppendError, Log, Pending, Sequence, Slot, Tally};
use portcullis_model::Millis;

use super::Correction;
use crate::recorder::open_tally::{OpenTally, poll, poll_all};

/// What one hook owes the log.
#[derive(Default)]
pub(super) struct PendingCorrections {
    entries: Vec<PendingCorrection>,
    serial: u64,
    /// Answers that are only counted, by cause.
    counted: BTreeMap<String, CountedAnswers>,
    /// Slots of the ring whose answers are counted since.
    freed: Vec<Slot>,
}

/// An answer that supersedes a record.
struct PendingCorrection {
    serial: u64,
    record: Sequence,
    correction: Correction,
    /// What the emergency ring has of it.
    stored: StoredIn,
    /// Its record, once the log was given it.
    pending: Option<Pending>,
    /// Whether that record names the tally of its cause.
    names_tally: bool,
}

/// Where the emergency ring has an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StoredIn {
    /// Nowhere yet.
    Nowhere,
    /// In a slot of its own.
    Slot(Slot),
    /// In the tally of its cause: no slot was free.
    Tally,
}

/// Answers of one cause.
struct CountedAnswers {
    tally: OpenTally,
    /// Those of them that the log has not been given.
    open: Count,
    /// Those that it was given, with their records on the way to the disk.
    given: Vec<(Count, Pending)>,
}

impl PendingCorrections {
    /// The debt's number, or nothing where it is only counted.
    pub fn add(&mut self, owed: Correction) -> Option<u64> {
        let Some(record) = owed.record.filter(|_| self.entries.len() < MAX_ENTRIES) else {
            self.count(owed.cause.code(), owed.at);
            return None;
        };
        self.serial += 1;
        let (serial, kept) = (self.serial, StoredIn::Nowhere);
        self.entries.push(PendingCorrection {
            serial,
            record,
            correction: owed,
            stored: kept,
            pending: None,
            names_tally: false,
        });
        Some(self.serial)
    }

    /// Counts an answer.
    pub fn count(&mut self, cause: &str, at: Millis) {
        let counted = of(&mut self.counted, cause);
        counted.tally.add(at);
        counted.open.add(at.0);
    }

    /// The answer of a debt that the ring does not have; nothing where it has it, or where the debt
    /// was paid meanwhile.
    pub fn correction(&self, serial: u64) -> Option<Correction> {
        let unkept =
            |debt: &&PendingCorrection| debt.serial == serial && debt.stored == StoredIn::Nowhere;
        self.entries.iter().find(unkept).map(|debt| debt.correction)
    }

    /// The debts that the ring does not have: their turn has not come, or it could not be written.
    pub fn unpersisted(&self) -> Vec<u64> {
        let unkept = self.entries.iter().filter(|debt| debt.stored == StoredIn::Nowhere);
        unkept.map(|debt| debt.serial).collect()
    }

    /// The ring has a debt in this slot. Returns `false` where the debt was paid or counted
    /// meanwhile.
    pub fn set_slot(&mut self, serial: u64, slot: Slot) -> bool {
        let unkept = |debt: &&mut PendingCorrection| {
            debt.serial == serial && debt.stored == StoredIn::Nowhere
        };
        self.entries
            .iter_mut()
            .find(unkept)
            .map(|debt| debt.stored = StoredIn::Slot(slot))
            .is_some()
    }

    /// The ring has no slot for a debt: its tally counts the answer, for the case that the process
    /// ends.
    pub fn stand_by(&mut self, serial: u64) {
        if let Some(debt) = self.entries.iter_mut().find(|debt| debt.serial == serial) {
            debt.stand_by(&mut self.counted);
        }
    }

    /// Counts a debt whose record was lost with a stop of the log, unless the log was given it
    /// already.
    pub fn count_instead(&mut self, serial: u64) {
        let at = self.entries.iter().position(|it| it.serial == serial && it.pending.is_none());
        if let Some(at) = at {
            let debt = self.entries.remove(at);
            self.only_count(debt);
        }
    }

    /// A record that was lost with a stop of the log supersedes nothing and is superseded by
    /// nothing: its answer is only counted.
    pub fn void(&mut self, log: &Log) {
        let is_void =
            |debt: &mut PendingCorrection| debt.pending.is_none() && log.is_void(debt.record);
        let void: Vec<_> = self.entries.extract_if(.., is_void).collect();
        void.into_iter().for_each(|debt| self.only_count(debt));
    }

    /// Gives the log everything that it was not given yet.
    pub fn append_all(&mut self, hook: &str, log: &Log) -> Result<(), AppendError> {
        // First, so that at a start no debt that names a tally can settle an answer that was
        // counted.
        let open = |(_, counted): &(&String, &mut CountedAnswers)| counted.open.answers > 0;
        for (cause, counted) in self.counted.iter_mut().filter(open) {
            counted.tally.begins_at(log.health().durable);
            let entry = corrections::gap(counted.tally.id(), hook, cause, &counted.open);
            let pending = log.append(entry)?;
            counted.given.push((std::mem::take(&mut counted.open), pending));
        }
        for debt in self.entries.iter_mut().filter(|debt| debt.pending.is_none()) {
            if log.ring().is_full() {
                // Before its record is made, which is to name the tally.
                debt.stand_by(&mut self.counted);
            }
            let Correction { answer, cause, at, .. } = &debt.correction;
            let entry = corrections::superseded(debt.record.index, &answer.0, cause.code(), at.0);
            debt.names_tally = debt.stored == StoredIn::Tally;
            let entry = if debt.names_tally {
                let tally = &mut of(&mut self.counted, cause.code()).tally;
                tally.begins_at(log.health().durable);
                corrections::of_tally(entry, tally.id())
            } else {
                entry
            };
            debt.pending = Some(log.append(entry)?);
        }
        Ok(())
    }

    /// Sorts out what the log was given: slots that can be freed, and tallies whose answers it has
    /// all.
    pub fn collect(&mut self, hook: &str) -> (Vec<Slot>, Vec<Tally>) {
        let mut slots = std::mem::take(&mut self.freed);
        let mut stood_by = Vec::new();
        self.entries.retain_mut(|debt| match poll(&mut debt.pending) {
            None => true,
            Some(Ok(())) => {
                match debt.stored {
                    StoredIn::Slot(slot) => slots.push(slot),
                    StoredIn::Tally => {
                        stood_by.push((debt.correction.cause.code(), debt.names_tally))
                    }
                    StoredIn::Nowhere => {}
                }
                false
            }
            Some(Err(_)) => {
                // The log stopped before the record was durable: it is given once more when the log
                // resumes.
                debt.pending = None;
                true
            }
        });
        for (cause, is_named) in stood_by {
            let tally = &mut of(&mut self.counted, cause).tally;
            if is_named { tally.supersede() } else { tally.stand_down() }
        }
        for CountedAnswers { tally, open, given } in self.counted.values_mut() {
            poll_all(
                given,
                |count, durable| {
                    if durable { tally.record(count.answers) } else { open.join(&count) }
                },
            );
        }
        let done = self.counted.extract_if(.., |_, counted| counted.tally.is_done());
        (slots, done.map(|(cause, counted)| counted.tally.tally(hook, &cause)).collect())
    }

    /// Takes up what an earlier run counted.
    pub fn restore(&mut self, tally: &Tally) {
        let restored = OpenTally::restored(tally);
        let open = Count { answers: restored.unrecorded(), ..tally.all };
        let restored = CountedAnswers { tally: restored, open, given: Vec::new() };
        // Calls of this run may have been counted before the log was open.
        let early = self.counted.insert(tally.cause.clone(), restored);
        if let (Some(early), Some(counted)) = (early, self.counted.get_mut(&tally.cause)) {
            counted.tally.add_all(&early.open);
            counted.open.join(&early.open);
        }
    }

    /// The tallies that the ring does not have as they are, of a log with so many durable records.
    pub fn unpersisted_tallies(&mut self, hook: &str, durable: u64) -> Vec<Tally> {
        let unkept = self.counted.iter_mut().filter(|(_, counted)| !counted.tally.is_persisted());
        let tally = |(cause, counted): (&String, &mut CountedAnswers)| {
            counted.tally.begins_at(durable);
            counted.tally.tally(hook, cause)
        };
        unkept.map(tally).collect()
    }

    /// The ring has this tally.
    pub fn mark_persisted(&mut self, tally: &Tally) {
        if let Some(counted) = self.counted.get_mut(&tally.cause) {
            counted.tally.mark_persisted(tally.all.answers);
        }
    }

    /// How many causes have counts that the ring does not hold yet.
    pub fn unpersisted_count(&self) -> usize {
        self.counted.values().filter(|counted| !counted.tally.is_persisted()).count()
    }

    /// How many answers are only counted, and not in the log.
    pub fn counted(&self) -> u64 {
        self.counted.values().map(|counted| counted.tally.unrecorded()).sum()
    }

    /// Whether anything waits to be given to the log.
    pub fn has_unappended(&self) -> bool {
        self.entries.iter().any(|debt| debt.pending.is_none())
            || self.counted.values().any(|counted| counted.open.answers > 0)
    }

    pub fn is_clear(&self) -> bool {
        self.entries.is_empty() && self.counted.is_empty()
    }

    fn only_count(&mut self, debt: PendingCorrection) {
        let cause = debt.correction.cause.code();
        match debt.stored {
            StoredIn::Slot(slot) => self.freed.push(slot),
            StoredIn::Tally => of(&mut self.counted, cause).tally.stand_down(),
            StoredIn::Nowhere => {}
        }
        self.count(cause, debt.correction.at);
    }
}

impl PendingCorrection {
    /// Has the tally of its cause count its answer, where the ring does not have it yet.
    fn stand_by(&mut self, counted: &mut BTreeMap<String, CountedAnswers>) {
        if self.stored == StoredIn::Nowhere {
            self.stored = StoredIn::Tally;
            of(counted, self.correction.cause.code()).tally.stand_by(self.correction.at);
        }
    }
}

/// The counts of one cause.
fn of<'c>(
    counted: &'c mut BTreeMap<String, CountedAnswers>,
    cause: &str,
) -> &'c mut CountedAnswers {
    let new =
        || CountedAnswers { tally: OpenTally::new(), open: Count::default(), given: Vec::new() };
    counted.entry(cause.to_owned()).or_insert_with(new)
}

/// Debts of one hook that are kept one by one, with a record each that supersedes another; answers
/// beyond them are counted. They take some two megabytes of memory.
pub(super) const MAX_ENTRIES: usize = 8_192;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use portcullis_audit::disk::OsDisk;
    use portcullis_audit::{Entry, Options, Recovery, SealKey, Sealer};
    use portcullis_keys::{SecretKey, SymmetricKey};
    use portcullis_model::{Cause, Digest};
    use portcullis_tlog::Reader;

    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_seed("log.example/2026", &[7; 32]).unwrap()
    }

    fn open(folder: &Path) -> Log {
        reopen(folder).0
    }

    fn reopen(folder: &Path) -> (Log, Recovery) {
        let sealer = Sealer::new(SealKey::new(SymmetricKey::from_bytes([9; 32])));
        let (signer, clock) = (Arc::new(key()), Arc::new(|| 1_790_000_000_000.into()));
        let options = Options::new(folder.to_owned(), "t".to_owned(), signer, sealer, clock);
        Log::open(Options { segment_bytes: 2 << 20, ..options }).unwrap()
    }

    fn records(folder: &Path, of: &str) -> Vec<serde_json::Value> {
        let key = key();
        let log = Reader::open(&OsDisk, &folder.join("log"), key.public()).unwrap();
        let mut found = Vec::new();
        let record = |_, leaf: &[u8]| {
            let record: serde_json::Value = serde_json::from_slice(leaf).unwrap();
            found.extend((record["t"] == of).then_some(record));
        };
        log.scan(0, record).unwrap();
        found
    }

    /// Late answers to this many decisions whose records are durable.
    fn late(log: &Log, count: u8) -> Vec<Correction> {
        let decision = || Entry { kind: "hook.decision", fields: String::new(), sealed: None };
        let late = |number| {
            let record = log.append(decision()).unwrap();
            let sequence = record.sequence();
            record.wait().unwrap();
            let (cause, answer) = (Cause::NotDurable, Digest([number; 32]));
            Correction { record: Some(sequence), cause, answer, at: Millis(u64::from(number)) }
        };
        (0..count).map(late).collect()
    }

    #[test]
    fn what_the_ring_has_no_slot_for_is_superseded_too_and_counted_only_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let mut books = PendingCorrections::default();
        for owed in late(&log, 40) {
            let serial = books.add(owed).unwrap();
            if serial > 30 {
                books.stand_by(serial);
                books.stand_by(serial);
            }
        }
        let unkept = books.unpersisted_tallies("token", log.health().durable);
        assert_eq!(unkept.len(), 1);
        assert_eq!((unkept[0].all.answers, unkept[0].recorded), (10, 0), "those without a slot");
        books.mark_persisted(&unkept[0]);
        assert_eq!((books.unpersisted_count(), books.counted()), (0, 0));
        assert!(books.has_unappended());
        books.append_all("token", &log).unwrap();
        log.flush_checkpoint().unwrap();
        let (slots, done) = books.collect("token");
        assert!(slots.is_empty() && books.is_clear() && !books.has_unappended());
        assert_eq!(done.len(), 1);
        assert_eq!(
            (done[0].all.answers, done[0].recorded),
            (10, 10),
            "the ring gives its place back"
        );
        log.close().unwrap();
        let superseded = records(folder.path(), "answer.superseded");
        let of: Vec<_> =
            superseded.iter().map(|record| record["decision"].as_u64().unwrap()).collect();
        assert_eq!(of, (0..40).collect::<Vec<_>>());
        assert!(records(folder.path(), "answer.gap").is_empty());
    }

    #[test]
    fn what_has_no_slot_is_not_counted_again_by_a_start_after_its_record_is_durable() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let mut books = PendingCorrections::default();
        let entries = late(&log, 5);
        let serials: Vec<_> = entries[..4].iter().map(|owed| books.add(*owed).unwrap()).collect();
        // Two had their turn before the log was given them; the others are given before.
        books.stand_by(serials[0]);
        books.stand_by(serials[1]);
        while log.ring().note("token", None, &[0; 32], "other", 0).unwrap().is_some() {}
        books.append_all("token", &log).unwrap();
        assert!(
            serials.iter().all(|serial| books.correction(*serial).is_none()),
            "no slot for them"
        );
        // A correction that the log has not been given when the process ends is still owed.
        let last = books.add(entries[4]).unwrap();
        books.stand_by(last);
        let tally = books.unpersisted_tallies("token", log.health().durable).remove(0);
        assert_eq!((tally.all.answers, tally.recorded), (5, 0));
        log.ring().count(&tally).unwrap();
        // The fate of these records is not looked at again.
        log.close().unwrap();
        drop(log);
        let (_, recovery) = reopen(folder.path());
        let tallies: Vec<_> = recovery
            .owed
            .into_iter()
            .filter_map(|owed| match owed {
                portcullis_audit::RingEntry::Counted(tally) => Some(tally),
                _ => None,
            })
            .collect();
        assert_eq!(tallies.len(), 1);
        assert_eq!((tallies[0].all.answers, tallies[0].recorded), (5, 4));
        assert_eq!(records(folder.path(), "answer.superseded").len(), 4);
    }

    #[test]
    fn a_tally_of_which_a_part_is_superseded_keeps_the_rest_for_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let mut books = PendingCorrections::default();
        let entries = late(&log, 3);
        let stand_by = |books: &mut PendingCorrections, owed: Correction| {
            let serial = books.add(owed).unwrap();
            books.stand_by(serial);
        };
        stand_by(&mut books, entries[0]);
        stand_by(&mut books, entries[1]);
        books.append_all("token", &log).unwrap();
        stand_by(&mut books, entries[2]);
        log.flush_checkpoint().unwrap();
        assert!(books.collect("token").1.is_empty(), "one is still owed");
        for tally in books.unpersisted_tallies("token", log.health().durable) {
            log.ring().count(&tally).unwrap();
        }
        drop(log);
        let (_, recovery) = reopen(folder.path());
        let left = |owed: &portcullis_audit::RingEntry| match owed {
            portcullis_audit::RingEntry::Counted(tally) => tally.all.answers - tally.recorded,
            _ => 0,
        };
        assert_eq!(recovery.owed.iter().map(left).sum::<u64>(), 1);
    }

    #[test]
    fn answers_beyond_the_bound_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let owed = late(&log, 1)[0];
        let mut books = PendingCorrections::default();
        for _ in 0..MAX_ENTRIES {
            assert!(books.add(owed).is_some());
        }
        assert!(books.add(owed).is_none());
        assert_eq!(books.counted(), 1);
    }

    #[test]
    fn a_count_has_its_records_behind_the_place_where_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        late(&log, 3);
        let mut books = PendingCorrections::default();
        books.count("not-durable", Millis(5));
        // Given to the log before the ring is written.
        books.append_all("token", &log).unwrap();
        late(&log, 3);
        let tally = books.unpersisted_tallies("token", log.health().durable).remove(0);
        log.close().unwrap();
        let gap = records(folder.path(), "answer.gap").remove(0);
        assert!(tally.from <= gap["seq"].as_u64().unwrap(), "{} {gap}", tally.from);
        assert_eq!(gap["tally"], format!("{:016x}", tally.id));
    }

    #[test]
    fn what_two_runs_counted_of_one_cause_is_added_up() {
        let all = Count { answers: 12, first: 61, last: 190 };
        let (hook, cause) = ("token".to_owned(), "not-durable".to_owned());
        let tally = Tally { hook, cause, id: 7, from: 3, all, recorded: 2 };
        let mut books = PendingCorrections::default();
        books.count("not-durable", Millis(200));
        books.restore(&tally);
        assert_eq!(books.counted(), 11);
        let unkept = books.unpersisted_tallies("token", 90).remove(0);
        assert_eq!((unkept.id, unkept.from, unkept.recorded), (7, 3, 2));
        assert_eq!(unkept.all, Count { answers: 13, first: 61, last: 200 });
    }
}

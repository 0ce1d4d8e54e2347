//! The emergency ring: slots written in advance, for what must not be forgotten while the log
//! cannot take it.
//!
//! ```text
//! slot 0         whether the log is open, and the count of what found no tally
//! 1 to 31        one answer each
//! 32 to 63       16 tallies of two slots each, written in turn and far from each other
//! 64 to 1,023    480 further tallies
//! 1,024 to 2,047 one answer each
//! ```
//!
//! Earlier versions had 64 slots and answers in all of them but the first.
//!
//! Invariant: a note is one write into a page that exists: it allocates nothing on the disk and
//! survives the end of the process at once. It survives a power loss after the next `sync`, which
//! comes within a second. An answer that finds no slot is counted in a tally, by hook and cause;
//! what finds no tally, or one that cannot be written, is counted in slot 0. A tally's last write
//! never replaces the one before, so that a write which was cut off loses nothing that was counted
//! earlier. A slot is given back only when its owner says that the log has it. Every call here may
//! block on the disk.

mod slot;
mod tallies;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::corrections::Count;
use crate::disk::{Disk, DiskFile};
use crate::error::AuditError;
use portcullis_tlog::tree::Hash;

pub use slot::MAX_RING_TEXT;
use slot::{
    Content, FILE_BYTES, Found, OLD_FILE_BYTES, OLD_PAIRS, OLD_SLOTS, SLOT_BYTES, SLOTS,
    STATE_ANSWER, STATE_FREE, STATE_HEAD, STATE_TALLY, create, cut, grow, is_answer_slot, pair_of,
    position, push_text, read, slot_of,
};
pub use tallies::Tally;
use tallies::{Key, Place};

/// An answer or a count that the log lacks, as found in the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingEntry {
    /// An answer that left without its record, or in place of it.
    Answer {
        /// To be settled when the log has it.
        slot: Slot,
        /// The hook, cut to 64 bytes.
        hook: String,
        /// The record that it supersedes, if one was sequenced.
        index: Option<u64>,
        /// SHA-256 of the answer that left.
        answer: Hash,
        /// Why, cut to 64 bytes.
        cause: String,
        /// When, in milliseconds since 1970 UTC.
        at: u64,
    },
    /// Answers that are only counted.
    Counted(Tally),
    /// Slots that hold something and cannot be read, `answers` of which held one answer each.
    Damaged {
        /// How many.
        slots: u64,
        /// How many of them held one answer each.
        answers: u64,
    },
}

/// A slot in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u16);

/// The ring of one log.
#[derive(Debug)]
pub struct Ring {
    file: Box<dyn DiskFile>,
    /// Slots: fewer where the file could not be made longer.
    slots: usize,
    /// Whether the last answer found no slot, and none was given back since.
    full: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Slots with an answer.
    used: Vec<bool>,
    /// The places of the tallies, by hook and cause.
    places: BTreeMap<Key, Place>,
    /// Counts that found no place, or could not be written to theirs.
    placeless: BTreeMap<Key, Count>,
    /// The count of an earlier run without hook and cause.
    unnamed: Count,
    /// While the log is in use.
    open: bool,
    dirty: bool,
    /// The last sync failed.
    unsure: bool,
}

impl Ring {
    /// Opens or creates the ring; returns what it holds, and whether the log was left without being
    /// closed.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<(Self, Vec<RingEntry>, bool), AuditError> {
        let failed = |what| AuditError::disk(path, what);
        let (file, length) = match disk.open(path) {
            Ok(file) => {
                let length = file.length().map_err(failed("read"))?;
                (file, length)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (create(disk, path).map_err(failed("created"))?, FILE_BYTES)
            }
            Err(error) => return Err(failed("opened")(error)),
        };
        let grown = grow(file.as_ref(), length);
        let slots = if grown { SLOTS } else { OLD_SLOTS };
        let ring = Self { file, slots, full: AtomicBool::new(false), state: Mutex::default() };
        let cut = length < OLD_FILE_BYTES;
        let owed = ring.load(cut, length.min(FILE_BYTES)).map_err(failed("read"))?;
        let mut state = ring.state();
        let unclean = std::mem::replace(&mut state.open, true);
        ring.write_head(&state).and_then(|()| ring.file.sync()).map_err(failed("written"))?;
        drop(state);
        Ok((ring, owed, unclean))
    }

    /// Keeps that an answer left. `None` where no slot is free: then it is to be counted in a
    /// tally.
    pub fn note(
        &self,
        hook: &str,
        index: Option<u64>,
        answer: &Hash,
        cause: &str,
        at: u64,
    ) -> io::Result<Option<Slot>> {
        let mut state = self.state();
        let free = self.answer_slots().find(|slot| state.used.get(*slot).is_some_and(|used| !used));
        let Some(free) = free else {
            self.full.store(true, Ordering::Release);
            return Ok(None);
        };
        let mut content = vec![STATE_ANSWER, u8::from(index.is_some())];
        content.extend_from_slice(&index.unwrap_or(0).to_be_bytes());
        content.extend_from_slice(&at.to_be_bytes());
        content.extend_from_slice(answer);
        push_text(&mut content, hook);
        push_text(&mut content, cause);
        state.dirty = true;
        match self.write_slot(free, &content) {
            Ok(()) => {}
            // A file may be kept from being written to its end: what lies at its beginning is
            // tried.
            Err(_) if free >= OLD_SLOTS => return Ok(None),
            Err(error) => return Err(error),
        }
        state.mark(free, true);
        Ok(u16::try_from(free).ok().map(Slot))
    }

    /// Whether an answer would find no slot, as far as is known without a wait for the disk.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Keeps a tally as it is now. One whose answers are all in the log gives its place back.
    pub fn count(&self, tally: &Tally) -> io::Result<()> {
        let mut state = self.state();
        let key = (cut(&tally.hook).to_owned(), cut(&tally.cause).to_owned());
        let empty = tally.all.answers == tally.recorded;
        state.dirty = true;
        let left = Count { answers: tally.all.answers.saturating_sub(tally.recorded), ..tally.all };
        let Some(place) = state.place(&key, self.slots) else {
            state.keep_without_place(key, left);
            return self.write_head(&state);
        };
        let written = place.written.saturating_add(1);
        let mut content = vec![STATE_TALLY, u8::from(empty)];
        let Count { answers, first, last } = tally.all;
        for number in [written, tally.id, tally.from, answers, first, last] {
            content.extend_from_slice(&number.to_be_bytes());
        }
        push_text(&mut content, &key.0);
        push_text(&mut content, &key.1);
        if let Err(error) = self.write_slot(slot_of(place.pair, written), &content) {
            if place.pair < OLD_PAIRS {
                return Err(error);
            }
            // As above. The place has what was written there last.
            let answers = left.answers.saturating_sub(place.answers);
            state.keep_without_place(key, Count { answers, ..left });
            return self.write_head(&state);
        }
        state.places.insert(key.clone(), Place { written, empty, answers, ..place });
        if state.placeless.remove(&key).is_some() { self.write_head(&state) } else { Ok(()) }
    }

    /// Gives a slot back: the log has what it held.
    pub fn settle(&self, slot: Slot) -> io::Result<()> {
        let mut state = self.state();
        state.dirty = true;
        let place = usize::from(slot.0);
        self.write_slot(place, &[STATE_FREE])?;
        state.mark(place, false);
        self.full.store(false, Ordering::Release);
        Ok(())
    }

    /// Answers that supersede a record from `end` on supersede none: those places are given anew.
    /// They stay as answers without a record.
    pub(crate) fn void_from(&self, end: u64) -> io::Result<()> {
        let mut state = self.state();
        state.dirty = true;
        for place in (1..self.slots).filter(|place| state.used.get(*place) == Some(&true)) {
            let mut bytes = [0; SLOT_BYTES];
            self.file.read_at(&mut bytes, position(place))?;
            let Content::Whole(content) = Content::of(&bytes) else { continue };
            if let Some(Found::Answer(RingEntry::Answer { index: Some(index), .. })) =
                read(content, place)
                && index >= end
            {
                let mut content = content.to_vec();
                content.get_mut(1).into_iter().for_each(|flag| *flag = 0);
                self.write_slot(place, &content)?;
            }
        }
        Ok(())
    }

    /// Gives back what an earlier run counted without hook and cause: the log has it.
    pub fn settle_unnamed(&self) -> io::Result<()> {
        let mut state = self.state();
        state.dirty = true;
        state.unnamed = Count::default();
        self.write_head(&state)
    }

    /// Clears slots that could not be read: the log has that fact.
    pub fn settle_damaged(&self) -> io::Result<()> {
        let mut state = self.state();
        state.dirty = true;
        for place in 1..self.slots {
            let mut bytes = [0; SLOT_BYTES];
            self.file.read_at(&mut bytes, position(place))?;
            if Content::of(&bytes).is_damaged() {
                self.write_slot(place, &[STATE_FREE])?;
                state.mark(place, false);
                self.full.store(false, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Makes the notes durable, if there are new ones.
    pub fn sync(&self) -> io::Result<()> {
        {
            let mut state = self.state();
            if !std::mem::take(&mut state.dirty) {
                return Ok(());
            }
            if state.unsure {
                // The kernel may have dropped what the failed sync was to write, and would call the
                // next one a success.
                self.write_again().inspect_err(|_| state.dirty = true)?;
            }
        }
        let synced = self.file.sync();
        let mut state = self.state();
        state.unsure = synced.is_err();
        state.dirty |= state.unsure;
        synced
    }

    /// Says that the log was closed in order.
    pub(crate) fn close(&self) -> io::Result<()> {
        let mut state = self.state();
        state.open = false;
        self.write_head(&state)?;
        self.file.sync()
    }

    fn load(&self, cut: bool, length: u64) -> io::Result<Vec<RingEntry>> {
        let mut owed = Vec::new();
        let (mut damaged, mut damaged_answers) = (u64::from(cut), 0);
        let mut state = self.state();
        state.used = vec![false; self.slots];
        let mut pairs: BTreeMap<usize, (u64, bool, Tally)> = BTreeMap::new();
        let there = usize::try_from(length / SLOT_BYTES as u64).unwrap_or(0).min(self.slots);
        let mut bytes = vec![0; there * SLOT_BYTES];
        self.file.read_at(&mut bytes, 0)?;
        for (place, bytes) in bytes.as_chunks().0.iter().enumerate() {
            let slot = Content::of(bytes);
            let Content::Whole(content) = slot else {
                if slot.is_damaged() {
                    damaged += 1;
                    // Without the head nobody knows that the log was closed.
                    state.open |= place == 0;
                    damaged_answers += u64::from(is_answer_slot(place));
                    state.mark(place, true);
                }
                continue;
            };
            match read(content, place) {
                Some(Found::Answer(answer)) => {
                    owed.push(answer);
                    state.mark(place, true);
                }
                Some(Found::Head { open, unnamed }) => {
                    (state.open, state.unnamed) = (open, unnamed);
                    if unnamed.answers > 0 {
                        owed.push(RingEntry::Counted(Tally {
                            hook: String::new(),
                            cause: String::new(),
                            id: 0,
                            from: 0,
                            all: unnamed,
                            recorded: 0,
                        }));
                    }
                }
                Some(Found::Tally { written, empty, tally }) if pair_of(place).is_some() => {
                    let pair = pair_of(place).unwrap_or(0);
                    let before = pairs.get(&pair).map_or(0, |(before, _, _)| *before);
                    if written > before {
                        pairs.insert(pair, (written, empty, tally));
                    }
                }
                Some(Found::Tally { .. }) => damaged += 1,
                None => {}
            }
        }
        for (pair, (written, empty, tally)) in pairs {
            let key = (tally.hook.clone(), tally.cause.clone());
            let answers = tally.all.answers;
            state.places.insert(key, Place { pair, written, answers, empty });
            if !empty {
                owed.push(RingEntry::Counted(tally));
            }
        }
        if damaged > 0 {
            owed.push(RingEntry::Damaged { slots: damaged, answers: damaged_answers });
        }
        Ok(owed)
    }

    /// Writes all slots as they are in the kernel's memory.
    fn write_again(&self) -> io::Result<()> {
        let mut bytes = vec![0; self.slots * SLOT_BYTES];
        self.file.read_at(&mut bytes, 0)?;
        self.file.write_at(&bytes, 0)
    }

    /// Writes slot 0: whether the log is open, and the sum of what has no tally of its own.
    fn write_head(&self, state: &State) -> io::Result<()> {
        let mut sum = state.unnamed;
        state.placeless.values().for_each(|count| sum.join(count));
        let mut content = vec![STATE_HEAD, u8::from(state.open)];
        [sum.answers, sum.first, sum.last]
            .iter()
            .for_each(|number| content.extend_from_slice(&number.to_be_bytes()));
        self.write_slot(0, &content)
    }

    /// Writes `length (2) | content | CRC-32 (4)` and zeros into a slot.
    fn write_slot(&self, place: usize, content: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(&u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes.resize(SLOT_BYTES, 0);
        self.file.write_at(&bytes, position(place))
    }

    fn answer_slots(&self) -> impl Iterator<Item = usize> {
        (1..self.slots).filter(|slot| is_answer_slot(*slot))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

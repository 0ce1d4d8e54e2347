//! The slots of the emergency ring: their places in the file, and the bytes of each.
//!
//! Invariant: a slot that was written whole is read back as it was written; any other is empty or
//! damaged, and which of the two is known.

use std::io;
use std::path::Path;

use super::tallies::Tally;
use super::{RingEntry, Slot};
use crate::corrections::Count;
use crate::disk::{Disk, DiskFile};

pub(super) enum Found {
    Answer(RingEntry),
    Head { open: bool, unnamed: Count },
    Tally { written: u64, empty: bool, tally: Tally },
}

/// The content of a slot.
pub(super) enum Content<'a> {
    Empty,
    Damaged,
    Whole(&'a [u8]),
}

impl<'a> Content<'a> {
    pub(super) fn of(bytes: &'a [u8; SLOT_BYTES]) -> Self {
        if *bytes == [0; SLOT_BYTES] {
            return Self::Empty;
        }
        checked(bytes).map_or(Self::Damaged, Self::Whole)
    }

    pub(super) fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged)
    }
}

pub(super) fn read(content: &[u8], place: usize) -> Option<Found> {
    let ([state, flag], mut rest) = content.split_first_chunk()?;
    let mut number = || {
        let (number, after) = rest.split_first_chunk()?;
        rest = after;
        Some(u64::from_be_bytes(*number))
    };
    match *state {
        STATE_HEAD => {
            let unnamed = Count { answers: number()?, first: number()?, last: number()? };
            Some(Found::Head { open: *flag == 1, unnamed })
        }
        STATE_ANSWER => {
            let (index, at) = (number()?, number()?);
            let (answer, mut rest) = rest.split_first_chunk()?;
            let (hook, cause) = (take_text(&mut rest)?, take_text(&mut rest)?);
            let index = (*flag == 1).then_some(index);
            let slot = Slot(u16::try_from(place).ok()?);
            Some(Found::Answer(RingEntry::Answer { slot, hook, index, answer: *answer, cause, at }))
        }
        STATE_TALLY => {
            let (written, id, from) = (number()?, number()?, number()?);
            let all = Count { answers: number()?, first: number()?, last: number()? };
            let (hook, cause) = (take_text(&mut rest)?, take_text(&mut rest)?);
            let tally = Tally { hook, cause, id, from, all, recorded: 0 };
            Some(Found::Tally { written, empty: *flag == 1, tally })
        }
        _ => None,
    }
}

pub(super) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (content, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let covered = bytes.get(..2 + content.len())?;
    let whole = crc32fast::hash(covered).to_be_bytes() == *rest.first_chunk()?;
    (whole && !content.is_empty()).then_some(content)
}

pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    let cut = cut(text);
    out.push(u8::try_from(cut.len()).unwrap_or(0));
    out.extend_from_slice(cut.as_bytes());
}

pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_RING_TEXT)).unwrap_or_default()
}

pub(super) fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

pub(super) fn create(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.create(path)?;
    file.write_at(&[0; SLOTS * SLOT_BYTES], 0)?;
    file.sync()?;
    if let Some(dir) = path.parent() {
        disk.sync_dir(dir)?;
    }
    Ok(file)
}

/// Makes the file as long as it has to be, such as one of an earlier version. Returns whether it
/// is. Where the disk has no room the ring does with its first slots.
pub(super) fn grow(file: &dyn DiskFile, length: u64) -> bool {
    let extend_to = |bytes: u64| -> io::Result<()> {
        let missing = usize::try_from(bytes.saturating_sub(length)).unwrap_or(0);
        if missing == 0 {
            return Ok(());
        }
        file.write_at(&vec![0; missing], length)?;
        file.sync()
    };
    // If there is no room for the first slots either, the first write to one of them fails.
    extend_to(FILE_BYTES).or_else(|error| extend_to(OLD_FILE_BYTES).and(Err(error))).is_ok()
}

/// The pair that a slot belongs to, if it is a tally's.
pub(super) fn pair_of(slot: usize) -> Option<usize> {
    match slot {
        OLD_PAIR_SLOT..OLD_SLOTS => Some((slot - OLD_PAIR_SLOT) % OLD_PAIRS),
        OLD_SLOTS..PAIRS_END => Some(OLD_PAIRS + (slot - OLD_SLOTS) % PAIRS),
        _ => None,
    }
}

pub(super) fn is_answer_slot(slot: usize) -> bool {
    slot > 0 && pair_of(slot).is_none()
}

/// The slot that a tally's write of this number goes to.
pub(super) fn slot_of(pair: usize, written: u64) -> usize {
    let second = written % 2 == 1;
    match pair.checked_sub(OLD_PAIRS) {
        None => OLD_PAIR_SLOT + pair + if second { OLD_PAIRS } else { 0 },
        Some(pair) => OLD_SLOTS + pair + if second { PAIRS } else { 0 },
    }
}

pub(super) fn position(place: usize) -> u64 {
    (place * SLOT_BYTES) as u64
}

pub(super) const SLOTS: usize = 2_048;
/// Slots of a ring as earlier versions wrote it: the head and answers.
pub(super) const OLD_SLOTS: usize = 64;
/// The tallies among those, and the first slot that they have.
pub(super) const OLD_PAIRS: usize = 16;
pub(super) const OLD_PAIR_SLOT: usize = OLD_SLOTS - 2 * OLD_PAIRS;
/// Further tallies: there are as many as hooks times causes, of which a hook has a few.
pub(super) const PAIRS: usize = 480;
pub(super) const PAIRS_END: usize = OLD_SLOTS + 2 * PAIRS;

/// Half a disk sector: a slot is never torn by a disk that writes whole sectors.
pub(super) const SLOT_BYTES: usize = 256;
pub(super) const FILE_BYTES: u64 = (SLOTS * SLOT_BYTES) as u64;
pub(super) const OLD_FILE_BYTES: u64 = (OLD_SLOTS * SLOT_BYTES) as u64;
/// The longest name of a hook or cause that a slot keeps, bytes; a longer one is cut.
pub const MAX_RING_TEXT: usize = 64;
pub(super) const STATE_FREE: u8 = 0;
pub(super) const STATE_HEAD: u8 = 1;
pub(super) const STATE_ANSWER: u8 = 2;
pub(super) const STATE_TALLY: u8 = 3;

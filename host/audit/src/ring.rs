//! The emergency ring: 64 slots written in advance, for what must not be forgotten while the log cannot take it.
//!
//! Invariant: a note is one write into a page that exists: it allocates nothing on the disk and survives the end of the process at once. It
//! survives a power loss after the next `sync`, which the log's own thread does within a second. When the slots are used up the rest is
//! counted, with its times. A slot is given back only when its owner says that the log has it.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};
use crate::error::AuditError;
use crate::tree::Hash;

/// What the log still owes, as found in the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
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
    /// Answers that found the ring full: only their number and times are known.
    Gap {
        /// To be settled when the log has it.
        slot: Slot,
        /// How many.
        count: u64,
        /// When the first left, in milliseconds since 1970 UTC.
        first: u64,
        /// When the last left.
        last: u64,
    },
}

/// A slot in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    /// The tally of what found no slot.
    pub const TALLY: Self = Self(0);
}

/// The ring of one log.
#[derive(Debug)]
pub struct Ring {
    file: Box<dyn DiskFile>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A bit a slot.
    used: u64,
    /// Count, first and last time of what found no slot; `open` while the log is in use.
    lost: (u64, u64, u64),
    open: bool,
    dirty: bool,
}

impl Ring {
    /// Opens or creates the ring; returns what it holds, and whether the log was left without being closed.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<(Self, Vec<Owed>, bool), AuditError> {
        let failed = |what| AuditError::disk(path, what);
        let file = match disk.open(path) {
            Ok(file) if file.length().map_err(failed("read"))? == FILE_BYTES => file,
            Ok(_) => create(disk, path).map_err(failed("created"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(disk, path).map_err(failed("created"))?
            }
            Err(error) => return Err(failed("opened")(error)),
        };
        let ring = Self { file, state: Mutex::default() };
        let owed = ring.load().map_err(failed("read"))?;
        let mut state = ring.state();
        let unclean = std::mem::replace(&mut state.open, true);
        ring.write_tally(&state).and_then(|()| ring.file.sync()).map_err(failed("written"))?;
        drop(state);
        Ok((ring, owed, unclean))
    }

    /// Keeps that an answer left. `None` where no slot is free: it is counted.
    pub fn note(
        &self,
        hook: &str,
        index: Option<u64>,
        answer: &Hash,
        cause: &str,
        at: u64,
    ) -> io::Result<Option<Slot>> {
        let mut state = self.state();
        state.dirty = true;
        let Some(free) = (1..SLOTS).find(|slot| state.used >> slot & 1 == 0) else {
            let (count, first, last) = state.lost;
            state.lost =
                (count.saturating_add(1), if count == 0 { at } else { first }, last.max(at));
            self.write_tally(&state)?;
            return Ok(None);
        };
        let mut content = vec![STATE_ANSWER, u8::from(index.is_some())];
        content.extend_from_slice(&index.unwrap_or(0).to_be_bytes());
        content.extend_from_slice(&at.to_be_bytes());
        content.extend_from_slice(answer);
        push_text(&mut content, hook);
        push_text(&mut content, cause);
        self.write_slot(free, &content)?;
        state.used |= 1 << free;
        Ok(u8::try_from(free).ok().map(Slot))
    }

    /// Gives a slot back: the log has what it held.
    pub fn settle(&self, slot: Slot) -> io::Result<()> {
        let mut state = self.state();
        state.dirty = true;
        let place = usize::from(slot.0);
        if place == 0 {
            state.lost = (0, 0, 0);
            return self.write_tally(&state);
        }
        self.write_slot(place, &[STATE_FREE])?;
        state.used &= !(1 << place);
        Ok(())
    }

    /// Makes the notes durable, if there are new ones.
    pub fn sync(&self) -> io::Result<()> {
        if std::mem::take(&mut self.state().dirty) { self.file.sync() } else { Ok(()) }
    }

    /// Says that the log was closed in order.
    pub(crate) fn close(&self) -> io::Result<()> {
        let mut state = self.state();
        state.open = false;
        self.write_tally(&state)?;
        self.file.sync()
    }

    fn load(&self) -> io::Result<Vec<Owed>> {
        let mut owed = Vec::new();
        let mut state = self.state();
        for place in 0..SLOTS {
            let mut bytes = [0; SLOT_BYTES];
            self.file.read_at(&mut bytes, position(place))?;
            // A torn slot is a note whose write was cut off: its answer never left.
            let Some(content) = checked(&bytes) else { continue };
            let slot = Slot(u8::try_from(place).unwrap_or(u8::MAX));
            match read(content, slot) {
                Some(Found::Answer(answer)) => {
                    owed.push(answer);
                    state.used |= 1 << place;
                }
                Some(Found::Tally { open, count, first, last }) => {
                    (state.open, state.lost) = (open, (count, first, last));
                    if count > 0 {
                        owed.push(Owed::Gap { slot, count, first, last });
                    }
                }
                None => {}
            }
        }
        Ok(owed)
    }

    fn write_tally(&self, state: &State) -> io::Result<()> {
        let (count, first, last) = state.lost;
        let mut content = vec![STATE_TALLY, u8::from(state.open)];
        [count, first, last]
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Found {
    Answer(Owed),
    Tally { open: bool, count: u64, first: u64, last: u64 },
}

fn read(content: &[u8], slot: Slot) -> Option<Found> {
    let ([state, flag], mut rest) = content.split_first_chunk()?;
    let mut number = || {
        let (number, after) = rest.split_first_chunk()?;
        rest = after;
        Some(u64::from_be_bytes(*number))
    };
    match *state {
        STATE_TALLY => Some(Found::Tally {
            open: *flag == 1,
            count: number()?,
            first: number()?,
            last: number()?,
        }),
        STATE_ANSWER => {
            let (index, at) = (number()?, number()?);
            let (answer, mut rest) = rest.split_first_chunk()?;
            let (hook, cause) = (take_text(&mut rest)?, take_text(&mut rest)?);
            let index = (*flag == 1).then_some(index);
            Some(Found::Answer(Owed::Answer { slot, hook, index, answer: *answer, cause, at }))
        }
        _ => None,
    }
}

fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (content, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let covered = bytes.get(..2 + content.len())?;
    (crc32fast::hash(covered).to_be_bytes() == *rest.first_chunk()?).then_some(content)
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let cut = text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or_default();
    out.push(u8::try_from(cut.len()).unwrap_or(0));
    out.extend_from_slice(cut.as_bytes());
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

fn create(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.create(path)?;
    file.write_at(&[0; SLOTS * SLOT_BYTES], 0)?;
    file.sync()?;
    if let Some(dir) = path.parent() {
        disk.sync_dir(dir)?;
    }
    Ok(file)
}

fn position(place: usize) -> u64 {
    (place * SLOT_BYTES) as u64
}

/// The first keeps the tally of what found no slot.
const SLOTS: usize = 64;

/// Half a disk sector: a slot is never torn by a disk that writes whole sectors.
const SLOT_BYTES: usize = 256;
const FILE_BYTES: u64 = (SLOTS * SLOT_BYTES) as u64;
const TEXT_BYTES: usize = 64;
const STATE_FREE: u8 = 0;
const STATE_TALLY: u8 = 1;
const STATE_ANSWER: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn keeps_what_was_noted_until_it_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emergency");
        let (ring, owed, unclean) = Ring::open(&OsDisk, &path).unwrap();
        assert_eq!((owed, unclean), (vec![], false));
        let long = "ü".repeat(40);
        let first = ring.note("token", Some(7), &[1; 32], &long, 1000).unwrap().unwrap();
        let second = ring.note("import", None, &[2; 32], "log-queue-full", 1001).unwrap().unwrap();
        drop(ring);

        let (ring, owed, unclean) = Ring::open(&OsDisk, &path).unwrap();
        let answer = |slot, hook: &str, index, byte, cause: &str, at| Owed::Answer {
            slot,
            hook: hook.into(),
            index,
            answer: [byte; 32],
            cause: cause.into(),
            at,
        };
        let expected = [
            answer(first, "token", Some(7), 1, &"ü".repeat(32), 1000),
            answer(second, "import", None, 2, "log-queue-full", 1001),
        ];
        assert_eq!((owed, unclean), (expected.to_vec(), true));
        ring.settle(first).unwrap();
        ring.close().unwrap();

        let (ring, owed, unclean) = Ring::open(&OsDisk, &path).unwrap();
        assert_eq!((owed, unclean), (expected[1..].to_vec(), false));
        assert_eq!(
            ring.note("token", None, &[3; 32], "c", 1002).unwrap(),
            Some(first),
            "the slot is used again"
        );
    }

    #[test]
    fn what_finds_no_slot_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emergency");
        let (ring, _, _) = Ring::open(&OsDisk, &path).unwrap();
        let noted = (0..70u64)
            .filter(|at| ring.note("h", None, &[0; 32], "c", *at).unwrap().is_some())
            .count();
        assert_eq!(noted, 63);
        drop(ring);
        let (ring, owed, _) = Ring::open(&OsDisk, &path).unwrap();
        assert_eq!(owed.len(), 64);
        let Owed::Gap { slot, count, first, last } = owed[0] else { panic!("{owed:?}") };
        assert_eq!((count, first, last), (7, 63, 69));
        ring.settle(slot).unwrap();
        drop(ring);
        assert_eq!(Ring::open(&OsDisk, &path).unwrap().1.len(), 63);
    }

    #[test]
    fn a_torn_slot_is_no_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emergency");
        let (ring, _, _) = Ring::open(&OsDisk, &path).unwrap();
        ring.note("token", Some(7), &[1; 32], "c", 1000).unwrap();
        drop(ring);
        let bytes = std::fs::read(&path).unwrap();
        for at in 256..256 + 60 {
            let mut torn = bytes.clone();
            torn[at] ^= 0xff;
            std::fs::write(&path, torn).unwrap();
            assert_eq!(Ring::open(&OsDisk, &path).unwrap().1, vec![], "{at}");
        }
    }
}

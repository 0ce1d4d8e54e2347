//! The write-ahead log: segments of fixed size, written in advance, used over and over.
//!
//! Invariant: a commit is one frame, one write and (where the commit is to the disk) one
//! `fdatasync` of a file whose size does not change. A segment is used again only when the views
//! and the store of changes hold all of it durably; its old frames then lie below the sequence and
//! epoch that a reader expects. Reading it all back is `recover`'s matter.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::disk::{Disk, DiskFile};
use crate::options::Monotonic;
use portcullis_tlog::frame::{self, BLOCK, Framed, Head, Sequenced};
use portcullis_tlog::layout::segment_name;

/// A segment file.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn DiskFile>,
    /// The number that is its name.
    pub(crate) number: u32,
}

/// A frame that was written, and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) segment: Segment,
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
    pub(crate) head: Head,
}

/// Why a frame that was written cannot be had again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it could not be read: {0}")]
    Disk(#[from] io::Error),
    #[error("its content differs from what was written")]
    Changed,
    #[error("it has a format that this version does not support")]
    Unknown,
}

impl Place {
    /// Its records, read again; `buffer` holds their bytes.
    pub(crate) fn records<'b>(
        &self,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Vec<Framed<'b>>, Unreadable> {
        buffer.resize(self.bytes, 0);
        self.segment.file.read_at(buffer, self.offset)?;
        let whole = frame::decode(buffer).filter(|(head, _, _)| *head == self.head);
        let (head, payload, _) = whole.ok_or(Unreadable::Changed)?;
        frame::records(&head, payload).ok_or(Unreadable::Unknown)
    }
}

/// Segments that are free, and those that wait for the views.
#[derive(Debug)]
pub(crate) struct Pool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    max_segments: u32,
    state: Mutex<PoolState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    free: Vec<Segment>,
    /// With the sequence after the last record in each.
    full: Vec<(u64, Segment)>,
    numbers: Vec<u32>,
    stopped: bool,
    /// Whether the views, or the store of changes, cannot be written: no segment becomes free then.
    views_fail: bool,
    store_fails: bool,
}

/// The reader that a full segment waits for before it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Starved {
    /// The views of the log.
    Views,
    /// The store to which records bring changes.
    Store,
}

impl Pool {
    /// A pool over segments that are all free.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        segment_bytes: u64,
        max_segments: u32,
        free: Vec<Segment>,
    ) -> Self {
        let numbers = free.iter().map(|segment| segment.number).collect();
        let state = Mutex::new(PoolState { free, numbers, ..PoolState::default() });
        Self {
            disk,
            dir: dir.to_owned(),
            segment_bytes,
            max_segments,
            state,
            changed: Condvar::new(),
        }
    }

    /// A free segment. Waits for one where `wait` says so; `None` where there is none, none becomes
    /// free for now, or the log stops.
    pub(crate) fn take(&self, wait: bool) -> Option<Segment> {
        let mut state = self.state();
        loop {
            if let Some(segment) = state.free.pop() {
                return Some(segment);
            }
            if state.stopped || state.views_fail || state.store_fails || !wait {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts away a segment that is full, whose last record is before `end`.
    pub(crate) fn retire(&self, segment: Segment, end: u64) {
        self.state().full.push((end, segment));
    }

    /// Frees the segments whose records are needed no more: all before `applied`.
    pub(crate) fn release(&self, applied: u64) {
        let mut state = self.state();
        let (done, full) = std::mem::take(&mut state.full)
            .into_iter()
            .partition::<Vec<_>, _>(|(end, _)| *end <= applied);
        state.full = full;
        state.free.extend(done.into_iter().map(|(_, segment)| segment));
        self.changed.notify_all();
    }

    /// Sees to it that a free segment lies ready, as long as there may be more.
    pub(crate) fn top_up(&self) -> io::Result<()> {
        let number = {
            let mut state = self.state();
            if !state.free.is_empty() || state.numbers.len() as u64 >= u64::from(self.max_segments)
            {
                return Ok(());
            }
            let number = state.numbers.iter().max().map_or(0, |last| last.saturating_add(1));
            state.numbers.push(number);
            number
        };
        match write_segment(self.disk.as_ref(), &self.dir, number, self.segment_bytes) {
            Ok(segment) => {
                self.state().free.push(segment);
                self.changed.notify_all();
                Ok(())
            }
            Err(error) => {
                // A part of it would keep room from the tiles, which free segments by themselves.
                let _ = self.disk.remove(&self.dir.join(segment_name(number)));
                self.state().numbers.retain(|taken| *taken != number);
                Err(error)
            }
        }
    }

    /// Says whether segments become free at all: they do not while the views or the store cannot
    /// be written. Threads that wait for one are told.
    pub(crate) fn starve(&self, by: Starved, starved: bool) {
        let mut state = self.state();
        match by {
            Starved::Views => state.views_fail = starved,
            Starved::Store => state.store_fails = starved,
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether at most half of the segments that there may be are left.
    pub(crate) fn is_half_used(&self) -> bool {
        self.state().full.len() as u64 >= u64::from(self.max_segments) / 2
    }

    /// Whether a segment lies ready.
    pub(crate) fn has_free(&self) -> bool {
        !self.state().free.is_empty()
    }

    /// Whether the log has stopped for good.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Ends every wait for a segment.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that is written to.
pub(crate) struct Wal {
    pool: Arc<Pool>,
    segment: Segment,
    epoch: u64,
    offset: u64,
    end: u64,
    durable: Arc<Durable>,
    frame: Vec<u8>,
    /// The time of the last record that was committed since the log was opened; 0 where there is
    /// none.
    pub(crate) last_at: u64,
    /// Bytes of the frame that could not be written at the present place, where there is one.
    failed: usize,
    /// Bytes of the frame that found no room, where there is one.
    needs: u64,
}

impl Wal {
    /// Goes on at sequence `end` in a free segment, as a new epoch.
    pub(crate) fn new(
        pool: Arc<Pool>,
        segment: Segment,
        epoch: u64,
        end: u64,
        clock: Monotonic,
    ) -> Self {
        let durable = Arc::new(Durable {
            before: AtomicU64::new(end),
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
            opened: clock(),
            clock,
            since: AtomicU64::new(NEVER),
        });
        Self {
            pool,
            segment,
            epoch,
            offset: 0,
            end,
            durable,
            frame: Vec::new(),
            last_at: 0,
            failed: 0,
            needs: 0,
        }
    }

    /// Returns the part that a thread needs to sync later.
    pub(crate) fn durable(&self) -> Arc<Durable> {
        Arc::clone(&self.durable)
    }

    /// The sequence after the last record that was written.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Notes that a frame of so many bytes found no room.
    pub(crate) fn found_no_room(&mut self, bytes: u64) {
        self.needs = bytes;
    }

    /// Whether the frame that found no room would find some now: a free segment, or room in this
    /// one.
    pub(crate) fn has_place(&self) -> bool {
        self.pool.has_free() || self.has_room(self.needs.max(BLOCK))
    }

    /// Finds out whether the place can be written to at which a write failed: erases what that left
    /// there, durably. The frame that was cut off is gone then, and the next one takes its place.
    pub(crate) fn retry(&mut self) -> io::Result<()> {
        self.segment.file.write_at(&vec![0; self.failed], self.offset)?;
        self.segment.file.sync()?;
        (self.failed, self.needs) = (0, 0);
        Ok(())
    }

    /// Whether a frame of so many bytes fits the segment.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.offset.saturating_add(bytes) <= self.pool.segment_bytes()
    }

    /// Finds room for a frame of so many bytes; `false` where no segment is free (and, with `wait`,
    /// the log stops).
    pub(crate) fn make_room(&mut self, bytes: u64, wait: bool) -> bool {
        if self.has_room(bytes) {
            return true;
        }
        let Some(next) = self.pool.take(wait) else { return false };
        let full = std::mem::replace(&mut self.segment, next);
        self.pool.retire(full, self.end);
        self.epoch = self.epoch.saturating_add(1);
        self.offset = 0;
        true
    }

    /// Writes the records, for which there is room, as one frame, and says where it lies.
    pub(crate) fn write(&mut self, records: &[Sequenced]) -> io::Result<Place> {
        let head = frame::encode(&mut self.frame, self.epoch, self.durable.before(), records);
        self.failed = self.frame.len();
        self.segment.file.write_at(&self.frame, self.offset)?;
        self.failed = 0;
        let place = Place {
            segment: self.segment.clone(),
            offset: self.offset,
            bytes: self.frame.len(),
            head,
        };
        self.durable.wrote(&self.segment, records);
        self.offset = self.offset.saturating_add(self.frame.len() as u64);
        self.end = self.end.saturating_add(records.len() as u64);
        self.frame.shrink_to(KEPT_FRAME_BYTES);
        Ok(place)
    }
}

/// The bytes that have been written, and how much of them is known to be durable.
pub(crate) struct Durable {
    before: AtomicU64,
    unsynced: Mutex<Unsynced>,
    /// Held while syncing, so that whoever syncs next finds it done; says whether it ever failed.
    syncing: Mutex<bool>,
    opened: Instant,
    clock: Monotonic,
    /// When the sync began that is under way: milliseconds from `opened`, or [`NEVER`].
    since: AtomicU64,
}

#[derive(Debug, Default)]
struct Unsynced {
    segments: Vec<Segment>,
    end: u64,
}

impl Durable {
    /// All records before this sequence are durable.
    pub(crate) fn before(&self) -> u64 {
        self.before.load(Ordering::Acquire)
    }

    /// Makes durable what has been written by now. After a failure it fails for good.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut failed = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(io::Error::other("an earlier sync failed"));
        }
        let Unsynced { segments, end } = std::mem::take(&mut *self.unsynced());
        *failed = true;
        self.since.store(self.elapsed(), Ordering::Relaxed);
        let synced = segments.iter().try_for_each(|segment| segment.file.sync());
        self.since.store(NEVER, Ordering::Relaxed);
        synced?;
        *failed = false;
        self.before.fetch_max(end, Ordering::Release);
        Ok(())
    }

    /// Whether a sync is under way that takes suspiciously long.
    pub(crate) fn hangs(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since != NEVER && self.elapsed().saturating_sub(since) > HANGS_AFTER_MS
    }

    fn elapsed(&self) -> u64 {
        u64::try_from((self.clock)().saturating_duration_since(self.opened).as_millis())
            .unwrap_or(NEVER - 1)
    }

    fn wrote(&self, segment: &Segment, records: &[Sequenced]) {
        let mut unsynced = self.unsynced();
        if unsynced.segments.last().is_none_or(|last| last.number != segment.number) {
            unsynced.segments.push(segment.clone());
        }
        unsynced.end = records.last().map_or(unsynced.end, |last| last.index.saturating_add(1));
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a segment full of zeros, so that later writes allocate nothing and `fdatasync` has no
/// size to record.
pub(crate) fn write_segment(
    disk: &dyn Disk,
    dir: &Path,
    number: u32,
    bytes: u64,
) -> io::Result<Segment> {
    let file: Arc<dyn DiskFile> = disk.create(&dir.join(segment_name(number)))?.into();
    let zeros = vec![0; usize::try_from(bytes.min(ZEROS_AT_ONCE)).unwrap_or(0)];
    let mut position = 0;
    while position < bytes {
        let piece = usize::try_from((bytes - position).min(ZEROS_AT_ONCE)).unwrap_or(0);
        file.write_at(zeros.get(..piece).unwrap_or(&zeros), position)?;
        position += piece as u64;
    }
    file.sync()?;
    disk.sync_dir(dir)?;
    Ok(Segment { file, number })
}

const ZEROS_AT_ONCE: u64 = 256 * BLOCK;

const NEVER: u64 = u64::MAX;

/// Milliseconds after which a sync counts as hanging. Under full load one takes some tens of them.
const HANGS_AFTER_MS: u64 = 250;

/// A frame's buffer is given back above this.
pub(crate) const KEPT_FRAME_BYTES: usize = 2 << 20;

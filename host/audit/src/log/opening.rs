//! The opening of a directory: what a crash left is taken up, or the log is refused.
//!
//! Invariant: nothing is signed that does not continue the checkpoint on disk, and what the log has
//! already is owed no more. Starts no thread.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{LOCK, RING, Recovery};
use crate::change_store::ChangeStore;
use crate::corrections::Found;
use crate::disk::{Disk, Lock, OsDisk};
use crate::emergency_ring::{Ring, RingEntry};
use crate::error::AuditError;
use crate::options::Options;
use crate::recover::{Recovered, keep_fitting};
use crate::views::{ROUND_RECORDS, Views};
use crate::wal::{Pool, Segment, Wal, write_segment};
use portcullis_tlog::layout::{LOG_DIR, SEALED_DIR, WAL_DIR};
use portcullis_tlog::record::Record;
use portcullis_tlog::tiles::{Row, TILE_WIDTH, Tile, TileReader, entries};
use portcullis_tlog::tree::leaf_hash;

/// A log without its threads: what they drive.
pub(crate) struct Core {
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) wal: Wal,
    pub(crate) pool: Arc<Pool>,
    pub(crate) views: Views,
    pub(crate) ring: Ring,
    pub(crate) last_at: u64,
    pub(crate) recovery: Recovery,
}

impl Core {
    /// Opens the directory: lock, checkpoint and tiles, write-ahead log on top of them, ring.
    pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, AuditError> {
        let dir = &options.dir;
        let (wal_dir, log_dir, sealed_dir) =
            (dir.join(WAL_DIR), dir.join(LOG_DIR), dir.join(SEALED_DIR));
        let lock = prepare(disk.as_ref(), dir, &[&wal_dir, &log_dir, &sealed_dir])?;
        let found = Views::checkpoint(disk.as_ref(), &log_dir, options.signer.as_ref())?;
        // A process that was killed may have left the checkpoint's new name in the kernel's memory
        // alone: segments are freed on the strength of it.
        disk.sync_dir(&log_dir).map_err(AuditError::disk(&log_dir, "synced"))?;
        let applied = found.as_ref().map_or(0, |head| head.size);
        let recovered = Recovered::read(disk.as_ref(), &wal_dir, applied)?;
        let head = match found {
            Some(head) => head,
            // The checkpoint of the empty log is written before the first record is: without it
            // there must be none.
            None if recovered.any || has_tiles(disk.as_ref(), &log_dir) => {
                return Err(AuditError::CheckpointMissing(dir.display().to_string()));
            }
            None => Views::begin(disk.as_ref(), &log_dir, options.signer.as_ref())
                .map_err(AuditError::disk(&log_dir, "written"))?,
        };
        let mut views = Views::open(
            Arc::clone(&disk),
            &log_dir,
            &sealed_dir,
            Arc::clone(&options.signer),
            head,
        )?;
        replay(&mut views, &recovered).map_err(|error| match error {
            Replay::Damaged(error) => error,
            Replay::Disk(error) => AuditError::disk(&log_dir, "written")(error),
        })?;
        let last_leaf = views.last_leaf().map_err(AuditError::disk(&log_dir, "read"))?;
        let last_at =
            last_leaf.and_then(|leaf| Record::parse(&leaf).ok()).map_or(0, |record| record.at);
        if let Some(store) = options.change_store.as_deref() {
            recover_changes(&recovered, views.size(), store, dir)?;
        }
        let (epoch, truncated_bytes) = (recovered.next_epoch, recovered.truncated_bytes);
        let free = segments(&disk, &wal_dir, recovered, options.segment_bytes)
            .map_err(AuditError::disk(&wal_dir, "written"))?;
        let pool = Arc::new(Pool::new(
            Arc::clone(&disk),
            &wal_dir,
            options.segment_bytes,
            options.max_segments,
            free,
        ));
        let Some(segment) = pool.take(false) else {
            return Err(AuditError::Options("there is no write-ahead segment"));
        };
        let wal = Wal::new(
            Arc::clone(&pool),
            segment,
            epoch,
            views.size(),
            Arc::clone(&options.monotonic),
        );
        let (ring, owed, unclean) = Ring::open(disk.as_ref(), &dir.join(RING))?;
        let owed = without_recorded(disk.as_ref(), &log_dir, views.size(), &ring, owed)
            .map_err(AuditError::disk(dir, "recovered"))?;
        let (replayed, size) = (views.size().saturating_sub(applied), views.size());
        let unclean = unclean || replayed > 0 || truncated_bytes > 0;
        let recovery = Recovery { unclean, replayed, truncated_bytes, owed, size };
        Ok(Self { lock, wal, pool, views, ring, last_at, recovery })
    }
}

/// The contents of the ring, without that which the log has: a process can end after a correction
/// is durable and before its slot is free.
fn without_recorded(
    disk: &dyn Disk,
    log: &Path,
    size: u64,
    ring: &Ring,
    owed: Vec<RingEntry>,
) -> io::Result<Vec<RingEntry>> {
    let begins = owed.iter().filter_map(|owed| match owed {
        RingEntry::Answer { index, .. } => *index,
        RingEntry::Counted(tally) => (!tally.hook.is_empty()).then_some(tally.from),
        RingEntry::Damaged { .. } => None,
    });
    let Some(first) = begins.min().filter(|first| *first < size) else { return Ok(owed) };
    let tiles = TileReader::new(disk, log, size);
    let mut found = Vec::new();
    for bundle in first / TILE_WIDTH..size.div_ceil(TILE_WIDTH) {
        let Some(tile) = Tile::at(Row::Entries, bundle, size) else { break };
        let bytes = tiles.read(tile)?;
        found.extend(entries(&bytes).unwrap_or_default().into_iter().filter_map(Found::read));
    }
    let mut left = Vec::new();
    for mut owed in owed {
        match &mut owed {
            RingEntry::Answer { slot, index: Some(of), answer, .. } => {
                if found.iter().any(|found| found.supersedes(*of, answer)) {
                    ring.settle(*slot)?;
                    continue;
                }
            }
            RingEntry::Counted(tally) if !tally.hook.is_empty() => {
                let answers = found.iter().map(|found| found.answers_of(tally.id));
                tally.recorded = answers.sum::<u64>().min(tally.all.answers);
                if tally.recorded == tally.all.answers {
                    ring.count(tally)?;
                    continue;
                }
            }
            RingEntry::Answer { .. } | RingEntry::Counted(_) | RingEntry::Damaged { .. } => {}
        }
        left.push(owed);
    }
    Ok(left)
}

/// Finds out whether a log can be opened in a directory, as far as that takes no more than the
/// directory and its lock, and makes the directory where there is none.
///
/// # Errors
/// The disk refuses, or another process has the log: the errors of [`Log::open`](super::Log::open).
pub fn check_directory(dir: &Path) -> Result<(), AuditError> {
    prepare(&OsDisk, dir, &[]).map(drop)
}

/// Makes the directories, durably, and takes the lock.
fn prepare(disk: &dyn Disk, dir: &Path, below: &[&Path]) -> Result<Box<dyn Lock>, AuditError> {
    let failed = || AuditError::disk(dir, "prepared");
    disk.create_dir(dir).map_err(failed())?;
    let lock = disk.lock(&dir.join(LOCK)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => AuditError::InUse(dir.display().to_string()),
        _ => failed()(error),
    })?;
    below.iter().try_for_each(|path| disk.create_dir(path)).map_err(failed())?;
    disk.sync_dir(dir).map_err(failed())?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => disk.sync_dir(parent).map_err(failed())?,
        None => disk.sync_dir(Path::new(".")).map_err(failed())?,
    }
    Ok(lock)
}

enum Replay {
    Damaged(AuditError),
    Disk(io::Error),
}

/// Brings the views up to the write-ahead log.
fn replay(views: &mut Views, recovered: &Recovered) -> Result<(), Replay> {
    let mut buffer = Vec::new();
    for frame in 0..recovered.frames() {
        let records = recovered.records(frame, &mut buffer).map_err(Replay::Damaged)?;
        let applied = views.size();
        for record in records.iter().skip_while(|record| record.index < applied) {
            views.apply(record, leaf_hash(record.leaf)).map_err(Replay::Disk)?;
        }
        if views.size().saturating_sub(views.head().size) >= ROUND_RECORDS / 2 {
            views.publish().map_err(Replay::Disk)?;
        }
    }
    views.publish().map_err(Replay::Disk)?;
    Ok(())
}

/// Gives the store of changes all that it has not stored, so that the segments are free after that.
fn recover_changes(
    recovered: &Recovered,
    end: u64,
    store: &dyn ChangeStore,
    dir: &Path,
) -> Result<(), AuditError> {
    let mut next = store.stored();
    let mut missing = None;
    let mut buffer = Vec::new();
    for place in recovered.from(next, end) {
        for record in recovered.read_place(&place, &mut buffer)? {
            if record.index < next {
                continue;
            }
            if record.index > next {
                missing.get_or_insert((next, record.index)).1 = record.index;
            }
            if let Some(changes) = record.changes {
                store.recover(record.index, changes);
            }
            next = record.index.saturating_add(1);
        }
    }
    if next < end {
        missing.get_or_insert((next, end)).1 = end;
    }
    store.recovered(end, missing).map_err(AuditError::disk(dir, "brought up to date with memory"))
}

/// The segments to go on with: all of them, now that the views hold what was in them, and at least
/// two.
fn segments(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    recovered: Recovered,
    segment_bytes: u64,
) -> io::Result<Vec<Segment>> {
    let mut free = keep_fitting(disk, dir, recovered.segments, segment_bytes)?;
    let mut number = 0;
    while free.len() < 2 {
        if free.iter().all(|segment| segment.number != number) {
            free.push(write_segment(disk.as_ref(), dir, number, segment_bytes)?);
        }
        number += 1;
    }
    Ok(free)
}

fn has_tiles(disk: &dyn Disk, log: &Path) -> bool {
    disk.list(log).is_ok_and(|names| names.iter().any(|name| name == "tile"))
}

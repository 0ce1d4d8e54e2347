//! The applier: brings the views up to the write-ahead log, signs checkpoints, frees segments.
//!
//! Invariant: a checkpoint covers only what is durable in the write-ahead log. Views that cannot be
//! written are opened anew from their checkpoint, as after a crash, until it goes well; what they
//! lack is in the write-ahead log meanwhile. Gives no receipt.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{Shared, State};
use crate::error::AuditError;
use crate::options::CheckpointEvery;
use crate::views::{ROUND_RECORDS, Views};
use crate::wal::{KEPT_FRAME_BYTES, Place, Starved, Unreadable};
use portcullis_tlog::tree::Hash;

/// A commit that the views have not taken. They read it where it was written: the memory of the
/// calls is free by then.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) place: Place,
    /// The hashes of its leaves, in order.
    pub(crate) hashes: Vec<Hash>,
}

impl Committed {
    /// Brings the views up to it.
    pub(crate) fn apply(&self, views: &mut Views, buffer: &mut Vec<u8>) -> io::Result<()> {
        let records = self.place.records(buffer).map_err(|unreadable| match unreadable {
            Unreadable::Disk(error) => error,
            changed => io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a commit was read again: {changed}"),
            ),
        })?;
        let new = views.size();
        let records = records.iter().zip(&self.hashes).skip_while(|(record, _)| record.index < new);
        records.into_iter().try_for_each(|(record, hash)| views.apply(record, *hash))
    }
}

pub(super) fn hand_over(shared: &Shared, committed: Committed) {
    let mut state = shared.state();
    let before = state.waiting;
    state.waiting = before.saturating_add(committed.hashes.len());
    state.committed.push_back(committed);
    state.oldest.get_or_insert_with(&*shared.clock);
    let many = before < APPLIED_TOGETHER && state.waiting >= APPLIED_TOGETHER;
    if std::mem::take(&mut state.idle) || many || state.wanted > state.published {
        shared.work.notify_all();
    }
}

impl State {
    /// Returns whether a checkpoint is asked for that can be made now, with all before `end`
    /// committed. A receipt is given before its record reaches this state: a checkpoint made at
    /// once would be short of what was asked for, and one more.
    fn wants(&self, end: u64) -> bool {
        self.published < self.wanted && self.wanted <= end
    }

    /// Takes the oldest commits, of at most so many records together.
    fn take(&mut self, most: usize) -> Vec<Committed> {
        let mut left = most;
        let within = |committed: &&Committed| {
            let fits = committed.hashes.len() <= left;
            left = left.saturating_sub(committed.hashes.len());
            fits
        };
        let count = self.committed.iter().take_while(within).count();
        let taken: Vec<_> = self.committed.drain(..count).collect();
        self.waiting =
            self.waiting.saturating_sub(taken.iter().map(|committed| committed.hashes.len()).sum());
        taken
    }
}

/// The applier: brings the views up to the write-ahead log, signs checkpoints, frees segments.
pub(crate) fn apply(shared: &Shared, mut views: Views, every: CheckpointEvery) {
    let (mut earliest, mut buffer) = ((shared.clock)(), Vec::new());
    // The records that no checkpoint covers: views that are opened anew need it once more.
    let mut unpublished: Vec<Committed> = Vec::new();
    while let Some((commits, publish)) = next_round(shared, &views, every, earliest) {
        let applied = unpublished.len();
        unpublished.extend(commits);
        let commits = unpublished.get(applied..).unwrap_or_default();
        let gone_well = match round(shared, &mut views, commits, &mut buffer, publish) {
            Ok(()) => true,
            Err(Trouble::Views(error)) => {
                catch_up(shared, &mut views, &unpublished, &mut buffer, error)
            }
            Err(Trouble::Final(what, error)) => {
                shared.fail(what, &error);
                false
            }
        };
        if !gone_well {
            break;
        }
        if views.size() == views.head().size {
            unpublished.clear();
            earliest = (shared.clock)() + MIN_ROUND;
        }
    }
}

/// Why the applier could not do its part.
enum Trouble {
    /// The views could not be written. Nothing is lost: the write-ahead log has all of it.
    Views(io::Error),
    /// The write-ahead log is not what was written.
    Final(&'static str, io::Error),
}

impl Trouble {
    fn of_views(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Self::Final(VIEWS_FAILED, error)
            }
            _ => Self::Views(error),
        }
    }
}

/// Opens the views anew and publishes all of these commits, again and again until it goes well.
/// Returns `false` when the log has stopped, or is being closed and it still does not go well.
fn catch_up(
    shared: &Shared,
    views: &mut Views,
    unpublished: &[Committed],
    buffer: &mut Vec<u8>,
    mut error: io::Error,
) -> bool {
    let mut pause = FIRST_RETRY;
    loop {
        let closing = {
            let mut state = shared.state();
            state.delayed = Some(Arc::from(format!("{VIEWS_FAILED}: {error}")));
            shared.pool.starve(Starved::Views, true);
            let waits = |state: &mut State| state.failed.is_none() && !state.closing;
            let waited = shared.work.wait_timeout_while(state, pause, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.failed.is_some() {
                return false;
            }
            state.closing
        };
        match try_again(shared, views, unpublished, buffer) {
            Ok(()) => {
                shared.pool.starve(Starved::Views, false);
                shared.state().delayed = None;
                return true;
            }
            Err(Trouble::Views(again)) if !closing => error = again,
            Err(Trouble::Views(again)) => {
                shared.fail(VIEWS_FAILED, &again);
                return false;
            }
            Err(Trouble::Final(what, again)) => {
                shared.fail(what, &again);
                return false;
            }
        }
        pause = (pause * 2).min(LAST_RETRY);
    }
}

fn try_again(
    shared: &Shared,
    views: &mut Views,
    unpublished: &[Committed],
    buffer: &mut Vec<u8>,
) -> Result<(), Trouble> {
    *views = views.reopen().map_err(|error| match error {
        AuditError::Disk { .. } => Trouble::Views(io::Error::other(error.to_string())),
        damaged => Trouble::Final(VIEWS_FAILED, io::Error::other(damaged.to_string())),
    })?;
    round(shared, views, unpublished, buffer, true)
}

/// Waits until there is enough to apply, or a checkpoint is due; gives what to apply, and whether
/// to publish. `None` when the log has ended.
fn next_round(
    shared: &Shared,
    views: &Views,
    every: CheckpointEvery,
    earliest: Instant,
) -> Option<(Vec<Committed>, bool)> {
    let mut state = shared.state();
    loop {
        if state.failed.is_some() {
            return None;
        }
        let applied = views.size().saturating_sub(views.head().size);
        let waiting = state.waiting as u64;
        let unpublished = applied.saturating_add(waiting);
        let now = (shared.clock)();
        let due = if unpublished == 0 {
            if state.writer_ended {
                return None;
            }
            None
        } else if state.writer_ended
            || state.wants(views.size().saturating_add(waiting))
            || unpublished >= ROUND_RECORDS
        {
            Some(now)
        } else {
            let by_time = state
                .oldest
                .and_then(|oldest| oldest.checked_add(Duration::from_millis(every.within_ms)));
            Some(if unpublished >= every.entries {
                earliest
            } else {
                by_time.unwrap_or(now).max(earliest)
            })
        };
        let publish = due.is_some_and(|due| due <= now);
        if publish || state.waiting >= APPLIED_TOGETHER {
            let most = usize::try_from(ROUND_RECORDS.saturating_sub(applied)).unwrap_or(usize::MAX);
            let commits = state.take(most);
            if publish {
                state.oldest = (!state.committed.is_empty()).then_some(now);
            }
            return Some((commits, publish));
        }
        match due {
            Some(due) => {
                let wait = due.saturating_duration_since(now);
                state =
                    shared.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
            None => {
                // The ring is synced also while no record comes.
                state.idle = true;
                state = shared
                    .work
                    .wait_timeout(state, RING_SYNC)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                if state.committed.is_empty() {
                    drop(state);
                    // It stays to be synced: who counts answers in it finds out too.
                    let _ = shared.ring.sync();
                    state = shared.state();
                }
            }
        }
    }
}

/// Applies the commits, and publishes them and all before.
fn round(
    shared: &Shared,
    views: &mut Views,
    commits: &[Committed],
    buffer: &mut Vec<u8>,
    publish: bool,
) -> Result<(), Trouble> {
    for committed in commits {
        committed.apply(views, buffer).map_err(Trouble::of_views)?;
    }
    buffer.shrink_to(KEPT_FRAME_BYTES);
    if !publish {
        return Ok(());
    }
    // Once it is visible a checkpoint may be kept by others. If what it covers could still be lost
    // with the power, other records could be signed in its place; so the write-ahead log is durable
    // first.
    if shared.durable.before() < views.size() {
        let failed = |error| Trouble::Final("the write-ahead log could not be synced", error);
        shared.durable.sync().map_err(failed)?;
    }
    let published = views.publish().map_err(Trouble::of_views)?;
    // Neither keeps a record waiting: the ring stays to be synced, and the segments that there are
    // go round.
    let _ = shared.ring.sync();
    shared.state().published = published;
    shared.release_segments();
    let _ = shared.pool.top_up();
    shared.done.notify_all();
    Ok(())
}

/// So many records are applied together before a checkpoint is due: soon enough that they are still
/// in the processor's cache, and seldom enough that waking the applier costs nothing beside.
const APPLIED_TOGETHER: usize = 64;

/// Under load a checkpoint is made no more often than this: each costs some ten syncs, which the
/// commits would wait behind.
const MIN_ROUND: Duration = Duration::from_millis(200);

/// How soon views that could not be written are tried again, and how seldom at last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

const VIEWS_FAILED: &str = "the log's tiles and checkpoint could not be written";

/// The parts of the emergency ring that a power loss can take.
const RING_SYNC: Duration = Duration::from_secs(1);

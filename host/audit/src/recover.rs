//! Reading the write-ahead log after a stop of any kind.
//!
//! Invariant: the records found follow the views without a gap. A tail that was never durable is
//! dropped, and erased so that it never comes back between later records; a hole in what had been
//! durable is damage, and the log is not opened.

use std::cmp::Reverse;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::AuditError;
use crate::wal::{Place, Segment};
use portcullis_tlog::frame::{self, BLOCK, Framed};
use portcullis_tlog::layout::{segment_name, segment_number};

/// The records of the write-ahead log beyond the views.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// All segment files, with their lengths.
    pub(crate) segments: Vec<(Segment, u64)>,
    /// An epoch that no frame has.
    pub(crate) next_epoch: u64,
    /// Bytes of frames that were begun, never durable, and are dropped.
    pub(crate) truncated_bytes: u64,
    /// Whether any frame was found at all.
    pub(crate) any: bool,
    run: Vec<Place>,
    /// All frames that were not dropped, also those that the views hold already.
    kept: Vec<Place>,
    dir: String,
}

impl Recovered {
    /// Reads all segments in `dir`, for views that hold all before `applied`.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path, applied: u64) -> Result<Self, AuditError> {
        let mut segments = Vec::new();
        let mut found = Vec::new();
        let mut torn = Vec::new();
        for name in disk.list(dir).map_err(AuditError::disk(dir, "listed"))? {
            let Some(number) = segment_number(&name) else { continue };
            let path = dir.join(&name);
            let file = disk.open(&path).map_err(AuditError::disk(&path, "opened"))?;
            let segment = Segment { file: file.into(), number };
            let length =
                scan(&segment, &mut found, &mut torn).map_err(AuditError::disk(&path, "read"))?;
            segments.push((segment, length));
        }
        let run = run(&found, applied);
        let end = run.last().map_or(applied, |last| last.head.end());
        let dropped: Vec<_> = found.iter().filter(|frame| frame.head.end() > end).collect();
        // A dropped frame that was written when records beyond the end were durable says that those
        // are lost.
        if let Some(witness) = dropped.iter().find(|frame| frame.head.durable > end) {
            let (name, first, durable) =
                (segment_name(witness.segment.number), witness.head.first, witness.head.durable);
            let what = format!(
                "records {end} to {} were durable and are missing (`{name}` goes on at {first})",
                durable - 1
            );
            return Err(AuditError::WriteAhead { dir: dir.display().to_string(), what });
        }
        for frame in &dropped {
            let failed = |error| {
                AuditError::disk(&dir.join(segment_name(frame.segment.number)), "written")(error)
            };
            erase(frame).map_err(failed)?;
        }
        // A process that was killed may have left frames in the kernel's memory alone. They are
        // about to be signed for.
        for (segment, _) in &segments {
            let path = dir.join(segment_name(segment.number));
            segment.file.sync().map_err(AuditError::disk(&path, "synced"))?;
        }
        let next_epoch =
            found.iter().map(|frame| frame.head.epoch).max().unwrap_or(0).saturating_add(1);
        let torn: u64 =
            torn.iter().filter(|(first, _)| *first >= end).map(|(_, bytes)| bytes).sum();
        let truncated_bytes =
            dropped.iter().map(|frame| frame.bytes as u64).sum::<u64>().saturating_add(torn);
        let any = !found.is_empty();
        let kept = found.into_iter().filter(|frame| frame.head.end() <= end).collect();
        let dir = dir.display().to_string();
        Ok(Self { segments, next_epoch, truncated_bytes, any, run, kept, dir })
    }

    /// The frames with records from `first` on, before `end`, in the order of their records. Each
    /// frame that was not dropped holds records of the log, so a place that is in two of them is
    /// the same in both.
    pub(crate) fn from(&self, first: u64, end: u64) -> Vec<Place> {
        let wanted = |frame: &&Place| frame.head.end() > first && frame.head.first < end;
        let mut frames: Vec<_> = self.kept.iter().filter(wanted).cloned().collect();
        frames.sort_by_key(|frame| (frame.head.first, Reverse(frame.head.epoch)));
        frames
    }

    /// Number of frames that follow the views.
    pub(crate) fn frames(&self) -> usize {
        self.run.len()
    }

    /// The records of a frame, by its place among those that follow the views; the first may begin
    /// before them. `buffer` holds their bytes.
    pub(crate) fn records<'b>(
        &self,
        frame: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Vec<Framed<'b>>, AuditError> {
        match self.run.get(frame) {
            Some(found) => self.read_place(found, buffer),
            None => Ok(Vec::new()),
        }
    }

    /// The records of a frame. `buffer` holds their bytes.
    pub(crate) fn read_place<'b>(
        &self,
        found: &Place,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Vec<Framed<'b>>, AuditError> {
        found.records(buffer).map_err(|unreadable| AuditError::WriteAhead {
            dir: self.dir.clone(),
            what: format!(
                "`{}` at {}: {unreadable}",
                segment_name(found.segment.number),
                found.offset
            ),
        })
    }
}

/// Finds all whole frames of a segment, and those begun and not finished. Returns the segment's
/// length.
fn scan(segment: &Segment, found: &mut Vec<Place>, torn: &mut Vec<(u64, u64)>) -> io::Result<u64> {
    // A segment is the host's own, and larger than what is read whole of anybody's log.
    let length = segment.file.length()?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    segment.file.read_at(&mut bytes, 0)?;
    let mut offset = 0;
    while let Some(rest) = usize::try_from(offset)
        .ok()
        .and_then(|start| bytes.get(start..))
        .filter(|rest| !rest.is_empty())
    {
        let mut step = BLOCK;
        if let Some((head, _, length)) = frame::decode(rest).filter(|(head, _, _)| head.count > 0) {
            found.push(Place { segment: segment.clone(), offset, bytes: length, head });
            step = (length as u64).next_multiple_of(BLOCK);
        } else if let Some((first, length)) = frame::begun(rest) {
            torn.push((first, u64::from(length).min(rest.len() as u64)));
        }
        offset = offset.saturating_add(step);
    }
    Ok(bytes.len() as u64)
}

/// The frames that follow `applied` without a gap, in order.
fn run(found: &[Place], applied: u64) -> Vec<Place> {
    let mut ahead: Vec<_> = found.iter().filter(|frame| frame.head.end() > applied).collect();
    ahead.sort_by_key(|frame| (frame.head.first, Reverse(frame.head.epoch)));
    let mut run = Vec::new();
    let (mut end, mut epoch) = (applied, 0);
    for frame in ahead {
        let follows = frame.head.first == end || (run.is_empty() && frame.head.first <= end);
        if follows && frame.head.epoch >= epoch {
            (end, epoch) = (frame.head.end(), frame.head.epoch);
            run.push(frame.clone());
        }
    }
    run
}

/// Makes a frame unreadable, durably.
fn erase(frame: &Place) -> io::Result<()> {
    frame.segment.file.write_at(&[0; BLOCK as usize], frame.offset)?;
    frame.segment.file.sync()
}

/// Keeps the segments of the right length as they are and removes the others.
pub(crate) fn keep_fitting(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    segments: Vec<(Segment, u64)>,
    segment_bytes: u64,
) -> io::Result<Vec<Segment>> {
    let mut kept = Vec::new();
    for (segment, length) in segments {
        if length == segment_bytes {
            kept.push(segment);
        } else {
            disk.remove(&dir.join(segment_name(segment.number)))?;
        }
    }
    disk.sync_dir(dir)?;
    Ok(kept)
}

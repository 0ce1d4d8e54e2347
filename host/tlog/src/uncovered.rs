//! Looks into a write-ahead log for a record that no checkpoint covers yet.
//!
//! Invariant: nothing is written and no lock is taken; every read is bounded. A record that is
//! found here is whole, but no signature covers it: it can be named, never shown as genuine.

use std::io;
use std::path::Path;

use crate::frame::{self, BLOCK};
use crate::layout::segment_number;
use crate::source::{Source, SourceFile};

/// Returns whether a whole frame in the folder holds the record. A folder that is missing holds
/// none.
pub(crate) fn holds(disk: &dyn Source, wal: &Path, index: u64) -> bool {
    let names = disk.list(wal).unwrap_or_default();
    let segments = names.iter().filter(|name| segment_number(name).is_some());
    segments.take(MAX_SEGMENTS).any(|name| {
        let file = disk.open_read(&wal.join(name));
        file.and_then(|file| segment_holds(file.as_ref(), index)).unwrap_or(false)
    })
}

fn segment_holds(file: &dyn SourceFile, index: u64) -> io::Result<bool> {
    let length = file.length()?.min(MAX_SEGMENT_BYTES);
    let mut offset: u64 = 0;
    let mut head = [0; frame::HEAD_BYTES];
    while offset.saturating_add(BLOCK) <= length {
        file.read_at(&mut head, offset)?;
        let Some(claim) = frame::claim(&head) else {
            offset = offset.saturating_add(BLOCK);
            continue;
        };
        let bytes = claim.frame_bytes();
        let end = claim.first.saturating_add(u64::from(claim.count));
        if (claim.first..end).contains(&index)
            && bytes <= MAX_FRAME_BYTES
            && offset.saturating_add(bytes) <= length
        {
            let mut whole = vec![0; usize::try_from(bytes).unwrap_or(0)];
            file.read_at(&mut whole, offset)?;
            if frame::decode(&whole).is_some() {
                return Ok(true);
            }
        }
        // A claim that is not a whole frame may be anything: the next block decides for itself.
        offset = offset.saturating_add(BLOCK);
    }
    Ok(false)
}

/// The most segments that a log can have.
const MAX_SEGMENTS: usize = 1_024;
/// The largest segment, bytes.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// The largest frame, bytes: above one commit's limit and the largest record.
const MAX_FRAME_BYTES: u64 = 8 << 20;

//! Queries over the records of a log: by place, time and type; with the sealing key also the sealed
//! part.
//!
//! Invariant: a query reads one record at a time, writes nothing, and returns no record that was
//! not checked against the signed checkpoint.

use portcullis_keys::PublicKey;
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use crate::reader::{ReadError, Reader};
use crate::record::{Record, TIME_RESET};
use crate::sealed_files::OpenSealed;
use crate::source::Source;
use crate::verified::VerifiedRecord;

/// The records that a query returns; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// First place.
    pub from: u64,
    /// The place after the last; `None` for the end of the log.
    pub to: Option<u64>,
    /// Not before, in milliseconds since 1970 UTC.
    pub since: Option<u64>,
    /// Before, in milliseconds since 1970 UTC.
    pub until: Option<u64>,
    /// The type, such as `hook.decision`; with a dot at its end all types that begin so.
    pub kind: Option<String>,
    /// The help-desk reference, as records have it: in capitals, without blanks. Records that refer
    /// to one with it are let through too: another answer left than it says, or the platform
    /// repeated the call.
    pub help_desk_reference: Option<String>,
}

impl Filter {
    /// Returns whether it lets a record through, wherever and whenever that is. `referred` holds
    /// the places of the records before it that have the reference.
    fn lets_record(&self, verified: &VerifiedRecord, referred: &mut BTreeSet<u64>) -> bool {
        let record = verified.record();
        let Some(reference) = &self.help_desk_reference else {
            return self.lets_type(&record.kind);
        };
        let has_it = record.help_desk_reference.as_ref() == Some(reference);
        if has_it {
            referred.insert(record.seq);
        }
        let is_let = has_it || refers_to(verified.leaf()).is_some_and(|of| referred.contains(&of));
        is_let && self.lets_type(&record.kind)
    }

    /// Returns whether it lets records of this type through.
    pub fn lets_type(&self, name: &str) -> bool {
        self.kind.as_ref().is_none_or(|kind| {
            name == kind || (kind.ends_with('.') && name.starts_with(kind.as_str()))
        })
    }
}

/// A record that a query returns.
pub struct QueryRow {
    /// The record, checked against the checkpoint.
    pub verified: VerifiedRecord,
    /// The sealed part, decrypted: only with a key that opens it; wiped when dropped.
    pub sealed: Option<Result<Zeroizing<Vec<u8>>, Unreadable>>,
}

/// Why a sealed part cannot be read.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// It is not the one that was recorded.
    #[error("the sealed part is not the one that the record commits to")]
    Altered,
    /// The file that holds it is damaged.
    #[error("{0}")]
    Damaged(String),
    /// It is missing, or the key does not open it.
    #[error("{0}")]
    Unopened(String),
}

/// Passes the records that the filter lets through to `each`, in order, until it returns `false`.
/// Returns how many records were passed.
pub fn query(
    disk: &dyn Source,
    dir: &Path,
    key: &PublicKey,
    filter: &Filter,
    seal_key: Option<&dyn OpenSealed>,
    mut each: impl FnMut(QueryRow) -> bool,
) -> Result<u64, ReadError> {
    let reader = Reader::open(disk, dir, key)?;
    if let Some(last) =
        filter.to.and_then(|to| to.checked_sub(1)).filter(|last| *last == filter.from)
    {
        // One record is asked for: where it is not there, that is the answer.
        reader.require(last)?;
    }
    let (mut handed, mut referred) = (0, BTreeSet::new());
    let (stretches, damage) = stretches(&reader, filter);
    for stretch in stretches {
        if !query_stretch(
            &reader,
            filter,
            seal_key,
            &stretch,
            &mut handed,
            &mut referred,
            &mut each,
        )? {
            break;
        }
    }
    // A record that cannot be read may be a time reset: without it, records that the filter lets
    // through may have been left out.
    damage.map_or(Ok(handed), Err)
}

/// Passes on the records of a stretch in which times never run backwards. Returns whether `each`
/// wants more.
fn query_stretch(
    reader: &Reader<'_>,
    filter: &Filter,
    seal_key: Option<&dyn OpenSealed>,
    stretch: &Range<u64>,
    handed: &mut u64,
    referred: &mut BTreeSet<u64>,
    each: &mut impl FnMut(QueryRow) -> bool,
) -> Result<bool, ReadError> {
    let first = first_since(reader, filter.since.unwrap_or(0), stretch)?;
    let mut index = filter.from.max(first);
    let end = filter.to.unwrap_or(u64::MAX).min(stretch.end);
    while index < end {
        let verified = reader.verified(index)?;
        let record = verified.record();
        if filter.until.is_some_and(|until| record.at >= until) {
            return Ok(true);
        }
        if filter.lets_record(&verified, referred) {
            *handed += 1;
            let sealed = seal_key
                .filter(|_| record.sealed.is_some())
                .map(|seal_key| open(reader, record, seal_key));
            if !each(QueryRow { verified, sealed }) {
                return Ok(false);
            }
        }
        index += 1;
    }
    Ok(true)
}

/// Returns the place of the record that a correction or a duplicate refers to.
fn refers_to(leaf: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Reference {
        #[serde(default)]
        decision: serde_json::Value,
        #[serde(default)]
        duplicate_of: Option<u64>,
    }
    let reference: Reference = serde_json::from_slice(leaf).ok()?;
    reference.duplicate_of.or(reference.decision.as_u64())
}

/// Returns the stretches of the log in which times never run backwards: a time reset begins a new
/// one. A single record is one stretch, and so is the whole log if no time is asked for; else the
/// log is read once for its resets, past damaged records, so that damage elsewhere hides no record.
/// The first damage is returned beside them.
fn stretches(reader: &Reader<'_>, filter: &Filter) -> (Vec<Range<u64>>, Option<ReadError>) {
    if let Some(to) = filter.to.filter(|to| to.checked_sub(1) == Some(filter.from)) {
        return (std::iter::once(filter.from..to).collect(), None);
    }
    let (mut starts, mut damage) = (vec![0], None);
    let is_timed = filter.since.is_some() || filter.until.is_some();
    for index in 0..if is_timed { reader.head().size } else { 0 } {
        match reader.verified(index) {
            Ok(verified) if verified.record().kind == TIME_RESET => starts.push(index),
            Ok(_) => {}
            Err(error) => damage = damage.or(Some(error)),
        }
    }
    let ends = starts.iter().skip(1).copied().chain([reader.head().size]);
    (starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect(), damage)
}

fn open(
    reader: &Reader<'_>,
    record: &Record,
    key: &dyn OpenSealed,
) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let blob = reader
        .sealed(record.seq)
        .map_err(|error| Unreadable::Damaged(error.to_string()))?
        .ok_or_else(|| Unreadable::Unopened("the sealed part is missing".to_owned()))?;
    if !record.commits_to(&blob) {
        return Err(Unreadable::Altered);
    }
    key.open(&record.tenant, &record.kind, &blob).map_err(Unreadable::Unopened)
}

/// Finds the first record of a stretch that is not before a time, by halving.
fn first_since(reader: &Reader<'_>, since: u64, stretch: &Range<u64>) -> Result<u64, ReadError> {
    let mut low = stretch.start;
    let mut high = if since == 0 { low } else { stretch.end };
    while low < high {
        let middle = low + (high - low) / 2;
        if reader.verified(middle)?.record().at < since {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

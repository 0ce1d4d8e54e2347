//! Frames of the write-ahead log: one commit each, on blocks of its own.
//!
//! `magic (8) | payload bytes (4) | records (4) | epoch (8) | first sequence (8) | durable before
//! (8) | payload | CRC-32 (4)`, zeros to the next block; numbers are big-endian. The payload holds
//! each record as `bytes (4)` and sections of `type (1) | bytes (4) | content`.
//!
//! Invariant: a frame is whole or it is nothing. The epoch grows with each use of a segment and the
//! sequence with each record, so the stale bytes of a recycled segment are never taken for a
//! record. *Durable before* is the sequence below which all was durable when the frame was written;
//! it tells a torn tail from damage. The checksum is against torn writes and rot, not against
//! people (the signed tree is): CRC-32 runs at memory speed in hardware, and one torn frame in four
//! thousand million passing it is far below the rate at which disks lie.

use crate::tree::Hash;

/// A record with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// Its place in the log.
    pub index: u64,
    /// Its exact bytes.
    pub leaf: Vec<u8>,
    /// Their RFC 6962 leaf hash.
    pub hash: Hash,
    /// Its sealed part, if it has one.
    pub sealed: Option<Vec<u8>>,
    /// The changes of memory that it brings with it, encrypted, if there are any.
    pub changes: Option<Vec<u8>>,
}

/// A record as it stands in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// Its place in the log.
    pub index: u64,
    /// Its exact bytes.
    pub leaf: &'a [u8],
    /// Its sealed part, if it has one.
    pub sealed: Option<&'a [u8]>,
    /// The changes of memory that it brings with it, encrypted, if there are any. They are in the
    /// frame alone, so they are gone once the segment is used again.
    pub changes: Option<&'a [u8]>,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The use of a segment that it belongs to.
    pub epoch: u64,
    /// Sequence of its first record.
    pub first: u64,
    /// Number of its records.
    pub count: u32,
    /// All records below this were durable when it was written.
    pub durable: u64,
}

impl Head {
    /// Returns the sequence after its last record.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

/// Returns the bytes that a frame with these records takes, padding included.
pub fn frame_bytes(records: &[Sequenced]) -> u64 {
    let bytes = HEAD_BYTES + records.iter().map(record_bytes).sum::<usize>() + CRC_BYTES;
    (bytes as u64).next_multiple_of(BLOCK)
}

/// Returns the bytes that a frame of so many records takes at most, whose leaves, sealed parts and
/// changes have `content` bytes.
pub fn frame_room(records: usize, content: usize) -> u64 {
    let bytes = HEAD_BYTES + content + records * RECORD_BYTES + CRC_BYTES;
    (bytes as u64).next_multiple_of(BLOCK)
}

/// Replaces `out` by the frame, and returns its head.
pub fn encode(out: &mut Vec<u8>, epoch: u64, durable: u64, records: &[Sequenced]) -> Head {
    let payload: usize = records.iter().map(record_bytes).sum();
    let first = records.first().map_or(0, |record| record.index);
    let head = Head { epoch, first, count: length(records.len()), durable };
    out.clear();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length(payload).to_be_bytes());
    out.extend_from_slice(&head.count.to_be_bytes());
    out.extend_from_slice(&head.epoch.to_be_bytes());
    out.extend_from_slice(&head.first.to_be_bytes());
    out.extend_from_slice(&head.durable.to_be_bytes());
    for record in records {
        out.extend_from_slice(&length(record_bytes(record) - 4).to_be_bytes());
        section(out, SECTION_LEAF, &record.leaf);
        if let Some(sealed) = &record.sealed {
            section(out, SECTION_SEALED, sealed);
        }
        if let Some(changes) = &record.changes {
            section(out, SECTION_CHANGES, changes);
        }
    }
    let crc = crc32fast::hash(out);
    out.extend_from_slice(&crc.to_be_bytes());
    let padded = (out.len() as u64).next_multiple_of(BLOCK);
    out.resize(usize::try_from(padded).unwrap_or(out.len()), 0);
    head
}

/// Returns the frame that `bytes` begin with: its head, its payload, and its length without
/// padding. `None`: they begin with no whole frame.
pub fn decode(bytes: &[u8]) -> Option<(Head, &[u8], usize)> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (durable, rest) = rest.split_first_chunk()?;
    let (payload, rest) =
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let crc = rest.first_chunk()?;
    let covered = bytes.get(..HEAD_BYTES + payload.len())?;
    let head = Head {
        epoch: u64::from_be_bytes(*epoch),
        first: u64::from_be_bytes(*first),
        count: u32::from_be_bytes(*count),
        durable: u64::from_be_bytes(*durable),
    };
    (crc32fast::hash(covered) == u32::from_be_bytes(*crc)).then_some((
        head,
        payload,
        covered.len() + CRC_BYTES,
    ))
}

/// The claims of a frame's head. Only [`decode`] proves it.
pub struct Claim {
    /// Sequence of its first record.
    pub first: u64,
    /// Number of its records.
    pub count: u32,
    payload: u32,
}

impl Claim {
    /// Returns the bytes of the frame, without padding.
    pub fn frame_bytes(&self) -> u64 {
        u64::from(self.payload).saturating_add((HEAD_BYTES + CRC_BYTES) as u64)
    }
}

/// Returns the claims of the head at the start of `bytes`. `None`: there is no head.
pub fn claim(bytes: &[u8]) -> Option<Claim> {
    let (payload, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (first, _) = rest.split_at_checked(8)?.1.split_first_chunk()?;
    Some(Claim {
        first: u64::from_be_bytes(*first),
        count: u32::from_be_bytes(*count),
        payload: u32::from_be_bytes(*payload),
    })
}

/// Returns the first sequence and the payload bytes that the head of an unfinished frame claims.
/// `None`: no frame was begun at the start of `bytes`.
pub fn begun(bytes: &[u8]) -> Option<(u64, u32)> {
    let (length, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
    let first = rest.split_at_checked(12)?.1.first_chunk()?;
    Some((u64::from_be_bytes(*first), u32::from_be_bytes(*length)))
}

/// Returns the records of a whole frame. `None`: they hold a section that this version does not
/// know, and which must not be dropped.
pub fn records<'a>(head: &Head, mut payload: &'a [u8]) -> Option<Vec<Framed<'a>>> {
    let mut records = Vec::new();
    for place in 0..u64::from(head.count) {
        let mut record = sized(&mut payload)?;
        let (mut leaf, mut sealed, mut changes) = (None, None, None);
        while let Some((kind, rest)) = record.split_first() {
            record = rest;
            let content = sized(&mut record)?;
            match *kind {
                SECTION_LEAF => leaf = Some(content),
                SECTION_SEALED => sealed = Some(content),
                SECTION_CHANGES => changes = Some(content),
                _ => return None,
            }
        }
        let index = head.first.checked_add(place)?;
        records.push(Framed { index, leaf: leaf?, sealed, changes });
    }
    payload.is_empty().then_some(records)
}

/// Takes a length and that many bytes off the front.
fn sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (content, rest) =
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(content)
}

fn section(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&length(content.len()).to_be_bytes());
    out.extend_from_slice(content);
}

fn record_bytes(record: &Sequenced) -> usize {
    let optional = [&record.sealed, &record.changes];
    let optional = optional.into_iter().flatten().map(|section| 5 + section.len());
    4 + 5 + record.leaf.len() + optional.sum::<usize>()
}

/// Lengths are bounded far below `u32::MAX` where records are taken.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A frame begins on a multiple of this, so that no write touches a block that an earlier commit
/// made durable: the sector size of today's disks, and the page size.
pub const BLOCK: u64 = 4096;

/// Not UTF-8, so no leaf can hold it.
const MAGIC: [u8; 8] = *b"\xF5PCWAL1\0";
/// Bytes before a frame's payload.
pub const HEAD_BYTES: usize = 40;
const CRC_BYTES: usize = 4;
/// Bytes around a record with all sections: its length, and type and length of each.
const RECORD_BYTES: usize = 4 + 5 + 5 + 5;
const SECTION_LEAF: u8 = 1;
const SECTION_SEALED: u8 = 2;
const SECTION_CHANGES: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;

    fn some() -> Vec<Sequenced> {
        let record = |index: u64, sealed, changes| {
            let leaf = format!("leaf {index}").into_bytes();
            Sequenced { index, hash: leaf_hash(&leaf), leaf, sealed, changes }
        };
        vec![
            record(7, None, None),
            record(8, Some(vec![9; 5000]), Some(vec![8; 300])),
            record(9, Some(vec![]), None),
            record(10, None, Some(vec![7])),
        ]
    }

    #[test]
    fn comes_back_whole_or_not_at_all() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 3, 7, &some());
        assert_eq!(bytes.len() as u64, frame_bytes(&some()));
        assert_eq!(bytes.len() as u64 % BLOCK, 0);
        let (head, payload, used) = decode(&bytes).unwrap();
        assert_eq!(head, Head { epoch: 3, first: 7, count: 4, durable: 7 });
        let found: Vec<_> = records(&head, payload).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|found| Sequenced {
                index: found.index,
                hash: leaf_hash(found.leaf),
                leaf: found.leaf.to_vec(),
                sealed: found.sealed.map(<[u8]>::to_vec),
                changes: found.changes.map(<[u8]>::to_vec),
            })
            .collect();
        assert_eq!((found, head.end()), (some(), 11));
        for at in 0..used {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(decode(&changed), None, "byte {at}");
        }
        for length in 0..used {
            assert_eq!(decode(&bytes[..length]), None, "cut to {length}");
        }
        for sector in (0..bytes.len()).step_by(512).filter(|sector| *sector < used) {
            let mut torn = bytes.clone();
            torn[sector..sector + 512].fill(0);
            assert_eq!(decode(&torn), None, "without the sector at {sector}");
        }
    }

    #[test]
    fn a_section_of_a_later_version_is_not_dropped() {
        let head = Head { epoch: 1, first: 0, count: 1, durable: 0 };
        let mut record = Vec::new();
        section(&mut record, SECTION_LEAF, b"leaf");
        let with = |record: &[u8]| [&length(record.len()).to_be_bytes()[..], record].concat();
        assert!(records(&head, &with(&record)).is_some());
        section(&mut record, 4, b"later");
        assert!(records(&head, &with(&record)).is_none());
        assert!(records(&head, &with(b"")).is_none(), "no leaf");
    }
}

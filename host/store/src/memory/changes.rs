//! The changes of a call, and their encoding inside a record's write-ahead frame.
//!
//! Invariant: bytes that are parsed at all are the only encoding of what was parsed, and have at
//! most [`MAX_CHANGES_BYTES`]. Names of namespaces and pseudonyms are readable in them; keys and
//! values are encrypted under the key of their cell, and that key, wrapped, is beside them. So a
//! frame can be applied to an empty memory. It also means that a frame must not outlive the
//! write-ahead log: an erased subject is unreadable once the log's segments were written over.
//!
//! Version 1: the byte 1; the number of parts; for each part a byte. 0: a namespace (three names),
//! the number of its cells, and for each, in order, scope, owner, wrapped key, and the encrypted
//! operations. 1: an erasure, with tenant and owner.

use std::fmt;
use std::sync::Arc;

use super::codec::{Malformed, Reader, put_bytes, put_number};
use super::error::ChangesError;
use super::keys::{CellKey, Purpose, SEALED_OVERHEAD, StoreKeys, WRAPPED_LEN, WrappedKey};
use super::limits::{MAX_CELLS_PER_CALL, MAX_CHANGES_BYTES, MAX_NAME_BYTES, MAX_WRITE_BYTES};
use super::names::{CellId, NamespaceName, Owner, Scope};
use super::op::Op;

/// Changes of a call, before they are in the log or read back from it.
#[derive(Clone, Default)]
pub struct Changes {
    pub(super) parts: Vec<Part>,
    pub(super) checks: Vec<Check>,
    /// The time of the call, milliseconds since 1970.
    pub(super) now: u64,
    /// The number of times that places of the log had been given up when the call began.
    pub(super) life: u64,
}

#[derive(Clone)]
pub(super) enum Part {
    Cells { name: NamespaceName, sections: Vec<Section>, growth: [Growth; 2] },
    Erase { tenant: Box<str>, owner: Owner },
}

/// The growth of a namespace in one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// Whether a value is part of it; counters alone never conflict.
    pub(super) values: bool,
}

/// The changes of one cell.
#[derive(Clone)]
pub(super) struct Section {
    pub(super) cell: CellId,
    pub(super) key: CellKey,
    /// The cell had no key when the call began.
    pub(super) fresh: bool,
    pub(super) ops: Arc<[Op]>,
    encoded: SealedSection,
}

/// A value that was read, and the version that it then had.
#[derive(Clone)]
pub(super) struct Check {
    pub(super) cell: CellId,
    pub(super) key: Vec<u8>,
    pub(super) version: Option<u64>,
}

/// Changes as they are in a frame: parsed, and not decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedChanges {
    parts: Vec<SealedPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SealedPart {
    Cells { name: NamespaceName, sections: Vec<SealedSection> },
    Erase { tenant: Box<str>, owner: Owner },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SealedSection {
    scope: Scope,
    owner: Owner,
    wrapped: WrappedKey,
    sealed: Vec<u8>,
}

impl Changes {
    /// Whether there is nothing to store. There may still be values that were read, whose versions
    /// [`Memory::validate`](super::Memory::validate) checks.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The namespaces that it changes.
    pub fn namespaces(&self) -> impl Iterator<Item = &NamespaceName> {
        self.parts.iter().filter_map(|part| match part {
            Part::Cells { name, .. } => Some(name),
            Part::Erase { .. } => None,
        })
    }

    /// Adds the changes of another binding of the same call. Bindings of one plugin do not see each
    /// other's writes within a call; of two values under one key the one that is added last stays.
    ///
    /// # Errors
    /// Together they would be longer than [`MAX_CHANGES_BYTES`]; these stay as they were.
    pub fn merge(&mut self, other: Self) -> Result<(), ChangesError> {
        let bytes = self.encoded_len() + other.encoded_len();
        if bytes > MAX_CHANGES_BYTES {
            return Err(ChangesError::TooLarge { bytes });
        }
        if self.parts.is_empty() && self.checks.is_empty() {
            (self.now, self.life) = (other.now, other.life);
        }
        self.now = self.now.max(other.now);
        self.life = self.life.min(other.life);
        self.parts.extend(other.parts);
        self.checks.extend(other.checks);
        Ok(())
    }

    /// Returns the bytes for the record's frame: at most [`MAX_CHANGES_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        self.sealed().encode()
    }

    /// An upper bound of the length of the encoding.
    pub(super) fn encoded_len(&self) -> usize {
        let part = |part: &Part| match part {
            Part::Cells { sections, .. } => {
                let bytes = sections.iter().map(|section| section.encoded.sealed.len() + 100);
                3 * (MAX_NAME_BYTES + 2) + 8 + bytes.sum::<usize>()
            }
            Part::Erase { .. } => MAX_NAME_BYTES + 20,
        };
        8 + self.parts.iter().map(part).sum::<usize>()
    }

    fn sealed(&self) -> SealedChanges {
        let part = |part: &Part| match part {
            Part::Cells { name, sections, .. } => SealedPart::Cells {
                name: name.clone(),
                sections: sections.iter().map(|section| section.encoded.clone()).collect(),
            },
            Part::Erase { tenant, owner } => {
                SealedPart::Erase { tenant: tenant.clone(), owner: *owner }
            }
        };
        SealedChanges { parts: self.parts.iter().map(part).collect() }
    }
}

impl Section {
    /// Encrypts the operations on a cell.
    pub(super) fn seal(
        keys: &StoreKeys,
        cell: CellId,
        key: Option<CellKey>,
        ops: Vec<Op>,
    ) -> Result<Self, ChangesError> {
        let fresh = key.is_none();
        let key = key.map_or_else(CellKey::generate, Ok)?;
        let mut plain = Vec::with_capacity(256);
        ops.iter().for_each(|op| op.write(&mut plain));
        let sealed = key.seal(&cell, Purpose::Changes, &plain)?;
        let wrapped = keys.wrap(&cell, &key)?;
        let encoded = SealedSection { scope: cell.scope, owner: cell.owner, wrapped, sealed };
        Ok(Self { cell, key, fresh, ops: ops.into(), encoded })
    }

    fn open(
        keys: &StoreKeys,
        name: &NamespaceName,
        encoded: &SealedSection,
    ) -> Result<Self, ChangesError> {
        let cell = CellId { namespace: name.id(), scope: encoded.scope, owner: encoded.owner };
        let key = keys.unwrap(&cell, &encoded.wrapped)?;
        let plain = key.open(&cell, Purpose::Changes, &encoded.sealed)?;
        let mut reader = Reader::new(&plain);
        let mut ops = Vec::new();
        while !reader.is_empty() {
            ops.push(Op::read(&mut reader)?);
        }
        let encoded = encoded.clone();
        Ok(Self { cell, key, fresh: true, ops: ops.into(), encoded })
    }
}

impl SealedChanges {
    /// Parses the bytes of a frame. Any bytes may be given.
    ///
    /// # Errors
    /// They are longer than [`MAX_CHANGES_BYTES`], or not an encoding that this version writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_CHANGES_BYTES {
            return Err(Malformed);
        }
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return Err(Malformed);
        }
        // Every part takes more than one byte.
        let count = reader.length(bytes.len())?;
        let mut parts = Vec::new();
        for _ in 0..count {
            parts.push(SealedPart::read(&mut reader)?);
        }
        if reader.is_empty() { Ok(Self { parts }) } else { Err(Malformed) }
    }

    /// Returns the bytes of which this was parsed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_number(&mut out, self.parts.len() as u64);
        self.parts.iter().for_each(|part| part.write(&mut out));
        out
    }

    pub(super) fn open(&self, keys: &StoreKeys) -> Result<Changes, ChangesError> {
        let mut parts = Vec::new();
        for part in &self.parts {
            parts.push(match part {
                SealedPart::Cells { name, sections } => {
                    let sections =
                        sections.iter().map(|section| Section::open(keys, name, section));
                    let sections = sections.collect::<Result<_, _>>()?;
                    Part::Cells { name: name.clone(), sections, growth: Default::default() }
                }
                SealedPart::Erase { tenant, owner } => {
                    Part::Erase { tenant: tenant.clone(), owner: *owner }
                }
            });
        }
        Ok(Changes { parts, ..Changes::default() })
    }
}

impl SealedPart {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.byte()? {
            0 => {
                let name = NamespaceName::read(reader)?;
                let count = reader.length(MAX_CELLS_PER_CALL)?;
                let mut sections: Vec<SealedSection> = Vec::new();
                for _ in 0..count {
                    let scope = Scope::of_code(reader.byte()?)?;
                    let owner = Owner(u128::from_be_bytes(reader.array()?));
                    if sections
                        .last()
                        .is_some_and(|last| (last.scope, last.owner) >= (scope, owner))
                    {
                        return Err(Malformed);
                    }
                    let wrapped = reader.array::<WRAPPED_LEN>()?;
                    let sealed = reader.bytes(MAX_SECTION_BYTES)?.to_vec();
                    sections.push(SealedSection { scope, owner, wrapped, sealed });
                }
                if sections.is_empty() {
                    Err(Malformed)
                } else {
                    Ok(Self::Cells { name, sections })
                }
            }
            1 => {
                let tenant =
                    str::from_utf8(reader.bytes(MAX_NAME_BYTES)?).map_err(|_| Malformed)?;
                let owner = Owner(u128::from_be_bytes(reader.array()?));
                Ok(Self::Erase { tenant: tenant.into(), owner })
            }
            _ => Err(Malformed),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Cells { name, sections } => {
                out.push(0);
                name.write(out);
                put_number(out, sections.len() as u64);
                for section in sections {
                    out.push(section.scope.code());
                    out.extend_from_slice(&section.owner.0.to_be_bytes());
                    out.extend_from_slice(&section.wrapped);
                    put_bytes(out, &section.sealed);
                }
            }
            Self::Erase { tenant, owner } => {
                out.push(1);
                put_bytes(out, tenant.as_bytes());
                out.extend_from_slice(&owner.0.to_be_bytes());
            }
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "changes of {} parts [redacted]", self.parts.len())
    }
}

const VERSION: u8 = 1;

/// More than the operations of one call on one cell take.
const MAX_SECTION_BYTES: usize = 2 * MAX_WRITE_BYTES + SEALED_OVERHEAD;

//! Cells: all that a namespace holds of one subject, or under one key of the shared scope.
//!
//! Invariant: a cell rests in RAM as one block of bytes, its key and then its items in order, so
//! that a subject costs one allocation. The result of an operation depends on the cell and the
//! operation alone. A cell knows before which place of the log all operations on it are in it, so
//! that none is applied twice.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::codec::{Malformed, Reader, put_bytes, put_number};
use super::counter::Counter;
use super::distinct::Distinct;
use super::keys::{CellKey, KEY_LEN};
use super::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use super::op::Op;

/// The three kinds of items; each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Value,
    Counter,
    Distinct,
}

/// A value, a counter, or a set.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Item {
    Value { expires_at: u64, version: u64, bytes: Vec<u8> },
    Counter(Counter),
    Distinct(Distinct),
}

/// A cell to be changed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    /// All operations on it before this place of the log are in it.
    applied: u64,
    items: BTreeMap<(Kind, Vec<u8>), Item>,
}

/// A cell at rest: key, then body.
pub(super) struct Packed(Zeroizing<Box<[u8]>>);

impl Cell {
    /// The place of the log before which all operations on it are in it.
    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Applies operations of one record that are not in it. The record's place in the log becomes
    /// the version of values.
    pub(super) fn apply(&mut self, position: u64, ops: &[Op]) {
        for op in ops {
            self.apply_op(position, op);
        }
        self.applied = position.saturating_add(1);
    }

    fn apply_op(&mut self, position: u64, op: &Op) {
        match op {
            Op::Remember { key, value, expires_at } => {
                let (expires_at, bytes) = (*expires_at, value.clone());
                let value = Item::Value { expires_at, version: position, bytes };
                self.items.insert((Kind::Value, key.clone()), value);
            }
            Op::Forget { key } => {
                self.items.remove(&(Kind::Value, key.clone()));
            }
            Op::Tally { key, at, window, amount } => {
                let new = || Item::Counter(Counter::default());
                let item = self.items.entry((Kind::Counter, key.clone())).or_insert_with(new);
                if let Item::Counter(counter) = item {
                    counter.add(*at, *amount, *window);
                }
            }
            Op::TallyDistinct { key, at, window, member } => {
                let new = || Item::Distinct(Distinct::default());
                let item = self.items.entry((Kind::Distinct, key.clone())).or_insert_with(new);
                if let Item::Distinct(set) = item {
                    set.add(*member, *at, *window);
                }
            }
        }
    }

    /// Drops what has expired; says whether there was any.
    pub(super) fn drop_expired(&mut self, now: u64) -> bool {
        let before = self.items.len();
        self.items.retain(|_, item| !item.is_expired(now));
        self.items.len() < before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn item(&self, kind: Kind, key: &[u8]) -> Option<Item> {
        self.items.get(&(kind, key.to_vec())).cloned()
    }

    /// The bytes that are encrypted and stored.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.applied);
        let mut payload = Vec::new();
        for ((kind, key), item) in &self.items {
            out.push(kind.code());
            put_bytes(out, key);
            payload.clear();
            item.write(&mut payload);
            put_bytes(out, &payload);
        }
    }

    pub(super) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut cell = Self { applied: reader.number()?, items: BTreeMap::new() };
        while !reader.is_empty() {
            let (kind, key, payload) = next_item(&mut reader)?;
            let place = (kind, key.to_vec());
            if cell.items.last_key_value().is_some_and(|(last, _)| *last >= place) {
                return Err(Malformed);
            }
            cell.items.insert(place, Item::read(kind, payload)?);
        }
        Ok(cell)
    }

    pub(super) fn pack(&self, key: &CellKey) -> Packed {
        let mut body = Zeroizing::new(Vec::with_capacity(1024));
        self.write(&mut body);
        Packed::new(key, &body)
    }
}

impl Packed {
    pub(super) fn new(key: &CellKey, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(KEY_LEN + body.len());
        bytes.extend_from_slice(key.bytes());
        bytes.extend_from_slice(body);
        Self(Zeroizing::new(bytes.into_boxed_slice()))
    }

    pub(super) fn key(&self) -> CellKey {
        CellKey::from_bytes(self.0.first_chunk().unwrap_or(&[0; KEY_LEN]))
    }

    pub(super) fn has_key(&self, key: &CellKey) -> bool {
        self.0.first_chunk() == Some(key.bytes())
    }

    pub(super) fn body(&self) -> &[u8] {
        self.0.get(KEY_LEN..).unwrap_or_default()
    }

    /// The cell. Bytes that are no cell cannot be here: they were written by [`Cell::write`], or
    /// read once when they were loaded.
    pub(super) fn cell(&self) -> Cell {
        Cell::read(self.body()).unwrap_or_default()
    }

    /// Finds one item without reading the others.
    pub(super) fn item(&self, kind: Kind, key: &[u8]) -> Option<Item> {
        let mut reader = self.items()?;
        while !reader.is_empty() {
            let (found, name, payload) = next_item(&mut reader).ok()?;
            if found == kind && name == key {
                return Item::read(kind, payload).ok();
            }
        }
        None
    }

    /// The length of one item without its key; `None` where there is none.
    pub(super) fn item_len(&self, kind: Kind, key: &[u8]) -> Option<u64> {
        let mut reader = self.items()?;
        while !reader.is_empty() {
            let (found, name, payload) = next_item(&mut reader).ok()?;
            if found == kind && name == key {
                return Some(payload.len() as u64);
            }
        }
        None
    }

    /// Its size as quotas count it: bytes of the body, and items.
    pub(super) fn size(&self) -> (u64, u64) {
        let mut items = 0;
        if let Some(mut reader) = self.items() {
            while next_item(&mut reader).is_ok() {
                items += 1;
            }
        }
        (self.body().len() as u64, items)
    }

    /// Whether anything in it has expired.
    pub(super) fn has_expired(&self, now: u64) -> bool {
        let Some(mut reader) = self.items() else { return false };
        while let Ok((kind, _, payload)) = next_item(&mut reader) {
            let expired = match kind {
                Kind::Value => Reader::new(payload).number().is_ok_and(|at| at <= now),
                _ => Item::read(kind, payload).is_ok_and(|item| item.is_expired(now)),
            };
            if expired {
                return true;
            }
        }
        false
    }

    fn items(&self) -> Option<Reader<'_>> {
        let mut reader = Reader::new(self.body());
        reader.number().ok()?;
        Some(reader)
    }
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Value => 0,
            Self::Counter => 1,
            Self::Distinct => 2,
        }
    }

    fn of_code(code: u8) -> Result<Self, Malformed> {
        match code {
            0 => Ok(Self::Value),
            1 => Ok(Self::Counter),
            2 => Ok(Self::Distinct),
            _ => Err(Malformed),
        }
    }
}

impl Item {
    pub(super) fn is_expired(&self, now: u64) -> bool {
        match self {
            Self::Value { expires_at, .. } => *expires_at <= now,
            Self::Counter(counter) => counter.is_expired(now),
            Self::Distinct(set) => set.is_expired(now),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Value { expires_at, version, bytes } => {
                put_number(out, *expires_at);
                put_number(out, *version);
                out.extend_from_slice(bytes);
            }
            Self::Counter(counter) => counter.write(out),
            Self::Distinct(set) => set.write(out),
        }
    }

    fn read(kind: Kind, payload: &[u8]) -> Result<Self, Malformed> {
        match kind {
            Kind::Value => {
                let mut reader = Reader::new(payload);
                let (expires_at, version) = (reader.number()?, reader.number()?);
                Ok(Self::Value { expires_at, version, bytes: reader.rest().to_vec() })
            }
            Kind::Counter => Counter::read(payload).map(Self::Counter),
            Kind::Distinct => Distinct::read(payload).map(Self::Distinct),
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a cell of {} items [redacted]", self.items.len())
    }
}

fn next_item<'a>(reader: &mut Reader<'a>) -> Result<(Kind, &'a [u8], &'a [u8]), Malformed> {
    let kind = Kind::of_code(reader.byte()?)?;
    let key = reader.bytes(MAX_KEY_BYTES)?;
    Ok((kind, key, reader.bytes(MAX_ITEM_BYTES)?))
}

/// More than any item has: a value of the largest size, or a full set.
const MAX_ITEM_BYTES: usize = 2 * MAX_VALUE_BYTES;

#[cfg(test)]
mod tests {
    use super::super::op::tests::any_op;
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_800_000_000_000;

    proptest! {
        #[test]
        fn a_cell_comes_back(ops in prop::collection::vec(any_op(), 0..40), now in 0_u64..200_000) {
            let key = CellKey::generate().unwrap();
            let mut cell = Cell::default();
            for (position, op) in ops.iter().enumerate() {
                cell.apply(position as u64, std::slice::from_ref(op));
            }
            let packed = cell.pack(&key);
            prop_assert!(packed.cell() == cell && packed.key() == key && packed.has_key(&key));
            prop_assert_eq!(packed.size().1, cell.items.len() as u64);
            for ((kind, name), item) in &cell.items {
                prop_assert!(packed.item(*kind, name).as_ref() == Some(item));
                let mut out = Vec::new();
                item.write(&mut out);
                prop_assert_eq!(packed.item_len(*kind, name), Some(out.len() as u64));
            }
            prop_assert!(packed.item(Kind::Value, b"absent").is_none());
            let now = START + now;
            prop_assert_eq!(packed.has_expired(now), cell.clone().drop_expired(now));
            prop_assert_eq!(packed.cell().applied(), ops.len() as u64);
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Ok(cell) = Cell::read(&bytes) {
                let mut out = Vec::new();
                cell.write(&mut out);
                prop_assert_eq!(&out, &bytes);
            }
        }
    }
}

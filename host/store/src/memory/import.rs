//! The import of many items at once, from another host or another system.
//!
//! Invariant: all items are checked before any is taken, and all that are wrong are named. What is
//! imported goes through the log like the changes of calls, in pieces that fit a record.

use std::collections::BTreeMap;
use std::fmt;

use super::changes::{Changes, Part, Section};
use super::error::{ChangesError, ImportError, OperationError};
use super::limits::{
    MAX_CELLS_PER_CALL, MAX_KEY_BYTES, MAX_MEMBER_BYTES, MAX_TTL_SECONDS, MAX_VALUE_BYTES,
    MAX_WINDOW_SECONDS, MAX_WRITE_BYTES,
};
use super::names::{CellId, Scope};
use super::namespace::Namespace;
use super::op::Op;
use super::store::Memory;

/// One item.
#[derive(Clone)]
pub struct ImportItem {
    /// The owner.
    pub owner: ImportOwner,
    /// Its key.
    pub key: Vec<u8>,
    /// The item itself.
    pub what: ImportWhat,
}

/// The owner of an imported item.
#[derive(Clone)]
pub enum ImportOwner {
    /// The subject of this name.
    Subject(String),
    /// The plugin.
    Shared,
}

/// An imported value, count or member. Times are milliseconds since 1970, windows seconds.
#[derive(Clone)]
pub enum ImportWhat {
    /// A value, until a time.
    Value {
        /// The value.
        value: Vec<u8>,
        /// When it expires.
        expires_at: u64,
    },
    /// Events at a time.
    Events {
        /// When they were.
        at: u64,
        /// The window over which they are counted.
        window: u32,
        /// The number of events.
        amount: u32,
    },
    /// A member that was added at a time.
    Member {
        /// The member.
        member: Vec<u8>,
        /// When it was added.
        at: u64,
        /// The window over which it is counted.
        window: u32,
    },
}

impl Memory {
    /// Returns the changes that import items, in order; each is to be sequenced as a record of its
    /// own. Items that have expired by `now` are left out. The quota is checked when the changes
    /// are sequenced.
    ///
    /// # Errors
    /// All items that cannot be imported, and why; or the cryptographic library refused.
    pub fn import(
        &self,
        namespace: &Namespace,
        items: &[ImportItem],
        now: u64,
    ) -> Result<Vec<Changes>, ImportError> {
        let wrong: Vec<_> = items
            .iter()
            .enumerate()
            .filter_map(|(place, item)| item.check(now).err().map(|error| (place, error)))
            .collect();
        if !wrong.is_empty() {
            return Err(ImportError::Items(wrong));
        }
        let (mut all, mut piece, mut bytes) = (Vec::new(), BTreeMap::new(), 0);
        for item in items {
            let Some((cell, op)) = self.op(namespace, item, now) else { continue };
            let length = op.encoded_len();
            let is_full = bytes + length > MAX_WRITE_BYTES
                || (piece.len() >= MAX_CELLS_PER_CALL && !piece.contains_key(&cell));
            if is_full {
                all.push(self.piece(namespace, std::mem::take(&mut piece), now)?);
                bytes = 0;
            }
            bytes += length;
            piece.entry(cell).or_insert_with(Vec::new).push(op);
        }
        if !piece.is_empty() {
            all.push(self.piece(namespace, piece, now)?);
        }
        Ok(all)
    }

    fn op(&self, namespace: &Namespace, item: &ImportItem, now: u64) -> Option<(CellId, Op)> {
        let space = &namespace.space;
        let (scope, owner) = match &item.owner {
            ImportOwner::Subject(subject) => {
                (Scope::Subject, self.keys().subject(space.name.tenant(), subject))
            }
            ImportOwner::Shared => (Scope::Shared, self.keys().shared(space.id, &item.key)),
        };
        let cell = CellId { namespace: space.id, scope, owner };
        let key = item.key.clone();
        let lives = |at: u64, window: u32| at.saturating_add(u64::from(window) * 1000) > now;
        let op = match &item.what {
            ImportWhat::Value { value, expires_at } => {
                let (value, expires_at) = (value.clone(), *expires_at);
                (expires_at > now).then_some(Op::Remember { key, value, expires_at })
            }
            ImportWhat::Events { at, window, amount } => {
                let (at, window, amount) = (*at, *window, *amount);
                lives(at, window).then_some(Op::Tally { key, at, window, amount })
            }
            ImportWhat::Member { member, at, window } => {
                let member = self.keys().member(&cell, &key, member);
                let (at, window) = (*at, *window);
                lives(at, window).then_some(Op::TallyDistinct { key, at, window, member })
            }
        };
        op.map(|op| (cell, op))
    }

    fn piece(
        &self,
        namespace: &Namespace,
        cells: BTreeMap<CellId, Vec<Op>>,
        now: u64,
    ) -> Result<Changes, ChangesError> {
        let space = &namespace.space;
        let mut growth = [super::changes::Growth::default(); 2];
        let mut sections = Vec::new();
        for (cell, ops) in cells {
            let [subject, shared] = &mut growth;
            let sum = if cell.scope == Scope::Subject { subject } else { shared };
            sum.bytes += ops.iter().map(Op::encoded_len).sum::<usize>() as u64;
            sum.entries += ops.len() as u64;
            sum.values = true;
            // A key of their own, so that the changes do not conflict while they wait.
            sections.push(Section::seal(self.keys(), cell, None, ops)?);
        }
        let parts = vec![Part::Cells { name: space.name.clone(), sections, growth }];
        Ok(Changes { parts, now, ..Changes::default() })
    }
}

impl ImportItem {
    fn check(&self, now: u64) -> Result<(), OperationError> {
        if self.key.is_empty() || self.key.len() > MAX_KEY_BYTES {
            return Err(OperationError::Key(self.key.len()));
        }
        let check_window = |window: u32| {
            let fits = (1..=MAX_WINDOW_SECONDS).contains(&window);
            if fits { Ok(()) } else { Err(OperationError::Window(window)) }
        };
        match &self.what {
            ImportWhat::Value { value, .. } if value.len() > MAX_VALUE_BYTES => {
                Err(OperationError::Value(value.len()))
            }
            ImportWhat::Value { expires_at, .. } => {
                let seconds = expires_at.saturating_sub(now) / 1000;
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                let fits = seconds <= MAX_TTL_SECONDS;
                if fits { Ok(()) } else { Err(OperationError::Ttl(seconds)) }
            }
            ImportWhat::Events { window, .. } => check_window(*window),
            ImportWhat::Member { member, window, .. } => {
                let fits = member.len() <= MAX_MEMBER_BYTES;
                check_window(*window)?;
                if fits { Ok(()) } else { Err(OperationError::Member(member.len())) }
            }
        }
    }
}

impl fmt::Debug for ImportItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item [redacted]")
    }
}

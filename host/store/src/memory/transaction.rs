//! One plugin's view of its memory during one call.
//!
//! Invariant: an operation that returns an error has changed nothing. A call sees its own writes,
//! and nothing else of it is visible before its changes have a place in the log. All that a call
//! reads of memory is in [`Transaction::reads`], so that it can be evaluated again from its record
//! alone. Nothing here touches the disk, and time is the call's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::cell::{Item, Kind};
use super::changes::{Changes, Check, Growth, Part, Section};
use super::distinct::Distinct;
use super::error::{ChangesError, OperationError};
use super::keys::StoreKeys;
use super::limits::{
    CELL_OVERHEAD, MAX_CELL_BYTES, MAX_CELL_ITEMS, MAX_CELLS_PER_CALL, MAX_KEY_BYTES,
    MAX_MEMBER_BYTES, MAX_READ_BYTES, MAX_TTL_SECONDS, MAX_VALUE_BYTES, MAX_WINDOW_SECONDS,
    MAX_WRITE_BYTES,
};
use super::names::{CellId, Owner, Scope};
use super::op::Op;
use super::reads::{Answer, READ_OVERHEAD, Read};
use super::space::Space;
use super::writes::{Write, WriteChange};

/// A call's reads and writes of one namespace.
pub struct Transaction {
    keys: Arc<StoreKeys>,
    space: Arc<Space>,
    subject: Option<Owner>,
    now: u64,
    life: u64,
    reads: Vec<Read>,
    read_bytes: usize,
    checks: Vec<Check>,
    written: BTreeMap<CellId, Written>,
    write_bytes: usize,
    writes: Vec<Write>,
}

/// The writes of the call to one cell.
#[derive(Default)]
struct Written {
    ops: Vec<Op>,
    /// Of the cell before the call.
    size: (u64, u64),
    growth: Growth,
}

impl Transaction {
    pub(super) fn new(
        keys: Arc<StoreKeys>,
        space: Arc<Space>,
        subject: Option<&str>,
        now: u64,
        life: u64,
    ) -> Self {
        let subject = subject.map(|subject| keys.subject(space.name.tenant(), subject));
        Self {
            keys,
            space,
            subject,
            now,
            life,
            reads: Vec::new(),
            read_bytes: 0,
            checks: Vec::new(),
            written: BTreeMap::new(),
            write_bytes: 0,
            writes: Vec::new(),
        }
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// The key or the scope is not usable, or the call has read too much.
    pub fn recall(&mut self, scope: Scope, key: &[u8]) -> Result<Option<Vec<u8>>, OperationError> {
        let cell = self.cell(scope, key)?;
        for op in self.own(&cell).rev() {
            match op {
                Op::Remember { key: own, value, .. } if own == key => {
                    return Ok(Some(value.clone()));
                }
                Op::Forget { key: own } if own == key => return Ok(None),
                _ => {}
            }
        }
        let found = match self.space.item(&cell, Kind::Value, key) {
            Some(Item::Value { expires_at, version, bytes }) if expires_at > self.now => {
                Some((bytes, version))
            }
            _ => None,
        };
        let length = found.as_ref().map_or(0, |(bytes, _)| bytes.len());
        self.record(scope, key, length, Answer::Value(found.clone()))?;
        let version = found.as_ref().map(|(_, version)| *version);
        self.checks.push(Check { cell, key: key.to_vec(), version });
        Ok(found.map(|(bytes, _)| bytes))
    }

    /// Stores a value for so many seconds.
    ///
    /// # Errors
    /// An argument is not usable, or a limit or the quota is reached.
    pub fn remember(
        &mut self,
        scope: Scope,
        key: &[u8],
        value: &[u8],
        ttl: u32,
    ) -> Result<(), OperationError> {
        let cell = self.cell(scope, key)?;
        if value.len() > MAX_VALUE_BYTES {
            return Err(OperationError::Value(value.len()));
        }
        if !(1..=MAX_TTL_SECONDS).contains(&ttl) {
            return Err(OperationError::Ttl(ttl));
        }
        let expires_at = self.now.saturating_add(u64::from(ttl) * 1000);
        self.write(cell, Op::Remember { key: key.to_vec(), value: value.to_vec(), expires_at })?;
        self.note(scope, key, WriteChange::Remember { value: value.to_vec(), ttl });
        Ok(())
    }

    /// Removes a value. Counters and sets of that key stay until they expire.
    ///
    /// # Errors
    /// The key or the scope is not usable, or a limit is reached.
    pub fn forget(&mut self, scope: Scope, key: &[u8]) -> Result<(), OperationError> {
        let cell = self.cell(scope, key)?;
        self.write(cell, Op::Forget { key: key.to_vec() })?;
        self.note(scope, key, WriteChange::Forget);
        Ok(())
    }

    /// Returns the number of events of a key in the last `window` seconds: none is missed, and none
    /// is included that is older by more than a sixteenth of the window, or 1 s. Events are known
    /// for the longest window with which the key was tallied.
    ///
    /// # Errors
    /// An argument is not usable, or the call has read too much.
    pub fn count(&mut self, scope: Scope, key: &[u8], window: u32) -> Result<u32, OperationError> {
        check_window(window)?;
        let cell = self.cell(scope, key)?;
        let count = self.counted(&cell, key, window);
        self.record(scope, key, 4, Answer::Count { window, count })?;
        Ok(count)
    }

    /// Adds an event at the time of the call, and counts.
    ///
    /// # Errors
    /// As [`Transaction::count`]; or a limit or the quota is reached.
    pub fn tally(&mut self, scope: Scope, key: &[u8], window: u32) -> Result<u32, OperationError> {
        check_window(window)?;
        let cell = self.cell(scope, key)?;
        self.check_reads(key, 4)?;
        let (at, amount) = (self.now, 1);
        self.write(cell, Op::Tally { key: key.to_vec(), at, window, amount })?;
        self.note(scope, key, WriteChange::Tally { window });
        let count = self.counted(&cell, key, window);
        self.record(scope, key, 4, Answer::Count { window, count })?;
        Ok(count)
    }

    /// Returns the number of different members of a key that were added in the last `window`
    /// seconds. It is exact as long as there were at most 512 at once. With more its standard error
    /// is 6.3 % of the largest number there was.
    ///
    /// # Errors
    /// As [`Transaction::count`].
    pub fn count_distinct(
        &mut self,
        scope: Scope,
        key: &[u8],
        window: u32,
    ) -> Result<u32, OperationError> {
        check_window(window)?;
        let cell = self.cell(scope, key)?;
        let count = self.counted_distinct(&cell, key, window);
        self.record(scope, key, 4, Answer::Distinct { window, count })?;
        Ok(count)
    }

    /// Adds a member at the time of the call, and counts.
    ///
    /// # Errors
    /// As [`Transaction::count`]; or the member is too long, or a limit or the quota is reached.
    pub fn tally_distinct(
        &mut self,
        scope: Scope,
        key: &[u8],
        member: &[u8],
        window: u32,
    ) -> Result<u32, OperationError> {
        check_window(window)?;
        if member.len() > MAX_MEMBER_BYTES {
            return Err(OperationError::Member(member.len()));
        }
        let cell = self.cell(scope, key)?;
        self.check_reads(key, 4)?;
        let (at, hashed) = (self.now, self.keys.member(&cell, key, member));
        let op = Op::TallyDistinct { key: key.to_vec(), at, window, member: hashed };
        self.write(cell, op)?;
        self.note(scope, key, WriteChange::TallyDistinct { member: member.to_vec(), window });
        let count = self.counted_distinct(&cell, key, window);
        self.record(scope, key, 4, Answer::Distinct { window, count })?;
        Ok(count)
    }

    /// All that was read, in order: at most [`MAX_READ_BYTES`].
    pub fn reads(&self) -> &[Read] {
        &self.reads
    }

    /// The bytes that were read, as they count against [`MAX_READ_BYTES`].
    pub fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// All that was written, in order, as the plugin gave it. Whether it is kept depends on the
    /// outcome of the call.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Returns the changes of a call that gave a decision, encrypted for the log. Where it set no
    /// value, nothing that it read is checked, and its changes never conflict.
    ///
    /// # Errors
    /// The cryptographic library refused.
    pub fn finish(&self) -> Result<Changes, ChangesError> {
        self.changes(|_| true, false)
    }

    /// Returns the changes of a call that gave no decision: only its tallies are kept. Nothing that
    /// it read is checked, and its changes never conflict.
    ///
    /// # Errors
    /// As [`Transaction::finish`].
    pub fn tallies_only(&self) -> Result<Changes, ChangesError> {
        // A key of their own: that of the cell may be destroyed before they are sequenced.
        self.changes(Op::is_tally, true)
    }

    fn changes(&self, keep: impl Fn(&Op) -> bool, own_key: bool) -> Result<Changes, ChangesError> {
        let mut sections = Vec::new();
        let mut growth = [Growth::default(); 2];
        let mut sets_values = false;
        for (&cell, written) in &self.written {
            let ops: Vec<Op> = written.ops.iter().filter(|op| keep(op)).cloned().collect();
            if ops.is_empty() {
                continue;
            }
            sets_values |= ops.iter().any(|op| !op.is_tally());
            let [subject, shared] = &mut growth;
            let sum = if cell.scope == Scope::Subject { subject } else { shared };
            sum.bytes = sum.bytes.saturating_add(written.growth.bytes);
            sum.entries = sum.entries.saturating_add(written.growth.entries);
            sum.values |= ops.iter().any(|op| matches!(op, Op::Remember { .. }));
            let key = if own_key { None } else { self.space.key(&cell) };
            sections.push(Section::seal(&self.keys, cell, key, ops)?);
        }
        let name = self.space.name.clone();
        let parts = match sections.is_empty() {
            true => Vec::new(),
            false => vec![Part::Cells { name, sections, growth }],
        };
        let checks = if sets_values { self.checks.clone() } else { Vec::new() };
        Ok(Changes { parts, checks, now: self.now, life: self.life })
    }

    fn cell(&self, scope: Scope, key: &[u8]) -> Result<CellId, OperationError> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(OperationError::Key(key.len()));
        }
        let owner = match scope {
            Scope::Subject => self.subject.ok_or(OperationError::NoSubject)?,
            Scope::Shared => self.keys.shared(self.space.id, key),
        };
        Ok(CellId { namespace: self.space.id, scope, owner })
    }

    /// The call's own operations on a cell.
    fn own(&self, cell: &CellId) -> impl DoubleEndedIterator<Item = &Op> {
        self.written.get(cell).into_iter().flat_map(|written| &written.ops)
    }

    fn counted(&self, cell: &CellId, key: &[u8], window: u32) -> u32 {
        let stored = match self.space.item(cell, Kind::Counter, key) {
            Some(Item::Counter(counter)) => counter.count(self.now, window),
            _ => 0,
        };
        let own = self.own(cell).filter(|op| op.place() == (Kind::Counter, key));
        stored.saturating_add(u32::try_from(own.count()).unwrap_or(u32::MAX))
    }

    fn counted_distinct(&self, cell: &CellId, key: &[u8], window: u32) -> u32 {
        let mut set = match self.space.item(cell, Kind::Distinct, key) {
            Some(Item::Distinct(set)) => set,
            _ => Distinct::default(),
        };
        for op in self.own(cell) {
            if let Op::TallyDistinct { key: own, at, window, member } = op
                && own == key
            {
                set.add(*member, *at, *window);
            }
        }
        set.count(self.now, window)
    }

    fn check_reads(&self, key: &[u8], bytes: usize) -> Result<usize, OperationError> {
        let total = self.read_bytes + key.len() + bytes + READ_OVERHEAD;
        if total > MAX_READ_BYTES { Err(OperationError::Reads) } else { Ok(total) }
    }

    fn record(
        &mut self,
        scope: Scope,
        key: &[u8],
        bytes: usize,
        answer: Answer,
    ) -> Result<(), OperationError> {
        self.read_bytes = self.check_reads(key, bytes)?;
        self.reads.push(Read { scope, key: key.to_vec(), answer });
        Ok(())
    }

    fn note(&mut self, scope: Scope, key: &[u8], change: WriteChange) {
        let (key, reads_before) = (key.to_vec(), self.reads.len());
        self.writes.push(Write { scope, key, change, reads_before });
    }

    fn write(&mut self, cell: CellId, op: Op) -> Result<(), OperationError> {
        let bytes = op.encoded_len();
        if self.write_bytes + bytes > MAX_WRITE_BYTES {
            return Err(OperationError::Writes);
        }
        let is_new_cell = !self.written.contains_key(&cell);
        if is_new_cell && self.written.len() >= MAX_CELLS_PER_CALL {
            return Err(OperationError::Cells);
        }
        let (kind, key) = op.place();
        let own = self.own(&cell).any(|own| own.place() == (kind, key));
        let (now, stored) = self.space.size(&cell, kind, key);
        let size = self.written.get(&cell).map_or(now, |written| written.size);
        let before = self.written.get(&cell).map_or(Growth::default(), |written| written.growth);
        let mut growth = before;
        if !matches!(op, Op::Forget { .. }) {
            let replaced = if own { 0 } else { stored.unwrap_or(0) };
            growth.bytes += (bytes as u64).saturating_sub(replaced);
            growth.entries += u64::from(stored.is_none() && !own);
            if size == (0, 0) && before.bytes == 0 {
                growth.bytes += CELL_OVERHEAD;
            }
            self.check_room(&cell, size, before, growth)?;
        }
        self.write_bytes += bytes;
        let written = self.written.entry(cell).or_default();
        (written.size, written.growth) = (size, growth);
        written.ops.push(op);
        Ok(())
    }

    /// Checks the limits of the cell and the quota of the namespace, where the call grows them.
    fn check_room(
        &self,
        cell: &CellId,
        size: (u64, u64),
        before: Growth,
        growth: Growth,
    ) -> Result<(), OperationError> {
        if growth == before {
            return Ok(());
        }
        let full = size.0 + growth.bytes > MAX_CELL_BYTES as u64
            || size.1 + growth.entries > MAX_CELL_ITEMS as u64;
        if full {
            return Err(OperationError::CellFull);
        }
        let others = self.written.iter().filter(|(id, _)| id.scope == cell.scope && *id != cell);
        let (bytes, entries) = others.fold((growth.bytes, growth.entries), |sum, (_, other)| {
            (sum.0 + other.growth.bytes, sum.1 + other.growth.entries)
        });
        let fits = self.space.fits(cell.scope, bytes, entries);
        if fits { Ok(()) } else { Err(OperationError::Quota(cell.scope)) }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a transaction of {} reads [redacted]", self.reads.len())
    }
}

fn check_window(window: u32) -> Result<(), OperationError> {
    if (1..=MAX_WINDOW_SECONDS).contains(&window) {
        Ok(())
    } else {
        Err(OperationError::Window(window))
    }
}

//! One namespace in RAM: its cells, and over them the changes that have a place in the log and are
//! not applied yet.
//!
//! Invariant: a read sees the applied cell and all changes that were staged on it, in the order of
//! the log. Applied cells hold exactly what was confirmed. A lock is held for one cell at a time
//! and never while anything waits; the order of changes is the business of `sequencer`.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use super::cell::{Cell, Item, Kind, Packed};
use super::keys::CellKey;
use super::limits::{CELL_OVERHEAD, Quota, ScopeQuota};
use super::names::{CellId, NamespaceId, NamespaceName, Owner, Scope};
use super::op::Op;

/// A namespace.
pub(super) struct Space {
    pub(super) name: NamespaceName,
    pub(super) id: NamespaceId,
    quota: Mutex<Quota>,
    usage: [Usage; 2],
    shards: Vec<Mutex<Shard>>,
}

/// The size of the content, staged changes included.
#[derive(Default)]
struct Usage {
    bytes: AtomicU64,
    entries: AtomicU64,
}

#[derive(Default)]
struct Shard {
    cells: OwnerMap<Packed>,
    staged: OwnerMap<VecDeque<Staged>>,
    /// Changed since the last flush.
    dirty: HashSet<u128, ByOwner>,
    /// Of these the key is not stored yet.
    new_keys: HashSet<u128, ByOwner>,
}

/// Changes of one record on one cell.
struct Staged {
    position: u64,
    change: Change,
}

#[derive(Clone)]
pub(super) enum Change {
    Ops { key: CellKey, ops: Arc<[Op]> },
    Erase,
}

/// A cell that is written to the disk view.
pub(super) struct Row {
    pub(super) key: CellKey,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) new_key: bool,
}

impl Space {
    pub(super) fn new(name: NamespaceName, quota: Quota) -> Self {
        let id = name.id();
        let shards = (0..2 * SHARDS).map(|_| Mutex::default()).collect();
        Self { name, id, quota: Mutex::new(quota), usage: Default::default(), shards }
    }

    pub(super) fn set_quota(&self, quota: Quota) {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = quota;
    }

    /// Whether so much more fits.
    pub(super) fn fits(&self, scope: Scope, bytes: u64, entries: u64) -> bool {
        let quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        let ScopeQuota { bytes: most_bytes, entries: most_entries } = match scope {
            Scope::Subject => quota.subject,
            Scope::Shared => quota.shared,
        };
        let (used_bytes, used_entries) = self.used(scope);
        used_bytes.saturating_add(bytes) <= most_bytes
            && used_entries.saturating_add(entries) <= most_entries
    }

    /// Bytes and entries.
    pub(super) fn used(&self, scope: Scope) -> (u64, u64) {
        let usage = self.usage(scope);
        (usage.bytes.load(Ordering::Relaxed), usage.entries.load(Ordering::Relaxed))
    }

    /// The number of cells of a scope, staged ones included.
    pub(super) fn cells(&self, scope: Scope) -> u64 {
        (0..self.shards.len())
            .filter(|place| scope_of(*place) == scope)
            .map(|place| self.shard_at(place).map_or(0, |shard| shard.visible()))
            .sum()
    }

    /// Returns an item as the next record would find it.
    pub(super) fn item(&self, cell: &CellId, kind: Kind, key: &[u8]) -> Option<Item> {
        let shard = self.shard(cell)?;
        if shard.staged.contains_key(&cell.owner.0) {
            return shard.current(cell.owner).and_then(|(_, cell)| cell.item(kind, key));
        }
        shard.cells.get(&cell.owner.0)?.item(kind, key)
    }

    /// Returns the key of a cell as the next record would find it.
    pub(super) fn key(&self, cell: &CellId) -> Option<CellKey> {
        let shard = self.shard(cell)?;
        if shard.staged.contains_key(&cell.owner.0) {
            return shard.current(cell.owner).map(|(key, _)| key);
        }
        shard.cells.get(&cell.owner.0).map(Packed::key)
    }

    /// Returns the size of a cell as the next record would find it, bytes and items, and the length
    /// of one of its items.
    pub(super) fn size(&self, cell: &CellId, kind: Kind, key: &[u8]) -> ((u64, u64), Option<u64>) {
        let Some(shard) = self.shard(cell) else { return ((0, 0), None) };
        let sizes = |packed: &Packed| (packed.size(), packed.item_len(kind, key));
        if shard.staged.contains_key(&cell.owner.0) {
            let current = shard.current(cell.owner);
            return current.map_or(((0, 0), None), |(key, cell)| sizes(&cell.pack(&key)));
        }
        shard.cells.get(&cell.owner.0).map_or(((0, 0), None), sizes)
    }

    /// Whether there is anything to erase.
    pub(super) fn has(&self, cell: &CellId) -> bool {
        self.shard(cell).is_some_and(|shard| {
            shard.cells.contains_key(&cell.owner.0) || shard.staged.contains_key(&cell.owner.0)
        })
    }

    /// Lays a change over a cell.
    pub(super) fn stage(&self, cell: &CellId, position: u64, change: Change) {
        let Some(mut shard) = self.shard(cell) else { return };
        self.usage(cell.scope).add(change.size());
        shard.staged.entry(cell.owner.0).or_default().push_back(Staged { position, change });
    }

    /// Takes the changes of a place of the log off a cell, and applies them if `apply` says so. All
    /// earlier ones must have been taken off before, if they are applied.
    pub(super) fn settle(&self, cell: &CellId, position: u64, apply: bool) {
        let Some(mut shard) = self.shard(cell) else { return };
        let Entry::Occupied(mut staged) = shard.staged.entry(cell.owner.0) else { return };
        let (settled, left) =
            std::mem::take(staged.get_mut()).into_iter().partition(|one| one.position == position);
        let settled: VecDeque<Staged> = settled;
        if VecDeque::is_empty(&left) {
            staged.remove();
        } else {
            staged.insert(left);
        }
        let usage = self.usage(cell.scope);
        settled.iter().for_each(|one| usage.subtract(one.change.size()));
        if apply && !settled.is_empty() {
            shard.apply(usage, cell.owner, &settled);
        }
    }

    /// Puts in a cell that was stored.
    pub(super) fn load(&self, cell: &CellId, key: &CellKey, body: &[u8]) {
        let Some(mut shard) = self.shard(cell) else { return };
        shard.put(self.usage(cell.scope), cell.owner, Some(Packed::new(key, body)));
    }

    /// Takes out what a flush has to write. [`Space::write_again`] puts it back.
    pub(super) fn take_dirty(&self, out: &mut Vec<(CellId, bool)>) {
        for (place, shard) in self.shards.iter().enumerate() {
            let mut shard = lock(shard);
            let scope = scope_of(place);
            let dirty = std::mem::take(&mut shard.dirty);
            let mut new_keys = std::mem::take(&mut shard.new_keys);
            out.extend(dirty.into_iter().map(|owner| {
                let cell = CellId { namespace: self.id, scope, owner: Owner(owner) };
                (cell, new_keys.remove(&owner))
            }));
        }
    }

    /// Returns a cell as it is applied, and whether it got another key since [`Space::take_dirty`].
    pub(super) fn row(&self, cell: &CellId) -> Option<Row> {
        let shard = self.shard(cell)?;
        let packed = shard.cells.get(&cell.owner.0)?;
        let new_key = shard.new_keys.contains(&cell.owner.0);
        Some(Row { key: packed.key(), body: Zeroizing::new(packed.body().to_vec()), new_key })
    }

    pub(super) fn write_again(&self, cell: &CellId, new_key: bool) {
        let Some(mut shard) = self.shard(cell) else { return };
        shard.dirty.insert(cell.owner.0);
        if new_key {
            shard.new_keys.insert(cell.owner.0);
        }
    }

    /// Drops what has expired in one of [`SWEEP_PLACES`] parts; returns the number of cells that
    /// were changed.
    pub(super) fn sweep(&self, place: usize, now: u64) -> u64 {
        let Some(mut shard) = self.shard_at(place) else { return 0 };
        let expired = shard.cells.iter().filter(|(_, packed)| packed.has_expired(now));
        let owners: Vec<u128> = expired.map(|(owner, _)| *owner).collect();
        for owner in &owners {
            let Some(packed) = shard.cells.get(owner) else { continue };
            let (key, mut cell) = (packed.key(), packed.cell());
            cell.drop_expired(now);
            let packed = (!cell.is_empty()).then(|| cell.pack(&key));
            shard.put(self.usage(scope_of(place)), Owner(*owner), packed);
            shard.dirty.insert(*owner);
        }
        owners.len() as u64
    }

    fn usage(&self, scope: Scope) -> &Usage {
        let [subject, shared] = &self.usage;
        match scope {
            Scope::Subject => subject,
            Scope::Shared => shared,
        }
    }

    fn shard(&self, cell: &CellId) -> Option<MutexGuard<'_, Shard>> {
        // The map within a shard goes by the lower half of the owner.
        let place = usize::try_from(cell.owner.0 >> 120).unwrap_or_default() % SHARDS;
        self.shard_at(usize::from(cell.scope.code()) * SHARDS + place)
    }

    fn shard_at(&self, place: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(place).map(lock)
    }
}

impl Shard {
    /// The number of its cells, with those that are only staged.
    fn visible(&self) -> u64 {
        let staged = self.staged.keys().filter(|owner| !self.cells.contains_key(*owner));
        self.cells.len().saturating_add(staged.count()) as u64
    }

    /// The cell with all that is staged on it, and its key; `None` where there is none.
    fn current(&self, owner: Owner) -> Option<(CellKey, Cell)> {
        let staged = self.staged.get(&owner.0).into_iter().flatten();
        self.with_changes(owner, staged)
    }

    fn with_changes<'a>(
        &self,
        owner: Owner,
        changes: impl IntoIterator<Item = &'a Staged>,
    ) -> Option<(CellKey, Cell)> {
        let mut current = self.cells.get(&owner.0).map(|packed| (packed.key(), packed.cell()));
        // One record may change a cell twice: two bindings of one plugin. So what is applied
        // is found out once.
        let applied = current.as_ref().map_or(0, |(_, cell)| cell.applied());
        for Staged { position, change } in changes {
            if *position < applied {
                continue;
            }
            match change {
                Change::Erase => current = None,
                Change::Ops { key, ops } => {
                    let (_, cell) = current.get_or_insert_with(|| (key.clone(), Cell::default()));
                    cell.apply(*position, ops);
                }
            }
        }
        current
    }

    fn apply(&mut self, usage: &Usage, owner: Owner, changes: &VecDeque<Staged>) {
        // An empty cell is none. What it knew of the log is not needed: all from the place on that
        // is stored with the view is applied again, to nothing.
        let after = self.with_changes(owner, changes).filter(|(_, cell)| !cell.is_empty());
        let new_key = match (&after, self.cells.get(&owner.0)) {
            (Some((key, _)), Some(before)) => !before.has_key(key),
            (after, _) => after.is_some(),
        };
        if new_key {
            self.new_keys.insert(owner.0);
        }
        let packed = after.map(|(key, cell)| cell.pack(&key));
        self.put(usage, owner, packed);
        self.dirty.insert(owner.0);
    }

    /// Exchanges a cell and counts the difference.
    fn put(&mut self, usage: &Usage, owner: Owner, packed: Option<Packed>) {
        if let Some(packed) = &packed {
            usage.add(stored_size(packed));
        }
        let before = match packed {
            Some(packed) => self.cells.insert(owner.0, packed),
            None => self.cells.remove(&owner.0),
        };
        if let Some(before) = before {
            usage.subtract(stored_size(&before));
        }
    }
}

impl Change {
    /// The size with which it counts until it is applied: an upper bound of the cell's growth.
    fn size(&self) -> (u64, u64) {
        let Self::Ops { ops, .. } = self else { return (0, 0) };
        (ops.iter().map(Op::encoded_len).sum::<usize>() as u64, ops.len() as u64)
    }
}

impl Usage {
    fn add(&self, (bytes, entries): (u64, u64)) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    fn subtract(&self, (bytes, entries): (u64, u64)) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.entries.fetch_sub(entries, Ordering::Relaxed);
    }
}

fn stored_size(packed: &Packed) -> (u64, u64) {
    let (bytes, items) = packed.size();
    (bytes + CELL_OVERHEAD, items)
}

fn scope_of(place: usize) -> Scope {
    if place < SHARDS { Scope::Subject } else { Scope::Shared }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Owners are pseudonyms: evenly spread, and nobody without the key can choose them.
#[derive(Default)]
struct OwnerHasher(u64);

type ByOwner = BuildHasherDefault<OwnerHasher>;

type OwnerMap<V> = HashMap<u128, V, ByOwner>;

impl Hasher for OwnerHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, owner: u128) {
        self.0 = owner as u64;
    }
}

/// Parts of a scope, each under its own lock. With a million subjects a part is swept in about half
/// a millisecond.
const SHARDS: usize = 256;

/// Parts that are swept one after the other.
pub(super) const SWEEP_PLACES: usize = 2 * SHARDS;

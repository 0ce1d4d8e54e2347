//! The memory of one host: opened from the disk view, read and changed in RAM, flushed back.
//!
//! Invariant: a read never touches the disk. Changes become visible when they get their place in
//! the log, in the order of the log, and are stored once the log has them durably. What is stored
//! may hold changes beyond the place that is stored with it; each cell knows which, so that nothing
//! is applied twice. Nothing here sleeps, has threads, or reads a clock.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use portcullis_keys::SymmetricKey;

use super::backend::{Backend, Batch, RowChange};
use super::cell::{Cell, Item, Kind};
use super::changes::{Changes, Part, SealedChanges};
use super::codec::Reader;
use super::disk::DiskView;
use super::error::{
    BackendError, ChangesError, Conflict, FlushError, OpenError, SequenceError, StageError,
    TooManyNamespaces,
};
use super::keys::{Purpose, StoreKeys};
use super::limits::{MAX_NAMESPACES, MAX_ROWS_PER_COMMIT, Quota};
use super::names::{CellId, NamespaceId, NamespaceName, Scope};
use super::sequencer::Sequencer;
use super::space::{Change, SWEEP_PLACES, Space};
use super::transaction::Transaction;

/// All memory of a host. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

/// A namespace of a memory, for the transactions of calls.
#[derive(Clone)]
pub struct Namespace {
    pub(super) space: Arc<Space>,
}

/// What was found when memory was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The place of the log before which all changes are in memory: those from it on are to be
    /// applied, in order.
    pub applied: u64,
    /// Cells that were read.
    pub cells: u64,
    /// The file that was corrupt, where there was one: its new name, and the reason. Memory is
    /// empty then, and `applied` is 0.
    pub set_aside: Option<(PathBuf, String)>,
}

/// What a flush wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Cells.
    pub cells: u64,
    /// Cells of which something had expired, out of the part that this flush looked at.
    pub expired: u64,
    /// The place of the log before which all changes are stored: the log needs to keep the changes
    /// from it on.
    pub applied: u64,
}

/// What a namespace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Subjects, and keys of the shared scope.
    pub cells: u64,
    /// Bytes and entries of all subjects.
    pub subject: (u64, u64),
    /// Bytes and entries of the shared scope.
    pub shared: (u64, u64),
}

struct Inner {
    keys: Arc<StoreKeys>,
    spaces: RwLock<HashMap<NamespaceId, Arc<Space>>>,
    sequencer: Mutex<Sequencer>,
    backend: Box<dyn Backend>,
    flushing: Mutex<Flushing>,
}

/// What the disk view is known to hold.
#[derive(Default)]
struct Flushing {
    version: u64,
    applied: u64,
    namespaces: HashSet<NamespaceId>,
    sweep: usize,
}

impl Memory {
    /// Opens the memory in a folder, and creates it where there is none. A corrupt file is renamed
    /// and reported, and memory begins empty.
    ///
    /// # Errors
    /// The disk refused, or the file was written under another key.
    pub fn open(folder: &Path, key: &SymmetricKey) -> Result<(Self, Opened), OpenError> {
        let open = || -> Result<_, OpenError> {
            Self::with_backend(Box::new(DiskView::open(folder)?), key)
        };
        match open() {
            Err(OpenError::Backend(BackendError::Corrupt(why))) => {
                let renamed = DiskView::set_aside(folder)?;
                let (memory, opened) = open()?;
                Ok((memory, Opened { set_aside: Some((renamed, why)), ..opened }))
            }
            opened => opened,
        }
    }

    /// Opens the memory in a view of any kind. A corrupt view is an error.
    ///
    /// # Errors
    /// As [`Memory::open`], and [`BackendError::Corrupt`].
    pub fn with_backend(
        backend: Box<dyn Backend>,
        key: &SymmetricKey,
    ) -> Result<(Self, Opened), OpenError> {
        let keys = Arc::new(StoreKeys::new(key)?);
        let stored = backend.stored()?;
        if !stored.key_check.is_empty() && stored.key_check != keys.check() {
            return Err(OpenError::OtherKey);
        }
        let corrupt = |what: &str| BackendError::Corrupt(what.to_owned());
        let mut spaces = HashMap::new();
        for (id, encoded) in &stored.namespaces {
            let name = NamespaceName::read(&mut Reader::new(encoded)).ok();
            let name = name.filter(|name| name.id() == *id);
            let name = name.ok_or_else(|| corrupt("the name of a namespace"))?;
            spaces.insert(*id, Arc::new(Space::new(name, Quota::default())));
        }
        let mut cells = 0;
        backend.rows(&mut |row, wrapped, sealed| {
            let cell = CellId::from_bytes(row).map_err(|_| corrupt("the key of a row"))?;
            let space = spaces.get(&cell.namespace).ok_or_else(|| corrupt("a namespace's row"))?;
            let changed = |_| corrupt("a row cannot be decrypted");
            let key = keys.unwrap(&cell, wrapped).map_err(changed)?;
            let body = key.open(&cell, Purpose::Row, sealed).map_err(changed)?;
            Cell::read(&body).map_err(|_| corrupt("a cell"))?;
            space.load(&cell, &key, &body);
            cells += 1;
            Ok(())
        })?;
        let flushing = Flushing {
            version: stored.version,
            applied: stored.applied,
            namespaces: spaces.keys().copied().collect(),
            sweep: 0,
        };
        let inner = Inner {
            keys,
            spaces: RwLock::new(spaces),
            sequencer: Mutex::new(Sequencer::new(stored.applied)),
            backend,
            flushing: Mutex::new(flushing),
        };
        let opened = Opened { applied: stored.applied, cells, set_aside: None };
        Ok((Self { inner: Arc::new(inner) }, opened))
    }

    /// Returns a namespace, and sets its quota.
    ///
    /// # Errors
    /// It is new, and there are as many as there may be.
    pub fn namespace(
        &self,
        name: &NamespaceName,
        quota: Quota,
    ) -> Result<Namespace, TooManyNamespaces> {
        let space = self.inner.space(name)?;
        space.set_quota(quota);
        Ok(Namespace { space })
    }

    /// Begins a call's transaction. `now` is the time of the call, milliseconds since 1970.
    pub fn begin(&self, namespace: &Namespace, subject: Option<&str>, now: u64) -> Transaction {
        let life = self.inner.sequencer().life();
        let (keys, space) = (Arc::clone(&self.inner.keys), Arc::clone(&namespace.space));
        Transaction::new(keys, space, subject, now, life)
    }

    /// Reads the changes of a record's frame back, to apply them after a start.
    ///
    /// # Errors
    /// The bytes are no changes, or were encrypted under another key.
    pub fn read_changes(&self, bytes: &[u8]) -> Result<Changes, ChangesError> {
        SealedChanges::parse(bytes)?.open(&self.inner.keys)
    }

    /// Returns the changes that erase all that any plugin of the tenant holds of a subject, in its
    /// scope `subject`. Once they are applied, its keys are gone from this process; with the next
    /// flush, from the disk view.
    pub fn erase_subject(&self, tenant: &str, subject: &str) -> Changes {
        let owner = self.inner.keys.subject(tenant, subject);
        let part = Part::Erase { tenant: tenant.into(), owner };
        let life = self.inner.sequencer().life();
        Changes { parts: vec![part], life, ..Changes::default() }
    }

    /// Checks that what a call has read is still so. Only values are checked: counters commute.
    /// What is checked here may change before the changes are staged; [`Memory::sequence`] does both
    /// at once.
    ///
    /// # Errors
    /// The call must be evaluated again.
    pub fn validate(&self, changes: &Changes) -> Result<(), Conflict> {
        let sequencer = self.inner.sequencer();
        self.inner.validate(&sequencer, changes)
    }

    /// Checks changes, has `append` give their record a place in the log, and makes them visible to
    /// later calls, all as one step. `append` is called under a lock that orders all changes, so it
    /// must not wait for the disk. It returns the place, and whatever the caller needs.
    ///
    /// # Errors
    /// A conflict, upon which the call must be evaluated again; or `append` failed. In both cases
    /// nothing is visible.
    pub fn sequence<R, E>(
        &self,
        changes: &Changes,
        append: impl FnOnce() -> Result<(u64, R), E>,
    ) -> Result<R, SequenceError<E>> {
        let mut sequencer = self.inner.sequencer();
        self.inner.validate(&sequencer, changes)?;
        let (position, result) = append().map_err(SequenceError::Append)?;
        self.inner.stage(&mut sequencer, position, changes).map_err(SequenceError::Stage)?;
        Ok(result)
    }

    /// Makes changes visible that have a place in the log, and are not durable yet.
    ///
    /// # Errors
    /// Places must grow.
    pub fn stage(&self, position: u64, changes: &Changes) -> Result<(), StageError> {
        self.inner.stage(&mut self.inner.sequencer(), position, changes)
    }

    /// Notes that the record at a place is durable.
    pub fn confirm(&self, position: u64) {
        self.inner.sequencer().confirm(position);
    }

    /// Notes that all records before `end` are durable. A place before it that has no changes by
    /// now has none.
    pub fn confirm_before(&self, end: u64) {
        self.inner.sequencer().confirm_before(end);
    }

    /// Voids the changes of a record that stays in the log: its call was superseded. A call that
    /// read them and is not sequenced yet conflicts.
    pub fn abandon(&self, position: u64) {
        self.inner.sequencer().abandon(position);
    }

    /// Gives up the changes of this place and all later ones: their records did not become durable,
    /// and the log gives the places anew.
    pub fn abandon_from(&self, position: u64) {
        self.inner.sequencer().abandon_from(position);
    }

    /// Applies changes of a durable record, in the order of the log: after a start.
    ///
    /// # Errors
    /// Places must grow.
    pub fn apply(&self, position: u64, changes: &Changes) -> Result<(), StageError> {
        let mut sequencer = self.inner.sequencer();
        self.inner.stage(&mut sequencer, position, changes)?;
        sequencer.confirm(position);
        Ok(())
    }

    /// The place of the log before which all changes are applied.
    pub fn applied(&self) -> u64 {
        self.inner.sequencer().applied()
    }

    /// Number of records whose changes are visible and not applied.
    pub fn waiting(&self) -> usize {
        self.inner.sequencer().waiting()
    }

    /// Writes what has changed to the disk view, and drops what has expired by `now` (milliseconds
    /// since 1970) from the next part of memory: all of it is looked at within 512 flushes. Calls go
    /// on meanwhile.
    ///
    /// # Errors
    /// The disk refused. The next flush tries again.
    pub fn flush(&self, now: u64) -> Result<Flushed, FlushError> {
        let mut flushing = self.inner.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        // All before this place is in the cells by now. Later changes may get into them while they
        // are written, and each cell says which.
        let applied = self.inner.sequencer().applied();
        let spaces = self.inner.all_spaces();
        let mut expired = 0;
        for space in &spaces {
            expired += space.sweep(flushing.sweep, now);
        }
        flushing.sweep = (flushing.sweep + 1) % SWEEP_PLACES;
        let mut dirty = Vec::new();
        spaces.iter().for_each(|space| space.take_dirty(&mut dirty));
        let written = self.inner.write(&mut flushing, &spaces, &dirty, applied);
        if let Err(error) = written {
            let by_id: HashMap<_, _> = spaces.iter().map(|space| (space.id, space)).collect();
            for (cell, new_key) in &dirty {
                if let Some(space) = by_id.get(&cell.namespace) {
                    space.write_again(cell, *new_key);
                }
            }
            return Err(error);
        }
        Ok(Flushed { cells: dirty.len() as u64, expired, applied })
    }

    /// Says what a namespace holds.
    pub fn usage(&self, namespace: &Namespace) -> Usage {
        let space = &namespace.space;
        let [subject, shared] = [Scope::Subject, Scope::Shared].map(|scope| space.used(scope));
        Usage { cells: space.cells(), subject, shared }
    }

    pub(super) fn keys(&self) -> &StoreKeys {
        &self.inner.keys
    }
}

impl Inner {
    fn sequencer(&self) -> MutexGuard<'_, Sequencer> {
        self.sequencer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_spaces(&self) -> Vec<Arc<Space>> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn space(&self, name: &NamespaceName) -> Result<Arc<Space>, TooManyNamespaces> {
        let id = name.id();
        if let Some(space) = self.spaces.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(space));
        }
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        let count = spaces.len();
        match spaces.entry(id) {
            Entry::Occupied(space) => Ok(Arc::clone(space.get())),
            Entry::Vacant(_) if count >= MAX_NAMESPACES => Err(TooManyNamespaces),
            Entry::Vacant(place) => {
                let space = Arc::new(Space::new(name.clone(), Quota::default()));
                Ok(Arc::clone(place.insert(space)))
            }
        }
    }

    fn validate(&self, sequencer: &Sequencer, changes: &Changes) -> Result<(), Conflict> {
        // A place of the log that was given up may be another record's by now, so that equal
        // versions no longer mean equal values.
        if !changes.checks.is_empty() && changes.life != sequencer.life() {
            return Err(Conflict::GivenUp);
        }
        let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
        for check in &changes.checks {
            let space = spaces.get(&check.cell.namespace);
            let item = space.and_then(|space| space.item(&check.cell, Kind::Value, &check.key));
            let version = match item {
                Some(Item::Value { expires_at, version, .. }) if expires_at > changes.now => {
                    Some(version)
                }
                _ => None,
            };
            if version != check.version {
                return Err(Conflict::Changed);
            }
        }
        for part in &changes.parts {
            let Part::Cells { name, sections, growth } = part else { continue };
            let Some(space) = spaces.get(&name.id()) else { continue };
            for section in sections {
                let key = space.key(&section.cell);
                if !section.fresh && key.is_none_or(|key| key != section.key) {
                    return Err(Conflict::KeyDestroyed);
                }
            }
            for (scope, growth) in [Scope::Subject, Scope::Shared].into_iter().zip(growth) {
                if growth.values && !space.fits(scope, growth.bytes, growth.entries) {
                    return Err(Conflict::Quota);
                }
            }
        }
        Ok(())
    }

    fn stage(
        &self,
        sequencer: &mut Sequencer,
        position: u64,
        changes: &Changes,
    ) -> Result<(), StageError> {
        sequencer.check(position)?;
        let mut staged = Vec::new();
        for part in &changes.parts {
            match part {
                Part::Cells { name, sections, .. } => {
                    let space = self.space(name)?;
                    for section in sections {
                        let (key, ops) = (section.key.clone(), Arc::clone(&section.ops));
                        let change = Change::Ops { key, ops };
                        staged.push((Arc::clone(&space), section.cell, change));
                    }
                }
                Part::Erase { tenant, owner } => {
                    for space in self.all_spaces() {
                        let (namespace, scope) = (space.id, Scope::Subject);
                        let cell = CellId { namespace, scope, owner: *owner };
                        if space.name.tenant() == &**tenant && space.has(&cell) {
                            staged.push((space, cell, Change::Erase));
                        }
                    }
                }
            }
        }
        let cells = staged.into_iter().map(|(space, cell, change)| {
            space.stage(&cell, position, change);
            (space, cell)
        });
        sequencer.stage(position, cells.collect());
        Ok(())
    }

    /// Writes rows, in batches. Only the last one says that all before `applied` is stored.
    fn write(
        &self,
        flushing: &mut Flushing,
        spaces: &[Arc<Space>],
        dirty: &[(CellId, bool)],
        applied: u64,
    ) -> Result<(), FlushError> {
        let by_id: HashMap<_, _> = spaces.iter().map(|space| (space.id, space)).collect();
        let new_spaces: Vec<_> =
            spaces.iter().filter(|space| !flushing.namespaces.contains(&space.id)).collect();
        if dirty.is_empty() && new_spaces.is_empty() && applied == flushing.applied {
            return Ok(());
        }
        let encoded = |space: &&Arc<Space>| {
            let mut name = Vec::new();
            space.name.write(&mut name);
            (space.id, name)
        };
        let mut namespaces: Vec<_> = new_spaces.iter().map(|space| encoded(space)).collect();
        let mut chunks = dirty.chunks(MAX_ROWS_PER_COMMIT).peekable();
        let mut is_first = true;
        while is_first || chunks.peek().is_some() {
            let mut rows = Vec::new();
            for (cell, new_key) in chunks.next().unwrap_or_default() {
                let Some(space) = by_id.get(&cell.namespace) else { continue };
                rows.push((cell.to_bytes(), self.row(space, cell, *new_key)?));
            }
            let is_last = chunks.peek().is_none();
            let batch = Batch {
                expected: flushing.version,
                applied: if is_last { applied } else { flushing.applied },
                key_check: self.keys.check().to_vec(),
                namespaces: std::mem::take(&mut namespaces),
                rows,
            };
            self.backend.commit(&batch)?;
            flushing.version += 1;
            flushing.namespaces.extend(batch.namespaces.iter().map(|(id, _)| *id));
            flushing.applied = batch.applied;
            is_first = false;
        }
        Ok(())
    }

    fn row(&self, space: &Space, cell: &CellId, new_key: bool) -> Result<RowChange, FlushError> {
        let Some((key, body)) = space.stored(cell) else { return Ok(RowChange::Delete) };
        let sealed = key.seal(cell, Purpose::Row, &body)?;
        let key = if new_key { Some(self.keys.wrap(cell, &key)?) } else { None };
        Ok(RowChange::Put { key, sealed })
    }
}

//! The memory of one host: opened from the disk view, read and changed in RAM, flushed back.
//!
//! Invariant: a read never touches the disk. Changes become visible when they get their place in
//! the log, in the order of the log, and are stored once the log has them durably. What is stored
//! may hold changes beyond the place that is stored with it; each cell knows which, so that nothing
//! is applied twice. Nothing here sleeps, has threads, or reads a clock.

use std::collections::hash_map::{Entry, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use portcullis_keys::SymmetricKey;

use super::backend::Backend;
use super::cell::{Cell, Item, Kind};
use super::changes::{Changes, Part, SealedChanges};
use super::codec::Reader;
use super::disk::DiskView;
use super::error::{
    BackendError, ChangesError, Conflict, OpenError, SequenceError, StageError, TooManyNamespaces,
};
use super::flush::Flushing;
use super::keys::{Purpose, StoreKeys};
use super::limits::{MAX_NAMESPACES, Quota};
use super::names::{CellId, NamespaceId, NamespaceName, Scope};
use super::namespace::Namespace;
use super::sequencer::Sequencer;
use super::space::{Change, Space};
use super::transaction::Transaction;

/// All memory of a host. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Memory {
    pub(super) inner: Arc<Inner>,
}

/// The result of opening memory.
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

pub(super) struct Inner {
    pub(super) keys: Arc<StoreKeys>,
    spaces: RwLock<HashMap<NamespaceId, Arc<Space>>>,
    sequencer: Mutex<Sequencer>,
    /// Grows when places are given up.
    life: AtomicU64,
    pub(super) backend: Box<dyn Backend>,
    pub(super) flushing: Mutex<Flushing>,
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
        let flushing = Flushing::new(&stored);
        let inner = Inner {
            keys,
            spaces: RwLock::new(spaces),
            sequencer: Mutex::new(Sequencer::new(stored.applied)),
            life: AtomicU64::new(0),
            backend,
            flushing: Mutex::new(flushing),
        };
        let opened = Opened { applied: stored.applied, cells, set_aside: None };
        Ok((Self { inner: Arc::new(inner) }, opened))
    }

    /// Begins a call's transaction. `now` is the time of the call, milliseconds since 1970.
    pub fn begin(&self, namespace: &Namespace, subject: Option<&str>, now: u64) -> Transaction {
        let life = self.inner.life();
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
        let life = self.inner.life();
        Changes { parts: vec![part], life, ..Changes::default() }
    }

    /// Checks that what a call has read is still so. Only values are checked: counters commute.
    /// A value may still change before the changes are staged; [`Memory::sequence`] does both at
    /// once.
    ///
    /// # Errors
    /// The call must be evaluated again.
    pub fn validate(&self, changes: &Changes) -> Result<(), Conflict> {
        let _ordered = self.inner.sequencer();
        self.inner.validate(changes)
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
        self.inner.validate(changes)?;
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
        self.inner.drain();
    }

    /// Notes that all records before `end` are durable. A place before it that has no changes by
    /// now has none.
    pub fn confirm_before(&self, end: u64) {
        self.inner.sequencer().confirm_before(end);
        self.inner.drain();
    }

    /// Voids the changes of a record that stays in the log: its call was superseded. A call that
    /// read them and is not sequenced yet conflicts. The place is confirmed like others. Returns
    /// `false` where there is nothing to void: the changes are applied already, and stay.
    #[must_use]
    pub fn abandon(&self, position: u64) -> bool {
        let mut sequencer = self.inner.sequencer();
        let was_waiting = sequencer.abandon(position);
        self.inner.next_life(&mut sequencer);
        was_waiting
    }

    /// Gives up the changes of this place and all later ones: their records did not become durable,
    /// and the log gives the places anew.
    pub fn abandon_from(&self, position: u64) {
        let mut sequencer = self.inner.sequencer();
        sequencer.abandon_from(position);
        self.inner.next_life(&mut sequencer);
    }

    /// Applies changes of a durable record, in the order of the log: after a start.
    ///
    /// # Errors
    /// Places must grow.
    pub fn apply(&self, position: u64, changes: &Changes) -> Result<(), StageError> {
        let mut sequencer = self.inner.sequencer();
        self.inner.stage(&mut sequencer, position, changes)?;
        sequencer.confirm(position);
        drop(sequencer);
        self.inner.drain();
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

    pub(super) fn keys(&self) -> &StoreKeys {
        &self.inner.keys
    }
}

impl Inner {
    pub(super) fn sequencer(&self) -> MutexGuard<'_, Sequencer> {
        self.sequencer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies what is confirmed. Between some records the lock is free, so that a call that gets
    /// its place does not wait for all of them.
    fn drain(&self) {
        while !self.sequencer().drain(DRAINED_AT_ONCE) {}
    }

    fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    /// Notes, under the lock of the order, that places were given up, even if nothing was staged at
    /// them: a place that is given anew is another record's. It comes after the changes were taken
    /// away, so that a call that could read them began in an earlier life.
    fn next_life(&self, _ordered: &mut Sequencer) {
        self.life.fetch_add(1, Ordering::Release);
    }

    pub(super) fn all_spaces(&self) -> Vec<Arc<Space>> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn space(&self, name: &NamespaceName) -> Result<Arc<Space>, TooManyNamespaces> {
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

    fn validate(&self, changes: &Changes) -> Result<(), Conflict> {
        // A place of the log that was given up may be another record's by now, so that equal
        // versions no longer mean equal values.
        if !changes.checks.is_empty() && changes.life != self.life() {
            return Err(Conflict::Abandoned);
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
}

/// Records that are applied while calls wait for the order: about 100 µs.
const DRAINED_AT_ONCE: usize = 16;

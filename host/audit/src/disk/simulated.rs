//! A disk that keeps only what was promised: after a power loss, what no finished `sync` covers is
//! gone, or there in part.
//!
//! Every 512-byte sector written since its file's last `sync`, every change of a length, and every
//! name changed since its directory's last `sync_dir` survives or not by itself, as a seeded
//! generator decides. Renames happen whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Lock};
use portcullis_tlog::{Source, SourceFile};

/// The fate of bytes and names that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The process ended; the kernel keeps all.
    Nothing,
    /// All of it is gone.
    All,
    /// Any part of it is gone.
    Some,
}

/// The resource that the disk has none of at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    /// Room: what makes a file longer or adds a name fails. Of a disk that never writes in place,
    /// every write.
    Room {
        in_place: bool,
    },
    /// Descriptors: nothing can be opened.
    Descriptors,
}

#[derive(Clone, Debug)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: Vec<Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
    operations: u64,
    /// From this operation on nothing works any more.
    dies_at: u64,
    /// This one operation fails.
    fails_at: u64,
    want: Want,
    /// No file can be written beyond this.
    limit: u64,
    random: Random,
    locked: bool,
}

#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Dir {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Node {
    File(usize),
    Dir,
}

#[derive(Clone, Debug)]
enum Change {
    Set(String, Node),
    Remove(String),
    Rename(String, String),
}

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

impl SimulatedDisk {
    /// An empty disk with the directory `/`.
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            files: Vec::new(),
            dirs: BTreeMap::from([(PathBuf::from("/"), Dir::default())]),
            operations: 0,
            dies_at: u64::MAX,
            fails_at: u64::MAX,
            want: Want::Nothing,
            limit: u64::MAX,
            random: Random(seed),
            locked: false,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk hangs until this is dropped: no operation ends.
    pub(crate) fn hang(&self) -> impl Sized + '_ {
        self.state()
    }

    /// Number of changing operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk dies at the `count`-th changing operation from now, which may take effect in part.
    pub(crate) fn die_after(&self, count: u64) {
        let mut state = self.state();
        state.dies_at = state.operations.saturating_add(count);
    }

    /// The `count`-th changing operation from now fails; those after it work.
    pub(crate) fn fail_after(&self, count: u64) {
        let mut state = self.state();
        state.fails_at = state.operations.saturating_add(count);
    }

    /// From now on the disk wants this.
    pub(crate) fn wants(&self, want: Want) {
        self.state().want = want;
    }

    /// No file can be written beyond so many bytes.
    pub(crate) fn limit(&self, bytes: u64) {
        self.state().limit = bytes;
    }

    fn can_open(&self) -> io::Result<()> {
        match self.state().want {
            Want::Descriptors => Err(io::Error::from_raw_os_error(24)),
            _ => Ok(()),
        }
    }

    fn has_room(&self) -> io::Result<()> {
        match self.state().want {
            Want::Room { .. } => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// Whether it died.
    pub(crate) fn is_dead(&self) -> bool {
        let state = self.state();
        state.operations > state.dies_at
    }

    /// Ends all processes, and comes back with what survived.
    pub(crate) fn restart(&self, loss: Loss) {
        let state = &mut *self.state();
        state.locked = false;
        (state.dies_at, state.fails_at, state.want) = (u64::MAX, u64::MAX, Want::Nothing);
        if loss == Loss::Nothing {
            return;
        }
        let random = &mut state.random;
        let mut survives = || loss == Loss::Some && random.below(2) == 0;
        for file in &mut state.files {
            let mut after = std::mem::take(&mut file.durable);
            if file.now.len() < after.len() && survives() {
                after.truncate(file.now.len());
            }
            for sector in std::mem::take(&mut file.dirty) {
                if survives() {
                    copy_sector(&file.now, &mut after, sector);
                }
            }
            if file.now.len() > after.len() && survives() {
                after.resize(file.now.len(), 0);
            }
            file.now = after.clone();
            file.durable = after;
        }
        for dir in state.dirs.values_mut() {
            for change in std::mem::take(&mut dir.pending) {
                if survives() {
                    change.apply(&mut dir.durable);
                }
            }
            dir.now = dir.durable.clone();
        }
        let lost: Vec<_> = state.dirs.keys().filter(|dir| !state.reachable(dir)).cloned().collect();
        lost.iter().for_each(|dir| drop(state.dirs.remove(dir)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a changing operation. Returns whether it takes effect, and whether it then reports
    /// success.
    fn count(state: &mut State) -> (bool, bool) {
        let this = state.operations;
        state.operations += 1;
        if this == state.fails_at {
            return (state.random.below(2) == 0, false);
        }
        (
            this < state.dies_at || (this == state.dies_at && state.random.below(2) == 0),
            this < state.dies_at,
        )
    }

    fn change(&self, path: &Path, change: Change) -> io::Result<()> {
        let mut state = self.state();
        let (effect, success) = Self::count(&mut state);
        let dir = state.dir(path.parent().unwrap())?;
        if effect {
            change.apply(&mut dir.now);
            dir.pending.push(change);
        }
        if success { Ok(()) } else { Err(dead()) }
    }
}

impl State {
    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        self.dirs.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        let dir = self.dirs.get(path.parent().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        dir.now.get(&name(path)).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn reachable(&self, dir: &Path) -> bool {
        match dir.parent() {
            None => true,
            Some(_) => {
                matches!(self.node(dir), Ok(Node::Dir)) && self.reachable(dir.parent().unwrap())
            }
        }
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Set(name, node) => drop(names.insert(name.clone(), node.clone())),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl Source for SimulatedDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn SourceFile>> {
        Ok(self.open(path)?)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.can_open()?;
        let state = self.state();
        match state.node(path)? {
            Node::File(inode) => Ok(state.files[inode].now.clone()),
            Node::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.can_open()?;
        Ok(self.state().dir(dir)?.now.keys().cloned().collect())
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.can_open()?;
        match self.state().node(path)? {
            Node::File(inode) => Ok(Box::new(SimulatedFile { disk: self.clone(), inode })),
            Node::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.can_open()?;
        let known = self.state().node(path);
        if known.is_err() {
            self.has_room()?;
        }
        if let Ok(Node::File(inode)) = known {
            let mut state = self.state();
            let (effect, success) = Self::count(&mut state);
            if effect {
                state.files[inode].now.clear();
                state.files[inode].dirty.clear();
            }
            return if success {
                Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
            } else {
                Err(dead())
            };
        }
        let inode = {
            let mut state = self.state();
            state.files.push(Inode::default());
            state.files.len() - 1
        };
        self.change(path, Change::Set(name(path), Node::File(inode)))?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if matches!(self.state().node(path), Ok(Node::Dir)) {
            return Ok(());
        }
        self.has_room()?;
        self.state().dirs.entry(path.to_owned()).or_default();
        self.change(path, Change::Set(name(path), Node::Dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent());
        self.change(from, Change::Rename(name(from), name(to)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().node(path)?;
        self.change(path, Change::Remove(name(path)))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        assert!(self.list(path)?.is_empty());
        self.change(path, Change::Remove(name(path)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.can_open()?;
        let mut state = self.state();
        let (effect, success) = Self::count(&mut state);
        let dir = state.dir(dir)?;
        if effect {
            dir.durable = dir.now.clone();
            dir.pending.clear();
        }
        if success { Ok(()) } else { Err(dead()) }
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Lock>> {
        let taken = std::mem::replace(&mut self.state().locked, true);
        if taken {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(Box::new(SimulatedLock(self.clone())))
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

impl SourceFile for SimulatedFile {
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let state = self.disk.state();
        let start = usize::try_from(position).unwrap();
        let content = state.files[self.inode].now.get(start..start + bytes.len());
        bytes.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.inode].now.len() as u64)
    }
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        if position + bytes.len() as u64 > state.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let longer = position + bytes.len() as u64 > state.files[self.inode].now.len() as u64;
        match state.want {
            Want::Room { in_place } if in_place || longer => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            _ => {}
        }
        let (effect, success) = SimulatedDisk::count(&mut state);
        let file = &mut state.files[self.inode];
        if effect && !bytes.is_empty() {
            let start = usize::try_from(position).unwrap();
            let end = start + bytes.len();
            if file.now.len() < end {
                file.now.resize(end, 0);
            }
            file.now[start..end].copy_from_slice(bytes);
            file.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        }
        if success { Ok(()) } else { Err(dead()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let (effect, success) = SimulatedDisk::count(&mut state);
        let file = &mut state.files[self.inode];
        // A sync that fails may have dropped the pages: a second one would succeed without having
        // written them.
        let dirty = std::mem::take(&mut file.dirty);
        if effect {
            file.durable.truncate(file.now.len());
            dirty.iter().for_each(|sector| copy_sector(&file.now, &mut file.durable, *sector));
            file.durable.resize(file.now.len(), 0);
        }
        if success { Ok(()) } else { Err(dead()) }
    }
}

#[derive(Debug)]
struct SimulatedLock(SimulatedDisk);

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let start = sector * SECTOR;
    let end = from.len().min(start + SECTOR);
    if start < end {
        if to.len() < end {
            to.resize(end, 0);
        }
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn dead() -> io::Error {
    io::Error::other("the disk failed")
}

const SECTOR: usize = 512;

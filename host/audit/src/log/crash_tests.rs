//! Many histories, each cut off at a random operation or at every one: what was promised is there
//! afterwards, the log verifies, and goes on.
//!
//! The histories drive the log's parts without its threads, so that a seed gives the same
//! operations every time.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::tests::{entry, key, options, still};
use super::*;
use crate::change_store::ChangeStore;
use crate::disk::simulated::{Loss, Random, SimulatedDisk};
use crate::seal::Sealed;
use crate::views::Views;
use crate::writer::Committed;
use portcullis_tlog::Source as _;
use portcullis_tlog::checkpoint::Checkpoint;
use portcullis_tlog::frame::{Sequenced, frame_bytes};
use portcullis_tlog::tiles::TileReader;
use portcullis_tlog::tree::{Hash, leaf_hash};
use portcullis_tlog::verify::{VerifyOptions, verify};

/// A host that appends, is cut off and comes back.
struct Host {
    disk: SimulatedDisk,
    random: Random,
    commit: Commit,
    /// Leaf hashes of the records whose receipts were given, by place.
    promised: Vec<Hash>,
    /// With commits to the kernel: all before this were synced.
    synced: u64,
    /// Every checkpoint that was ever published.
    heads: Vec<Vec<u8>>,
    lives: u64,
    store: Arc<Store>,
}

/// A store of changes: each record whose place is a multiple of three brings its own leaf hash.
#[derive(Default)]
struct Store(Mutex<StoreState>);

#[derive(Default)]
struct StoreState {
    /// All changes before this place survive whatever happens.
    stored: u64,
    changes: BTreeMap<u64, Vec<u8>>,
}

impl Store {
    /// Stores all changes before `end`, of those that were made since.
    fn flush(&self, end: u64, made: &BTreeMap<u64, Vec<u8>>) {
        let mut state = self.0.lock().unwrap();
        let new = made.range(state.stored..end.max(state.stored));
        let new: Vec<_> = new.map(|(index, changes)| (*index, changes.clone())).collect();
        state.changes.extend(new);
        state.stored = state.stored.max(end);
    }
}

impl ChangeStore for Store {
    fn stored(&self) -> u64 {
        self.0.lock().unwrap().stored
    }

    fn recover(&self, index: u64, changes: &[u8]) {
        let mut state = self.0.lock().unwrap();
        assert!(index >= state.stored);
        // A start that was cut off has recovered some already.
        let last = state.changes.insert(index, changes.to_vec());
        assert!(last.is_none_or(|last| last == changes), "record {index} changed");
    }

    fn recovered(&self, end: u64, missing: Option<(u64, u64)>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        assert_eq!(missing, None, "up to {end}, stored {}", state.stored);
        state.stored = end;
        Ok(())
    }

    fn abandon_from(&self, _: u64) {}
}

/// Why a life ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Died,
    Lived,
}

impl Host {
    fn new(seed: u64, commit: Commit) -> Self {
        let (promised, heads) = (Vec::new(), Vec::new());
        Self {
            disk: SimulatedDisk::new(seed),
            random: Random(seed ^ 0xabcd),
            commit,
            promised,
            synced: 0,
            heads,
            lives: 0,
            store: Arc::default(),
        }
    }

    fn options(&self) -> Options {
        // Six blocks a segment: every few commits roll.
        let change_store: Option<Arc<dyn ChangeStore>> = Some(Arc::clone(&self.store) as _);
        let (segment_bytes, commit) = (6 * 4096, self.commit);
        Options { segment_bytes, commit, change_store, ..options(Path::new("/log")) }
    }

    /// Opens the log, checks it against the promises, does `steps` things; any of it may be cut
    /// off.
    fn live(&mut self, steps: u64) -> End {
        self.lives += 1;
        let core = match Core::open(Arc::new(self.disk.clone()), &self.options()) {
            Ok(core) => core,
            Err(error) => {
                assert!(self.disk.is_dead(), "not opened: {error}");
                self.keep_head();
                return End::Died;
            }
        };
        self.check(&core);
        let Core { lock, mut wal, pool, mut views, ring, .. } = core;
        let durable = wal.durable();
        let mut waiting: Vec<Committed> = Vec::new();
        let mut next = views.size();
        let mut made = BTreeMap::new();
        let store = Arc::clone(&self.store);
        let mut step = |host: &mut Self| -> io::Result<()> {
            let publish = |views: &mut Views, waiting: &mut Vec<Committed>, take: usize| {
                for committed in waiting.drain(..take.min(waiting.len())) {
                    committed.apply(views, &mut Vec::new())?;
                }
                durable.sync()?;
                let published = views.publish()?;
                pool.release(published.min(store.stored()));
                pool.top_up()
            };
            match host.random.below(15) {
                14 => {
                    durable.sync()?;
                    store.flush(durable.before(), &made);
                }
                0 => publish(&mut views, &mut waiting, usize::MAX)?,
                1 => {
                    let some = host.random.below(waiting.len() as u64 + 1) as usize;
                    publish(&mut views, &mut waiting, some)?;
                }
                2 => durable.sync()?,
                _ => {
                    let batch: Vec<_> =
                        (0..1 + host.random.below(5)).map(|n| host.record(next + n)).collect();
                    if !wal.make_room(frame_bytes(&batch), false) {
                        durable.sync()?;
                        store.flush(durable.before(), &made);
                        publish(&mut views, &mut waiting, usize::MAX)?;
                        assert!(wal.make_room(frame_bytes(&batch), false), "no segment was freed");
                    }
                    let place = wal.write(&batch)?;
                    let changes =
                        |record: &Sequenced| Some((record.index, record.changes.clone()?));
                    made.extend(batch.iter().filter_map(changes));
                    if host.commit == Commit::Disk {
                        durable.sync()?;
                    }
                    next += batch.len() as u64;
                    let hashes: Vec<_> = batch.iter().map(|record| record.hash).collect();
                    host.promised.extend(&hashes);
                    waiting.push(Committed { place, hashes });
                }
            }
            Ok(())
        };
        let died = (0..steps).any(|_| {
            let failed = step(self).is_err();
            self.synced = durable.before();
            failed
        });
        if !died && self.random.below(2) == 0 {
            let closed = ring.close();
            assert!(closed.is_ok() || self.disk.is_dead());
        }
        drop(lock);
        self.keep_head();
        if died { End::Died } else { End::Lived }
    }

    /// The power goes, or only the process.
    fn crash(&mut self) {
        let loss =
            [Loss::Nothing, Loss::All, Loss::Some, Loss::Some][self.random.below(4) as usize];
        self.disk.restart(loss);
        if self.commit == Commit::Kernel && loss != Loss::Nothing {
            // Nothing was promised for a power loss but what was synced or what a checkpoint
            // covers.
            let kept = self.head().map_or(0, |head| head.size).max(self.synced);
            self.promised.truncate(usize::try_from(kept).unwrap());
        }
    }

    fn check(&mut self, core: &Core) {
        let size = core.views.size();
        assert!(
            size >= self.promised.len() as u64,
            "{} promised, {size} there",
            self.promised.len()
        );
        let tiles = TileReader::new(&self.disk, Path::new("/log/log"), size);
        for (index, hash) in self.promised.iter().enumerate() {
            assert_eq!(leaf_hash(&tiles.entry(index as u64).unwrap()), *hash, "record {index}");
        }
        let store = self.store.0.lock().unwrap();
        for index in (0..size).filter(|index| index.is_multiple_of(3)) {
            let hash = leaf_hash(&tiles.entry(index).unwrap());
            assert_eq!(store.changes.get(&index), Some(&hash.to_vec()), "changes of {index}");
        }
        drop(store);
        // What was found beyond the promises is part of history from now on.
        for index in self.promised.len() as u64..size {
            self.promised.push(leaf_hash(&tiles.entry(index).unwrap()));
        }
        self.keep_head();
    }

    fn head(&self) -> Option<Checkpoint> {
        let note = self.disk.read(Path::new("/log/log/checkpoint")).ok()?;
        Some(Checkpoint::verify(&note, key().public()).unwrap())
    }

    fn keep_head(&mut self) {
        if let Ok(note) = self.disk.read(Path::new("/log/log/checkpoint"))
            && self.heads.last() != Some(&note)
        {
            self.heads.push(note);
        }
    }

    fn record(&self, index: u64) -> Sequenced {
        let made = entry(index);
        let sealed = made.sealed.map(|plain| {
            let blob = [&plain[..], &self.lives.to_be_bytes()].concat().repeat(40);
            Sealed { blob, key: crate::seal::KeyId([0; 16]) }
        });
        let fields = format!("{},\"life\":{}", made.fields, self.lives);
        let leaf = Body::new(&fields, sealed.as_ref()).unwrap().leaf(
            index,
            made.kind,
            &Tenant::new("default"),
            index.into(),
        );
        let hash = leaf_hash(&leaf);
        let changes = index.is_multiple_of(3).then(|| hash.to_vec());
        Sequenced { index, hash, leaf, sealed: sealed.map(|sealed| sealed.blob), changes }
    }

    /// At the end everything is there, fits together, and continues every checkpoint that was ever
    /// seen.
    fn finish(mut self) {
        assert_eq!(self.live(6), End::Lived);
        let core = Core::open(Arc::new(self.disk.clone()), &self.options()).unwrap();
        self.check(&core);
        for head in self.heads.iter().rev().take(12) {
            let options = VerifyOptions { retained: Some(head), sealed: true, seal_key: None };
            let verified = verify(&self.disk, Path::new("/log"), key().public(), &options);
            let summary = verified.unwrap_or_else(|damage| panic!("{damage:#?}"));
            assert_eq!(summary.head.size, core.views.size());
        }
    }
}

#[test]
fn cut_off_at_random_again_and_again() {
    for commit in [Commit::Disk, Commit::Kernel] {
        for seed in 0..150 {
            let mut host = Host::new(seed, commit);
            for _ in 0..6 {
                let until = host.random.below(160);
                host.disk.die_after(until);
                let steps = 4 + host.random.below(40);
                host.live(steps);
                host.crash();
            }
            host.finish();
        }
    }
}

#[test]
fn cut_off_at_every_operation() {
    for seed in 1000..1004 {
        for commit in [Commit::Disk, Commit::Kernel] {
            let whole = Host::new(seed, commit);
            let disk = whole.disk.clone();
            whole.lived(40);
            let operations = disk.operations();
            assert!(operations > 60);
            for operation in 0..operations {
                let mut host = Host::new(seed, commit);
                host.disk.die_after(operation);
                host.live(40);
                host.crash();
                host.finish();
            }
        }
    }
}

impl Host {
    /// A life that nothing cuts off.
    fn lived(mut self, steps: u64) {
        assert_eq!(self.live(steps), End::Lived);
    }
}

#[test]
fn with_its_threads_a_dying_disk_breaks_no_promise() {
    for seed in 0..24u64 {
        // Every third time the callers commit by their own hand, and only the process goes.
        let (commit, loss) = if seed % 3 == 0 {
            (Commit::Kernel, Loss::Nothing)
        } else {
            (Commit::Disk, Loss::Some)
        };
        let disk = SimulatedDisk::new(seed);
        let options = || Options { commit, ..options(Path::new("/log")) };
        let (log, _) = Log::open_on(Arc::new(disk.clone()), options()).unwrap();
        disk.die_after(seed * 7);
        let mut given = Vec::new();
        for n in 0..2000 {
            let Ok(pending) = log.commit(entry(n)) else { break };
            let index = pending.index;
            match pending.wait() {
                Ok(receipt) => given.push(receipt),
                Err(error) => {
                    assert!(error.0.contains("the disk failed"), "{error}");
                    assert!(index >= given.len() as u64);
                    break;
                }
            }
        }
        let stopped = log.close().unwrap_err();
        assert_eq!(stopped.code(), "log-stopped");
        assert!(log.health().stopped.is_some());
        assert_eq!(log.append(entry(0)).unwrap_err().code(), "log-stopped");
        drop(log);
        disk.restart(loss);
        let (log, recovery) = Log::open_on(Arc::new(disk.clone()), options()).unwrap();
        assert!(recovery.unclean && recovery.size >= given.len() as u64);
        let tiles = TileReader::new(&disk, Path::new("/log/log"), recovery.size);
        given.iter().for_each(|receipt| {
            assert_eq!(leaf_hash(&tiles.entry(receipt.index).unwrap()), receipt.leaf_hash)
        });
        assert_eq!(log.append(entry(0)).unwrap().wait().unwrap().index, recovery.size);
        log.close().unwrap();
        let options = VerifyOptions { sealed: true, ..VerifyOptions::default() };
        assert!(verify(&disk, Path::new("/log"), key().public(), &options).is_ok());
    }
}

#[test]
fn one_failed_sync_ends_the_log_for_good() {
    let disk = SimulatedDisk::new(1);
    let (log, _) = Log::open_on(Arc::new(disk.clone()), options(Path::new("/log"))).unwrap();
    let first = log.append(entry(0)).unwrap().wait().unwrap();
    log.flush_checkpoint().unwrap();
    // Write, then sync: the sync fails, and would succeed if it were tried again.
    disk.fail_after(1);
    let error = log.append(entry(1)).unwrap().wait().unwrap_err();
    assert_eq!(error.code(), "record-not-durable");
    assert_eq!(log.append(entry(2)).unwrap_err().code(), "log-stopped");
    assert_eq!(log.flush_checkpoint().unwrap_err().code(), "log-stopped");
    drop(log);
    disk.restart(Loss::All);
    let (log, recovery) = Log::open_on(Arc::new(disk), options(Path::new("/log"))).unwrap();
    assert_eq!((first.index, recovery.size), (0, 1));
    assert_eq!(log.append(entry(1)).unwrap().wait().unwrap().index, 1);
}

#[test]
fn a_disk_that_hangs_holds_neither_who_waits_for_a_record_nor_the_end_of_the_log() {
    for commit in [Commit::Disk, Commit::Kernel] {
        let disk = SimulatedDisk::new(1);
        let options = || Options { commit, monotonic: still(), ..options(Path::new("/log")) };
        let (log, _) = Log::open_on(Arc::new(disk.clone()), options()).unwrap();
        log.append(entry(0)).unwrap().wait().unwrap();
        let hangs = disk.hang();
        // One that the writer commits, and one that the waiting thread could commit by its own
        // hand.
        for pending in [log.append(entry(1)).unwrap(), log.commit(entry(2)).unwrap()] {
            let late = pending.wait_within(Duration::ZERO).unwrap_err();
            assert_eq!(late.code(), "record-not-durable");
            assert!(late.to_string().contains("within 0 ms"), "{late}");
        }
        for _ in 0..2 {
            let late = log.close_within(Duration::ZERO).unwrap_err();
            assert_eq!(late.code(), "log-not-closed");
            assert!(late.hint().is_some());
        }
        assert_eq!(log.append(entry(3)).unwrap_err().code(), "log-stopped");
        // Once the disk answers nothing is missing, and the end is an orderly one.
        drop(hangs);
        log.close().unwrap();
        let (log, recovery) = Log::open_on(Arc::new(disk.clone()), options()).unwrap();
        assert_eq!((recovery.unclean, recovery.size), (false, 3));

        // Threads that do not end keep the directory until they have.
        let hangs = disk.hang();
        log.append(entry(3)).unwrap();
        assert!(log.close_within(Duration::ZERO).is_err());
        drop(log);
        drop(hangs);
        let begun = Instant::now();
        let (log, recovery) = loop {
            match Log::open_on(Arc::new(disk.clone()), options()) {
                Ok(opened) => break opened,
                Err(error) => assert_eq!(error.code(), "log-in-use"),
            }
            assert!(begun.elapsed() < MAX_CLOSE_WAIT, "the threads never ended");
            thread::yield_now();
        };
        assert_eq!((recovery.unclean, recovery.size), (true, 4), "recovered as after a crash");
        log.close().unwrap();
    }
}

/// Writes record `index` as a commit of its own, on the real file system.
fn commit(core: &mut Core, index: u64, sync: bool) {
    let record = Host::new(0, Commit::Disk).record(index);
    assert!(core.wal.make_room(frame_bytes(std::slice::from_ref(&record)), false));
    core.wal.write(&[record]).unwrap();
    if sync {
        core.wal.durable().sync().unwrap();
    }
}

/// The segment that is not empty.
fn written_segment(dir: &Path) -> std::path::PathBuf {
    let segments = ["0000.segment", "0001.segment"].map(|name| dir.join("wal").join(name));
    let written = segments
        .into_iter()
        .find(|path| std::fs::read(path).unwrap().iter().any(|byte| *byte != 0));
    written.unwrap()
}

#[test]
fn a_checkpoint_that_somebody_saw_is_never_contradicted() {
    // The process is killed between a write and its sync; the next start publishes the record and
    // is cut off by the power; after that the log goes on. Whoever kept the checkpoint of the
    // second start must find it continued.
    for operation in 0..60 {
        let mut host = Host::new(operation, Commit::Disk);
        let mut core = Core::open(Arc::new(host.disk.clone()), &host.options()).unwrap();
        core.wal.write(&[host.record(0)]).unwrap();
        drop(core);
        host.disk.restart(Loss::Nothing);
        host.disk.die_after(operation);
        drop(Core::open(Arc::new(host.disk.clone()), &host.options()));
        host.keep_head();
        host.disk.restart(Loss::All);
        host.finish();
    }
}

#[test]
fn what_a_power_loss_tore_out_never_comes_back_between_later_records() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        || Options { segment_bytes: 64 * 4096, commit: Commit::Kernel, ..options(dir.path()) };
    let mut core = Core::open(Arc::new(OsDisk), &options()).unwrap();
    (0..3).for_each(|index| commit(&mut core, index, false));
    drop(core);
    // Of three commits that were not synced, the second did not survive.
    let segment = written_segment(dir.path());
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096..8192].fill(0);
    std::fs::write(&segment, bytes).unwrap();
    let mut core = Core::open(Arc::new(OsDisk), &options()).unwrap();
    assert_eq!(core.recovery.size, 1);
    assert!(core.recovery.truncated_bytes > 0);
    commit(&mut core, 1, false);
    drop(core);
    for _ in 0..2 {
        // Record 2 of the first life would follow record 1 of the second.
        assert_eq!(Core::open(Arc::new(OsDisk), &options()).unwrap().recovery.size, 2);
    }
}

#[test]
fn a_hole_in_what_was_durable_is_damage_and_not_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { segment_bytes: 64 * 4096, ..options(dir.path()) };
    let mut core = Core::open(Arc::new(OsDisk), &options()).unwrap();
    (0..3).for_each(|index| commit(&mut core, index, true));
    drop(core);
    let segment = written_segment(dir.path());
    let good = std::fs::read(&segment).unwrap();
    let open_with = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&segment, bad).unwrap();
        Core::open(Arc::new(OsDisk), &options()).map(|core| core.recovery)
    };
    // The first two commits were durable when the third was written: a change in either is damage.
    for at in [0, 20, 100, 4096, 4096 + 100] {
        assert_eq!(open_with(at).unwrap_err().code(), "log-write-ahead", "{at}");
    }
    // The last commit cannot be told from one that was cut off.
    let recovery = open_with(2 * 4096 + 100).unwrap();
    assert_eq!((recovery.size, recovery.unclean), (2, true));
    assert!(recovery.truncated_bytes > 0);
}

//! The log as its callers see it, on the real file system.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use portcullis_keys::{SecretKey, SymmetricKey};

use super::*;
use crate::seal::{SealKey, open_sealed};
use crate::{CheckpointEvery, Monotonic};
use portcullis_tlog::checkpoint::Checkpoint;
use portcullis_tlog::record::Record;
use portcullis_tlog::tiles::TileReader;
use portcullis_tlog::tree::{Frontier, leaf_hash};

pub(crate) fn key() -> SecretKey {
    SecretKey::from_seed("log.example/2026", &[7; 32]).unwrap()
}

pub(crate) fn seal_key() -> SealKey {
    SealKey::new(SymmetricKey::from_bytes([9; 32]))
}

/// Options with a clock that counts by itself.
pub(crate) fn options(dir: &Path) -> Options {
    let ticks = AtomicU64::new(1_790_000_000_000);
    let clock = Arc::new(move || ticks.fetch_add(1, Ordering::Relaxed).into());
    let options = Options::new(
        dir.to_owned(),
        "default".into(),
        Arc::new(key()),
        Sealer::new(seal_key()),
        clock,
    );
    Options { segment_bytes: 2 << 20, ..options }
}

/// A monotonic clock that stands still: no checkpoint is due by time, and no sync counts as
/// hanging.
pub(crate) fn still() -> Monotonic {
    let start = Instant::now();
    Arc::new(move || start)
}

pub(crate) fn entry(n: u64) -> Entry {
    let sealed = (!n.is_multiple_of(3)).then(|| format!("who {n}").into_bytes());
    Entry {
        kind: "hook.decision",
        fields: format!(r#""n":{n},"pad":"{}""#, "x".repeat((n % 700) as usize)),
        sealed,
    }
}

fn head(dir: &Path) -> Checkpoint {
    Checkpoint::verify(&std::fs::read(dir.join("log/checkpoint")).unwrap(), key().public()).unwrap()
}

fn leaves(dir: &Path) -> Vec<Vec<u8>> {
    let head = head(dir);
    let tiles = TileReader::new(&OsDisk, &dir.join("log"), head.size);
    let leaves: Vec<_> = (0..head.size).map(|index| tiles.entry(index).unwrap()).collect();
    let mut tree = Frontier::default();
    leaves.iter().for_each(|leaf| tree.push(leaf_hash(leaf)));
    assert_eq!(tree.root(), head.root);
    leaves
}

#[test]
fn receipts_come_true() {
    for commit in [Commit::Disk, Commit::Kernel] {
        let dir = tempfile::tempdir().unwrap();
        let (log, recovery) = Log::open(Options { commit, ..options(dir.path()) }).unwrap();
        let fresh =
            Recovery { unclean: false, replayed: 0, truncated_bytes: 0, owed: vec![], size: 0 };
        assert_eq!(recovery, fresh);
        let receipts = thread::scope(|scope| {
            let append = |thread: u64| {
                (0..200)
                    .map(|n| log.append(entry(thread * 200 + n)).unwrap().wait().unwrap())
                    .collect()
            };
            let threads: Vec<_> =
                (0..4).map(|thread| scope.spawn(move || -> Vec<_> { append(thread) })).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(log.flush_checkpoint().unwrap(), 800);
        let health = log.health();
        assert_eq!(
            (health.stopped, health.next, health.published, health.queued),
            (None, 800, 800, 0)
        );
        log.close().unwrap();
        let leaves = leaves(dir.path());
        assert_eq!(leaves.len(), 800);
        for receipt in receipts {
            let leaf = &leaves[receipt.index as usize];
            assert_eq!(leaf_hash(leaf), receipt.leaf_hash);
            let record = Record::parse(leaf).unwrap();
            assert_eq!((record.seq, record.tenant.as_str()), (receipt.index, "default"));
            let blob = portcullis_tlog::sealed_files::SealedReader::new(
                &OsDisk,
                &dir.path().join("sealed"),
            )
            .read(receipt.index)
            .unwrap();
            assert_eq!(record.sealed.is_some(), blob.is_some());
            if let Some(blob) = blob {
                assert!(record.commits_to(&blob));
                let plain = open_sealed(&seal_key(), "default", &record.kind, &blob).unwrap();
                assert!(plain.starts_with(b"who "));
            }
        }
        let (again, recovery) = Log::open(Options { commit, ..options(dir.path()) }).unwrap();
        assert_eq!(recovery, Recovery { size: 800, ..fresh });
        assert_eq!(again.append(entry(0)).unwrap().wait().unwrap().index, 800);
    }
}

#[test]
fn times_never_run_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let times = [5u64, 9, 3, 4, 10];
    let at = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&at);
    let clock = Arc::new(move || times[shared.fetch_add(1, Ordering::Relaxed) as usize % 5].into());
    let (log, _) = Log::open(Options { clock: clock.clone(), ..options(dir.path()) }).unwrap();
    (0..3).for_each(|n| assert!(log.append(entry(n)).unwrap().wait().is_ok()));
    log.close().unwrap();
    let (log, _) = Log::open(Options { clock, ..options(dir.path()) }).unwrap();
    (0..2).for_each(|n| assert!(log.append(entry(n)).unwrap().wait().is_ok()));
    log.close().unwrap();
    let ats: Vec<_> =
        leaves(dir.path()).iter().map(|leaf| Record::parse(leaf).unwrap().at).collect();
    assert_eq!(ats, [5, 9, 9, 9, 10]);
}

#[test]
fn only_the_record_of_a_time_reset_has_an_earlier_time() {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicU64::new(1_860_000_000_000));
    let clock = {
        let at = Arc::clone(&at);
        Arc::new(move || at.load(Ordering::Relaxed).into())
    };
    let (log, _) = Log::open(Options { clock: clock.clone(), ..options(dir.path()) }).unwrap();
    assert!(log.append(entry(0)).unwrap().wait().is_ok());
    let reset = || at.store(1_790_000_000_000, Ordering::Relaxed);
    assert!(log.append_reset(entry(1), reset).is_err(), "it has a type of its own");
    assert_eq!(at.load(Ordering::Relaxed), 1_860_000_000_000, "nothing was changed");
    let entry_of = |kind| Entry { kind, fields: String::new(), sealed: None };
    assert!(log.append_reset(entry_of(TIME_RESET), reset).unwrap().wait().is_ok());
    assert!(log.append(entry(2)).unwrap().wait().is_ok());
    assert_eq!(log.last_at(), 1_790_000_000_000);
    log.close().unwrap();
    let ats: Vec<_> =
        leaves(dir.path()).iter().map(|leaf| Record::parse(leaf).unwrap().at).collect();
    assert_eq!(ats, [1_860_000_000_000, 1_790_000_000_000, 1_790_000_000_000]);
    let public = key();
    let whole = portcullis_tlog::verify::verify(
        &OsDisk,
        dir.path(),
        public.public(),
        &portcullis_tlog::verify::VerifyOptions::default(),
    );
    assert!(whole.is_ok(), "{whole:?}");
    // Readers find records by time on both sides of it.
    let seen = |since, until| {
        let filter = portcullis_tlog::query::Filter { since, until, ..Default::default() };
        let mut seen = Vec::new();
        let each = |shown: portcullis_tlog::query::QueryRow| {
            seen.push(shown.verified.record().seq);
            true
        };
        portcullis_tlog::query::query(&OsDisk, dir.path(), public.public(), &filter, None, each)
            .unwrap();
        seen
    };
    assert_eq!(seen(Some(1_800_000_000_000), None), [0]);
    assert_eq!(seen(None, Some(1_800_000_000_000)), [1, 2]);
    assert_eq!(seen(Some(1_700_000_000_000), Some(1_900_000_000_000)), [0, 1, 2]);
    // The next start goes on from the new time.
    let (log, _) = Log::open(Options { clock, ..options(dir.path()) }).unwrap();
    assert_eq!(log.last_at(), 1_790_000_000_000);
    log.close().unwrap();
}

#[test]
fn segments_roll_and_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    // Each sealed part fills a fifth of a segment: 60 of them roll a dozen times.
    for n in 0..60u64 {
        let big = Entry { sealed: Some(vec![n as u8; 400 << 10]), ..entry(n) };
        log.append(big).unwrap().wait().unwrap();
        if n % 5 == 4 {
            log.flush_checkpoint().unwrap();
        }
    }
    log.close().unwrap();
    assert_eq!(leaves(dir.path()).len(), 60);
    let segments = std::fs::read_dir(dir.path().join("wal")).unwrap().count();
    assert!((2..=4).contains(&segments), "{segments}");
}

#[test]
fn what_does_not_fit_is_refused_before_it_has_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let wide = |bytes: usize| Entry {
        kind: "k",
        fields: format!(r#""a":"{}""#, "x".repeat(bytes)),
        sealed: None,
    };
    assert_eq!(log.append(wide(MAX_LEAF_BYTES)).unwrap_err().code(), "record-too-large");
    let sealed = Some(vec![0; MAX_SEALED_BYTES + 1]);
    assert_eq!(
        log.append(Entry { sealed, ..wide(1) }).unwrap_err().code(),
        "record-sealed-too-large"
    );
    assert_eq!(log.append(Entry { kind: "a b", ..wide(1) }).unwrap_err().code(), "record-type");
    assert_eq!(
        log.append(Entry { fields: "\"seq\":1".into(), ..wide(1) }).unwrap_err().code(),
        "record-fields"
    );
    assert_eq!(log.append(wide(8000)).unwrap().wait().unwrap().index, 0);
    log.close().unwrap();
    assert_eq!(log.append(wide(1)).unwrap_err().code(), "log-stopped");
}

#[test]
fn one_process_at_a_time_and_only_with_the_right_key() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    assert_eq!(Log::open(options(dir.path())).unwrap_err().code(), "log-in-use");
    log.append(entry(1)).unwrap().wait().unwrap();
    log.close().unwrap();
    let other = SecretKey::from_seed("log.example/2026", &[8; 32]).unwrap();
    let error = Log::open(Options { signer: Arc::new(other), ..options(dir.path()) }).unwrap_err();
    assert_eq!(error.code(), "log-checkpoint");
    assert!(error.hint().unwrap().contains("with which this log was begun"));
    let wrong = Options { origin: "other".into(), ..options(dir.path()) };
    assert_eq!(Log::open(wrong).unwrap_err().code(), "log-options");
}

#[test]
fn tiles_that_do_not_fit_the_checkpoint_are_not_signed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    (0..300).for_each(|n| assert!(log.append(entry(n)).unwrap().wait().is_ok()));
    log.close().unwrap();
    for file in ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"] {
        let path = dir.path().join("log").join(file);
        let good = std::fs::read(&path).unwrap();
        let mut changed = good.clone();
        changed[7] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert_eq!(Log::open(options(dir.path())).unwrap_err().code(), "log-tiles", "{file}");
        std::fs::write(&path, good).unwrap();
    }
    std::fs::rename(dir.path().join("log/checkpoint"), dir.path().join("log/gone")).unwrap();
    assert_eq!(Log::open(options(dir.path())).unwrap_err().code(), "log-checkpoint-missing");
    std::fs::rename(dir.path().join("log/gone"), dir.path().join("log/checkpoint")).unwrap();
    assert_eq!(Log::open(options(dir.path())).unwrap().1.size, 300);
}

#[test]
fn a_receipt_can_be_awaited_under_a_time_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let limit = std::time::Duration::from_secs(60);
    let receipt = runtime
        .block_on(async { tokio::time::timeout(limit, log.append(entry(0)).unwrap()).await });
    assert_eq!(receipt.unwrap().unwrap().index, 0);
}

#[test]
fn with_commits_to_the_kernel_a_waiting_caller_commits_for_all_who_appended() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) =
        Log::open(Options { commit: Commit::Kernel, monotonic: still(), ..options(dir.path()) })
            .unwrap();
    let mut pending: Vec<_> = (0..3).map(|n| log.commit(entry(n)).unwrap()).collect();
    let mut context = Context::from_waker(Waker::noop());
    for place in [2, 0, 1] {
        // At once: nothing was left to another thread.
        let Poll::Ready(receipt) = Pin::new(&mut pending[place]).poll(&mut context) else {
            panic!("{place} waits")
        };
        assert_eq!(receipt.unwrap().index, place as u64);
    }
    log.close().unwrap();
    assert_eq!(leaves(dir.path()).len(), 3);
}

#[test]
fn callers_on_many_threads_commit_each_others_records() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(Options { commit: Commit::Kernel, ..options(dir.path()) }).unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                (0..500).for_each(|n| {
                    assert!(log.commit(entry(thread * 500 + n)).unwrap().wait().is_ok())
                })
            });
        }
    });
    log.close().unwrap();
    assert_eq!(leaves(dir.path()).len(), 2000);
}

#[test]
fn a_record_whose_caller_went_away_is_committed_all_the_same() {
    for commit in [Commit::Disk, Commit::Kernel] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(Options { commit, ..options(dir.path()) }).unwrap();
        drop(log.commit(entry(0)).unwrap());
        // Without closing it and without another record.
        while log.health().queued > 0 {
            thread::yield_now();
        }
        assert_eq!(log.flush_checkpoint().unwrap(), 1);
    }
}

#[test]
fn a_checkpoint_is_due_by_the_clock_that_was_given_and_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let start = std::time::Instant::now();
    let passed = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&passed);
    let monotonic: Monotonic =
        Arc::new(move || start + std::time::Duration::from_millis(shared.load(Ordering::Relaxed)));
    let checkpoint_every = CheckpointEvery { entries: 65_536, within_ms: 5 };
    let (log, _) =
        Log::open(Options { monotonic, checkpoint_every, ..options(dir.path()) }).unwrap();
    for n in 0..3 {
        log.append(entry(n)).unwrap().wait().unwrap();
        assert_eq!(log.health().published, 0);
    }
    passed.store(300, Ordering::Relaxed);
    while log.health().published < 3 {
        thread::yield_now();
    }
    log.close().unwrap();
    let partials = std::fs::read_dir(dir.path().join("log/tile/0/000.p")).unwrap();
    let widths: Vec<_> = partials.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(widths, ["3"], "one checkpoint, over all three records");
}

//! A log that goes on through shortages: no room, no descriptors, a ring that must count what left
//! meanwhile.

use std::path::Path;
use std::sync::Arc;

use super::tests::{entry, key, options};
use super::*;
use crate::corrections::{self, Count};
use crate::disk::simulated::{Loss, SimulatedDisk, Want};
use crate::emergency_ring::Tally;
use crate::queue::Receipt;
use portcullis_tlog::tiles::TileReader;
use portcullis_tlog::tree::leaf_hash;
use portcullis_tlog::verify::{VerifyOptions, verify};

fn open(disk: &SimulatedDisk) -> (Log, Recovery) {
    Log::open_on(Arc::new(disk.clone()), options(Path::new("/log"))).unwrap()
}

fn append(log: &Log, n: u64) -> Receipt {
    log.append(entry(n)).unwrap().wait().unwrap()
}

fn until(mut came: impl FnMut() -> bool) {
    while !came() {
        thread::yield_now();
    }
}

/// The log verifies, and has every record that was promised.
fn has_all(disk: &SimulatedDisk, promised: &[Receipt]) {
    let whole = verify(disk, Path::new("/log"), key().public(), &VerifyOptions::default()).unwrap();
    let tiles = TileReader::new(disk, Path::new("/log/log"), whole.head.size);
    for receipt in promised {
        assert_eq!(leaf_hash(&tiles.entry(receipt.index).unwrap()), receipt.leaf_hash);
    }
}

#[test]
fn without_room_or_descriptors_for_tiles_records_are_durable_and_tiles_follow_later() {
    for want in [Want::Room { in_place: false }, Want::Descriptors] {
        let disk = SimulatedDisk::new(7);
        let (log, _) = open(&disk);
        let mut promised: Vec<_> = (0..10).map(|n| append(&log, n)).collect();
        log.flush_checkpoint().unwrap();
        disk.wants(want);
        promised.extend((10..300).map(|n| append(&log, n)));
        until(|| log.health().delayed.is_some());
        let health = log.health();
        assert_eq!((health.stopped, health.published, health.durable), (None, 10, 300), "{want:?}");
        assert!(!health.resumes);
        promised.extend((300..400).map(|n| append(&log, n)));
        let late = log.flush_checkpoint_within(Duration::from_millis(1)).unwrap_err();
        assert_eq!(late.code(), "log-not-published");
        assert!(log.health().stopped.is_none(), "{want:?}");
        disk.wants(Want::Nothing);
        assert_eq!(log.flush_checkpoint().unwrap(), 400);
        until(|| log.health().delayed.is_none());
        promised.extend((400..410).map(|n| append(&log, n)));
        log.close().unwrap();
        has_all(&disk, &promised);
    }
}

#[test]
fn when_the_write_ahead_log_is_full_too_calls_are_refused_at_once_until_there_is_room() {
    let disk = SimulatedDisk::new(11);
    let (log, _) = open(&disk);
    let mut promised = vec![append(&log, 0)];
    log.flush_checkpoint().unwrap();
    disk.wants(Want::Room { in_place: false });
    let big = || Entry { sealed: Some(vec![7; 400 << 10]), ..entry(1) };
    // Two segments of 2 MiB take some ten such records.
    let lost = loop {
        let pending = log.append(big()).unwrap();
        let place = pending.sequence();
        match pending.wait() {
            Ok(receipt) => promised.push(receipt),
            Err(error) => break (place, error),
        }
    };
    assert!((5..12).contains(&promised.len()), "{}", promised.len());
    assert!(lost.1.0.contains("full"), "{}", lost.1);
    let health = log.health();
    assert!(health.stopped.is_some() && health.resumes && health.delayed.is_some(), "{health:?}");
    assert_eq!(log.append(big()).unwrap_err().code(), "log-stopped");
    assert!(log.resume().is_err());
    disk.wants(Want::Nothing);
    until(|| log.resume().is_ok());
    promised.extend((0..20).map(|_| log.append(big()).unwrap().wait().unwrap()));
    assert_eq!(promised[promised.len() - 20].index, lost.0.index);
    log.close().unwrap();
    has_all(&disk, &promised);
}

#[test]
fn a_crash_while_tiles_wait_for_room_loses_nothing() {
    for (seed, loss) in [(1, Loss::Nothing), (2, Loss::All), (3, Loss::Some)] {
        let disk = SimulatedDisk::new(seed);
        let (log, _) = open(&disk);
        let mut promised: Vec<_> = (0..5).map(|n| append(&log, n)).collect();
        disk.wants(Want::Room { in_place: false });
        promised.extend((5..300).map(|n| append(&log, n)));
        until(|| log.health().delayed.is_some());
        assert_eq!(
            log.close().unwrap_err().code(),
            "log-stopped",
            "it is said that tiles are missing"
        );
        drop(log);
        disk.restart(loss);
        let (log, recovery) = open(&disk);
        assert!(recovery.unclean && recovery.size == 300);
        log.close().unwrap();
        has_all(&disk, &promised);
    }
}

#[test]
fn without_room_for_a_commit_the_log_stops_and_resumes_with_all_that_was_promised() {
    let disk = SimulatedDisk::new(9);
    let (log, _) = open(&disk);
    let mut promised: Vec<_> = (0..20).map(|n| append(&log, n)).collect();
    for round in 0..3u64 {
        disk.wants(Want::Room { in_place: true });
        let lost = log.append(entry(20)).unwrap();
        let place = lost.sequence();
        assert_eq!(lost.wait().unwrap_err().code(), "record-not-durable");
        assert_eq!(log.append(entry(21)).unwrap_err().code(), "log-stopped");
        let health = log.health();
        assert!(health.stopped.is_some() && health.resumes, "{health:?}");
        assert_eq!(health.next, place.index, "the place is given anew");
        assert!(log.is_void(place));
        assert_eq!(log.resume().unwrap_err().code(), "log-stopped", "there is still no room");
        assert!(log.health().resumes);
        disk.wants(Want::Nothing);
        assert!(log.resume().unwrap());
        assert!(!log.resume().unwrap(), "it runs");
        let health = log.health();
        assert_eq!((health.stopped, health.resumes), (None, false));
        let next = log.append(entry(round)).unwrap();
        assert!(next.index == place.index && !log.is_void(next.sequence()));
        promised.push(next.wait().unwrap());
        assert!(log.is_void(place), "the former place stays void");
        log.flush_checkpoint().unwrap();
    }
    log.close().unwrap();
    has_all(&disk, &promised);
    disk.restart(Loss::All);
    assert_eq!(open(&disk).1.size, 23);
}

#[test]
fn a_sync_that_failed_is_final_until_a_restart() {
    let disk = SimulatedDisk::new(1);
    let (log, _) = open(&disk);
    append(&log, 0);
    log.flush_checkpoint().unwrap();
    disk.fail_after(1);
    assert!(log.append(entry(1)).unwrap().wait().is_err());
    let health = log.health();
    assert!(health.stopped.is_some() && !health.resumes, "{health:?}");
    assert_eq!(log.resume().unwrap_err().code(), "log-stopped");
    assert_eq!(log.append(entry(2)).unwrap_err().code(), "log-stopped");
}

#[test]
fn a_place_that_is_given_anew_is_not_superseded_by_an_answer_of_before() {
    let disk = SimulatedDisk::new(3);
    let (log, _) = open(&disk);
    (0..4).for_each(|n| assert_eq!(append(&log, n).index, n));
    disk.wants(Want::Room { in_place: true });
    let lost = log.append(entry(4)).unwrap();
    let index = lost.index;
    assert!(lost.wait().is_err());
    disk.wants(Want::Nothing);
    log.ring().note("token", Some(1), &[1; 32], "undelivered", 5).unwrap();
    log.ring().note("token", Some(index), &[2; 32], "not-durable", 6).unwrap();
    assert!(log.resume().unwrap());
    assert_eq!(append(&log, 5).index, index);
    drop(log);
    disk.restart(Loss::Nothing);
    let (_, recovery) = open(&disk);
    let indices: Vec<_> = recovery
        .owed
        .iter()
        .map(|owed| match owed {
            RingEntry::Answer { index, .. } => *index,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(indices, [Some(1), None]);
}

#[test]
fn a_correction_that_the_log_has_is_not_owed_once_more() {
    let disk = SimulatedDisk::new(5);
    let (log, _) = open(&disk);
    append(&log, 0);
    let all = Count { answers: 13_103, first: 1, last: 9 };
    let tally = |recorded| Tally {
        hook: "token".into(),
        cause: "not-durable".into(),
        id: 77,
        from: 1,
        all,
        recorded,
    };
    log.ring().count(&tally(0)).unwrap();
    log.ring().note("token", Some(0), &[1; 32], "not-durable", 5).unwrap();
    // A part of the tally and the superseded record are in the log, and the process ends before the
    // ring knows.
    let part = Count { answers: 13_000, ..all };
    log.append(corrections::gap(77, "token", "not-durable", &part)).unwrap().wait().unwrap();
    log.append(corrections::superseded(0, &[1; 32], "not-durable", 5)).unwrap().wait().unwrap();
    drop(log);
    disk.restart(Loss::Nothing);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.owed, [RingEntry::Counted(tally(13_000))]);
    let rest = Count { answers: 103, ..all };
    log.append(corrections::gap(77, "token", "not-durable", &rest)).unwrap().wait().unwrap();
    drop(log);
    disk.restart(Loss::Nothing);
    assert_eq!(open(&disk).1.owed, []);
}

//! The ring on the real file system: what is noted and counted is there after a crash, whatever
//! became of the file.

use proptest::prelude::*;

use super::*;
use crate::disk::OsDisk;

fn open(path: &Path) -> (Ring, Vec<RingEntry>, bool) {
    Ring::open(&OsDisk, path).unwrap()
}

fn tally(hook: &str, cause: &str, id: u64, answers: u64) -> Tally {
    let all = Count { answers, first: 1000, last: 1000 + answers };
    Tally { hook: hook.into(), cause: cause.into(), id, from: 7, all, recorded: 0 }
}

#[test]
fn keeps_what_was_noted_until_it_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("emergency");
    let (ring, owed, unclean) = open(&path);
    assert_eq!((owed, unclean), (vec![], false));
    let long = "ü".repeat(40);
    let first = ring.note("token", Some(7), &[1; 32], &long, 1000).unwrap().unwrap();
    let second = ring.note("import", None, &[2; 32], "log-queue-full", 1001).unwrap().unwrap();
    drop(ring);

    let (ring, owed, unclean) = open(&path);
    let answer = |slot, hook: &str, index, byte, cause: &str, at| RingEntry::Answer {
        slot,
        hook: hook.into(),
        index,
        answer: [byte; 32],
        cause: cause.into(),
        at,
    };
    let expected = [
        answer(first, "token", Some(7), 1, &"ü".repeat(32), 1000),
        answer(second, "import", None, 2, "log-queue-full", 1001),
    ];
    assert_eq!((owed, unclean), (expected.to_vec(), true));
    ring.settle(first).unwrap();
    ring.close().unwrap();

    let (ring, owed, unclean) = open(&path);
    assert_eq!((owed, unclean), (expected[1..].to_vec(), false));
    let again = ring.note("token", None, &[3; 32], "c", 1002).unwrap();
    assert_eq!(again, Some(first), "the slot is used again");
}

#[test]
fn a_tally_is_there_as_it_was_counted_last_until_the_log_has_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("emergency");
    let (ring, _, _) = open(&path);
    for answers in 1..=13_000 {
        ring.count(&tally("token", "not-durable", 5, answers)).unwrap();
    }
    ring.count(&tally("import", "starting", 6, 2)).unwrap();
    drop(ring);
    let (ring, owed, unclean) = open(&path);
    let counted = [tally("token", "not-durable", 5, 13_000), tally("import", "starting", 6, 2)];
    assert_eq!((owed, unclean), (counted.clone().map(RingEntry::Counted).to_vec(), true));
    let recorded = Tally { recorded: 13_000, ..counted[0].clone() };
    ring.count(&recorded).unwrap();
    drop(ring);
    let (ring, owed, _) = open(&path);
    assert_eq!(owed, [RingEntry::Counted(counted[1].clone())]);
    ring.count(&tally("token", "not-durable", 9, 1)).unwrap();
    drop(ring);
    assert_eq!(open(&path).1.len(), 2, "a tally begins anew");
}

#[test]
fn more_answers_than_slots_and_more_tallies_than_places_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("emergency");
    let (ring, _, _) = open(&path);
    let noted = (0..2_000u64)
        .filter(|at| ring.note("h", Some(*at), &[0; 32], "c", *at).unwrap().is_some())
        .count();
    assert_eq!(noted, 31 + 1_024);
    for hook in 0..600 {
        ring.count(&tally(&format!("h{hook}"), "c", hook, 10)).unwrap();
        ring.count(&tally(&format!("h{hook}"), "c", hook, 11)).unwrap();
    }
    drop(ring);
    let (ring, owed, _) = open(&path);
    let answers = |owed: &[RingEntry]| -> u64 {
        let counted = owed.iter().map(|owed| match owed {
            RingEntry::Counted(tally) => tally.all.answers,
            RingEntry::Answer { .. } => 1,
            RingEntry::Damaged { .. } => panic!("{owed:?}"),
        });
        counted.sum()
    };
    assert_eq!(answers(&owed), 31 + 1_024 + 600 * 11);
    let unnamed = owed.iter().any(|owed| {
        matches!(owed, RingEntry::Counted(tally) if tally.hook.is_empty() && tally.all.answers == 104 * 11)
    });
    assert!(unnamed, "what found no place is counted without its hook");
    // A place whose tally the log has is another's next.
    let recorded = Tally { recorded: 11, ..tally("h0", "c", 0, 11) };
    ring.count(&recorded).unwrap();
    ring.count(&tally("new", "c", 1, 1)).unwrap();
    ring.settle_unnamed().unwrap();
    drop(ring);
    let (_, owed, _) = open(&path);
    assert!(owed.contains(&RingEntry::Counted(tally("new", "c", 1, 1))));
    assert_eq!(answers(&owed), 31 + 1_024 + 495 * 11 + 1);
}

#[test]
fn a_ring_of_an_earlier_version_is_taken_over_with_all_that_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("emergency");
    let (ring, _, _) = open(&path);
    let slot = ring.note("token", Some(7), &[1; 32], "c", 1000).unwrap().unwrap();
    let unnamed = Count { answers: 12, first: 3, last: 9 };
    ring.state().unnamed = unnamed;
    ring.write_head(&ring.state()).unwrap();
    drop(ring);
    let mut old = std::fs::read(&path).unwrap();
    old.truncate(64 * 256);
    std::fs::write(&path, old).unwrap();
    let (ring, owed, unclean) = open(&path);
    assert!(unclean && owed.len() == 2, "{owed:?}");
    assert!(matches!(&owed[0], RingEntry::Counted(tally) if tally.all == unnamed), "{owed:?}");
    assert!(
        matches!(&owed[1], RingEntry::Answer { slot: found, .. } if *found == slot),
        "{owed:?}"
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES);
    ring.settle_unnamed().unwrap();
    ring.count(&tally("token", "c", 1, 3)).unwrap();
    drop(ring);
    assert_eq!(open(&path).1.len(), 2);
}

#[test]
fn a_file_that_cannot_be_written_to_its_end_keeps_counts_at_its_beginning() {
    let disk = crate::disk::simulated::SimulatedDisk::new(1);
    let path = Path::new("/emergency");
    let (ring, _, _) = Ring::open(&disk, path).unwrap();
    for hook in 0..20 {
        ring.count(&tally(&format!("h{hook}"), "c", hook, 5)).unwrap();
    }
    disk.limit(OLD_FILE_BYTES);
    let noted = (0..40u64)
        .filter(|at| ring.note("h", Some(*at), &[0; 32], "c", *at).unwrap().is_some())
        .count();
    assert_eq!(noted, 31, "the rest is to be counted");
    for hook in 0..20 {
        ring.count(&tally(&format!("h{hook}"), "c", hook, 7)).unwrap();
    }
    let answers = |owed: &[RingEntry]| -> u64 {
        let counted = owed.iter().map(|owed| match owed {
            RingEntry::Counted(tally) => tally.all.answers,
            _ => 0,
        });
        counted.sum()
    };
    assert_eq!(answers(&Ring::open(&disk, path).unwrap().1), 20 * 7);
    disk.limit(u64::MAX);
    for hook in 0..20 {
        ring.count(&tally(&format!("h{hook}"), "c", hook, 8)).unwrap();
    }
    assert_eq!(answers(&Ring::open(&disk, path).unwrap().1), 20 * 8);
}

#[test]
fn a_slot_that_cannot_be_read_is_said_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("emergency");
    let (ring, _, _) = open(&path);
    ring.note("token", Some(7), &[1; 32], "c", 1000).unwrap();
    ring.note("token", Some(8), &[1; 32], "c", 1001).unwrap();
    for answers in 1..4 {
        ring.count(&tally("token", "c", 5, answers)).unwrap();
    }
    drop(ring);
    let bytes = std::fs::read(&path).unwrap();
    let mut spoilt = bytes.clone();
    spoilt[256 + 20] ^= 0xff;
    // The tally's last write: the one before it counts one answer less.
    spoilt[slot_of(0, 3) * 256 + 20] ^= 0xff;
    std::fs::write(&path, spoilt).unwrap();
    let (ring, owed, unclean) = open(&path);
    assert!(unclean);
    assert_eq!(owed.len(), 3, "{owed:?}");
    assert!(owed.contains(&RingEntry::Counted(tally("token", "c", 5, 2))), "{owed:?}");
    assert!(owed.contains(&RingEntry::Damaged { slots: 2, answers: 1 }), "{owed:?}");
    ring.settle_damaged().unwrap();
    drop(ring);
    assert_eq!(open(&path).1.len(), 2, "it is said once");
    for length in [0, 10, 255, 1000] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let (ring, owed, _) = open(&path);
        assert!(
            matches!(owed.last(), Some(RingEntry::Damaged { .. })),
            "cut to {length}: {owed:?}"
        );
        ring.note("token", Some(9), &[1; 32], "c", 1000).unwrap().unwrap();
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_changed_byte_adds_an_answer(
        changes in proptest::collection::vec((0usize..SLOTS * SLOT_BYTES, any::<u8>()), 1..20)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emergency");
        let (ring, _, _) = open(&path);
        ring.note("token", Some(7), &[1; 32], "c", 1000).unwrap();
        ring.count(&tally("token", "c", 5, 3)).unwrap();
        drop(ring);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        std::fs::write(&path, bytes).unwrap();
        let (_, owed, _) = open(&path);
        let answers: u64 = owed.iter().map(|owed| match owed {
            RingEntry::Counted(tally) => tally.all.answers,
            RingEntry::Answer { .. } => 1,
            RingEntry::Damaged { .. } => 0,
        }).sum();
        prop_assert!(answers <= 4, "{:?}", owed);
    }
}

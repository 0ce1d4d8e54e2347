//! The file: what it keeps, what it hides, and what happens where it is corrupt.

#![expect(clippy::disallowed_methods, reason = "tests corrupt files and read them as they are")]

use std::fs;
use std::path::Path;

use super::*;

fn filled(folder: &Path, subjects: u64) -> Vec<Vec<u8>> {
    let (memory, opened) = Memory::open(folder, &key()).unwrap();
    assert_eq!(opened, Opened::default());
    let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
    let mut log = Vec::new();
    for subject in 0..subjects {
        let mut call = memory.begin(&namespace, Some(&format!("user {subject}")), NOW);
        call.remember(Scope::Subject, b"device", b"the blue laptop", DAY).unwrap();
        call.tally(Scope::Subject, b"sign-ins", 600).unwrap();
        call.tally_distinct(Scope::Shared, b"192.0.2.1", &subject.to_be_bytes(), 600).unwrap();
        let changes = call.finish().unwrap();
        commit(&memory, &changes);
        log.push(changes.encode());
    }
    let flushed = memory.flush(NOW).unwrap();
    assert_eq!((flushed.cells, flushed.applied), (subjects + 1, subjects));
    assert_eq!(memory.flush(NOW).unwrap().cells, 0);
    log
}

fn check(memory: &Memory, subjects: u64) {
    let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
    for subject in 0..subjects {
        let mut call = memory.begin(&namespace, Some(&format!("user {subject}")), NOW);
        let device = call.recall(Scope::Subject, b"device").unwrap();
        assert_eq!(device.as_deref(), Some(&b"the blue laptop"[..]));
        assert_eq!(call.count(Scope::Subject, b"sign-ins", 60).unwrap(), 1);
        let members = call.count_distinct(Scope::Shared, b"192.0.2.1", 60).unwrap();
        assert_eq!(u64::from(members), subjects);
    }
}

#[test]
fn what_was_flushed_is_there_after_a_start_and_unreadable_without_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path(), 20);
    let (memory, opened) = Memory::open(folder.path(), &key()).unwrap();
    assert_eq!((opened.applied, opened.cells, opened.set_aside), (20, 21, None));
    check(&memory, 20);
    let busy = Memory::open(folder.path(), &key()).err().unwrap();
    assert!(matches!(busy, OpenError::Backend(BackendError::Disk { .. })), "{busy}");
    drop(memory);
    let other = Memory::open(folder.path(), &SymmetricKey::from_bytes([8; 32])).err().unwrap();
    assert!(matches!(other, OpenError::OtherKey), "{other}");
    // Neither names nor keys nor values, in the file or in frames.
    let mut bytes = fs::read(folder.path().join("memory.redb")).unwrap();
    log.iter().for_each(|frame| bytes.extend_from_slice(frame));
    for text in ["user ", "laptop", "device", "sign-ins", "192.0.2"] {
        assert!(!bytes.windows(text.len()).any(|piece| piece == text.as_bytes()), "{text}");
    }
    assert!(bytes.windows(4).any(|piece| piece == b"risk"), "names of namespaces are readable");
}

#[test]
fn a_corrupt_file_is_set_aside_and_made_anew_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.redb");
    let log = filled(folder.path(), 60);
    let whole = fs::read(&path).unwrap();
    let last = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut damages: Vec<Vec<u8>> = vec![
        b"something else".to_vec(),
        vec![0; 8192],
        whole[..whole.len() / 2].to_vec(),
        vec![255; 70_000],
    ];
    for step in 0..80 {
        let mut damaged = whole.clone();
        damaged[step * last / 80] ^= 0x41;
        damages.push(damaged);
    }
    let mut set_aside = 0;
    for (number, damaged) in damages.iter().enumerate() {
        fs::write(&path, damaged).unwrap();
        let (memory, opened) = Memory::open(folder.path(), &key()).unwrap();
        if let Some((aside, why)) = &opened.set_aside {
            assert_eq!(opened.applied, 0);
            assert!(!why.is_empty() && !fs::read(aside).unwrap().is_empty());
            fs::remove_file(aside).unwrap();
            set_aside += 1;
        } else {
            // Bytes that nothing uses.
            assert_eq!(opened.applied, 60, "{number}");
        }
        for (position, frame) in log.iter().enumerate().skip(opened.applied as usize) {
            memory.apply(position as u64, &memory.read_changes(frame).unwrap()).unwrap();
        }
        check(&memory, 60);
        memory.flush(NOW).unwrap();
        drop(memory);
    }
    assert!(set_aside > 20, "{set_aside} of {}", damages.len());
}

#[test]
fn a_file_that_was_never_closed_has_all_that_was_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, _) = Memory::open(folder.path(), &key()).unwrap();
    let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
    let mut log = Vec::new();
    for round in 0..5_u64 {
        for subject in 0..40 {
            let mut call = memory.begin(&namespace, Some(&format!("user {subject}")), NOW);
            call.tally(Scope::Subject, b"sign-ins", 600).unwrap();
            let changes = call.finish().unwrap();
            commit(&memory, &changes);
            log.push(changes.encode());
            if subject == 20 {
                memory.flush(NOW).unwrap();
            }
        }
        // As a process leaves it that is killed.
        let left = tempfile::tempdir().unwrap();
        let path = left.path().join("memory.redb");
        fs::copy(folder.path().join("memory.redb"), &path).unwrap();
        let (again, opened) = Memory::open(left.path(), &key()).unwrap();
        assert_eq!((opened.applied, opened.set_aside), (round * 40 + 21, None));
        for (position, frame) in log.iter().enumerate().skip(opened.applied as usize) {
            again.apply(position as u64, &again.read_changes(frame).unwrap()).unwrap();
        }
        let space = again.namespace(&name("risk"), Quota::default()).unwrap();
        for subject in 0..40 {
            let mut call = again.begin(&space, Some(&format!("user {subject}")), NOW);
            let count = call.count(Scope::Subject, b"sign-ins", 600).unwrap();
            assert_eq!(u64::from(count), round + 1);
        }
    }
}

#[test]
fn corrupt_files_do_not_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.redb");
    for number in 1..=MAX_SET_ASIDE + 1 {
        fs::write(&path, vec![7; 9000]).unwrap();
        match Memory::open(folder.path(), &key()) {
            Ok((_, opened)) => {
                let name = format!("memory.redb.corrupt-{number}");
                assert_eq!(opened.set_aside.unwrap().0, folder.path().join(name));
            }
            Err(error) => {
                assert!(number > MAX_SET_ASIDE && error.to_string().contains("move them away"));
            }
        }
    }
}

#[test]
fn a_link_in_the_place_of_the_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, b"of somebody else").unwrap();
    std::os::unix::fs::symlink(&victim, folder.path().join("memory.redb")).unwrap();
    assert!(Memory::open(folder.path(), &key()).is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"of somebody else");
}

#[test]
fn an_erased_subject_is_gone_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = filled(folder.path(), 3);
    let (memory, _) = Memory::open(folder.path(), &key()).unwrap();
    let erase = memory.erase_subject("north", "user 1");
    commit(&memory, &erase);
    log.push(erase.encode());
    memory.flush(NOW).unwrap();
    drop(memory);
    let (memory, opened) = Memory::open(folder.path(), &key()).unwrap();
    assert_eq!((opened.applied, opened.cells), (4, 3));
    let namespace = memory.namespace(&name("risk"), Quota::default()).unwrap();
    let mut call = memory.begin(&namespace, Some("user 1"), NOW);
    assert_eq!(call.recall(Scope::Subject, b"device"), Ok(None));
    assert_eq!(call.count(Scope::Subject, b"sign-ins", 600), Ok(0));
    assert!(log.iter().all(|frame| SealedChanges::parse(frame).is_ok()));
}

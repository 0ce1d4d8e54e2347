//! Every byte of a small log is changed in turn; larger logs are damaged at random.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use crate::disk::OsDisk;
use crate::log::tests::{entry, key, options, seal_key, still};
use crate::{CheckpointEvery, Log};
use portcullis_tlog::checkpoint::Checkpoint;
use portcullis_tlog::prove::{check_proof, prove};
use portcullis_tlog::query::{Filter, query};
use portcullis_tlog::verify::*;
use portcullis_tlog::{OpenSealed, Reader};

/// A closed log of these sizes, with a checkpoint at each of them and nowhere else; returns the
/// checkpoints too.
pub(crate) fn log(sizes: &[u64]) -> (TempDir, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint_every = CheckpointEvery { entries: 65_536, ..CheckpointEvery::default() };
    let options = crate::Options { checkpoint_every, monotonic: still(), ..options(dir.path()) };
    let (log, _) = Log::open(options).unwrap();
    let mut heads = Vec::new();
    let mut size = 0;
    for until in sizes {
        let pending: Vec<_> = (size..*until).map(|n| log.append(small(n)).unwrap()).collect();
        pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
        size = *until;
        log.flush_checkpoint().unwrap();
        heads.push(fs::read(dir.path().join("log/checkpoint")).unwrap());
    }
    log.close().unwrap();
    (dir, heads)
}

fn small(n: u64) -> crate::Entry {
    crate::Entry { fields: format!(r#""n":{n}"#), ..entry(n) }
}

fn check(dir: &TempDir, retained: Option<&[u8]>) -> Result<Summary, Vec<Damage>> {
    let seal_key = seal_key();
    let options = VerifyOptions { retained, sealed: true, seal_key: Some(&seal_key) };
    verify(&OsDisk, dir.path(), key().public(), &options)
}

/// All files below, that the checkpoint covers.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn whole_logs_are_accepted() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 700] {
        let (dir, heads) = log(&[size / 2, size]);
        let summary = check(&dir, Some(&heads[0])).unwrap();
        assert_eq!((summary.head.size, summary.continues), (size, Some(size / 2)));
        assert_eq!(summary.sealed, size - size.div_ceil(3));
    }
}

#[test]
fn every_changed_byte_is_found_and_named() {
    let (dir, _) = log(&[3, 5, 256, 258]);
    let partial = |path: &PathBuf| path.to_str().unwrap().contains(".p/");
    let partials = files(&dir.path().join("log")).into_iter().filter(partial);
    let partials: Vec<_> =
        partials.map(|path| path.strip_prefix(dir.path()).unwrap().to_owned()).collect();
    let current = ["tile/0/001.p/2", "tile/1/000.p/1", "tile/entries/001.p/2"];
    assert_eq!(partials, current.map(|tile| PathBuf::from("log").join(tile)));
    for path in files(&dir.path().join("log")).into_iter().chain(files(&dir.path().join("sealed")))
    {
        let good = fs::read(&path).unwrap();
        let step = if good.len() > 4096 { 61 } else { 1 };
        for at in (0..good.len()).step_by(step) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let damage = check(&dir, None).expect_err(&format!("{} at {at}", path.display()));
            let relative = path
                .strip_prefix(dir.path().join("log"))
                .unwrap_or(Path::new("sealed"))
                .to_str()
                .unwrap();
            assert!(
                damage.iter().any(|damage| damage.place.ends_with(relative)),
                "{relative} at {at}: {damage:?}"
            );
            assert!(damage.len() < 3 || relative == "sealed", "{relative} at {at}: {damage:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(check(&dir, None).is_err(), "without {}", path.display());
        fs::write(&path, &good).unwrap();
    }
    assert!(check(&dir, None).is_ok());
}

#[test]
fn a_flipped_byte_of_an_entry_names_the_record() {
    let (dir, _) = log(&[700]);
    let path = dir.path().join("log/tile/entries/001");
    let good = fs::read(&path).unwrap();
    let all = portcullis_tlog::tiles::entries(&good).unwrap();
    let start: usize = all[..44].iter().map(|entry| entry.len() + 2).sum();
    let mut bad = good.clone();
    let digit = start + 2 + all[44].len() - 2;
    bad[digit] = if bad[digit] == b'1' { b'2' } else { b'1' };
    fs::write(&path, bad).unwrap();
    let damage = check(&dir, None).unwrap_err();
    assert_eq!(
        (damage[0].place.as_str(), damage[0].index),
        ("tile/entries/001", Some(300)),
        "{damage:?}"
    );
}

#[test]
fn dropped_swapped_and_cut_records_are_found() {
    let (dir, heads) = log(&[100, 300]);
    let path = dir.path().join("log/tile/entries/000");
    let good = fs::read(&path).unwrap();
    let all = portcullis_tlog::tiles::entries(&good).unwrap();
    let write = |entries: &[&[u8]]| {
        let mut bundle = Vec::new();
        entries
            .iter()
            .for_each(|entry| assert!(portcullis_tlog::tiles::push_entry(&mut bundle, entry)));
        fs::write(&path, bundle).unwrap();
    };
    for at in 0..all.len() - 1 {
        let mut swapped = all.clone();
        swapped.swap(at, at + 1);
        write(&swapped);
        let damage = check(&dir, None).unwrap_err();
        assert_eq!(
            (damage[0].place.as_str(), damage[0].index),
            ("tile/entries/000", Some(at as u64))
        );
        let mut dropped = all.clone();
        dropped.remove(at);
        write(&dropped);
        assert!(check(&dir, None).is_err());
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(check(&dir, Some(&heads[0])).unwrap().continues, Some(100));

    // The log of an earlier day, whole in itself: only the retained checkpoint tells.
    let (earlier, _) = log(&[100]);
    assert!(check(&earlier, None).is_ok());
    let damage = check(&earlier, Some(&heads[1])).unwrap_err();
    assert!(damage[0].what.contains("its tail was cut"), "{damage:?}");
    // Another history under the same key.
    let (other, _) = log(&[7, 300]);
    let other_entry = Log::open(options(other.path())).unwrap().0;
    other_entry.append(small(0)).unwrap().wait().unwrap();
    other_entry.close().unwrap();
    let (longer, longer_heads) = log(&[301]);
    assert!(check(&longer, None).is_ok());
    let damage = check(&other, Some(&longer_heads[0])).unwrap_err();
    assert!(damage[0].what.contains("history was rewritten"), "{damage:?}");
    let foreign = portcullis_keys::SecretKey::generate("log.example/2026").unwrap();
    let forged = Checkpoint { size: 1, ..check(&dir, None).unwrap().head }.sign(&foreign);
    assert_eq!(check(&dir, Some(forged.as_bytes())).unwrap_err()[0].place, "retained checkpoint");
}

#[test]
fn proofs_hold_for_their_record_alone() {
    let (dir, _) = log(&[300]);
    let proven: Vec<_> =
        (0..300).map(|index| prove(&OsDisk, dir.path(), key().public(), index).unwrap()).collect();
    for (index, this) in proven.iter().enumerate() {
        assert_eq!(check_proof(&this.proof, &this.leaf, key().public()).unwrap().0, index as u64);
        let other = &proven[(index + 1) % 300];
        assert_eq!(
            check_proof(&this.proof, &other.leaf, key().public()).unwrap_err().code(),
            "proof-other-record"
        );
    }
    let (proof, leaf) = (&proven[299].proof, &proven[299].leaf);
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nindex 299\n"));
    for at in 0..proof.len() {
        let mut changed = proof.clone().into_bytes();
        changed[at] ^= 1;
        let changed = String::from_utf8_lossy(&changed).into_owned();
        assert!(check_proof(&changed, leaf, key().public()).is_err(), "{at}");
    }
    let extra = proof.replacen('\n', "\nextra AAAA\n", 1);
    assert_eq!(check_proof(&extra, leaf, key().public()).unwrap().0, 299);
    assert_eq!(
        prove(&OsDisk, dir.path(), key().public(), 300).unwrap_err().code(),
        "log-no-such-record"
    );
}

#[test]
fn records_are_shown_by_place_time_and_type() {
    let (dir, _) = log(&[300]);
    let all = |filter: &Filter, seal_key: Option<&dyn OpenSealed>| {
        let mut shown = Vec::new();
        let each = |record| {
            shown.push(record);
            true
        };
        let handed = query(&OsDisk, dir.path(), key().public(), filter, seal_key, each).unwrap();
        assert_eq!(handed, shown.len() as u64);
        shown
    };
    let places = |filter: &Filter| {
        all(filter, None).iter().map(|shown| shown.verified.record().seq).collect::<Vec<_>>()
    };
    let times: Vec<_> =
        all(&Filter::default(), None).iter().map(|shown| shown.verified.record().at).collect();
    assert_eq!(places(&Filter::default()), (0..300).collect::<Vec<_>>());
    assert_eq!(places(&Filter { from: 255, to: Some(258), ..Filter::default() }), [255, 256, 257]);
    let time = Filter { since: Some(times[40]), until: Some(times[43]), ..Filter::default() };
    assert_eq!(places(&time), [40, 41, 42]);
    let kind = |kind: &str| Filter { from: 297, kind: Some(kind.into()), ..Filter::default() };
    assert_eq!(places(&kind("hook.")), [297, 298, 299]);
    assert_eq!(places(&kind("hook")), Vec::<u64>::new());
    let opened = all(
        &Filter { from: 3, to: Some(5), ..Filter::default() },
        Some(&seal_key() as &dyn OpenSealed),
    );
    assert!(opened[0].sealed.is_none());
    assert_eq!(opened[1].sealed.as_ref().unwrap().as_ref().unwrap().as_slice(), b"who 4");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn larger_logs(size in 1000u64..3000, bytes in proptest::collection::vec((any::<usize>(), any::<usize>(), 0..8u8), 12)) {
        let (dir, _) = log(&[size / 3, size]);
        prop_assert!(check(&dir, None).is_ok());
        let files = files(&dir.path().join("log"));
        for (file, at, bit) in bytes {
            let path = &files[file % files.len()];
            let good = fs::read(path).unwrap();
            let mut bad = good.clone();
            bad[at % good.len()] ^= 1u8 << bit;
            fs::write(path, bad).unwrap();
            prop_assert!(check(&dir, None).is_err(), "{} at {at}", path.display());
            fs::write(path, good).unwrap();
        }
    }
}

#[test]
fn no_changed_byte_of_a_record_or_of_the_tree_below_it_is_handed_out() {
    let (dir, _) = log(&[3, 256, 300]);
    let open = || Reader::open(&OsDisk, dir.path(), key().public()).unwrap();
    let genuine: Vec<_> =
        (0..300).map(|index| open().verified(index).unwrap().into_leaf()).collect();
    for name in ["tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/0/001.p/44"] {
        let path = dir.path().join("log").join(name);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(if good.len() > 4096 { 97 } else { 3 }) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, bad).unwrap();
            let reader = open();
            let mut refused = 0;
            for index in (0..300).step_by(7).chain([255, 256, 299]) {
                match reader.verified(index) {
                    Ok(record) => assert_eq!(record.leaf(), genuine[index as usize]),
                    Err(error) => {
                        assert_eq!(error.code(), "log-damaged", "{name} at {at}: {error}");
                        refused += 1;
                    }
                }
            }
            assert!(refused > 0 || name.contains("entries"), "{name} at {at}");
        }
        fs::write(&path, good).unwrap();
    }
    assert_eq!(open().verified(300).unwrap_err().code(), "log-no-such-record");
}

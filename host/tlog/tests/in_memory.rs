//! A log that lies in memory is read, proved and verified with this crate alone: no files, no
//! writer, no clock. So an auditor's tool can run where there is no file system.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use portcullis_keys::SecretKey;
use portcullis_tlog::checkpoint::Checkpoint;
use portcullis_tlog::prove::{check_proof, prove};
use portcullis_tlog::query::{Filter, query};
use portcullis_tlog::tiles::push_entry;
use portcullis_tlog::tree::{Frontier, leaf_hash};
use portcullis_tlog::verify::{VerifyOptions, verify};
use portcullis_tlog::{Source, SourceFile};

/// Files by path.
#[derive(Debug)]
struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Source for Memory {
    fn open_read(&self, _path: &Path) -> io::Result<Box<dyn SourceFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.0.keys().filter_map(|path| path.strip_prefix(dir).ok()?.iter().next());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }
}

fn key() -> SecretKey {
    SecretKey::from_seed("log.example/2026", &[7; 32]).unwrap()
}

/// Three records, in one bundle and one tile.
fn log() -> Memory {
    let (mut bundle, mut tile, mut tree) = (Vec::new(), Vec::new(), Frontier::default());
    for seq in 0..3 {
        let leaf = format!(r#"{{"v":1,"seq":{seq},"t":"hook.decision","tenant":"x","at":{seq}}}"#);
        assert!(push_entry(&mut bundle, leaf.as_bytes()));
        tile.extend_from_slice(&leaf_hash(leaf.as_bytes()));
        tree.push(leaf_hash(leaf.as_bytes()));
    }
    let head = Checkpoint { origin: "log.example/2026".into(), size: 3, root: tree.root() };
    let files = [
        ("checkpoint", head.sign(&key()).into_bytes()),
        ("tile/0/000.p/3", tile),
        ("tile/entries/000.p/3", bundle),
    ];
    Memory(files.map(|(name, content)| (Path::new("log").join(name), content)).into())
}

#[test]
fn a_whole_log_is_accepted_and_each_record_proved() {
    let (log, key) = (log(), key());
    let summary = verify(&log, Path::new(""), key.public(), &VerifyOptions::default()).unwrap();
    assert_eq!(summary.head.size, 3);
    for index in 0..3 {
        let proven = prove(&log, Path::new(""), key.public(), index).unwrap();
        let (place, head) = check_proof(&proven.proof, &proven.leaf, key.public()).unwrap();
        assert_eq!(place, index);
        assert_eq!(head, summary.head);
    }
    let mut places = Vec::new();
    let filter = Filter { from: 1, ..Filter::default() };
    let each = |row: portcullis_tlog::query::QueryRow| {
        places.push(row.verified.record().seq);
        true
    };
    assert_eq!(query(&log, Path::new(""), key.public(), &filter, None, each).unwrap(), 2);
    assert_eq!(places, [1, 2]);
}

#[test]
fn every_changed_byte_is_found() {
    let key = key();
    for (path, good) in log().0 {
        for at in 0..good.len() {
            let mut changed = log();
            changed.0.get_mut(&path).unwrap()[at] ^= 1;
            let found = verify(&changed, Path::new(""), key.public(), &VerifyOptions::default());
            assert!(found.is_err(), "{} at {at}", path.display());
        }
    }
}

//! The record, as somebody reads it who has the log's files and its key.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{TestDeployment, binary};

#[expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a log that does not read is a failed test"
)]
impl TestDeployment {
    /// A record's exact bytes; of one that was only just made, once it can be read.
    pub fn leaf(&self, index: u64) -> String {
        self.shown(index, &[])
    }

    fn shown(&self, index: u64, further: &[&str]) -> String {
        let index = index.to_string();
        let mut show = audit_show(&["--format", "json", "--index", &index]);
        show.extend(further);
        let begin = Instant::now();
        loop {
            let shown = self.run(&show);
            if shown.code == 0 {
                return shown.out.trim_end_matches('\n').to_owned();
            }
            // Its checkpoint follows the record.
            assert_eq!(shown.code, 4, "record {index}: {}{}", shown.out, shown.err);
            assert!(begin.elapsed() < PATIENCE, "record {index} never came");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every record's exact bytes, in their order.
    pub fn leaves(&self) -> Vec<String> {
        let shown = self.must(&audit_show(&["--format", "json"]));
        shown.lines().map(str::to_owned).collect()
    }

    /// Hands over every record of one type, in their order, without holding all of them.
    pub fn each_record_of(&self, kind: &str, mut take: impl FnMut(Value)) {
        let mut show = Command::new(binary())
            .current_dir(self.path(""))
            .args(audit_show(&["--type", kind, "--format", "json"]))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        for line in BufReader::new(show.stdout.take().unwrap()).lines() {
            take(serde_json::from_str(&line.unwrap()).unwrap());
        }
        assert!(show.wait().unwrap().success(), "the log does not read");
    }

    /// A record.
    pub fn record(&self, index: u64) -> Value {
        serde_json::from_str(&self.leaf(index)).unwrap()
    }

    /// What is sealed beside a record, opened.
    pub fn sealed(&self, index: u64) -> Value {
        let shown: Value =
            serde_json::from_str(&self.shown(index, &["--sealing-key", "keys/sealing.key"]))
                .unwrap();
        shown.get("sealed").cloned().unwrap_or_default()
    }

    /// What is hashed before an answer.
    pub fn salt(&self, index: u64) -> Vec<u8> {
        let sealed = self.sealed(index);
        let digits = sealed["salt"].as_str().unwrap();
        (0..16).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap()).collect()
    }

    /// The hash that the log's lowest tile has for a record (C2SP tlog-tiles, of a log of less than 256
    /// records).
    pub fn tile_hash(&self, index: u64) -> String {
        let tile = fs::read_dir(self.path("audit/log/tile/0/000.p"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let widest = tile
            .max_by_key(|path| path.file_name().unwrap().to_string_lossy().parse::<u64>().unwrap())
            .unwrap();
        let at = usize::try_from(index).unwrap() * 32;
        BASE64.encode(fs::read(widest).unwrap().get(at..at + 32).unwrap())
    }

    /// Waits until the log of the running host holds such a record, and gives it.
    pub fn until_record(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let shown = self.run(&audit_show(&["--type", kind, "--format", "json"]));
            let records =
                shown.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            if let Some(record) = records.into_iter().find(|record| wanted(record)) {
                return record;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "the log never held such a `{kind}` record:\n{}{}",
                shown.out,
                shown.err
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The arguments of a command that shows a deployment's log, and these further ones.
pub fn audit_show<'a>(further: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["audit", "show", "--log", "audit/log", "--vkey", "log.vkey"];
    all.extend(further);
    all
}

/// RFC 6962 section 2.1: the hash of a leaf, base64.
pub fn leaf_hash(leaf: &str) -> String {
    BASE64.encode(Sha256::new().chain_update([0]).chain_update(leaf).finalize())
}

/// A digest as records write it.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
}

const PATIENCE: Duration = Duration::from_secs(20);

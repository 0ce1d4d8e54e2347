//! A log of ours before a verifier that we did not write: Go's `golang.org/x/mod/sumdb`.
//!
//! It fails where Go or its package is missing (Debian: `golang-go`, `golang-golang-x-mod-dev`),
//! unless `PORTCULLIS_SKIP_MISSING=1` allows to skip it.

#![expect(clippy::disallowed_methods, reason = "tests read and write what they made themselves")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[expect(dead_code, reason = "each program of tests uses a part of the file")]
#[path = "../../../tests/support/missing_tool.rs"]
mod missing_tool;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use missing_tool::skip;
use portcullis_audit::disk::OsDisk;
use portcullis_audit::{Entry, Log, Options, SealKey, Sealer};
use portcullis_keys::{SecretKey, SymmetricKey};
use portcullis_tlog::prove::prove;

#[test]
fn go_accepts_the_log_and_refuses_a_changed_one() {
    let Some(go) = GoVerifier::build() else {
        return skip("the Go verifier", "Debian's `golang-go` and `golang-golang-x-mod-dev`");
    };
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::generate("audit.hospital.example/2026").unwrap();
    let vkey = key.public().to_string();
    let clock = Arc::new(|| 1_790_000_000_000.into());
    let sealer = Sealer::new(SealKey::new(SymmetricKey::generate().unwrap()));
    let options =
        Options::new(dir.path().to_owned(), "default".into(), Arc::new(key.clone()), sealer, clock);
    let (log, _) = Log::open(options).unwrap();
    let append = |from: u64, to: u64| {
        let entry = |n| Entry {
            kind: "hook.decision",
            fields: format!(r#""n":{n}"#),
            sealed: Some(vec![7; 40]),
        };
        let pending: Vec<_> = (from..to).map(|n| log.append(entry(n)).unwrap()).collect();
        pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
        log.flush_checkpoint().unwrap();
    };
    let checkpoint = dir.path().join("log/checkpoint");
    let retained = dir.path().join("retained");
    append(0, 1111);
    fs::copy(&checkpoint, &retained).unwrap();
    append(1111, 3777);
    log.close().unwrap();

    let proof = dir.path().join("record.tlog-proof");
    fs::write(&proof, prove(&OsDisk, dir.path(), key.public(), 2222).unwrap().proof).unwrap();
    let log_dir = dir.path().join("log");
    let verify = |index: &str| go.run(&log_dir, &vkey, &retained, &proof, index);
    assert_eq!(verify("2222"), (true, "OK 3777\n".into()));
    assert!(!verify("2223").0, "the proof is of one record");

    // A byte inside entry 1000, a hash, the signed text, and the signature.
    let changes = [
        ("tile/entries/003", 30_000),
        ("tile/0/005", 77),
        ("tile/1/000.p/14", 3),
        ("checkpoint", 30),
        ("checkpoint", 150),
    ];
    for (file, at) in changes {
        let path = log_dir.join(file);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let at = at % good.len();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        let (accepted, said) = verify("2222");
        assert!(!accepted, "{file} at {at}: {said}");
        fs::write(&path, good).unwrap();
    }
    assert!(verify("2222").0);
    // The tail cut: whole in itself, but not consistent with what was kept.
    fs::copy(&checkpoint, dir.path().join("later")).unwrap();
    fs::copy(&retained, &checkpoint).unwrap();
    fs::copy(dir.path().join("later"), &retained).unwrap();
    assert!(!verify("2222").0);
}

struct GoVerifier {
    _dir: tempfile::TempDir,
    binary: PathBuf,
}

impl GoVerifier {
    fn build() -> Option<Self> {
        let gopath = env::var("PORTCULLIS_GOPATH").unwrap_or_else(|_| "/usr/share/gocode".into());
        if !Path::new(&gopath).join("src/golang.org/x/mod/sumdb/tlog").is_dir() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("verify");
        let source =
            Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/go/verify.go");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&binary).arg(source);
        go.env("GO111MODULE", "off").env("GOPATH", gopath).env("GOFLAGS", "");
        if env::var_os("HOME").is_none() {
            go.env("GOCACHE", dir.path().join("cache"));
        }
        match go.output() {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                Some(Self { _dir: dir, binary })
            }
            Err(_) => None,
        }
    }

    fn run(
        &self,
        log: &Path,
        vkey: &str,
        retained: &Path,
        proof: &Path,
        index: &str,
    ) -> (bool, String) {
        let output = Command::new(&self.binary)
            .arg(log)
            .arg(vkey)
            .arg(retained)
            .arg(proof)
            .arg(index)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

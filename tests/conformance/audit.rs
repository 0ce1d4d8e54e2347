//! `portcullis audit`: a log that is whole verifies, every record can be shown and proved without the host,
//! and damage is named where it is.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::{Host, Raw, SECRET, SignIn, TestDeployment, audit_show, golden, normal};
use serde_json::{Value, json};

#[test]
fn a_log_is_verified_shown_and_proved_and_damage_is_named() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    let early = calls(&host, 20);
    // What somebody keeps elsewhere, to find a cut tail by.
    deployment.until_record("hook.decision", |record| record["seq"].as_u64() == Some(early));
    fs::copy(deployment.path("audit/log/checkpoint"), deployment.path("kept")).unwrap();
    let last = calls(&host, 260);
    host.stop();

    let whole = deployment.verify();
    assert_eq!(whole.code, 0, "{}", whole.err);
    golden("verify.txt", &normal(&whole.out, &["complete and unaltered: ", " records in "]));
    let verify = |more: &[&str]| {
        deployment
            .run(&[&["audit", "verify", "--log", "audit/log", "--vkey", "log.vkey"], more].concat())
    };
    let told: Value =
        serde_json::from_str(&verify(&["--format", "json", "--retained", "kept", "--sealed"]).out)
            .unwrap();
    assert_eq!(told["origin"], "test.example/hooks/2026");
    assert!(
        told["size"].as_u64() > Some(last) && told["continues"].as_u64() > Some(early),
        "{told}"
    );
    assert!(told["sealed"].as_u64() >= Some(280), "{told}");
    assert_eq!(verify(&["--sealing-key", "keys/sealing.key"]).code, 0);
    assert_eq!(
        verify(&["--sealing-key", "keys/pseudonym.key"]).code,
        1,
        "another key opens nothing"
    );

    shown(&deployment, last);
    proved(&deployment, last);
    damaged(&deployment);
}

/// This many calls; the last one's index.
fn calls(host: &Host, count: usize) -> u64 {
    let mut client = host.client();
    let mut index = None;
    for _ in 0..count {
        let call = Raw::post("/okta/token", SECRET, &SignIn::with_groups(&["ward-reader"]).bytes());
        index = client.send(&call).unwrap().index();
    }
    index.unwrap()
}

fn shown(deployment: &TestDeployment, last: u64) {
    let show = |more: &[&str]| {
        let shown = deployment.must(&audit_show(&[&["--format", "json"], more].concat()));
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let all = show(&[]);
    let numbers: Vec<_> = all.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "every record, in order");
    assert_eq!(
        (&all[0]["t"], &all[all.len() - 1]["t"]),
        (&json!("host.start"), &json!("host.stop"))
    );
    assert_eq!(show(&["--type", "hook.decision"]).len(), 280);
    assert_eq!(show(&["--type", "host."]).len(), 2, "a dot at the end: all types that begin so");
    assert_eq!(show(&["--index", &last.to_string()])[0], all[usize::try_from(last).unwrap()]);
    let (from, to) = (all[100]["at"].to_string(), all[200]["at"].to_string());
    let between = show(&["--since", &from, "--until", &to]);
    assert!(between.iter().all(|record| (100..200).contains(&record["seq"].as_u64().unwrap())
        || record["at"] == all[100]["at"]));
    assert!(!between.is_empty() && between.len() < all.len());
    assert!(show(&["--since", "2099-01-01T00:00:00Z"]).is_empty());
    let sealed = show(&["--index", &last.to_string(), "--sealing-key", "keys/sealing.key"]);
    assert_eq!(sealed[0]["record"], all[usize::try_from(last).unwrap()]);
    assert_eq!(
        sealed[0]["sealed"]["request"]["data"]["context"]["user"]["profile"]["firstName"],
        "Noor"
    );
    assert!(
        !all.iter().any(|record| record.to_string().contains("Noor")),
        "without the key there are no names"
    );
    let text = deployment.must(&audit_show(&["--index", "0"]));
    assert!(text.starts_with("0 20") && text.contains("host.start"), "{text}");
}

fn proved(deployment: &TestDeployment, last: u64) {
    let index = last.to_string();
    let prove = [
        "audit",
        "prove",
        "--log",
        "audit/log",
        "--vkey",
        "log.vkey",
        "--index",
        &index,
        "--output",
        "record.tlog-proof",
    ];
    deployment.must(&prove);
    let (proof, record) = (deployment.read("record.tlog-proof"), deployment.read("record.json"));
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\n"), "{proof}");
    assert_eq!(record, deployment.leaf(last));
    let check = || {
        deployment.run(&[
            "audit",
            "prove",
            "--check",
            "record.tlog-proof",
            "--record",
            "record.json",
            "--vkey",
            "log.vkey",
        ])
    };
    let checked = check();
    assert_eq!(checked.code, 0, "{}", checked.err);
    golden("prove-check.txt", &normal(&checked.out, &["number ", "checkpoint of "]));
    // The proof stands without the log: only the three files matter, and each of them does.
    fs::rename(deployment.path("audit"), deployment.path("elsewhere")).unwrap();
    assert_eq!(check().code, 0);
    fs::rename(deployment.path("elsewhere"), deployment.path("audit")).unwrap();
    deployment
        .write("record.json", record.replace("\"verdict\":\"abstain\"", "\"verdict\":\"allow\""));
    assert_eq!(check().code, 1, "another record");
    deployment.write("record.json", &record);
    deployment.write(
        "record.tlog-proof",
        proof.replace(&format!("index {index}"), &format!("index {}", last - 1)),
    );
    assert_eq!(check().code, 1, "another place");
    deployment.write("record.tlog-proof", &proof);
    let key = deployment.read("log.vkey");
    deployment.must(&[
        "keys",
        "generate",
        "--name",
        "test.example/hooks/2026",
        "--output",
        "o.key",
        "--vkey",
        "log.vkey",
    ]);
    assert_eq!(check().code, 1, "a log of the same name and another key");
    assert_eq!(deployment.verify().code, 1);
    deployment.write("log.vkey", key);
    let beyond = [&prove[..6], &["--index", "100000", "--output", "none.tlog-proof"]].concat();
    assert_eq!(deployment.run(&beyond).code, 3, "a record that is not there");
}

/// Every file of the log, changed in several places, cut and taken away.
fn damaged(deployment: &TestDeployment) {
    let log = deployment.path("audit/log");
    let mut files = Vec::new();
    below(&log, &mut files);
    assert!(files.len() >= 5, "a checkpoint, tiles of two levels and records: {files:?}");
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let place = file.strip_prefix(&log).unwrap().to_string_lossy().into_owned();
        fs::remove_file(file).unwrap();
        // Checkpoints that were due meanwhile leave narrower tiles, which wider ones have replaced:
        // nothing that is signed now is in them.
        if place.contains(".p/") && deployment.verify().code == 0 {
            continue;
        }
        named(deployment, &place, "taken away");
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 2] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(file, changed).unwrap();
            named(deployment, &place, &format!("byte {at}"));
        }
        fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
        named(deployment, &place, "cut");
        fs::write(file, &bytes).unwrap();
    }
    assert_eq!(deployment.verify().code, 0, "everything is back");
    let entries = log.join("tile/entries/000");
    let bytes = fs::read(&entries).unwrap();
    let said = br#""verdict":"abstain""#;
    let at = bytes.windows(said.len()).rposition(|window| window == said).unwrap();
    let mut changed = bytes.clone();
    changed[at + said.len() - 2] = b'T';
    fs::write(&entries, changed).unwrap();
    golden("verify-damaged.txt", &normal(&deployment.verify().out, &["record "]));
    fs::write(&entries, bytes).unwrap();
    cut_back(deployment, &log);
}

/// Who cuts the log back to an earlier state, whole in itself, is found by the checkpoint that somebody kept.
fn cut_back(deployment: &TestDeployment, log: &Path) {
    let now = fs::read(log.join("checkpoint")).unwrap();
    fs::write(deployment.path("kept-late"), &now).unwrap();
    fs::copy(deployment.path("kept"), log.join("checkpoint")).unwrap();
    let verify =
        ["audit", "verify", "--log", "audit/log", "--vkey", "log.vkey", "--retained", "kept-late"];
    let found = deployment.run(&verify);
    assert_eq!(found.code, 1, "{}", found.out);
    assert!(found.out.contains("retained checkpoint"), "{}", found.out);
    fs::write(log.join("checkpoint"), now).unwrap();
}

/// `audit verify` ends with 1 and names the file.
fn named(deployment: &TestDeployment, place: &str, how: &str) {
    let found = deployment.verify();
    assert_eq!(found.code, 1, "`{place}`, {how}: not found\n{}", found.out);
    assert!(found.out.contains(place), "`{place}`, {how}: another place is named\n{}", found.out);
}

fn below(directory: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { below(&path, files) } else { files.push(path) }
    }
}

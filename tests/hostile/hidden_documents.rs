//! Folders that somebody filled with junk: a document that comes later is read all the same, and the host tells that
//! there are more files than it reads.

use std::fs;

use portcullis_tests::{Binding, CONFLICT, Host, SignIn, TestDeployment, duties, log_event};
use serde_json::Value;

/// Fills a folder with files whose names come before and after all others, some of them read as JSON.
fn junk(deployment: &TestDeployment, folder: &str, files: usize) {
    fs::create_dir_all(deployment.path(folder)).unwrap();
    for number in 0..files {
        let name = if number % 2 == 0 { "!" } else { "~" };
        let text = if number % 3 == 0 { "{}" } else { "" };
        deployment.write(&format!("{folder}/{name}{number:05}.json"), text);
    }
}

fn warnings(host: &Host) -> Vec<String> {
    let body: Value = serde_json::from_slice(&host.admin("/ready").body).unwrap();
    let warnings = body["warnings"].as_array().unwrap().iter();
    warnings.map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

fn clear(deployment: &TestDeployment, folder: &str) {
    for entry in fs::read_dir(deployment.path(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('!') || name.starts_with('~') {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn junk_hides_no_clock_confirmation() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    junk(&deployment, "time-documents", 200);
    let host = deployment.serve();
    let confirm = |name: &str| {
        deployment.must(&[
            "trust",
            "confirm-clock",
            "--vkey",
            "log.vkey",
            "--root",
            "trust-root.json",
            "--key",
            "keys/release.key",
            "--person",
            "noor.haddad",
            "--reason",
            "a-test",
            "--ticket",
            "CHG-1",
            "--output",
            &format!("time-documents/{name}.json"),
        ]);
    };
    confirm("clock");
    host.reload_until(["clock.confirmation"]);
    assert!(deployment.path("time-documents/clock.json.used").exists());
    assert!(warnings(&host).contains(&"time-documents-overfull".to_owned()));
    assert!(host.log().has("trust.folder-overfull"), "{}", host.log());
    // It ends with the junk.
    clear(&deployment, "time-documents");
    host.reload_until(["config.unchanged"]);
    host.reload_until(["config.unchanged"]);
    assert!(!warnings(&host).contains(&"time-documents-overfull".to_owned()));
    host.stop();
    assert_eq!(deployment.records_of("trust.clock-confirmation").len(), 1);
}

#[test]
fn junk_hides_no_trust_root() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    junk(&deployment, "trust-roots", 10_100);
    let host = deployment.serve();
    let ran = deployment.next_root(2, &["root"], |source| source);
    assert_eq!(ran.code, 0, "{ran:?}");
    host.reload_until([log_event("trust.root-accepted").field("version", 2)]);
    assert!(warnings(&host).contains(&"trust-roots-overfull".to_owned()), "{:?}", warnings(&host));
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.stop();
    // A start without the host's own copy finds it as well.
    fs::remove_dir_all(deployment.path("trust-state/roots")).unwrap();
    let host = deployment.serve();
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    clear(&deployment, "trust-roots");
    host.reload_until(["config.unchanged"]);
    host.reload_until(["config.unchanged"]);
    assert!(!warnings(&host).contains(&"trust-roots-overfull".to_owned()));
    host.stop();
}

//! Folders that somebody filled with junk: a document that comes later is read all the same, and the host tells that
//! there are more files than it reads.

use std::fs;

use portcullis_tests::{Binding, CONFLICT, Host, House, SignIn, duties, log_event};
use serde_json::Value;

/// Fills a folder with files whose names come before and after all others, some of them read as JSON.
fn junk(house: &House, folder: &str, files: usize) {
    fs::create_dir_all(house.path(folder)).unwrap();
    for number in 0..files {
        let name = if number % 2 == 0 { "!" } else { "~" };
        let text = if number % 3 == 0 { "{}" } else { "" };
        house.write(&format!("{folder}/{name}{number:05}.json"), text);
    }
}

fn warnings(host: &Host) -> Vec<String> {
    let body: Value = serde_json::from_slice(&host.admin("/ready").body).unwrap();
    let warnings = body["warnings"].as_array().unwrap().iter();
    warnings.map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

fn clear(house: &House, folder: &str) {
    for entry in fs::read_dir(house.path(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('!') || name.starts_with('~') {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn junk_hides_no_clock_confirmation() {
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    junk(&house, "time-documents", 200);
    let host = house.serve();
    let confirm = |name: &str| {
        house.must(&[
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
    assert!(house.path("time-documents/clock.json.used").exists());
    assert!(warnings(&host).contains(&"time-documents-overfull".to_owned()));
    assert!(host.log().has("trust.folder-overfull"), "{}", host.log());
    // It ends with the junk.
    clear(&house, "time-documents");
    host.reload_until(["config.unchanged"]);
    host.reload_until(["config.unchanged"]);
    assert!(!warnings(&host).contains(&"time-documents-overfull".to_owned()));
    host.stop();
    assert_eq!(house.records_of("trust.clock-confirmation").len(), 1);
}

#[test]
fn junk_hides_no_trust_root() {
    let house = House::build(&[Binding::new("token", "sod", duties())]);
    house.configure("watch_ms = 500", "watch_ms = 0");
    junk(&house, "trust-roots", 10_100);
    let host = house.serve();
    let ran = house.next_root(2, &["root"], |source| source);
    assert_eq!(ran.code, 0, "{ran:?}");
    host.reload_until([log_event("trust.root-accepted").field("version", 2)]);
    assert!(warnings(&host).contains(&"trust-roots-overfull".to_owned()), "{:?}", warnings(&host));
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    host.stop();
    // A start without the host's own copy finds it as well.
    fs::remove_dir_all(house.path("trust-state/roots")).unwrap();
    let host = house.serve();
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    clear(&house, "trust-roots");
    host.reload_until(["config.unchanged"]);
    host.reload_until(["config.unchanged"]);
    assert!(!warnings(&host).contains(&"trust-roots-overfull".to_owned()));
    host.stop();
}

//! Compiled plugins are kept: a restart compiles nothing, and nobody but the host can read or change what is kept.

use std::fs;
use std::path::PathBuf;

use portcullis_tests::{Binding, CONFLICT, Host, SignIn, TestDeployment, duties};
use serde_json::{Value, json};

/// How plugins came to be ready since the host was started.
fn plugins(host: &Host) -> (u64, u64, u64) {
    let told: Value = host.admin("/status").json;
    let count = |name: &str| told["plugins"][name].as_u64().unwrap();
    (count("made"), count("from_cache"), count("not_believed"))
}

fn entries(deployment: &TestDeployment) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(deployment.path("plugin-cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

/// Starts, sees that it decides, and gives how its plugins came to be.
fn start(deployment: &TestDeployment) -> (u64, u64, u64) {
    let host = deployment.serve();
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token());
    let counts = plugins(&host);
    let from = |from: &str| {
        host.metric(&format!("portcullis_plugin_preparations_total{{source=\"{from}\"}}"))
    };
    assert_eq!(
        (from("compiled"), from("cache"), from("cache-rejected")),
        (counts.0 as f64, counts.1 as f64, counts.2 as f64)
    );
    host.stop();
    counts
}

#[test]
fn a_restart_compiles_nothing_and_what_is_not_the_hosts_own_is_made_again() {
    let mut settings = duties();
    settings["functions"]["PATIENT-DOE-IN-SETTINGS"] = json!(["patient-doe-grant"]);
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", settings.clone())]);
    deployment.must(&["check", "--config", "portcullis.toml"]);
    assert!(
        !deployment.path("plugin-cache").exists(),
        "check keeps nothing: the files are to be the host's own"
    );
    assert_eq!(start(&deployment), (1, 0, 0));
    assert_eq!(start(&deployment), (0, 1, 0), "nothing was compiled");
    let records = deployment.records_of("release.active");
    let snapshots: Vec<_> =
        records.iter().map(|record| &record["bindings"][0]["snapshot"]).collect();
    assert!(
        snapshots.len() == 2 && snapshots[0] == snapshots[1],
        "made or kept, it is the same: {snapshots:?}"
    );

    let [entry] = entries(&deployment).try_into().unwrap();
    let good = fs::read(&entry).unwrap();
    for control in ["PATIENT-DOE-IN-SETTINGS", "patient-doe-grant"] {
        let holds =
            |bytes: &[u8]| bytes.windows(control.len()).any(|bytes| bytes == control.as_bytes());
        assert!(
            holds(&fs::read(deployment.path("release/settings/1-0.json")).unwrap()),
            "the control is where it was planted"
        );
        assert!(!holds(&good), "settings name people");
    }
    let altered = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let last = good.len() - 1;
    for spoilt in [
        altered(0),
        altered(5),
        altered(last / 2),
        altered(last),
        good[..last].to_vec(),
        Vec::new(),
    ] {
        fs::write(&entry, spoilt).unwrap();
        let host = deployment.serve();
        assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
        assert_eq!(plugins(&host), (1, 0, 1));
        assert!(host.stop().has("cache.corrupt"), "and it is said");
    }
    assert_eq!(start(&deployment), (0, 1, 0), "what was made again was kept again");

    // Another plugin's entry in its place, and another host's under its name.
    settings["rules"][0]["owner"] = json!("somebody else");
    deployment.release(&[Binding::new("token", "sod", settings)]);
    assert_eq!(start(&deployment), (1, 0, 0), "other settings, another entry");
    let other = entries(&deployment).into_iter().find(|path| *path != entry).unwrap();
    fs::copy(&entry, &other).unwrap();
    assert_eq!(start(&deployment), (1, 0, 1));
    let foreign = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    assert_eq!(start(&foreign), (1, 0, 0));
    fs::copy(&entries(&foreign)[0], &other).unwrap();
    assert_eq!(start(&deployment), (1, 0, 1));
    assert_eq!(start(&deployment), (0, 1, 0));
}

#[test]
fn the_cache_is_no_larger_than_it_may_be() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.serve().stop();
    let [first] = entries(&deployment).try_into().unwrap();
    let size = fs::metadata(&first).unwrap().len();
    // Room for one and a half.
    deployment
        .configure("[audit]", &format!("[engine]\ncache_bytes = {}\n\n[audit]", size + size / 2));
    let mut settings = duties();
    settings["rules"][0]["owner"] = json!("the other pharmacy");
    deployment.release(&[Binding::new("token", "sod", settings)]);
    deployment.serve().stop();
    let [second] = entries(&deployment).try_into().unwrap();
    assert_ne!(first, second, "the one that was not used went");
    deployment.configure(&format!("cache_bytes = {}", size + size / 2), "cache_bytes = 0");
    fs::remove_file(&second).unwrap();
    assert_eq!(start(&deployment), (1, 0, 0));
    assert!(entries(&deployment).is_empty(), "0 keeps nothing");
}

//! Folders that are not there yet at the start: a log and a state whose disk is mounted late. Renamed folders stand for
//! mounts: the paths name other folders than before.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Binding, CONFLICT, Host, SignIn, TestDeployment, binary, duties};

const CHECK: [&str; 3] = ["check", "--config", "portcullis.toml"];

/// A deployment that has served, and whose folders are not mounted: empty ones lie in their place.
fn unmounted(folders: &[&str]) -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    for _ in 0..5 {
        assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    }
    host.stop();
    for folder in folders {
        fs::create_dir_all(deployment.path("disk")).unwrap();
        fs::rename(deployment.path(folder), deployment.path("disk").join(folder)).unwrap();
        fs::create_dir(deployment.path(folder)).unwrap();
    }
    deployment
}

/// What lay in the folders' place is hidden, and the folders are there.
fn mount(deployment: &TestDeployment, folders: &[&str]) {
    for folder in folders {
        fs::create_dir_all(deployment.path("hidden")).unwrap();
        fs::rename(deployment.path(folder), deployment.path("hidden").join(folder)).unwrap();
        fs::rename(deployment.path("disk").join(folder), deployment.path(folder)).unwrap();
    }
}

fn until(what: &str, host: &Host, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what} never:\n{}", host.log());
        thread::sleep(Duration::from_millis(20));
    }
}

fn ready(host: &Host) -> String {
    String::from_utf8(host.admin("/ready").body).unwrap()
}

fn harmless(host: &Host) -> bool {
    !host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// Every file of a folder, with its content.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(content(&path));
        } else {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn a_log_and_a_state_that_are_mounted_late_stop_the_host_and_take_no_harm() {
    let both = ["audit", "trust-state"];
    for folders in [&both[..], &both[..1], &both[1..]] {
        // Unless both are missing the state, or the log, tells that there was one: then they are exchanged later.
        let missing = if folders.len() == 2 { folders } else { &[] };
        let deployment = unmounted(missing);
        let host = deployment.serve();
        assert!(harmless(&host), "{folders:?}");
        if missing.is_empty() {
            for folder in folders {
                fs::create_dir_all(deployment.path("disk")).unwrap();
                let to = deployment.path("disk").join(folder);
                assert!(
                    Command::new("cp")
                        .arg("-a")
                        .arg(deployment.path(folder))
                        .arg(to)
                        .status()
                        .unwrap()
                        .success()
                );
            }
        }
        mount(&deployment, folders);
        let before: Vec<_> =
            folders.iter().map(|folder| content(&deployment.path(folder))).collect();
        until("safe answers", &host, || !harmless(&host));
        let said = ready(&host);
        assert!(said.contains("log-stopped") && said.contains("names another folder"), "{said}");
        for _ in 0..5 {
            assert!(!harmless(&host), "it stays stopped");
        }
        host.stop();
        let after: Vec<_> =
            folders.iter().map(|folder| content(&deployment.path(folder))).collect();
        assert_eq!(
            before, after,
            "{folders:?}: nothing was written into the folders that came later"
        );
        if folders.len() < 2 {
            continue;
        }
        assert_eq!(deployment.verify().code, 0, "{:?}", deployment.verify());
        let host = deployment.serve();
        assert!(harmless(&host), "the restart takes up the log that is there");
        host.stop();
        assert_eq!(deployment.verify().code, 0);
    }
}

#[test]
fn a_log_is_not_begun_while_the_folder_above_it_is_missing_and_never_silently() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("directory = \"audit\"", "directory = \"disk/audit\"");
    let check = || deployment.run(&["check", "--config", "portcullis.toml"]);
    let missing = check();
    assert_eq!(missing.code, 64, "{}{}", missing.out, missing.err);
    assert!(missing.err.contains("its parent folder"), "{}", missing.err);
    fs::create_dir(deployment.path("disk")).unwrap();
    let first = check();
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    assert!(first.out.contains("the folder `disk/audit` has no log"), "{}", first.out);
    fs::remove_dir(deployment.path("disk")).unwrap();
    let host = Host::begin_with(&deployment.path(""), Command::new(binary()));
    until("the reason", &host, || ready(&host).contains("its parent folder"));
    assert!(!harmless(&host), "the safe answer");
    assert!(!deployment.path("disk").exists(), "nothing is made");
    // The disk is there, and this is its first start: the host goes on by itself, and says what it
    // does.
    fs::create_dir(deployment.path("disk")).unwrap();
    until("a decision", &host, || harmless(&host));
    host.wait_for("log.begun");
    host.stop();
    let later = check();
    assert!(later.code == 0 && !later.out.contains("has no log"), "{}", later.out);
    let host = deployment.serve();
    let log = host.stop();
    assert!(!log.has("log.begun"), "{log}");

    // The same of the host's own folder, which is never made with the folders above it.
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("[trust]\n", "[trust]\nstate = \"disk/state\"\n");
    let host = Host::begin_with(&deployment.path(""), Command::new(binary()));
    until("the reason", &host, || ready(&host).contains("its parent folder"));
    assert!(
        !deployment.path("disk").exists() && !deployment.path("audit").exists(),
        "nothing is made"
    );
    fs::create_dir(deployment.path("disk")).unwrap();
    until("a decision", &host, || harmless(&host));
    host.stop();
}

#[test]
fn a_log_that_is_missing_is_waited_for_and_not_begun_anew() {
    for (folders, setting) in
        [(&["audit"][..], ""), (&["audit", "trust-state"][..], "must_exist = true\n")]
    {
        let deployment = unmounted(folders);
        deployment.configure("[audit]\n", &format!("[audit]\n{setting}"));
        let checked = deployment.run(&CHECK);
        assert_eq!(checked.code, 64, "{folders:?}: {}{}", checked.out, checked.err);
        assert!(checked.err.contains("holds no log of this host"), "{}", checked.err);
        assert!(is_empty(&deployment.path("audit")), "`check` writes nothing");
        let host = Host::begin_with(&deployment.path(""), Command::new(binary()));
        until("the reason", &host, || ready(&host).contains("holds no log of this host"));
        assert!(!harmless(&host), "the safe answer");
        assert!(is_empty(&deployment.path("audit")), "nothing is made below the mount point");
        // The attempts go on, and say the same.
        let failures = |host: &Host| host.admin("/status").json["start"]["failures"].as_u64();
        let before = failures(&host);
        until("a further attempt", &host, || failures(&host) > before.map(|count| count + 1));
        assert!(ready(&host).contains("holds no log of this host"), "{}", ready(&host));
        mount(&deployment, folders);
        until("a decision", &host, || harmless(&host));
        deployment.must(&CHECK);
        host.stop();
        deployment.must(&CHECK);
        assert_eq!(deployment.verify().code, 0);
        assert!(is_empty(&deployment.path("hidden/audit")));
        assert!(!deployment.path("audit/retired").exists());
        assert!(deployment.records_of("log.retired").is_empty());
    }
}

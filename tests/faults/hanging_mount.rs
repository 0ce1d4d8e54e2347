//! A release folder whose file system does not answer: everything that does not need it goes on,
//! and a stop is in order.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Host, Raw, require_tool};

use super::answer_ledger::sign_in;
use super::{deployment, trace};

#[test]
fn a_mount_that_hangs_is_a_warning_and_holds_up_neither_calls_nor_trust_nor_secrets_nor_a_stop() {
    let deployment = deployment();
    deployment.configure("watch_ms = 500", "watch_ms = 100");
    // Every call that names this file stays in the kernel for an hour, from when the file is there.
    let inject = "inject=statx,openat:delay_enter=3600000000";
    let hangs = ["-q", "-o", "/dev/null", "-P", SLOW, "-e", inject];
    let command = require_tool!(trace::strace(&hangs));
    let host = Host::start_with(&deployment.path(""), command);
    assert!(!host.sign_in(&sign_in()).stops_a_token());
    deployment.write(SLOW, "{}");
    until_warned(&host, "release-folder-stalled");
    let ready = host.admin("/ready");
    assert_eq!(ready.status, 200, "a condition that all replicas share is no reason: {ready:?}");
    assert!(!host.sign_in(&sign_in()).stops_a_token(), "calls are decided");
    // A trust root, which may revoke, and a secret are taken meanwhile.
    assert_eq!(deployment.next_root(2, &["root"], |source| source).code, 0);
    host.wait_for("trust.root-accepted");
    let secret = "another secret of the hook";
    let fresh = deployment.path("secrets/fresh");
    fs::write(&fresh, secret).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&fresh, deployment.path("secrets/token")).unwrap();
    let request = Raw::post("/okta/token", secret, &sign_in().bytes());
    let begin = Instant::now();
    while host.client().send(&request).unwrap().status != 200 {
        assert!(begin.elapsed() < PATIENCE, "the secret was never taken:\n{}", host.log());
        thread::sleep(Duration::from_millis(50));
    }
    let begin = Instant::now();
    host.signal("TERM");
    // The process has ended; its threads in the kernel stay for as long as strace keeps them there.
    let process = format!("/proc/{}/stat", host.id());
    while fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z ")) {
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(8), "the stop took {took:?}:\n{}", host.log());
        thread::sleep(Duration::from_millis(20));
    }
    drop(host);
    assert_eq!(deployment.verify().code, 0);
    assert_eq!(deployment.records_of("host.stop").len(), 1, "the stop was in order");
}

#[test]
fn what_a_slow_folder_holds_at_a_signal_is_taken_in_the_end_although_nothing_is_watched() {
    let deployment = deployment();
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    // Every call that names this file takes longer than a look waits for a poll.
    let inject = "inject=statx,openat:delay_enter=2500000";
    let slow = ["-q", "-o", "/dev/null", "-P", "trust-roots/2.json", "-e", inject];
    let command = require_tool!(trace::strace(&slow));
    let host = Host::start_with(&deployment.path(""), command);
    assert_eq!(deployment.next_root(2, &["root"], |source| source).code, 0);
    host.signal("HUP");
    // Some ten slow calls, and pauses between the looks.
    host.wait_for_within("trust.root-accepted", 4 * PATIENCE);
    assert!(!host.sign_in(&sign_in()).stops_a_token());
    host.stop();
    assert_eq!(deployment.verify().code, 0);
}

/// Waits until `/ready` warns of this.
fn until_warned(host: &Host, code: &str) {
    let begin = Instant::now();
    while !host.admin("/ready").json["warnings"].to_string().contains(code) {
        assert!(begin.elapsed() < PATIENCE, "no warning `{code}`: {:?}", host.admin("/ready"));
        thread::sleep(Duration::from_millis(100));
    }
}

/// A file in the release folder.
const SLOW: &str = "release/plugins/slow.json";
const PATIENCE: Duration = Duration::from_secs(60);

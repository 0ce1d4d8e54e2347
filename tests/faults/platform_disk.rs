//! The simulated platform beside a disk that is full or broken, and a clock that jumps: its account
//! and the log's are equal in the end.

use std::process::Command;

use portcullis_tests::{Host, MovedClock, binary, require_tool};
use serde_json::json;

use super::platform::{Platform, deployment};
use super::trace;

#[test]
fn on_a_disk_that_is_full_at_the_start_calls_get_safe_answers_until_there_is_room() {
    let deployment = deployment();
    drop(deployment.serve().stop());
    // Every write to a file gives an error, as on a full disk.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -S -f 0; exec \"$@\"", "sh"]).arg(binary());
    let host = Host::begin_with(&deployment.path(""), command);
    let platform = Platform::of(host.address());
    platform.while_calling(|| {
        host.wait_for("start.failed");
        platform.until_answers(30);
        assert_eq!(host.admin("/ready").json["reasons"][0]["code"], json!("starting"));
        limit(&host, "unlimited:unlimited");
        host.until_started();
        platform.until_decisions(10);
    });
    host.stop();
    let account = platform.account();
    assert!(account.unrecorded >= 30 && account.lost == 0, "{account:?}");
    account.equals(&deployment);
}

#[test]
fn on_a_disk_that_becomes_full_every_answer_is_accounted_for_by_the_next_start() {
    let deployment = deployment();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(binary());
    let host = Host::start_with(&deployment.path(""), command);
    let platform = Platform::of(host.address());
    platform.while_calling(|| {
        platform.until_decisions(10);
        limit(&host, "16384:unlimited");
        platform.until_answers(100);
    });
    drop(host.stop());
    drop(deployment.serve().stop());
    let account = platform.account();
    assert!(account.unrecorded > 50 && account.lost == 0, "{account:?}");
    account.equals(&deployment);
}

#[test]
fn on_a_disk_whose_sync_fails_every_answer_is_accounted_for_by_the_next_start() {
    let deployment = deployment();
    let inject = "inject=fdatasync:error=EIO:when=20";
    let quiet = ["-q", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject];
    let command = require_tool!(trace::strace(&quiet));
    let host = Host::start_with(&deployment.path(""), command);
    let platform = Platform::of(host.address());
    platform.while_calling(|| {
        host.wait_for("log.stopped");
        platform.until_answers(50);
    });
    drop(host.stop());
    drop(deployment.serve().stop());
    let account = platform.account();
    assert!(account.unrecorded >= 40 && account.lost == 0, "{account:?}");
    account.equals(&deployment);
}

#[test]
fn a_clock_that_jumps_changes_no_account() {
    let deployment = deployment();
    let clock = MovedClock::new();
    let host = clock.serve(&deployment);
    let platform = Platform::of(host.address());
    platform.while_calling(|| {
        for ahead in [400 * DAY, -400 * DAY, 3_600, 0] {
            clock.ahead(ahead);
            platform.until_decisions(20);
        }
    });
    host.stop();
    let account = platform.account();
    assert_eq!((account.unrecorded, account.lost), (0, 0), "{account:?}");
    account.equals(&deployment);
}

/// Limits how long a file of the host may become, bytes.
fn limit(host: &Host, bytes: &str) {
    let limit = [format!("--pid={}", host.id()), format!("--fsize={bytes}")];
    assert!(Command::new("prlimit").args(limit).status().unwrap().success());
}

/// Seconds.
const DAY: i64 = 24 * 60 * 60;

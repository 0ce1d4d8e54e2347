//! Standard error that cannot be written: the host loses log lines, and nothing else.

use std::fs::File;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Binding, CONFLICT, Host, Raw, SignIn, TestDeployment, binary, duties};

/// Serves with standard error as this shell command leaves it.
fn serve(deployment: &TestDeployment, shell: &str) -> Host {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{shell}; exec \"$@\""), "bash"]).arg(binary());
    let host = Host::begin_with(&deployment.path(""), command);
    let begin = Instant::now();
    while host.admin("/ready").status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(60), "the host is never ready");
        thread::sleep(Duration::from_millis(50));
    }
    host
}

/// Everything is answered: also what is written to the log, by whichever thread.
fn answers_everything(host: &Host, what: &str) {
    assert!(host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(), "{what}");
    assert!(!host.sign_in(&SignIn::with_groups(&["ward-reader"])).stops_a_token(), "{what}");
    for number in 0..12 {
        let body = SignIn::with_groups(&CONFLICT).bytes();
        let wrong = Raw::post("/okta/token", "not the secret", &body);
        assert!(host.client().send(&wrong).is_ok(), "{what}: call {number} without the secret");
        assert!(host.client().send(&host.request("nowhere", &body)).is_ok(), "{what}: {number}");
        assert!(host.client().send(&host.request("token", b"{}")).is_ok(), "{what}: {number}");
    }
}

#[test]
fn log_lines_that_cannot_be_written_cost_nothing_else() {
    for (what, shell) in [
        ("a full disk", "exec 2>/dev/full"),
        ("a reader that had ended", "mkfifo log; exec 3<>log 2>log 3>&-"),
        ("a reader that ends", "exec 2>log"),
        (
            "a reader that does not read",
            "mkfifo log; exec 3<>log 2>log; head -c 65536 /dev/zero >&3",
        ),
    ] {
        let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
        let reader = (what == "a reader that ends").then(|| {
            let log = deployment.path("log");
            assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
            File::options().read(true).write(true).open(log).unwrap()
        });
        let host = serve(&deployment, shell);
        answers_everything(&host, what);
        drop(reader);
        // Housekeeping and the admin listener go on: a further release becomes active.
        deployment.release(&[Binding::new("token", "sod", duties())]);
        host.signal("HUP");
        let begin = Instant::now();
        while host.metric("portcullis_ready") < 1.0 || !decides_by_release_2(&host) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{what}: no further release");
            thread::sleep(Duration::from_millis(50));
        }
        answers_everything(&host, what);
        if what != "a reader that does not read" {
            assert!(host.metric("portcullis_log_lines_lost_total") > 0.0, "{what}");
        }
        host.stop();
        assert_eq!(deployment.verify().code, 0, "{what}");
    }
}

fn decides_by_release_2(host: &Host) -> bool {
    let status = host.admin("/status");
    let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
    status["generation"]["number"] == 2
}

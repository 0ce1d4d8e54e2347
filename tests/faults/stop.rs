//! A stop in order, under load; and a second process on the same directories.

use std::process::Command;

use portcullis_tests::{Host, binary};
use serde_json::json;

use super::answer_ledger::{Ledger, sign_in};
use super::deployment;

#[test]
fn a_stop_lets_calls_in_progress_end_and_loses_nothing() {
    let deployment = deployment();
    let ledger = Ledger::default();
    for life in 0..2 {
        let host = deployment.serve();
        let address = host.address().to_owned();
        let before = ledger.len();
        ledger.under_load(host, |host| {
            ledger.until(before + 50);
            let in_progress: Vec<_> = (0..8)
                .map(|_| {
                    let body = sign_in().event(&portcullis_tests::event()).bytes();
                    host.client().begin(&host.request("token", &body)).unwrap()
                })
                .collect();
            host.signal("TERM");
            host.wait_for("stop.draining");
            for call in in_progress {
                let (answer, keeps) = call.finish().expect("a call in progress was cut off");
                assert!(!keeps, "a host that stops keeps a connection");
                ledger.note(&answer);
            }
            drop(host.stop());
        });
        assert!(std::net::TcpStream::connect(address).is_err());
        assert_eq!(deployment.verify().code, 0);
        ledger.hold_against(&deployment);
        let records = deployment.records();
        assert_eq!(records.last().unwrap()["t"], json!("host.stop"));
        let starts: Vec<_> = records.iter().filter(|record| record["t"] == "host.start").collect();
        assert_eq!(starts.len(), life + 1);
        assert!(
            starts.iter().all(|start| start["unclean"] == false && start["recovered"] == 0),
            "{starts:?}"
        );
    }
}

#[test]
fn a_second_process_on_the_same_record_or_memory_is_refused_and_the_first_goes_on() {
    let deployment = deployment();
    let host = deployment.serve();
    let first = host.sign_in(&sign_in());
    let ours = deployment.read("portcullis.toml");
    let (audit, state) = ("directory = \"audit\"", "root = \"trust-root.json\"");
    for (from, to, names) in [
        ("", "", "`trust-state`"),
        (audit, "directory = \"other-audit\"", "`trust-state`"),
        (state, "root = \"trust-root.json\"\nstate = \"other-state\"", "`audit`"),
    ] {
        deployment.write(
            "second.toml",
            if from.is_empty() { ours.clone() } else { ours.replace(from, to) },
        );
        // Bounded, for the case that it is not refused.
        let mut second = Command::new("timeout");
        second
            .arg("60")
            .arg(binary())
            .args(["serve", "--strict", "--config", "second.toml"])
            .current_dir(deployment.path(""));
        let second = second.output().unwrap();
        let said = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(70), "{said}");
        assert!(
            said.contains(names) && said.contains("another process") && said.contains("hint: "),
            "{said}"
        );
    }
    assert!(!deployment.path("other-audit").exists(), "it has begun nothing");
    assert!(!host.log().has("log.append-failed"), "{}", host.log());
    assert!(!host.log().has("log.stopped"), "{}", host.log());
    assert!(!host.log().has("trust.state-not-written"), "{}", host.log());
    // Who only looks is not kept from it.
    deployment.must(&["check", "--config", "portcullis.toml"]);
    let next = host.sign_in(&sign_in());
    assert!(first.index() < next.index() && !next.stops_a_token());
    drop(host.stop());
    assert_eq!(deployment.verify().code, 0);
    assert_eq!(deployment.records_of("host.start").len(), 1);
    // It was given back.
    deployment.serve().stop();
}

#[test]
fn signals_that_no_operator_sends_end_nothing_at_any_time() {
    let deployment = deployment();
    let host = deployment.serve();
    // SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGSTKFLT, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, and
    // the first and the last real-time signal (signal(7)).
    for name in ["1", "10", "12", "14", "16", "25", "26", "27", "29", "30", "34", "64"] {
        host.signal(name);
        assert!(host.sign_in(&sign_in()).index().is_some(), "{name}");
    }
    host.stop();
    let records = deployment.records();
    assert_eq!(records.last().unwrap()["t"], json!("host.stop"));

    // The first signals of a host that starts.
    for name in ["HUP", "USR1", "ALRM"] {
        let host = Host::begin_with(&deployment.path(""), Command::new(binary()));
        host.signal(name);
        host.until_started();
        host.stop();
        let starts = deployment.records_of("host.start");
        assert!(starts.iter().all(|start| start["unclean"] == false), "{name}: {starts:?}");
    }
}

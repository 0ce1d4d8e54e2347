//! `kill -9` while plugins count: no count of an answered call is lost, and none is counted twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use portcullis_tests::{Binding, Host, SignIn, TestDeployment};
use serde_json::{Value, json};

use super::Chance;

#[test]
fn five_lives_end_at_any_moment_and_every_answered_call_is_counted_once() {
    count_through(5);
}

#[test]
#[ignore = "long: a hundred kills"]
fn a_hundred_lives_end_at_any_moment_and_every_answered_call_is_counted_once() {
    count_through(100);
}

fn count_through(lives: u64) {
    let deployment = deployment();
    let mut chance = Chance::new();
    let (sent, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    for life in 0..lives {
        let host = deployment.serve();
        let is_over = AtomicBool::new(false);
        let pause = Duration::from_millis(20 + chance.below(400));
        thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    let mut client = host.client();
                    while !is_over.load(Ordering::Acquire) {
                        let body = tally();
                        let request = host.request("token", &body);
                        sent.fetch_add(1, Ordering::AcqRel);
                        let Ok(answer) = client.send(&request) else { return };
                        // An answer that was cut off is none.
                        if answer.index().is_some() && !answer.stops_a_token() {
                            answered.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                });
            }
            thread::sleep(pause);
            host.signal("KILL");
            is_over.store(true, Ordering::Release);
        });
        host.kill();
        let verified = deployment.verify();
        assert_eq!(verified.code, 0, "life {life}: {}", verified.err);
    }
    let host = deployment.serve();
    let count = count(&deployment, &host);
    let (sent, answered) = (sent.into_inner(), answered.into_inner());
    println!("{answered} answered of {sent} sent, {count} counted");
    assert!(answered >= lives, "only {answered} answered: this showed nothing");
    assert!(
        (answered..=sent).contains(&count),
        "{answered} answered, {count} counted, {sent} sent"
    );
    // Each decision of the log is one count, no more and no less.
    let decided = deployment.records_of("hook.decision").len() as u64 - 1;
    assert_eq!(count, decided);
    let log = host.stop();
    for event in ["memory.set-aside", "memory.changes-missing", "memory.changes-unreadable"] {
        assert_eq!(log.count(event), 0, "{event}");
    }
}

/// A deployment whose plugin counts, with write-ahead segments as small as they can be.
fn deployment() -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    deployment.configure("[audit]\n", "[audit]\nsegment_bytes = 2097152\n");
    std::fs::create_dir(deployment.path("release/tables")).unwrap();
    deployment.write("release/tables/roster.csv", "number\n4711\n");
    deployment.write("release/tables/networks.csv", "network,zone\n10.0.0.0/8,ward\n");
    for (name, columns) in [("roster", &["number"][..]), ("networks", &["network", "zone"])] {
        let columns = columns.iter().map(|column| {
            let of_network = *column == "network";
            let kind = if of_network { "ip-network" } else { "text" };
            format!("[[columns]]\nname = \"{column}\"\ntype = \"{kind}\"\n")
        });
        let columns: String = columns.collect();
        let key = match name {
            "networks" => "[key]\ncolumns = [\"network\"]\nkind = \"network\"\n",
            _ => "[key]\ncolumns = [\"number\"]\n",
        };
        let declaration = format!(
            "name = \"{name}\"\nformat = \"csv\"\nmax_age_seconds = 86400\n\
             no_match = \"treat-as-absent\"\n{columns}{key}"
        );
        deployment.declare_table(&declaration, &format!("{name}.csv"), None);
    }
    deployment.release(&[Binding::new("token", "remembering", json!({}))]);
    deployment
}

fn tally() -> Vec<u8> {
    asks(&json!([
        ["tally", "shared", "calls", WINDOW],
        ["remember", "subject", "last", "x".repeat(200), WINDOW],
    ]))
}

fn asks(questions: &Value) -> Vec<u8> {
    let mut sign_in = SignIn::with_groups(&[]);
    sign_in.body["data"]["context"]["user"]["profile"]["questions"] = questions.clone();
    sign_in.bytes()
}

fn count(deployment: &TestDeployment, host: &Host) -> u64 {
    let answer = host.post("token", &asks(&json!([["count", "shared", "calls", WINDOW]])));
    let sealed = deployment.sealed(answer.index().unwrap());
    sealed["plugins"][0]["decision"]["findings"][0]["arguments"]["answers"][0].as_u64().unwrap()
}

const CALLERS: usize = 4;
/// Longer than the test takes.
const WINDOW: u32 = 86_400;

//! A plugin that never ends, on every core: a clean hook goes on answering. A plugin that is merely slow still decides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use portcullis_tests::{Binding, Import, SetOnDrop, TestDeployment};
use serde_json::json;

use super::{clean_sign_in, misbehaving_binding, with_group};

#[test]
fn a_loop_on_every_core_leaves_the_clean_hook_its_answers() {
    let deployment = TestDeployment::build(&[
        Binding::new("token", "misbehaving", json!({"do": "loop-forever"})),
        misbehaving_binding("import", &json!({})),
    ]);
    let host = deployment.serve();
    let done = AtomicBool::new(false);
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let loops: usize = thread::scope(|scope| {
        let ends = SetOnDrop(&done);
        let looping: Vec<_> = (0..2 * cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = host.client();
                    let mut stopped = 0;
                    while !done.load(Ordering::Relaxed) {
                        let answer =
                            client.send(&host.request("token", &clean_sign_in().bytes())).unwrap();
                        assert!(answer.stops_a_token(), "{answer:?}");
                        stopped += 1;
                    }
                    stopped
                })
            })
            .collect();
        let mut client = host.client();
        for _ in 0..50 {
            let import = Import::with_groups(&["nurses"]).bytes();
            let answer = client.send(&host.request("import", &import)).unwrap();
            assert!(answer.status == 200 && answer.json.get("error").is_none(), "{answer:?}");
        }
        drop(ends);
        looping.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(loops > 0);
    drop(host.stop());
    assert_eq!(deployment.verify().code, 0);
    let decisions = deployment.records_of("hook.decision");
    let looped = decisions.iter().filter(|record| record["hook"]["name"] == "token");
    // A call that found the slow lane full is the host's overload; every other is the plugin's own deadline.
    let mut deadlines = 0;
    for record in looped {
        let cause = record["decision"]["cause"].as_str().unwrap();
        let fault = record["bindings"][0]["fault"].as_str().unwrap();
        assert!(
            [
                ("plugin-fault", "plugin-deadline"),
                ("overload", "overload"),
                ("budget-exhausted", "budget-exhausted")
            ]
            .contains(&(cause, fault)),
            "{record}"
        );
        deadlines += usize::from(fault == "plugin-deadline");
    }
    assert!(deadlines > 0);
}

#[test]
fn a_slow_plugin_outruns_its_slice_and_still_decides() {
    // Some milliseconds on the fastest machine: each step waits for the one before.
    let misbehaviours = json!({"slow": {"do": "loop-for", "iterations": 20_000_000_u64}});
    let mut deployment = TestDeployment::build(&[]);
    deployment
        .sign_plugin("misbehaving", |manifest| manifest.replace("time_ms = 250", "time_ms = 1000"));
    deployment.release(&[misbehaving_binding("token", &misbehaviours)]);
    let host = deployment.serve();
    // More often than it takes to be known as slow; the quick calls between them must not suffer from that.
    let slow: Vec<_> = (0..6)
        .map(|_| {
            let slow = host.sign_in(&with_group("slow"));
            assert!(!slow.stops_a_token(), "{slow:?}");
            assert!(!host.sign_in(&clean_sign_in()).stops_a_token());
            slow.index().unwrap()
        })
        .collect();
    drop(host.stop());
    for index in slow {
        let record = deployment.record(index);
        assert_eq!(record["decision"]["verdict"], json!("allow"));
        assert!(
            record["bindings"][0]["elapsed_us"].as_u64().unwrap() > SLICE_US,
            "it did not outrun its slice: {record}"
        );
    }
}

/// What a plugin may hold of a connection's thread, microseconds.
const SLICE_US: u64 = 2_000;

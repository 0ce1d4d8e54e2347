//! Two hundred swaps under load: no call fails, none is unrecorded, and each is answered by the generation that its record names.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Binding, CONFLICT, SetOnDrop, SignIn, TestDeployment, duties, release_active,
};
use serde_json::json;

/// A call: when it was sent, what it took, whether it stopped the token, and its record.
type Call = (Instant, Duration, bool, u64);

#[test]
fn two_hundred_swaps_fail_no_call_and_hide_none() {
    let mut lenient = duties();
    lenient["rules"][0]["action"] = json!("allow");
    let versions = [duties(), lenient];
    let mut deployment =
        TestDeployment::build(&[Binding::new("token", "sod", versions[0].clone())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    // The two versions are two components, which differ in a section that means nothing; each set has a serial of its own, as it must.
    let sod = std::fs::read(deployment.path("release/plugins/sod.wasm")).unwrap();
    let components = [sod.clone(), [sod.as_slice(), b"\0\x04\x03two"].concat()];
    let host = deployment.serve();
    let over = AtomicBool::new(false);
    let (mut swaps, mut calls): (Vec<Instant>, Vec<Call>) = Default::default();
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut client, mut calls) = (host.client(), Vec::new());
            let begin = Instant::now();
            for tick in 1.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let request = host.request("token", &SignIn::with_groups(&CONFLICT).bytes());
                let sent = Instant::now();
                let answer = client.send(&request).unwrap();
                let took = sent.elapsed();
                assert_eq!(answer.status, 200, "no call fails");
                let index = answer.index().expect("every answer names its record");
                calls.push((sent, took, answer.stops_a_token(), index));
                // At a steady rate, whatever the answers take.
                thread::sleep((begin + EVERY * tick).saturating_duration_since(Instant::now()));
            }
            calls
        });
        let end = SetOnDrop(&over);
        for swap in 0..SWAPS {
            let version = (swap + 1) % 2;
            sign_version(&deployment, &components[version], swap + 2);
            deployment.release(&[Binding::new("token", "sod", versions[version].clone())]);
            let said = host.reload_until(["release.refused", "release.active"]);
            assert!(said.has(release_active(swap as u64 + 2)), "swap {swap}: {said}");
            swaps.push(Instant::now());
        }
        drop(end);
        calls = load.join().unwrap();
    });
    let told = host.admin("/status").json;
    let made = told["plugins"]["made"].as_u64().unwrap();
    assert_eq!(made, 2, "two versions were compiled, once each: {}", told["plugins"]);
    host.stop();

    let records = deployment.records();
    let decisions = records.iter().filter(|record| record["t"] == "hook.decision").count();
    assert_eq!(decisions, calls.len(), "one record a call");
    let mut generations = Vec::new();
    for (_, _, stops, index) in &calls {
        let record = &records[usize::try_from(*index).unwrap()];
        assert_eq!((&record["t"], &record["seq"]), (&json!("hook.decision"), &json!(index)));
        let generation = record["generation"].as_u64().unwrap();
        assert_eq!(
            *stops,
            generation % 2 == 1,
            "record {index}: generation {generation} answers so"
        );
        generations.push(generation);
    }
    assert!(generations.is_sorted(), "nobody goes back");
    let answers = |stops: bool| calls.iter().filter(|call| call.2 == stops).count();
    assert!(answers(true) > 0 && answers(false) > 0);
    assert_eq!(records.iter().filter(|record| record["t"] == "release.active").count(), SWAPS + 1);
    assert_eq!(deployment.verify().code, 0);

    let mut times: Vec<_> = calls.iter().map(|(_, took, ..)| *took).collect();
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{SWAPS} swaps in {:?}, {} calls at {} a second ({} and {} of the two answers): median {median:?}, worst {worst:?}, so at most {:?} were added",
        swaps[SWAPS - 1] - swaps[0],
        calls.len(),
        1_000 / EVERY.as_millis(),
        answers(true),
        answers(false),
        worst - median
    );
}

/// Signs this component as the plugin's next version.
fn sign_version(deployment: &TestDeployment, component: &[u8], serial: usize) {
    deployment.write("release/plugins/sod.wasm", component);
    let former = deployment.read("manifest.toml");
    let line = former.lines().find(|line| line.starts_with("serial = ")).unwrap();
    deployment.write("manifest.toml", former.replace(line, &format!("serial = {serial}")));
    let arguments =
        ["plugin", "sign", "--source", "manifest.toml", "--component", "release/plugins/sod.wasm"];
    let key = ["--key", "keys/publisher.key", "--output", "release/plugins/sod.manifest.json"];
    deployment.must(&[&arguments[..], &key].concat());
}

const SWAPS: usize = 200;
/// Fifty calls a second.
const EVERY: Duration = Duration::from_millis(20);

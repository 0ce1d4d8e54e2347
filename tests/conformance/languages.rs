//! One plugin in several languages on a live hook: signed, served, and swapped from one language to the next under calls.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::{Host, SignIn, TestDeployment, checkout, component, hide_reference, skip};
use serde_json::{Value, json};

/// Rust to JavaScript to C, and every call meanwhile answered by whichever is active, and alike.
#[test]
fn a_plugin_changes_its_language_under_calls() {
    let languages: Vec<_> = ["hours", "hours-javascript", "hours-c"]
        .into_iter()
        .filter(|name| {
            let there = component(name).exists();
            if !there {
                skip(name, "the tools of its language, which `cargo xtask test` fetches");
            }
            there
        })
        .collect();
    let deployment = TestDeployment::build(&[]);
    deployment.write("release/settings/hours.json", settings().to_string());
    publish(&deployment, 1, languages[0]);
    let host = deployment.serve();
    let mut answers = vec![both(&host, 1)];
    for (number, name) in (2..).zip(languages.iter().skip(1)) {
        publish(&deployment, number, name);
        answers.push(both(&host, number));
    }
    host.stop();

    // What people are told, and what the record says was found, is the same from each.
    let texts: Vec<_> = answers.iter().map(|answer| &answer.text).collect();
    const ENDED: &str = "You cannot sign in, because your employment has ended (status \
         TERMINATED). Please ask the personnel department if that is wrong. Help-desk reference: \
         REFERENCE.";
    assert!(texts.iter().all(|text| *text == ENDED), "{texts:?}");
    let active = deployment.records_of("release.active");
    assert_eq!(active.len(), languages.len());
    assert_eq!(deployment.records_of("release.refused").len(), 0);
    let snapshots: Vec<_> =
        active.iter().map(|record| record["bindings"][0]["snapshot"].as_str().unwrap()).collect();
    assert!(
        snapshots.windows(2).all(|pair| pair[0] != pair[1]),
        "each from a snapshot of its own: {snapshots:?}"
    );
    let answered: u64 = answers.iter().map(|answer| answer.calls).sum();
    let decisions = deployment.records_of("hook.decision");
    assert_eq!(u64::try_from(decisions.len()).unwrap(), answered, "every call is in the record");
    let generations: Vec<_> =
        decisions.iter().map(|record| record["generation"].as_u64().unwrap()).collect();
    assert!(generations.is_sorted(), "one generation after the other");
}

/// What came of calls until a generation answered.
struct Answered {
    /// What a leaver is told by it.
    text: String,
    /// How many calls it took.
    calls: u64,
}

/// Somebody who has left, and somebody of a department that has no hours here, sign in until that generation answers.
fn both(host: &Host, generation: u64) -> Answered {
    let begun = Instant::now();
    let mut calls = 0;
    loop {
        let leaver = host.sign_in(
            &SignIn::with_groups(&[]).claim("status", "TERMINATED").claim("department", "garden"),
        );
        let other = host.sign_in(
            &SignIn::with_groups(&[]).claim("status", "active").claim("department", "garden"),
        );
        assert!(leaver.stops_a_token(), "whichever language: who has left gets no token");
        assert!(!other.stops_a_token() && other.status == 200, "{}", other.json);
        calls += 2;
        if host.log().count("release.active") as u64 >= generation {
            // The calls above may have been answered by the one before; these are not.
            let leaver = host.sign_in(&SignIn::with_groups(&[]).claim("status", "TERMINATED"));
            return Answered { text: hide_reference(leaver.summary()), calls: calls + 1 };
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "generation {generation} never became active:\n{}",
            host.log()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Signs a component as the next version of `hours`, and a set in which it decides.
fn publish(deployment: &TestDeployment, number: u64, name: &str) {
    let folder = checkout().join("plugins/examples/hours");
    let source = fs::read_to_string(folder.join("manifest.toml")).unwrap();
    // The schema and the suite have tests of their own.
    let source: String = source
        .lines()
        .filter(|line| !line.starts_with("settings_schema"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let source = source.replace("version = \"0.1.0\"", &format!("version = \"0.{number}.0\""));
    deployment.write("manifest.toml", source.replace("serial = 1", &format!("serial = {number}")));
    let wasm = format!("release/plugins/hours-{number}.wasm");
    fs::copy(component(name), deployment.path(&wasm)).unwrap();
    let manifest = format!("release/plugins/hours-{number}.manifest.json");
    let sign = ["plugin", "sign", "--source", "manifest.toml", "--key", "keys/publisher.key"];
    deployment.must(&[&sign[..], &["--component", &wasm, "--output", &manifest]].concat());
    deployment.write(
        "release.toml",
        format!("version = {number}\nvalidity = {{ days = 1 }}\nplugins = [\"{manifest}\"]\n[[binding]]\nhook = \"token\"\nplugin = \"org.portcullis.hours\"\nsettings = \"release/settings/hours.json\"\nmode = \"enforce\"\nfallback = {{ review = \"deny\", step-up = \"deny\" }}\n"),
    );
    // Moved into place, so that the host sees the whole of it or nothing.
    let release = [
        "release",
        "sign",
        "--source",
        "release.toml",
        "--root",
        "trust-root.json",
        "--key",
        "keys/release.key",
    ];
    deployment.must(&[&release[..], &["--output", "release.next.json"]].concat());
    fs::rename(deployment.path("release.next.json"), deployment.path("release/release.json"))
        .unwrap();
}

/// What is said does not depend on the time of day.
fn settings() -> Value {
    json!({
        "terminated": ["terminated"],
        "departments": [{"name": "pharmacy", "from": "06:00", "until": "22:00"}],
        "unlisted": "abstain",
    })
}

/// An interpreter is compiled in half a minute where others build beside it.
const PATIENCE: Duration = Duration::from_secs(240);

//! Suites: what a plugin is tried with at its author's desk, when it is signed, and before it decides.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::{
    Binding, MANIFEST, Ran, Registry, SignIn, TestDeployment, binary, checkout, component, digest,
    duties, golden, normal, release_refused, require_tool,
};
use serde_json::{Value, json};

/// The library's plugins, and the example that several languages share: their suites pass, reach what they promise, and say what stands in their
/// snapshots. `BLESS=1` writes those anew.
#[test]
fn the_librarys_suites_pass_and_their_snapshots_hold() {
    for (name, folder) in [
        ("hours", "plugins/examples/hours"),
        ("sod", "plugins/sod"),
        ("contractor", "plugins/contractor"),
        ("access-rules", "plugins/access-rules"),
        ("sign-in-risk", "plugins/sign-in-risk"),
    ] {
        let component = component(name);
        let mut words = vec!["plugin", "test", "--component", component.to_str().unwrap(), folder];
        if std::env::var_os("BLESS").is_some() {
            words.push("--bless");
        }
        let ran = portcullis(&checkout(), &words);
        assert_eq!(ran.code, 0, "{name}\n{}{}", ran.out, ran.err);
        assert!(ran.out.contains(" 0 failed") && !ran.out.contains("no snapshot"), "{}", ran.out);
    }
}

#[test]
fn a_wrong_expectation_fails_the_test_and_the_signing() {
    let deployment = TestDeployment::build(&[]);
    let hours = hours(&deployment);
    deployment.write("hours/manifest.toml", demanding(&hours));
    assert_eq!(test(&deployment, "hours").code, 0, "in order as it is");
    sign(&deployment, 0);
    let bundle: Value =
        serde_json::from_str(&deployment.read("release/plugins/hours.suite.json")).unwrap();
    assert_eq!(bundle["name"], "working hours and leavers");
    let envelope = deployment.read("release/plugins/hours.manifest.json");
    assert!(!envelope.contains("suite"), "the manifest lies encoded in its envelope");

    let right = deployment.read("hours/suite.toml");
    deployment.write(
        "hours/suite.toml",
        right.replacen(
            "verdict = \"deny\", findings = [\"HOURS_TERMINATED\"]",
            "verdict = \"allow\", findings = [\"HOURS_TERMINATED\"]",
            1,
        ),
    );
    let tested = test(&deployment, "hours");
    assert_eq!(tested.code, 1);
    assert!(
        tested.out.contains("FAILED leavers stay out: leaver, 2026-11-25T02:00:00Z"),
        "{}",
        tested.out
    );
    assert!(tested.out.contains("verdict: expected allow, but it is deny"), "{}", tested.out);
    fs::remove_file(deployment.path("release/plugins/hours.manifest.json")).unwrap();
    let refused = sign(&deployment, 1);
    assert!(
        refused.err.contains("[suite-failed]")
            && refused.err.contains("case `leavers stay out: leaver"),
        "{}",
        refused.err
    );
    assert!(!deployment.path("release/plugins/hours.manifest.json").exists(), "nothing was signed");

    // A promise to reach everything is a promise too.
    let without = right.replacen("principals = [\"unknown\", \"odd\"]\notherwise = { verdict = \"deny\", findings = [{ code = \"HOURS_STATUS_MISSING\", severity = \"high\" }] }", "principals = [\"leaver\"]\notherwise = { verdict = \"deny\" }", 1);
    assert_ne!(without, right);
    deployment.write("hours/suite.toml", without);
    let refused = sign(&deployment, 1);
    assert!(refused.err.contains("codes without a case: HOURS_STATUS_MISSING"), "{}", refused.err);

    // What is no suite is named by line and path, and exit code 64 says that nothing was looked at.
    deployment.write("hours/suite.toml", right.replacen("[[case]]\nname", "[[case]]\nnam", 1));
    let refused = sign(&deployment, 64);
    assert!(
        refused.err.contains("line ")
            && refused.err.contains("`case[0].nam`: unknown member `nam`"),
        "{}",
        refused.err
    );
}

#[test]
fn a_snapshot_that_no_longer_holds_fails_until_it_is_blessed() {
    let deployment = TestDeployment::build(&[]);
    hours(&deployment);
    let manifest = deployment
        .read("hours/manifest.toml")
        .replace("your employment has ended", "you have left");
    deployment.write("hours/manifest.toml", manifest);
    let tested = test(&deployment, "hours");
    assert_eq!(tested.code, 1, "{}", tested.out);
    assert!(
        tested.out.contains("+ en: You cannot sign in, because you have left (status TERMINATED)."),
        "{}",
        tested.out
    );
    let component = deployment.path("hours/hours.wasm");
    let words = [
        "plugin",
        "test",
        "--bless",
        "--format",
        "json",
        "--component",
        component.to_str().unwrap(),
        "hours",
    ];
    let told: Value = serde_json::from_str(&deployment.must(&words)).unwrap();
    assert_eq!((&told["snapshot"], &told["failed"]), (&json!("written"), &json!(0)));
    assert_eq!(told["coverage"]["codes"]["missing"], json!([]));
    assert_eq!(test(&deployment, "hours").code, 0);
}

#[test]
fn a_plugin_passes_its_suite_here_before_it_decides() {
    let deployment = TestDeployment::build(&[]);
    let source = hours(&deployment);
    deployment.write("hours/manifest.toml", demanding(&source));
    sign(&deployment, 0);
    fs::copy(deployment.path("hours/hours.wasm"), deployment.path("release/plugins/hours.wasm"))
        .unwrap();
    publish(&deployment, 2);
    let checked = || deployment.run(&["check", "--config", "portcullis.toml", "--format", "json"]);
    let right = checked();
    assert_eq!(right.code, 0, "{}{}", right.out, right.err);

    let suite = deployment.path("release/plugins/hours.suite.json");
    let kept = fs::read(&suite).unwrap();
    fs::remove_file(&suite).unwrap();
    let missing = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_ne!(missing.code, 0);
    assert!(
        missing.err.contains("[suite-missing]")
            && missing.err.contains("hint: copy the `.suite.json`"),
        "{}",
        missing.err
    );
    // Another one is not the one that was signed, whatever it is called.
    fs::write(
        &suite,
        String::from_utf8(kept.clone()).unwrap().replace("HOURS_TERMINATED", "HOURS_OUTSIDE"),
    )
    .unwrap();
    assert!(
        deployment.run(&["check", "--config", "portcullis.toml"]).err.contains("[suite-missing]")
    );
    fs::rename(&suite, deployment.path("release/plugins/other.txt")).unwrap();
    // One that its publisher signed without trying it, and one with another number of cases.
    let wrong = String::from_utf8(kept.clone()).unwrap().replacen(
        "\"verdict\":\"deny\"",
        "\"verdict\":\"allow\"",
        1,
    );
    claim(&deployment, &wrong, |_| {});
    let failed = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(
        failed.err.contains("[suite-failed]")
            && failed.err.contains("cases differ, the first is `"),
        "{}",
        failed.err
    );
    claim(&deployment, std::str::from_utf8(&kept).unwrap(), |suite| suite["cases"] = json!(1));
    assert!(
        deployment.run(&["check", "--config", "portcullis.toml"]).err.contains("[suite-unusable]")
    );
    claim(&deployment, "{\"name\": 1}", |_| {});
    assert!(
        deployment.run(&["check", "--config", "portcullis.toml"]).err.contains("[suite-unusable]")
    );
    sign(&deployment, 0);
    fs::remove_file(&suite).unwrap();
    publish(&deployment, 2);
    fs::write(deployment.path("release/plugins/anything.suite.json"), &kept).unwrap();
    assert_eq!(checked().code, 0, "a suite may have any name");

    // Wherever the release goes, the suite goes along: to folders, and through a registry.
    let only = |folder: &str| {
        let suites =
            fs::read_dir(deployment.path(folder)).unwrap().map(|entry| entry.unwrap().path());
        let suites: Vec<_> =
            suites.filter(|path| path.to_string_lossy().ends_with(".suite.json")).collect();
        assert_eq!(suites.len(), 1, "{suites:?}");
        fs::read(&suites[0]).unwrap()
    };
    let set = [
        "release",
        "publish",
        "--set",
        "release/release.json",
        "--from",
        "release",
        "--root",
        "trust-root.json",
    ];
    deployment.must(&[&set[..], &["--to", "elsewhere"]].concat());
    assert_eq!(only("elsewhere/plugins"), kept);
    let registry = require_tool!(Registry::start());
    let live = format!("{}/hospital/hooks:live", registry.address());
    let shared = ["--root", "trust-root.json", "--plain-http"];
    deployment.must(&[&["release", "push", &live, "--from", "release"][..], &shared].concat());
    deployment.must(&[&["release", "pull", &live, "--output", "pulled"][..], &shared].concat());
    assert_eq!(only("pulled/plugins"), kept);
}

#[test]
fn a_running_host_keeps_its_generation_when_a_self_test_fails() {
    let mut deployment = TestDeployment::build(&[]);
    deployment.release(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let source = hours(&deployment);
    deployment.write("hours/manifest.toml", demanding(&source));
    sign(&deployment, 0);
    fs::copy(deployment.path("hours/hours.wasm"), deployment.path("release/plugins/hours.wasm"))
        .unwrap();
    fs::remove_file(deployment.path("release/plugins/hours.suite.json")).unwrap();
    publish(&deployment, 3);
    host.wait_for(release_refused("suite-missing"));
    host.stop();
    let refused = deployment.records_of("release.refused");
    assert!(refused.iter().any(|record| record["code"] == "suite-missing"), "{refused:?}");
    let active = deployment.records_of("release.active");
    assert!(active.iter().all(|record| record["generation"] != 3), "{active:?}");
}

#[test]
fn wrong_settings_are_named_by_their_place_before_anything_is_signed() {
    let deployment = TestDeployment::build(&[]);
    deployment.sign_plugin("sod", |source| source);
    let mut settings = duties();
    settings["rules"][0]["severity"] = json!("Dr. Doe's");
    settings["rulez"] = json!([]);
    deployment.write("wrong.json", settings.to_string());
    deployment.write(
        "wrong.toml",
        "version = 7\nvalidity = { days = 1 }\nplugins = [\"release/plugins/sod.manifest.json\"]\n[[binding]]\nhook = \"token\"\nplugin = \"org.portcullis.sod\"\nsettings = \"wrong.json\"\nmode = \"enforce\"\n",
    );
    let words = [
        "release",
        "sign",
        "--source",
        "wrong.toml",
        "--root",
        "trust-root.json",
        "--key",
        "keys/release.key",
        "--output",
        "wrong-set.json",
    ];
    let refused = deployment.run(&words);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(!deployment.path("wrong-set.json").exists());
    assert!(!refused.err.contains("Doe"), "what stands there is not repeated: {}", refused.err);
    golden("release-settings.txt", &normal(&refused.err, &[]));
}

#[test]
fn one_payload_is_explained_with_what_it_costs() {
    let deployment = TestDeployment::build(&[]);
    hours(&deployment);
    let component = deployment.path("hours/hours.wasm");
    let component = component.to_str().unwrap();
    let run = |more: &[&str]| {
        let mut words = vec![
            "plugin",
            "run",
            "--payload",
            "hours/payloads/sign-in.json",
            "--component",
            component,
        ];
        words.extend(["--received", "2026-11-25T10:00:00Z", "hours"]);
        words.extend(more);
        deployment.run(&words)
    };
    let text = run(&[]);
    assert_eq!(text.code, 0, "{}", text.err);
    for expected in [
        "verdict  deny",
        "finding  HOURS_NO_DEPARTMENT deny medium",
        "en: No working hours are entered for your department.",
        "saw      subject.attributes.department, subject.attributes.status",
        "subject.attributes.login",
        "okta.token: the rest of the payload",
        "fuel     ",
        "pages of 4 KiB changed",
    ] {
        assert!(text.out.contains(expected), "{expected}\n{}", text.out);
    }
    let told: Value = serde_json::from_str(&run(&["--format", "json"]).out).unwrap();
    let again: Value = serde_json::from_str(&run(&["--format", "json"]).out).unwrap();
    assert_eq!(told["cost"], again["cost"], "counts do not depend on the moment");
    assert!(
        told["cost"]["fuel"].as_u64().unwrap() > 1_000
            && told["cost"]["pages"].as_u64().unwrap() > 0,
        "{told}"
    );
    deployment.write(
        "wrong.json",
        r#"{"terminated": [], "departments": [{"name": "a", "from": "6", "until": "22:00"}]}"#,
    );
    let wrong = run(&["--settings", "wrong.json"]);
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.err.contains("[settings-invalid]") && wrong.err.contains("`/departments/0/from`: "),
        "{}",
        wrong.err
    );
    let benched = deployment.must(&[
        "plugin",
        "bench",
        "--payload",
        "hours/payloads/sign-in.json",
        "--component",
        component,
        "--milliseconds",
        "50",
        "--format",
        "json",
        "hours",
    ]);
    let benched: Value = serde_json::from_str(&benched).unwrap();
    assert_eq!(benched["cost"]["pages"], told["cost"]["pages"]);
    assert!(
        benched["ratio"].as_f64().unwrap() > 0.0 && benched["calls"].as_u64().unwrap() > 0,
        "{benched}"
    );
    let asks =
        deployment.must(&["plugin", "inspect", component, "--source", "hours/manifest.toml"]);
    assert!(
        asks.contains("reads    subject.attributes.department, subject.attributes.status"),
        "{asks}"
    );
}

const ROSTER: &str = r#"
name = "roster"
format = "csv"
max_age_seconds = 86400
no_match = "treat-as-absent"
[[columns]]
name = "number"
source = "Worker"
type = "text"
[key]
columns = ["number"]
"#;

const SEQUENCE: &str = r#"
name = "remembering"
[defaults]
hook = "okta.token"
received = "2026-11-25T10:00:00Z"

[tables.roster]
declaration = "roster.toml"
rows = "roster.csv"

[principals.learning]
id = "00u1noor"
attributes = { questions = [["recall", "subject", "device"], ["remember", "subject", "device", "cart 7", 3600], ["tally", "subject", "sign-ins", 600]] }
[principals.failing]
id = "00u1noor"
attributes = { questions = [["remember", "subject", "device", "cart 9", 3600], ["tally", "subject", "sign-ins", 600], ["nonsense"]] }
[principals.asking]
id = "00u1noor"
attributes = { questions = [["recall", "subject", "device"], ["count", "subject", "sign-ins", 600], ["lookup", "roster", "4711"]] }
[principals.looking]
id = "00u1noor"
attributes = { questions = [["lookup", "roster", "4711"]] }

[[case]]
name = "a sequence"
[[case.steps]]
name = "learns"
principal = "learning"
[case.steps.expect]
findings = [{ code = "ANSWER", effect = "allow" }]
remembers = [{ key = "device", value = "cart 7" }]
counts = [{ key = "sign-ins", window = "10m", count = 1 }]
[[case.steps]]
name = "fails and keeps its count alone"
after = "1m"
principal = "failing"
[case.steps.expect]
fault = "plugin-error"
remembers = [{ key = "device", value = "cart 7" }]
counts = [{ key = "sign-ins", window = "10m", count = 2 }]
[[case.steps]]
name = "forgets with time"
after = "2h"
principal = "asking"
tables = { roster = { rows = [{ number = "4711" }, { number = "4712" }] } }
[case.steps.expect]
verdict = "allow"
remembers = [{ key = "device", absent = true }]
counts = [{ key = "sign-ins", window = "10m", count = 0 }]

[[case]]
name = "a stale table denies"
principal = "looking"
tables = { roster = "stale" }
expect = { verdict = "deny", findings = ["ANSWER", "TABLE_STALE"] }

[[case]]
name = "what was remembered before"
principal = "asking"
memory = [
    { key = "device", value = "cart 5" },
    { key = "sign-ins", count = 4, window = "10m", age = "2m" },
]
expect = { verdict = "allow", remembers = [{ key = "device", value = "cart 5" }], counts = [{ key = "sign-ins", window = "10m", count = 4 }] }
"#;

/// The plugin that does with tables and memory what its calls say, in a folder `asking`.
fn asking(deployment: &TestDeployment) {
    fs::create_dir_all(deployment.path("asking")).unwrap();
    let manifest = checkout().join("tests/plugins/remembering/manifest.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    deployment.write("asking/manifest.toml", format!("suite = \"suite.toml\"\n{manifest}"));
    fs::copy(component("remembering"), deployment.path("asking/asking.wasm")).unwrap();
    deployment.write("asking/roster.toml", ROSTER);
    deployment.write("asking/roster.csv", "Worker\n4711\n");
    deployment.write("asking/suite.toml", SEQUENCE);
}

fn test_asking(deployment: &TestDeployment, more: &[&str]) -> Ran {
    let words = ["plugin", "test", "--component", "asking/asking.wasm", "asking"];
    deployment.run(&[&words[..], more].concat())
}

#[test]
fn a_suite_has_tables_memory_and_sequences_as_a_host_has_them() {
    let deployment = TestDeployment::build(&[]);
    asking(&deployment);
    let tested = test_asking(&deployment, &["--bless"]);
    assert_eq!(tested.code, 0, "{}{}", tested.out, tested.err);
    assert!(tested.out.contains("remembering: 5 cases, 5 passed, 0 failed"), "{}", tested.out);
    let snapshot = deployment.read("asking/suite.snapshot.txt");
    for expected in [
        "## a sequence, step 1: learns",
        "recall   subject device = nothing",
        "remember subject device = \"cart 7\" for 1h",
        "tally    subject sign-ins within 10m = 1",
        "dropped  what the call remembered and forgot; tallies are kept",
        "call     okta.token at 2026-11-25T12:01:00Z",
        "lookup   roster 4711: 1 row",
        "denied   by the table roster: TABLE_STALE",
        "recall   subject device = \"cart 5\"",
        "count    subject sign-ins within 10m = 4",
    ] {
        assert!(snapshot.contains(expected), "{expected}\n{snapshot}");
    }
    assert_eq!(test_asking(&deployment, &[]).code, 0, "the same again");

    // A difference is told with the look-ups and the operations on memory.
    let right = deployment.read("asking/suite.toml");
    let wrong = right.replacen("window = \"10m\", count = 2", "window = \"10m\", count = 3", 1);
    let wrong = wrong.replacen("value = \"cart 5\" }], counts", "value = \"cart 6\" }], counts", 1);
    deployment.write("asking/suite.toml", &wrong);
    let tested = test_asking(&deployment, &[]);
    assert_eq!(tested.code, 1);
    for expected in [
        "FAILED a sequence, step 2: fails and keeps its count alone",
        "counts: subject `sign-ins` within 10m: expected 3 events, but there are 2",
        "remembers: subject `device`: expected \"cart 6\", but it is \"cart 5\"",
        "| recall   subject device = \"cart 5\"",
    ] {
        assert!(tested.out.contains(expected), "{expected}\n{}", tested.out);
    }
    let told = test_asking(&deployment, &["--format", "json"]).out;
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(told["outcomes"][0]["data"]["memory"][1]["value"], "cart 7");
    assert_eq!(told["outcomes"][2]["data"]["lookups"][0]["rows"], 1);
    assert_eq!(told["outcomes"][3]["data"]["denied"]["code"], "TABLE_STALE");

    // A table that cannot be read is named by its path.
    deployment.write(
        "asking/suite.toml",
        right.replace("rows = \"roster.csv\"", "rows = \"roster.xlsx\""),
    );
    let refused = test_asking(&deployment, &[]);
    assert_eq!(refused.code, 64);
    assert!(refused.err.contains("`tables.roster.rows`: it must end in `.csv`"), "{}", refused.err);
}

#[test]
fn the_rows_of_a_signed_suite_are_part_of_its_digest() {
    let deployment = TestDeployment::build(&[]);
    asking(&deployment);
    let sign = || {
        deployment.must(&[
            "plugin",
            "sign",
            "--source",
            "asking/manifest.toml",
            "--component",
            "asking/asking.wasm",
            "--key",
            "keys/publisher.key",
            "--output",
            "asking/asking.manifest.json",
        ]);
        let bundle = deployment.read("asking/asking.suite.json");
        let statement = deployment.opened("asking/asking.manifest.json");
        let suite = &statement["predicate"]["suite"];
        assert_eq!(suite["digest"], json!(digest(bundle.as_bytes())));
        assert_eq!(suite["cases"], 5, "each step counts");
        bundle
    };
    let first = sign();
    assert!(first.contains("Worker\\n4711") && !first.contains("roster.csv"), "{first}");
    deployment.write("asking/roster.csv", "Worker\n4711\n4713\n");
    assert_ne!(sign(), first);
}

#[test]
fn a_sequence_is_run_by_hand_with_a_table_and_a_file_of_memory() {
    let deployment = TestDeployment::build(&[]);
    asking(&deployment);
    let call = |questions: Value| {
        let mut sign_in = SignIn::with_groups(&[]);
        sign_in.body["data"]["context"]["user"]["profile"]["questions"] = questions;
        deployment.write("call.json", sign_in.body.to_string());
    };
    let run = |received: &str, more: &[&str]| {
        let words = [
            "plugin",
            "run",
            "--payload",
            "call.json",
            "--component",
            "asking/asking.wasm",
            "--received",
            received,
            "asking",
        ];
        deployment.run(&[&words[..], more].concat())
    };
    call(json!([
        ["lookup", "roster", "4711"],
        ["recall", "subject", "device"],
        ["remember", "subject", "device", "cart 7", 3_600],
        ["tally-distinct", "shared", "192.0.2.1", "noor", 3_600],
    ]));
    let table = ["--table", "roster=asking/roster.csv"];
    let first =
        run("2026-11-25T10:00:00Z", &[&table[..], &["--memory-out", "memory.json"]].concat());
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    for expected in [
        "lookup   roster 4711: 1 row",
        "recall   subject device = nothing",
        "remember subject device = \"cart 7\" for 1h",
        "tally-distinct shared 192.0.2.1 \"noor\" within 1h = 1",
        "fuel     ",
    ] {
        assert!(first.out.contains(expected), "{expected}\n{}", first.out);
    }
    let state: Value = serde_json::from_str(&deployment.read("memory.json")).unwrap();
    assert_eq!(state["memory"][0]["value"], "cart 7");
    assert_eq!(state["memory"][0]["expires_at"], "2026-11-25T11:00:00Z");

    call(json!([
        ["recall", "subject", "device"],
        ["tally-distinct", "shared", "192.0.2.1", "jonas", 3_600],
        ["remember", "subject", "device", "cart 9", 60],
        ["nonsense"],
    ]));
    let both = ["--memory", "memory.json", "--memory-out", "memory.json", "--format", "json"];
    let failed = run("2026-11-25T10:30:00Z", &both);
    assert_eq!(failed.code, 1, "{}", failed.err);
    let told: Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(told["data"]["memory"][0]["value"], "cart 7");
    assert_eq!(told["data"]["memory"][1]["count"], 2);
    assert_eq!(told["data"]["dropped"], true);
    let state: Value = serde_json::from_str(&deployment.read("memory.json")).unwrap();
    assert_eq!(state["memory"].as_array().unwrap().len(), 3, "the count is kept: {state}");
    assert_eq!(state["memory"][0]["value"], "cart 7", "what it remembered is not");

    // A declaration has rules of its own.
    call(json!([["lookup", "roster", "9"]]));
    let bare = run("2026-11-25T10:00:00Z", &table);
    assert!(bare.out.contains("denied   by the table roster: TABLE_NO_MATCH"), "{}", bare.out);
    let declared = [&table[..], &["--declaration", "asking/roster.toml"]].concat();
    let declared = run("2026-11-25T10:00:00Z", &declared);
    assert!(declared.out.contains("verdict  allow"), "{}{}", declared.out, declared.err);
    for (more, expected) in [
        (&["--table", "roster"][..], "write `NAME=FILE`"),
        (&["--table", "staff=asking/roster.csv"], "reads no column of a table `staff`"),
        (&["--declaration", "asking/roster.toml"], "hint: add `--table roster=FILE`"),
        (&["--memory", "call.json"], "the memory `call.json`: "),
    ] {
        let refused = run("2026-11-25T10:00:00Z", more);
        assert!(refused.code != 0 && refused.err.contains(expected), "{expected}: {}", refused.err);
    }
}

#[test]
fn a_new_plugin_says_what_is_missing() {
    let deployment = TestDeployment::build(&[]);
    deployment.must(&["plugin", "new", "--language", "rust", "night-shift"]);
    assert!(
        deployment.read("night-shift/Cargo.toml").contains("path = \"portcullis/guest-sdk/rust\"")
    );
    assert!(deployment.read("night-shift/manifest.toml").contains("org.example.night-shift"));
    let again = deployment.run(&["plugin", "new", "--language", "rust", "night-shift"]);
    assert_eq!(again.code, 64);
    assert!(again.err.contains("`night-shift` exists already"), "{}", again.err);
    let unknown = deployment.run(&["plugin", "new", "--language", "cobol", "other"]);
    assert!(unknown.err.contains("hint: use one of: "), "{}", unknown.err);
    assert!(
        deployment
            .run(&["plugin", "new", "--language", "rust", "../other"])
            .err
            .contains("is not a valid name for a plugin")
    );
    let untested = deployment.run(&["plugin", "test", "night-shift"]);
    assert_eq!(untested.code, 64);
    assert!(
        untested.err.contains("hint: build it with `portcullis plugin build`"),
        "{}",
        untested.err
    );
    let recipe = deployment.read("night-shift/portcullis-plugin.toml");
    deployment.write(
        "night-shift/portcullis-plugin.toml",
        recipe.replace("\"cargo\"", "\"no-such-tool\""),
    );
    let missing = deployment.run(&["plugin", "build", "night-shift"]);
    assert_eq!(missing.code, 64);
    assert!(missing.err.contains("`no-such-tool` is not installed\nhint: "), "{}", missing.err);
}

/// The shared example in a folder `hours` of the deployment, with its component; its manifest's
/// source.
fn hours(deployment: &TestDeployment) -> String {
    copy(&checkout().join("plugins/examples/hours"), &deployment.path("hours"));
    fs::copy(component("hours"), deployment.path("hours/hours.wasm")).unwrap();
    deployment.read("hours/manifest.toml")
}

fn demanding(source: &str) -> String {
    source.replace("settings_schema = ", "suite = \"suite.toml\"\nsettings_schema = ")
}

fn test(deployment: &TestDeployment, folder: &str) -> Ran {
    let component = deployment.path("hours/hours.wasm");
    deployment.run(&["plugin", "test", "--component", component.to_str().unwrap(), folder])
}

fn sign(deployment: &TestDeployment, code: i32) -> Ran {
    let ran = deployment.run(&[
        "plugin",
        "sign",
        "--source",
        "hours/manifest.toml",
        "--component",
        "hours/hours.wasm",
        "--key",
        "keys/publisher.key",
        "--output",
        "release/plugins/hours.manifest.json",
    ]);
    assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    ran
}

/// Signs a manifest that says that this text is a suite which it passed, by other means than `plugin sign`.
fn claim(deployment: &TestDeployment, suite: &str, change: impl FnOnce(&mut Value)) {
    deployment.write("release/plugins/claimed.suite.json", suite);
    sign(deployment, 0);
    let mut statement = deployment.opened("release/plugins/hours.manifest.json");
    statement["predicate"]["suite"]["digest"] = json!(digest(suite.as_bytes()));
    change(&mut statement["predicate"]["suite"]);
    // The schema's digest is of its text, which keeps its spelling.
    statement["predicate"].as_object_mut().unwrap().remove("settings_schema");
    deployment.write(
        "release/plugins/hours.manifest.json",
        deployment.forge("publisher", MANIFEST, &statement.to_string()),
    );
    publish(deployment, 2);
}

/// Signs and publishes a set with the example on the token hook.
fn publish(deployment: &TestDeployment, version: u64) {
    deployment.write("release/settings/hours.json", deployment.read("hours/settings.example.json"));
    deployment.write(
        "release.toml",
        format!("version = {version}\nvalidity = {{ days = 1 }}\nplugins = [\"release/plugins/hours.manifest.json\"]\n[[binding]]\nhook = \"token\"\nplugin = \"org.portcullis.hours\"\nsettings = \"release/settings/hours.json\"\nmode = \"enforce\"\nfallback = {{ review = \"deny\", step-up = \"deny\" }}\n"),
    );
    deployment.must(&[
        "release",
        "sign",
        "--source",
        "release.toml",
        "--root",
        "trust-root.json",
        "--key",
        "keys/release.key",
        "--output",
        "release/release.json",
    ]);
}

/// The files of a folder that a suite needs: not those of the languages below.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("payloads")).unwrap();
    let files: Vec<PathBuf> = fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    for file in files {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
    fs::copy(from.join("payloads/sign-in.json"), to.join("payloads/sign-in.json")).unwrap();
}

fn portcullis(folder: &Path, words: &[&str]) -> Ran {
    let output = Command::new(binary()).current_dir(folder).args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

//! The memory of plugins: what one call leaves for the next, through failures, restarts and
//! crashes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use portcullis_tests::{Answer, Binding, Host, SignIn, TestDeployment, log_event};
use serde_json::{Value, json};

const TABLES: [&str; 2] = [
    r#"
name = "roster"
format = "csv"
max_age_seconds = 86400
no_match = "treat-as-absent"

[[columns]]
name = "number"
type = "text"

[key]
columns = ["number"]
"#,
    r#"
name = "networks"
format = "csv"
max_age_seconds = 86400
no_match = "treat-as-absent"

[[columns]]
name = "network"
type = "ip-network"

[[columns]]
name = "zone"
type = "text"

[key]
columns = ["network"]
kind = "network"
"#,
];

/// A deployment whose plugin does with its memory what its calls tell it to do.
fn deployment(bindings: &[Binding]) -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    std::fs::create_dir(deployment.path("release/tables")).unwrap();
    deployment.write("release/tables/roster.csv", "number\n4711\n");
    deployment.write("release/tables/networks.csv", "network,zone\n10.0.0.0/8,ward\n");
    deployment.declare_table(TABLES[0], "roster.csv", None);
    deployment.declare_table(TABLES[1], "networks.csv", None);
    deployment.release(bindings);
    deployment
}

fn asking() -> Binding {
    Binding::new("token", "remembering", json!({}))
}

/// Somebody signs in with these questions in the profile.
fn ask(host: &Host, questions: &Value) -> Answer {
    ask_as(host, "00u1noorhaddad", questions)
}

fn ask_as(host: &Host, id: &str, questions: &Value) -> Answer {
    let mut sign_in = SignIn::with_groups(&[]);
    sign_in.body["data"]["context"]["user"]["id"] = json!(id);
    sign_in.body["data"]["context"]["user"]["profile"]["questions"] = questions.clone();
    host.sign_in(&sign_in)
}

/// The answers that the record of a call holds.
fn answers(deployment: &TestDeployment, answer: &Answer) -> Value {
    let sealed = deployment.sealed(answer.index().unwrap());
    sealed["plugins"][0]["decision"]["findings"][0]["arguments"]["answers"].clone()
}

#[test]
fn a_plugin_remembers_from_call_to_call_and_through_restarts_and_crashes() {
    let deployment = deployment(&[asking()]);
    let host = deployment.serve();
    let answered = |host: &Host, questions: Value| answers(&deployment, &ask(host, &questions));
    let learn = json!([
        ["recall", "subject", "device"],
        ["remember", "subject", "device", "cart 7", 86_400],
        ["recall", "subject", "device"],
        ["tally", "subject", "sign-ins", 3_600],
        ["tally-distinct", "shared", "192.0.2.1", "noor", 3_600],
    ]);
    assert_eq!(answered(&host, learn.clone()), json!([null, null, "cart 7", 1, 1]));
    assert_eq!(answered(&host, learn), json!(["cart 7", null, "cart 7", 2, 1]));
    let known = json!([
        ["recall", "subject", "device"],
        ["count", "subject", "sign-ins", 3_600],
        ["count-distinct", "shared", "192.0.2.1", 3_600],
    ]);
    let all = json!(["cart 7", 2, 1]);
    assert_eq!(answered(&host, known.clone()), all);
    host.stop();

    // Written to the file in order.
    let host = deployment.serve();
    assert_eq!(answered(&host, known.clone()), all);
    // Another person has a memory of their own; the shared one is the same for both.
    let other = ask_as(&host, "00u2adasmith", &known);
    assert_eq!(answers(&deployment, &other), json!([null, 0, 1]));
    let learned = ask(&host, &json!([["remember", "subject", "device", "cart 9", 86_400]]));
    assert!(learned.index().is_some());
    host.kill();

    // Taken from the write-ahead log.
    let host = deployment.serve();
    let answer = ask(&host, &known);
    assert_eq!(answers(&deployment, &answer), json!(["cart 9", 2, 1]));
    let read = &deployment.sealed(answer.index().unwrap())["plugins"][0]["memory"];
    assert_eq!(read[0]["key"], "device");
    assert_eq!(read[0]["value"], "Y2FydCA5");
    assert_eq!(read[0]["version"].as_u64(), learned.index());
    assert_eq!(read[1], json!({"scope": "subject", "key": "sign-ins", "window": 3600, "count": 2}));
    assert_eq!(read[2]["distinct"], 1);
    host.stop();
    assert_eq!(deployment.verify().code, 0);

    // No value, key, member or person is readable in what the host keeps.
    for folder in ["audit/memory", "audit/wal"] {
        for entry in std::fs::read_dir(deployment.path(folder)).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            for secret in ["cart 7", "cart 9", "sign-ins", "192.0.2.1", "00u1noorhaddad"] {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "`{secret}` is in {folder}");
            }
        }
    }
}

#[test]
fn what_a_call_counted_holds_whatever_comes_of_it_and_what_it_remembered_does_not() {
    let deployment = deployment(&[asking()]);
    let host = deployment.serve();
    let tries = ["tally", "subject", "tries", "3600"].map(Value::from);
    let tries = json!([tries[0], tries[1], tries[2], 3_600]);
    let sets = json!(["remember", "subject", "device", "cart 7", 60]);
    for fails in [json!(["no question"]), json!(["loop"])] {
        let answer = ask(&host, &json!([tries, sets, fails]));
        assert!(answer.stops_a_token());
        let record = deployment.record(answer.index().unwrap());
        assert!(record["bindings"][0]["fault"].is_string(), "{record}");
    }
    let answer = ask(
        &host,
        &json!([["count", "subject", "tries", 3_600], ["recall", "subject", "device"], tries]),
    );
    assert_eq!(answers(&deployment, &answer), json!([2, null, 3]));
    host.kill();
    let host = deployment.serve();
    let answer = ask(&host, &json!([["count", "subject", "tries", 3_600]]));
    assert_eq!(answers(&deployment, &answer), json!([3]));
}

#[test]
fn calls_at_the_same_time_lose_no_count_and_overwrite_nothing() {
    const CALLERS: usize = 8;
    const CALLS: usize = 25;
    let deployment = deployment(&[asking()]);
    let host = deployment.serve();
    let (decided, conflicts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let seen = std::sync::Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                for _ in 0..CALLS {
                    let questions = json!([
                        ["increment", "shared", "number", 3_600],
                        ["tally", "shared", "t", 3_600]
                    ]);
                    let answer = ask(&host, &questions);
                    let index = answer.index().unwrap();
                    if answer.stops_a_token() {
                        let record = deployment.record(index);
                        assert_eq!(record["decision"]["cause"], "memory-conflict", "{record}");
                        conflicts.fetch_add(1, Ordering::Relaxed);
                    } else {
                        decided.fetch_add(1, Ordering::Relaxed);
                        assert!(seen.lock().unwrap().insert(index));
                    }
                }
            });
        }
    });
    let (decided, conflicts) = (decided.into_inner(), conflicts.into_inner());
    assert_eq!(decided + conflicts, CALLERS * CALLS);
    let answer =
        ask(&host, &json!([["recall", "shared", "number"], ["count", "shared", "t", 3_600]]));
    assert_eq!(
        answers(&deployment, &answer),
        json!([decided.to_string(), decided + conflicts]),
        "{conflicts} conflicts"
    );
    // In the order of the log, no two decisions saw the same number.
    let numbers: Vec<_> = seen
        .into_inner()
        .unwrap()
        .into_iter()
        .map(|index| {
            let sealed = deployment.sealed(index);
            sealed["plugins"][0]["decision"]["findings"][0]["arguments"]["answers"][0]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(numbers, (1..=decided as u64).collect::<Vec<_>>());
    host.stop();
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn whatever_does_not_decide_keeps_its_memory_apart() {
    let deployment = TestDeployment::build(&[]);
    drop(deployment);
    let mut deployment = deployment_with_two_hooks();
    let host = deployment.serve();
    let tally = json!([["tally", "shared", "t", 3_600]]);
    let ask_hook = |host: &Host, hook: &str| {
        let mut sign_in = SignIn::with_groups(&[]);
        sign_in.body["data"]["context"]["user"]["profile"]["questions"] = tally.clone();
        host.post(hook, &sign_in.bytes())
    };
    // Two hooks on which the plugin decides share its memory.
    assert_eq!(answers(&deployment, &ask_hook(&host, "token")), json!([1]));
    assert_eq!(answers(&deployment, &ask_hook(&host, "second")), json!([2]));
    host.stop();

    // In monitor mode it starts with an empty memory of its own, which lasts too.
    deployment
        .release(&[asking(), Binding::new("second", "remembering", json!({})).mode("monitor")]);
    for expected in 1..=2 {
        let host = deployment.serve();
        let asked = ask_hook(&host, "second").index();
        let is_of_call = |record: &Value| record["decision"].as_u64() == asked;
        deployment.until_record("hook.observed", is_of_call);
        host.stop();
        let observed = deployment.records_of("hook.observed");
        let observed = observed.last().unwrap()["seq"].as_u64().unwrap();
        let answers = deployment.sealed(observed);
        let answers = &answers[0]["decision"]["findings"][0]["arguments"]["answers"];
        assert_eq!(*answers, json!([expected]), "{observed}");
    }
    let host = deployment.serve();
    assert_eq!(answers(&deployment, &ask_hook(&host, "token")), json!([3]));
}

fn deployment_with_two_hooks() -> TestDeployment {
    let deployment = deployment(&[]);
    deployment.add_hook("second", "okta.token", "");
    let mut deployment = deployment;
    deployment.release(&[asking(), Binding::new("second", "remembering", json!({}))]);
    deployment
}

#[test]
fn a_damaged_file_is_put_aside_and_the_host_goes_on() {
    let deployment = deployment(&[asking()]);
    let host = deployment.serve();
    ask(&host, &json!([["tally", "subject", "tries", 3_600]]));
    host.stop();
    let folder = deployment.path("audit/memory");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.iter_mut().skip(4_096).for_each(|byte| *byte ^= 0x55);
    std::fs::write(&file, bytes).unwrap();
    let host = deployment.serve();
    host.wait_for(log_event("memory.set-aside"));
    let answer = ask(&host, &json!([["tally", "subject", "tries", 3_600]]));
    assert!(answer.index().is_some() && !answer.stops_a_token());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "the damaged file is kept");
    host.stop();
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn operators_see_what_plugins_hold_and_are_warned_before_a_quota_is_used_up() {
    let deployment = deployment(&[asking()]);
    let configuration = deployment.read("portcullis.toml");
    deployment.write("portcullis.toml", format!("{configuration}\n[memory]\nsubject_bytes = 1\n"));
    let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(checked.code, 64);
    assert!(checked.err.contains("memory.subject_bytes is 1, not 65536 to"), "{}", checked.err);
    let quota = "\n[memory]\nshared_entries = 256\n";
    deployment.write("portcullis.toml", format!("{configuration}{quota}"));
    let host = deployment.serve();
    let warned = |host: &Host| {
        let ready = host.admin("/ready").json;
        let warnings = ready["warnings"].as_array().unwrap().clone();
        warnings.iter().any(|it| it["code"] == "memory-nearly-full")
    };
    for call in 0..4 {
        assert!(!warned(&host), "{call}");
        let questions: Vec<_> =
            (0..60).map(|key| json!(["tally", "shared", format!("{call}-{key}"), 3_600])).collect();
        assert!(!ask(&host, &json!(questions)).stops_a_token());
    }
    ask(&host, &json!([["remember", "subject", "device", "cart 7", 60]]));
    assert!(warned(&host), "240 of 256 entries");

    let memory = host.settled_memory();
    assert_eq!(memory["problem"], Value::Null);
    let plugin = &memory["plugins"][0];
    assert_eq!(
        (&plugin["plugin"], &plugin["space"]),
        (&json!("org.portcullis.remembering"), &json!("live"))
    );
    assert_eq!((&plugin["subjects"], &plugin["cells"]), (&json!(1), &json!(241)));
    assert_eq!(
        (&plugin["shared"]["entries"], &plugin["shared"]["entries_quota"]),
        (&json!(240), &json!(256))
    );
    let of = r#"{plugin="org.portcullis.remembering",space="live""#;
    assert_eq!(host.metric(&format!("portcullis_memory_subjects{of}}}")), 1.0);
    assert_eq!(host.metric(&format!("portcullis_memory_conflicts_total{of}}}")), 0.0);
    let entries = format!(r#"portcullis_memory_entries{of},scope="shared"}}"#);
    assert_eq!(host.metric(&entries), 240.0);
    let bytes = format!(r#"portcullis_memory_bytes{of},scope="subject"}}"#);
    assert!(host.metric(&bytes) > 0.0);
    assert_eq!(host.metric("portcullis_memory_not_written"), 0.0);
    assert!(host.metric("portcullis_memory_flush_duration_seconds") >= 0.0);
    assert!(host.metric("portcullis_memory_flush_age_seconds") < 60.0);
    host.stop();

    let file = deployment.path("audit/memory/memory.redb");
    deployment.must(&["check", "--config", "portcullis.toml"]);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_ne!(checked.code, 0);
    assert!(checked.err.contains("memory.redb"), "{}", checked.err);
}

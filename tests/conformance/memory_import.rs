//! `portcullis memory import`: an exported log warms the memory of a running host.

use portcullis_tests::{Binding, Host, SignIn, TestDeployment, now, rfc3339};
use serde_json::{Value, json};

const DAY: i64 = 86_400;

/// The plugin learns on two hooks of events and decides on one of tokens.
fn deployment() -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    deployment.sign_root(|source| {
        source.replace(r#"["okta.*"]"#, r#"["authzen", "entra.*", "okta.*", "ping.*"]"#)
    });
    deployment.add_hook("event", "okta.event", "");
    deployment.add_hook("rows", "entra.sign-in-log", "");
    // Without the tables of a real deployment.
    deployment.sign_plugin("sign-in-risk", |source| {
        let is_kept = |line: &&str| !line.starts_with("    \"tables.");
        source.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
    });
    let records = [("deny", "record"), ("review", "record"), ("step-up", "record")];
    deployment.release(&[
        Binding::new("token", "sign-in-risk", json!({})),
        Binding::new("event", "sign-in-risk", json!({})),
        Binding::new("rows", "sign-in-risk", json!({})).fallback(&records),
    ]);
    deployment
}

/// A sign-in in Okta's System Log, some days ago.
fn okta_event(id: &str, days_ago: i64) -> Value {
    json!({
        "uuid": id, "published": rfc3339(now() - days_ago * DAY), "version": "0", "severity": "INFO",
        "eventType": "user.session.start", "outcome": {"result": "SUCCESS", "reason": null},
        "actor": {"id": "00utest", "type": "User", "alternateId": "noor.haddad@ward.test"},
        "client": {"ipAddress": "192.0.2.7", "userAgent": {"rawUserAgent": "Ward/1"}},
        "authenticationContext": {"externalSessionId": format!("session-{id}")},
    })
}

/// Sign-ins of the last month, the newest first, as the console exports them.
fn okta_events() -> Vec<Value> {
    (2..32).map(|day| okta_event(&format!("event-{day}"), day)).collect()
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn import(deployment: &TestDeployment, host: &Host, hook: &str, more: &[&str]) -> (i32, Value) {
    let url = format!("http://{}/okta/{hook}", host.address());
    let mut arguments = vec!["memory", "import", "--config", "portcullis.toml", "--hook", hook];
    arguments.extend(["--url", &url, "--format", "json"]);
    arguments.extend(more);
    let ran = deployment.run(&arguments);
    let summary = serde_json::from_str(&ran.out).unwrap_or_else(|_| json!(ran.err));
    (ran.code, summary)
}

/// The codes of a token call from an address.
fn codes(deployment: &TestDeployment, host: &Host, address: &str) -> Value {
    let mut sign_in = SignIn::with_groups(&[]);
    sign_in.body["data"]["context"]["request"]["ipAddress"] = json!(address);
    let index = host.sign_in(&sign_in).index().unwrap();
    deployment.record(index)["bindings"][0]["codes"].clone()
}

fn memory(host: &Host) -> Value {
    let mut memory = host.settled_memory()["plugins"].take();
    for plugin in memory.as_array_mut().unwrap() {
        plugin.as_object_mut().unwrap().remove("conflicts");
    }
    memory
}

#[test]
fn an_imported_okta_log_makes_a_usual_address_usual_and_counts_once() {
    let deployment = deployment();
    let mut events = okta_events();
    events.push(okta_event("old", 91));
    events.push(okta_event("event-2", 2));
    let mut failed = okta_event("hook", 3);
    failed["eventType"] = json!("inline_hook.executed");
    events.push(failed);
    deployment.write("log.jsonl", format!("{}no json\n", lines(&events)));
    let host = deployment.serve();
    let log = ["--okta-log", "log.jsonl"];
    let (code, summary) = import(&deployment, &host, "event", &[&log[..], &["--dry-run"]].concat());
    assert_eq!((code, &summary["taken"], &summary["to_send"]), (0, &json!(0), &json!(30)));
    assert_eq!(codes(&deployment, &host, "192.0.2.7"), json!(["RISK_LEARNING"]));

    let (code, summary) = import(&deployment, &host, "event", &log);
    assert_eq!(code, 0, "{summary}");
    assert_eq!((&summary["read"], &summary["taken"]), (&json!(34), &json!(30)));
    assert_eq!(
        summary["skipped"],
        json!([
            {"reason": "not-json", "events": 1, "first_lines": [34]},
            {"reason": "repeated", "events": 1, "first_lines": [32]},
            {"reason": "not-a-sign-in", "events": 1, "first_lines": [33]},
            {"reason": "too-old", "events": 1, "first_lines": [31]},
        ])
    );
    assert_eq!(codes(&deployment, &host, "192.0.2.7"), json!(["RISK_LOW"]));
    let strange = codes(&deployment, &host, "203.0.113.9");
    assert!(strange.as_array().unwrap().contains(&json!("RISK_NEW_NETWORK")), "{strange}");

    // The old one is the first in order of time. These are other batches, which the host has not
    // answered before.
    let before = memory(&host);
    for (from, count) in [("3", 29), ("22", 10)] {
        let more = [&log[..], &["--from", from]].concat();
        let (code, summary) = import(&deployment, &host, "event", &more);
        assert_eq!((code, &summary["taken"]), (0, &json!(count)));
        assert_eq!(memory(&host), before, "an event counts once");
    }
    host.stop();
    assert_eq!(deployment.verify().code, 0);
    let records = deployment.records_of("hook.decision");
    let taken = records.iter().filter(|record| record["hook"]["kind"] == "okta.event");
    assert_eq!(taken.count(), 30 + 29 + 10, "each event that was taken is on record, and no other");
}

#[test]
fn a_log_as_csv_is_read_like_the_one_of_the_api() {
    let deployment = deployment();
    let mut text = "timestamp,uuid,event_type,outcome.result,actor.id,actor.type,\
                    client.ip_address,client.user_agent.raw_user_agent\n"
        .to_owned();
    for day in 2..32 {
        let time = rfc3339(now() - day * DAY);
        text +=
            &format!("{time},e{day},user.session.start,SUCCESS,00utest,User,192.0.2.7,Ward/1\n");
    }
    deployment.write("log.csv", text);
    let host = deployment.serve();
    let (code, summary) = import(&deployment, &host, "event", &["--okta-log", "log.csv"]);
    assert_eq!((code, &summary["taken"]), (0, &json!(30)), "{summary}");
    assert_eq!(codes(&deployment, &host, "192.0.2.7"), json!(["RISK_LOW"]));
}

#[test]
fn rows_of_entras_log_are_calls_of_their_user() {
    let deployment = deployment();
    let row = |number: i64| {
        json!({
            "id": format!("row-{number}"), "createdDateTime": rfc3339(now() - number * DAY),
            "userId": format!("user-{}", number % 3), "userPrincipalName": "noor.haddad@ward.test",
            "ipAddress": "192.0.2.7", "status": {"errorCode": 0}, "userAgent": "Ward/1",
            "authenticationRequirement": "multiFactorAuthentication",
        })
    };
    let rows: Vec<_> = (2..32).map(row).collect();
    deployment.write("log.json", json!({"@odata.context": "x", "value": rows}).to_string());
    let host = deployment.serve();
    let (code, summary) = import(&deployment, &host, "rows", &["--entra-log", "log.json"]);
    assert_eq!((code, &summary["taken"]), (0, &json!(30)), "{summary}");
    assert_eq!(memory(&host)[0]["subjects"], 3);
    let record = deployment.until_record("hook.decision", |record| {
        record["hook"]["kind"] == "entra.sign-in-log" && record["part"] == 0
    });
    let sealed = deployment.sealed(record["seq"].as_u64().unwrap());
    assert_eq!(sealed["request"], rows[29], "the oldest comes first");
}

#[test]
fn an_import_that_cannot_be_whole_says_why_and_how_to_go_on() {
    let deployment = deployment();
    deployment.write("log.jsonl", lines(&okta_events()));
    deployment.write("none.json", "[]");
    deployment.write("odd.json", "[{]");
    let host = deployment.serve();
    for (hook, file, code, expected) in [
        ("token", ["--okta-log", "log.jsonl"], 64, "such a log needs okta.event"),
        ("event", ["--entra-log", "log.jsonl"], 64, "such a log needs entra.sign-in-log"),
        ("event", ["--okta-log", "none.json"], 1, "has no event to send"),
        ("event", ["--okta-log", "odd.json"], 64, "line 1"),
        ("event", ["--okta-log", "missing.json"], 64, "cannot read"),
        ("evnt", ["--okta-log", "log.jsonl"], 64, "has no hook `evnt`"),
    ] {
        let ran = deployment.run(
            &[&["memory", "import", "--config", "portcullis.toml", "--hook", hook], &file[..]]
                .concat(),
        );
        assert_eq!(ran.code, code, "{hook} {file:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{hook} {file:?}: {}", ran.err);
    }
    // The secret of somebody else.
    deployment.write_secret("secrets/event", "another secret, which the host does not accept\n");
    let url = format!("http://{}/okta/event", host.address());
    let arguments = |url: &str| {
        ["memory", "import", "--config", "portcullis.toml", "--hook", "event", "--url", url]
            .map(str::to_owned)
    };
    let run = |url: &str| {
        let arguments = arguments(url);
        let mut all: Vec<_> = arguments.iter().map(String::as_str).collect();
        all.extend(["--okta-log", "log.jsonl"]);
        deployment.run(&all)
    };
    let ran = run(&url);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("does not accept the caller (401)"), "{}", ran.err);
    assert!(ran.err.contains("`--from 1`"), "{}", ran.err);
    host.stop();
    assert_eq!(deployment.records_of("hook.decision").len(), 0);
    assert_eq!(run(&url).code, 1, "no host");
}

#[test]
fn an_open_hook_is_not_imported_into() {
    let deployment = deployment();
    deployment.configure("path = \"/okta/event\"", "path = \"/okta/event\"\non_failure = \"open\"");
    deployment.write("log.jsonl", lines(&okta_events()));
    let ran = deployment.run(&[
        "memory",
        "import",
        "--config",
        "portcullis.toml",
        "--hook",
        "event",
        "--okta-log",
        "log.jsonl",
    ]);
    assert_eq!(ran.code, 64);
    assert!(ran.err.contains("acknowledges events that are not on record"), "{}", ran.err);
}

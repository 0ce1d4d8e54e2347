//! Every misbehaviour on a closed token hook: the answer that stops, a record that names the fault
//! and the plugin, and neighbours who get their own answers before, beside and after.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use portcullis_tests::{Binding, SetOnDrop, TestDeployment};
use serde_json::{Value, json};

use super::{clean_sign_in, misbehaving_binding, with_group};

#[test]
fn whatever_a_plugin_does_a_closed_hook_stops_and_says_why_and_its_neighbours_never_notice() {
    let misbehaviours: serde_json::Map<_, _> = BAD
        .iter()
        .map(|(name, settings, ..)| ((*name).to_owned(), serde_json::from_str(settings).unwrap()))
        .collect();
    let deployment =
        TestDeployment::build(&[misbehaving_binding("token", &Value::Object(misbehaviours))]);
    let host = deployment.serve();

    // Neighbours all the while, on connections of their own.
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let ends = SetOnDrop(&done);
        let neighbour = scope.spawn(|| {
            let mut answered = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = host.sign_in(&clean_sign_in());
                assert!(
                    answer.status == 200 && !answer.stops_a_token(),
                    "a neighbour was refused: {answer:?}"
                );
                answered += 1;
            }
            answered
        });
        let seen: Vec<_> = BAD
            .iter()
            .map(|(name, ..)| {
                let bad = host.sign_in(&with_group(name));
                assert!(bad.stops_a_token(), "`{name}` did not stop: {bad:?}");
                assert!(
                    !host.sign_in(&clean_sign_in()).stops_a_token(),
                    "after `{name}` a clean call was refused"
                );
                bad.index().unwrap()
            })
            .collect();
        drop(ends);
        assert!(neighbour.join().unwrap() > 0);
        seen
    });

    let log = host.stop();
    assert!(deployment.verify().code == 0);
    let records = deployment.records();
    for ((name, _, fault, cause), index) in BAD.iter().zip(seen) {
        let record = &records[usize::try_from(index).unwrap()];
        assert_eq!(record["bindings"][0]["fault"], json!(fault), "`{name}`: {record}");
        assert_eq!(
            record["decision"],
            json!({"safe": "closed", "cause": cause, "plugin": "org.portcullis.misbehaving"}),
            "`{name}`"
        );
    }
    // What a plugin repeats of a call, in an error or as a panic's text, is for the sealed part alone.
    let sealed = deployment.sealed(
        records.iter().position(|record| record["bindings"][0]["fault"] == "plugin-error").unwrap()
            as u64,
    );
    assert!(sealed["plugins"][0]["fault"].as_str().unwrap().contains("00utest"));
    for outside in [log.to_string(), records.iter().map(Value::to_string).collect()] {
        assert!(!outside.contains("00utest") && !outside.contains("as told"), "{outside}");
    }
}

#[test]
fn what_the_platform_would_reject_as_a_whole_never_leaves_and_its_author_is_named() {
    let misbehaviours = json!({
        "reserved": {"do": "set", "target": "access-token", "path": "/claims/scp", "value": ["all"]},
        "no-such-claim": {"do": "remove", "target": "access-token", "path": "/claims/not-there"},
        "too-long": {"do": "cap", "target": "access-token", "seconds": 299},
        "well-formed": {"do": "set", "target": "access-token", "path": "/claims/ward", "value": "north"},
        "short": {"do": "cap", "target": "access-token", "seconds": 600},
        "dropped": {"do": "drop-grant", "id": "dropped"},
    });
    let deployment = TestDeployment::build(&[misbehaving_binding("token", &misbehaviours)]);
    let host = deployment.serve();
    let reserved = host.sign_in(&with_group("reserved"));
    let absent = host.sign_in(&with_group("no-such-claim"));
    for stopped in [
        &reserved,
        &absent,
        &host.sign_in(&with_group("too-long")),
        &host.sign_in(&with_group("dropped")),
    ] {
        assert!(stopped.stops_a_token() && stopped.operations().is_empty(), "{stopped:?}");
    }
    // The same misbehaviours, where they can be said.
    let set = host.sign_in(&with_group("well-formed")).operations();
    assert_eq!(set.len(), 1);
    assert_eq!((set[0].2.as_str(), &set[0].3), ("/claims/ward", &json!("north")));
    let capped = host.sign_in(&with_group("short")).operations();
    assert_eq!((capped[0].2.as_str(), &capped[0].3), ("/token/lifetime/expiration", &json!(600)));
    drop(host.stop());
    for stopped in [reserved, absent] {
        let record = deployment.record(stopped.index().unwrap());
        assert_eq!(
            record["decision"],
            json!({"safe": "closed", "cause": "unsupported-change", "plugin": "org.portcullis.misbehaving"})
        );
    }
}

#[test]
fn nothing_is_left_for_the_next_call() {
    let deployment =
        TestDeployment::build(&[Binding::new("token", "misbehaving", json!({"do": "remember"}))]);
    let host = deployment.serve();
    let mut client = host.client();
    for _ in 0..100 {
        let answer = client.send(&host.request("token", &clean_sign_in().bytes())).unwrap();
        assert!(!answer.stops_a_token(), "an earlier call left something behind: {answer:?}");
    }
    drop(host.stop());
}

#[test]
fn a_watching_plugin_stops_nobody_whatever_it_does() {
    let misbehaviours = json!({"trap": {"do": "trap"}, "deny": {"do": "deny"}});
    let deployment = TestDeployment::build(&[
        misbehaving_binding("token", &misbehaviours).mode("monitor"),
        misbehaving_binding("import", &json!({})),
    ]);
    let host = deployment.serve();
    let trapped = host.sign_in(&with_group("trap"));
    let denied = host.sign_in(&with_group("deny"));
    for answer in [&trapped, &denied] {
        assert!(answer.status == 200 && !answer.stops_a_token(), "{answer:?}");
    }
    let observed = |index| {
        deployment.until_record("hook.observed", move |record| record["decision"] == json!(index))
    };
    assert_eq!(observed(trapped.index())["bindings"][0]["fault"], json!("plugin-trap"));
    assert_eq!(observed(denied.index())["bindings"][0]["verdict"], json!("deny"));
    drop(host.stop());
}

#[test]
fn settings_that_a_plugin_refuses_put_nothing_in_force() {
    let mut deployment = TestDeployment::build(&[misbehaving_binding("token", &json!({}))]);
    let host = deployment.serve();
    deployment.release(&[Binding::new("token", "misbehaving", json!({"do": "refuse-settings"}))]);
    let refused = deployment.until_record("release.refused", |_| true);
    assert_eq!(refused["plugin"], json!("org.portcullis.misbehaving"));
    // Settings name people: what the plugin said about them is not in the host's log.
    host.wait_for("release.refused");
    assert!(!host.log().contains("asks to be refused"), "{}", host.log());
    let answer = host.sign_in(&clean_sign_in());
    assert!(!answer.stops_a_token(), "the last good release does not go on: {answer:?}");
    drop(host.stop());
}

/// Name, settings, the precise fault and the cause.
const BAD: [(&str, &str, &str, &str); 15] = [
    ("trap", r#"{"do":"trap"}"#, "plugin-trap", "plugin-fault"),
    ("loop-forever", r#"{"do":"loop-forever"}"#, "plugin-deadline", "plugin-fault"),
    ("recurse", r#"{"do":"recurse"}"#, "plugin-stack", "plugin-fault"),
    ("grow-memory", r#"{"do":"grow-memory"}"#, "plugin-memory", "plugin-fault"),
    ("flood-notes", r#"{"do":"flood-notes"}"#, "plugin-output", "plugin-fault"),
    ("huge-output", r#"{"do":"huge-output"}"#, "plugin-output", "plugin-fault"),
    ("error", r#"{"do":"error"}"#, "plugin-error", "plugin-fault"),
    (
        "undeclared-effect",
        r#"{"do":"undeclared-effect"}"#,
        "undeclared-output",
        "undeclared-output",
    ),
    ("undeclared-code", r#"{"do":"undeclared-code"}"#, "undeclared-output", "undeclared-output"),
    (
        "undeclared-change",
        r#"{"do":"undeclared-change"}"#,
        "undeclared-output",
        "undeclared-output",
    ),
    ("malformed-value", r#"{"do":"malformed-value"}"#, "undeclared-output", "undeclared-output"),
    (
        "malformed-argument",
        r#"{"do":"malformed-argument"}"#,
        "undeclared-output",
        "undeclared-output",
    ),
    ("impossible-risk", r#"{"do":"impossible-risk"}"#, "undeclared-output", "undeclared-output"),
    (
        "add-grant",
        r#"{"do":"add-grant","id":"prescribe"}"#,
        "undeclared-output",
        "undeclared-output",
    ),
    (
        "wrong-hook",
        r#"{"do":"set","target":"user","path":"/title","value":"chief"}"#,
        "undeclared-output",
        "undeclared-output",
    ),
];

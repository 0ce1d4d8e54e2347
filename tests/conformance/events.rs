//! `okta.event`: every event of a batch is put before the plugins and is on record before Okta hears that it arrived.

use portcullis_tests::{Answer, Binding, Raw, TestDeployment, batch, event};
use serde_json::{Value, json};

#[test]
fn every_event_is_looked_at_once_and_on_record() {
    let deployment = TestDeployment::build(&[
        Binding::new("event", "misbehaving", json!({"do": "deny"})),
        Binding::new("event", "misbehaving-watcher", json!({"do": "reveal"})).mode("monitor"),
    ]);
    deployment.add_hook("event", "okta.event", "");
    let host = deployment.serve();

    let challenge = |headers: &str| {
        let head = format!("GET /okta/event HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", host.address());
        host.client().say(head.as_bytes()).unwrap()
    };
    let greeted = challenge("x-okta-verification-challenge: o2-\"7\"\r\n");
    assert_eq!((greeted.status, &greeted.json), (200, &json!({"verification": "o2-\"7\""})));
    assert_eq!(challenge("").status, 405, "no other GET is answered");

    let body =
        batch(&["user.session.start", "user.authentication.sso", "group.user_membership.add"]);
    let ask = |body: &Value| host.post("event", body.to_string().as_bytes());
    assert_arrived(&ask(&body));
    assert_arrived(&ask(&body));
    let mut odd = batch(&["user.session.end", "user.session.start"]);
    odd["data"]["events"][0]["eventType"] = Value::Null;
    odd["data"]["events"][1]["actor"] = Value::Null;
    odd["data"]["events"].as_array_mut().unwrap().push(json!("no event"));
    assert_arrived(&ask(&odd));
    assert_arrived(&ask(&batch(&[])));

    let unauthenticated = host
        .client()
        .send(&Raw::post("/okta/event", "not the secret", body.to_string().as_bytes()))
        .unwrap();
    assert_eq!((unauthenticated.status, unauthenticated.body.len()), (401, 0));
    for bad in [
        &b"{"[..],
        b"",
        br#"{"eventId":"e","eventType":"com.okta.event_hook","data":{"events":7}}"#,
    ] {
        let answer = host.post("event", bad);
        assert_eq!(answer.status, 503, "with 4xx Okta would drop it for good");
    }
    deployment.until_record("hook.observed", |record| {
        record["decision"].as_u64().is_some_and(|of| of >= 5)
    });
    host.stop();

    let decisions = deployment.records_of("hook.decision");
    assert_eq!(decisions.len(), 6, "three of the batch, three of the odd one, none twice");
    let unreadable: Vec<_> = decisions
        .iter()
        .filter(|record| record["decision"]["cause"] == "schema-mismatch")
        .collect();
    assert_eq!(unreadable.len(), 2);
    for (record, place) in unreadable.iter().zip([0, 2]) {
        assert_eq!((&record["part"], &record["status"]), (&json!(place), &json!(204)));
        let sealed = deployment.sealed(record["seq"].as_u64().unwrap());
        assert_eq!(sealed["request"], odd["data"]["events"][place], "what came is kept");
    }
    for (number, record) in decisions.iter().take(3).enumerate() {
        assert_eq!(
            (&record["hook"]["kind"], &record["part"]),
            (&json!("okta.event"), &json!(number))
        );
        assert_eq!(
            (&record["decision"]["verdict"], &record["status"]),
            (&json!("deny"), &json!(204))
        );
        assert_eq!(record["bindings"][0]["codes"], json!(["MISBEHAVING_DENIES"]));
        let sealed = deployment.sealed(record["seq"].as_u64().unwrap());
        assert_eq!(
            sealed["request"], body["data"]["events"][number],
            "each with its own event, and no other"
        );
    }
    let observed = deployment.records_of("hook.observed");
    assert_eq!(observed.len(), 4);
    let seen = deployment.sealed(observed[1]["seq"].as_u64().unwrap())[0]["notes"][0]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(seen.contains("user.authentication.sso"), "a plugin sees each: {seen}");
    let duplicates = deployment.records_of("hook.duplicate");
    assert_eq!((duplicates.len(), &duplicates[0]["status"]), (1, &json!(204)));
    let refused = deployment.records_of("hook.rejected");
    for (cause, count) in [("unauthenticated", 1), ("not-json", 2), ("schema-mismatch", 3)] {
        let counts = refused
            .iter()
            .filter(|record| record["cause"] == cause)
            .map(|record| record["count"].as_u64().unwrap());
        assert_eq!(counts.sum::<u64>(), count, "{cause}");
    }
}

#[test]
fn what_is_not_on_record_is_asked_for_once_more() {
    // Nothing is active, and nothing enforces: an event hook has no default that would do.
    for (on_failure, status) in [("closed", 503), ("open", 204)] {
        let deployment = TestDeployment::build(&[]);
        deployment.add_hook("event", "okta.event", &format!("on_failure = \"{on_failure}\""));
        deployment.write("release/release.json", "{");
        let host = deployment.serve();
        let body = batch(&["user.session.start"]).to_string();
        for _ in 0..2 {
            assert_eq!(
                host.post("event", body.as_bytes()).status,
                status,
                "and what comes once more is looked at anew"
            );
        }
        host.stop();
        let tried = deployment.records_of("hook.decision");
        assert_eq!(tried.len(), if on_failure == "closed" { 2 } else { 1 });
        assert_eq!(tried[0]["decision"]["cause"], "no-active-release");
    }
}

#[test]
fn a_hook_that_nobody_enforces_still_sees_to_it() {
    let deployment =
        TestDeployment::build(&[
            Binding::new("event", "misbehaving", json!({"do": "allow"})).mode("monitor")
        ]);
    deployment.add_hook("event", "okta.event", "");
    assert!(!deployment.must(&["check", "--config", "portcullis.toml"]).contains("hook `event`"));
    let host = deployment.serve();
    assert_arrived(&host.post("event", batch(&["user.session.start"]).to_string().as_bytes()));
    let mut reused = batch(&["user.session.start"]);
    let id = event();
    reused["eventId"] = json!(id);
    assert_arrived(&host.post("event", reused.to_string().as_bytes()));
    reused["data"]["events"][0]["uuid"] = json!(event());
    assert_arrived(&host.post("event", reused.to_string().as_bytes()));
    host.stop();
    let told = deployment.records_of("hook.decision").len();
    assert_eq!(told, 3, "another batch under the same id is lost to nobody");
}

fn assert_arrived(answer: &Answer) {
    assert_eq!((answer.status, answer.body.len()), (204, 0));
}

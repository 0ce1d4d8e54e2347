//! Requests of ordinary clients that are not as their documents show them: they are decided, or
//! refused by name.

use portcullis_tests::{Binding, SignIn, TestDeployment, batch, duties, log_event};
use serde_json::json;

#[test]
fn a_claim_of_another_shape_locks_nobody_out() {
    let bound = |hook| Binding::new(hook, "sod", duties());
    let deployment = TestDeployment::build(&[bound("token"), bound("strict")]);
    deployment.add_hook("strict", "okta.token", "entitlements = [\"/data/access/claims/roles\"]");
    let host = deployment.serve();
    for (claim, value) in [
        ("roles", json!([1001, 1002])),
        ("entitlements", json!({"app1": ["read", "write"]})),
        ("roles", json!([7, "nurse", null])),
    ] {
        let answer = host.sign_in(&SignIn::with_groups(&[]).claim(claim, value.clone()));
        assert_eq!(answer.without_reference(), "{}", "{claim} = {value}");
        assert!(answer.index().is_some(), "decided and recorded");
    }
    let mut nameless = SignIn::with_groups(&[]);
    nameless
        .body
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !name.starts_with("eventI") && name != "eventTime");
    for _ in 0..2 {
        assert_eq!(host.sign_in(&nameless).without_reference(), "{}");
    }
    // Where the operator says that entitlements stand, what cannot be read refuses, by the place's
    // name.
    let numbers = SignIn::with_groups(&[]).claim("roles", json!([1001]));
    assert!(host.post("strict", &numbers.bytes()).stops_a_token());
    let mut headless = SignIn::with_groups(&[]);
    headless.body["data"] = json!("Zebulon-Quartermain");
    assert!(host.sign_in(&headless).stops_a_token());
    for (hook, member) in [("strict", "/data/access/claims/roles"), ("token", "data")] {
        let sample = format!(
            "portcullis_rejected_members_total{{hook=\"{hook}\",kind=\"okta.token\",reason=\"schema-mismatch\",member=\"{member}\"}}"
        );
        assert_eq!(host.metric(&sample), 1.0);
        let status = host.admin("/status").json;
        let hooks = status["hooks"].as_array().unwrap();
        let shown = hooks.iter().find(|shown| shown["name"] == hook).unwrap();
        assert_eq!(shown["counts"]["rejected_members"][member], 1, "{shown}");
    }
    let log = host.stop();
    let rejected = log_event("hook.request-rejected").field("member", "/data/access/claims/roles");
    assert!(log.has(rejected), "{log}");
    assert!(log.has("hook.entitlement-passed-over"), "{log}");
    assert!(!log.contains("Zebulon"), "a value is in the log");
    assert_eq!(
        deployment.records_of("hook.decision").len(),
        5,
        "no retry is known of a call without an id"
    );
    let refused = deployment.records_of("hook.rejected");
    let named = |hook: &str| {
        refused.iter().find(|record| record["hook"] == hook).map(|record| record["detail"].clone())
    };
    assert_eq!(
        (named("strict"), named("token")),
        (Some(json!("/data/access/claims/roles")), Some(json!("data")))
    );
}

#[test]
fn a_change_of_a_token_that_is_not_issued_is_skipped_and_recorded() {
    let wish = json!({"do": "set", "target": "id-token", "path": "/claims/x", "value": "1"});
    let deployment = TestDeployment::build(&[Binding::new("token", "misbehaving", wish)]);
    let host = deployment.serve();
    let mut client = SignIn::with_groups(&[]);
    client.body["data"].as_object_mut().unwrap().remove("identity");
    let answer = host.sign_in(&client);
    host.stop();
    let record = deployment.record(answer.index().unwrap());
    assert_eq!(record["bindings"][0]["changes"], json!(["set:id-token"]), "the plugin asks for it");
    assert_eq!(answer.without_reference(), "{}");
    assert_eq!(record["skipped"], json!(["set:id-token"]));
}

#[test]
fn an_edited_preview_is_told_why_it_is_refused() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let first = SignIn::with_groups(&[]);
    assert_eq!(host.sign_in(&first).without_reference(), "{}");
    let edited = host.sign_in(&first.clone().claim("nickname", "edited"));
    assert!(edited.stops_a_token());
    let text = edited.json["error"]["errorSummary"].as_str().unwrap();
    assert!(text.contains("preview") && text.contains("eventId"), "{text}");
    host.stop();
}

#[test]
fn a_batch_that_is_too_large_comes_again_and_is_warned_of() {
    let deployment =
        TestDeployment::build(&[Binding::new("event", "misbehaving", json!({"do": "allow"}))]);
    deployment.add_hook("event", "okta.event", "body_bytes = 2000");
    let host = deployment.serve();
    let large = batch(&["user.session.start"; 8]).to_string();
    assert!(large.len() > 2_000);
    for _ in 0..3 {
        assert_eq!(host.post("event", large.as_bytes()).status, 503);
    }
    let mut cased = batch(&["user.session.start"]);
    let id = cased.as_object_mut().unwrap().remove("eventId").unwrap();
    cased["eventID"] = id;
    for _ in 0..2 {
        assert_eq!(host.post("event", cased.to_string().as_bytes()).status, 204);
    }
    let log = host.stop();
    assert_eq!(log.count("hook.batch-too-large"), 1, "one line for all of them:\n{log}");
    assert_eq!(
        deployment.records_of("hook.decision").len(),
        1,
        "known again by its id in another case"
    );
}

//! Callouts of Entra's governance: the answer at once, and the resume call after it, to a stand-in.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_tests::{FakePlatform, Host, TestDeployment, entra, entra_deployment};
use serde_json::{Value, json};

fn misbehaviours() -> Value {
    json!({"do": "by-entitlement", "misbehaviours": {
        "deny": {"do": "deny", "why": "two roles"},
        "trap": {"do": "trap"},
        "approvers": {"do": "require-approvers", "ids": ["2f9d7a10", "07fc263f"]},
        "auto": {"do": "auto-approve"},
    }})
}

fn deployment(fake_platform: &FakePlatform) -> TestDeployment {
    entra_deployment(
        &fake_platform.url(),
        &[("packages", misbehaviours()), ("leavers", misbehaviours())],
    )
}

/// Posts a callout of its own id, which is answered at once.
fn call_out(host: &Host, payload: &str, misbehaviour: &str, id: &str) {
    let mut body = entra(payload, misbehaviour);
    for place in [
        "/AccessPackageAssignmentRequestId",
        "/accessPackageAssignmentRequestId",
        "/data/taskProcessingResult/id",
    ] {
        if let Some(place) = body.pointer_mut(place) {
            *place = id.into();
        }
    }
    let answer = host.entra(if payload == "lifecycle" { "leavers" } else { "packages" }, &body);
    assert_eq!((answer.status, answer.json), (202, json!({})), "{payload}, {misbehaviour}");
}

/// Waits until so many calls lie on the disk, and gives them.
fn until_spooled(deployment: &TestDeployment, count: usize) -> Vec<Vec<u8>> {
    let begin = Instant::now();
    loop {
        let folder = fs::read_dir(deployment.path("resume/graph")).unwrap();
        let spooled: Vec<_> =
            folder.filter_map(|file| fs::read(file.unwrap().path()).ok()).collect();
        if spooled.len() == count {
            return spooled;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{} calls lie on the disk",
            spooled.len()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_was_decided_goes_by_the_resume_call() {
    let fake_platform = FakePlatform::start();
    let deployment = deployment(&fake_platform);
    let host = deployment.serve();
    let below = "/v1.0/identityGovernance/entitlementManagement/assignmentRequests";
    let cases = [
        ("entitlement", "allow", "a-1", Some(format!("{below}/a-1/resume")), "/data/state", Value::Null),
        ("entitlement", "deny", "a-2", Some(format!("{below}/a-2/resume")), "/data/state", json!("Denied")),
        ("entitlement", "trap", "a-3", Some(format!("{below}/a-3/resume")), "/data/state", json!("Denied")),
        (
            "entitlement-approval",
            "approvers",
            "a-4",
            Some(
                "/beta/identityGovernance/entitlementManagement/accessPackageAssignmentRequests/a-4/resume".to_owned(),
            ),
            "/data/approvalStage/primaryApprovers/0/id",
            json!("07fc263f"),
        ),
        (
            "entitlement-approval",
            "auto",
            "a-5",
            Some(format!("{below}/a-5/resume")),
            "/data/approvalStage",
            Value::Null,
        ),
        // Cannot be denied at that stage, and nobody said who approves.
        ("entitlement-approval", "deny", "a-6", None, "", Value::Null),
        ("entitlement-approval", "allow", "a-7", None, "", Value::Null),
        ("entitlement-retired", "allow", "", None, "", Value::Null),
        ("lifecycle", "allow", "r-1", Some(lifecycle("r-1")), "/data/operationStatus", json!("Completed")),
        ("lifecycle", "deny", "r-2", Some(lifecycle("r-2")), "/data/operationStatus", json!("Failed")),
        ("lifecycle", "trap", "r-3", Some(lifecycle("r-3")), "/data/operationStatus", json!("Failed")),
    ];
    let mut count = 0;
    for (payload, misbehaviour, id, path, pointer, says) in cases {
        call_out(&host, payload, misbehaviour, id);
        let Some(path) = path else { continue };
        count += 1;
        let heard = fake_platform.until(count).pop().unwrap();
        assert_eq!((heard.path, heard.authorization.as_str()), (path, "Bearer token-1"));
        let body: Value = serde_json::from_str(&heard.body).unwrap();
        assert_eq!(
            body.pointer(pointer).cloned().unwrap_or_default(),
            says,
            "{payload}, {misbehaviour}: {body}"
        );
        let done = host_done(&deployment, count - 1);
        let decision = deployment.record(done["decision"].as_u64().unwrap());
        assert_eq!(
            (&decision["t"], &decision["hook"]["name"]),
            (&json!("hook.decision"), &done["hook"])
        );
    }
    // An extension that is launched and not waited for: answered, recorded, and called by nobody.
    for (payload, hook, places) in [
        ("entitlement", "packages", ["/CallbackUriPath", "/CallbackConfiguration"]),
        ("lifecycle", "leavers", ["/data/callbackUriPath", "/data/callbackUriPath"]),
    ] {
        let mut body = entra(payload, "deny");
        for place in places {
            *body.pointer_mut(place).unwrap() = Value::Null;
        }
        assert_eq!(host.entra(hook, &body).status, 202, "{payload}");
    }
    // Asked again, the platform hears the same, and nobody is told twice.
    call_out(&host, "lifecycle", "allow", "r-1");
    // A later one comes through, so an earlier one would have.
    call_out(&host, "lifecycle", "allow", "r-2");
    let heard = fake_platform.until(count + 1);
    assert!(heard[count].path.contains("/r-2/"), "{}", heard[count].path);
    until_spooled(&deployment, 0);
    // One token for all of them.
    assert_eq!(fake_platform.token_requests().len(), 1);
    let form = &fake_platform.token_requests()[0];
    for field in [
        "grant_type=client_credentials",
        "client_id=portcullis",
        "client_secret=a%20client%20secret%20of%20the%20deployment",
    ] {
        assert!(form.split('&').any(|given| given == field), "{form}");
    }
    assert!(form.contains("&scope="), "{form}");
    let test = json!({"Stage": "CustomExtensionConnectionTest"});
    let decisions = deployment.records_of("hook.decision").len();
    assert_eq!(host.entra("packages", &test).status, 200);
    let log = host.stop();
    assert_eq!(
        deployment.records_of("hook.decision").len(),
        decisions,
        "a connection test needs no decision"
    );
    for secret in ["a client secret", "token-1"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
    for done in deployment.records_of("resume.done") {
        assert_eq!(done["status"], 204);
        assert!(!done.to_string().contains("a-1"), "a leaf names no request");
    }
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn what_does_not_come_through_is_tried_again_and_outlives_a_crash() {
    let fake_platform = FakePlatform::start();
    let deployment = deployment(&fake_platform);
    let host = deployment.serve();
    // Busy, then not waiting yet, then a token that was revoked, then taken.
    fake_platform.next(&[(503, ""), (404, ""), (401, ""), (204, "")]);
    call_out(&host, "lifecycle", "allow", "r-1");
    let heard = fake_platform.until(4);
    let tokens: Vec<_> = heard.iter().map(|heard| heard.authorization.as_str()).collect();
    assert_eq!(tokens, ["Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-2"]);
    let done = host_done(&deployment, 0);
    assert_eq!((&done["attempts"], &done["status"]), (&json!(4), &json!(204)));

    // Not before it says.
    fake_platform.next(&[(429, "retry-after: 4\r\n")]);
    call_out(&host, "lifecycle", "deny", "r-2");
    fake_platform.until(5);
    let begin = Instant::now();
    fake_platform.until(6);
    assert!(begin.elapsed() >= Duration::from_millis(3_500), "{:?}", begin.elapsed());
    host_done(&deployment, 1);

    // Nobody there, and the host is killed: it is made by the next.
    fake_platform.otherwise(500);
    call_out(&host, "entitlement", "deny", "a-9");
    fake_platform.until(7);
    let waiting = until_spooled(&deployment, 1);
    assert!(
        !waiting[0].windows(5).any(|it| it == b"roles" || it == b"a-9/r"),
        "it lies there sealed"
    );
    host.kill();
    fake_platform.otherwise(204);
    let before = fake_platform.heard().len();
    let host = deployment.serve();
    let heard = fake_platform.until(before + 1).pop().unwrap();
    assert!(
        heard.path.ends_with("/a-9/resume") && heard.body.contains(r#""state":"Denied""#),
        "{heard:?}"
    );
    host_done(&deployment, 2);
    until_spooled(&deployment, 0);
    host.stop();
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn what_the_platform_does_not_want_is_given_up_and_recorded() {
    let fake_platform = FakePlatform::start();
    fake_platform.otherwise(400);
    fake_platform.tokens_last(1);
    let deployment = deployment(&fake_platform);
    let host = deployment.serve();
    call_out(&host, "lifecycle", "allow", "r-1");
    let failed = deployment.until_record("resume.failed", |_| true);
    let (code, status, attempts) = (&failed["code"], &failed["status"], &failed["attempts"]);
    assert_eq!((code, status, attempts), (&json!("refused"), &json!(400), &json!(4)));
    until_spooled(&deployment, 0);
    // Tokens that last a second are asked for anew each time.
    assert!(fake_platform.token_requests().len() >= 3, "{}", fake_platform.token_requests().len());
    host.stop();
}

#[test]
fn an_answer_promises_nothing_that_is_not_on_disk() {
    let fake_platform = FakePlatform::start();
    let deployment = deployment(&fake_platform);
    let host = deployment.serve();
    call_out(&host, "lifecycle", "allow", "r-1");
    host_done(&deployment, 0);
    // A folder that is gone stands for a disk that takes nothing.
    fs::remove_dir_all(deployment.path("resume/graph")).unwrap();
    let answer = host.entra("leavers", &entra("lifecycle", "allow"));
    assert_eq!((answer.status, answer.json["errors"].as_array().map(Vec::len)), (500, Some(1)));
    deployment.until_record("answer.superseded", |_| true);
    host.stop();
    assert_eq!(fake_platform.heard().len(), 1);
}

fn lifecycle(id: &str) -> String {
    format!(
        "/v1.0/identityGovernance/lifecycleWorkflows/workflows/w-11/tasks/t-22/taskProcessingResults/{id}/resume"
    )
}

/// The record of that call's end, in their order.
fn host_done(deployment: &TestDeployment, number: usize) -> Value {
    deployment.until_record("resume.done", |_| deployment.records_of("resume.done").len() > number);
    deployment.records_of("resume.done").swap_remove(number)
}

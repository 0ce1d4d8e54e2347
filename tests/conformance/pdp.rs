//! `ping.pdp`: decisions of PingAuthorize's JSON PDP API, single and in batches.

use portcullis_tests::{Answer, Binding, Host, Raw, SECRET, TestDeployment};
use serde_json::{Value, json};

const ONE: &str = "/ping/governance-engine";
const BATCH: &str = "/ping/governance-engine/batch";

fn deployment() -> TestDeployment {
    let misbehaviours = json!({"do": "by-entitlement", "misbehaviours": {
        "denied": {"do": "deny", "why": "so"}, "nothing": {"do": "abstain"}, "trap": {"do": "trap"},
    }});
    let more = "subject = \"/attributes/User\"\nentitlements = [\"/attributes/Groups\"]";
    TestDeployment::speaking(
        "ping.pdp",
        "/ping",
        more,
        (&[], &[]),
        &[Binding::new("asked", "misbehaving", misbehaviours).fallback(&[])],
    )
}

fn question(group: &str) -> Value {
    json!({"domain": "Hospital", "action": "read", "service": "Charts", "attributes": {"User": "noor", "Groups": json!([group]).to_string()}})
}

fn post(host: &Host, path: &str, body: &Value) -> Answer {
    host.client().send(&Raw::post(path, SECRET, body.to_string().as_bytes())).unwrap()
}

/// Every member that the contract names, of its type.
fn is_a_decision(decision: &Value) {
    let text = |member: &str| decision[member].is_string();
    assert!(
        text("id") && text("deploymentPackageId") && text("timestamp") && text("decision"),
        "{decision}"
    );
    assert!(decision["elapsedTime"].is_u64() && decision["authorized"].is_boolean(), "{decision}");
    assert!(
        decision["statements"].is_array() && decision["status"]["code"].is_string(),
        "{decision}"
    );
    assert_eq!(decision["authorized"], json!(decision["decision"] == "PERMIT"));
}

#[test]
fn decisions_single_and_in_batches() {
    let deployment = deployment();
    let host = deployment.serve();
    let mut singles = Vec::new();
    for (group, decision) in [
        ("ward", "PERMIT"),
        ("denied", "DENY"),
        ("nothing", "NOT_APPLICABLE"),
        ("trap", "INDETERMINATE"),
    ] {
        let answer = post(&host, ONE, &question(group));
        assert_eq!((answer.status, &answer.json["decision"]), (200, &json!(decision)), "{group}");
        is_a_decision(&answer.json);
        singles.push(answer);
    }
    let batch = json!({"requests": [question("denied"), {"attributes": 1}, question("ward")]});
    let answer = post(&host, BATCH, &batch);
    let decisions: Vec<_> = answer.json["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["decision"].clone())
        .collect();
    assert_eq!(decisions, ["DENY", "INDETERMINATE", "PERMIT"]);
    is_a_decision(&answer.json["responses"][0]);
    is_a_decision(&answer.json["responses"][2]);
    let parts: Vec<_> =
        [0, 2].map(|at| answer.index_at(&format!("/responses/{at}/id")).unwrap()).to_vec();
    assert_eq!(post(&host, BATCH, &json!({"requests": []})).json, json!({"responses": []}));

    for (body, status) in [("{}", 400), ("", 400), ("[]", 400)] {
        let answer = host.client().send(&Raw::post(ONE, SECRET, body.as_bytes())).unwrap();
        assert_eq!((answer.status, &answer.json["status"]), (status, &json!(status)));
    }
    assert_eq!(
        host.client().send(&Raw::post(ONE, "not the secret at all", b"{}")).unwrap().status,
        401
    );
    host.stop();
    for answer in singles {
        let record = deployment.record(answer.index_at("/id").unwrap());
        assert_eq!(record["hook"]["kind"], "ping.pdp");
        assert_eq!(answer.json["deploymentPackageId"], record["generation"].to_string());
    }
    assert_eq!(
        parts.iter().map(|index| deployment.record(*index)["part"].clone()).collect::<Vec<_>>(),
        [0, 2]
    );
    assert_eq!(deployment.verify().code, 0);
}

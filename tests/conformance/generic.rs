//! `generic`: a flow of DaVinci, say, that sends and reads what its administrator made up.

use portcullis_tests::{Binding, Host, Raw, SECRET, TestDeployment, hide_references};
use serde_json::{Value, json};

const HOOK: &str = r#"
entitlements = ["/user/groups"]

[hook.mapping]
id = "/interaction"
subject = { type = "employee", id = "/user/id", attributes = ["/user"] }
action = { id = "provision" }
resource = { type = "role", id = "/role" }
required = ["/user/id", "/role"]

[hook.mapping.answer]
allow = '{"allowed": true}'
deny = '{"allowed": false, "why": "{text}", "codes": "{codes}"}'
review = '{"allowed": false, "wait": true}'
failure_status = 503
record = "evidence"
"#;

fn body(group: &str) -> Value {
    json!({"interaction": 7, "user": {"id": "noor", "groups": [group]}, "role": "prescriber"})
}

fn post(host: &Host, secret: &str, body: &Value) -> (u16, Value) {
    let answer =
        host.client().send(&Raw::post("/flow", secret, body.to_string().as_bytes())).unwrap();
    (answer.status, answer.json)
}

#[test]
fn a_flow_is_answered_as_its_operator_wrote_it() {
    let misbehaviours = json!({"do": "by-entitlement", "misbehaviours": {
        "denied": {"do": "deny", "why": "so"}, "review": {"do": "review"}, "trap": {"do": "trap"},
        "until": {"do": "set", "target": "response", "path": "/until", "value": "2026-09-30"},
        "forge": {"do": "set", "target": "response", "path": "/allowed", "value": false},
    }});
    let binding = Binding::new("asked", "misbehaving", misbehaviours).fallback(&[]);
    let deployment =
        TestDeployment::speaking("generic", "/flow", HOOK, (&[], &["set:response:/*"]), &[binding]);
    let host = deployment.serve();
    let (status, allowed) = post(&host, SECRET, &body("ward"));
    assert_eq!((status, &allowed["allowed"]), (200, &json!(true)));
    let index: u64 =
        allowed["evidence"].as_str().unwrap().rsplit_once('#').unwrap().1.parse().unwrap();
    let (status, denied) = post(&host, SECRET, &body("denied"));
    assert_eq!(
        (status, &denied["allowed"], hide_references(&denied["why"])),
        (200, &json!(false), json!("Denied: so. Help-desk reference: REFERENCE."))
    );
    assert_eq!(denied["codes"], json!(["MISBEHAVING_DENIES"]));
    assert_eq!(post(&host, SECRET, &body("review")).1["wait"], true);
    assert_eq!(post(&host, SECRET, &body("until")).1["until"], "2026-09-30");
    for (secret, body, code) in [
        (SECRET, body("trap"), "plugin-fault"),
        (SECRET, body("forge"), "unsupported-change"),
        (SECRET, json!({"user": {"id": "noor"}}), "schema-mismatch"),
        (SECRET, json!([]), "schema-mismatch"),
        ("not the secret at all", body("ward"), "unauthenticated"),
    ] {
        let (status, answer) = post(&host, secret, &body);
        assert_eq!(
            (status, &answer["allowed"], &answer["codes"]),
            (503, &json!(false), &json!([code]))
        );
    }
    host.stop();
    let record = deployment.record(index);
    assert_eq!(
        (&record["hook"]["kind"], &record["decision"]["verdict"]),
        (&json!("generic"), &json!("allow"))
    );
    assert_eq!(deployment.sealed(index)["request"], body("ward"));
    assert_eq!(deployment.verify().code, 0);
}

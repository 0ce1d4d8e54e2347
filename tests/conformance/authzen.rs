//! `authzen`: what an enforcement point gets over HTTP, the records of evaluations, and errors to the letter.

use portcullis_tests::{
    Answer, Binding, Host, Raw, SECRET, TestDeployment, digest, hide_references,
};
use serde_json::{Value, json};

const ONE: &str = "/pdp/access/v1/evaluation";
const MANY: &str = "/pdp/access/v1/evaluations";

/// Who is of such a group gets what the group is called.
fn by_group() -> Value {
    json!({"do": "by-entitlement", "misbehaviours": {
        "denied": {"do": "deny", "why": "so"}, "nothing": {"do": "abstain"}, "trap": {"do": "trap"}, "loop": {"do": "loop-forever"},
        "step-up": {"do": "step-up"}, "review": {"do": "review"},
    }})
}

fn deployment(more: &str, modes: &[(&str, &str)]) -> TestDeployment {
    let bindings: Vec<_> = modes
        .iter()
        .map(|(plugin, mode)| Binding::new("asked", plugin, by_group()).mode(mode).fallback(&[]))
        .collect();
    TestDeployment::speaking("authzen", "/pdp", more, (&["authzen:/context"], &[]), &bindings)
}

fn subject(group: &str) -> Value {
    json!({"type": "user", "id": format!("of-{group}"), "properties": {"groups": [group]}})
}

fn question(group: &str) -> Value {
    json!({"subject": subject(group), "action": {"name": "read"}, "resource": {"type": "chart", "id": "mrn-1"}})
}

fn post(host: &Host, path: &str, body: &Value) -> Answer {
    host.client().send(&Raw::post(path, SECRET, body.to_string().as_bytes())).unwrap()
}

#[test]
fn one_question_gets_one_decision_and_its_record() {
    let deployment = deployment("", &[("misbehaving", "enforce")]);
    let host = deployment.serve();
    let mut told = Vec::new();
    for (group, verdict) in [
        ("ward", "allow"),
        ("denied", "deny"),
        ("nothing", "abstain"),
        ("step-up", "step-up"),
        ("review", "review"),
    ] {
        let answer = post(&host, ONE, &question(group));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.json["decision"], json!(verdict == "allow"), "{group}");
        told.push((answer, verdict));
    }
    assert_eq!(
        hide_references(&told[1].0.json["context"]["reason_user"]),
        json!({"en": "Denied: so. Help-desk reference: REFERENCE."})
    );
    assert_eq!(told[1].0.json["context"]["codes"], json!(["MISBEHAVING_DENIES"]));
    let mut failed = Vec::new();
    for (group, cause) in [("trap", "plugin-fault"), ("loop", "plugin-fault")] {
        let answer = post(&host, ONE, &question(group));
        assert_eq!((answer.status, &answer.json["decision"]), (200, &json!(false)));
        assert_eq!(answer.json["context"]["error"], json!({"status": 500, "message": cause}));
        failed.push((answer.index_at("/context/record").unwrap(), cause));
    }
    host.stop();
    for (index, cause) in failed {
        assert_eq!(deployment.record(index)["decision"]["cause"], cause);
    }
    for (answer, verdict) in told {
        let index = answer.index_at("/context/record").unwrap();
        let record = deployment.record(index);
        assert_eq!(
            (&record["decision"]["verdict"], &record["hook"]["kind"]),
            (&json!(verdict), &json!("authzen"))
        );
        let text = String::from_utf8(answer.body).unwrap();
        let (without, _) = text.split_once(r#""record":"#).unwrap();
        let without = format!("{}}}}}", without.trim_end_matches(','));
        assert_eq!(
            record["response"],
            digest(&[deployment.salt(index), without.into_bytes()].concat()),
            "what left is what was recorded"
        );
    }
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn many_questions_get_as_many_decisions_and_records() {
    let deployment =
        deployment("", &[("misbehaving", "enforce"), ("misbehaving-guest", "monitor")]);
    let host = deployment.serve();
    let items: Vec<_> = ["ward", "denied", "trap", "ward"]
        .iter()
        .map(|group| json!({"subject": subject(group)}))
        .collect();
    let mut body = json!({"action": {"name": "read"}, "resource": {"type": "chart", "id": "mrn-1"}, "evaluations": items});
    body["evaluations"].as_array_mut().unwrap().insert(2, json!({"subject": {"type": "user"}}));

    let all = post(&host, MANY, &body);
    assert_eq!((all.status, all.json.get("decision")), (200, None));
    let decisions = |answer: &Answer| -> Vec<bool> {
        answer.json["evaluations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["decision"].as_bool().unwrap())
            .collect()
    };
    assert_eq!(decisions(&all), [true, false, false, false, true]);
    assert_eq!(all.json["evaluations"][2]["context"]["error"]["status"], 400);
    assert_eq!(
        all.json["evaluations"][3]["context"]["error"],
        json!({"status": 500, "message": "plugin-fault"})
    );
    let places = [Some(0), Some(1), None, Some(3), Some(4)];
    let index =
        |answer: &Answer, at: usize| answer.index_at(&format!("/evaluations/{at}/context/record"));
    for (at, place) in places.iter().enumerate() {
        assert_eq!(index(&all, at).is_some(), place.is_some(), "{at}");
    }

    body["options"] = json!({"evaluations_semantic": "deny_on_first_deny"});
    let to_deny = post(&host, MANY, &body);
    assert_eq!(decisions(&to_deny), [true, false]);
    assert_eq!(to_deny.json["evaluations"][1]["context"]["reason"], "deny_on_first_deny");
    body["options"] = json!({"evaluations_semantic": "permit_on_first_permit"});
    body["evaluations"].as_array_mut().unwrap().remove(0);
    let to_permit = post(&host, MANY, &body);
    assert_eq!(decisions(&to_permit), [false, false, false, true]);
    assert_eq!(to_permit.json["evaluations"][3]["context"]["reason"], "permit_on_first_permit");
    body["options"] = json!({"evaluations_semantic": "first_applicable"});
    assert_eq!(post(&host, MANY, &body).status, 400);

    let decided: Vec<_> = places.iter().flatten().map(|at| index(&all, *at).unwrap()).collect();
    assert!(decided.is_sorted());
    for of in &decided {
        // Each is looked at by who only monitors, too.
        deployment.until_record("hook.observed", |record| record["decision"].as_u64() == Some(*of));
    }
    host.stop();
    let mut pseudonyms = std::collections::BTreeSet::new();
    for (at, of) in places.iter().flatten().zip(&decided) {
        let record = deployment.record(*of);
        assert_eq!((&record["part"], &record["hook"]["name"]), (&json!(at), &json!("asked")));
        // A member is there once, however many questions there were.
        let leaf = deployment.leaf(*of);
        assert_eq!(leaf.matches("\"guard\":").count(), 1, "{leaf}");
        pseudonyms.insert(record["hook"]["event"].to_string());
        let sealed = deployment.sealed(*of);
        assert_eq!(sealed["request"].as_object().unwrap().len(), 3, "the question alone: {sealed}");
    }
    assert_eq!(pseudonyms.len(), decided.len(), "each has an id of its own");
    // 4 of the first, 2 of the second, 3 of the third: what was not asked has no record.
    assert_eq!(deployment.records_of("hook.decision").len(), 9);
    let counted: u64 = deployment
        .records_of("hook.rejected")
        .iter()
        .map(|record| record["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, 3, "two that were none, and the request with an unknown semantic");
    assert_eq!(deployment.verify().code, 0);
    let delivered: u64 = deployment
        .records_of("answer.sent")
        .iter()
        .map(|it| it["delivered"].as_u64().unwrap())
        .sum();
    assert_eq!(delivered, 9);
}

#[test]
fn errors_are_to_the_letter_and_every_answer_has_the_request_id() {
    let deployment = deployment("body_bytes = 2000", &[("misbehaving", "enforce")]);
    let host = deployment.serve();
    let good = question("ward").to_string();
    let request =
        |body: &str| Raw::post(ONE, SECRET, body.as_bytes()).header("x-request-id", "Req-7");
    let cases = [
        (request(&good), 200),
        (request(&good).header("content-type", "application/json;charset=utf-8"), 200),
        (request(&good).header("content-type", "text/plain"), 400),
        (request(&good).without("content-type"), 400),
        (request(""), 400),
        (request("{"), 400),
        (request("[]"), 400),
        (request(r#"{"action":{"name":"read"},"resource":{"type":"a","id":"b"}}"#), 400),
        (request(r#"{"action":{"name":"read"},"action":{"name":"read"}}"#), 400),
        (request(&format!(r#"{{"x":"{}"}}"#, "x".repeat(2_000))), 413),
        (request(&good).header("authorization", "Bearer wrong"), 401),
        (request(&good).without("authorization"), 401),
        (Raw { path: "/pdp/access/v1/search/subject".to_owned(), ..request(&good) }, 404),
        (Raw { path: "/.well-known/authzen-configuration/pdp".to_owned(), ..request(&good) }, 405),
    ];
    for (at, (request, status)) in cases.into_iter().enumerate() {
        let answer = host.client().send(&request).unwrap();
        assert_eq!(answer.status, status, "{at}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.header("x-request-id"), Some("Req-7"), "{at}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{at}");
        assert!(answer.json.is_string() || status == 200, "{at}: {}", answer.json);
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{at}");
    }
    let nameless = post(&host, ONE, &question("ward"));
    assert_eq!((nameless.status, nameless.header("x-request-id")), (200, None));
    assert_eq!(host.client().get(ONE).unwrap().status, 405);
    assert_eq!(
        host.client()
            .send(&Raw { path: "/pdp/access/v1/other".to_owned(), ..Raw::post("", SECRET, b"{}") })
            .unwrap()
            .status,
        404
    );
    assert_eq!(
        host.client().get("/.well-known/authzen-configuration/pdp").unwrap().status,
        404,
        "no public_url, no metadata"
    );
    for _ in 0..3 {
        assert_eq!(
            post(&host, ONE, &question("denied")).json["decision"],
            false,
            "and again the same"
        );
    }
    host.stop();
}

#[test]
fn metadata_is_public_and_under_the_operators_url() {
    let deployment =
        deployment("public_url = \"https://hospital.example/pdp\"", &[("misbehaving", "enforce")]);
    let host = deployment.serve();
    let answer = host.client().get("/.well-known/authzen-configuration/pdp").unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(
        answer.json,
        json!({
            "policy_decision_point": "https://hospital.example/pdp",
            "access_evaluation_endpoint": "https://hospital.example/pdp/access/v1/evaluation",
            "access_evaluations_endpoint": "https://hospital.example/pdp/access/v1/evaluations",
        }),
        "what cannot be answered is not named"
    );
    host.stop();
}

#[test]
fn where_nothing_enforces_nothing_is_permitted() {
    let deployment = deployment("", &[("misbehaving", "monitor")]);
    let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(
        checked.out.contains("hook `asked`: no binding enforces, so the hook permits nothing"),
        "{}",
        checked.out
    );
    assert!(checked.out.contains("it publishes no metadata without public_url"), "{}", checked.out);
    let host = deployment.serve();
    let answer = post(&host, ONE, &question("ward"));
    assert_eq!(
        (answer.status, &answer.json["decision"], &answer.json["context"]["verdict"]),
        (200, &json!(false), &json!("abstain"))
    );
    host.stop();
}

#[test]
fn an_open_hook_permits_what_could_not_be_decided_and_says_so() {
    let deployment = deployment("on_failure = \"open\"", &[("misbehaving", "enforce")]);
    let host = deployment.serve();
    let answer = post(&host, ONE, &question("trap"));
    assert_eq!(
        (&answer.json["decision"], &answer.json["context"]["degraded"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        post(&host, ONE, &json!({})).status,
        400,
        "a request that is wrong is wrong on every hook"
    );
    let stranger = host.client().send(&Raw::post(ONE, "not the secret at all", b"{}")).unwrap();
    assert_eq!(stranger.status, 401);
    host.stop();
}

#[test]
fn settings_that_make_no_sense_are_refused_whole() {
    for (kind, more, says) in [
        ("authzen", "public_url = \"http://pdp.example\"", "is not an https URL"),
        ("authzen", "public_url = \"https://pdp.example?x\"", "is not an https URL"),
        ("authzen", "public_url = \"https://\"", "is not an https URL"),
        ("authzen", "subject = \"/a\"", "authzen has no subject"),
        ("authzen", "secrets = [\"context\"]", "is not a JSON Pointer"),
        (
            "authzen",
            "mapping = { answer = { allow = '{}', deny = '{}' } }",
            "authzen has no mapping",
        ),
        (
            "authzen",
            "on_failure = \"restricted\"\nrestricted_applications = []",
            "offers no restricted answer",
        ),
        ("generic", "", "generic needs a mapping"),
        (
            "generic",
            "mapping = { answer = { allow = '{}', deny = '{}' } }",
            "deny is the same as mapping.answer.allow",
        ),
        ("generic", "mapping = { subjct = {} }", "unknown field `subjct`"),
    ] {
        let deployment = TestDeployment::build(&[]);
        deployment.write_secret("secrets/asked", SECRET);
        let hook = format!(
            "\n[[hook]]\nname = \"asked\"\nkind = \"{kind}\"\npath = \"/\"\ncaller = {{ secret_file = \"secrets/asked\" }}\n{more}\n"
        );
        deployment.write("portcullis.toml", deployment.read("portcullis.toml") + &hook);
        let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert_eq!(checked.code, 64, "{more}");
        assert!(checked.err.contains(says), "{more}: {}", checked.err);
    }
}

/// Switched off by the operator, `context` is in no answer, whatever the question; the records
/// stay.
#[test]
fn answers_without_context_have_the_decision_alone() {
    let with = deployment("", &[("misbehaving", "enforce")]);
    let without = deployment("answer_context = false", &[("misbehaving", "enforce")]);
    let host = without.serve();
    assert_eq!(post(&host, ONE, &question("ward")).json, json!({"decision": true}));
    for group in ["denied", "review", "trap"] {
        assert_eq!(post(&host, ONE, &question(group)).json, json!({"decision": false}), "{group}");
    }
    let items = [question("ward"), json!({"subject": 1}), question("denied")];
    let all = post(&host, MANY, &json!({ "evaluations": items }));
    assert_eq!(all.status, 200);
    for (at, decision) in [(0, true), (2, false)] {
        assert_eq!(all.json["evaluations"][at], json!({"decision": decision}), "{at}");
    }
    assert_eq!(all.json["evaluations"][1]["decision"], false);
    host.stop();
    assert_eq!(without.records_of("hook.decision").len(), 6, "each has its record all the same");
    assert_eq!(without.verify().code, 0);

    let host = with.serve();
    let answer = post(&host, ONE, &question("ward"));
    assert!(answer.index_at("/context/record").is_some(), "{}", answer.json);
    host.stop();
}

//! PingAuthorize's PDP: what is read, decisions, batches.

use portcullis_model::{Cause, Change, Effect, Statement};
use serde_json::json;

use super::requests::tell;
use super::{SETTINGS, golden, in_order, json, post, posted, reasons, text};
use crate::HookKind::PingPdp;
use crate::{
    BatchContext, HookRequest, HookSettings, Outcome, Parsed, RecordRef, ShortCircuit,
    render_batch, write,
};

const ONE: &str = "/governance-engine";
const BATCH: &str = "/governance-engine/batch";
const QUERY: &str = "/governance-engine/query";

const QUESTION: &str = r#"{
    "domain": "Hospital.Charts", "action": "retrieve", "service": "Hospital.Api", "identityProvider": "Hospital.Workforce",
    "attributes": {"User.Id": "nhaddad", "User.Groups": "[\"ward-nurse\",\"triage\"]", "Chart": "{\"ward\":\"4b\"}"},
    "of-next-year": 1
}"#;

#[test]
fn reads_what_the_contract_says() {
    golden("pdp-plain.call.txt", &tell(&posted(PingPdp, ONE, QUESTION).call));
    let settings = HookSettings {
        subject: Some("/attributes/User.Id".into()),
        entitlements: vec!["/attributes/User.Groups".into(), "/attributes/Nothing".into()],
        ..HookSettings::default()
    };
    let Ok(Parsed::Single(incoming)) = post(PingPdp, ONE, QUESTION, &settings) else { panic!() };
    golden("pdp.call.txt", &tell(&incoming.call));
    for empty in [r#"{"attributes":{}}"#, r#"{"attributes":{},"action":null,"service":null}"#] {
        posted(PingPdp, ONE, empty);
    }
    for (body, detail) in [
        ("{}", "attributes"),
        (r#"{"attributes":null}"#, "attributes"),
        (r#"{"attributes":["a"]}"#, "attributes"),
        ("[]", "the request, which must be an object"),
    ] {
        let malformed = post(PingPdp, ONE, body, &SETTINGS).err().unwrap();
        assert_eq!(
            (malformed.cause, &*malformed.detail),
            (Cause::SchemaMismatch, detail),
            "{body}"
        );
    }
    for open in [
        r#"{"attributes":{"a":1,"b":[null],"c":{"d":true}}}"#,
        r#"{"attributes":{},"action":1,"service":[],"domain":{},"identityProvider":true}"#,
    ] {
        posted(PingPdp, ONE, open);
    }
}

#[test]
fn a_place_of_entitlements_is_read_whole_or_not_at_all() {
    let settings =
        HookSettings { entitlements: vec!["/attributes/Groups".into()], ..HookSettings::default() };
    let ask = |groups: serde_json::Value| {
        let body = json!({"attributes": {"Groups": groups}}).to_string();
        match post(PingPdp, ONE, &body, &settings) {
            Ok(Parsed::Single(incoming)) => {
                let held = incoming.call.subject.unwrap().entitlements;
                Ok(held.iter().map(|it| it.as_str().to_owned()).collect::<Vec<_>>())
            }
            Ok(_) => panic!("not one"),
            Err(malformed) => Err(malformed.member().into_owned()),
        }
    };
    assert_eq!(ask(json!("nurse")), Ok(vec!["nurse".into()]));
    assert_eq!(ask(json!("[\"nurse\",\"triage\"]")), Ok(vec!["nurse".into(), "triage".into()]));
    assert_eq!(ask(json!(["triage", "nurse"])), Ok(vec!["nurse".into(), "triage".into()]));
    assert_eq!(ask(json!(null)), Ok(vec![]));
    for unreadable in [json!("[1]"), json!("[\"a\",{}]"), json!([1]), json!({"a": "b"}), json!(7)] {
        assert_eq!(ask(unreadable.clone()), Err("/attributes/Groups".into()), "{unreadable}");
    }
}

#[test]
fn a_query_is_every_combination_and_tells_those_that_are_permitted() {
    let body = json!({
        "query": [
            {"attribute": "Action", "values": ["edit", "view"]},
            {"attribute": "Subject", "values": ["nhaddad"]},
            {"attribute": "Chart", "values": ["a", "b"]},
        ],
        "context": {"domain": "Hospital", "attributes": {"Zone": "north", "Chart": "overridden"}},
    });
    let ask = |body: &serde_json::Value| post(PingPdp, QUERY, &body.to_string(), &SETTINGS);
    let Ok(Parsed::Batch(batch)) = ask(&body) else { panic!("no query") };
    let asked: Vec<_> = batch
        .items
        .iter()
        .map(|item| item.as_ref().ok().unwrap().call.payload.text().to_owned())
        .collect();
    assert_eq!(asked.len(), 4);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&asked[1]).unwrap(),
        json!({"domain": "Hospital", "action": "edit",
            "attributes": {"Zone": "north", "Action": "edit", "Subject": "nhaddad", "Chart": "b"}})
    );
    let decide = |item: &HookRequest, verdict| {
        let answer = write(PingPdp, item, &Outcome { verdict, ..Outcome::default() }).unwrap();
        let reference = RecordRef { log: "log", index: 7, leaf: "x", generation: 4, spent_us: 9 };
        answer.with_reference(&reference)
    };
    let verdicts = [Effect::Allow, Effect::Deny, Effect::Allow, Effect::Allow];
    let answers: Vec<_> = batch
        .items
        .iter()
        .zip(verdicts)
        .map(|(item, verdict)| decide(item.as_ref().ok().unwrap(), verdict))
        .collect();
    let gathering = BatchContext { until: batch.until, query: batch.query.clone() };
    let told = json(&render_batch(PingPdp, &answers, &gathering));
    assert_eq!((&told["requestId"], &told["deploymentPackageId"]), (&json!("log#7"), &json!("4")));
    let leaf = |chart: &str| json!({"attribute": "Chart", "value": chart, "decision": "PERMIT", "id": "log#7", "statements": []});
    let branch = |action: &str, leaves: Vec<serde_json::Value>| {
        json!({"attribute": "Action", "value": action, "results": [
            {"attribute": "Subject", "value": "nhaddad", "results": leaves}]})
    };
    let expected =
        json!([branch("edit", vec![leaf("a")]), branch("view", vec![leaf("a"), leaf("b")])]);
    assert_eq!((&told["results"], &told["result"]), (&expected, &expected));
    let nobody: Vec<_> = batch
        .items
        .iter()
        .map(|item| decide(item.as_ref().ok().unwrap(), Effect::Abstain))
        .collect();
    assert_eq!(json(&render_batch(PingPdp, &nobody, &gathering))["results"], json!([]));

    let values = |count: usize| (0..count).map(|it| it.to_string()).collect::<Vec<_>>();
    for (query, member) in [
        (json!(null), "query"),
        (json!([]), "query"),
        (json!({}), "query"),
        (json!([{"values": ["a"]}]), "query.attribute"),
        (json!(["a"]), "query.attribute"),
        (
            json!([{"attribute": "a", "values": ["1"]}, {"attribute": "a", "values": ["2"]}]),
            "query.attribute",
        ),
        (json!([{"attribute": "a"}]), "query.values"),
        (json!([{"attribute": "a", "values": []}]), "query.values"),
        (json!([{"attribute": "a", "values": [{}]}]), "query.values"),
        (
            json!([{"attribute": "a", "values": values(16)}, {"attribute": "b", "values": values(17)}]),
            "query.values",
        ),
    ] {
        let refused = ask(&json!({ "query": query })).err().map(|it| it.member().into_owned());
        assert_eq!(refused.as_deref(), Some(member), "{query}");
    }
    let most = json!({"query": [{"attribute": "a", "values": values(16)}, {"attribute": "b", "values": values(16)}]});
    let Ok(Parsed::Batch(batch)) = ask(&most) else { panic!("no query") };
    assert_eq!(batch.items.len(), 256);
    // Without a context there are the attributes alone; one that is none is as good as absent.
    for context in [json!(null), json!("x"), json!({"attributes": 7, "domain": {}})] {
        let body = json!({"query": [{"attribute": "a", "values": [7]}], "context": context});
        let Ok(Parsed::Batch(batch)) = ask(&body) else { panic!("no query") };
        let item = batch.items[0].as_ref().ok().unwrap();
        assert_eq!(item.call.payload.text(), r#"{"attributes":{"a":"7"}}"#);
    }
}

#[test]
fn decisions_are_as_ever() {
    let incoming = posted(PingPdp, ONE, QUESTION);
    let statement = |payload: &str| {
        Change::Statement(Statement {
            name: "Mask".into(),
            code: "mask".into(),
            payload: payload.into(),
            obligatory: true,
        })
    };
    let changes = [statement(r#"{"fields":["ssn"]}"#), statement(r#""plain \"text\"""#)];
    let reference = RecordRef {
        log: "hospital.example/hooks",
        index: 12,
        leaf: "3q2+7w==",
        generation: 4,
        spent_us: 1_842,
    };
    for verdict in Effect::ALL {
        let outcome = Outcome {
            verdict,
            changes: &changes,
            text: Some("Not now."),
            language: "en",
            reasons: &reasons(&["A", "B"]),
            reference: None,
        };
        let answer = write(PingPdp, &incoming, &outcome).unwrap();
        let permitted = verdict == Effect::Allow;
        assert_eq!(
            (&json(&answer)["authorized"], json(&answer)["decision"] == "PERMIT"),
            (&json!(permitted), permitted)
        );
        golden(&format!("pdp-{}.json", verdict.name()), text(&answer));
        let whole: serde_json::Value =
            serde_json::from_slice(&answer.with_reference(&reference)).unwrap();
        assert_eq!(
            (&whole["id"], &whole["deploymentPackageId"], &whole["elapsedTime"]),
            (&json!("hospital.example/hooks#12"), &json!("4"), &json!(1_842))
        );
        for member in ["timestamp", "decision", "authorized", "statements", "status"] {
            assert!(whole.get(member).is_some(), "{member}");
        }
    }
}

#[test]
fn a_batch_is_answered_in_order() {
    let body = format!(r#"{{"requests":[{QUESTION},{{}},{{"attributes":{{"n":"3"}}}}]}}"#);
    let Ok(Parsed::Batch(batch)) = post(PingPdp, BATCH, &body, &SETTINGS) else { panic!() };
    assert_eq!(batch.until, ShortCircuit::Never);
    let [Ok(first), Err(second), Ok(third)] = batch.items.as_slice() else { panic!() };
    assert_eq!(first.call.action.as_ref().unwrap().id.as_deref(), Some("retrieve"));
    assert_eq!(third.call.payload.text(), r#"{"attributes":{"n":"3"}}"#);
    assert_ne!(first.call.seed, third.call.seed);
    golden("pdp-bad-request.json", text(&second.answer));
    let parts = [b"{\"a\":1}".to_vec(), second.answer.body().to_vec()];
    let gathered = render_batch(PingPdp, &parts, &in_order(ShortCircuit::Never));
    assert_eq!(json(&gathered)["responses"][0], json!({"a": 1}));
    assert_eq!(json(&gathered)["responses"][1]["authorized"], json!(false));

    let Ok(Parsed::Immediate(nothing)) = post(PingPdp, BATCH, r#"{"requests":[]}"#, &SETTINGS)
    else {
        panic!()
    };
    assert_eq!((nothing.status, text(&nothing)), (200, r#"{"responses":[]}"#));
    for body in ["{}", r#"{"requests":{}}"#, r#"{"requests":null}"#] {
        assert_eq!(post(PingPdp, BATCH, body, &SETTINGS).err().unwrap().detail, "requests");
    }
    let many = format!(r#"{{"requests":[{}]}}"#, vec![r#"{"attributes":{}}"#; 257].join(","));
    assert!(post(PingPdp, BATCH, &many, &SETTINGS).is_err());
}

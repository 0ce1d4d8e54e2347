//! PingAuthorize's PDP: what is read, decisions, batches.

use portcullis_model::{Cause, Change, Effect, Statement};
use serde_json::json;

use super::requests::tell;
use super::{SETTINGS, golden, grounds, json, post, posted, text};
use crate::HookKind::PingPdp;
use crate::{Heard, Outcome, Reference, Settings, Until, gather, write};

const ONE: &str = "/governance-engine";
const BATCH: &str = "/governance-engine/batch";

const QUESTION: &str = r#"{
    "domain": "Hospital.Charts", "action": "retrieve", "service": "Hospital.Api", "identityProvider": "Hospital.Workforce",
    "attributes": {"User.Id": "nhaddad", "User.Groups": "[\"ward-nurse\",\"triage\"]", "Chart": "{\"ward\":\"4b\"}"},
    "of-next-year": 1
}"#;

#[test]
fn reads_what_the_contract_says() {
    golden("pdp-plain.call.txt", &tell(&posted(PingPdp, ONE, QUESTION).call));
    let settings = Settings {
        subject: Some("/attributes/User.Id".into()),
        entitlements: vec!["/attributes/User.Groups".into(), "/attributes/Nothing".into()],
        ..Settings::default()
    };
    let Ok(Heard::One(incoming)) = post(PingPdp, ONE, QUESTION, &settings) else { panic!() };
    golden("pdp.call.txt", &tell(&incoming.call));
    for empty in [r#"{"attributes":{}}"#, r#"{"attributes":{},"action":null,"service":null}"#] {
        posted(PingPdp, ONE, empty);
    }
    for (body, detail) in [
        ("{}", "attributes"),
        (r#"{"attributes":null}"#, "attributes"),
        (r#"{"attributes":["a"]}"#, "attributes"),
        (r#"{"attributes":{"a":1}}"#, "attributes, whose values must be strings"),
        (r#"{"attributes":{},"action":1}"#, "action"),
        (r#"{"attributes":{},"domain":{}}"#, "domain"),
        ("[]", "the request, which must be an object"),
    ] {
        let malformed = post(PingPdp, ONE, body, &SETTINGS).err().unwrap();
        assert_eq!((malformed.cause, malformed.detail), (Cause::WrongShape, detail), "{body}");
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
    let reference = Reference {
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
            grounds: &grounds(&["A", "B"]),
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
    let Ok(Heard::Many(batch)) = post(PingPdp, BATCH, &body, &SETTINGS) else { panic!() };
    assert_eq!(batch.until, Until::End);
    let [Ok(first), Err(second), Ok(third)] = batch.items.as_slice() else { panic!() };
    assert_eq!(first.call.action.as_ref().unwrap().id.as_deref(), Some("retrieve"));
    assert_eq!(third.call.payload.text(), r#"{"attributes":{"n":"3"}}"#);
    assert_ne!(first.call.seed, third.call.seed);
    golden("pdp-bad-request.json", text(second));
    let gathered = gather(PingPdp, &[b"{\"a\":1}".to_vec(), second.body().to_vec()], Until::End);
    assert_eq!(json(&gathered)["responses"][0], json!({"a": 1}));
    assert_eq!(json(&gathered)["responses"][1]["authorized"], json!(false));

    let Ok(Heard::Nothing(nothing)) = post(PingPdp, BATCH, r#"{"requests":[]}"#, &SETTINGS) else {
        panic!()
    };
    assert_eq!((nothing.status, text(&nothing)), (200, r#"{"responses":[]}"#));
    for body in ["{}", r#"{"requests":{}}"#, r#"{"requests":null}"#] {
        assert_eq!(post(PingPdp, BATCH, body, &SETTINGS).err().unwrap().detail, "requests");
    }
    let many = format!(r#"{{"requests":[{}]}}"#, vec![r#"{"attributes":{}}"#; 257].join(","));
    assert!(post(PingPdp, BATCH, &many, &SETTINGS).is_err());
}

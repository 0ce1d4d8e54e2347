//! `okta.saml`: what Okta gets for an assertion that is about to leave.

use portcullis_tests::{
    Answer, Binding, CONFLICT, TestDeployment, assertion, contract, duties, leaf_hash, now, rfc3339,
};
use serde_json::{Value, json};

#[test]
fn what_okta_gets_for_an_assertion() {
    let mut ends = contract();
    ends["access_end"]["assertion"] = json!("/claims/accessEnd");
    let deployment = TestDeployment::build(&[
        Binding::new("saml", "sod", duties()),
        Binding::new("saml", "contractor", ends),
    ]);
    deployment.add_hook(
        "saml",
        "okta.saml",
        "on_failure = \"restricted\"\nrestricted_applications = [\"0oapacs\"]",
    );
    let host = deployment.serve();
    let ask = |body: &Value| {
        let answer = host.post("saml", body.to_string().as_bytes());
        assert_eq!(answer.status, 200);
        answer
    };

    let clean = ask(&assertion(&["ward-reader"], &[]));
    assert_eq!(clean.without_reference(), "{}", "nothing to object to, nothing to change");
    let conflict = ask(&assertion(&CONFLICT, &[]));
    assert!(stops(&conflict) && conflict.summary().contains("PRESCRIBE-DISPENSE"), "{conflict:?}");

    let contractor = |end: String| {
        assertion(
            &["ward-reader"],
            &[("userType", json!("contractor")), ("contractEnd", json!(end))],
        )
    };
    let end = rfc3339(now() + 3_600);
    let capped = ask(&contractor(end.clone()));
    let operations = capped.operations();
    let places: Vec<_> = operations
        .iter()
        .map(|(kind, op, path, _)| (kind.as_str(), op.as_str(), path.as_str()))
        .collect();
    let command = "com.okta.assertion.patch";
    assert_eq!(
        places,
        [
            (command, "add", "/claims/accessEnd"),
            (command, "add", "/authentication/sessionLifetime")
        ]
    );
    assert_eq!(
        operations[0].3["attributeValues"],
        json!([{"attributes": {"xsi:type": "xs:string"}, "value": end}])
    );
    assert!((3_000..=3_600).contains(&operations[1].3.as_u64().unwrap()), "{operations:?}");
    assert!(
        stops(&ask(&contractor(rfc3339(now() + 299)))),
        "a session too short to be said is a refusal"
    );
    assert!(stops(&ask(&contractor(rfc3339(now() - 60)))));

    // No decision: the least, for an application that is named, and where the request is not to blame.
    let bad =
        ask(&json!({"eventType": "com.okta.saml.tokens.transform", "eventId": "x", "data": 7}));
    assert!(stops(&bad) && bad.index().is_none());
    deployment.write("release/release.json", "{");
    let mut reused = assertion(&["ward-reader"], &[]);
    let first = ask(&reused);
    reused["data"]["context"]["session"] = Value::Null;
    assert!(
        first.without_reference() == "{}" && stops(&ask(&reused)),
        "the same event with another body"
    );

    host.stop();
    let record = deployment.record(conflict.index().unwrap());
    assert_eq!(leaf_hash(&deployment.leaf(conflict.index().unwrap())), conflict.leaf().unwrap());
    assert_eq!(
        (&record["hook"]["kind"], &record["decision"]["verdict"]),
        (&json!("okta.saml"), &json!("deny"))
    );
    assert!(record["app"].is_string(), "the application has a pseudonym: {record}");
}

#[test]
fn without_a_release_named_applications_get_the_least() {
    let deployment = TestDeployment::build(&[]);
    deployment.add_hook(
        "saml",
        "okta.saml",
        "on_failure = \"restricted\"\nrestricted_applications = [\"0oapacs\"]",
    );
    deployment.write("release/release.json", "{");
    let host = deployment.serve();
    let named = host.post("saml", assertion(&["ward-reader"], &[]).to_string().as_bytes());
    let operations = named.operations();
    let places: Vec<_> =
        operations.iter().map(|(_, op, path, _)| (op.as_str(), path.as_str())).collect();
    assert_eq!(places, [("add", "/claims/degraded"), ("add", "/authentication/sessionLifetime")]);
    assert_eq!(operations[1].3, 300);
    let mut other = assertion(&["ward-reader"], &[]);
    other["data"]["context"]["protocol"]["issuer"]["id"] = json!("0oaother");
    assert!(stops(&host.post("saml", other.to_string().as_bytes())));
    host.stop();
    assert_eq!(deployment.record(named.index().unwrap())["decision"]["safe"], "restricted");
}

/// Whether Okta, told this by a SAML hook, makes no assertion, as far as its documents agree.
fn stops(answer: &Answer) -> bool {
    answer.status == 200 && answer.json["error"].is_object()
}

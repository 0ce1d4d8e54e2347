//! `okta.registration`: what Okta gets for somebody who registers or completes their profile.

use portcullis_tests::{
    Answer, Binding, TestDeployment, event, hide_reference, hide_references, progressive,
    registration,
};
use serde_json::{Value, json};

#[test]
fn what_okta_gets_for_a_form() {
    let misbehaviours = json!({
        "bad-mail": {"do": "deny-field", "field": "email"},
        "bad-both": {"do": "all", "misbehaviours": [{"do": "deny-field", "field": "email"}, {"do": "deny-field", "field": "employeeNumber"}, {"do": "deny"}]},
        "bad-field": {"do": "deny-field", "field": "<script>"},
        "reviewed": {"do": "review"},
        "changed": {"do": "set", "target": "user", "path": "/accessEnd", "value": "2026-12-31"},
        "password": {"do": "set", "target": "user", "path": "/password", "value": "x"},
        "nothing": {"do": "set", "target": "user", "path": "/accessEnd", "value": null},
        "traps": {"do": "trap"},
    });
    let deployment = TestDeployment::build(&[Binding::new(
        "registration",
        "misbehaving",
        json!({"do": "by-entitlement", "misbehaviours": misbehaviours}),
    )]);
    let entitlements =
        "entitlements = [\"/data/userProfile/wish\", \"/data/userProfileUpdate/wish\"]";
    deployment.add_hook("registration", "okta.registration", entitlements);
    let host = deployment.serve();
    let ask = |mut body: Value, again: bool| {
        body["eventId"] = json!(event());
        let mut bodies = vec![body.clone()];
        if again {
            // The Classic Engine says no request type, and means self-service registration.
            body["eventId"] = json!(event());
            body.as_object_mut().unwrap().remove("requestType");
            bodies.push(body);
        }
        let answers: Vec<_> = bodies
            .iter()
            .map(|body| host.post("registration", body.to_string().as_bytes()))
            .collect();
        assert!(answers.iter().all(|answer| answer.status == 200));
        let said = |answer: &Answer| {
            (answer.json["commands"].clone(), hide_references(&answer.json["error"]))
        };
        assert!(answers.iter().all(|answer| said(answer) == said(&answers[0])));
        answers.into_iter().next().unwrap()
    };
    let new = |wish: &str| {
        ask(
            registration(json!({"email": "ines@agency.test", "lastName": "Moreau", "wish": wish})),
            true,
        )
    };
    let more = |wish: &str| ask(progressive(json!({"employeeNumber": 4711, "wish": wish})), false);

    assert_eq!(new("none").without_reference(), "{}");
    assert_eq!(more("none").without_reference(), "{}");
    let update = |name: &str| json!([{"type": name, "value": {"accessEnd": "2026-12-31"}}]);
    assert_eq!(new("changed").json["commands"], update("com.okta.user.profile.update"));
    assert_eq!(
        more("changed").json["commands"],
        update("com.okta.user.progressive.profile.update")
    );

    let causes = |answer: &Answer| hide_references(&answer.json["error"]["errorCauses"]);
    // The widget shows nothing else: so the last field says what it does not point at, and has the
    // reference.
    let last_cause = |field: &str, more: &str| {
        let summary = format!("Denied: because of {field}.{more} Help-desk reference: REFERENCE.");
        json!({
            "errorSummary": summary, "reason": "MISBEHAVING_DENIES", "locationType": "body",
            "location": format!("data.userProfile.{field}"), "domain": "end-user",
        })
    };
    let last_of_several = |field: &str| last_cause(field, " There are 2 more reasons.");
    let mail = new("bad-mail");
    assert!(denies(&mail));
    assert_eq!(causes(&mail), json!([last_cause("email", "")]));
    assert_eq!(
        hide_reference(mail.summary()),
        "Denied: because of email. Help-desk reference: REFERENCE."
    );
    let both = new("bad-both");
    assert_eq!(
        causes(&both),
        json!([last_of_several("email")]),
        "only what the form has is pointed at"
    );
    assert_eq!(causes(&more("bad-both")), json!([last_of_several("employeeNumber")]));
    let foreign = new("bad-field");
    assert!(denies(&foreign) && foreign.json["error"].get("errorCauses").is_none(), "{foreign:?}");

    for wish in ["reviewed", "password", "nothing", "traps"] {
        assert!(denies(&new(wish)) && denies(&more(wish)), "{wish}");
    }
    for bad in [
        &b"{"[..],
        b"",
        br#"{"eventId":"e","eventType":"com.okta.user.pre-registration","requestType":"other","data":{}}"#,
    ] {
        assert!(denies(&host.post("registration", bad)));
    }
    host.stop();
    let record = deployment.record(mail.index().unwrap());
    assert_eq!(
        (&record["hook"]["kind"], &record["decision"]["verdict"]),
        (&json!("okta.registration"), &json!("deny"))
    );
}

/// Whether Okta registers nobody: it is denied by its command, and with `error` no command runs.
fn denies(answer: &Answer) -> bool {
    let command = json!([{"type": "com.okta.action.update", "value": {"registration": "DENY"}}]);
    answer.status == 200
        && answer.json["error"]["errorSummary"].is_string()
        && answer.json["commands"] == command
}

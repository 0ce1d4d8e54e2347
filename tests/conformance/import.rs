//! `okta.user-import`: what Okta gets for somebody who is about to be imported.

use portcullis_tests::{
    Binding, CONFLICT, Import, TestDeployment, contract, duties, leaf_hash, now, rfc3339,
};
use serde_json::{Value, json};

#[test]
fn what_okta_gets_for_an_import() {
    let deployment = TestDeployment::build(&[
        Binding::new("import", "sod", duties()),
        Binding::new("import", "contractor", contract()),
    ]);
    let host = deployment.serve();
    let ask = |import: Import| {
        let answer = host.import(&import);
        assert_eq!(answer.status, 200);
        answer
    };

    assert_eq!(ask(Import::with_groups(&["ward-reader"])).without_reference(), "{}");

    let contractor = |end: Value| {
        Import::with_groups(&["ward-reader"])
            .attribute("userType", "contractor")
            .attribute("contractEnd", end)
    };
    let end = rfc3339(now() + 90 * 86_400);
    let ends = ask(contractor(json!(end)));
    assert_eq!(
        ends.json["commands"],
        json!([{"type": "com.okta.user.profile.update", "value": {"accessEnd": end}}])
    );
    let soon = rfc3339(now() + 60);
    let ends_soon = ask(contractor(json!(soon)));
    assert_eq!(
        ends_soon.json["commands"][0]["value"]["accessEnd"], soon,
        "an import has no lifetime that could be too short"
    );

    // No answer stops an import. The strictest is an error, which Okta logs, and then no command goes with
    // it.
    let ended = ask(contractor(json!(rfc3339(now() - 60))));
    let conflict = ask(Import::with_groups(&CONFLICT)
        .attribute("userType", "contractor")
        .attribute("contractEnd", end));
    for (answer, says) in [(&ended, "ended"), (&conflict, "PRESCRIBE-DISPENSE")] {
        assert!(answer.summary().contains(says), "{}", answer.summary());
        assert_eq!(answer.json.get("commands"), None);
    }

    unusual_but_right(&ask);

    host.stop();
    for (answer, verdict) in [(&ends, "abstain"), (&ended, "deny"), (&conflict, "deny")] {
        let index = answer.index().unwrap();
        assert_eq!(leaf_hash(&deployment.leaf(index)), answer.leaf().unwrap());
        let record = deployment.record(index);
        assert_eq!(record["hook"]["kind"], "okta.user-import");
        assert_eq!(
            record["decision"]["verdict"], verdict,
            "what was decided, not what the platform could be told: {record}"
        );
    }
}

/// What Okta may send although no example of it shows it.
fn unusual_but_right(ask: &impl Fn(Import) -> portcullis_tests::Answer) {
    let mut import = Import::with_groups(&["ward-reader"]);
    for place in ["", "/data", "/data/context/job", "/data/appUser/profile", "/data/user/profile"] {
        import.body.pointer_mut(place).unwrap()["x-of-next-year"] = json!([{"deep": null}]);
    }
    import.body["eventTypeVersion"] = json!(1);
    import.body["cloudEventVersion"] = json!(0.1);
    import.body["data"]["context"]["conflicts"] = json!(["login"]);
    import.body["data"]["context"]["matches"] = Value::Null;
    import.body["data"]["appUser"]["profile"]["email"] = Value::Null;
    assert_eq!(ask(import).without_reference(), "{}");

    let mut matched = Import::with_groups(&["ward-reader"]);
    matched.body["data"]["action"]["result"] = json!("LINK_USER");
    matched.body["data"]["user"]["id"] = json!("00umatched");
    assert_eq!(ask(matched).without_reference(), "{}", "somebody who is known already");
}

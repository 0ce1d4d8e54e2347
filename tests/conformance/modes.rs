//! Modes: what only advises or monitors is asked and recorded, and reaches nobody.

use portcullis_tests::{
    Answer, Binding, CONFLICT, Import, Raw, SignIn, TestDeployment, contract, duties, now, rfc3339,
};
use serde_json::json;

#[test]
fn advice_and_monitoring_are_recorded_and_never_said() {
    let deployment = TestDeployment::build(&[
        Binding::new("token", "contractor", contract()),
        Binding::new("token", "sod", duties()).mode("advise"),
        Binding::new("import", "sod", duties()).mode("monitor"),
    ]);
    let host = deployment.serve();

    let conflict = host.sign_in(&SignIn::with_groups(&CONFLICT));
    assert_eq!(conflict.without_reference(), "{}", "advice does not bind");
    let ending = SignIn::with_groups(&CONFLICT)
        .claim("userType", "contractor")
        .claim("contractEnd", rfc3339(now() - 60));
    let ended = host.sign_in(&ending);
    assert!(
        ended.stops_a_token() && !ended.summary().contains("duties"),
        "who enforces speaks alone: {}",
        ended.summary()
    );
    let imported = host.import(&Import::with_groups(&CONFLICT));
    assert_eq!(imported.without_reference(), "{}", "nor does monitoring");

    // Watching must never stop anybody: a hook that nobody enforces has the platform's default where there is
    // no decision.
    let unread = host.post("import", b"{");
    assert_eq!((unread.status, unread.without_reference().as_str()), (200, "{}"));
    let stranger =
        host.client().send(&Raw::post("/okta/import", "not the secret at all", b"{}")).unwrap();
    assert_eq!((stranger.status, stranger.body.len()), (401, 0));
    assert!(host.post("token", b"{").stops_a_token(), "the other hook is enforced, and closed");

    for (answer, plugin, mode) in
        [(&conflict, "sod", "advise"), (&ended, "sod", "advise"), (&imported, "sod", "monitor")]
    {
        observed(&deployment, answer, plugin, mode);
    }
    host.stop();
    let of_conflict = deployment.record(conflict.index().unwrap());
    assert_eq!(
        of_conflict["bindings"].as_array().unwrap().len(),
        1,
        "the decision is the enforcing plugins' alone"
    );
    assert_eq!(of_conflict["decision"]["verdict"], "abstain");
    let of_import = deployment.record(imported.index().unwrap());
    assert_eq!(
        (&of_import["bindings"], &of_import["decision"]),
        (&json!([]), &json!({"verdict": "abstain"}))
    );
    assert_eq!(deployment.records_of("hook.observed").len(), 3);
}

/// The record of what would have been said, which names the decision that it was not part of.
fn observed(deployment: &TestDeployment, answer: &Answer, plugin: &str, mode: &str) {
    let record = deployment
        .until_record("hook.observed", |record| record["decision"].as_u64() == answer.index());
    let asked = &record["bindings"][0];
    assert_eq!(asked["plugin"], format!("org.portcullis.{plugin}"));
    assert_eq!(asked["mode"], mode);
    assert_eq!(asked["verdict"], "deny");
    let sealed = deployment.sealed(record["seq"].as_u64().unwrap());
    assert!(
        sealed.to_string().contains("PRESCRIBE-DISPENSE"),
        "the finding itself is sealed: {sealed}"
    );
}

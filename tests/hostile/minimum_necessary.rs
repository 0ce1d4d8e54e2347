//! Minimum necessary: what a manifest does not read does not reach the plugin, whatever the body holds.

use portcullis_tests::{Binding, Import, SignIn, TestDeployment};
use serde_json::{Value, json};

#[test]
fn a_plugin_sees_what_it_declares_and_nothing_else() {
    let reveal = json!({"do": "reveal"});
    let deployment = TestDeployment::build(&[
        Binding::new("token", "misbehaving", reveal.clone()),
        Binding::new("import", "misbehaving", reveal),
    ]);
    let host = deployment.serve();
    let sign_in = SignIn::with_groups(&["nurses", "north"]).claim("diagnosis", "not its business");
    let token = host.sign_in(&sign_in);
    let import = host.import(&Import::with_groups(&["nurses"]).attribute("facility", "south"));
    drop(host.stop());

    assert_eq!(
        seen(&deployment, token.index().unwrap()),
        json!({
            "correlation": null, "tenant": "default", "hook": "okta.token", "phase": null,
            "subject": {
                "type": "user", "id": "00utest",
                "attributes": {"facility": "north"}, "entitlements": ["nurses", "north"],
            },
            "actors": [], "action": null, "resource": null, "requested": [], "purpose": null, "proposed": [],
            "lifetimes": [["id-token", 3600, 300, 86400], ["access-token", 3600, 300, 86400]],
            "origin": {"ip": "192.0.2.7", "country": null, "asn": null, "user_agent": null, "device": null, "session": null},
            "payload": {"data": {"context": {"protocol": {"client": {"id": "0oaportal"}}}}},
        })
    );
    assert_eq!(
        seen(&deployment, import.index().unwrap()),
        json!({
            "correlation": null, "tenant": "default", "hook": "okta.user-import", "phase": null,
            "subject": {
                "type": "user", "id": null,
                "attributes": {"facility": "south"}, "entitlements": [],
            },
            "actors": [], "action": null, "resource": null, "requested": [], "purpose": null, "proposed": [],
            "lifetimes": [], "origin": null, "payload": null,
        })
    );
}

/// What the plugin noted of the call that this record is of, without what is another at each call. The body is sealed whole beside it, so
/// that what is missing here was cut, not lost.
fn seen(deployment: &TestDeployment, index: u64) -> Value {
    let sealed = deployment.sealed(index);
    assert!(
        sealed["request"].to_string().contains("Noor")
            || sealed["request"].to_string().contains("Ines")
    );
    let mut seen: Value =
        serde_json::from_str(sealed["plugins"][0]["notes"][0].as_str().unwrap()).unwrap();
    let members = seen.as_object_mut().unwrap();
    for changing in ["id", "received", "seed"] {
        assert!(members.remove(changing).is_some_and(|value| !value.is_null()));
    }
    seen
}

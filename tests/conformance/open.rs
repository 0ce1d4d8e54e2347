//! `on_failure`: what leaves instead of a decision where a hospital chose something else than to stop, and
//! what is recorded of it.

use portcullis_tests::{Answer, Binding, Raw, SignIn, TestDeployment, duties};
use serde_json::{Value, json};

#[test]
fn open_goes_on_and_restricted_gives_the_least_and_both_say_so() {
    let mut deployment = TestDeployment::build(&[]);
    // Without a facility the plugin cannot be asked: a failure that a payload can bring about.
    deployment.sign_plugin("sod", |source| {
        source.replace("\n[emits]", "requires = [\"subject.attributes.facility\"]\n\n[emits]")
    });
    add_hooks(&deployment);
    deployment.release(&[
        Binding::new("open", "sod", duties()),
        Binding::new("restricted", "sod", duties()),
    ]);
    let host = deployment.serve();

    let complete = SignIn::with_groups(&["ward-reader"]);
    let lacking = SignIn::with_groups(&["ward-reader"]).without_claim("facility");
    let unauthenticated =
        SignIn::with_groups(&["ward-reader"]).without_claim("facility").client("0oaother");
    for hook in ["open", "restricted"] {
        assert_eq!(
            host.post(hook, &complete.renewed().bytes()).without_reference(),
            "{}",
            "{hook}: no failure, no difference"
        );
    }

    let opened = host.post("open", &lacking.renewed().bytes());
    assert_eq!(
        (opened.status, opened.without_reference().as_str()),
        (200, "{}"),
        "the platform's default"
    );
    let least = host.post("restricted", &lacking.renewed().bytes());
    restricted(&least);
    let refused = host.post("restricted", &unauthenticated.renewed().bytes());
    assert!(refused.stops_a_token(), "only the named applications");

    // Whoever sends what cannot be read is owed no way around.
    let (wrong, right) = ("not the secret at all", portcullis_tests::SECRET);
    let post = |hook: &str, secret: &str, body: &[u8]| {
        host.client().send(&Raw::post(&format!("/okta/{hook}"), secret, body)).unwrap()
    };
    assert!(post("restricted", wrong, &lacking.renewed().bytes()).stops_a_token());
    assert!(post("restricted", right, b"{").stops_a_token());
    assert_eq!(
        post("open", wrong, &lacking.renewed().bytes()).status,
        401,
        "a stranger learns nothing"
    );
    assert_eq!(post("open", right, b"{").without_reference(), "{}");

    host.stop();
    for (answer, safe) in [(&opened, "open"), (&least, "restricted"), (&refused, "restricted")] {
        let decision = deployment.record(answer.index().unwrap())["decision"].clone();
        assert_eq!(
            decision,
            json!({"safe": safe, "cause": "required-input-missing", "plugin": "org.portcullis.sod"})
        );
    }
    let counted: Vec<_> = deployment
        .records_of("hook.rejected")
        .iter()
        .map(|it| (it["hook"].clone(), it["cause"].clone()))
        .collect();
    for (hook, cause) in [
        ("open", "unauthenticated"),
        ("open", "not-json"),
        ("restricted", "unauthenticated"),
        ("restricted", "not-json"),
    ] {
        assert!(counted.contains(&(json!(hook), json!(cause))), "{hook}, {cause}: {counted:?}");
    }
}

#[test]
fn without_a_release_each_hook_has_its_own_safe_answer() {
    let deployment = TestDeployment::build(&[]);
    add_hooks(&deployment);
    deployment.write("release/release.json", "{}");
    let host = deployment.serve();
    let answers = ["token", "open", "restricted"]
        .map(|hook| host.post(hook, &SignIn::with_groups(&["ward-reader"]).bytes()));
    let [closed, open, least] = &answers;
    assert!(closed.stops_a_token());
    assert_eq!(open.without_reference(), "{}");
    restricted(least);
    host.stop();
    for answer in &answers {
        let record = deployment.record(answer.index().unwrap());
        assert_eq!(
            (&record["decision"]["cause"], &record["generation"]),
            (&json!("no-active-release"), &json!(0))
        );
    }
}

/// Both tokens for the shortest time that there is, and marked.
fn restricted(answer: &Answer) {
    let said: Vec<_> = answer
        .operations()
        .into_iter()
        .map(|(token, _, path, value)| (token, path, value))
        .collect();
    let mut expected: Vec<(String, String, Value)> = Vec::new();
    for token in ["com.okta.identity.patch", "com.okta.access.patch"] {
        expected.push((token.to_owned(), "/claims/degraded".to_owned(), json!(true)));
        expected.push((token.to_owned(), "/token/lifetime/expiration".to_owned(), json!(300)));
    }
    assert_eq!(said, expected);
}

/// Two more token hooks: one open, one restricted to the portal.
fn add_hooks(deployment: &TestDeployment) {
    let hook = |name: &str, on_failure: &str| {
        format!(
            "\n[[hook]]\nname = \"{name}\"\nkind = \"okta.token\"\npath = \"/okta/{name}\"\n\
             caller = {{ secret_file = \"secrets/token\" }}\non_failure = \"{name}\"\n{on_failure}"
        )
    };
    let text = deployment.read("portcullis.toml");
    let hooks =
        hook("open", "") + &hook("restricted", "restricted_applications = [\"0oaportal\"]\n");
    deployment.write("portcullis.toml", text + &hooks);
}

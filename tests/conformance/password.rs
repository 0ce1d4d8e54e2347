//! `okta.password-import`: only a right password is let in, and no password is anywhere when the call is over.

use std::fs;

use portcullis_tests::{
    Answer, Binding, Raw, SECRET, TestDeployment, audit_show, below, password, traces,
};
use serde_json::{Value, json};

/// The right password: with what JSON has to escape, and what is no ASCII.
const RIGHT: &str = "Kråke \"flyr\" \\ over 17 fjell";
/// A wrong one.
const WRONG: &str = "Ugle \"sover\" \\ under 23 trær";
/// Who it is: what may be sealed, and what shows that the search finds something.
const WHO: &str = "solveig.aasen-of-ward-nine@ward.test";

#[test]
fn only_a_right_password_is_let_in_and_none_is_kept() {
    let mut deployment = TestDeployment::build(&[]);
    // Who somebody says they are is what the plugins of this test go by.
    let by = "entitlements = [\"/data/context/credential/username\"]";
    deployment.add_hook("password", "okta.password-import", by);
    let place = "\"okta.password-import:/data/context\",";
    let named = format!("{place}\n    \"okta.password-import:/data/context/credential/password\",");
    for name in ["misbehaving-verifier", "misbehaving-witness"] {
        deployment.sign_plugin(name, |manifest| {
            assert!(manifest.contains(place));
            manifest.replace(place, &named)
        });
    }
    let verify =
        json!({"do": "verify", "pointer": "/data/context/credential/password", "expected": RIGHT});
    let blab = json!({"do": "blab"});
    let verifies = json!({"do": "all", "misbehaviours": [verify, blab]});
    let misbehaviours = json!({WHO: verifies, "errs@ward.test": {"do": "error"}, "traps@ward.test": {"do": "trap"}});
    deployment.release(&[
        Binding::new(
            "password",
            "misbehaving-verifier",
            json!({"do": "by-entitlement", "misbehaviours": misbehaviours}),
        ),
        // Sees what is around it, and says all of it; as an observer it sees and says the same.
        Binding::new(
            "password",
            "misbehaving",
            json!({"do": "all", "misbehaviours": [blab, {"do": "reveal"}]}),
        ),
        Binding::new("password", "misbehaving-watcher", json!({"do": "reveal"})).mode("monitor"),
        Binding::new("password", "misbehaving-witness", blab).mode("advise"),
    ]);
    let host = deployment.serve();
    let ask = |body: &Value| host.post("password", body.to_string().as_bytes());

    let right = password(WHO, RIGHT);
    let let_in = ask(&right);
    assert!(verified(&let_in), "whoever reads the secret sees it: {let_in:?}");
    let again = ask(&right);
    assert_eq!(again.body, let_in.body, "a platform that asks again hears the same");
    let wrong = ask(&password(WHO, WRONG));
    assert!(!verified(&wrong), "{wrong:?}");
    let mut reused = password(WHO, WRONG);
    reused["eventId"] = right["eventId"].clone();
    assert!(!verified(&ask(&reused)));

    // What is wrong with a request is told without it, too.
    let text = password(WHO, RIGHT).to_string();
    let mut answers = vec![let_in.clone(), wrong];
    for bad in [
        text.replacen("\"eventId\"", "\"eventId\":1,\"eventId\"", 1),
        text.replacen("password.import", "password.export", 1),
        text.replacen("\"username\":", "\"username\":7,\"x\":", 1),
        text.replacen("\"password\":", "\"password\":7,\"x\":", 1),
        text.split_at(text.len() - 1).0.to_owned(),
        format!("{text}{text}"),
    ] {
        let answer = host.post("password", bad.as_bytes());
        assert!(answer.status == 200 && !verified(&answer), "{bad}: {answer:?}");
        answers.push(answer);
    }
    let stranger = host
        .client()
        .send(&Raw::post("/okta/password", "not the secret", text.as_bytes()))
        .unwrap();
    assert!(!verified(&stranger));
    for plugin in ["misbehaving-watcher", "misbehaving-witness"] {
        let of =
            |record: &Value| record["bindings"][0]["plugin"] == format!("org.portcullis.{plugin}");
        deployment.until_record("hook.observed", of);
    }

    // A plugin that fails says why, and that could be anything it saw.
    for who in ["errs@ward.test", "traps@ward.test"] {
        let failed = ask(&password(who, RIGHT));
        assert!(!verified(&failed) && failed.index().is_some());
        answers.push(failed);
    }
    let log = host.stop();
    nowhere(&deployment, &log, &answers);

    let sealed = deployment.sealed(let_in.index().unwrap());
    assert_eq!(sealed["request"]["data"]["context"]["credential"]["password"], "[secret]");
    let [blind, verifier] = sealed["plugins"].as_array().unwrap().as_slice() else {
        panic!("{sealed}")
    };
    let seen: Value = serde_json::from_str(blind["notes"][0].as_str().unwrap()).unwrap();
    assert_eq!(
        seen["payload"]["data"]["context"]["credential"],
        json!({"username": WHO, "password": null})
    );
    assert_eq!(
        (&verifier["withheld"], verifier.get("notes")),
        (&json!("secret"), None),
        "{verifier}"
    );
    assert_eq!(
        verifier["decision"]["changes"],
        json!([{"change": "credential", "credential": "verified"}])
    );
    let record = deployment.record(let_in.index().unwrap());
    assert_eq!((&record["not_replayable"], &record["delivery"]), (&json!("secret"), &Value::Null));
    assert_eq!(deployment.verify().code, 0);
}

/// Neither password in anything that is left when the host has stopped; whose it was stands in the sealed parts, and there alone.
fn nowhere(deployment: &TestDeployment, log: &str, answers: &[Answer]) {
    let mut places: Vec<(String, Vec<u8>)> = vec![("the log".to_owned(), log.into())];
    places.extend(answers.iter().map(|answer| ("an answer".to_owned(), answer.body.clone())));
    let files = below(&deployment.path("audit"));
    assert!(files.iter().any(|file| file.to_string_lossy().contains("wal")), "{files:?}");
    places.extend(files.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap())));
    let show = audit_show(&["--format", "json", "--sealing-key", "keys/sealing.key"]);
    let sealed = deployment.must(&show);
    assert!(traces(sealed.as_bytes(), WHO) > 0, "the search finds what is there");
    let leaves = deployment.must(show.split_at(8).0);
    places.push(("the leaves".to_owned(), leaves.into()));
    for (place, bytes) in &places {
        assert_eq!(traces(bytes, WHO), 0, "{place} says who it was");
    }
    places.push(("the sealed parts".to_owned(), sealed.into()));
    for (place, bytes) in &places {
        for secret in [RIGHT, WRONG, "over 17 fjell", "under 23 tr", SECRET] {
            assert_eq!(traces(bytes, secret), 0, "{place} has a secret");
        }
    }
}

fn verified(answer: &Answer) -> bool {
    answer.status == 200
        && answer.json["commands"]
            == json!([{"type": "com.okta.action.update", "value": {"credential": "VERIFIED"}}])
}

#[test]
fn allowing_is_not_verifying() {
    let deployment =
        TestDeployment::build(&[Binding::new("password", "misbehaving", json!({"do": "allow"}))]);
    deployment.add_hook("password", "okta.password-import", "on_failure = \"open\"");
    let host = deployment.serve();
    let unverified =
        json!([{"type": "com.okta.action.update", "value": {"credential": "UNVERIFIED"}}]);
    assert_eq!(
        host.post("password", password(WHO, RIGHT).to_string().as_bytes()).json["commands"],
        unverified
    );
    assert_eq!(
        host.post("password", b"{").without_reference(),
        "{}",
        "open: Okta's default, which is no"
    );
    host.stop();
}

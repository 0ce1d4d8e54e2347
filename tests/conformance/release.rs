//! A new release becomes active without a restart; a refused one changes nothing and says with its
//! own code what is wrong.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_tests::{
    Binding, CONFLICT, Host, MANIFEST, RELEASE_SET, SignIn, TestDeployment, digest, duties,
    log_event, now, release_refused, rfc3339, wrongly_signed,
};
use serde_json::{Value, json};

#[test]
fn a_new_release_comes_into_force_without_a_restart() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let before = host.sign_in(&SignIn::with_groups(&CONFLICT));
    assert!(before.stops_a_token());
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    // Nobody told the host: it looks at its folders by itself, and answers all the while.
    let begin = Instant::now();
    let after = loop {
        let answer = host.sign_in(&SignIn::with_groups(&CONFLICT));
        if !answer.stops_a_token() {
            break answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "the new release never became active");
    };
    host.stop();
    for (answer, generation) in [(&before, 1), (&after, 2)] {
        assert_eq!(deployment.record(answer.index().unwrap())["generation"], generation);
    }
    let active = deployment.records_of("release.active");
    assert_eq!(active.iter().map(|record| &record["generation"]).collect::<Vec<_>>(), [1, 2]);
    assert_ne!(
        active[0]["bindings"][0]["snapshot"], active[1]["bindings"][0]["snapshot"],
        "other settings, another snapshot"
    );
    assert_eq!(active[1]["set"], digest(deployment.opened_text("release/release.json").as_bytes()));
    assert!(active[1]["seq"].as_u64() < after.index(), "recorded before it decides");
    assert_eq!(deployment.records_of("host.start").len(), 1);
}

#[test]
fn a_refused_release_changes_nothing_and_says_why() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    // It looks when it is told to, so that it never sees half of what a test writes.
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    let host = deployment.serve();
    let mut trial = Trial { host: &host, codes: Vec::new() };
    let good = Kept::of(
        &deployment,
        &["release/release.json", MANIFEST_FILE, COMPONENT, "release/settings/1-0.json"],
    );

    wrong_sets(&deployment, &mut trial);
    good.restore(&deployment);
    wrong_plugins(&deployment, &good, &mut trial);
    good.restore(&deployment);

    // What the publisher and the operator sign in good faith can still be of no use here.
    deployment.release(&[Binding::new("token", "sod", duties())]);
    let mut unsayable = deployment.opened("release/release.json");
    unsayable["bindings"][0]["fallback"] = json!({});
    let unsayable = deployment.forge("release", RELEASE_SET, &unsayable.to_string());
    deployment.write("release/release.json", unsayable);
    trial.refused("binding-invalid");
    for (bindings, code) in [
        (vec![Binding::new("night-token", "sod", duties())], "binding-invalid"),
        (
            // Nothing that a schema can know: the rule names a function that is none.
            vec![Binding::new(
                "token",
                "sod",
                json!({"functions": {"PATIENT-DOE": ["x"]}, "rules": [{"id": "R", "kind": "pair", "a": "PATIENT-DOE", "b": "y", "owner": "o"}]}),
            )],
            "plugin-settings-refused",
        ),
    ] {
        deployment.release(&bindings);
        trial.refused(code);
    }
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    let settings: Vec<_> = fs::read_dir(deployment.path("release/settings"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    settings.iter().for_each(|file| fs::remove_file(file).unwrap());
    trial.refused("file-missing");

    // The last good one went on all the while; the next good one becomes active.
    deployment.release(&[Binding::new("token", "sod", lenient())]);
    host.reload_until(["release.active"]);
    assert!(!host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token());
    let active = deployment.opened_text("release/release.json");
    good.restore(&deployment);
    trial.codes.push("release-older");
    assert!(
        host.reload_until(["release.refused"]).has(release_refused("release-older")),
        "an older one does not come back"
    );
    let codes = trial.codes;
    let log = host.stop();
    assert!(
        !log.contains("PATIENT-DOE"),
        "what a plugin says about settings is for `check`, not for logs"
    );
    let records = deployment.records_of("release.refused");
    assert_eq!(
        records.iter().map(|record| record["code"].as_str().unwrap()).collect::<Vec<_>>(),
        codes
    );
    for record in &records {
        let sealed = deployment.sealed(record["seq"].as_u64().unwrap());
        assert!(
            sealed.as_str().is_some_and(|sentence| sentence.len() > 20),
            "the sentence is sealed beside: {sealed}"
        );
    }
    assert_eq!(deployment.records_of("release.active")[1]["set"], digest(active.as_bytes()));
}

/// Release sets that the host must not take.
fn wrong_sets(deployment: &TestDeployment, trial: &mut Trial<'_>) {
    let set = deployment.opened("release/release.json");
    let next = |change: &dyn Fn(&mut Value)| {
        let mut set = set.clone();
        set["version"] = json!(50);
        change(&mut set);
        set.to_string()
    };
    let envelope = deployment.forge("release", RELEASE_SET, &next(&|_| {}));
    let mut wrong = |code, text: String| {
        deployment.write("release/release.json", text);
        trial.refused(code);
    };
    wrong("envelope-malformed", "{}".to_owned());
    wrong("envelope-malformed", envelope.replacen('{', "{\"note\":1,", 1));
    wrong("wrong-payload-type", deployment.read(MANIFEST_FILE));
    wrong("bad-signature", wrongly_signed(&envelope));
    let mut altered: Value = serde_json::from_str(&envelope).unwrap();
    altered["signatures"] = json!([]);
    wrong("unsigned", altered.to_string());
    // From here on the signatures hold; what is signed, or who signed it, is wrong.
    wrong("unknown-signer", deployment.forge("publisher", RELEASE_SET, &next(&|_| {})));
    let mut signed = |code, change: &dyn Fn(&mut Value)| {
        wrong(code, deployment.forge("release", RELEASE_SET, &next(change)))
    };
    signed("release-malformed", &|set| set["priority"] = json!(1));
    signed("release-malformed", &|set| set["bindings"][0]["mode"] = json!("suggest"));
    signed("root-too-old", &|set| set["root_version"] = json!(2));
    signed("expired", &|set| {
        set["issued"] = json!(rfc3339(now() - 7_200));
        set["expires"] = json!(rfc3339(now() - 3_600));
    });
    signed("not-yet-valid", &|set| set["issued"] = json!(rfc3339(now() + 3_600)));
    signed("release-older", &|set| set["version"] = json!(1));
    // Whoever signs with other tools than ours is not held back by `release sign`.
    let misspelt = br#"{"rulez": ["PATIENT-DOE"]}"#;
    deployment.write("release/settings/misspelt.json", misspelt);
    signed("settings-invalid", &|set| set["bindings"][0]["settings"] = json!(digest(misspelt)));
}

/// Plugins that the host must not run, in sets that are in order.
fn wrong_plugins(deployment: &TestDeployment, good: &Kept, trial: &mut Trial<'_>) {
    let text = deployment.opened_text(MANIFEST_FILE);
    let statement = deployment.opened(MANIFEST_FILE);
    // As text: what is signed has one spelling, and the schema in it is named by its digest.
    let mut wrong = |code, signer: &str, changes: &[(&str, &str)]| {
        let mut text = text.clone();
        for (from, to) in changes {
            assert!(text.contains(from), "the manifest has no `{from}`");
            text = text.replace(from, to);
        }
        deployment.write(MANIFEST_FILE, deployment.forge(signer, MANIFEST, &text));
        listed(
            deployment,
            good,
            &deployment.opened(MANIFEST_FILE)["predicate"],
            &digest(text.as_bytes()),
        );
        trial.refused(code);
    };
    let hooks = r#""hooks":["okta.saml","okta.token","okta.user-import"]"#;
    wrong(
        "publisher-overreach",
        "publisher",
        &[(r#""org.portcullis.sod""#, r#""com.elsewhere.sod""#)],
    );
    wrong(
        "publisher-overreach",
        "publisher",
        &[(hooks, r#""hooks":["okta.token","entra.token"]"#)],
    );
    wrong(
        "capability-unavailable",
        "publisher",
        &[(r#""capabilities":[]"#, r#""capabilities":["telepathy"]"#)],
    );
    wrong("limits-too-high", "publisher", &[(r#""time_ms":50"#, r#""time_ms":60000"#)]);
    wrong(
        "world-unsupported",
        "publisher",
        &[("portcullis:policy/plugin@0.2.0", "portcullis:policy/plugin@9.0.0")],
    );
    wrong("unknown-publisher", "reviewer", &[]);
    wrong("hook-not-declared", "publisher", &[(hooks, r#""hooks":["okta.user-import"]"#)]);
    let time = |member: &str| statement["predicate"][member].as_str().unwrap();
    let (began, ended) = (rfc3339(now() - 7_200), rfc3339(now() - 3_600));
    wrong("expired", "publisher", &[(time("not_before"), &began), (time("expires"), &ended)]);
    good.restore(deployment);

    let component = fs::read(deployment.path(COMPONENT)).unwrap();
    let mut altered = component.clone();
    *altered.last_mut().unwrap() ^= 1;
    for (code, bytes) in [
        ("digest-mismatch", altered.as_slice()),
        ("size-mismatch", &component[..component.len() - 1]),
    ] {
        deployment.write(COMPONENT, bytes);
        listed(
            deployment,
            good,
            &statement["predicate"],
            &digest(deployment.opened_text(MANIFEST_FILE).as_bytes()),
        );
        trial.refused(code);
        // The file itself is reported too, whether or not a set names it.
        deployment.until_record("plugin.refused", |record| record["component"] == digest(bytes));
    }
}

#[test]
fn what_nobody_signed_is_reported_once_and_never_runs() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    deployment.write("release/plugins/dropped.wasm", b"\0asm\x0d\0\x01\0");
    let dropped = deployment.until_record("plugin.refused", |record| record["code"] == "unsigned");
    assert_eq!(dropped["component"], digest(b"\0asm\x0d\0\x01\0"));
    assert!(
        host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(),
        "the last good one goes on"
    );
    // Other bytes are another plugin; the same ones were reported.
    deployment.write("release/plugins/dropped-too.wasm", b"\0asm\x0d\0\x01\0\0");
    host.reload_until([log_event("plugin.refused").naming("file", "dropped-too")]);
    let log = host.stop();
    let unsigned = log_event("plugin.refused").field("code", "unsigned");
    let unsigned = unsigned.naming("hint", "portcullis plugin sign");
    assert!(log.has(unsigned), "what it is and what to do: {log}");
    assert_eq!(deployment.records_of("plugin.refused").len(), 2);
    let sealed = deployment.sealed(dropped["seq"].as_u64().unwrap());
    assert!(sealed.as_str().unwrap().contains("dropped.wasm"), "{sealed}");
}

/// One release after the other that must be refused.
struct Trial<'a> {
    host: &'a Host,
    codes: Vec<&'static str>,
}

impl Trial<'_> {
    /// What lies there now is refused for this reason, says so with what to do about it, and the release in
    /// force goes on.
    fn refused(&mut self, code: &'static str) {
        let said = self.host.reload_until(["release.refused", "release.active"]);
        let line = said.first("release.refused").unwrap_or_else(|| panic!("{code}: {said}"));
        assert_eq!(line.text("code"), code, "{line:?}");
        assert!(!line.text("error").is_empty(), "what is wrong: {line:?}");
        assert!(!line.text("hint").is_empty(), "what to do: {line:?}");
        assert!(
            self.host.sign_in(&SignIn::with_groups(&CONFLICT)).stops_a_token(),
            "{code}: generation 1 decides"
        );
        self.codes.push(code);
    }
}

/// Files as they were.
struct Kept(Vec<(&'static str, Vec<u8>)>);

impl Kept {
    fn of(deployment: &TestDeployment, files: &[&'static str]) -> Self {
        Self(files.iter().map(|file| (*file, fs::read(deployment.path(file)).unwrap())).collect())
    }

    fn restore(&self, deployment: &TestDeployment) {
        self.0.iter().for_each(|(file, bytes)| deployment.write(file, bytes));
    }
}

/// Writes a set that is in order and names this manifest.
fn listed(deployment: &TestDeployment, good: &Kept, manifest: &Value, statement: &str) {
    deployment.write("release/release.json", &good.0[0].1);
    let mut set = deployment.opened("release/release.json");
    let id = manifest["id"].as_str().unwrap();
    set["version"] = json!(60);
    set["plugins"] = json!({id: {"version": manifest["version"], "serial": manifest["serial"], "manifest": statement}});
    set["bindings"][0]["plugin"] = json!(id);
    deployment
        .write("release/release.json", deployment.forge("release", RELEASE_SET, &set.to_string()));
}

/// The rules of [`duties`], which now only report.
fn lenient() -> Value {
    let mut settings = duties();
    settings["rules"][0]["action"] = json!("allow");
    settings
}

const MANIFEST_FILE: &str = "release/plugins/sod.manifest.json";
const COMPONENT: &str = "release/plugins/sod.wasm";

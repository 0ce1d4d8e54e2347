//! Hooks on which nothing enforces: open where an accepted release wants that, and stopped where only the host's own
//! copy of the last good release, or a release that was refused, leaves them without a plugin.

use std::fs;

use portcullis_tests::{
    Answer, Binding, CONFLICT, Host, SignIn, TestDeployment, duties, release_active,
};
use serde_json::{Value, json};

/// A deployment with release 1, which binds the duties to the hook `token`, served once.
fn served_once() -> TestDeployment {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.serve().stop();
    deployment
}

/// Settings that the plugin refuses, and no schema does.
fn refused_settings() -> Value {
    let mut settings = duties();
    settings["rules"][0]["b"] = json!("where");
    settings
}

fn post(host: &Host, hook: &str) -> Answer {
    host.post(hook, &SignIn::with_groups(&CONFLICT).bytes())
}

/// The hooks that `/ready` names as stopped because nothing enforces on them.
fn unenforced(host: &Host) -> Vec<String> {
    let ready = host.admin("/ready");
    assert_eq!(ready.status, 200, "{ready:?}");
    let body: Value = serde_json::from_slice(&ready.body).unwrap();
    let warnings = body["warnings"].as_array().unwrap().iter();
    let of_code = warnings.filter(|it| it["code"] == "hook-unenforced");
    let names = of_code.filter_map(|it| it["what"].as_str()?.split('`').nth(1));
    names.map(str::to_owned).collect()
}

#[test]
fn a_hook_that_was_renamed_is_stopped_by_the_last_good_release() {
    let deployment = served_once();
    let whole = deployment.read("portcullis.toml");
    deployment.write("portcullis.toml", whole.replace("name = \"token\"", "name = \"tokens\""));
    let host = deployment.serve();
    assert!(host.log().has(release_active(1)), "{}", host.log());
    let answer = post(&host, "token");
    assert!(answer.stops_a_token(), "{answer:?}");
    assert_eq!(unenforced(&host), ["tokens"]);
    assert!(host.log().has("release.hook-unenforced"), "{}", host.log());
    let status: Value = serde_json::from_slice(&host.admin("/status").body).unwrap();
    assert!(status["readiness"].to_string().contains("hook-unenforced"), "{status}");
    // A further change of the name opens nothing either.
    deployment.write("portcullis.toml", whole.replace("name = \"token\"", "name = \"tokens-3\""));
    host.reload_until(["config.active"]);
    assert!(post(&host, "token").stops_a_token());
    assert_eq!(unenforced(&host), ["tokens-3"]);
    // With its former name it decides, and the warning is over.
    deployment.write("portcullis.toml", &whole);
    host.reload_until([release_active(1)]);
    let harmless = host.sign_in(&SignIn::with_groups(&["ward-reader"]));
    assert!(!harmless.stops_a_token(), "{harmless:?}");
    assert!(unenforced(&host).is_empty(), "{:?}", unenforced(&host));
    let answer = post(&host, "token");
    host.stop();
    let record = deployment.record(answer.index().unwrap());
    assert!(record["decision"]["verdict"].is_string(), "{record}");
    let decisions = deployment.records_of("hook.decision");
    let stopped = decisions.iter().filter(|it| it["decision"]["cause"] == "plugin-unavailable");
    assert_eq!(stopped.count(), 2, "{decisions:?}");
}

#[test]
fn names_that_hooks_exchange_open_neither_under_the_last_good_release() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.add_hook("watched", "okta.token", "");
    deployment.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("watched", "sod", duties()).mode("monitor"),
    ]);
    deployment.serve().stop();
    let text = deployment.read("portcullis.toml");
    let text = text.replace("name = \"token\"", "name = \"other\"");
    let text = text.replace("name = \"watched\"", "name = \"token\"");
    deployment.write("portcullis.toml", text.replace("name = \"other\"", "name = \"watched\""));
    fs::remove_dir_all(deployment.path("release")).unwrap();
    let host = deployment.serve();
    assert!(host.log().has(release_active(2)), "{}", host.log());
    assert!(post(&host, "token").stops_a_token(), "its path is now that of the hook `watched`");
    assert_eq!(unenforced(&host).first().map(String::as_str), Some("watched"));
    host.stop();
}

#[test]
fn a_hook_that_only_a_refused_release_binds_is_stopped() {
    let mut deployment = served_once();
    let before = deployment.read("portcullis.toml");
    for restarts in [false, true] {
        deployment.write("portcullis.toml", &before);
        deployment.release(&[Binding::new("token", "sod", duties())]);
        let host = deployment.serve();
        deployment.add_hook("second", "okta.token", "");
        deployment.release(&[
            Binding::new("token", "sod", duties()),
            Binding::new("second", "sod", refused_settings()),
        ]);
        let host = if restarts {
            host.stop();
            deployment.serve()
        } else {
            host.reload_until(["config.active"]);
            host
        };
        let answer = post(&host, "second");
        assert!(answer.stops_a_token(), "restarts: {restarts}: {answer:?}");
        assert_eq!(unenforced(&host), ["second"], "restarts: {restarts}");
        assert!(post(&host, "token").stops_a_token());
        let harmless = host.sign_in(&SignIn::with_groups(&["ward-reader"]));
        assert!(!harmless.stops_a_token(), "the other hook decides: {harmless:?}");
        // An accepted release that leaves the hook without a plugin opens it: that is what it wants.
        deployment.release(&[Binding::new("token", "sod", duties())]);
        host.reload_until(["release.active"]);
        assert!(!post(&host, "second").stops_a_token(), "restarts: {restarts}");
        assert!(unenforced(&host).is_empty());
        host.stop();
    }
}

#[test]
fn a_hook_that_is_new_while_the_folders_hold_no_release_is_stopped() {
    let deployment = served_once();
    let host = deployment.serve();
    deployment.back_up(&["release"], "whole");
    fs::remove_dir_all(deployment.path("release")).unwrap();
    deployment.add_hook("second", "okta.token", "");
    host.reload_until(["config.active"]);
    assert!(post(&host, "second").stops_a_token());
    assert_eq!(unenforced(&host), ["second"]);
    deployment.restore(&["release"], "whole");
    host.reload_until([release_active(1)]);
    assert!(!post(&host, "second").stops_a_token());
    host.stop();
}

#[test]
fn a_hook_that_an_accepted_release_leaves_open_stays_so_at_a_start_from_the_copy() {
    let mut deployment = served_once();
    deployment.add_hook("second", "okta.token", "");
    // In the release's folder at the start, then by a reload: both are remembered with the copy.
    deployment.serve().stop();
    let host = deployment.serve();
    deployment.add_hook("third", "okta.token", "");
    host.reload_until(["config.active"]);
    host.stop();
    deployment.back_up(&["release"], "whole");
    fs::remove_dir_all(deployment.path("release")).unwrap();
    for _ in 0..2 {
        let host = deployment.serve();
        assert!(!post(&host, "second").stops_a_token());
        assert!(!post(&host, "third").stops_a_token());
        assert!(unenforced(&host).is_empty(), "{:?}", unenforced(&host));
        assert!(post(&host, "token").stops_a_token());
        host.stop();
    }
    // A signed set that binds the hook and is refused closes it at a start.
    deployment.restore(&["release"], "whole");
    deployment.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("second", "sod", refused_settings()),
    ]);
    let host = deployment.serve();
    assert!(post(&host, "second").stops_a_token());
    assert_eq!(unenforced(&host), ["second"]);
    assert!(!post(&host, "third").stops_a_token());
    host.stop();
}

#[test]
fn check_names_the_hooks_that_a_start_from_the_copy_stops() {
    let mut deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    deployment.configure("watch_ms = 500", "watch_ms = 0");
    deployment.add_hook("second", "okta.token", "");
    deployment.release(&[Binding::new("token", "sod", duties())]);
    deployment.serve().stop();
    let check = |deployment: &TestDeployment| {
        let ran = deployment.run(&["check", "--config", "portcullis.toml"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("would restart release set"), "{ran:?}");
        ran.err
    };
    // It was open under the release that was accepted, and another binds it.
    deployment.release(&[
        Binding::new("token", "sod", duties()),
        Binding::new("second", "sod", refused_settings()),
    ]);
    let said = check(&deployment);
    assert!(said.contains("with the safe answer on hook `second`"), "{said}");
    fs::remove_dir_all(deployment.path("release")).unwrap();
    let said = check(&deployment);
    assert!(!said.contains("with the safe answer"), "{said}");
    let text = deployment.read("portcullis.toml");
    deployment.write("portcullis.toml", text.replace("name = \"second\"", "name = \"renamed\""));
    let said = check(&deployment);
    assert!(said.contains("with the safe answer on hook `renamed`"), "{said}");
    let host = deployment.serve();
    assert_eq!(unenforced(&host), ["renamed"], "a start says the same");
    host.stop();
}

//! A person whose access is denied reads eight characters out to the help desk, and the help desk
//! finds the record by them.

use portcullis_tests::{Binding, CONFLICT, SignIn, TestDeployment, audit_show, duties};
use serde_json::Value;

#[test]
fn a_denial_shows_a_reference_that_leads_to_its_record() {
    let deployment = TestDeployment::build(&[Binding::new("token", "sod", duties())]);
    let host = deployment.serve();
    let sign_in = SignIn::with_groups(&CONFLICT);
    let denied = host.sign_in(&sign_in);
    assert!(denied.stops_a_token());
    let reference = reference_in(denied.summary()).to_owned();
    let retried = host.sign_in(&sign_in);
    assert_eq!(reference_in(retried.summary()), reference, "a retry shows the same reference");
    let other = host.sign_in(&SignIn::with_groups(&CONFLICT));
    assert_ne!(reference_in(other.summary()), reference, "another event has another reference");
    let allowed = host.sign_in(&SignIn::with_groups(&["ward-reader"]));
    assert_eq!(allowed.without_reference(), "{}");
    host.stop();

    let found = find(&deployment, &reference);
    let kinds: Vec<_> = found.iter().map(|record| record["t"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["hook.decision", "hook.duplicate"], "the retry refers to the decision");
    assert_eq!(found[0]["seq"].as_u64(), denied.index());
    assert_eq!(found[0]["help_desk_reference"], *reference);
    assert_eq!(found[0]["decision"]["verdict"], "deny");
    let record = deployment.record(allowed.index().unwrap());
    let allowed = record["help_desk_reference"].as_str().unwrap().to_owned();
    let own = find(&deployment, &allowed);
    assert_eq!(own, [record], "an allowed call has one in its record");
    // As somebody writes it down who listens to it.
    let (first, second) = reference.split_at(4);
    let dictated = format!("{}-{second}", first.to_lowercase());
    assert_eq!(find(&deployment, &dictated), found);
}

#[test]
fn a_safe_answer_shows_its_reference() {
    let deployment = TestDeployment::build(&[Binding::new(
        "token",
        "misbehaving",
        serde_json::json!({"do": "trap"}),
    )]);
    let host = deployment.serve();
    let stopped = host.sign_in(&SignIn::with_groups(&["ward-reader"]));
    assert!(stopped.stops_a_token());
    let reference = reference_in(stopped.summary());
    host.stop();
    let found = find(&deployment, reference);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["decision"]["cause"], "plugin-fault");
}

#[test]
fn a_reference_that_nobody_was_shown_is_told_apart_from_a_text_that_is_none() {
    let deployment = TestDeployment::build(&[]);
    let host = deployment.serve();
    host.stop();
    let show = |text: &str| deployment.run(&audit_show(&["--help-desk-reference", text]));
    let unknown = show("AAAAAAAA");
    assert_eq!(unknown.code, 3, "{}", unknown.err);
    assert!(unknown.err.contains("no decision in this log has the help-desk reference AAAAAAAA"));
    for (text, problem) in [("AAAA", "eight characters"), ("AAAA0000", "the digits 2 to 7")] {
        let malformed = show(text);
        assert_eq!(malformed.code, 2, "{}", malformed.err);
        assert!(malformed.err.contains(problem), "{}", malformed.err);
    }
}

/// The reference at the end of a text that a person is shown.
fn reference_in(text: &str) -> &str {
    let (_, behind) = text.split_once("Help-desk reference: ").unwrap_or_else(|| panic!("{text}"));
    behind.strip_suffix('.').unwrap_or_else(|| panic!("{text}"))
}

/// The records that have this reference.
fn find(deployment: &TestDeployment, reference: &str) -> Vec<Value> {
    let options = ["--format", "json", "--help-desk-reference", reference];
    let shown = deployment.must(&audit_show(&options));
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

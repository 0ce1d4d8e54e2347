//! The certification scenario of the AuthZEN working group (*Authorization API 1.0, Certification Scenario*), on the example
//! settings: its eight decisions, its six searches, and the same with the properties coming in the call or from the settings.

use super::*;

fn fixture() -> AccessRules {
    testing::configured(EXAMPLE)
}

fn yes(call: testing::CallBuilder) -> bool {
    decide(&fixture(), call).verdict() == Effect::Allow
}

fn found(call: testing::CallBuilder) -> Vec<String> {
    let call = call.build();
    let all = testing::find(&fixture(), &call, 100);
    assert_eq!(testing::find(&fixture(), &call, 1), all, "one by one");
    all
}

#[test]
fn decisions_by_identifiers() {
    assert!(yes(call("alice", "read", "record-1")));
    assert!(yes(call("alice", "write", "record-1")));
    assert!(yes(call("bob", "read", "record-1")));
    assert!(!yes(call("bob", "write", "record-1")));
}

#[test]
fn decisions_by_properties() {
    let archived =
        |who: &str, id: &str| call(who, "write", id).resource_attribute("status", "archived");
    assert!(!yes(archived("alice", "record-2")));
    assert!(yes(archived("bob", "record-2").attribute("role", "admin")));
    let delete = |soft: bool| call("alice", "delete", "record-1").action_attribute("soft", soft);
    assert!(yes(delete(true)));
    assert!(!yes(delete(false)));
    // Where the call says what the settings say otherwise, or of somebody whom they do not list, the call counts.
    assert!(!yes(archived("alice", "record-1")));
    assert!(yes(archived("carol", "record-3").attribute("role", "admin")));
    assert!(yes(archived("alice", "record-2").attribute("role", "admin")));
    assert!(yes(call("alice", "write", "record-2").resource_attribute("status", "active")));
    // Where it says nothing, the settings count.
    assert!(!yes(call("alice", "write", "record-2")));
    assert!(yes(call("bob", "write", "record-2")));
    assert!(!yes(call("alice", "delete", "record-1")));
}

#[test]
fn more_than_is_asked_for_changes_nothing() {
    let more = call("alice", "read", "record-1")
        .attribute("department", "Sales")
        .attribute("role", "manager");
    let more = more.action_attribute("method", "GET").resource_attribute("status", "active");
    let more = more.resource_attribute("owner", "bob").payload(r#"{"context":{"ip":"192.0.2.1"}}"#);
    assert!(yes(more));
}

#[test]
fn searches() {
    let who = |what: &str, id: &str| call("", what, id).search(SearchTarget::Subject, "user");
    assert_eq!(found(who("read", "record-1")), ["alice", "bob"]);
    let which =
        |who: &str, what: &str| call(who, what, "").search(SearchTarget::Resource, "record");
    assert_eq!(found(which("alice", "read")), ["record-1", "record-2"]);
    let what = |who: &str, id: &str| call(who, "", id).search(SearchTarget::Action, "");
    assert_eq!(found(what("alice", "record-1")), ["read", "write"]);
    // With properties.
    assert_eq!(found(who("write", "record-2").resource_attribute("status", "archived")), ["bob"]);
    assert_eq!(found(which("bob", "write").attribute("role", "admin")), ["record-2"]);
    let bob =
        what("bob", "record-2").attribute("role", "admin").resource_attribute("status", "archived");
    assert_eq!(found(bob), ["read", "write"]);
    // What is unknown is found nowhere.
    assert!(found(what("nonexistent-user", "record-1")).is_empty());
    assert!(
        found(call("", "read", "record-1").search(SearchTarget::Subject, "spaceship")).is_empty()
    );
}

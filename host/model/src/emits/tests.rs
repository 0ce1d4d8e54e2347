//! Declarations, and decisions within and beyond them.

use super::*;
use crate::change::Credential;
use crate::decision::{Finding, Severity};
use crate::grant::{Grant, Target};

fn emits(effects: &[Effect], changes: &[&str]) -> Result<Emits, EmitsError> {
    Emits::compile(effects, &changes.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn set(path: &str, value: &str) -> Change {
    Change::Set { target: Target::AccessToken, path: path.into(), value: value.into() }
}

fn says(changes: &[&str], change: Change) -> Result<(), Overreach> {
    let decision = Decision { changes: vec![change], ..Decision::default() };
    emits(&[], changes).unwrap().check("okta.token", &decision, &Messages::default())
}

#[test]
fn compiles_what_can_be_declared_and_names_what_cannot() {
    for right in [
        "set:access-token:/claims/a",
        "remove:user:/a/*",
        "set:user:/*",
        "cap-lifetime:id-token",
        "drop-grant",
        "add-grant:group",
        "credential",
        "waive",
        "waive:SOD_CONFLICT",
        "okta.token:waive:SOD_CONFLICT",
    ] {
        assert!(emits(&[], &[right]).is_ok(), "{right}");
    }
    let wrong = [
        ("sett:user:/a", "emits-unknown"),
        ("set", "emits-unknown"),
        ("set:moon:/a", "emits-unknown"),
        ("cap-lifetime:id-token:300", "emits-unknown"),
        ("create-user:now", "emits-unknown"),
        ("create-users", "emits-unknown"),
        ("okta.token:moon", "emits-unknown"),
        ("set:user", "emits-path"),
        ("set:user:", "emits-path"),
        ("set:user:a", "emits-path"),
        ("set:user:/a~2", "emits-path"),
        ("drop-grant:scopes", "emits-grant"),
        ("waive:HOURS_TERMINATED", "emits-waiver"),
        ("okta.token:waive:AUDIT_REQUIRED", "emits-waiver"),
    ];
    for (text, code) in wrong {
        let error = emits(&[], &[text]).err().unwrap();
        assert_eq!(error.code(), code, "{text}");
        assert!(error.to_string().contains(&format!("`{text}`")) && error.hint().is_some());
    }
}

#[test]
fn holds_a_plugin_to_the_places_it_declared() {
    let declared = ["set:access-token:/claims/accessEnd", "set:access-token:/claims/x/*"];
    for within in ["/claims/accessEnd", "/claims/x/y", "/claims/x/y/z"] {
        assert_eq!(says(&declared, set(within, "1")), Ok(()), "{within}");
    }
    for beyond in
        ["/claims/accessEnds", "/claims/accessEnd/x", "/claims/x", "/claims/xx/y", "/claims", ""]
    {
        let overreach = says(&declared, set(beyond, "1")).unwrap_err();
        assert_eq!(
            overreach,
            Overreach::Change { at: 1, kind: ChangeKind::Set(Target::AccessToken) },
            "{beyond}"
        );
    }
    let other = Change::Set {
        target: Target::IdToken,
        path: "/claims/accessEnd".into(),
        value: "1".into(),
    };
    assert!(says(&declared, other).is_err());
    let remove = Change::Remove { target: Target::AccessToken, path: "/claims/accessEnd".into() };
    assert!(says(&declared, remove).is_err());
}

#[test]
fn a_grant_may_be_narrowed_to_a_kind() {
    let drop = |kind| Change::DropGrant(Grant { kind, id: "x".into() });
    assert_eq!(says(&["drop-grant:scope"], drop(GrantKind::Scope)), Ok(()));
    assert!(says(&["drop-grant:scope"], drop(GrantKind::Group)).is_err());
    assert_eq!(says(&["drop-grant"], drop(GrantKind::Group)), Ok(()));
    assert!(
        says(&["drop-grant"], Change::AddGrant(Grant { kind: GrantKind::Group, id: "x".into() }))
            .is_err()
    );
}

#[test]
fn malformed_decisions_are_overreach_and_show_nothing_of_themselves() {
    for change in [
        set("/claims/x/y", "secret"),
        set("/claims/x/y", "{\"a\":1,\"a\":2}"),
        set("/claims/x/secret~", "1"),
    ] {
        let overreach = says(&["set:access-token:/claims/x/*"], change).unwrap_err();
        assert!(matches!(overreach, Overreach::MalformedChange { at: 1, .. }));
        assert!(!overreach.to_string().contains("secret"), "{overreach}");
    }
}

#[test]
fn findings_need_a_declared_effect_a_known_code_and_json_arguments() {
    let messages: Messages = serde_json::from_str(r#"{"KNOWN":{"en":"x"}}"#).unwrap();
    let emits = emits(&[Effect::Deny, Effect::Allow, Effect::Deny], &[]).unwrap();
    assert_eq!(emits.effects(), [Effect::Allow, Effect::Deny]);
    let check = |code: &str, effect, value: &str, risk| {
        let arguments = vec![Attribute { name: "n".into(), value: value.into() }];
        let finding =
            Finding { code: code.into(), effect, severity: Severity::Low, arguments, field: None };
        emits.check(
            "okta.token",
            &Decision { findings: vec![finding], changes: vec![], risk },
            &messages,
        )
    };
    assert_eq!(check("KNOWN", Effect::Deny, "\"v\"", Some(100)), Ok(()));
    assert_eq!(
        check("KNOWN", Effect::Review, "1", None),
        Err(Overreach::Effect { at: 1, effect: Effect::Review })
    );
    assert_eq!(check("MARY", Effect::Deny, "1", None), Err(Overreach::Code { at: 1 }));
    assert!(!Overreach::Code { at: 1 }.to_string().contains("MARY"));
    assert!(matches!(
        check("KNOWN", Effect::Deny, "v", None),
        Err(Overreach::MalformedFinding { at: 1, .. })
    ));
    assert_eq!(check("KNOWN", Effect::Deny, "1", Some(101)), Err(Overreach::Risk));
}

#[test]
fn who_declares_more_than_restrictions_proposes() {
    let proposes = |changes: &[&str]| emits(&[], changes).unwrap().proposes("okta.token");
    assert!(
        !proposes(&[]) && !proposes(&["cap-lifetime:id-token", "drop-grant", "require-approvers"])
    );
    for change in [
        "set:user:/a",
        "remove:user:/a",
        "add-grant",
        "create-user",
        "credential",
        "waive",
        "auto-approve",
    ] {
        assert!(proposes(&["drop-grant", change]), "{change}");
    }
    // Whoever does not propose can be passed nothing but restrictions.
    let guard = emits(&[], &["cap-lifetime:id-token", "drop-grant", "require-approvers"]).unwrap();
    let all = [
        set("/a", "1"),
        Change::Remove { target: Target::User, path: "/a".into() },
        Change::CapLifetime { target: Target::IdToken, seconds: 1 },
        Change::AddGrant(Grant { kind: GrantKind::Role, id: "r".into() }),
        Change::DropGrant(Grant { kind: GrantKind::Role, id: "r".into() }),
        Change::LinkUser("u".into()),
        Change::CreateUser,
        Change::Credential(Credential::Verified),
        Change::AutoApprove,
        Change::RequireApprovers(vec![]),
        Change::Waive(vec![]),
    ];
    for change in all {
        let restricts = change.restricts();
        let decision = Decision { changes: vec![change], ..Decision::default() };
        assert_eq!(guard.check("okta.token", &decision, &Messages::default()).is_ok(), restricts);
    }
}

#[test]
fn a_waiver_reaches_the_declared_codes_and_never_a_protected_one() {
    let waive = |codes: &[&str]| Change::Waive(codes.iter().map(ToString::to_string).collect());
    let declared = ["waive:SOD_CONFLICT", "waive:SOD_EXISTING"];
    assert_eq!(says(&declared, waive(&["SOD_CONFLICT", "SOD_EXISTING"])), Ok(()));
    assert!(matches!(
        says(&declared, waive(&["SOD_CONFLICT", "OTHER"])),
        Err(Overreach::Change { .. })
    ));
    assert_eq!(says(&["waive"], waive(&["OTHER"])), Ok(()));
    assert!(matches!(
        says(&["waive"], waive(&["OTHER", "HOURS_TERMINATED"])),
        Err(Overreach::MalformedChange { .. })
    ));
}

#[test]
fn kinds_are_told_once_each() {
    let emits = emits(&[], &["set:user:/a", "set:user:/b", "create-user"]).unwrap();
    assert_eq!(
        emits.change_kinds("okta.token"),
        [ChangeKind::Set(Target::User), ChangeKind::CreateUser]
    );
}

#[test]
fn what_is_declared_for_one_hook_kind_is_not_declared_for_another() {
    let emits = emits(&[], &["okta.token:set:access-token:/claims/a", "cap-lifetime:access-token"])
        .unwrap();
    assert!(emits.proposes("okta.token") && !emits.proposes("okta.user-import"));
    assert_eq!(
        emits.change_kinds("okta.user-import"),
        [ChangeKind::CapLifetime(Target::AccessToken)]
    );
    assert_eq!(emits.places("okta.token").collect::<Vec<_>>(), ["access-token:/claims/a"]);
    let set =
        Change::Set { target: Target::AccessToken, path: "/claims/a".into(), value: "1".into() };
    let decision = Decision { changes: vec![set], ..Decision::default() };
    assert!(emits.check("okta.token", &decision, &Messages::default()).is_ok());
    assert!(matches!(
        emits.check("okta.user-import", &decision, &Messages::default()),
        Err(Overreach::Change { .. })
    ));
}

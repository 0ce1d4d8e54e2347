//! The table as a page, and complaints about bindings.

use super::*;

fn emits(effects: &[Effect], changes: &[&str]) -> Emits {
    Emits::compile(effects, &changes.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

fn complaints(
    kind: HookKind,
    emits: &Emits,
    mapping: &[(&str, &str)],
) -> Vec<(&'static str, String)> {
    let mapping = mapping.iter().map(|(what, to)| ((*what).to_owned(), (*to).to_owned())).collect();
    let complaints = check_binding(kind, emits, &mapping).err().unwrap_or_default();
    complaints.iter().map(|complaint| (complaint.code(), complaint.to_string())).collect()
}

#[test]
fn the_page_shows_the_table() {
    let page = std::env::var("CARGO_MANIFEST_DIR").unwrap() + "/../../docs/hook-kinds.md";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&page, table()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(page).unwrap(),
        table(),
        "docs/hook-kinds.md is not what `say::table` says"
    );
}

#[test]
fn what_is_native_needs_no_mapping() {
    let token = emits(
        &[Effect::Abstain, Effect::Allow, Effect::Deny],
        &["set:id-token:/claims/*", "cap-lifetime:access-token"],
    );
    assert_eq!(complaints(HookKind::OktaToken, &token, &[]), []);
    let import =
        emits(&[Effect::Allow], &["set:user:/x", "set:app-user:/x", "create-user", "link-user"]);
    assert_eq!(complaints(HookKind::OktaUserImport, &import, &[]), []);
}

#[test]
fn what_is_mapped_must_be_mapped_to_what_can_be() {
    let plugin = emits(&[Effect::StepUp], &["drop-grant:scope"]);
    let told = complaints(HookKind::OktaToken, &plugin, &[("step-up", "report")]);
    assert_eq!(
        told,
        [
            ("fallback-wrong", "`report` is not a fallback for `step-up` on `okta.token`".to_owned()),
            (
                "fallback-missing",
                "`okta.token` has no field for `drop-grant`, and the binding names no fallback for \
                 it: `scp`, `scope` and `groups` are reserved, so no value can be removed from \
                 them"
                    .to_owned()
            ),
        ]
    );
    assert_eq!(
        complaints(HookKind::OktaToken, &plugin, &[("step-up", "deny"), ("drop-grant", "deny")]),
        []
    );
    let deny = emits(&[Effect::Deny], &[]);
    assert_eq!(complaints(HookKind::OktaUserImport, &deny, &[])[0].0, "fallback-missing");
    assert_eq!(complaints(HookKind::OktaUserImport, &deny, &[("deny", "report")]), []);
}

#[test]
fn the_unsayable_cannot_be_mapped_away_and_idle_mappings_are_named() {
    let plugin = emits(&[], &["set:user:/x"]);
    let told = complaints(
        HookKind::OktaToken,
        &plugin,
        &[("set:user", "deny"), ("deny", "deny"), ("trim", "deny")],
    );
    let codes: Vec<_> = told.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["unsupported", "fallback-unused", "fallback-unused", "fallback-unused"]);
    // Mapping what the plugin does not emit today is no harm.
    assert_eq!(complaints(HookKind::OktaToken, &emits(&[], &[]), &[("review", "deny")]), []);
}

#[test]
fn every_mapping_goes_to_a_verdict_that_stops_as_far_as_can_be() {
    for kind in HookKind::ALL {
        for (what, saying) in sayings(kind) {
            let Support::Fallback(to, _) = saying else { continue };
            assert!(!to.is_empty() && to.iter().all(|to| to.verdict() == Effect::Deny), "{what}");
        }
    }
}

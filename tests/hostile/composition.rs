//! Plugins side by side: a guard sees what a proposer wants, two proposers can conflict, and the order of bindings changes nothing.

use std::collections::BTreeSet;

use portcullis_tests::{
    Binding, RELEASE_SET, SignIn, TestDeployment, checkout, log_event, release_active,
};
use serde_json::{Value, json};

use super::{clean_sign_in, misbehaving_binding, with_group};

#[test]
fn a_guard_beside_a_proposer_sees_and_judges_what_it_proposes() {
    let misbehaviours = json!({"wants": {"do": "all", "misbehaviours": [set("ward", "north"), {"do": "cap", "target": "access-token", "seconds": 900}]}});
    let mut deployment = guarded();
    deployment.release(&[
        misbehaving_binding("token", &misbehaviours),
        Binding::new("token", "misbehaving-guard", json!({"do": "deny-proposed"})),
        Binding::new("import", "misbehaving-guard", json!({"do": "reveal"})),
        Binding::new(
            "import",
            "misbehaving",
            json!({"do": "set", "target": "user", "path": "/title", "value": "chief"}),
        ),
    ]);
    let host = deployment.serve();
    let nothing_proposed = host.sign_in(&clean_sign_in());
    let proposed = host.sign_in(&with_group("wants"));
    let import = host.import(&portcullis_tests::Import::with_groups(&["nurses"]));
    assert!(!nothing_proposed.stops_a_token());
    assert!(
        proposed.stops_a_token() && proposed.summary().contains("something was proposed"),
        "{proposed:?}"
    );
    drop(host.stop());

    let record = deployment.record(proposed.index().unwrap());
    assert_eq!(record["decision"]["verdict"], json!("deny"));
    // Proposers first, whatever their names.
    let asked: Vec<_> = record["bindings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|asked| asked["plugin"].as_str().unwrap())
        .collect();
    assert_eq!(asked, ["org.portcullis.misbehaving", "org.portcullis.misbehaving-guard"]);
    let sealed = deployment.sealed(import.index().unwrap());
    let guard = &sealed["plugins"][1];
    assert_eq!(guard["plugin"], json!("org.portcullis.misbehaving-guard"));
    let seen: Value = serde_json::from_str(guard["notes"][0].as_str().unwrap()).unwrap();
    assert_eq!(seen["proposed"], json!([["set", "user", "/title", "chief"]]));
}

#[test]
fn a_guard_that_wants_more_than_to_restrict_is_held_to_its_manifest() {
    let mut deployment = guarded();
    deployment.release(&[Binding::new("token", "misbehaving-guard", set("ward", "north"))]);
    let host = deployment.serve();
    let answer = host.sign_in(&clean_sign_in());
    assert!(answer.stops_a_token() && answer.operations().is_empty());
    drop(host.stop());
    let record = deployment.record(answer.index().unwrap());
    assert_eq!(
        record["decision"],
        json!({"safe": "closed", "cause": "undeclared-output", "plugin": "org.portcullis.misbehaving-guard"})
    );
}

#[test]
fn two_wishes_for_one_place_are_a_conflict_and_the_same_wish_twice_is_none() {
    let one = json!({"same": set("ward", "north"), "differ": set("ward", "north"), "above": set("ward", "north")});
    let other = json!({
        "same": set("ward", "north"), "differ": set("ward", "south"),
        "above": {"do": "set", "target": "access-token", "path": "/claims/ward/code", "value": 7},
    });
    let twin = Binding::new(
        "token",
        "misbehaving-twin",
        json!({"do": "by-entitlement", "misbehaviours": other}),
    );
    let deployment = TestDeployment::build(&[misbehaving_binding("token", &one), twin]);
    // What can conflict is said before it does.
    let checked = deployment.run(&["check", "--config", "portcullis.toml"]);
    assert!(
        checked.code == 0
            && format!("{}{}", checked.out, checked.err).contains("their values differ"),
        "{checked:?}"
    );
    let host = deployment.serve();
    let same = host.sign_in(&with_group("same"));
    assert_eq!(same.operations().len(), 1, "{same:?}");
    let conflicts: Vec<_> = ["differ", "above"].map(|name| host.sign_in(&with_group(name))).into();
    for answer in &conflicts {
        assert!(answer.stops_a_token(), "{answer:?}");
    }
    drop(host.stop());
    for answer in conflicts {
        let record = deployment.record(answer.index().unwrap());
        assert_eq!(
            record["decision"],
            json!({"safe": "closed", "cause": "conflict", "plugin": null})
        );
    }
}

#[test]
fn the_order_of_bindings_changes_no_byte_of_an_answer() {
    let deny = |why: &str| json!({"do": "deny", "why": why});
    let cap = |seconds: u32| json!({"do": "cap", "target": "access-token", "seconds": seconds});
    // The same plugin twice as well: then not even a name tells them apart.
    let misbehaviours = [
        json!({"deny": deny("first"), "cap": cap(900), "set": set("a", "1"), "mix": cap(600), "step": {"do": "step-up"}}),
        json!({"deny": deny("second"), "cap": cap(700), "set": set("b", "2"), "mix": deny("mixed"), "step": {"do": "review"}}),
    ];
    let told_too = |name: &str, misbehaviours: &Value| {
        Binding::new("token", name, json!({"do": "by-entitlement", "misbehaviours": misbehaviours}))
    };
    let bindings = [
        told_too("misbehaving", &misbehaviours[0]),
        told_too("misbehaving", &misbehaviours[1]),
        told_too("misbehaving-twin", &misbehaviours[1]),
    ];
    let sign_ins: Vec<SignIn> =
        ["deny", "cap", "set", "mix", "step", "nurses"].map(with_group).into();
    let deployment = TestDeployment::build(&bindings);
    // `release sign` sorts, so another hand signs them as they come.
    let mut set = deployment.opened("release/release.json");
    let sorted = set["bindings"].clone();
    let mut outcomes = BTreeSet::new();
    // Another version each, since a host takes no other set of a number that it had.
    for (version, order) in [(1, [0, 1, 2]), (2, [2, 1, 0])] {
        set["version"] = json!(version);
        set["bindings"] = order.map(|at: usize| sorted[at].clone()).to_vec().into();
        deployment.write(
            "release/release.json",
            deployment.forge("release", RELEASE_SET, &set.to_string()),
        );
        let host = deployment.serve();
        let answers: Vec<_> =
            sign_ins.iter().map(|sign_in| host.sign_in(sign_in).without_reference()).collect();
        drop(host.stop());
        outcomes.insert(answers);
    }
    assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
    let answers = outcomes.pop_first().unwrap();
    assert!(
        answers[0].contains("error") && answers[1].contains("700") && answers[3].contains("mixed"),
        "{answers:?}"
    );
}

#[test]
fn a_binding_that_could_say_the_unsayable_is_never_in_force() {
    let mut deployment = TestDeployment::build(&[misbehaving_binding("token", &json!({}))]);
    let host = deployment.serve();
    deployment.sign_plugin("misbehaving-adder", |manifest| {
        manifest.replace("token:drop-grant", "token:add-grant")
    });
    deployment.release(&[Binding::new(
        "token",
        "misbehaving-adder",
        json!({"do": "add-grant", "id": "prescribe"}),
    )
    .fallback(&[("review", "deny"), ("step-up", "deny")])]);
    let refused = deployment.until_record("release.refused", |_| true);
    assert_eq!(refused["plugin"], json!("org.portcullis.misbehaving-adder"));
    host.wait_for(log_event("release.refused").naming("error", "add-grant"));
    assert!(
        !host.sign_in(&clean_sign_in()).stops_a_token(),
        "the last good release does not go on"
    );
    drop(host.stop());
}

fn set(claim: &str, value: &str) -> Value {
    json!({"do": "set", "target": "access-token", "path": format!("/claims/{claim}"), "value": value})
}

/// The waiver stands in the record with what it set aside; what it may not set aside stays.
#[test]
fn a_plugin_with_that_right_waives_findings_of_others_and_no_other_plugin_does() {
    let mut deployment = TestDeployment::build(&[]);
    deployment.sign_plugin("misbehaving-waiver", |manifest| {
        let manifest =
            manifest.replace("okta.token:drop-grant", "okta.token:waive:MISBEHAVING_DENIES");
        manifest.replace(r#"["journal"]"#, r#"["journal", "waive"]"#)
    });
    let waive = |code: &str| json!({"do": "waive", "codes": [code]});
    let deny = json!({"do": "deny", "why": "so"});
    deployment.release(&[
        Binding::new("token", "misbehaving", deny.clone()),
        Binding::new("token", "misbehaving-waiver", waive("MISBEHAVING_DENIES")),
    ]);
    let host = deployment.serve();
    let waived = host.sign_in(&clean_sign_in());
    assert!(!waived.stops_a_token(), "{waived:?}");

    // Another code than the declared one is no waiver but an undeclared change.
    deployment.release(&[
        Binding::new("token", "misbehaving", deny),
        Binding::new("token", "misbehaving-waiver", waive("MISBEHAVING_ALLOWS")),
    ]);
    host.reload_until([release_active(3)]);
    let undeclared = host.sign_in(&clean_sign_in());
    assert!(undeclared.stops_a_token());
    drop(host.stop());

    let record = deployment.record(waived.index().unwrap());
    assert_eq!(record["decision"]["verdict"], json!("allow"));
    let of = |plugin: &str| {
        let all = record["bindings"].as_array().unwrap();
        all.iter().find(|it| it["plugin"] == plugin).unwrap().clone()
    };
    assert_eq!(of("org.portcullis.misbehaving")["waived"], json!(["MISBEHAVING_DENIES"]));
    assert_eq!(of("org.portcullis.misbehaving-waiver")["changes"], json!(["waive"]));
    let record = deployment.record(undeclared.index().unwrap());
    assert_eq!(record["decision"]["cause"], json!("undeclared-output"));
}

/// A manifest that declares a waiver and does not ask for the right is refused, and so is one that
/// would waive what nobody may.
#[test]
fn a_manifest_without_the_right_cannot_declare_a_waiver() {
    let deployment =
        TestDeployment::build(&[Binding::new("token", "misbehaving", json!({"do": "allow"}))]);
    for (change, capability, says) in [
        ("waive", r#"["journal"]"#, "its `emits` has `waive`, but its `capabilities` lack it"),
        (
            "waive:HOURS_TERMINATED",
            r#"["journal", "waive"]"#,
            "would waive a finding about audit, termination or revocation",
        ),
    ] {
        let manifest = checkout().join("tests/plugins/misbehaving/manifest.toml");
        let source = std::fs::read_to_string(manifest).unwrap();
        let source = source.replace("okta.token:drop-grant", &format!("okta.token:{change}"));
        deployment.write("manifest.toml", source.replace(r#"["journal"]"#, capability));
        let ran = deployment.run(&[
            "plugin",
            "sign",
            "--source",
            "manifest.toml",
            "--component",
            "release/plugins/misbehaving.wasm",
            "--key",
            "keys/publisher.key",
            "--output",
            "waiver.json",
        ]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(says), "{}", ran.err);
    }
}

/// A deployment that has a guard: `misbehaving` with the right to restrict only.
fn guarded() -> TestDeployment {
    let deployment = TestDeployment::build(&[]);
    deployment.sign_plugin("misbehaving-guard", |manifest| {
        let kept = ["cap-lifetime", "drop-grant"];
        let changes = |line: &&str| !line.contains(":set:") && !line.contains(":remove:");
        let manifest: String =
            manifest.lines().filter(changes).flat_map(|line| [line, "\n"]).collect();
        assert!(kept.iter().all(|kept| manifest.contains(kept)));
        manifest
    });
    deployment
}

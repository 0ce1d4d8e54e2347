//! Settings: the schema, the example, and what is wrong told by its path.

use std::path::Path;

use super::*;

#[test]
fn the_schema_follows_from_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("settings.schema.json");
    testing::assert_schema::<Settings>(&file);
}

#[test]
fn the_example_and_empty_settings_are_valid() {
    let schema: Value = serde_json::from_str(include_str!("../../settings.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let example: Value = serde_json::from_str(include_str!("../../settings.example.json")).unwrap();
    for settings in [json!({}), example] {
        assert!(schema.is_valid(&settings), "{settings}");
        plugin(settings);
    }
}

#[test]
fn inputs_that_the_example_names_are_read() {
    let example = include_str!("../../settings.example.json");
    for (name, read) in [
        ("riskLevel", "subject.attributes.riskLevel"),
        ("amr", "subject.attributes.amr"),
        ("networks", "tables.networks.asn"),
        ("known-networks", "tables.known-networks.kind"),
        ("shared-workstations", "tables.shared-workstations.kind"),
        ("shifts", "tables.shifts.until"),
    ] {
        assert!(example.contains(&format!("\"{name}\"")), "{name}");
        assert!(MANIFEST.contains(&format!("\"{read}\"")), "{read}");
    }
}

#[test]
fn wrong_settings_are_named_by_path() {
    let schema: Value = serde_json::from_str(include_str!("../../settings.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    // The last member: whether the schema knows it too.
    for (settings, expected, is_known) in [
        (json!({"zone": "Europe/Atlantis"}), "zone` is no IANA time zone", false),
        (
            json!({"target_reauthentication_percent": 0}),
            "target_reauthentication_percent` is not within 1 and 50",
            true,
        ),
        (json!({"bands": {"medium": 20}}), "bands.medium` is not within `lowest_medium`", false),
        (json!({"bands": {"high": 60}}), "bands.high` is not above `highest_medium`", false),
        (json!({"bands": {"low": 10}}), "bands.low` is wrong", true),
        (json!({"learning": {"days": 91}}), "learning.days` is not within 1 and 90", true),
        (
            json!({"attacks": {"denied_pushes": 9}}),
            "attacks.denied_pushes` is not within 2 and 8",
            true,
        ),
        (json!({"points": {"new_device": 101}}), "points.new_device` is above 100", true),
        (json!({"effects": {"low": "deny"}}), "effects.low` is wrong", true),
        (json!({"tables": {"networks": ""}}), "tables.networks` is empty", true),
        (json!({"platform_risk": {"attribute": ""}}), "platform_risk.attribute` is empty", true),
        (
            json!({"second_factor": {"attribute": "amr", "values": []}}),
            "second_factor.values` has no value",
            true,
        ),
        (json!({"model": {"table": "!"}}), "model.table` is not base64", false),
        (json!({"model": {"table": "AAAA"}}), "model.table` is no model: it does not begin", false),
    ] {
        let problems =
            testing::configure::<SignInRisk>(&settings.to_string()).err().unwrap_or_default();
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{expected}: {problems:?}"
        );
        assert_eq!(schema.is_valid(&settings), !is_known, "{settings}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let wrong =
        json!({"zone": "Mars", "points": {"velocity": 200}, "hours": {"unusual_percent": 99}});
    assert_eq!(testing::configure::<SignInRisk>(&wrong.to_string()).err().unwrap().len(), 3);
}

#[test]
fn effects_are_those_of_the_settings() {
    let settings = json!({"effects": {"low": "abstain", "learning": "step-up", "medium": "review", "high": "step-up"}});
    let (plugin, world) = (plugin(settings), Ram::default());
    let learning = sign_in(&plugin, &world, "00u1lee", MONDAY, &WARD);
    assert_eq!((learning.codes()[0], learning.verdict()), ("RISK_LEARNING", Effect::StepUp));
    let now = habits(&plugin, &world, &["00u1lee", "00u2ortega", "00u3okafor"]);
    assert_eq!(sign_in(&plugin, &world, "00u1lee", now, &WARD).verdict(), Effect::Abstain);
    let new = Site { agent: STRANGE, ip: "198.51.100.99", asn: 64_777, ..HOME };
    assert_eq!(sign_in(&plugin, &world, "00u2ortega", now, &new).verdict(), Effect::Review);
    let high = sign_in(&plugin, &world, "00u1lee", now + HOUR, &ABROAD);
    assert_eq!((high.codes()[0], high.verdict()), ("RISK_HIGH", Effect::StepUp));
}

/// Every message has a code that the plugin has, and the other way round: a code without a message
/// is refused by `assert_declared` in every other test.
#[test]
fn every_message_has_a_code_in_the_source() {
    let source = [include_str!("../signals.rs"), include_str!("../findings.rs")].concat();
    let codes: Vec<&str> = MANIFEST
        .lines()
        .filter_map(|line| line.strip_prefix("[messages.")?.strip_suffix(']'))
        .collect();
    assert_eq!(codes.len(), 24);
    for code in codes {
        assert!(source.contains(&format!("\"{code}\"")), "{code}");
    }
}

//! Exceptions, matrix and roles from tables, by example.

use portcullis_guest::Attribute;
use portcullis_guest::testing::{TestTable, reset, set_table};

use super::*;

const TABLES: &str = include_str!("../../manifest.tables.toml");

/// 2026-11-15T00:00:00Z.
const NOW: u64 = 1_794_700_800_000;
const DAY: u64 = 86_400_000;

fn judge(settings: &Value, call: testing::CallBuilder) -> Decision {
    let call = call.build();
    let decision = testing::decide(&sod(settings), &call);
    testing::assert_declared(TABLES, &call.hook, &decision);
    decision
}

fn row(cells: &[(&str, &str)]) -> Vec<Attribute> {
    cells.iter().map(|(column, text)| Attribute::text(column, text)).collect()
}

fn excepting() -> Value {
    let mut settings = pharmacy();
    settings["existing"] = json!("enforce");
    settings["tables"] = json!({"exceptions": "sod-exceptions"});
    settings
}

fn both() -> testing::CallBuilder {
    testing::call("okta.token").subject("u1").entitlements(["P", "D"]).received(NOW)
}

/// A table with one row for `u1`, changed in these cells; an empty text leaves the cell out.
fn exceptions(change: &[(&str, &str)]) {
    let mut cells = vec![
        ("person", "00103"),
        ("rule", "R1"),
        ("until", "2026-12-31"),
        ("approver", "boss"),
        ("control", "a second look"),
    ];
    for (column, text) in change {
        cells.retain(|(known, _)| known != column);
        if !text.is_empty() {
            cells.push((column, text));
        }
    }
    set_table("sod-exceptions", TestTable::new().row("00103", row(&cells)).of_subject("u1"));
}

#[test]
fn a_row_lets_the_pair_through_and_says_until_when_and_who_approved() {
    exceptions(&[]);
    let decision = judge(&excepting(), both());
    assert_eq!((decision.codes(), decision.verdict()), (vec!["SOD_EXCEPTION"], Effect::Allow));
    let finding = &decision.findings[0];
    assert_eq!(texts(finding, "until"), ["2026-12-31"]);
    assert_eq!(texts(finding, "approver"), ["boss"]);
    assert_eq!(texts(finding, "control"), ["a second look"]);
    // It is one person's.
    let other = testing::call("okta.token").subject("u2").entitlements(["P", "D"]).received(NOW);
    assert_eq!(judge(&excepting(), other).codes(), ["SOD_EXISTING"]);
    // A request is covered as well.
    let asking = || testing::call("okta.token").subject("u1").entitlement("P").received(NOW);
    let asking = asking().requested(GrantKind::Group, "D");
    assert_eq!(judge(&excepting(), asking).codes(), ["SOD_EXCEPTION"]);
    reset();
}

#[test]
fn from_fourteen_days_before_the_end_there_is_a_warning() {
    // The exception ends with 2026-12-31, which is 47 days after now.
    exceptions(&[]);
    let end = NOW + 47 * DAY;
    let at = |now| judge(&excepting(), both().received(now));
    assert_eq!(at(end - 14 * DAY - 1).codes(), ["SOD_EXCEPTION"]);
    for (now, days) in [(end - 14 * DAY, "14"), (end - 13 * DAY, "13"), (end - 1, "1")] {
        let decision = at(now);
        assert_eq!(decision.codes(), ["SOD_EXCEPTION", "SOD_EXCEPTION_ENDING"]);
        assert_eq!(decision.verdict(), Effect::Allow);
        let left = decision.findings[1].arguments.iter().find(|it| it.name == "days");
        assert_eq!(left.unwrap().value, days);
    }
    let decision = at(end);
    assert_eq!(decision.codes(), ["SOD_EXISTING", "SOD_EXCEPTION_ENDED"]);
    assert_eq!(decision.verdict(), Effect::Deny);
    reset();
}

#[test]
fn an_exception_that_does_not_hold_says_why() {
    let code = |change: &[(&str, &str)], call: testing::CallBuilder| {
        exceptions(change);
        let decision = judge(&excepting(), call);
        assert_eq!(decision.verdict(), Effect::Deny, "{change:?}");
        let codes: Vec<_> = decision.codes().into_iter().map(str::to_owned).collect();
        assert_eq!((codes.len(), codes[0].as_str()), (2, "SOD_EXISTING"), "{codes:?}");
        codes[1].clone()
    };
    let self_approved = "SOD_EXCEPTION_SELF_APPROVED";
    for own in ["00103", " U1", "noor@ward.test", "Noor.Haddad@ward.test"] {
        let call =
            both().attribute("login", "noor.haddad@ward.test").attribute("email", "noor@ward.test");
        assert_eq!(code(&[("approver", own)], call), self_approved, "{own}");
    }
    assert_eq!(code(&[("approver", "")], both()), "SOD_EXCEPTION_NO_APPROVER");
    assert_eq!(code(&[("control", " ")], both()), "SOD_EXCEPTION_NO_CONTROL");
    assert_eq!(code(&[("until", "")], both()), "SOD_EXCEPTION_NO_END");
    assert_eq!(code(&[("until", "2026-11-14")], both()), "SOD_EXCEPTION_ENDED");
    assert_eq!(code(&[("from", "2026-11-16")], both()), "SOD_EXCEPTION_NOT_STARTED");
    // A row about another rule is no concern of this call's.
    exceptions(&[("rule", "R2"), ("approver", "")]);
    assert_eq!(judge(&excepting(), both()).codes(), ["SOD_EXISTING"]);
    reset();
}

#[test]
fn a_stale_table_of_exceptions_is_reported() {
    let cells =
        row(&[("rule", "R1"), ("until", "2026-12-31"), ("approver", "b"), ("control", "c")]);
    set_table("sod-exceptions", TestTable::new().row("1", cells).of_subject("u1").stale());
    let decision = judge(&excepting(), both());
    assert_eq!(decision.codes(), ["SOD_EXCEPTION", "SOD_TABLE_STALE"]);
    reset();
}

#[test]
fn tables_that_the_settings_do_not_name_are_not_looked_up() {
    // A look-up would panic, because there is no table.
    reset();
    assert_eq!(decide(&sod(&pharmacy()), both()).codes(), ["SOD_EXISTING"]);
    let nothing = testing::call("okta.token").subject("u1").entitlement("P").received(NOW);
    assert!(judge(&excepting(), nothing).findings.is_empty(), "nothing to except");
}

#[test]
fn pairs_and_roles_come_from_tables() {
    let pair = |other, rule, severity| {
        row(&[("conflicts_with", other), ("rule", rule), ("severity", severity), ("owner", "CFO")])
    };
    let matrix = TestTable::new()
        .row("vendor", pair("pay", "AP-1", "critical"))
        .row("vendor", pair("approve", "AP-1", "low"))
        .row("pay", row(&[("conflicts_with", "audit"), ("action", "review"), ("owner", "CFO")]));
    set_table("sod-matrix", matrix);
    let clerk = || [Attribute::texts("contains", ["vendor", "role:helper"])];
    let roles = TestTable::new().row("clerk", clerk()).row("helper", row(&[("contains", "clerk")]));
    set_table("role-hierarchy", roles);
    let tables = json!({"matrix": "sod-matrix", "roles": "role-hierarchy"});
    let settings = json!({"tables": tables, "existing": "enforce"});
    let holds = |names: &[&str]| {
        testing::call("okta.token").subject("u1").entitlements(names.iter().copied())
    };
    assert!(judge(&settings, holds(&["vendor", "audit"])).findings.is_empty());
    let decision = judge(&settings, holds(&["pay", "clerk"]));
    assert_eq!(decision.codes(), ["SOD_EXISTING"]);
    let finding = &decision.findings[0];
    assert_eq!(texts(finding, "rule"), ["AP-1"]);
    assert_eq!(texts(finding, "entitlements"), ["clerk", "pay"]);
    assert_eq!(texts(finding, "functions"), ["pay", "vendor"]);
    assert_eq!(finding.severity, Severity::Critical);
    // One finding of a rule with two broken pairs, by the more severe one.
    let decision = judge(&settings, holds(&["vendor", "approve", "pay"]));
    assert_eq!(
        (decision.codes(), decision.findings[0].severity),
        (vec!["SOD_EXISTING"], Severity::Critical)
    );
    // Without an id the pair names the rule; either entitlement may be the new one.
    let decision = judge(&settings, holds(&["audit"]).requested(GrantKind::Role, "pay"));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["SOD_CONFLICT"], Effect::Review));
    assert_eq!(texts(&decision.findings[0], "rule"), ["audit / pay"]);
    reset();
}

#[test]
fn more_than_may_be_looked_up_is_denied() {
    set_table("sod-matrix", TestTable::new());
    set_table("role-hierarchy", TestTable::new());
    let settings = json!({"tables": {"matrix": "sod-matrix", "roles": "role-hierarchy"}});
    let holds = |count: usize| {
        testing::call("okta.token").subject("u").entitlements((0..count).map(|at| format!("e{at}")))
    };
    let most = evaluate::MAX_LOOK_UPS / 2;
    assert!(judge(&settings, holds(most)).findings.is_empty());
    let decision = judge(&settings, holds(most + 1));
    assert_eq!((decision.codes(), decision.verdict()), (vec!["SOD_TOO_MANY"], Effect::Deny));
    reset();
}

#[test]
fn wrong_tables_are_named_by_path() {
    let with = |tables: Value| {
        let mut settings = pharmacy();
        settings["tables"] = tables;
        settings
    };
    assert!(refusal(&with(json!({"matrix": ""})))[0].contains("`tables.matrix` is empty"));
    assert!(refusal(&with(json!({"people": "x"})))[0].contains("tables.people"));
    let mut twice = with(json!({"roles": "role-hierarchy"}));
    twice["roles"] = json!({"R": ["P"]});
    assert!(refusal(&twice)[0].contains("`roles` stands beside `tables.roles`"));
    assert!(refusal(&json!({"tables": {"exceptions": "x"}}))[0].contains("`functions` is empty"));
    // The schema agrees.
    let schema: Value = serde_json::from_str(include_str!("../../settings.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for right in [json!({"tables": {"matrix": "m", "roles": "r"}}), excepting()] {
        assert!(schema.is_valid(&right) && refusal(&right).is_empty(), "{right}");
    }
    for wrong in [with(json!({"matrix": ""})), json!({"tables": {"exceptions": "x"}})] {
        assert!(!schema.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn the_manifest_with_tables_is_the_other_one_and_more() {
    let base: toml::Table = toml::from_str(MANIFEST).unwrap();
    let more: toml::Table = toml::from_str(TABLES).unwrap();
    let texts = |manifest: &toml::Table, member: &str| -> Vec<String> {
        let list = manifest[member].as_array().unwrap();
        list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for member in ["id", "version", "serial", "hooks", "settings_schema", "limits", "validity"] {
        assert_eq!(base[member], more[member], "{member}");
    }
    let reads = texts(&more, "reads");
    assert!(texts(&base, "reads").iter().all(|path| reads.contains(path)));
    for (code, text) in base["messages"].as_table().unwrap() {
        assert_eq!(&more["messages"][code], text, "{code}");
    }
}

//! The plugin `sod` with reference tables: exceptions that change without a release, pairs and
//! roles from tables, and the same people found by the plugin and by `portcullis sod violators`.

use std::fs;

use portcullis_tests::{Answer, Binding, Host, SignIn, TestDeployment, checkout};
use serde_json::{Value, json};

/// A deployment that binds `sod` with its second manifest and the declarations of the examples, in
/// which people are known by their login, with these rows of the table of exceptions.
fn deployment(settings: Value, exceptions: &str) -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    fs::create_dir(deployment.path("release/tables")).unwrap();
    let examples = checkout().join("host/store/examples-data");
    for name in ["sod-exceptions", "sod-matrix", "role-hierarchy"] {
        let declaration = fs::read_to_string(examples.join(format!("{name}.toml"))).unwrap();
        let declaration = declaration.replace("employeeNumber", "login");
        let rows = fs::read_to_string(examples.join(format!("{name}.csv"))).unwrap();
        deployment.write(&format!("release/tables/{name}.csv"), rows);
        deployment.declare_table(&declaration, &format!("{name}.csv"), None);
    }
    deployment.write("release/tables/sod-exceptions.csv", rows_of(exceptions));
    deployment.sign_plugin("sod", |_| with_tables());
    deployment.release(&[Binding::new("token", "sod", settings)]);
    deployment
}

fn rows_of(exceptions: &str) -> String {
    format!("person,rule,from,until,approver,control\n{exceptions}")
}

fn with_tables() -> String {
    fs::read_to_string(checkout().join("plugins/sod/manifest.tables.toml")).unwrap()
}

fn all_tables() -> Value {
    json!({
        "existing": "enforce",
        "tables": {
            "exceptions": "sod-exceptions", "matrix": "sod-matrix", "roles": "role-hierarchy",
        },
    })
}

fn sign_in(host: &Host, groups: &[&str]) -> Answer {
    host.sign_in(&SignIn::with_groups(groups))
}

/// The codes and rules of the findings of a call's record.
fn found(deployment: &TestDeployment, answer: &Answer) -> Vec<(String, String)> {
    let sealed = deployment.sealed(answer.index().unwrap());
    let findings = sealed["plugins"][0]["decision"]["findings"].as_array().cloned();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = findings.unwrap_or_default();
    findings.iter().map(|it| (text(&it["code"]), text(&it["arguments"]["rule"]))).collect()
}

fn codes(found: &[(String, String)]) -> Vec<&str> {
    found.iter().map(|(code, _)| code.as_str()).collect()
}

#[test]
fn an_exception_of_a_table_lets_the_pair_through_as_long_as_it_is_valid() {
    let pair = ["Dispensers", "Prescribers"];
    for (row, wanted) in [
        ("", &["SOD_EXISTING"][..]),
        ("noor.haddad@ward.test,R,2020-01-01,2099-12-31,cmo,look\n", &["SOD_EXCEPTION"]),
        (
            "noor.haddad@ward.test,R,,2020-12-31,cmo,look\n",
            &["SOD_EXISTING", "SOD_EXCEPTION_ENDED"],
        ),
        (
            "noor.haddad@ward.test,R,,2099-12-31,Noor.Haddad@ward.test,look\n",
            &["SOD_EXISTING", "SOD_EXCEPTION_SELF_APPROVED"],
        ),
        (
            "noor.haddad@ward.test,R,,2099-12-31,cmo,\n",
            &["SOD_EXISTING", "SOD_EXCEPTION_NO_CONTROL"],
        ),
        ("finn@ward.test,R,,2099-12-31,cmo,look\n", &["SOD_EXISTING"]),
    ] {
        let rows = row.replacen(",R,", ",prescribe-dispense,", 1);
        let deployment = deployment(all_tables(), &rows);
        let host = deployment.serve();
        let answer = sign_in(&host, &pair);
        host.stop();
        assert_eq!(codes(&found(&deployment, &answer)), wanted, "{row}");
        let is_allowed = answer.without_reference() == "{}";
        assert_eq!(is_allowed, wanted == ["SOD_EXCEPTION"], "{row}");
    }
}

#[test]
fn the_plugin_and_the_report_find_the_same_rules() {
    let deployment = deployment(all_tables(), "");
    let host = deployment.serve();
    let held = [
        &["Prescribers"][..],
        &["Prescribers", "Dispensers"],
        &["Pharmacy Physician"],
        &["Hospital Physician", "epcs:approve"],
        &["Pharmacist", "Prescribers", "erp:payment-run"],
        &["erp:vendor-maintain", "erp:payment-run"],
        &["Ward Reader"],
    ];
    let mut by_plugin = Vec::new();
    let answers: Vec<_> = held.iter().map(|groups| sign_in(&host, groups)).collect();
    host.stop();
    for answer in &answers {
        let found = found(&deployment, answer);
        assert!(found.iter().all(|(code, _)| code == "SOD_EXISTING"), "{found:?}");
        let mut rules: Vec<_> = found.into_iter().map(|(_, rule)| rule).collect();
        rules.sort();
        by_plugin.push(rules);
    }
    assert!(by_plugin.iter().flatten().count() >= 5, "{by_plugin:?}");

    let mut export = "login,group\n".to_owned();
    for (number, groups) in held.iter().enumerate() {
        export.extend(groups.iter().map(|group| format!("p{number},{group}\n")));
    }
    deployment.write("people.csv", export);
    deployment.write("settings.json", all_tables().to_string());
    let ran = deployment.run(&[
        "sod",
        "violators",
        "--settings",
        "settings.json",
        "--matrix",
        "release/tables/sod-matrix.csv",
        "--roles",
        "release/tables/role-hierarchy.csv",
        "--export",
        "people.csv",
        "--format",
        "json",
    ]);
    assert_eq!(ran.code, 5, "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let by_report: Vec<_> = (0..held.len())
        .map(|number| {
            let person = json!(format!("p{number}"));
            let violations = report["violations"].as_array().unwrap();
            let own = violations.iter().filter(|it| it["person"] == person);
            let mut rules: Vec<_> =
                own.map(|it| it["rule"].as_str().unwrap_or_default().to_owned()).collect();
            rules.sort();
            rules
        })
        .collect();
    assert_eq!(by_report, by_plugin);
}

#[test]
fn settings_that_name_a_table_need_the_manifest_that_reads_it() {
    let mut deployment = TestDeployment::build(&[]);
    deployment.sign_plugin("sod", |source| source);
    let refused = deployment.refused_release(&[Binding::new("token", "sod", all_tables())]);
    assert!(refused.err.contains("tables.sod-exceptions."), "{}", refused.err);
    // And this manifest needs the tables.
    deployment.sign_plugin("sod", |_| with_tables());
    let refused = deployment.refused_release(&[Binding::new("token", "sod", all_tables())]);
    assert!(refused.err.contains("which the set does not declare"), "{}", refused.err);
}

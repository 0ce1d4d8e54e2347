//! `contractor` with reference tables: the register, trainings and the roster change while the host
//! runs, and the next sign-in is decided by the new version.

use std::fs;

use portcullis_tests::{
    Answer, Binding, Host, SignIn, TestDeployment, checkout, digest, log_event, now,
    release_active, rfc3339,
};
use serde_json::{Value, json};

const DAY: i64 = 86_400;

/// The date so many days from now, in UTC.
fn date(days: i64) -> String {
    rfc3339(now() + days * DAY).chars().take(10).collect()
}

/// A register with Noor, whose contract ends at that date, and 99 others.
fn register(contract_end: &str, sponsor: &str) -> String {
    let mut rows =
        "Contractor No,User name,Site,Sponsor No,Sponsored until,Contract end,Extended until,\
                    Extension approved by,Project end,BAA end\n"
            .to_owned();
    rows.push_str(&format!(
        "C-1,Noor.Haddad@ward.test,,{sponsor},,{contract_end},,,,{}\n",
        date(400)
    ));
    for number in 100..199 {
        rows.push_str(&format!("C-{number},p{number}@vendor.test,,00101,,{},,,,\n", date(300)));
    }
    rows
}

fn roster(state: &str) -> String {
    let mut rows = "Employee ID,Worker Status,Termination Date\n".to_owned();
    rows.push_str(&format!("00107,{state},\n"));
    (0..99).for_each(|number| rows.push_str(&format!("{:05},Active,\n", 200 + number)));
    rows
}

fn training(courses: &[&str]) -> String {
    let mut rows = "Learner No,Training,Valid until\n".to_owned();
    courses.iter().for_each(|course| rows.push_str(&format!("C-1,{course},{}\n", date(200))));
    (0..99).for_each(|number| rows.push_str(&format!("C-{},HIPAA,{}\n", 100 + number, date(200))));
    rows
}

/// The declaration that the plugin's page shows.
fn declaration(name: &str) -> String {
    fs::read_to_string(checkout().join(format!("plugins/contractor/tables/{name}.toml"))).unwrap()
}

fn settings(tables: Value) -> Value {
    json!({
        "applies_to": {"attribute": "userType", "values": ["contractor"]},
        "tables": tables,
        "items": {
            "contract": {"attribute": "contractEnd", "mandatory": true},
            "training": {"mandatory": true, "required": ["HIPAA"]},
            "agreement": {"mandatory": true},
        },
        "zone": "Etc/UTC",
        "sponsor": {"active": ["active"]},
        "clock_skew_seconds": 0,
        "access_end": {"access-token": "/claims/accessEnd"}
    })
}

fn bound(tables: Value) -> Binding {
    Binding::new("token", "contractor", settings(tables))
}

fn all_tables() -> Value {
    json!({"register": "contractor-register", "training": "training", "roster": "hr-roster"})
}

fn deployment() -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    fs::create_dir(deployment.path("release/tables")).unwrap();
    for (name, rows) in [
        ("contractor-register", register(&date(90), "00107")),
        ("training", training(&["HIPAA"])),
        ("hr-roster", roster("Active")),
    ] {
        deployment.write(&format!("release/tables/{name}.csv"), rows);
        deployment.declare_table(&declaration(name), &format!("{name}.csv"), None);
    }
    deployment.release(&[bound(all_tables())]);
    deployment
}

/// Noor signs in as a contractor; with a claim about the contract's end, where there is one.
fn sign_in(host: &Host, contract_end: Option<&str>) -> Answer {
    let mut noor = SignIn::with_groups(&["ward-reader"]).claim("userType", "contractor");
    if let Some(end) = contract_end {
        noor = noor.claim("contractEnd", end);
    }
    host.sign_in(&noor)
}

fn replace(deployment: &TestDeployment, host: &Host, table: &str, rows: &str) {
    deployment.replace(&format!("release/tables/{table}.csv"), rows);
    let version = digest(rows.as_bytes());
    host.wait_for(
        log_event("table.loaded").field("table", table).field("version", version.as_str()),
    );
}

fn codes(deployment: &TestDeployment, answer: &Answer) -> Value {
    deployment.record(answer.index().unwrap())["bindings"][0]["codes"].clone()
}

fn access_end(answer: &Answer) -> Option<String> {
    let told = answer.operations().into_iter().find(|(_, _, path, _)| path == "/claims/accessEnd");
    told.and_then(|(_, _, _, value)| value.as_str().map(str::to_owned))
}

#[test]
fn a_contract_that_ends_earlier_in_the_next_version_ends_access() {
    let deployment = deployment();
    let host = deployment.serve();
    let claim = date(400);
    let before = sign_in(&host, None);
    assert!(!before.stops_a_token(), "{}", before.without_reference());
    assert_eq!(access_end(&before), Some(format!("{}T00:00:00Z", date(91))), "the register's end");
    let record = deployment.record(before.index().unwrap());
    let versions = json!({
        "contractor-register": digest(register(&date(90), "00107").as_bytes()),
        "training": digest(training(&["HIPAA"]).as_bytes()),
        "hr-roster": digest(roster("Active").as_bytes()),
    });
    assert_eq!(record["bindings"][0]["tables"], versions);
    // A later claim gives nothing.
    let claimed = sign_in(&host, Some(&claim));
    assert!(!claimed.stops_a_token());
    assert_eq!(access_end(&claimed), access_end(&before));
    assert_eq!(codes(&deployment, &claimed), json!(["CONTRACTOR_DATES_DISAGREE"]));

    replace(&deployment, &host, "contractor-register", &register(&date(-2), "00107"));
    let ended = sign_in(&host, None);
    assert!(ended.stops_a_token());
    assert!(ended.summary().contains("Your access ended at"), "{}", ended.summary());
    assert_eq!(codes(&deployment, &ended), json!(["CONTRACTOR_ENDED"]));
    assert!(sign_in(&host, Some(&claim)).stops_a_token(), "nor does it now");

    replace(&deployment, &host, "contractor-register", &register(&date(3), "00107"));
    let again = sign_in(&host, None);
    assert!(!again.stops_a_token());
    assert_eq!(codes(&deployment, &again), json!(["CONTRACTOR_ENDING_SOON"]));
    host.stop();
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn sponsor_and_training_are_those_of_the_tables_now() {
    let deployment = deployment();
    let host = deployment.serve();
    assert!(!sign_in(&host, None).stops_a_token());

    replace(&deployment, &host, "hr-roster", &roster("Terminated"));
    let orphan = sign_in(&host, None);
    assert!(orphan.stops_a_token() && orphan.summary().contains("no longer works here"));
    assert_eq!(codes(&deployment, &orphan), json!(["CONTRACTOR_SPONSOR_GONE"]));
    // Another sponsor is named, first the contractor and then somebody who is employed.
    replace(&deployment, &host, "contractor-register", &register(&date(90), "C-1"));
    let own = codes(&deployment, &sign_in(&host, None));
    assert!(own.to_string().contains("CONTRACTOR_SPONSOR_SELF"), "{own}");
    replace(&deployment, &host, "contractor-register", &register(&date(90), "00201"));
    assert!(!sign_in(&host, None).stops_a_token());

    replace(&deployment, &host, "training", &training(&["Fire safety"]));
    let untrained = sign_in(&host, None);
    assert!(untrained.stops_a_token() && untrained.summary().contains("HIPAA"));
    replace(&deployment, &host, "training", &training(&["Fire safety", "HIPAA"]));
    assert!(!sign_in(&host, None).stops_a_token());

    let without = register(&date(90), "00107").replace("Noor.Haddad@", "Somebody.Else@");
    replace(&deployment, &host, "contractor-register", &without);
    let unknown = sign_in(&host, None);
    assert!(unknown.stops_a_token());
    assert!(unknown.summary().contains("not in the register"), "{}", unknown.summary());
}

#[test]
fn a_table_that_the_settings_name_and_no_release_declares_denies() {
    let mut deployment = deployment();
    deployment.forget_tables();
    let register_alone = json!({"register": "contractor-register"});
    let only_claims = {
        let mut settings = portcullis_tests::contract();
        settings["items"]["contract"]["attribute"] = json!("contractEnd");
        Binding::new("token", "contractor", settings)
    };
    deployment.release(std::slice::from_ref(&only_claims));
    let host = deployment.serve();
    assert!(!sign_in(&host, Some(&date(90))).stops_a_token(), "settings without tables need none");

    let mut named = settings(register_alone);
    named["items"]["training"] = json!({"attribute": "trainingExpires"});
    named["sponsor"] = json!({"attribute": "sponsor"});
    let named = Binding::new("token", "contractor", named);
    deployment.release(&[named]);
    host.wait_for(release_active(4));
    let denied = sign_in(&host, Some(&date(90)));
    assert!(denied.stops_a_token());
    assert_eq!(codes(&deployment, &denied), json!(["CONTRACTOR_TABLE_MISSING"]));
    let text = denied.summary();
    assert!(text.contains("the list contractor-register is not available"), "{text}");
    host.stop();
}

#[test]
fn the_tables_of_the_plugins_page_load() {
    let deployment = TestDeployment::build(&[]);
    for name in ["contractor-register", "training", "licences", "hr-roster"] {
        let rows = checkout().join(format!("plugins/contractor/tables/{name}.csv"));
        deployment.write(&format!("{name}.toml"), declaration(name));
        deployment.write(&format!("{name}.csv"), fs::read(rows).unwrap());
        let (declared, file) = (format!("{name}.toml"), format!("{name}.csv"));
        let shown = deployment.must(&["table", "check", "--declaration", &declared, &file]);
        assert!(shown.contains(name), "{shown}");
    }
}

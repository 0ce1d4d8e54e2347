//! Reference tables: what plugins look up, where it comes from, and what happens when it is wrong,
//! old or missing.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use portcullis_tests::{Answer, Binding, Host, SignIn, TestDeployment, digest, log_event};
use serde_json::{Value, json};

/// A roster of people by employee number; people are known by their login.
const ROSTER: &str = r#"
name = "roster"
format = "csv"
max_age_seconds = 86400
no_match = "treat-as-absent"

[[columns]]
name = "number"
type = "text"

[[columns]]
name = "login"
type = "text"
required = true

[[columns]]
name = "ward"
type = "text"

[[columns]]
name = "beds"
type = "integer"

[key]
columns = ["number"]

[[match]]
subject = "login"
column = "login"
rules = { case = "ascii" }

[hold]
watch = ["ward"]
"#;

const NETWORKS: &str = r#"
name = "networks"
format = "csv"
max_age_seconds = 86400
no_match = "treat-as-absent"

[[columns]]
name = "network"
type = "ip-network"

[[columns]]
name = "zone"
type = "text"

[[columns]]
name = "owner"
type = "text"

[key]
columns = ["network"]
kind = "network"
"#;

const NETWORK_ROWS: &str =
    "network,zone,owner\n192.0.2.0/24,campus,it\n192.0.2.0/28,data centre,it\n10.0.0.0/8,ward,it\n";

/// A roster with so many people besides Noor.
fn roster(ward: &str, others: usize) -> String {
    let mut rows = format!("number,login,ward,beds\n4711,Noor.Haddad@ward.test,{ward},7\n");
    for number in 0..others {
        rows.push_str(&format!("{number},person{number}@ward.test,south,\n"));
    }
    rows
}

/// A deployment whose hook asks what its calls tell it to ask.
fn deployment(roster_declaration: &str) -> TestDeployment {
    let mut deployment = TestDeployment::build(&[]);
    std::fs::create_dir(deployment.path("release/tables")).unwrap();
    deployment.write("release/tables/roster.csv", roster("north", 99));
    deployment.write("release/tables/networks.csv", NETWORK_ROWS);
    deployment.declare_table(roster_declaration, "roster.csv", None);
    deployment.declare_table(NETWORKS, "networks.csv", None);
    deployment.release(&[asking()]);
    deployment
}

fn asking() -> Binding {
    Binding::new("token", "remembering", json!({}))
}

/// Somebody who signs in with these questions in the profile.
fn ask(host: &Host, questions: &Value) -> Answer {
    let mut sign_in = SignIn::with_groups(&[]);
    sign_in.body["data"]["context"]["user"]["profile"]["questions"] = questions.clone();
    host.sign_in(&sign_in)
}

/// The answers that the record of a call holds.
fn answers(deployment: &TestDeployment, answer: &Answer) -> Value {
    let sealed = deployment.sealed(answer.index().unwrap());
    sealed["plugins"][0]["decision"]["findings"][0]["arguments"]["answers"].clone()
}

fn version(rows: &str) -> String {
    digest(rows.as_bytes())
}

#[test]
fn a_plugin_gets_the_columns_that_it_reads_and_the_record_names_the_version() {
    let deployment = deployment(ROSTER);
    let host = deployment.serve();
    let questions = json!([
        ["lookup", "roster", "4711"],
        ["lookup", "roster", " 17 "],
        ["lookup", "roster", "4712"],
        ["lookup-subject", "roster"],
        ["lookup", "networks", "192.0.2.7"],
        ["lookup", "networks", "192.0.2.77"],
        ["lookup", "networks", "198.51.100.1"],
    ]);
    let answer = ask(&host, &questions);
    assert_eq!(answer.without_reference(), "{}", "allowed");
    let loaded = host.log();
    host.stop();

    let (rows, networks) = (version(&roster("north", 99)), version(NETWORK_ROWS));
    let noor =
        json!([{"number": "4711", "login": "Noor.Haddad@ward.test", "ward": "north", "beds": 7}]);
    let other = json!([{"number": "17", "login": "person17@ward.test", "ward": "south"}]);
    let table =
        |rows: &Value, version: &str| json!({"rows": rows, "version": version, "stale": false});
    let expected = json!([
        table(&noor, &rows),
        table(&other, &rows),
        table(&json!([]), &rows),
        {"matched": "one", "rows": noor, "stale": false},
        table(&json!([{"zone": "data centre"}]), &networks),
        table(&json!([{"zone": "campus"}]), &networks),
        table(&json!([]), &networks),
    ]);
    assert_eq!(answers(&deployment, &answer), expected);

    // The versions are in the leaf, and on record before they were used; the rows are sealed.
    let leaf = deployment.record(answer.index().unwrap());
    assert_eq!(leaf["bindings"][0]["tables"], json!({"roster": rows, "networks": networks}));
    assert!(!leaf.to_string().contains("person17"));
    let records = deployment.records_of("table.loaded");
    let named = |record: &Value| (record["table"].clone(), record["version"].clone());
    assert_eq!(
        records.iter().map(named).collect::<Vec<_>>(),
        [(json!("networks"), json!(networks)), (json!("roster"), json!(rows))]
    );
    assert!(records.iter().all(|record| record["seq"].as_u64() < answer.index()));
    let reads = deployment.sealed(answer.index().unwrap())["plugins"][0]["reads"].clone();
    assert_eq!(reads.as_array().map(Vec::len), Some(7));
    assert_eq!(reads[0], json!({"table": "roster", "key": "4711", "stale": false, "rows": noor}));
    assert_eq!(reads[3], json!({"table": "roster", "key": null, "stale": false, "rows": noor}));
    assert!(!loaded.contains("person17") && !loaded.contains("oor.Haddad"), "no person in the log");
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_new_file_is_used_and_a_wrong_one_changes_nothing() {
    let deployment = deployment(ROSTER);
    let host = deployment.serve();
    let ward = |host: &Host| {
        let answer = ask(host, &json!([["lookup-subject", "roster"]]));
        answers(&deployment, &answer)[0]["rows"][0]["ward"].clone()
    };
    assert_eq!(ward(&host), "north");
    let event = |name: &str| log_event(name).field("table", "roster");
    let moved = roster("west", 98);
    deployment.replace("release/tables/roster.csv", &moved);
    host.wait_for(event("table.loaded").field("version", version(&moved).as_str()));
    assert_eq!(ward(&host), "west");

    // A cell that is no number, by line and column; nothing of what stands there is in the log.
    let wrong = moved.replace("person17@ward.test,south,", "person17@ward.test,south,Zebulon");
    deployment.replace("release/tables/roster.csv", &wrong);
    let refused = host.wait_for(event("table.refused").field("code", "table-rows"));
    let problem = refused.text("problem");
    assert!(problem.contains("20") && problem.contains("beds"), "{problem}");
    assert_eq!(ward(&host), "west");
    std::fs::remove_file(deployment.path("release/tables/roster.csv")).unwrap();
    host.wait_for(event("table.refused").field("code", "table-unreadable"));
    assert_eq!(ward(&host), "west");

    // It is back, as it was.
    deployment.replace("release/tables/roster.csv", roster("east", 98));
    host.wait_for(event("table.loaded").field("version", version(&roster("east", 98)).as_str()));
    assert_eq!(ward(&host), "east");
    let log = host.stop();
    assert!(!log.contains("Zebulon"), "a cell is in the log");
    let refused = deployment.records_of("table.refused");
    let codes: Vec<_> = refused.iter().map(|record| record["code"].clone()).collect();
    assert_eq!(codes, ["table-rows", "table-unreadable"]);
}

#[test]
fn a_version_that_would_take_access_from_many_waits_until_a_release_set_names_it() {
    let mut deployment = deployment(ROSTER);
    let host = deployment.serve();
    let fewer = roster("north", 50);
    deployment.replace("release/tables/roster.csv", &fewer);
    let held = host.wait_for(log_event("table.held"));
    assert_eq!((held.number("lost"), held.number("changed")), (49, 0));
    let asked = json!([["lookup", "roster", "60"]]);
    let found = |deployment: &TestDeployment, answer: &Answer| {
        answers(deployment, answer)[0]["rows"].as_array().map(Vec::len)
    };
    let before = ask(&host, &asked);
    assert_eq!(found(&deployment, &before), Some(1), "the version before it stays");

    deployment.forget_tables();
    deployment.declare_table(ROSTER, "roster.csv", Some(&version(&fewer)));
    deployment.declare_table(NETWORKS, "networks.csv", None);
    deployment.release(&[asking()]);
    host.wait_for(log_event("table.loaded").field("version", version(&fewer).as_str()));
    host.wait_for(portcullis_tests::release_active(3));
    let after = ask(&host, &asked);
    assert_eq!(found(&deployment, &after), Some(0));

    // Another version than the one that the set names is not used.
    deployment.replace("release/tables/roster.csv", roster("north", 51));
    host.wait_for(log_event("table.refused").field("code", "table-version"));
    host.stop();
    let held = deployment.records_of("table.held");
    assert_eq!((held.len(), &held[0]["lost"]), (1, &json!(49)));
    let warning = deployment.sealed(held[0]["seq"].as_u64().unwrap());
    assert!(warning.to_string().contains("60"), "the sealed part lists who would lose access");
}

#[test]
fn a_rule_of_a_table_denies_with_a_text_and_a_reference() {
    let strict = ROSTER.replace("no_match = \"treat-as-absent\"", "no_match = \"deny\"");
    let deployment = deployment(&strict);
    let host = deployment.serve();
    assert!(!ask(&host, &json!([["lookup-subject", "roster"]])).stops_a_token());
    let unknown = ask(&host, &json!([["lookup", "roster", "9999"]]));
    assert!(unknown.stops_a_token());
    let text = String::from_utf8_lossy(&unknown.body).into_owned();
    assert!(text.contains("the hospital's records lack an entry"), "{text}");
    let record = deployment.record(unknown.index().unwrap());
    assert_eq!(record["bindings"][0]["codes"], json!(["ANSWER", "TABLE_NO_MATCH"]));

    // Also where the plugin fails without the rows.
    let failed = ask(&host, &json!([["lookup", "roster", "9999"], ["nonsense"]]));
    assert!(failed.stops_a_token());
    let record = deployment.record(failed.index().unwrap());
    assert_eq!(record["decision"]["verdict"], "deny");
    assert_eq!(record["bindings"][0]["codes"], json!(["TABLE_NO_MATCH"]));

    // Also where it is not done in time.
    let late = ask(&host, &json!([["lookup", "roster", "9999"], ["loop"]]));
    assert!(late.stops_a_token());
    let record = deployment.record(late.index().unwrap());
    assert_eq!(record["decision"]["verdict"], "deny");
    assert_eq!(record["bindings"][0]["codes"], json!(["TABLE_NO_MATCH"]), "{record}");
    assert!(record["bindings"][0]["fault"].is_string(), "{record}");

    // Without its file a table has the version that was used last; without that, none.
    host.stop();
    std::fs::remove_file(deployment.path("release/tables/roster.csv")).unwrap();
    let host = deployment.serve();
    assert!(!ask(&host, &json!([["lookup", "roster", "4711"]])).stops_a_token());
    host.wait_for(log_event("table.refused").field("code", "table-unreadable"));
    host.stop();
    std::fs::remove_dir_all(deployment.path("trust-state/tables")).unwrap();
    let host = deployment.serve();
    let answer = ask(&host, &json!([["lookup", "roster", "4711"]]));
    assert!(answer.stops_a_token());
    assert!(String::from_utf8_lossy(&answer.body).contains("out of date"));
    assert!(
        !ask(&host, &json!([["lookup", "networks", "10.0.0.1"]])).stops_a_token(),
        "the other is there"
    );
    host.stop();
    let record = deployment.record(answer.index().unwrap());
    assert_eq!(record["bindings"][0]["codes"], json!(["ANSWER", "TABLE_NOT_LOADED"]));
}

#[test]
fn the_age_of_a_table_is_that_of_its_data() {
    let deployment = deployment(ROSTER);
    let file = deployment.path("release/tables/roster.csv");
    let set_time = |at: SystemTime| {
        std::fs::File::options().append(true).open(&file).unwrap().set_modified(at).unwrap();
    };
    let time_of =
        |name: &str| std::fs::metadata(deployment.path(name)).unwrap().modified().unwrap();
    let two_days_ago = time_of("release/tables/roster.csv") - Duration::from_secs(172_800);
    set_time(two_days_ago);
    let host = deployment.serve();
    let stale = |host: &Host| {
        let answer = ask(host, &json!([["lookup", "roster", "4711"]]));
        let record = deployment.record(answer.index().unwrap());
        record["bindings"][0]["codes"] == json!(["ANSWER", "TABLE_STALE"])
    };
    assert!(stale(&host));

    // The host's copy is as old as its data, also after a restart without the file.
    let copied = time_of("trust-state/tables/roster").duration_since(two_days_ago);
    assert!(copied.unwrap_or_default() < Duration::from_secs(1), "the copy keeps the data's time");
    host.stop();
    std::fs::remove_file(&file).unwrap();
    let host = deployment.serve();
    assert!(stale(&host));

    // Exported again.
    let exported = roster("east", 99);
    deployment.replace("release/tables/roster.csv", &exported);
    host.wait_for(log_event("table.loaded").field("version", version(&exported).as_str()));
    assert!(!stale(&host));
    host.stop();
    let age = SystemTime::now().duration_since(time_of("trust-state/tables/roster")).unwrap();
    assert!(age < Duration::from_secs(86_400), "the copy is as new as the export");
}

#[test]
fn a_copy_of_a_table_that_no_release_declares_is_removed() {
    let mut deployment = deployment(ROSTER);
    let host = deployment.serve();
    let folder = deployment.path("trust-state/tables");
    let copies = || {
        let entries = std::fs::read_dir(&folder).unwrap();
        entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(copies(), BTreeSet::from(["networks".to_owned(), "roster".to_owned()]));
    deployment.forget_tables();
    deployment.declare_table(ROSTER, "roster.csv", None);
    deployment.release(&[]);
    host.wait_for(portcullis_tests::release_active(3));
    assert_eq!(copies(), BTreeSet::from(["roster".to_owned()]));
}

#[test]
fn a_set_whose_tables_do_not_fit_is_not_signed_and_every_problem_is_named() {
    let mut deployment = deployment(ROSTER);
    deployment.must(&["check", "--config", "portcullis.toml"]);
    let mut refused = |tables: &[(&str, &str)]| {
        deployment.forget_tables();
        for (declaration, file) in tables {
            deployment.declare_table(declaration, file, None);
        }
        deployment.refused_release(&[asking()]).err
    };
    let prose = ROSTER.replace("\"text\"", "\"prose\"");
    let said =
        refused(&[(&prose, "roster.csv"), (&NETWORKS.replace("[key]", "[lock]"), "networks.csv")]);
    assert!(said.contains("the table `roster`") && said.contains("prose"), "{said}");
    assert!(said.contains("the table `networks`") && said.contains("lock"), "{said}");
    let said = refused(&[(ROSTER, "roster.csv")]);
    assert!(said.contains("reads the table `networks`, which the set does not declare"), "{said}");
    let said = refused(&[
        (ROSTER, "roster.csv"),
        (&NETWORKS.replace("\"zone\"", "\"area\""), "networks.csv"),
    ]);
    assert!(said.contains("reads the column `zone`, which the table `networks`"), "{said}");
    let crosswalk = ROSTER.replace(
        "column = \"login\"\nrules",
        "column = \"login\"\ncrosswalk = { table = \"ids\", column = \"number\" }\nrules",
    );
    let said = refused(&[(&crosswalk, "roster.csv"), (NETWORKS, "networks.csv")]);
    assert!(said.contains("the crosswalk of the rule for `login`"), "{said}");
    let said = refused(&[(&prose, "roster.csv")]);
    assert!(said.contains("the table `roster`") && !said.contains("binding of"), "{said}");
    let said = refused(&[(ROSTER, "../roster.csv"), (NETWORKS, "networks.csv")]);
    assert!(said.contains("is not the plain name of a file"), "{said}");
}

#[test]
fn a_release_may_leave_an_optional_table_out() {
    let mut deployment = deployment(ROSTER);
    deployment.sign_plugin("remembering", |source| {
        source.replace("\n[emits]", "optional = [\"tables.networks.*\"]\n\n[emits]")
    });
    deployment.forget_tables();
    deployment.declare_table(ROSTER, "roster.csv", None);
    deployment.release(&[asking()]);
    let host = deployment.serve();
    let asked = json!([["lookup", "networks", "192.0.2.7"], ["lookup-subject", "networks"]]);
    let left_out = ask(&host, &asked);
    assert_eq!(left_out.without_reference(), "{}", "the table's rules deny nothing");
    assert_eq!(
        answers(&deployment, &left_out),
        json!([
            {"rows": [], "version": "", "stale": false},
            {"matched": "none", "rows": [], "stale": false},
        ])
    );
    let leaf = deployment.record(left_out.index().unwrap());
    assert_eq!(leaf["bindings"][0]["tables"], json!({"networks": ""}));

    // Declared without the column that the manifest reads.
    deployment.declare_table(
        &NETWORKS.replace("\"zone\"", "\"area\"\nsource = \"zone\""),
        "networks.csv",
        None,
    );
    deployment.release(&[asking()]);
    host.wait_for(portcullis_tests::release_active(4));
    let without = ask(&host, &asked);
    let found = json!({"rows": [{}], "version": version(NETWORK_ROWS), "stale": false});
    assert_eq!(answers(&deployment, &without)[0], found);

    // Declared and not usable, its rules hold.
    std::fs::remove_file(deployment.path("release/tables/networks.csv")).unwrap();
    host.stop();
    std::fs::remove_dir_all(deployment.path("trust-state/tables")).unwrap();
    let host = deployment.serve();
    let denied = ask(&host, &asked);
    assert!(denied.stops_a_token());
    let record = deployment.record(denied.index().unwrap());
    assert_eq!(record["bindings"][0]["codes"], json!(["ANSWER", "TABLE_NOT_LOADED"]));
}

#[test]
fn an_export_is_tried_before_a_host_uses_it() {
    let deployment = TestDeployment::build(&[]);
    deployment.write("roster.toml", ROSTER);
    deployment.write("old.csv", roster("north", 99));
    deployment.write("new.csv", roster("north", 97));
    let check = ["table", "check", "--declaration", "roster.toml"];
    let shown = deployment.must(&[&check[..], &["--previous", "old.csv", "new.csv"]].concat());
    assert!(shown.contains(&version(&roster("north", 97))), "{shown}");
    assert!(shown.contains("loses 2 and changes 0 of 100 rows"), "{shown}");
    assert!(shown.contains("- 97 loses its rows") && shown.contains("- 98 loses"), "{shown}");

    deployment.write("half.csv", roster("north", 50));
    let held = deployment.run(&[&check[..], &["--previous", "old.csv", "half.csv"]].concat());
    assert_eq!(held.code, 1);
    assert!(held.err.contains("wait for a confirmation"), "{held:?}");
    assert!(held.err.contains(&version(&roster("north", 50))), "{held:?}");

    // Every problem at once, without what stands in the cells.
    let wrong = roster("north", 9).replace("south,\n", "south,Zebulon\n");
    deployment.write("wrong.csv", wrong);
    let refused = deployment.run(&[&check[..], &["wrong.csv"]].concat());
    assert_eq!(refused.code, 1);
    assert!(refused.err.matches("column `beds`").count() == 9, "{refused:?}");
    assert!(!refused.err.contains("Zebulon"), "{refused:?}");
    deployment
        .write("broken.toml", ROSTER.replace("columns = [\"number\"]", "columns = [\"badge\"]"));
    let broken = ["table", "check", "--declaration", "broken.toml", "new.csv"];
    let refused = deployment.run(&broken);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("badge"), "{refused:?}");
    assert_eq!(deployment.run(&[&check[..], &["missing.csv"]].concat()).code, 64);
}

#[test]
fn the_share_of_people_whom_a_table_knows_is_counted_before_anything_is_enforced() {
    let deployment = TestDeployment::build(&[]);
    deployment.write("roster.toml", ROSTER);
    let twice = roster("north", 9) + "900,PERSON1@ward.test,west,\n";
    deployment.write("roster.csv", twice);
    deployment.write(
        "people.csv",
        "\u{feff}id,login\n1,noor.haddad@ward.test\n2,person1@ward.test\n3,person2@ward.test\n\
         4,nobody@ward.test\n5,\n",
    );
    let matched = ["table", "match", "--declaration", "roster.toml", "--export"];
    let shown = deployment.must(
        &[&matched[..], &["people.csv", "--format", "json", "--names", "roster.csv"]].concat(),
    );
    let report: Value = serde_json::from_str(&shown).unwrap();
    let expected = json!({
        "people": 5, "one": 2, "none": 2, "several": 1, "denied": 0, "by_rule": [["login", 3]],
        "contradicted": 0, "unused_keys": 9,
        "examples": ["person1@ward.test", "nobody@ward.test", "(no field of the rules)"],
    });
    assert_eq!(report, expected);
    let plain = deployment.must(&[&matched[..], &["people.csv", "roster.csv"]].concat());
    assert!(plain.contains("40.0 %") && !plain.contains("nobody@"), "{plain}");

    deployment.write("people.jsonl", "{\"login\": \"person2@ward.test\"}\n\n{\"login\": 7}\n");
    let lines = deployment
        .must(&[&matched[..], &["people.jsonl", "--format", "json", "roster.csv"]].concat());
    let report: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!((&report["one"], &report["none"]), (&json!(1), &json!(1)));
    deployment.write("people.jsonl", "{}\nnone\n");
    let refused = deployment.run(&[&matched[..], &["people.jsonl", "roster.csv"]].concat());
    assert!(refused.code == 1 && refused.err.contains("line 2 is no JSON object"), "{refused:?}");
}

#[test]
fn a_hold_outlives_a_restart_and_a_version_that_a_set_does_not_allow_is_not_used() {
    let mut deployment = deployment(ROSTER);
    deployment.serve().stop();
    // While the host is down, half of the people are gone from the export.
    deployment.replace("release/tables/roster.csv", roster("north", 50));
    let host = deployment.serve();
    host.wait_for(log_event("table.held"));
    let asked = json!([["lookup", "roster", "60"]]);
    let found =
        |host: &Host| answers(&deployment, &ask(host, &asked))[0]["rows"].as_array().map(Vec::len);
    assert_eq!(found(&host), Some(1), "the version that was used before the restart");
    host.stop();
    let host = deployment.serve();
    assert_eq!(found(&host), Some(1));
    host.stop();

    // A poisoned file passes; a set that names the good version takes it out of use at once.
    let good = roster("north", 99);
    let poisoned =
        good.replace("4711,Noor.Haddad@ward.test,north", "4711,Noor.Haddad@ward.test,vault");
    deployment.replace("release/tables/roster.csv", &poisoned);
    let host = deployment.serve();
    host.wait_for(log_event("table.loaded").field("version", version(&poisoned).as_str()));
    deployment.forget_tables();
    deployment.declare_table(ROSTER, "roster.csv", Some(&version(&good)));
    deployment.declare_table(NETWORKS, "networks.csv", None);
    deployment.release(&[asking()]);
    host.wait_for(portcullis_tests::release_active(3));
    let answer = ask(&host, &json!([["lookup", "roster", "4711"]]));
    assert!(answer.stops_a_token(), "no version is allowed");
    deployment.replace("release/tables/roster.csv", &good);
    // The first time was at the start, from the host's copy.
    host.wait_for_times(log_event("table.loaded").field("version", version(&good).as_str()), 2);
    assert!(!ask(&host, &json!([["lookup", "roster", "4711"]])).stops_a_token());
}

#[test]
fn rows_of_another_declaration_or_beyond_the_limit_are_not_used() {
    let mut deployment = deployment(ROSTER);
    let host = deployment.serve();
    let asked = json!([["lookup", "roster", "4711"]]);
    assert!(!ask(&host, &asked).stops_a_token());
    // A column that the export does not have: the rows without it are not taken for rows with it.
    let revoked = "[key]\ncolumns = [\"number\"]";
    let with_revoked = format!("[[columns]]\nname = \"revoked\"\ntype = \"boolean\"\n\n{revoked}");
    deployment.forget_tables();
    deployment.declare_table(&ROSTER.replace(revoked, &with_revoked), "roster.csv", None);
    deployment.declare_table(NETWORKS, "networks.csv", None);
    deployment.release(&[asking()]);
    host.wait_for(portcullis_tests::release_active(3));
    let answer = ask(&host, &asked);
    assert!(answer.stops_a_token());
    let record = deployment.record(answer.index().unwrap());
    assert_eq!(record["bindings"][0]["codes"], json!(["ANSWER", "TABLE_NOT_LOADED"]));

    // Long cells are the table's fault: the call is denied, and the plugin is not quarantined.
    deployment.forget_tables();
    let long = ROSTER.replace("no_match = \"treat-as-absent\"", "several_matches = \"use-all\"");
    deployment.declare_table(&long, "roster.csv", None);
    deployment.declare_table(NETWORKS, "networks.csv", None);
    let row = format!("5,many@ward.test,{},1\n", "w".repeat(4_000));
    let long = roster("north", 99) + &row.repeat(20);
    deployment.replace("release/tables/roster.csv", &long);
    deployment.release(&[asking()]);
    host.wait_for(portcullis_tests::release_active(4));
    host.wait_for(log_event("table.loaded").field("version", version(&long).as_str()));
    for _ in 0..12 {
        let answer = ask(&host, &json!([["lookup", "roster", "5"]]));
        assert!(answer.stops_a_token());
        let record = deployment.record(answer.index().unwrap());
        let sealed = deployment.sealed(answer.index().unwrap());
        assert_eq!(
            record["bindings"][0]["codes"],
            json!(["ANSWER", "TABLE_TOO_LARGE"]),
            "{sealed}"
        );
    }
    assert!(!ask(&host, &asked).stops_a_token());
}

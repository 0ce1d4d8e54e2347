//! `portcullis sod`: a spreadsheet matrix becomes rules, rules are held against each other, and an
//! export is held against them before anything is enforced.

use portcullis_tests::{Ran, TestDeployment, checkout, golden};
use serde_json::{Value, json};

/// A deployment with the example matrix, as a spreadsheet and as CSV.
fn deployment() -> TestDeployment {
    let deployment = TestDeployment::build(&[]);
    for file in ["matrix.csv", "matrix.xlsx"] {
        let bytes = std::fs::read(checkout().join("plugins/sod/examples").join(file)).unwrap();
        deployment.write(file, bytes);
    }
    deployment
}

/// The same, with the matrix imported as settings.
fn imported() -> TestDeployment {
    let deployment = deployment();
    deployment.must(&["sod", "import", "--owner", "CISO", "--output", "sod.json", "matrix.csv"]);
    deployment
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The exit code, and the output as a program reads it.
fn ended(ran: &Ran, code: i32) -> Value {
    assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    json_of(&ran.out)
}

#[test]
fn a_matrix_becomes_settings_or_a_table_the_same_from_csv_and_xlsx() {
    let deployment = deployment();
    let import = ["sod", "import", "--owner", "Chief Pharmacist"];
    let settings = deployment.must(&[&import[..], &["matrix.csv"]].concat());
    golden("sod-import.json", &settings);
    let workbook = ["--sheet", "Matrix", "matrix.xlsx"];
    assert_eq!(deployment.must(&[&import[..], &workbook].concat()), settings);
    let table = deployment.must(&[&import[..], &["--to", "table", "matrix.csv"]].concat());
    golden("sod-import.csv", &table);

    let written = deployment.must(&[&import[..], &["--output", "x.json", "matrix.csv"]].concat());
    assert_eq!(written, "3 rules about 6 entitlements in `x.json`\n");
    assert_eq!(deployment.read("x.json"), settings);
    let check = ["sod", "check", "--settings", "x.json"];
    assert_eq!(deployment.must(&check), "3 rules, 0 findings\n");
    deployment.write("sod-matrix.csv", &table);
    let check = ["sod", "check", "--matrix", "sod-matrix.csv"];
    assert_eq!(deployment.must(&check), "3 rules, 0 findings\n");
    // The table keeps to the declaration that the documentation gives for it.
    let declaration = checkout().join("host/store/examples-data/sod-matrix.toml");
    let declaration = declaration.to_str().unwrap();
    deployment.must(&["table", "check", "--declaration", declaration, "sod-matrix.csv"]);
}

#[test]
fn everything_that_is_wrong_with_a_matrix_is_named_by_its_place() {
    let deployment = deployment();
    let import = ["sod", "import", "--owner", "CISO", "--output", "x.json"];
    let wrong =
        "SoD;A;B;A;;D\nA;x;no;;x;maybe\nB;critical;;;;high low\n;x;;;;\nA;;;;;\nD;high;;;;\n";
    deployment.write("wrong.csv", wrong);
    let ran = deployment.run(&[&import[..], &["wrong.csv"]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    golden("sod-import-problems.txt", &ran.err);
    let notes = deployment.run(&[&import[..], &["matrix.xlsx"]].concat());
    assert_eq!(notes.code, 1);
    assert!(notes.err.contains("it has no matrix"), "{}", notes.err);
    let none = deployment.run(&[&import[..], &["--sheet", "None", "matrix.xlsx"]].concat());
    assert_eq!(none.code, 1);
    assert!(none.err.contains("the file has no sheet `None`"), "{}", none.err);
    let kinded = "SoD,group:A,B\ngroup:A,,x\nB,,\n";
    deployment.write("kinded.csv", kinded);
    let table = [&import[..], &["--to", "table", "kinded.csv"]].concat();
    let ran = deployment.run(&table);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("`group:A`: a table knows entitlements by their ids"), "{}", ran.err);
    assert!(!deployment.path("x.json").exists(), "nothing was written");
}

/// Settings with one of everything that is found.
fn faulty() -> Value {
    let pair = |id: &str, a: &str, b: &str| json!({"id": id, "kind": "pair", "a": a, "b": b, "owner": "the CISO"});
    let mut milder = pair("MILDER", "pay", "vendor");
    milder["action"] = json!("allow");
    json!({
        "functions": {
            "vendor": ["erp:vendor", "erp:all"], "pay": ["erp:pay", "erp:all"],
            "audit": ["erp:audit"], "close": ["erp:close"], "idle": ["erp:idel"],
        },
        "roles": {"Clerk": ["erp:vendor", "Reader"], "Chief": ["Clerk", "erp:audit"]},
        "rules": [
            pair("FIRST", "vendor", "pay"), milder, pair("AGAIN", "vendor", "pay"),
            pair("AUDITED", "vendor", "audit"),
            {"id": "THREE", "kind": "cardinality", "set": ["vendor", "pay", "close"], "at_least": 3,
             "owner": "CISO"},
        ],
    })
}

#[test]
fn rules_are_held_against_each_other_and_against_a_catalogue() {
    let deployment = deployment();
    deployment.write("sod.json", faulty().to_string());
    let catalogue = "entitlement\nerp:vendor\nerp:all\nerp:pay\nerp:audit\nerp:close\nerp:idle\n";
    deployment.write("catalogue.csv", catalogue);
    let check = ["sod", "check", "--settings", "sod.json", "--catalogue", "catalogue.csv"];
    let ran = deployment.run(&check);
    assert_eq!(ran.code, 1, "{}", ran.err);
    golden("sod-check.txt", &ran.out);
    let found = ended(&deployment.run(&[&check[..], &["--format", "json"]].concat()), 1);
    assert_eq!(found["rules"], 5);
    let kinds: Vec<_> =
        found["findings"].as_array().unwrap().iter().map(|it| it["kind"].clone()).collect();
    let sorted = {
        let mut sorted: Vec<_> = kinds.iter().map(|kind| kind.as_str().unwrap()).collect();
        sorted.sort_unstable();
        sorted
    };
    let expected = [
        "contradiction",
        "contradiction",
        "contradiction",
        "duplicate",
        "shadowed",
        "unknown",
        "unknown",
        "unused",
    ];
    assert_eq!(sorted, expected);

    // The plugin's own problems are findings too, together with the others.
    let mut invalid = faulty();
    invalid["rules"][3]["b"] = json!("nothing");
    invalid["rules"][4]["owner"] = Value::Null;
    deployment.write("sod.json", invalid.to_string());
    let ran = deployment.run(&["sod", "check", "--settings", "sod.json"]);
    assert_eq!(ran.code, 1);
    for expected in [
        "invalid       rules[3].b: names no function: `nothing`",
        "invalid       rules[4].owner: is missing",
        "duplicate     rules[2]: ",
    ] {
        assert!(ran.out.contains(expected), "{expected}: {}", ran.out);
    }
}

#[test]
fn a_table_of_pairs_is_checked_by_line_and_column() {
    let deployment = deployment();
    let header = "entitlement,conflicts_with,rule,severity,action,owner\n";
    let wrong = "group:A,B,R1,dire,refuse,o\n,B,R2,,,o\nC,C,R3,,,o\n";
    deployment.write("matrix.csv", format!("{header}{wrong}"));
    let check = ["sod", "check", "--matrix", "matrix.csv"];
    let ran = deployment.run(&check);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    golden("sod-check-table.txt", &ran.err);

    // Both directions of a pair, and a role that nobody can hold.
    let rows = "A,B,R1,,,o\nB,A,R2,,review,o\nB,C,R1,,,p\n";
    deployment.write("matrix.csv", format!("{header}{rows}"));
    deployment.write("roles.csv", "role,contains\nTop,Middle\nTop,A\nMiddle,B\nMiddle,Top\n");
    let check = [&check[..], &["--roles", "roles.csv", "--format", "json"]].concat();
    let found = ended(&deployment.run(&check), 1);
    let sentences: Vec<_> = found["findings"].as_array().unwrap().iter().collect();
    assert_eq!(sentences.len(), 4, "{found}");
    let all = found.to_string();
    for expected in [
        "`R2` forbids the same as `R1` (line 2, column 1), with `review` instead of `deny`",
        "the rule `R1` has another owner above",
        r#""place":"role `Middle`","sentence":"the role alone breaks `R1`, `R2`""#,
        r#""place":"role `Top`""#,
    ] {
        assert!(all.contains(expected), "{expected}: {all}");
    }
    deployment.write("matrix.csv", "entitlement,owner,owner\nA,o,o\n");
    let ran = deployment.run(&["sod", "check", "--matrix", "matrix.csv"]);
    assert!(ran.err.contains("names no column `conflicts_with`"), "{}", ran.err);
    assert!(ran.err.contains("two columns are called `owner`"), "{}", ran.err);
}

/// The same four people: who prescribes and dispenses, who pays vendors, and two others.
const PEOPLE: &str = "login,id,group,facility\n\
    noor@ward.test,u1,Prescribers,north\n\
    noor@ward.test,u1,Dispensers,north\n\
    finn@erp.test,u2,erp:vendor-maintain,south\n\
    finn@erp.test,u2,erp:payment-run,south\n\
    ida@ward.test,u3,Prescribers,north\n\
    olga@ward.test,u4,Ward Reader,\n";

fn okta() -> String {
    let users = [
        json!({"id": "u1", "profile": {"login": "noor@ward.test", "facility": "north"},
               "groups": ["Prescribers", {"id": "g2", "profile": {"name": "Dispensers"}}]}),
        json!({"id": "u2", "profile": {"login": "finn@erp.test"},
               "_embedded": {"groups": [{"profile": {"name": "erp:vendor-maintain"}}]}}),
        json!({"id": "g3", "profile": {"name": "erp:payment-run"},
               "users": [{"id": "u2", "profile": {"login": "finn@erp.test"}}]}),
        json!({"id": "u3", "profile": {"login": "ida@ward.test"}, "groups": ["Prescribers"]}),
        json!({"id": "u4", "profile": {"login": "olga@ward.test"}, "groups": ["Ward Reader"]}),
    ];
    users.map(|user| user.to_string() + "\n").concat()
}

fn entra() -> String {
    let user = |id: &str, name: &str| json!({"id": id, "userPrincipalName": name});
    let group = |name: &str, members: Value| json!({"displayName": name, "members": members});
    let (noor, finn) = (user("u1", "noor@ward.test"), user("u2", "finn@erp.test"));
    let ida = user("u3", "ida@ward.test");
    let mut olga = user("u4", "olga@ward.test");
    olga["memberOf"] =
        json!([{"@odata.type": "#microsoft.graph.group", "displayName": "Ward Reader"}]);
    json!({"value": [
        group("Prescribers", json!([noor, ida, {"id": "d1", "displayName": "a device"}])),
        group("Dispensers", json!([noor])),
        group("erp:vendor-maintain", json!([finn])),
        group("erp:payment-run", json!([finn])),
        olga,
    ]})
    .to_string()
}

#[test]
fn present_violators_are_listed_from_each_platforms_export() {
    let deployment = imported();
    deployment.write("people.csv", PEOPLE);
    deployment.write("okta.jsonl", okta());
    deployment.write("entra.json", entra());
    let list = ["sod", "violators", "--settings", "sod.json", "--export"];
    let ran = deployment.run(&[&list[..], &["people.csv"]].concat());
    assert_eq!(ran.code, 5, "{}", ran.err);
    golden("sod-violators.txt", &ran.out);
    for (from, file) in [("okta", "okta.jsonl"), ("entra", "entra.json")] {
        let same = deployment.run(&[&list[..], &[file, "--from", from]].concat());
        assert_eq!((same.code, same.out.as_str()), (5, ran.out.as_str()), "{from}: {}", same.err);
    }
    let json = deployment.run(&[&list[..], &["people.csv", "--format", "json"]].concat());
    let found = ended(&json, 5);
    golden("sod-violators.json", &(serde_json::to_string_pretty(&found).unwrap() + "\n"));

    // By the matrix as a table the same people are found.
    let import = ["sod", "import", "--owner", "CISO", "--to", "table", "--output", "m.csv"];
    deployment.must(&[&import[..], &["matrix.csv"]].concat());
    let by_table = ["sod", "violators", "--matrix", "m.csv", "--export", "people.csv"];
    let same = deployment.run(&by_table);
    assert_eq!((same.code, same.out.as_str()), (5, ran.out.as_str()), "{}", same.err);
    // Through a role of a table, too.
    deployment.write(
        "roles.csv",
        "role,contains\nWard Reader,Helper\nHelper,Prescribers\nHelper,Dispensers\n",
    );
    let with_roles = [&by_table[..], &["--roles", "roles.csv", "--format", "json"]].concat();
    assert_eq!(ended(&deployment.run(&with_roles), 5)["violators"], 3);

    // Nobody is found among those who break nothing.
    deployment.write("people.csv", "login,group\nida@ward.test,Prescribers\n");
    let none = deployment.must(&[&list[..], &["people.csv"]].concat());
    assert_eq!(none, "0 of 1 people break 0 rules (0 excepted, 0 of expired rules)\n");
}

#[test]
fn an_exception_takes_somebody_off_the_list_only_while_it_is_valid() {
    let deployment = imported();
    deployment.write("people.csv", PEOPLE);
    let violators = |rows: &str| {
        let header = "person,rule,from,until,approver,control\n";
        deployment.write("exceptions.csv", format!("{header}{rows}"));
        let list = ["sod", "violators", "--settings", "sod.json", "--export", "people.csv"];
        let more = ["--exceptions", "exceptions.csv", "--format", "json"];
        ended(&deployment.run(&[&list[..], &more].concat()), 5)
    };
    let rule = "Dispensers / Prescribers";
    let valid = violators(&format!("u1,{rule},,2099-12-31,boss,look\n"));
    assert_eq!(valid["violators"], 1, "{valid}");
    let excepted = |it: &&Value| it["outcome"] == "excepted";
    assert_eq!(valid["violations"].as_array().unwrap().iter().filter(excepted).count(), 1);
    for invalid in [
        "u1,R,,2020-12-31,boss,look",
        "u1,R,2099-01-01,2099-12-31,boss,look",
        "u1,R,,2099-12-31,NOOR@ward.test,look",
        "u1,R,,2099-12-31,,look",
        "u1,R,,2099-12-31,boss,",
        "u1,R,,,boss,look",
        "u3,R,,2099-12-31,boss,look",
    ] {
        let found = violators(&(invalid.replacen("R", rule, 1) + "\n"));
        assert_eq!(found["violators"], 2, "{invalid}: {found}");
    }
}

#[test]
fn exports_that_are_not_whole_are_refused() {
    let deployment = imported();
    let list = |from: &str, text: &str| {
        deployment.write("export", text);
        let list = ["sod", "violators", "--settings", "sod.json", "--export", "export"];
        let ran = deployment.run(&[&list[..], &["--from", from]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{from} {text}: {}", ran.err);
        ran.err
    };
    let next = r#"{"value": [], "@odata.nextLink": "https://graph.microsoft.com/x"}"#;
    assert!(list("entra", next).contains("export all pages"));
    let wrong =
        list("okta", "{\"id\": \"u1\"}\n{\"profile\": {\"login\": \"a\"}, \"groups\": [{}]}\n{");
    for expected in ["object 1 is neither", "object 2 holds something without a name", "no JSON"] {
        assert!(wrong.contains(expected), "{expected}: {wrong}");
    }
    let columns = list("csv", "name,rights\nnoor,Prescribers\n");
    assert!(columns.contains("--person-column") && columns.contains("--entitlement-column"));
    let people = list("csv", "login,id,group\n,u1,A\nnoor,u1,A\nnoor,u2,B\n");
    assert!(people.contains("line 2, column 1: no person"), "{people}");
    assert!(people.contains("line 4, column 2: the same person has another id"), "{people}");

    // A cell with several entitlements, and other columns.
    deployment.write("export", "name,rights\nnoor,Prescribers | Dispensers\n");
    let list = ["sod", "violators", "--settings", "sod.json", "--export", "export"];
    let named = ["--person-column", "name", "--entitlement-column", "rights", "--separator", "|"];
    assert_eq!(deployment.run(&[&list[..], &named].concat()).code, 5);
}

#[test]
fn what_no_rule_is_about_is_listed_with_its_holders() {
    let deployment = imported();
    deployment.write("people.csv", PEOPLE);
    let sensitive = "entitlement\nPrescribers\nDispensers\nepcs:order\nerp:payment-run\n";
    deployment.write("sensitive.csv", sensitive);
    let list = ["sod", "uncovered", "--settings", "sod.json", "--export", "people.csv"];
    let ran = deployment.run(&[&list[..], &["--sensitive", "sensitive.csv"]].concat());
    assert_eq!(ran.code, 5, "{}", ran.err);
    golden("sod-uncovered.txt", &ran.out);
    let found = ended(&deployment.run(&[&list[..], &["--format", "json"]].concat()), 5);
    assert_eq!(
        found,
        json!({"entitlements": [{"entitlement": "Ward Reader", "holders": 1}], "pairs": []})
    );
    let import = ["sod", "import", "--owner", "CISO", "--to", "table", "--output", "m.csv"];
    deployment.must(&[&import[..], &["matrix.csv"]].concat());
    let by_table = ["sod", "uncovered", "--matrix", "m.csv", "--export", "people.csv"];
    let same = deployment.run(&[&by_table[..], &["--sensitive", "sensitive.csv"]].concat());
    assert_eq!((same.code, same.out.as_str()), (5, ran.out.as_str()), "{}", same.err);
    deployment.write("people.csv", "login,group\nnoor,Prescribers\n");
    assert_eq!(
        deployment.must(&list),
        "0 of 1 entitlement in no rule; 0 pairs of sensitive entitlements not forbidden\n"
    );
}

#[test]
fn wrong_usage_is_2_and_what_cannot_be_read_is_64() {
    let deployment = imported();
    let code = |arguments: &[&str]| deployment.run(arguments).code;
    assert_eq!(code(&["sod", "check"]), 2, "neither settings nor matrix");
    assert_eq!(code(&["sod", "import", "matrix.csv"]), 2, "no owner");
    assert_eq!(code(&["sod", "check", "--settings", "none.json"]), 64);
    let list = ["sod", "violators", "--export", "none.csv", "--settings"];
    assert_eq!(code(&[&list[..], &["sod.json"]].concat()), 64);
    let looks_up = json!({"tables": {"matrix": "sod-matrix", "roles": "role-hierarchy"}});
    deployment.write("looks-up.json", looks_up.to_string());
    let ran = deployment.run(&[&list[..], &["looks-up.json"]].concat());
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("`sod-matrix`: give its file with `--matrix`"), "{}", ran.err);
}

//! Where versions of reference tables come from, and who answers for them: signatures of the role
//! `data`, downloads, and what is pushed.

use std::time::Duration;

use portcullis_tests::{
    Answer, Binding, Host, MovedClock, SignIn, TestDeployment, digest, log_event,
};
use serde_json::{Value, json};

/// A roster of people by employee number.
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

[key]
columns = ["network"]
kind = "network"
"#;

/// A roster in which 4711 works in this ward.
fn roster(ward: &str) -> String {
    let mut rows = format!("number,login,ward,beds\n4711,Noor.Haddad@ward.test,{ward},7\n");
    for number in 0..99 {
        rows.push_str(&format!("{number},person{number}@ward.test,south,\n"));
    }
    rows
}

fn version(rows: &str) -> String {
    digest(rows.as_bytes())
}

/// The declaration of the roster with this line more.
fn declared(line: &str) -> String {
    ROSTER.replace("no_match", &format!("{line}\nno_match"))
}

/// A deployment with a folder of tables, whose trust root has the role `data` with one key.
fn deployment() -> TestDeployment {
    let deployment = TestDeployment::build(&[]);
    for role in ["data", "data-2", "mallory"] {
        deployment.generate(role);
    }
    sign_root_with(&deployment, "data");
    std::fs::create_dir(deployment.path("release/tables")).unwrap();
    deployment.write("release/tables/networks.csv", "network,zone\n10.0.0.0/8,ward\n");
    deployment
}

fn data_role(deployment: &TestDeployment, key: &str) -> String {
    let vkey = deployment.read(&format!("keys/{key}.vkey"));
    format!("[data]\nkeys = [\"{}\"]\nthreshold = 1\n", vkey.trim())
}

fn sign_root_with(deployment: &TestDeployment, key: &str) {
    deployment.sign_root(|source| source + "\n" + &data_role(deployment, key));
}

/// Releases the roster by this declaration.
fn release(deployment: &mut TestDeployment, declaration: &str) {
    deployment.forget_tables();
    deployment.declare_table(declaration, "roster.csv", None);
    deployment.declare_table(NETWORKS, "networks.csv", None);
    deployment.release(&[asking()]);
}

fn asking() -> Binding {
    Binding::new("token", "remembering", json!({}))
}

/// Asks for the row of 4711.
fn ask(host: &Host) -> Answer {
    let mut sign_in = SignIn::with_groups(&[]);
    sign_in.body["data"]["context"]["user"]["profile"]["questions"] =
        json!([["lookup", "roster", "4711"]]);
    host.sign_in(&sign_in)
}

/// The ward of 4711 that a call sees.
fn ward(deployment: &TestDeployment, host: &Host) -> Value {
    let sealed = deployment.sealed(ask(host).index().unwrap());
    let answers = &sealed["plugins"][0]["decision"]["findings"][0]["arguments"]["answers"];
    answers[0]["rows"][0]["ward"].clone()
}

/// Signs a file of the folder, by this clock where one is given.
fn sign(deployment: &TestDeployment, file: &str, key: &str, clock: Option<&MovedClock>) {
    let key = format!("keys/{key}.key");
    let roots = deployment.roots();
    let mut arguments =
        vec!["table", "sign", "--declaration", "release/roster.csv.toml", "--key", &key];
    arguments.extend(roots.iter().map(String::as_str));
    arguments.push(file);
    let ran = match clock {
        Some(clock) => deployment.run_by(clock.command(), &arguments),
        None => deployment.run(&arguments),
    };
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// Puts a signed version into the folder: its signature first.
fn bring(deployment: &TestDeployment, rows: &str, key: &str, clock: Option<&MovedClock>) {
    deployment.write("new.csv", rows);
    sign(deployment, "new.csv", key, clock);
    install(deployment, "new.csv");
}

/// Puts a file and its signature into the folder.
fn install(deployment: &TestDeployment, file: &str) {
    let read = |name: &str| std::fs::read(deployment.path(name)).unwrap();
    deployment.replace("release/tables/roster.csv.sig", read(&format!("{file}.sig")));
    deployment.replace("release/tables/roster.csv", read(file));
}

fn refused(code: &str) -> portcullis_tests::LogEvent {
    log_event("table.refused").field("table", "roster").field("code", code)
}

fn loaded(rows: &str) -> portcullis_tests::LogEvent {
    log_event("table.loaded").field("version", version(rows).as_str())
}

#[test]
fn a_signed_table_is_used_only_with_a_signature_of_its_role_for_these_bytes() {
    let mut deployment = deployment();
    let declaration = declared("signed = true");
    deployment.write("release/tables/roster.csv", roster("north"));
    release(&mut deployment, &declaration);
    let host = deployment.serve();
    let unsigned = host.wait_for(refused("table-signature").naming("problem", "[unsigned]"));
    assert!(unsigned.text("problem").contains("roster.csv.sig"), "{}", unsigned.text("problem"));
    assert!(ask(&host).stops_a_token(), "no version was accepted yet");

    bring(&deployment, &roster("north"), "data", None);
    host.wait_for(loaded(&roster("north")));
    assert_eq!(ward(&deployment, &host), "north");

    // Another file under the same signature; one that nobody of the role has signed; none at all.
    deployment.replace("release/tables/roster.csv", roster("vault"));
    host.wait_for(refused("table-signature").naming("problem", "[table-version-mismatch]"));
    let other_root = deployment.read("trust-root.json");
    sign_root_with(&deployment, "mallory");
    bring(&deployment, &roster("vault"), "mallory", None);
    host.wait_for(refused("table-signature").naming("problem", "[unknown-signer]"));
    deployment.write("trust-root.json", other_root);
    deployment.replace("release/tables/roster.csv.sig", "{}");
    host.wait_for(refused("table-signature").naming("problem", "[envelope-malformed]"));
    assert_eq!(ward(&deployment, &host), "north", "the last good version stays");

    bring(&deployment, &roster("east"), "data", None);
    host.wait_for(loaded(&roster("east")));
    assert_eq!(ward(&deployment, &host), "east");
    let log = host.stop();
    assert!(!log.contains("oor.Haddad") && !log.contains("person17"), "no person in the log");
    let records = deployment.records_of("table.loaded");
    let of_roster: Vec<_> = records.iter().filter(|record| record["table"] == "roster").collect();
    assert_eq!(of_roster.len(), 2);
    for record in &of_roster {
        assert!(record["signers"][0].as_str().unwrap().starts_with("test.example/data+"));
        assert!(record["signed_at"].as_u64().is_some(), "{record}");
    }
    let networks = records.iter().find(|record| record["table"] == "networks").unwrap();
    assert!(networks.get("signers").is_none(), "{networks}");
    assert_eq!(deployment.verify().code, 0);
}

#[test]
fn a_version_that_was_signed_earlier_never_returns() {
    let mut deployment = deployment();
    let clock = MovedClock::new();
    clock.ahead(-3_600);
    let declaration = declared("signed = true");
    deployment.write("release/roster.csv.toml", &declaration);
    deployment.write("earlier.csv", roster("north"));
    sign(&deployment, "earlier.csv", "data", Some(&clock));
    install(&deployment, "earlier.csv");
    release(&mut deployment, &declaration);
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north");
    bring(&deployment, &roster("west"), "data", None);
    host.wait_for(loaded(&roster("west")));

    install(&deployment, "earlier.csv");
    host.wait_for(refused("table-older").naming("problem", "[table-version-older]"));
    assert_eq!(ward(&deployment, &host), "west");
    host.stop();

    // The host's copy is as well signed as the file; without it there is no version, because the
    // log remembers that a newer one was used, also where the host's own file is lost.
    let host = deployment.serve();
    host.wait_for(refused("table-older"));
    assert_eq!(ward(&deployment, &host), "west");
    host.stop();
    std::fs::remove_dir_all(deployment.path("trust-state/tables")).unwrap();
    std::fs::remove_file(deployment.path("trust-state/memory")).unwrap();
    let host = deployment.serve();
    host.wait_for(refused("table-older"));
    assert!(ask(&host).stops_a_token());

    // The older rows on purpose: signed anew.
    bring(&deployment, &roster("north"), "data", None);
    host.wait_for(loaded(&roster("north")));
    assert_eq!(ward(&deployment, &host), "north");

    // A signature of the future could never be followed by another one.
    clock.ahead(86_400);
    bring(&deployment, &roster("vault"), "data", Some(&clock));
    host.wait_for(refused("table-signature").naming("problem", "[not-yet-valid]"));
    assert_eq!(ward(&deployment, &host), "north");
}

#[test]
fn an_altered_copy_of_a_signed_table_is_not_used() {
    let mut deployment = deployment();
    let declaration = declared("signed = true");
    deployment.write("release/roster.csv.toml", &declaration);
    bring(&deployment, &roster("north"), "data", None);
    release(&mut deployment, &declaration);
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north");
    host.stop();
    std::fs::remove_file(deployment.path("release/tables/roster.csv")).unwrap();
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north", "the copy is used without the file");
    host.stop();
    deployment.write("trust-state/tables/roster", roster("vault"));
    let host = deployment.serve();
    assert!(ask(&host).stops_a_token());
}

#[test]
fn a_revoked_key_takes_its_versions_out_of_use_and_an_omitted_one_does_not() {
    let mut deployment = deployment();
    let declaration = declared("signed = true");
    deployment.write("release/roster.csv.toml", &declaration);
    bring(&deployment, &roster("north"), "data", None);
    release(&mut deployment, &declaration);
    let host = deployment.serve();
    assert_eq!(ward(&deployment, &host), "north");

    // The next root names another key: the version stays, also through a restart.
    let vkey = |key: &str| deployment.read(&format!("keys/{key}.vkey")).trim().to_owned();
    let (first, second) = (vkey("data"), vkey("data-2"));
    let next = deployment.next_root(2, &["root"], |source| source.replace(&first, &second));
    assert_eq!(next.code, 0, "{next:?}");
    host.wait_for(log_event("trust.root-accepted"));
    assert_eq!(ward(&deployment, &host), "north");
    host.stop();
    let host = deployment.serve();
    host.wait_for(refused("table-signature").naming("problem", "[unknown-signer]"));
    assert_eq!(ward(&deployment, &host), "north");
    bring(&deployment, &roster("west"), "data-2", None);
    host.wait_for(loaded(&roster("west")));

    // The root after that revokes the key that has signed the version in use.
    let third = vkey("mallory");
    let next = deployment.next_root(3, &["root"], |source| {
        source.replace(&second, &third) + &format!("\n[revoked]\nkeys = [\"{second}\"]\n")
    });
    assert_eq!(next.code, 0, "{next:?}");
    host.wait_for(log_event("table.withdrawn").field("code", "revoked-key"));
    host.wait_for(refused("table-signature").naming("problem", "[revoked-key]"));
    assert!(ask(&host).stops_a_token());
    host.stop();
    let host = deployment.serve();
    assert!(ask(&host).stops_a_token(), "the copy is not used either");
    bring(&deployment, &roster("east"), "mallory", None);
    host.wait_for(loaded(&roster("east")));
    assert_eq!(ward(&deployment, &host), "east");
}

#[test]
fn nothing_is_signed_that_no_host_would_use() {
    let mut deployment = deployment();
    let declaration = declared("signed = true");
    deployment.write("roster.toml", &declaration);
    deployment.write("roster.csv", roster("north"));
    let run = |key: &str, more: &[&str]| {
        let mut arguments = vec!["table", "sign", "--declaration", "roster.toml", "--key", key];
        arguments.extend(["--root", "trust-root.json", "roster.csv"]);
        arguments.extend(more);
        deployment.run(&arguments)
    };
    let wrong_role = run("keys/release.key", &[]);
    assert!(wrong_role.code == 1 && wrong_role.err.contains("unknown-signer"), "{wrong_role:?}");
    deployment.write("roster.csv", roster("north").replace(",7\n", ",seven\n"));
    let wrong_cell = run("keys/data.key", &[]);
    assert!(wrong_cell.code == 1 && wrong_cell.err.contains("`beds`"), "{wrong_cell:?}");
    assert!(!wrong_cell.err.contains("seven"), "{wrong_cell:?}");
    assert!(!deployment.path("roster.csv.sig").exists());

    // Two people sign, one after the other.
    deployment.sign_root(|source| {
        let second = deployment.read("keys/data-2.vkey");
        let role = data_role(&deployment, "data").replace("threshold = 1", "threshold = 2");
        source + "\n" + &role.replace("keys = [", &format!("keys = [\"{}\", ", second.trim()))
    });
    deployment.write("roster.csv", roster("north"));
    let one = run("keys/data.key", &["--format", "json"]);
    let said: Value = serde_json::from_str(&one.out).unwrap();
    assert!(said["missing"].as_str().unwrap().contains("1 of the 2"), "{said}");
    let two = run("keys/data-2.key", &["--add", "--format", "json"]);
    let said: Value = serde_json::from_str(&two.out).unwrap();
    assert_eq!(said["missing"], Value::Null, "{said}");
    deployment.write("roster.csv", roster("west"));
    let other = run("keys/data-2.key", &["--add"]);
    assert!(other.code == 1 && other.err.contains("table-version-mismatch"), "{other:?}");

    // A trust root without the role signs no tables, and no set that needs signed ones.
    deployment.sign_root(|source| source);
    let no_role = run("keys/data.key", &[]);
    assert!(no_role.code == 1 && no_role.err.contains("data-unavailable"), "{no_role:?}");
    deployment.sign_plugin("remembering", |source| source);
    deployment.declare_table(&declaration, "roster.csv", None);
    deployment.declare_table(NETWORKS, "networks.csv", None);
    let set = deployment.refused_release(&[asking()]);
    assert!(set.err.contains("role `data`"), "{set:?}");
}

/// How long a test waits for what the host does by itself after a pause.
#[expect(dead_code, reason = "sources that are polled")]
const PATIENCE: Duration = Duration::from_secs(60);

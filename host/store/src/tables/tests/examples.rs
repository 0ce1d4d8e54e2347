//! The committed examples: each declaration loads its sample, and look-ups give what a person reads
//! in the sample. The binary samples were written by other implementations (openpyxl, SQLite,
//! mmdb_writer).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples-data")
}

fn bytes(name: &str) -> Vec<u8> {
    portcullis_files::read_bounded(&folder().join(name), 1 << 20).unwrap()
}

fn example(name: &str, extension: &str) -> Table {
    let toml = String::from_utf8(bytes(&format!("{name}.toml"))).unwrap();
    let declaration = declaration(&toml);
    assert_eq!(declaration.name, name);
    load(&declaration, bytes(&format!("{name}.{extension}")))
}

struct Person(&'static [(&'static str, &'static str)]);

impl Subject for Person {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.iter().find(|(field, _)| *field == name).map(|(_, value)| Cow::Borrowed(*value))
    }
}

#[test]
fn workday_rosters_match_people() {
    let roster = Arc::new(example("workday-roster", "csv"));
    assert_eq!(
        jsons(roster.lookup(&["00100"])),
        [concat!(
            r#"{"employee":"00100","login":"alice.adams","email":"Alice.Adams@hospital.example","#,
            r#""state":"Active","job_code":"RN-ICU","certifications":["RN","ACLS","BLS"],"#,
            r#""hired":"2019-03-14","on_leave":false}"#
        )]
    );
    assert_eq!(
        roster.lookup(&["00103"]).next().unwrap().get("job_code"),
        Some(Value::Text("PHARM, LEAD"))
    );
    assert!(roster.lookup(&["100"]).is_empty(), "leading zeros belong to an id");
    let tables = CurrentTables::of([Arc::clone(&roster), Arc::new(example("idp-ids", "csv"))]);
    let people = [
        Person(&[("id", "00u1aaaaaaaaaaaaaaaa")]),
        Person(&[("id", "00u1zzzzzzzzzzzzzzzz"), ("login", "DMITRI.K")]),
        Person(&[("id", "unknown"), ("email", "BJÖRN.STRASSE@HOSPITAL.EXAMPLE")]),
        Person(&[("employeeNumber", "00102"), ("login", "alice.adams")]),
        Person(&[("login", "nobody"), ("email", "")]),
    ];
    let found: Vec<_> = people
        .iter()
        .map(|person| match tables.find_subject("workday-roster", person, now()) {
            Found::Rows { mut rows, .. } => {
                rows.next().unwrap().get("employee").unwrap().as_text().unwrap().to_owned()
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(found, ["00100", "00103", "00101", "00102", "Deny(NoMatch)"]);
    let report = match_report(&tables, "workday-roster", people, now()).unwrap();
    assert_eq!((report.subjects, report.one, report.none, report.several), (5, 4, 1, 0));
    assert_eq!(report.by_rule, [1, 1, 1, 1]);
    assert_eq!((report.contradicted, report.unused_keys), (1, 0));
    assert_eq!(report.examples.len(), 1);
}

#[test]
fn ukg_workbooks_give_shifts_across_a_change_of_clocks() {
    let roster = example("ukg-roster", "xlsx");
    assert_eq!(roster.rows(), 4);
    assert_eq!(
        jsons(roster.lookup(&["00100"])),
        [concat!(
            r#"{"employee":"00100","state":"Active","unit":"ICU","#,
            r#""shift_start":"2026-10-31T23:00:00Z","shift_end":"2026-11-01T12:30:00Z"}"#
        )]
    );
    assert_eq!(
        jsons(roster.lookup(&["101"])),
        [
            concat!(
                r#"{"employee":"101","state":"Active","unit":"ER","#,
                r#""shift_start":"2026-11-02T12:00:00Z","shift_end":"2026-11-03T00:30:00Z"}"#
            ),
            r#"{"employee":"101","state":"Active","unit":"OR"}"#,
        ]
    );
}

#[test]
fn access_extracts_give_classes_and_states() {
    let epic = example("epic-access", "txt");
    assert_eq!(
        jsons(epic.lookup(&["aadams"])),
        [concat!(
            r#"{"user":"AADAMS","security_classes":["ORDERS","EMAR"],"template":"T-RN-ICU","#,
            r#""active":true,"last_login":"2026-11-01T06:30:00Z"}"#
        )],
        "01:30 occurs twice on that day in Chicago; the first one counts"
    );
    let skipped = epic.lookup(&["BSTRASSE"]).next().unwrap().get("last_login");
    assert_eq!(
        skipped,
        Some(Value::Instant(time("2026-03-08T08:30:00Z"))),
        "02:30 does not occur on that day; it is read as 03:30"
    );
    let cerner = example("cerner-access", "jsonl");
    assert_eq!(
        jsons(cerner.lookup(&["771002"])),
        [concat!(
            r#"{"person":771002,"login":"BSTRASSE","position":"Physician - Emergency","#,
            r#""facilities":["Main"],"active":true,"ends":"2027-02-01T05:59:59Z"}"#
        )]
    );
    assert_eq!(cerner.lookup(&["771003"]).next().unwrap().get("facilities"), None);
}

#[test]
fn lists_of_users_and_devices_load() {
    let users = example("imprivata-users", "csv");
    let row = users.lookup(&["hosp\\AADAMS"]).next().unwrap();
    assert_eq!(row.get("badge_active"), Some(Value::Boolean(true)));
    let lost = users.lookup(&["HOSP\\bstrasse"]).next().unwrap();
    assert_eq!(lost.get("badge_active"), Some(Value::Boolean(false)));
    let devices = example("device-posture", "jsonl");
    let device = devices.lookup(&["6f0e-11"]).next().unwrap();
    assert_eq!(device.get("checked"), Some(Value::Instant(time("2026-11-30T11:58:02.5Z"))));
}

#[test]
fn networks_are_found_by_their_longest_prefix() {
    let networks = example("known-networks", "csv");
    let site = |address: &str| {
        let row = networks.lookup(&[address]).next()?;
        row.get("site")?.as_text()
    };
    assert_eq!(site("10.1.2.3"), Some("hospital"));
    assert_eq!(site("10.20.1.1"), Some("north campus"));
    assert_eq!(site("::ffff:10.20.30.255"), Some("guest Wi-Fi"));
    assert_eq!(site("192.0.2.17"), Some("VPN exit"));
    assert_eq!(site("192.0.2.18"), None);
    assert_eq!(site("2001:db8:4f:ffff::1"), Some("north campus"));
    assert_eq!(site("2001:db8:50::1"), None);
    assert_eq!(site("no address"), None);
}

#[test]
fn databases_of_networks_and_of_contracts_load() {
    let sites = example("sites", "mmdb");
    assert_eq!(
        jsons(sites.lookup(&["192.0.2.1"])),
        [r#"{"network":"192.0.2.0/25","country":"US","site":"Main","provider":64496}"#]
    );
    assert_eq!(
        jsons(sites.lookup(&["2001:db8:4f::1"])),
        [r#"{"network":"2001:db8:40::/44","country":"US","provider":64511}"#]
    );
    assert!(sites.lookup(&["192.0.2.128"]).is_empty());
    let built = |loaded_at: &str| {
        Table::load(sites.declaration(), &bytes("sites.mmdb"), time(loaded_at)).unwrap().data_at()
    };
    assert!(built("2099-01-01T00:00:00Z") < time("2099-01-01T00:00:00Z"), "the time of building");
    assert_eq!(built("2020-01-01T00:00:00Z"), time("2020-01-01T00:00:00Z"), "no later one");
    let contractors = example("contractors", "sqlite");
    assert_eq!(
        jsons(contractors.lookup(&["C-0007"])),
        [
            concat!(
                r#"{"person":"C-0007","company":"Nordic Imaging","sponsor":"00100","#,
                r#""contract_end":"2026-12-31","training_expiry":"2027-02-01","baa_signed":true}"#
            ),
            concat!(
                r#"{"person":"C-0007","company":"Nordic Imaging","sponsor":"00101","#,
                r#""contract_end":"2027-06-30","baa_signed":true}"#
            ),
        ]
    );
    let exceptions = example("sod-exceptions", "csv");
    let row = exceptions.lookup(&["00103", "order-approve"]).next().unwrap();
    assert_eq!(row.get("control").and_then(|value| value.as_text()), Some("second signature"));
    assert!(exceptions.lookup(&["00103", "prescribe"]).is_empty());
    assert!(exceptions.lookup(&["00103"]).is_empty());
    let matrix = example("sod-matrix", "csv");
    let row = matrix.lookup(&["Dispensers"]).next().unwrap();
    assert_eq!(row.get("conflicts_with").and_then(|value| value.as_text()), Some("Prescribers"));
    let roles = example("role-hierarchy", "csv");
    assert_eq!(roles.lookup(&["Hospital Physician"]).count(), 2);
}

#[test]
fn every_declaration_has_a_sample_that_a_test_loads() {
    let listing = portcullis_files::list_bounded(&folder(), &[], 100).unwrap();
    let names: Vec<_> = listing.names.iter().filter_map(|name| name.to_str()).collect();
    let declared = names.iter().filter(|name| name.ends_with(".toml")).count();
    assert_eq!((declared, names.len()), (13, 28), "{names:?}");
}

//! Ends, sponsors and facilities from reference tables.

use portcullis_guest::Attribute;
use portcullis_guest::testing::{TestTable, reset, set_table};

use super::*;

/// A number of the register, by which the other tables know the person.
pub(super) const NUMBER: &str = "C-1";

/// Settings in which only tables have ends.
pub(super) fn table_settings() -> Value {
    json!({
        "applies_to": {"attribute": "userType", "values": ["contractor"]},
        "tables": {"register": "contractor-register", "training": "training", "licences": "licences", "roster": "hr-roster"},
        "items": {
            "contract": {"mandatory": true}, "project": {}, "sponsor": {}, "training": {}, "licence": {}, "agreement": {},
        },
        "zone": "Europe/Berlin",
        "zones": {"by_value": {"boston": "America/New_York", "sydney": "Australia/Sydney"}},
        "sponsor": {"active": ["active"]},
        "clock_skew_seconds": 0,
        "warn_days": [],
    })
}

/// Rows of the subject `u1`, who has this number.
pub(super) fn rows(rows: &[Value]) -> TestTable {
    rows.iter()
        .fold(TestTable::new(), |table, row| table.row(NUMBER, columns(row)).of_subject("u1"))
}

fn columns(row: &Value) -> Vec<Attribute> {
    let cell = |(name, value): (&String, &Value)| Attribute {
        name: name.clone(),
        value: value.to_string(),
    };
    row.as_object().unwrap().iter().map(cell).collect()
}

/// The tables of an ordinary contractor, whose entry of the register has these cells too.
fn enter(register: Value) {
    reset();
    let mut row = json!({"person": NUMBER, "sponsor": "00107", "contract_end": "2026-12-31"});
    row.as_object_mut().unwrap().extend(register.as_object().unwrap().clone());
    row.as_object_mut().unwrap().retain(|_, cell| !cell.is_null());
    set_table("contractor-register", rows(&[row]));
    set_table("training", TestTable::new());
    set_table("licences", TestTable::new());
    employ(&[("00107", json!({"state": "Active"}))]);
}

pub(super) fn employ(people: &[(&str, Value)]) {
    let roster =
        people.iter().fold(TestTable::new(), |table, (key, row)| table.row(key, columns(row)));
    set_table("hr-roster", roster);
}

const NOW: &str = "2026-11-01T00:00:00Z";

/// The codes and the verdict of a call at this time.
fn said(settings: &Value, call: testing::CallBuilder) -> (Vec<String>, Effect) {
    let decision = decide(settings, call);
    (decision.codes().iter().map(ToString::to_string).collect(), decision.verdict())
}

fn denied(code: &str) -> (Vec<String>, Effect) {
    (vec![code.to_owned()], Effect::Deny)
}

const SILENT: (Vec<String>, Effect) = (Vec::new(), Effect::Abstain);

#[test]
fn each_column_of_the_register_can_end_access() {
    for (column, item) in [
        ("contract_end", "contract"),
        ("project_end", "project"),
        ("sponsor_until", "sponsor"),
        ("training_expiry", "training"),
        ("licence_expiry", "licence"),
        ("agreement_end", "agreement"),
    ] {
        enter(json!({column: "2026-11-30"}));
        let end = |now| decide(&table_settings(), sign_in(now));
        assert!(end(NOW) == Decision::default());
        assert_eq!(caps(&end("2026-11-30T22:30:00Z"))[0].1, 1800, "{column}");
        let ended = end("2026-11-30T23:00:00Z");
        assert_eq!((ended.codes(), ended.verdict()), (vec!["CONTRACTOR_ENDED"], Effect::Deny));
        assert_eq!(argument(&ended, "item"), format!("\"{item}\""));
        enter(json!({column: "soon"}));
        let malformed = end(NOW);
        assert!(malformed.codes().contains(&"CONTRACTOR_ITEM_MALFORMED"), "{column}");
        let place = format!("\"contractor-register.{column}\"");
        assert_eq!(argument(&malformed, "attribute"), place);
    }
}

#[test]
fn somebody_without_an_entry_has_no_access() {
    enter(json!({}));
    let mut settings = table_settings();
    // No claim makes up for it.
    settings["items"]["contract"]["attribute"] = json!("contractEnd");
    settings["sponsor"]["attribute"] = json!("sponsor");
    let call = testing::call("okta.token")
        .received(millis(NOW))
        .subject("u2")
        .attribute("userType", "contractor")
        .attribute("contractEnd", "2027-12-31")
        .attribute("sponsor", "00107");
    assert_eq!(said(&settings, call), denied("CONTRACTOR_NOT_REGISTERED"));
}

#[test]
fn the_earlier_of_claim_and_register_decides_and_a_finding_says_that_they_disagree() {
    enter(json!({"contract_end": "2026-11-30"}));
    let mut settings = table_settings();
    settings["items"]["contract"]["attribute"] = json!("contractEnd");
    let call = |claim: &str| sign_in("2026-11-20T12:00:00Z").attribute("contractEnd", claim);
    for same in ["2026-11-30", "2026-12-01T00:00:00+01:00"] {
        assert_eq!(said(&settings, call(same)), SILENT, "{same}");
    }
    let later = decide(&settings, call("2026-12-31"));
    assert_eq!(
        (later.codes(), later.verdict()),
        (vec!["CONTRACTOR_DATES_DISAGREE"], Effect::Allow)
    );
    for (name, expected) in [
        ("item", "contract"),
        ("attribute", "contractEnd"),
        ("attribute_end", "2026-12-31T23:00:00Z"),
        ("entry", "contractor-register.contract_end"),
        ("entry_end", "2026-11-30T23:00:00Z"),
    ] {
        assert_eq!(argument(&later, name), format!("\"{expected}\""));
    }
    let late = sign_in("2026-12-01T12:00:00Z").attribute("contractEnd", "2026-12-31");
    let codes = vec!["CONTRACTOR_DATES_DISAGREE".to_owned(), "CONTRACTOR_ENDED".to_owned()];
    assert_eq!(said(&settings, late), (codes.clone(), Effect::Deny), "the register's");
    assert_eq!(said(&settings, call("2026-11-19")), (codes, Effect::Deny), "the claim's");

    // One of them is enough, and without both the message names both places.
    assert_eq!(said(&settings, sign_in(NOW)), SILENT);
    enter(json!({"contract_end": null}));
    assert_eq!(said(&settings, call("2026-12-31")), SILENT);
    let neither = decide(&settings, sign_in(NOW));
    assert_eq!(neither.codes(), ["CONTRACTOR_ITEM_MISSING"]);
    let places = "\"contractEnd, contractor-register.contract_end\"";
    assert_eq!(argument(&neither, "attribute"), places);
}

#[test]
fn an_extension_counts_once_somebody_else_has_approved_it() {
    let call = || sign_in("2026-12-15T00:00:00Z").attribute("login", "kim@vendor.example");
    let extended = |approver: Value| {
        enter(
            json!({"contract_end": "2026-11-30", "extended_until": "2027-01-31", "extension_approver": approver}),
        );
        said(&table_settings(), call())
    };
    assert_eq!(extended(json!("00101")), SILENT);
    let unapproved = vec!["CONTRACTOR_EXTENSION_NOT_APPROVED".into(), "CONTRACTOR_ENDED".into()];
    for nobody in [json!(null), json!(" "), json!("u1"), json!(" KIM@vendor.example"), json!("c-1")]
    {
        assert_eq!(extended(nobody.clone()), (unapproved.clone(), Effect::Deny), "{nobody}");
    }
    // It never shortens, and does not make a contract.
    enter(json!({"extended_until": "2026-12-01", "extension_approver": "00101"}));
    assert_eq!(said(&table_settings(), call()), SILENT);
    let alone = json!({"contract_end": null, "extended_until": "2027-01-31", "extension_approver": "00101"});
    enter(alone);
    assert_eq!(said(&table_settings(), call()), denied("CONTRACTOR_ITEM_MISSING"));
    enter(json!({"extended_until": "next year", "extension_approver": "00101"}));
    assert_eq!(said(&table_settings(), call()), denied("CONTRACTOR_ITEM_MALFORMED"));
}

#[test]
fn of_a_course_the_latest_entry_counts_and_each_required_one_must_be_there() {
    enter(json!({}));
    let course = |course: &str, expires: Value| match expires {
        Value::Null => json!({"course": course}),
        expires => json!({"course": course, "expires": expires}),
    };
    let fire = course("Fire safety", json!("2027-05-31"));
    let mut settings = table_settings();
    let trained = |settings: &Value, courses: &[Value], now| {
        set_table("training", rows(courses));
        let decision = decide(settings, sign_in(now));
        (decision.codes().join(" "), argument(&decision, "attribute").to_owned())
    };
    let renewed =
        [course("HIPAA", json!("2026-10-31")), course(" hipaa", json!("2026-12-15")), fire.clone()];
    let silent = (String::new(), String::new());
    assert_eq!(trained(&settings, &renewed, NOW), silent);
    let ended = ("CONTRACTOR_ENDED".to_owned(), String::new());
    assert_eq!(trained(&settings, &renewed, "2026-12-16T00:00:00Z"), ended);

    settings["items"]["training"]["required"] = json!(["HIPAA", "fire safety"]);
    assert_eq!(trained(&settings, &renewed, NOW), silent);
    let others = [renewed[1].clone(), fire.clone(), course("Lifting", json!("2020-01-01"))];
    assert_eq!(trained(&settings, &others, NOW), silent, "others are not required");
    let missing = |place: &str| ("CONTRACTOR_ITEM_MISSING".to_owned(), format!("\"{place}\""));
    for lacking in [vec![fire.clone()], vec![fire.clone(), course("HIPAA", json!(null))]] {
        assert_eq!(trained(&settings, &lacking, NOW), missing("training: HIPAA"));
    }
    let unreadable = [renewed[1].clone(), course("HIPAA", json!("passed")), fire];
    let malformed = ("CONTRACTOR_ITEM_MALFORMED".to_owned(), "\"training.expires\"".to_owned());
    assert_eq!(trained(&settings, &unreadable, NOW), malformed);

    // Somebody whom the register does not number is known by the table's own rules.
    enter(json!({"person": null}));
    assert_eq!(trained(&settings, &renewed, NOW), silent);

    // Licences likewise.
    enter(json!({}));
    let mut settings = table_settings();
    settings["items"]["licence"]["mandatory"] = json!(true);
    assert_eq!(
        trained(&settings, &[], NOW),
        missing("contractor-register.licence_expiry, licences.expires")
    );
    set_table("licences", rows(&[json!({"kind": "RN", "expires": "2026-11-30"})]));
    assert_eq!(trained(&settings, &[], NOW), silent);
    assert_eq!(trained(&settings, &[], "2026-12-01T00:00:00Z"), ended);
}

#[test]
fn the_sponsor_of_the_register_is_somebody_else() {
    let call = || sign_in(NOW).attribute("login", "Kim@vendor.example");
    for own in ["u1", " U1", "kim@vendor.example", "c-1"] {
        enter(json!({"sponsor": own}));
        employ(&[(own.trim(), json!({"state": "active"}))]);
        assert_eq!(said(&table_settings(), call()), denied("CONTRACTOR_SPONSOR_SELF"), "{own}");
    }
    for nobody in [json!(null), json!(" ")] {
        enter(json!({"sponsor": nobody}));
        let missing = decide(&table_settings(), call());
        assert_eq!(missing.codes(), ["CONTRACTOR_ITEM_MISSING"]);
        assert_eq!(argument(&missing, "attribute"), "\"contractor-register.sponsor\"");
    }
    // A claim does not hide it.
    enter(json!({"sponsor": "u1"}));
    employ(&[("u1", json!({"state": "active"}))]);
    let mut settings = table_settings();
    settings["sponsor"]["attribute"] = json!("sponsor");
    let claimed = call().attribute("sponsor", "00107");
    assert_eq!(said(&settings, claimed), denied("CONTRACTOR_SPONSOR_SELF"));
    // Where the register names none, the claim does, and the roster knows that one.
    enter(json!({"sponsor": null}));
    assert_eq!(said(&settings, call().attribute("sponsor", "00107")), SILENT);
    let unknown = call().attribute("sponsor", "00999");
    assert_eq!(said(&settings, unknown), denied("CONTRACTOR_SPONSOR_GONE"));
}

#[test]
fn a_contractor_whose_sponsor_has_left_is_an_orphan() {
    enter(json!({}));
    let mut settings = table_settings();
    let sponsored = |settings: &Value, people: &[(&str, Value)]| {
        employ(people);
        said(settings, sign_in("2026-11-20T12:00:00Z"))
    };
    let active = |last: &str| ("00107", json!({"state": "Active", "terminated": last}));
    let left = ("00107", json!({"state": "Terminated"}));
    let over = vec!["CONTRACTOR_SPONSOR_GONE".into(), "CONTRACTOR_ENDED".into()];
    assert_eq!(sponsored(&settings, &[active("2026-12-24")]), SILENT);
    assert_eq!(
        sponsored(&settings, std::slice::from_ref(&left)),
        denied("CONTRACTOR_SPONSOR_GONE")
    );
    assert_eq!(sponsored(&settings, &[]), denied("CONTRACTOR_SPONSOR_GONE"));
    assert_eq!(sponsored(&settings, &[active("2026-11-19")]), (over, Effect::Deny));
    // Somebody who changed their position, or came back.
    assert_eq!(sponsored(&settings, &[left.clone(), active("2026-12-24")]), SILENT);
    let open = ("00107", json!({"state": "active"}));
    assert_eq!(sponsored(&settings, &[active("2026-11-19"), open]), SILENT);
    let unreadable = vec!["CONTRACTOR_ITEM_MALFORMED".into(), "CONTRACTOR_SPONSOR_GONE".into()];
    assert_eq!(sponsored(&settings, &[active("spring")]), (unreadable, Effect::Deny));
    // The last day of the sponsor is the last of the contractor.
    employ(&[active("2026-11-20")]);
    let last = decide(&settings, sign_in("2026-11-20T22:30:00Z"));
    assert_eq!((caps(&last)[0].1, argument(&last, "item")), (1800, "\"sponsor\""));

    // A claim that says so is believed too.
    settings["sponsor"]["status_attribute"] = json!("sponsorStatus");
    employ(&[active("2026-12-24")]);
    let claimed = |status: &str| sign_in(NOW).attribute("sponsorStatus", status);
    assert_eq!(said(&settings, claimed("active")), SILENT);
    assert_eq!(said(&settings, claimed("")), SILENT);
    assert_eq!(said(&settings, claimed("left")), denied("CONTRACTOR_SPONSOR_GONE"));

    settings["sponsor"]["gone"] = json!("step-up");
    let step_up = (vec!["CONTRACTOR_SPONSOR_GONE".to_owned()], Effect::StepUp);
    for gone in [left, active("2026-11-19")] {
        assert_eq!(sponsored(&settings, &[gone]), step_up);
    }
}

#[test]
fn the_facility_of_the_register_says_where_a_day_ends() {
    let end = |facility: Value, claim: &str| {
        enter(json!({"contract_end": "2026-11-30", "facility": facility}));
        let mut settings = table_settings();
        settings["zones"]["attribute"] = json!("facility");
        let call = sign_in("2026-12-09T00:00:00Z").attribute("facility", claim);
        argument(&decide(&settings, call), "end").to_owned()
    };
    assert_eq!(end(json!("boston"), ""), "\"2026-11-30T23:00:00Z\"", "\"\" is in no list");
    assert_eq!(end(json!("sydney"), "boston"), "\"2026-11-30T13:00:00Z\"");
    assert_eq!(end(json!("boston"), "sydney"), "\"2026-11-30T13:00:00Z\"");
    assert_eq!(end(json!("boston"), "boston"), "\"2026-12-01T05:00:00Z\"");
    assert_eq!(end(json!(["boston", "sydney"]), "boston"), "\"2026-11-30T13:00:00Z\"");
    assert_eq!(end(json!(null), "elsewhere"), "\"2026-11-30T23:00:00Z\"");
}

#[test]
fn several_entries_end_with_the_first() {
    enter(json!({}));
    let entry = |end: &str, sponsor: &str| json!({"contract_end": end, "sponsor": sponsor});
    set_table(
        "contractor-register",
        rows(&[entry("2026-12-31", "00107"), entry("2026-11-15", "00107")]),
    );
    let call = || sign_in("2026-11-20T00:00:00Z");
    assert_eq!(said(&table_settings(), call()), denied("CONTRACTOR_ENDED"));
    // Each sponsor must be employed.
    let two = rows(&[entry("2026-12-31", "00107"), entry("2026-12-31", "00108")]);
    set_table("contractor-register", two);
    assert_eq!(said(&table_settings(), call()), denied("CONTRACTOR_SPONSOR_GONE"));
}

#[test]
fn old_tables_are_told() {
    enter(json!({}));
    set_table("training", TestTable::new().stale());
    let register = json!({"person": NUMBER, "sponsor": "00107", "contract_end": "2026-12-31"});
    set_table("contractor-register", rows(&[register]).stale());
    let decision = decide(&table_settings(), sign_in(NOW));
    assert_eq!(decision.codes(), ["CONTRACTOR_TABLE_STALE", "CONTRACTOR_TABLE_STALE"]);
    assert_eq!(decision.verdict(), Effect::Allow);
    let tables: Vec<_> =
        decision.findings.iter().map(|finding| finding.arguments[0].value.as_str()).collect();
    assert_eq!(tables, ["\"contractor-register\"", "\"training\""]);
}

#[test]
fn the_register_tells_who_is_a_contractor_where_the_claim_does_not() {
    enter(json!({"contract_end": "2026-10-31"}));
    let mut settings = table_settings();
    let person = |id: &str| testing::call("okta.token").received(millis(NOW)).subject(id);
    assert_eq!(said(&settings, person("u1")), SILENT);
    settings["applies_to"]["when_missing"] = json!("register");
    assert_eq!(said(&settings, person("u1")), denied("CONTRACTOR_ENDED"));
    assert_eq!(said(&settings, person("u2")), SILENT);
    // For whom the claim answers, nothing is looked up: there are no tables now.
    reset();
    assert_eq!(said(&settings, person("u1").attribute("userType", "employee")), SILENT);
}

#[test]
fn settings_about_tables_are_checked() {
    let cases: [(&str, Value, &str); 13] = [
        ("/tables/register", json!(""), "tables.register` is empty"),
        ("/tables/shifts", json!("x"), "tables.shifts` is wrong"),
        ("/items/project/required", json!(["x"]), "items.project.required` is for"),
        ("/items/training/required", json!([" "]), "items.training.required` has an empty name"),
        ("/sponsor/active", json!([]), "sponsor.active` is empty"),
        ("/sponsor", json!(null), "tables.roster` needs `sponsor`"),
        ("/tables", json!({}), "items.contract.attribute` is missing"),
        ("/tables", json!({}), "zones.attribute` is missing"),
        ("/tables", json!({}), "sponsor.attribute` is missing"),
        ("/tables", json!({"licences": "l"}), "items.training.attribute` is missing"),
        ("/tables", json!({"register": "r"}), "sponsor.active` and `status_attribute` belong"),
        ("/applies_to/when_missing", json!("ask"), "applies_to.when_missing` is wrong"),
        ("/items/training/attribute", json!(""), "items.training.attribute` is empty"),
    ];
    let refused = |settings: &Value, expected: &str| {
        let told =
            testing::configure::<Contractor>(&settings.to_string()).err().unwrap_or_default();
        assert!(told.iter().any(|sentence| sentence.contains(expected)), "{expected}: {told:?}");
    };
    for (pointer, value, expected) in cases {
        let mut wrong = table_settings();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[member] = value;
        refused(&wrong, expected);
    }
    let mut wrong = settings();
    wrong["applies_to"]["when_missing"] = json!("register");
    refused(&wrong, "`tables.register` is missing");
    let mut wrong = settings();
    wrong["items"]["licence"]["required"] = json!(["RN"]);
    refused(&wrong, "items.licence.required` needs `tables.licences`");
}

#[test]
fn the_example_with_tables_agrees_with_schema_manifest_and_declarations() {
    let example = include_str!("../../settings.tables.example.json");
    let example: Value = serde_json::from_str(example).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../settings.schema.json")).unwrap();
    assert!(jsonschema::draft202012::new(&schema).unwrap().is_valid(&example));
    enter(
        json!({"contract_end": "2026-11-20", "agreement_end": "2027-01-31", "facility": "boston"}),
    );
    let course = |name: &str| json!({"course": name, "expires": "2027-01-31"});
    set_table("training", rows(&[course("HIPAA"), course("Fire safety")]));
    let decision = decide(&example, sign_in("2026-11-21T04:00:00Z"));
    assert_eq!(decision.codes(), ["CONTRACTOR_LIFETIME_CAPPED", "CONTRACTOR_ENDING_SOON"]);
    assert_eq!(argument(&decision, "end"), "\"2026-11-21T05:00:00Z\"");
    for (declaration, table, columns) in [
        (
            include_str!("../../tables/contractor-register.toml"),
            "contractor-register",
            &["person", "facility", "sponsor", "contract_end", "extended_until"][..],
        ),
        (include_str!("../../tables/training.toml"), "training", &["course", "expires"]),
        (include_str!("../../tables/licences.toml"), "licences", &["kind", "expires"]),
        (include_str!("../../tables/hr-roster.toml"), "hr-roster", &["state", "terminated"]),
    ] {
        assert!(declaration.contains(&format!("name = \"{table}\"")), "{table}");
        assert!(MANIFEST.contains(&format!("\"tables.{table}.*\"")), "{table} is optional");
        for column in columns {
            assert!(MANIFEST.contains(&format!("\"tables.{table}.{column}\"")), "{column}");
            assert!(declaration.contains(&format!("name = \"{column}\"")), "{column}");
        }
    }
}

/// The rows of a sample in `tables/`, with the names that its declaration gives to the columns.
fn sample(declaration: &str, csv: &str) -> Vec<(String, Value)> {
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let mut names = std::collections::BTreeMap::new();
    for column in declaration.split("[[columns]]").skip(1) {
        let member =
            |name: &str| column.lines().find(|line| line.starts_with(name)).and_then(quoted);
        let name = member("name").unwrap();
        names.insert(member("source").unwrap_or_else(|| name.clone()), name);
    }
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let row = |cells: Vec<&str>| {
        assert_eq!(cells.len(), header.len());
        let filled = header.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty());
        let row = filled.map(|(source, cell)| (names[*source].clone(), json!(cell))).collect();
        (cells[0].to_owned(), Value::Object(row))
    };
    lines.map(row).collect()
}

#[test]
fn the_example_of_the_page_is_decided_as_it_says() {
    reset();
    let people = [("00u1kim", "C-1001"), ("00u2ada", "C-1002")];
    for (name, declaration, csv) in [
        (
            "contractor-register",
            include_str!("../../tables/contractor-register.toml"),
            include_str!("../../tables/contractor-register.csv"),
        ),
        (
            "training",
            include_str!("../../tables/training.toml"),
            include_str!("../../tables/training.csv"),
        ),
        (
            "licences",
            include_str!("../../tables/licences.toml"),
            include_str!("../../tables/licences.csv"),
        ),
        (
            "hr-roster",
            include_str!("../../tables/hr-roster.toml"),
            include_str!("../../tables/hr-roster.csv"),
        ),
    ] {
        let mut table = TestTable::new();
        for (key, row) in sample(declaration, csv) {
            table = table.row(&key, columns(&row));
            if let Some((id, _)) = people.iter().find(|(_, number)| *number == key) {
                table = table.of_subject(id);
            }
        }
        set_table(name, table);
    }
    let example = include_str!("../../settings.tables.example.json");
    let example: Value = serde_json::from_str(example).unwrap();
    let kim = |now| {
        testing::call("okta.token")
            .received(millis(now))
            .subject("00u1kim")
            .attribute("userType", "contractor")
            .lifetime(Target::AccessToken, 3600)
    };
    let allowed = decide(&example, kim("2027-02-20T15:00:00Z"));
    assert_eq!(allowed.codes(), ["CONTRACTOR_ENDING_SOON"]);
    assert_eq!((argument(&allowed, "item"), argument(&allowed, "days")), ("\"training\"", "14"));
    let end = "\"2027-03-01T05:00:00Z\"";
    assert_eq!(edits(&allowed), [(Target::AccessToken, "/claims/accessEnd", end)]);
    let old = kim("2027-02-20T15:00:00Z").attribute("contractEnd", "2026-12-31");
    let codes = vec!["CONTRACTOR_DATES_DISAGREE".to_owned(), "CONTRACTOR_ENDED".to_owned()];
    assert_eq!(said(&example, old), (codes, Effect::Deny));
    employ(&[("00101", json!({"state": "Terminated"}))]);
    let (codes, effect) = said(&example, kim("2027-02-20T15:00:00Z"));
    assert!(codes.contains(&"CONTRACTOR_SPONSOR_GONE".to_owned()) && effect == Effect::Deny);
}

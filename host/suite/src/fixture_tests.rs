//! Tables, memory and steps of suites, without any plugin.

use std::collections::BTreeMap;

use portcullis_model::Call;
use portcullis_store::memory::{Scope, Transaction};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::call::TestCall;
use crate::memory_fixture::MemoryExpect;
use crate::plan::{Plan, Step};
use crate::trace::DataTrace;
use crate::{MemoryState, Suite, Syntax, TestMemory, derived_declaration};

const SEQUENCE: &str = r#"
name = "sequence"
[defaults]
hook = "okta.token"
received = "2026-11-25T10:00:00Z"
[principals.noor]
id = "u1"
[principals.jonas]
id = "u2"

[tables.roster]
declaration = { no_match = "treat-as-absent", key = { columns = ["number"] } }
rows = [{ number = "4711", ward = "A", beds = 12 }, { number = "4712", ward = "B" }]

[tables.networks]
declaration = "networks.toml"
rows = "networks.csv"

[[case]]
name = "two days"
principal = "noor"
tables = { roster = "stale" }
[[case.memory]]
key = "device"
value = "cart 7"
ttl = "3d"
[[case.memory]]
key = "failures"
count = 3
window = "10m"
age = "5m"
[[case.memory]]
scope = "shared"
key = "192.0.2.1"
members = ["noor", "jonas"]
window = "1h"
[[case.steps]]
expect = { verdict = "allow" }
[[case.steps]]
name = "later"
after = "2d"
principal = "jonas"
tables = { roster = "absent", networks = { rows = [{ network = "192.0.2.0/24", zone = "home" }] } }
expect = { remembers = [{ key = "device", absent = true }], counts = [{ key = "f", window = "10m", count = 0 }] }
"#;

const NETWORKS: &str = r#"
name = "networks"
format = "csv"
max_age_seconds = 60
[[columns]]
name = "network"
source = "CIDR"
type = "ip-network"
[[columns]]
name = "zone"
source = "Zone"
type = "text"
[key]
columns = ["network"]
kind = "network"
"#;

fn read(file: &str) -> Result<Vec<u8>, String> {
    match file {
        "networks.toml" => Ok(NETWORKS.into()),
        "networks.csv" => Ok(b"CIDR,Zone\n10.0.0.0/8,ward\n".to_vec()),
        "broken.csv" => Ok(b"CIDR,Zone\n10.0.0.1/8,ward\n".to_vec()),
        _ => Err("no such file".to_owned()),
    }
}

fn resolved(text: &str) -> Result<Suite, crate::SuiteError> {
    let mut suite = Suite::parse(text, Syntax::Toml)?;
    suite.resolve(&mut read)?;
    Ok(suite)
}

fn refused(text: &str) -> String {
    let planned = resolved(text).and_then(|suite| suite.plan());
    planned.err().map(|error| error.to_string()).unwrap_or_default()
}

fn steps(plan: &Plan) -> Vec<&Step> {
    plan.cases.iter().flat_map(|case| &case.steps).collect()
}

fn call(step: &Step) -> &Call {
    step.question.as_ref().map(TestCall::call).unwrap()
}

#[test]
fn steps_share_a_memory_and_time_passes_between_them() {
    let plan = resolved(SEQUENCE).unwrap().plan().unwrap();
    assert_eq!(plan.cases(), 2, "each step counts");
    let steps = steps(&plan);
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["two days, step 1", "two days, step 2: later"]);
    let passed = call(steps[1]).received.0 - call(steps[0]).received.0;
    assert_eq!(passed, 2 * 86_400_000);
    let id = |step: &Step| call(step).subject.as_ref().and_then(|subject| subject.id.clone());
    assert_eq!((id(steps[0]), id(steps[1])), (Some("u1".to_owned()), Some("u2".to_owned())));

    let memory =
        TestMemory::new("default", &plan.cases[0].memory, call(steps[0]).received).unwrap();
    let mut first = memory.begin(call(steps[0])).unwrap();
    assert_eq!(first.recall(Scope::Subject, b"device"), Ok(Some(b"cart 7".to_vec())));
    assert_eq!(first.count(Scope::Subject, b"failures", 600), Ok(3));
    assert_eq!(first.count_distinct(Scope::Shared, b"192.0.2.1", 3_600), Ok(2));
    let mut later = memory.transaction("default", Some("u1"), call(steps[1]).received).unwrap();
    assert_eq!(later.recall(Scope::Subject, b"device"), Ok(Some(b"cart 7".to_vec())));
    assert_eq!(later.count(Scope::Subject, b"failures", 600), Ok(0), "they are too long ago");
    assert_eq!(steps[1].expect.memory.differences(&memory, call(steps[1])), [""; 0]);
}

#[test]
fn tables_are_derived_stale_absent_and_replaced_case_by_case() {
    use portcullis_store::tables::{Found, WithoutRows};
    let plan = resolved(SEQUENCE).unwrap().plan().unwrap();
    let steps = steps(&plan);
    let now = "2026-11-25T10:00:00Z".parse().unwrap();
    let find = |step: usize, table: &str, key: &str| {
        let found = steps[step].tables.find(table, &[key], now);
        match found {
            Found::Rows { rows, stale, .. } => {
                let cells = rows.flat_map(|row| {
                    row.cells()
                        .filter_map(|(name, value)| Some(format!("{name}={}", value?.to_json())))
                        .collect::<Vec<_>>()
                });
                Ok((cells.collect::<Vec<_>>().join(" "), stale))
            }
            Found::Absent(why) | Found::Deny(why) => Err(why),
        }
    };
    assert_eq!(find(0, "roster", "4711"), Err(WithoutRows::Stale));
    assert_eq!(find(1, "roster", "4711"), Err(WithoutRows::NotLoaded));
    assert_eq!(
        find(0, "networks", "10.1.2.3"),
        Ok((r#"network="10.0.0.0/8" zone="ward""#.to_owned(), false))
    );
    assert_eq!(find(1, "networks", "10.1.2.3"), Err(WithoutRows::NoMatch));
    assert!(find(1, "networks", "192.0.2.9").unwrap().0.contains("home"));

    let loaded = SEQUENCE.replace("tables = { roster = \"stale\" }\n", "");
    let plan = resolved(&loaded).unwrap().plan().unwrap();
    let found = self::steps(&plan)[0].tables.table("roster").unwrap().lookup(&["4711"]);
    assert_eq!(found.count(), 1);
}

#[test]
fn a_bundle_holds_the_rows_and_reads_back() {
    let suite = resolved(SEQUENCE).unwrap();
    let bundle = suite.bundle().unwrap();
    let text = std::str::from_utf8(&bundle).unwrap();
    assert!(text.contains("10.0.0.0/8") && !text.contains("networks.csv"), "{text}");
    let again = Suite::parse(text, Syntax::Json).unwrap();
    assert_eq!(again, suite);
    assert_eq!(again.plan().unwrap().cases(), 2);
    let mut other = Suite::parse(SEQUENCE, Syntax::Toml).unwrap();
    let mut changed = |file: &str| {
        let bytes = read(file)?;
        Ok(String::from_utf8(bytes).unwrap().replace("ward", "gate").into_bytes())
    };
    other.resolve(&mut changed).unwrap();
    let digests = [Suite::digest(&bundle), Suite::digest(&other.bundle().unwrap())];
    assert_ne!(digests[0], digests[1], "a file of rows is part of what is signed");
    let unresolved = Suite::parse(SEQUENCE, Syntax::Toml).unwrap().plan();
    let error = unresolved.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("a bundle must hold everything itself"), "{error}");
}

#[test]
fn wrong_fixtures_are_named_by_path_with_their_correction() {
    let mut differences = Vec::new();
    for (from, to, expected) in [
        (
            "roster = \"stale\"",
            "rooster = \"stale\"",
            "`case[0].tables.rooster`: the suite has no table",
        ),
        ("roster = \"stale\"", "roster = \"old\"", "unknown value `old`"),
        ("networks.toml", "none.toml", "`tables.networks.declaration`: no such file"),
        ("networks.toml", "../networks.toml", "leads out of the suite's folder"),
        ("networks.csv\"", "networks.xlsx\"", "must end in `.csv`"),
        ("networks.csv\"", "broken.csv\"", "row 2, column `network`"),
        ("ward = \"B\"", "wart = \"B\", beds = \"x\"", "has values of several types"),
        (", key = { columns = [\"number\"] }", "", "by which columns rows are looked up"),
        (
            "no_match = \"treat-as-absent\"",
            "no_match = \"absent\"",
            "`tables.roster.declaration`: `no_match`",
        ),
        ("no_match =", "name = \"staff\", no_match =", "is not `roster`"),
        ("zone = \"home\"", "zoom = \"home\"", "row 1 has `zoom`"),
        ("value = \"cart 7\"\n", "", "exactly one of `value`, `base64`, `count`"),
        ("count = 3\nwindow = \"10m\"\n", "count = 3\n", "it has no `window`"),
        ("window = \"10m\"\nage", "window = \"40d\"\nage", "`case[0].memory[1]`: a window cannot"),
        ("ttl = \"3d\"", "ttl = \"3 weeks\"", "is no length of time"),
        ("ttl = \"3d\"", "ttl = \"3d\"\nwindow = \"1h\"", "a value has no `window`"),
        (
            "after = \"2d\"",
            "after = \"2d\"\nwith = { received = \"2026-11-25T10:00:00Z\" }",
            "write `after`",
        ),
        (
            "name = \"two days\"",
            "name = \"two days\"\nexpect = { verdict = \"deny\" }",
            "a case with `steps` has none",
        ),
        ("absent = true", "absent = true, value = \"x\"", "exclude each other"),
        ("count = 0", "count = 0, distinct = 1", "exactly one of `count` and `distinct`"),
        (
            "expect = { verdict = \"allow\" }",
            "expect = { refused = [\"x\"] }",
            "`case[0].steps[0].expect.refused`",
        ),
        (
            "scope = \"shared\"\nkey",
            "scope = \"shared\"\nsubject = \"u1\"\nkey",
            "that of all subjects",
        ),
        ("principal = \"noor\"\n", "", "has no subject with an id"),
    ] {
        assert!(SEQUENCE.contains(from), "{from}");
        let said = refused(&SEQUENCE.replacen(from, to, 1));
        if !said.contains(expected) {
            differences.push(format!("{expected}: {said}"));
        }
    }
    assert_eq!(differences, [""; 0]);
    assert_eq!(refused(SEQUENCE), "");
}

#[test]
fn a_declaration_is_derived_from_the_rows_alone() {
    let csv = derived_declaration("roster", "roster.csv", "Worker ID,ward\n1,A\n").unwrap();
    assert_eq!(csv.key.columns, ["worker_id"]);
    let lines = derived_declaration("ids", "ids.jsonl", "{\"id\": 7}\n").unwrap();
    let column = serde_json::to_value(&lines.columns[0]).unwrap();
    assert_eq!((&column["name"], &column["type"]), (&json!("id"), &json!("integer")));
    assert!(derived_declaration("roster", "roster.xlsx", "").is_err());
    assert!(derived_declaration("Roster", "roster.csv", "number\n").unwrap_err().contains("name"));
}

fn question(received: &str) -> TestCall {
    let text = format!(
        "name = \"one\"\n[principals.noor]\nid = \"u1\"\n[[case]]\nname = \"one\"\nprincipal = \"noor\"\nreceived = \"{received}\"\nwith = {{ hook = \"okta.token\" }}\nexpect = {{ verdict = \"deny\" }}\n"
    );
    let mut plan = resolved(&text).unwrap().plan().unwrap();
    plan.cases.remove(0).steps.remove(0).question.unwrap()
}

fn work(memory: &mut TestMemory, call: &Call, is_decided: bool) -> Transaction {
    let mut transaction = memory.begin(call).unwrap();
    transaction.recall(Scope::Subject, b"device").unwrap();
    transaction.remember(Scope::Subject, b"device", b"{\"a\": [1]}", 600).unwrap();
    transaction.tally(Scope::Subject, b"sign-ins", 3_600).unwrap();
    transaction.tally_distinct(Scope::Shared, b"192.0.2.1", b"noor", 3_600).unwrap();
    memory.keep(&transaction, is_decided).unwrap();
    transaction
}

#[test]
fn a_decision_keeps_everything_and_a_fault_keeps_tallies() {
    let question = question("2026-11-25T10:00:00Z");
    let call = question.call();
    let expect = |value: Value| {
        let text = json!({ "remembers": [value] });
        let remembers = serde_json::from_value(text["remembers"].clone()).unwrap_or_default();
        let counts = json!([
            {"key": "sign-ins", "window": "1h", "count": 1},
            {"scope": "shared", "key": "192.0.2.1", "window": "1h", "distinct": 1},
        ]);
        let counts: Vec<_> = serde_json::from_value(counts).unwrap();
        MemoryExpect::compile("x", Vec::as_slice(&remembers), &counts).unwrap()
    };
    let mut decided = TestMemory::new("default", &[], call.received).unwrap();
    work(&mut decided, call, true);
    let remembered = expect(json!({"key": "device", "value": {"a": [1]}}));
    assert_eq!(remembered.differences(&decided, call), [""; 0]);
    let other = expect(json!({"key": "device", "value": "b"})).differences(&decided, call);
    assert_eq!(other, [r#"remembers: subject `device`: expected "b", but it is "{\"a\": [1]}""#],);

    let mut failed = TestMemory::new("default", &[], call.received).unwrap();
    work(&mut failed, call, false);
    let forgotten = expect(json!({"key": "device", "absent": true}));
    assert_eq!(forgotten.differences(&failed, call), [""; 0]);
    let missing = remembered.differences(&failed, call);
    assert!(missing[0].ends_with("but there is nothing"), "{missing:?}");
}

#[test]
fn what_was_remembered_is_told_in_order() {
    let question = question("2026-11-25T10:00:00Z");
    let mut memory = TestMemory::new("default", &[], question.call().received).unwrap();
    let transaction = work(&mut memory, question.call(), false);
    let trace = DataTrace::new(&Default::default(), Some(&transaction), None, false);
    assert_eq!(
        trace.text("  "),
        "  recall   subject device = nothing
  remember subject device = \"{\\\"a\\\": [1]}\" for 10m
  tally    subject sign-ins within 1h = 1
  tally-distinct shared 192.0.2.1 \"noor\" within 1h = 1
  dropped  what the call remembered and forgot; tallies are kept
"
    );
    let told = trace.json();
    assert_eq!(told["memory"][1]["ttl"], 600);
    assert_eq!(told["memory"][3]["member"], "noor");
    assert_eq!(told["dropped"], true);
}

#[test]
fn a_memory_goes_through_a_file_and_expires_there() {
    let (first, later) = (question("2026-11-25T10:00:00Z"), question("2026-11-25T10:30:00Z"));
    let mut state = MemoryState::default();
    let mut memory = state.open(first.call()).unwrap();
    let transaction = work(&mut memory, first.call(), true);
    state.keep(first.call(), &transaction, true);
    let text = state.to_text();
    let again = MemoryState::parse(&text).unwrap();
    assert_eq!(again.to_text(), text);
    let mut call = again.open(later.call()).unwrap().begin(later.call()).unwrap();
    assert_eq!(call.recall(Scope::Subject, b"device"), Ok(None), "its ten minutes are over");
    assert_eq!(call.tally(Scope::Subject, b"sign-ins", 3_600), Ok(2));
    assert_eq!(call.tally_distinct(Scope::Shared, b"192.0.2.1", b"jonas", 3_600), Ok(2));
    let mut next = again.clone();
    next.keep(later.call(), &call, true);
    assert!(!next.to_text().contains("device"), "{}", next.to_text());
    for (text, expected) in [
        ("{}", "missing field `memory`"),
        (r#"{"memory": [{"key": "a"}]}"#, "`memory[0]`: it must have exactly one of"),
        (r#"{"memory": [{"key": "a", "count": 1, "at": "2026-11-25T10:00:00Z"}]}"#, "`window`"),
        (r#"{"memory": [{"key": "a", "value": "b", "expires_at": "soon"}]}"#, "is not a time"),
        (r#"{"memory": [{"kei": "a"}]}"#, "unknown field `kei`"),
    ] {
        let error = MemoryState::parse(text).err().unwrap_or_default();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

proptest! {
    /// A suite with a piece of it changed is read or refused, and its bundle reads back.
    #[test]
    fn a_changed_sequence_is_read_or_refused(at in 0..SEQUENCE.len(), length in 0..40_usize, piece in "[a-z0-9\\[\\]{}\"=., \n]{0,12}") {
        let end = (at + length).min(SEQUENCE.len());
        let text = format!("{}{piece}{}", SEQUENCE.get(..at).unwrap(), SEQUENCE.get(end..).unwrap());
        if let Ok(suite) = resolved(&text) {
            let bundle = suite.bundle().unwrap();
            prop_assert_eq!(&Suite::parse(std::str::from_utf8(&bundle).unwrap(), Syntax::Json).unwrap(), &suite);
            let tables: BTreeMap<_, _> = suite.tables.iter().collect();
            prop_assert!(tables.len() <= 64);
            drop(suite.plan());
        }
    }
}

//! What suites may say and may not, without any plugin.

use portcullis_model::{Change, Effect, Reads};
use proptest::prelude::*;

use crate::values::ChangeText;
use crate::values::change_text;
use crate::{Suite, Syntax, check_settings};

const SMALL: &str = r#"
name = "small"
[defaults]
hook = "okta.token"
received = "2026-11-25T10:00:00Z"
[principals.anna]
id = "u1"
[principals.bert]
id = "u2"
[[case]]
name = "anna"
principal = "anna"
expect = { verdict = "deny", findings = ["A", { code = "B", arguments = { n = 1 } }] }
[[matrix]]
name = "both"
principals = ["anna", "bert"]
expect = [{ principal = "anna", then = { verdict = "deny" } }]
otherwise = { verdict = "allow" }
"#;

fn refused(text: &str) -> String {
    let suite = Suite::parse(text, Syntax::Toml);
    let planned = suite.and_then(|mut suite| {
        suite.resolve(&mut |_| Err("no files here".to_owned()))?;
        suite.plan()
    });
    planned.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_suite_is_the_same_in_every_syntax() {
    let toml = Suite::parse(SMALL, Syntax::Toml).unwrap();
    let bundle = toml.bundle().unwrap();
    let json = Suite::parse(std::str::from_utf8(&bundle).unwrap(), Syntax::Json).unwrap();
    assert_eq!(json, toml);
    assert_eq!(json.bundle().unwrap(), bundle, "the same suite is the same text");
    let yaml = r#"
name: small
defaults: { hook: okta.token, received: "2026-11-25T10:00:00Z" }
principals: { anna: { id: u1 }, bert: { id: u2 } }
case:
  - name: anna
    principal: anna
    expect: { verdict: deny, findings: [A, { code: B, arguments: { n: 1 } }] }
matrix:
  - name: both
    principals: [anna, bert]
    expect: [{ principal: anna, then: { verdict: deny } }]
    otherwise: { verdict: allow }
"#;
    assert_eq!(Suite::parse(yaml, Syntax::Yaml).unwrap(), toml);
    let plan = toml.plan().unwrap();
    let names: Vec<_> = plan.cases.iter().map(|case| case.steps[0].name.as_str()).collect();
    assert_eq!(names, ["anna", "both: anna", "both: bert"]);
}

#[test]
fn errors_name_line_and_path() {
    let wrong = SMALL.replace("verdict = \"deny\", findings", "verdic = \"deny\", findings");
    let error = Suite::parse(&wrong, Syntax::Toml).unwrap_err();
    assert_eq!((error.line, error.path.as_str()), (Some(13), "case[0].expect.verdic"));
    assert!(error.what.contains("unknown member `verdic`"), "{error}");
    let yaml = "name: x\ncase:\n  - name: a\n    expect: { verdict: deny }\n    expects: 1\n";
    let error = Suite::parse(yaml, Syntax::Yaml).unwrap_err();
    assert_eq!((error.line, error.path.as_str()), (Some(5), "case[0].expects"), "{error}");
    let json = r#"{"name": "x", "case": [{"name": "a", "expect": {"verdict": "maybe"}}]}"#;
    let error = Suite::parse(json, Syntax::Json).unwrap_err();
    assert_eq!((error.line, error.path.as_str()), (Some(1), "case[0].expect.verdict"), "{error}");
    let twice = r#"{"name": "x", "name": "y"}"#;
    assert!(Suite::parse(twice, Syntax::Json).is_err());
    assert!(Suite::parse("name: x\nname: y\n", Syntax::Yaml).is_err());
    assert!(
        Suite::parse("name = 1", Syntax::Toml)
            .unwrap_err()
            .to_string()
            .contains("line 1, `name`: invalid type")
    );
}

#[test]
fn what_does_not_fit_together_is_named_by_path() {
    for (from, to, expected) in [
        (
            "principal = \"anna\"\nexpect",
            "principal = \"carl\"\nexpect",
            "`case[0].principal`: there is no principal `carl`",
        ),
        ("received = \"2026-11-25T10:00:00Z\"", "received = \"ten\"", "`ten` is not a time"),
        ("received = \"2026-11-25T10:00:00Z\"", "", "it has no `received`"),
        ("hook = \"okta.token\"", "hook = \"okta.tokens\"", "there is no hook kind `okta.tokens`"),
        ("hook = \"okta.token\"", "", "it has no `hook`"),
        (
            "then = { verdict = \"deny\" }",
            "then = {}",
            "`matrix[0].expect`: it does not expect anything",
        ),
        ("principal = \"anna\", then", "principal = \"carl\", then", "the matrix has no `carl`"),
        ("otherwise = { verdict = \"allow\" }", "", "`both: bert` has no expectation"),
        (
            "expect = [{ principal = \"anna\", then = { verdict = \"deny\" } }]",
            "expect = [{ then = { verdict = \"deny\" } }, { principal = \"anna\", then = { verdict = \"deny\" } }]",
            "`matrix[0].expect[1]`: earlier rows match everything",
        ),
        (
            "name = \"both\"\nprincipals = [\"anna\", \"bert\"]",
            "name = \"anna\"\nprincipals = []",
            "the matrix has no `anna`",
        ),
        (
            "[[matrix]]\nname = \"both\"",
            "[[case]]\nname = \"anna\"\nexpect = { verdict = \"deny\" }\n[[matrix]]\nname = \"both\"",
            "is there twice",
        ),
        (
            "verdict = \"deny\", findings",
            "fault = \"plugin-trap\", verdict = \"deny\", findings",
            "exclude each other",
        ),
        (
            "[principals.bert]",
            "[settings.a]\njson = 1\ntext = \"1\"\n[principals.bert]",
            "exactly one of",
        ),
        (
            "[principals.bert]",
            "[settings.a]\nfile = \"../x.json\"\n[principals.bert]",
            "leads out of the suite's folder",
        ),
        (
            "[principals.bert]",
            "[settings.a]\nfile = \"x.json\"\n[principals.bert]",
            "`settings.a.file`: no files here",
        ),
        (
            "principal = \"anna\"\nexpect",
            "principal = \"anna\"\nset = { \"/a\" = 1 }\nexpect",
            "there is no payload",
        ),
        (
            "name = \"small\"",
            "name = \"small\"\ncoverage = { demand = [\"rules\"] }",
            "does not say where they are",
        ),
    ] {
        assert!(SMALL.contains(from), "{from}");
        let said = refused(&SMALL.replacen(from, to, 1));
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(refused(SMALL), "");
}

#[test]
fn a_payload_is_read_as_the_platform_means_it() {
    let suite = |payload: &str, more: &str| {
        format!(
            "name = \"wire\"\n[payloads.it]\ntext = '''{payload}'''\n[[case]]\nname = \"a\"\nreceived = \"2026-11-25T10:00:00Z\"\nwith = {{ hook = \"okta.token\", payload = \"it\"{more} }}\nexpect = {{ verdict = \"deny\" }}\n"
        )
    };
    assert!(refused(&suite("{}", "")).contains("`case[0].payload`: the request is refused"));
    assert!(
        refused(&suite("{}", ", purpose = \"x\""))
            .contains("`case[0].purpose`: the call has a payload")
    );
    assert!(refused(&suite("[", "")).contains("`case[0].payload`"));
}

#[test]
fn changes_are_spelled_in_one_way() {
    for (text, expected) in [
        (
            r#"{"change": "cap-lifetime:id-token", "seconds": 300}"#,
            Ok("cap-lifetime:id-token seconds=300"),
        ),
        (r#"{"change": "set:user:/a", "value": {"b": 1}}"#, Ok(r#"set:user:/a value={"b":1}"#)),
        (r#"{"change": "add-grant:scope", "id": "x"}"#, Ok("add-grant:scope id=\"x\"")),
        (r#"{"change": "create-user"}"#, Ok("create-user")),
        (
            r#"{"change": "credential", "credential": "block"}"#,
            Ok("credential credential=\"block\""),
        ),
        (
            r#"{"change": "create-user", "seconds": 1}"#,
            Err("it has a member that such a change does not have"),
        ),
        (r#"{"change": "cap-lifetime:id-token"}"#, Err("it has no `seconds`")),
        (r#"{"change": "cap-lifetime:tokens", "seconds": 1}"#, Err("it does not name a target")),
        (r#"{"change": "forbid"}"#, Err("it is not a change")),
    ] {
        let change: ChangeText = serde_json::from_str(text).unwrap();
        let change = change.change();
        let said = change.as_ref().map(change_text).map_err(|what| *what);
        assert_eq!(said.as_deref().map_err(|what| *what), expected, "{text}");
        if let Ok(change) = change {
            assert!(ChangeText::of(&change).change() == Ok(change));
        }
    }
    let shown = change_text(&Change::RequireApprovers(vec!["a".to_owned()]));
    assert_eq!(shown, "require-approvers approvers=[\"a\"]");
}

#[test]
fn settings_are_held_against_their_schema_by_place() {
    let schema = r#"{"type": "object", "additionalProperties": false, "required": ["a"],
                     "properties": {"a": {"type": "array", "items": {"type": "object", "additionalProperties": false,
                     "properties": {"b": {"type": "string", "pattern": "^x"}}}}}}"#;
    let said = |settings: &str| {
        let complaints = check_settings(schema, settings, &Reads::default()).unwrap();
        complaints.iter().map(|it| (it.pointer.clone(), it.what.clone())).collect::<Vec<_>>()
    };
    assert!(said(r#"{"a": [{"b": "x"}]}"#).is_empty());
    let wrong = said(r#"{"a": [{"b": "x"}, {"b": "Anna Muster"}], "c/d": 1}"#);
    let pointers: Vec<_> = wrong.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert!(pointers.contains(&"/a/1/b") && pointers.contains(&"/c~1d"), "{wrong:?}");
    assert!(!format!("{wrong:?}").contains("Anna"), "values are not repeated: {wrong:?}");
    assert_eq!(said("{}").len(), 1);
    assert_eq!(said("{\"a\": [], \"a\": []}")[0].1, "duplicate member at byte 10");
    assert!(check_settings("{\"type\": 7}", "{}", &Reads::default()).is_err());
    assert!(
        check_settings(r#"{"$ref": "https://example.org/other"}"#, "{}", &Reads::default())
            .is_err(),
        "nothing is fetched"
    );
}

#[test]
fn effects_are_the_contracts_words() {
    let text = SMALL.replacen("verdict = \"deny\"", "verdict = \"step-up\"", 1);
    assert!(Suite::parse(&text, Syntax::Toml).is_ok());
    assert_eq!(Effect::StepUp.name(), "step-up");
}

proptest! {
    /// No text makes the reader panic, in no syntax; what it reads has a bundle that reads back as the same.
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        for syntax in [Syntax::Toml, Syntax::Yaml, Syntax::Json] {
            if let Ok(suite) = Suite::parse(&text, syntax) {
                let bundle = suite.bundle().unwrap();
                prop_assert_eq!(&Suite::parse(std::str::from_utf8(&bundle).unwrap(), Syntax::Json).unwrap(), &suite);
                drop(suite.plan());
            }
        }
    }

    /// Neither does a suite with a piece of it changed.
    #[test]
    fn a_changed_suite_is_read_or_refused(at in 0..SMALL.len(), length in 0..40_usize, piece in "[a-z0-9\\[\\]{}\"=., \n]{0,12}") {
        let end = (at + length).min(SMALL.len());
        let text = format!("{}{piece}{}", SMALL.get(..at).unwrap(), SMALL.get(end..).unwrap());
        if let Ok(suite) = Suite::parse(&text, Syntax::Toml) {
            drop(suite.plan());
        }
    }
}

//! Catalogues, and what they make of arguments.

use proptest::prelude::*;

use super::*;

fn messages(json: &str) -> Messages {
    serde_json::from_str(json).unwrap()
}

fn argument(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), value: value.into() }
}

#[test]
fn validates_each_rule() {
    let long = |length| format!(r#"{{"A":{{"en":"{}"}}}}"#, "é".repeat(length));
    for right in
        [r#"{"SOD_1":{"en":"a {b-c.d_1} {{x}}","de":"{x}","pt-BR":"y"}}"#, "{}", &long(500)]
    {
        assert_eq!(messages(right).validate(), Ok(()), "{right}");
    }
    let wrong = [
        (r#"{"sod":{"en":"a"}}"#.to_owned(), MessageProblem::Code),
        (r#"{"1A":{"en":"a"}}"#.to_owned(), MessageProblem::Code),
        (r#"{"":{"en":"a"}}"#.to_owned(), MessageProblem::Code),
        (format!(r#"{{"{}":{{"en":"a"}}}}"#, "A".repeat(65)), MessageProblem::Code),
        (r#"{"A":{"de":"a"}}"#.to_owned(), MessageProblem::NoEnglish),
        (r#"{"A":{"en":"a","e":"b"}}"#.to_owned(), MessageProblem::Language),
        (r#"{"A":{"en":"a","de-":"b"}}"#.to_owned(), MessageProblem::Language),
        (r#"{"A":{"en":""}}"#.to_owned(), MessageProblem::Length),
        (long(501), MessageProblem::Length),
        (r#"{"A":{"en":"a\nb"}}"#.to_owned(), MessageProblem::Control),
        (r#"{"A":{"en":"a\u202eb"}}"#.to_owned(), MessageProblem::Control),
        (r#"{"A":{"en":"{a"}}"#.to_owned(), MessageProblem::Placeholder),
        (r#"{"A":{"en":"a}"}}"#.to_owned(), MessageProblem::Placeholder),
        (r#"{"A":{"en":"{}"}}"#.to_owned(), MessageProblem::Placeholder),
        (r#"{"A":{"en":"{a b}"}}"#.to_owned(), MessageProblem::Placeholder),
        (r#"{"A":{"en":"{{a}"}}"#.to_owned(), MessageProblem::Placeholder),
    ];
    for (json, problem) in wrong {
        assert_eq!(messages(&json).validate().unwrap_err().problem, problem, "{json}");
    }
    let error = messages(r#"{"A":{"en":"{"}}"#).validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the message `A` in `en` has a placeholder that is not a name in braces"
    );
}

#[test]
fn picks_the_language_then_its_primary_subtag_then_english() {
    let messages = messages(r#"{"A":{"en":"en","pt":"pt","pt-BR":"pt-BR"}}"#);
    for (asked, got) in [
        ("pt-BR", "pt-BR"),
        ("pt-br", "pt-BR"),
        ("pt-PT", "pt"),
        ("fr", "en"),
        ("", "en"),
        ("en-GB", "en"),
    ] {
        assert_eq!(messages.fill("A", asked, &[]).unwrap().1, got, "{asked}");
    }
    assert_eq!(messages.fill("B", "en", &[]), None);
}

#[test]
fn fills_by_type_and_never_twice() {
    let messages = messages(r#"{"A":{"en":"<{s}> {l} {n} {b} {gone} {null} {broken} {{s}} {o}"}}"#);
    let arguments = [
        argument("s", r#""{l}\n\u202e!\u0007<b>&\u200f""#),
        argument("l", "[\"a\",[\"b\",2],null]"),
        argument("n", "1.50"),
        argument("b", "false"),
        argument("null", "null"),
        argument("broken", "\"x"),
        argument("o", "{\"k\":\"v\"}"),
    ];
    let (language, text) = messages.fill("A", "fr", &arguments).unwrap();
    assert_eq!(language, "en", "what was filled in, not what was asked for");
    assert_eq!(text, "<{l}!b&> a, b, 2, … 1.50 false … … … {s} {\"k\":\"v\"}");
}

#[test]
fn cuts_by_characters() {
    let messages = messages(r#"{"A":{"en":"{x}"}}"#);
    let text = messages.fill("A", "en", &[argument("x", &format!("\"{}\"", "é".repeat(600)))]);
    assert_eq!(text.unwrap().1, "é".repeat(500));
}

proptest! {
    #[test]
    fn what_is_valid_fills_to_short_printable_text(template in "[a-z{} é\u{202e}\n]{0,20}", value: String) {
        let messages = Messages([("A".to_owned(), [("en".to_owned(), template.clone())].into())].into());
        let mut json = String::new();
        crate::json::quote(&mut json, &value);
        let (_, text) = messages.fill("A", "de", &[argument("a", &json)]).unwrap();
        prop_assert!(!text.contains(['<', '>']));
        prop_assert!(text.chars().count() <= MAX_MESSAGE_CHARS && !text.contains(is_unprintable));
        if messages.validate().is_ok() && !template.contains(['{', '}']) {
            prop_assert_eq!(text, template);
        }
    }
}

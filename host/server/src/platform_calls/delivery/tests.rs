//! Templates: whatever a message holds arrives as it is and as nothing else; and what a configuration may not say.

use std::path::Path;

use proptest::prelude::*;

use super::config::{DeliveryConfig, DeliverySource};
use super::*;

fn config(toml: &str) -> Result<DeliveryConfig, String> {
    let source: DeliverySource =
        toml::from_str(toml).map_err(|error| error.message().to_owned())?;
    source.check(Path::new("/etc/portcullis"))
}

fn courier(toml: &str) -> DeliveryService {
    DeliveryService::new("sms", &config(toml).unwrap()).unwrap()
}

fn message(to: &str, code: &str, text: Option<&str>) -> Message {
    let own = |text: &str| text.to_owned();
    Message {
        channel: "sms",
        to: own(to),
        code: own(code),
        text: text.map(own),
        locale: Some(own("de-AT")),
        expires: None,
        key: own("event-1"),
    }
}

const JSON: &str = r#"
url = "http://127.0.0.1:9/send"
headers = { accept = "application/json", idempotency-key = "portcullis-{key}" }
json = '''{"to": ["{to}"], "body": "{{{text}}} ({code})", "locale": "{locale}", "until": "{expires}", "keep": [1, true, null]}'''
"#;
const FORM: &str = r#"
url = "http://127.0.0.1:9/send"
method = "PUT"
form = { To = "{to}", Body = "{text}", "odd name&" = "{code}" }
"#;

#[test]
fn a_request_is_as_the_template_has_it() {
    let request =
        courier(JSON).request(&message("+254 700", "42\"42", Some("Code: 42\"42\n"))).unwrap();
    assert_eq!(
        (request.method(), request.uri().to_string().as_str()),
        (&Method::POST, "http://127.0.0.1:9/send")
    );
    let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(
        (header("accept"), header("idempotency-key")),
        ("application/json".into(), "portcullis-event-1".into())
    );
    let json: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    let expected = serde_json::json!({
        "to": ["+254 700"], "body": "{Code: 42\"42\n} (42\"42)", "locale": "de-AT", "until": "", "keep": [1, true, null],
    });
    assert_eq!(json, expected);

    let request = courier(FORM).request(&message("+254 700", "42&42", Some("ü=1"))).unwrap();
    assert_eq!(request.method(), Method::PUT);
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    let pairs: Vec<_> = form_urlencoded::parse(request.body()).into_owned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(pairs, [pair("Body", "ü=1"), pair("To", "+254 700"), pair("odd name&", "42&42")]);
}

#[test]
fn a_message_without_its_code_does_not_leave() {
    let only_text = "url = \"http://127.0.0.1:9/\"\nform = { to = \"{to}\", text = \"{text}\" }";
    assert!(matches!(
        courier(only_text).request(&message("1", "2", None)),
        Err(DeliveryError::NoText)
    ));
    assert!(courier(JSON).request(&message("1", "2", None)).is_ok());
    let key = Message { key: "a\nb".into(), ..message("1", "2", None) };
    assert!(
        matches!(courier(JSON).request(&key), Err(DeliveryError::Malformed)),
        "a key that no header can hold"
    );
}

#[test]
fn what_cannot_be_is_named() {
    let with = |rest: &str| format!("url = \"http://127.0.0.1:9/send\"\n{rest}");
    let good = "form = { to = \"{to}\", text = \"{text}\" }";
    for (rest, says) in [
        ("", "`json` or `form`"),
        ("form = { to = \"{to}\" }", "the template has no code"),
        ("form = { text = \"{text}\" }", "the template has no recipient"),
        (
            "form = { to = \"{to}\", text = \"{text} {mood}\" }",
            "the placeholder `{mood}` is unknown",
        ),
        ("form = { to = \"{to}\", text = \"{text} {\" }", "a brace has no partner"),
        ("json = \"{\"", "not JSON at line 1"),
        (&format!("{good}\njson = '{{}}'"), "set either"),
        (&format!("{good}\nstatus = [500]"), "500 is not a status of success"),
        (&format!("{good}\ntimeout_ms = 1"), "timeout_ms is 1"),
        (
            &format!("{good}\nheaders = {{ authorization = \"Basic c2VjcmV0\" }}"),
            "must be in a file",
        ),
        (&format!("{good}\nheaders = {{ x-text = \"{{text}}\" }}"), "must be in the body"),
        (&format!("{good}\nheaders = {{ \"a b\" = \"x\" }}"), "not a header name"),
        (&format!("{good}\ncolour = 1"), "unknown field"),
    ] {
        let told = config(&with(rest)).err().unwrap_or_else(|| panic!("{rest}"));
        assert!(told.contains(says) && !told.contains("c2VjcmV0"), "{rest}: {told}");
    }
    let told = config(&format!("url = \"http://sms.example/\"\n{good}")).err().unwrap();
    assert!(told.contains("url:"), "{told}");
}

#[test]
fn an_answer_can_say_no_with_a_good_status() {
    let accepted = ExpectedResponse { pointer: "/messages/0/status".into(), equals: "0".into() };
    for (body, taken) in [
        (r#"{"messages":[{"status":"0"}]}"#, true),
        (r#"{"messages":[{"status":0}]}"#, true),
        (r#"{"messages":[{"status":"1"}]}"#, false),
        (r#"{"messages":[]}"#, false),
        ("", false),
        ("OK", false),
    ] {
        assert_eq!(accepted.is_in(body.as_bytes()), taken, "{body}");
    }
}

proptest! {
    #[test]
    fn whatever_is_filled_in_stays_text(to in any::<String>(), code in any::<String>(), text in any::<String>()) {
        let message = message(&to, &code, Some(&text));
        let request = courier(JSON).request(&message).unwrap();
        let json: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
        prop_assert_eq!(&json["to"], &serde_json::json!([to]));
        prop_assert_eq!(json["body"].as_str().unwrap(), format!("{{{text}}} ({code})"));
        prop_assert_eq!(json.as_object().unwrap().len(), 5);
        let request = courier(FORM).request(&message).unwrap();
        let pairs: Vec<_> = form_urlencoded::parse(request.body()).into_owned().collect();
        prop_assert_eq!(pairs, [("Body".to_owned(), text), ("To".to_owned(), to), ("odd name&".to_owned(), code)]);
    }
}

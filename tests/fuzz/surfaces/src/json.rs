//! JSON documents, beside serde_json, which others wrote.

use portcullis_model::json::{Kind, Value};
use portcullis_model::{Cause, Document};
use serde::de::IgnoredAny;

/// A JSON document: what it says of a value is what stands there. What it takes serde_json takes too, and reads as the same values; what it
/// calls no JSON serde_json refuses. (It refuses more than that: duplicate members and deep nesting.)
pub fn json(bytes: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    match Document::parse(bytes) {
        Ok(document) => {
            assert!(serde_json::from_slice::<IgnoredAny>(bytes).is_ok(), "serde_json calls it no JSON");
            assert_eq!(document.text().as_bytes(), bytes);
            assert_eq!(document.text().trim_matches([' ', '\t', '\n', '\r']), document.root().raw());
            // Theirs also refuses numbers that no double can hold.
            if let Ok(theirs) = theirs {
                same(document.root(), &theirs);
            }
        }
        Err(error) => {
            assert!(error.at <= bytes.len());
            assert!(
                !matches!(error.cause, Cause::NotJson | Cause::NotUtf8) || theirs.is_err(),
                "serde_json calls it JSON"
            );
        }
    }
}

fn same(ours: Value<'_>, theirs: &serde_json::Value) {
    match theirs {
        serde_json::Value::Null => assert!(ours.is_null()),
        serde_json::Value::Bool(truth) => assert_eq!(ours.as_bool(), Some(*truth)),
        serde_json::Value::Number(number) => {
            assert!(ours.kind() == Kind::Number);
            assert_eq!(ours.as_u64(), number.as_u64().filter(|_| ours.raw() != "-0"));
        }
        serde_json::Value::String(text) => {
            assert_eq!(ours.as_str().as_deref(), Some(text.as_str()));
            let mut quoted = String::new();
            portcullis_model::json::quote(&mut quoted, text);
            let again = Document::parse(quoted.as_bytes());
            assert!(again.is_ok_and(|again| again.root().as_str().as_deref() == Some(text.as_str())));
        }
        serde_json::Value::Array(elements) => {
            assert_eq!(ours.elements().count(), elements.len());
            assert!(ours.is_array() && ours.index(elements.len()).is_none());
            for (ours, theirs) in ours.elements().zip(elements) {
                same(ours, theirs);
            }
        }
        serde_json::Value::Object(members) => {
            assert_eq!(ours.members().count(), members.len());
            assert!(ours.is_object());
            for (name, value) in ours.members() {
                assert_eq!(ours.get(&name).map(Value::raw), Some(value.raw()));
                match members.get(&*name) {
                    Some(theirs) => same(value, theirs),
                    None => assert!(members.contains_key(&*name), "they know no such member"),
                }
            }
        }
    }
}

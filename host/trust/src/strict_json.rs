//! Reading documents so that no two readers can see different things in them.
//!
//! Invariant: what is returned came from exactly one JSON text with no member twice, none unknown, and
//! nothing after it. Errors name members and places in an operator's words.

use portcullis_model::{Document, humanize};
use serde::de::DeserializeOwned;

/// Reads one JSON document into `T`, whose structs deny unknown members. The error says what was wrong and
/// where.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // serde keeps the last of two equal keys of a map: the strict parser is what refuses them.
    Document::parse(bytes).map_err(|error| {
        format!("{} at byte {}", error.cause.code().replace('-', " "), error.at)
    })?;
    serde_json::from_slice(bytes).map_err(|error| humanize(&error.to_string()))
}

/// Reads one TOML document into `T`. The error says what was wrong and in which line.
pub(crate) fn toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let message = humanize(error.message());
        let before = error.span().and_then(|span| text.get(..span.start));
        match before {
            Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
            None => message,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its reading is tested")]
        size: u64,
        #[expect(dead_code, reason = "only its reading is tested")]
        names: BTreeMap<String, u64>,
    }

    #[test]
    fn only_one_reading() {
        assert!(json::<Sample>(br#" {"size":1,"names":{"a":1}} "#).is_ok());
        for wrong in [
            r#"{"size":1,"size":1,"names":{}}"#,
            r#"{"size":1,"names":{"a":1,"a":2}}"#,
            r#"{"size":1,"names":{"a":1,"\u0061":2}}"#,
            r#"{"size":1,"names":{}}{}"#,
            r#"{"size":1,"names":{}}x"#,
            r#"{"size":1,"names":{},"more":1}"#,
            r#"{"size":1}"#,
            "",
        ] {
            assert!(json::<Sample>(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_are_for_operators() {
        let wrong_type = json::<Sample>(br#"{"size":"x","names":{}}"#).unwrap_err();
        assert!(wrong_type.contains("expected a whole number"), "{wrong_type}");
        let wrong_shape = json::<Vec<Sample>>(b"[1]").unwrap_err();
        assert!(wrong_shape.contains("expected an object"), "{wrong_shape}");
        let line = toml::<Sample>("size = 1\nnames = {}\nmore = 2\n").unwrap_err();
        assert!(line.starts_with("line 3: unknown member `more`"), "{line}");
    }
}

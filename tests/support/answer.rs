//! An answer, and what the platform makes of it.

use serde_json::Value;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, if it is JSON.
    pub json: Value,
    /// The body as it came.
    pub body: Vec<u8>,
    /// Status line and headers, names in lower case.
    pub head: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The record's index, from a reference that stands at this place.
    pub fn index_at(&self, pointer: &str) -> Option<u64> {
        self.json.pointer(pointer)?.as_str()?.rsplit_once('#')?.1.parse().ok()
    }

    /// Whether Okta, told this by a token hook, mints no token: `200` with an `error` object, and nothing else
    /// (hook-contracts 1.2: every other status, and every body without `error`, is a token).
    pub fn stops_a_token(&self) -> bool {
        self.status == 200 && self.json.get("error").is_some_and(Value::is_object)
    }

    /// The text that the person sees.
    pub fn summary(&self) -> &str {
        self.json.pointer("/error/errorSummary").and_then(Value::as_str).unwrap_or_default()
    }

    /// The record's index, from the reference in `debugContext`.
    pub fn index(&self) -> Option<u64> {
        let record = self.json.pointer("/debugContext/record")?.as_str()?;
        record.rsplit_once('#')?.1.parse().ok()
    }

    /// The leaf's hash, base64, from the reference in `debugContext`.
    pub fn leaf(&self) -> Option<&str> {
        self.json.pointer("/debugContext/leaf")?.as_str()
    }

    /// The body as the record has its hash: without the reference.
    pub fn without_reference(&self) -> String {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        match text.split_once(r#""debugContext":"#) {
            Some((answer, _)) => format!("{}}}", answer.trim_end_matches(',')),
            None => text,
        }
    }

    /// Every operation of every patch, as `(token, op, path, value)`.
    pub fn operations(&self) -> Vec<(String, String, String, Value)> {
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut operations = Vec::new();
        for command in self.json.get("commands").and_then(Value::as_array).into_iter().flatten() {
            for operation in command.get("value").and_then(Value::as_array).into_iter().flatten() {
                let value = operation.get("value").cloned().unwrap_or_default();
                operations.push((
                    text(command.get("type")),
                    text(operation.get("op")),
                    text(operation.get("path")),
                    value,
                ));
            }
        }
        operations
    }
}

/// Returns JSON with `REFERENCE` in the place of every help-desk reference that its texts end with:
/// the references differ from run to run.
pub fn hide_references(json: &Value) -> Value {
    match json {
        Value::String(text) => Value::String(hide_reference(text)),
        Value::Array(values) => values.iter().map(hide_references).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), hide_references(value))).collect()
        }
        _ => json.clone(),
    }
}

/// Returns a text with `REFERENCE` in the place of the help-desk reference that it ends with.
pub fn hide_reference(text: &str) -> String {
    let is_reference = |it: &str| {
        it.len() == 8 && it.chars().all(|it| it.is_ascii_uppercase() || ('2'..='7').contains(&it))
    };
    let Some(sentence) = SENTENCES.iter().find(|sentence| text.contains(**sentence)) else {
        return text.to_owned();
    };
    match text.rsplit_once(sentence).and_then(|(before, it)| Some((before, it.strip_suffix('.')?)))
    {
        Some((before, reference)) if is_reference(reference) => {
            format!("{before}{sentence}REFERENCE.")
        }
        // Not one that a test expects.
        _ => text.to_owned(),
    }
}

/// The sentence before a reference, in the languages of the tests.
const SENTENCES: [&str; 3] =
    ["Help-desk reference: ", "Referenz für den Helpdesk: ", "Référence pour l’assistance : "];

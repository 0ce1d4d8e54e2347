//! Settings held against the JSON Schema in their plugin's manifest, before anything of the plugin runs.
//!
//! Invariant: a complaint names the place by JSON Pointer and what is wrong there, and repeats nothing that stands in the settings but names of
//! members: settings name people. No schema makes anybody fetch another one.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, ValidationError, Validator};
use portcullis_model::json::escape_token;
use portcullis_model::{Document, Reads};
use serde_json::Value;

use crate::reads::check_reads;

/// Operator: one thing that is wrong with settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// JSON Pointer; empty for the whole.
    pub pointer: String,
    /// What is wrong there.
    pub what: String,
}

/// Publisher: the schema itself is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settings' schema cannot be used: {0}")]
pub struct SchemaError(String);

/// Checks settings (JSON text) against a schema (JSON text, 2020-12 unless it says otherwise), and
/// the inputs that they name against the manifest's `reads`. No complaint: they fit.
///
/// # Errors
/// [`SchemaError`], where the schema is at fault.
pub fn check_settings(
    schema: &str,
    settings: &str,
    reads: &Reads,
) -> Result<Vec<SettingError>, SchemaError> {
    let schema: Value =
        serde_json::from_str(schema).map_err(|error| SchemaError(error.to_string()))?;
    let validator = compile(&schema)?;
    if let Err(error) = Document::parse(settings.as_bytes()) {
        let what = format!("{} at byte {}", error.cause.code().replace('-', " "), error.at);
        return Ok(vec![SettingError { pointer: String::new(), what }]);
    }
    let settings: Value = match serde_json::from_str(settings) {
        Ok(settings) => settings,
        Err(error) => {
            return Ok(vec![SettingError { pointer: String::new(), what: error.to_string() }]);
        }
    };
    Ok(validator
        .iter_errors(&settings)
        .flat_map(|error| complaints(&error))
        .chain(check_reads(&schema, &settings, reads).map_err(SchemaError)?)
        .take(MAX_COMPLAINTS)
        .collect())
}

/// A member that is none is named by its own place; everything else by the place that the schema looked at.
fn complaints(error: &ValidationError<'_>) -> Vec<SettingError> {
    let pointer = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let member = |name: &String| SettingError {
                pointer: format!("{pointer}/{}", escape_token(name)),
                what: "there is no such setting".to_owned(),
            };
            unexpected.iter().map(member).collect()
        }
        _ => {
            let what = error.masked_with("it").to_string().chars().take(MAX_CHARS).collect();
            vec![SettingError { pointer: pointer.to_owned(), what }]
        }
    }
}

impl std::fmt::Display for SettingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "`{place}`: {}", self.what)
    }
}

pub(crate) fn compile(schema: &Value) -> Result<Validator, SchemaError> {
    let options = jsonschema::options().with_draft(Draft::Draft202012);
    options.build(schema).map_err(|error| SchemaError(error.masked().to_string()))
}

/// Most complaints that are told.
const MAX_COMPLAINTS: usize = 32;

/// Longest complaint, characters.
const MAX_CHARS: usize = 300;

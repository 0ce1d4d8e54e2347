//! Settings held against the JSON Schema in their plugin's manifest, before anything of the plugin runs.
//!
//! Invariant: a complaint names the place by JSON Pointer and what is wrong there, and repeats nothing that stands in the settings but names of
//! members: settings name people. No schema makes anybody fetch another one.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use portcullis_model::json::escape_token;
use portcullis_model::{Document, Reads};
use serde_json::Value;

use crate::reads::check_reads;
use crate::validator::{SchemaError, SettingError, compile};

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

/// Most complaints that are told.
const MAX_COMPLAINTS: usize = 32;

/// Longest complaint, characters.
const MAX_CHARS: usize = 300;

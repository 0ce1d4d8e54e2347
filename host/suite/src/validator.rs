//! Compiling a JSON Schema of settings, and the errors of schemas and settings.
//!
//! Invariant: no schema makes the host fetch another one. What is checked is in `schema` and
//! `reads`.

use std::fmt;

use jsonschema::{Draft, Validator};
use serde_json::Value;

/// Operator: one thing that is wrong with settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// JSON Pointer; empty for the whole.
    pub pointer: String,
    /// The problem.
    pub what: String,
}

/// Publisher: the schema itself is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settings' schema cannot be used: {0}")]
pub struct SchemaError(pub(crate) String);

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "`{place}`: {}", self.what)
    }
}

pub(crate) fn compile(schema: &Value) -> Result<Validator, SchemaError> {
    let options = jsonschema::options().with_draft(Draft::Draft202012);
    options.build(schema).map_err(|error| SchemaError(error.masked().to_string()))
}

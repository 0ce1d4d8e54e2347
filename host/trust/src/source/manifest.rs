//! A manifest as the plugin's author writes it: `manifest.toml` beside the plugin.
//!
//! Invariant: what the author does not say becomes the least: no capability, no change, the default limits.

use std::collections::BTreeSet;

use portcullis_model::{Limits, Messages, Millis};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Validity, malformed, payload};
use crate::manifest::{
    Capability, EmitsText, Manifest, PassedSuite, Predicate, SchemaText, Statement, Subject,
    SubjectDigest,
};
use crate::refusal::Refusal;
use crate::strict_json;

/// The source of a manifest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSource {
    /// The plugin's id, reverse DNS.
    pub id: String,
    /// Its version, for people.
    pub version: String,
    /// Its version, for machines.
    pub serial: u64,
    /// The file with the JSON Schema of its settings, as the author wrote its path.
    pub settings_schema: Option<String>,
    /// The file with the suite that must pass before this is signed, and again before a host lets it decide.
    pub suite: Option<String>,
    hooks: Vec<String>,
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    optional: Vec<String>,
    #[serde(default)]
    emits: EmitsText,
    /// The capabilities that it requests.
    #[serde(default)]
    pub capabilities: BTreeSet<Capability>,
    #[serde(default)]
    limits: LimitsSource,
    validity: Validity,
    #[serde(default)]
    messages: Messages,
}

/// `[limits]`: those that are not said are [`Limits::DEFAULT`]'s.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsSource {
    memory_bytes: Option<u64>,
    time_ms: Option<u32>,
    output_bytes: Option<u32>,
}

impl ManifestSource {
    /// Reads a `manifest.toml`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        strict_json::toml(text).map_err(malformed)
    }

    /// The payload to sign, as [`Manifest::PAYLOAD_TYPE`], for this component. `schema` is what stands in the
    /// file that `settings_schema` names, `suite` what passed of the file that `suite` names.
    pub fn to_statement(
        &self,
        wasm: &[u8],
        schema: Option<&str>,
        suite: Option<PassedSuite>,
        now: Millis,
    ) -> Result<Vec<u8>, Refusal> {
        if self.suite.is_some() != suite.is_some() {
            return Err(malformed(
                "it demands a passed suite but no suite was run, or a suite was run that it \
                 does not demand",
            ));
        }
        let bytes = self.statement(wasm, schema, suite, now)?;
        Manifest::parse(&bytes)?;
        Ok(bytes)
    }

    /// The manifest that this comes to, for trying the component before anything is signed.
    pub fn manifest(
        &self,
        wasm: &[u8],
        schema: Option<&str>,
        now: Millis,
    ) -> Result<Manifest, Refusal> {
        Manifest::parse(&self.statement(wasm, schema, None, now)?)
    }

    fn statement(
        &self,
        wasm: &[u8],
        schema: Option<&str>,
        suite: Option<PassedSuite>,
        now: Millis,
    ) -> Result<Vec<u8>, Refusal> {
        let settings_schema = match (&self.settings_schema, schema) {
            (Some(_), Some(schema)) => Some(schema_text(schema)?),
            (None, None) => None,
            (Some(_), None) => {
                return Err(malformed("`settings_schema` names a file that was not given"));
            }
            (None, Some(_)) => {
                return Err(malformed(
                    "a settings schema was given, but `settings_schema` does \
                 not name one",
                ));
            }
        };
        let (not_before, expires) = self.validity.window(now)?;
        let predicate = Predicate {
            id: self.id.clone(),
            version: self.version.clone(),
            serial: self.serial,
            world: Manifest::WORLD.to_owned(),
            wasm_size: u64::try_from(wasm.len())
                .map_err(|_| malformed("the component is too large"))?,
            hooks: self.hooks.clone(),
            reads: self.reads.clone(),
            requires: self.requires.clone(),
            optional: self.optional.clone(),
            emits: self.emits.clone(),
            capabilities: self.capabilities.iter().map(|it| it.name().to_owned()).collect(),
            limits: self.limits.filled(),
            messages: self.messages.clone(),
            settings_schema,
            suite,
            not_before,
            expires,
        };
        let digest = portcullis_model::sha256(wasm).to_string();
        let sha256 = digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned();
        let statement = Statement {
            statement_type: Manifest::STATEMENT_TYPE.to_owned(),
            subject: vec![Subject { name: self.id.clone(), digest: SubjectDigest { sha256 } }],
            predicate_type: Manifest::PREDICATE_TYPE.to_owned(),
            predicate,
        };
        payload(&statement)
    }
}

impl LimitsSource {
    fn filled(&self) -> Limits {
        Limits {
            memory_bytes: self.memory_bytes.unwrap_or(Limits::DEFAULT.memory_bytes),
            time_ms: self.time_ms.unwrap_or(Limits::DEFAULT.time_ms),
            output_bytes: self.output_bytes.unwrap_or(Limits::DEFAULT.output_bytes),
        }
    }
}

fn schema_text(schema: &str) -> Result<SchemaText, Refusal> {
    let schema = schema.trim_matches([' ', '\t', '\r', '\n']);
    let digest = portcullis_model::sha256(schema.as_bytes());
    let schema = RawValue::from_string(schema.to_owned());
    let schema =
        schema.map_err(|error| malformed(format!("its settings schema is not JSON: {error}")))?;
    Ok(SchemaText { digest, schema })
}

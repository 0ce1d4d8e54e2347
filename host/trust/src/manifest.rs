//! A plugin's manifest: what it is, what it may see and say, what it may use, and from when until when.
//!
//! Invariant: a [`Manifest`] is compiled and within the host's own limits, so that nobody later has to ask
//! whether it makes sense. It is a statement by somebody: whether they may make it is for
//! [`verify_manifest`](crate::verify_manifest), whether the component keeps to it is for the engine, which
//! enforces `reads`, `emits` and `limits` on each call.

use std::collections::BTreeSet;

use portcullis_model::{Digest, Effect, Emits, Limits, Messages, Millis, Reads};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dsse::Envelope;
use crate::names::{is_hook_kind, is_plugin_id, quoted};
use crate::refusal::{Refusal, RefusalCode};
use crate::{strict_json, time};

/// A manifest, compiled.
pub struct Manifest {
    /// The plugin's id, reverse DNS.
    pub id: String,
    /// Its version, for people (Semantic Versioning 2.0.0).
    pub version: String,
    /// Its version, for machines: grows with each release of this id.
    pub serial: u64,
    /// The digest of the component.
    pub wasm: Digest,
    /// The size of the component, bytes.
    pub wasm_size: u64,
    /// The hook kinds it is made for.
    pub hooks: Vec<String>,
    /// The inputs of a call that it reads.
    pub reads: Reads,
    /// The effects and changes that it may emit.
    pub emits: Emits,
    /// The capabilities that it requests.
    pub capabilities: BTreeSet<Capability>,
    /// The limits of one call.
    pub limits: Limits,
    /// The text for people, by finding code.
    pub messages: Messages,
    /// The schema of its settings.
    pub settings_schema: Option<SettingsSchema>,
    /// The suite that it passed before it was signed, and must pass before it decides.
    pub suite: Option<PassedSuite>,
    /// From when it may be used.
    pub not_before: Millis,
    /// Until when it may be used.
    pub expires: Millis,
}

/// Something of the host that a plugin may import, or something beyond deciding that it may export. A component
/// that does what its manifest does not ask for is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Notes for the sealed part of the record.
    Journal,
    /// The memory of the plugin.
    Memory,
    /// Rows of reference tables.
    Reference,
    /// Answering "which ones?" (AuthZEN search).
    Search,
    /// Setting findings of other plugins aside (the change `waive`).
    Waive,
}

/// The JSON Schema of a plugin's settings.
pub struct SettingsSchema {
    /// The digest of `text`: that of the author's file without the white space around it.
    pub digest: Digest,
    /// JSON text.
    pub text: String,
}

/// A test suite, as one text with everything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassedSuite {
    /// The digest of that text.
    pub digest: Digest,
    /// How many cases passed.
    pub cases: u32,
}

impl Manifest {
    /// The payload type of its envelope: an in-toto statement.
    pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

    /// The type of the statement (in-toto Attestation Framework, *Statement v1*).
    pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

    /// The type of the statement's predicate.
    pub const PREDICATE_TYPE: &str = "https://portcullis.dev/plugin-manifest/v1";

    /// The contract between host and plugin that this host speaks.
    pub const WORLD: &str = "portcullis:policy/plugin@0.2.0";

    /// Reads a manifest without asking who signed it: for showing it, and to find its component. To use it, verify it.
    pub fn unverified(envelope: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(envelope)?;
        envelope.expect_type(Self::PAYLOAD_TYPE)?;
        Self::parse(envelope.unverified_payload())
    }

    /// Reads and compiles the payload of a manifest.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let statement: Statement = strict_json::json(payload).map_err(malformed)?;
        let types = [
            (&statement.statement_type, Self::STATEMENT_TYPE),
            (&statement.predicate_type, Self::PREDICATE_TYPE),
        ];
        if let Some((said, known)) = types.into_iter().find(|(said, known)| said != known) {
            return Err(malformed(format!("it is of the type {}, not `{known}`", quoted(said))));
        }
        let [subject] = statement.subject.as_slice() else {
            return Err(malformed(format!(
                "it is about {} components, not one",
                statement.subject.len()
            )));
        };
        if subject.name != statement.predicate.id {
            let (name, id) = (quoted(&subject.name), quoted(&statement.predicate.id));
            return Err(malformed(format!("its subject is {name} and its id {id}")));
        }
        let wasm = format!("sha256:{}", subject.digest.sha256).parse();
        let wasm = wasm.map_err(|_| {
            malformed("its subject's `sha256` is not 64 lower-case hexadecimal digits")
        })?;
        statement.predicate.compile(wasm)
    }

    /// Refuses a hook kind that the manifest does not name.
    pub fn serves(&self, kind: &str) -> Result<(), Refusal> {
        if self.hooks.iter().any(|hook| hook == kind) {
            return Ok(());
        }
        let sentence = format!(
            "the manifest of {} does not name the hook kind {}",
            quoted(&self.id),
            quoted(kind)
        );
        Err(Refusal::new(RefusalCode::HookNotDeclared, sentence))
    }

    /// Refuses a component that has not the size, and then the digest, that the manifest was made for.
    pub fn check_component(&self, wasm: &[u8]) -> Result<(), Refusal> {
        let bytes = u64::try_from(wasm.len()).unwrap_or(u64::MAX);
        self.check_measured(bytes, || portcullis_model::sha256(wasm))
    }

    /// Refuses a component of which only the size in bytes and the digest are known. The digest is
    /// asked for only where the size is right.
    ///
    /// # Errors
    /// [`RefusalCode::SizeMismatch`] or [`RefusalCode::DigestMismatch`].
    pub fn check_measured(
        &self,
        bytes: u64,
        digest: impl FnOnce() -> Digest,
    ) -> Result<(), Refusal> {
        let id = quoted(&self.id);
        if bytes != self.wasm_size {
            let sentence = format!(
                "the component of {id} has {bytes} bytes, its manifest says {}",
                self.wasm_size
            );
            return Err(Refusal::new(RefusalCode::SizeMismatch, sentence));
        }
        let found = digest();
        if found == self.wasm {
            return Ok(());
        }
        let sentence = format!(
            "the component of {id} is {found}, but its manifest was signed for {}",
            self.wasm
        );
        Err(Refusal::new(RefusalCode::DigestMismatch, sentence))
    }
}

impl Capability {
    /// The word in manifests, which is the interface's or the change's name in `wit/policy.wit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Memory => "memory",
            Self::Reference => "reference",
            Self::Search => "search",
            Self::Waive => "waive",
        }
    }

    /// The capability with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.name() == name)
    }

    const ALL: [Self; 5] =
        [Self::Journal, Self::Memory, Self::Reference, Self::Search, Self::Waive];
}

/// The wire form; also what [`ManifestSource`](crate::ManifestSource) writes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    #[serde(rename = "_type")]
    pub(crate) statement_type: String,
    pub(crate) subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    pub(crate) predicate_type: String,
    pub(crate) predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) digest: SubjectDigest,
}

/// in-toto's DigestSet, of which one algorithm is taken. Hexadecimal without a prefix.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubjectDigest {
    pub(crate) sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Predicate {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) serial: u64,
    pub(crate) world: String,
    pub(crate) wasm_size: u64,
    pub(crate) hooks: Vec<String>,
    pub(crate) reads: Vec<String>,
    pub(crate) requires: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) optional: Vec<String>,
    pub(crate) emits: EmitsText,
    /// Names; a later version of the host may have some that this one lacks.
    pub(crate) capabilities: BTreeSet<String>,
    pub(crate) limits: Limits,
    pub(crate) messages: Messages,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) settings_schema: Option<SchemaText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) suite: Option<PassedSuite>,
    #[serde(with = "time::text")]
    pub(crate) not_before: Millis,
    #[serde(with = "time::text")]
    pub(crate) expires: Millis,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EmitsText {
    pub(crate) effects: Vec<Effect>,
    pub(crate) changes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchemaText {
    pub(crate) digest: Digest,
    pub(crate) schema: Box<RawValue>,
}

impl Predicate {
    fn compile(self, wasm: Digest) -> Result<Manifest, Refusal> {
        self.check_names()?;
        self.check_bounds()?;
        let reads = Reads::compile(&self.reads, &self.requires)
            .and_then(|reads| reads.with_optional(&self.optional))
            .map_err(|error| malformed(error.to_string()))?;
        let capabilities = self.capabilities()?;
        if reads.tables().next().is_some() && !capabilities.contains(&Capability::Reference) {
            return Err(malformed(
                "its `reads` name reference tables, but its `capabilities` lack `reference`",
            ));
        }
        let emits = Emits::compile(&self.emits.effects, &self.emits.changes)
            .map_err(|error| malformed(error.to_string()))?;
        if emits.waives() && !capabilities.contains(&Capability::Waive) {
            return Err(malformed("its `emits` has `waive`, but its `capabilities` lack it"));
        }
        self.messages.validate().map_err(|error| malformed(error.to_string()))?;
        let settings_schema = self.settings_schema.map(SchemaText::check).transpose()?;
        Ok(Manifest {
            id: self.id,
            version: self.version,
            serial: self.serial,
            wasm,
            wasm_size: self.wasm_size,
            hooks: self.hooks,
            reads,
            emits,
            capabilities,
            limits: self.limits,
            messages: self.messages,
            settings_schema,
            suite: self.suite,
            not_before: self.not_before,
            expires: self.expires,
        })
    }

    fn capabilities(&self) -> Result<BTreeSet<Capability>, Refusal> {
        let capability = |name: &String| {
            Capability::from_name(name).ok_or_else(|| {
                let sentence = format!(
                    "the plugin {} requests the capability {}, which this version of the host does \
                     not support",
                    quoted(&self.id),
                    quoted(name)
                );
                Refusal::new(RefusalCode::CapabilityUnavailable, sentence)
            })
        };
        self.capabilities.iter().map(capability).collect()
    }

    fn check_names(&self) -> Result<(), Refusal> {
        if !is_plugin_id(&self.id) {
            return Err(malformed(format!(
                "the id {} is not reverse DNS, such as `org.hospital.sod`",
                quoted(&self.id)
            )));
        }
        if semver::Version::parse(&self.version).is_err() {
            return Err(malformed(format!(
                "the version {} does not have the form of `1.4.0`",
                quoted(&self.version)
            )));
        }
        if self.world != Manifest::WORLD {
            let sentence = format!(
                "the plugin {} is built for {}, but this host supports `{}`",
                quoted(&self.id),
                quoted(&self.world),
                Manifest::WORLD
            );
            return Err(Refusal::new(RefusalCode::WorldUnsupported, sentence));
        }
        if self.hooks.is_empty() {
            return Err(malformed("it does not name a hook kind"));
        }
        match self.hooks.iter().find(|hook| !is_hook_kind(hook)) {
            Some(hook) => {
                Err(malformed(format!("{} is not a hook kind, such as `okta.token`", quoted(hook))))
            }
            None => Ok(()),
        }
    }

    fn check_bounds(&self) -> Result<(), Refusal> {
        if self.serial == 0 {
            return Err(malformed("`serial` is 0; the first is 1"));
        }
        if self.not_before >= self.expires {
            return Err(malformed("its end is before its beginning"));
        }
        let Limits { memory_bytes, time_ms, output_bytes } = self.limits;
        if memory_bytes == 0 || time_ms == 0 || output_bytes == 0 {
            return Err(malformed("a limit is 0"));
        }
        if self.limits.within_ceiling() {
            return Ok(());
        }
        let most = Limits::CEILING;
        let sentence = format!(
            "the plugin {} asks for {memory_bytes} bytes, {time_ms} ms and {output_bytes} bytes of output; the most is {}, {} and {}",
            quoted(&self.id),
            most.memory_bytes,
            most.time_ms,
            most.output_bytes
        );
        Err(Refusal::new(RefusalCode::LimitsTooHigh, sentence))
    }
}

impl SchemaText {
    fn check(self) -> Result<SettingsSchema, Refusal> {
        let text = self.schema.get();
        if portcullis_model::sha256(text.as_bytes()) != self.digest {
            return Err(malformed("its settings schema is not the one that its digest names"));
        }
        Ok(SettingsSchema { digest: self.digest, text: text.to_owned() })
    }
}

fn malformed(what: impl AsRef<str>) -> Refusal {
    Refusal::new(
        RefusalCode::ManifestMalformed,
        format!("the manifest is malformed: {}", what.as_ref()),
    )
}

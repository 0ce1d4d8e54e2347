//! A release set as its owner writes it: `release.toml`, which names manifests and settings by their files.
//!
//! Invariant: a release set is made only of manifests that the trust root would let in, so that it cannot
//! fail for them later.

use std::collections::BTreeMap;

use portcullis_model::{Digest, Millis, Mode};
use serde::Deserialize;

use super::rollout::CandidateSource;
use super::{Validity, malformed, payload};
use crate::names::quoted;
use crate::refusal::{Refusal, RefusalCode};
use crate::release::{Binding, PluginEntry, ReleaseSet, TableEntry};
use crate::revoked::RevokedPlugins;
use crate::rollout::SignedLimits;
use crate::root::TrustRoot;
use crate::verify::verify_manifest;
use crate::{strict_json, time};

/// The source of a release set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSource {
    /// Its number: the generation.
    pub version: u64,
    validity: Validity,
    /// The files of the live plugins' manifests, signed.
    plugins: Vec<String>,
    /// The files of manifests that are only candidates.
    #[serde(default)]
    candidates: Vec<String>,
    /// Days after its end in which a host that had activated it may start with it again.
    #[serde(default = "default_grace_days")]
    grace_days: u32,
    #[serde(default)]
    min_serial: BTreeMap<String, u64>,
    #[serde(default)]
    revoked: RevokedPlugins,
    #[serde(default, rename = "table")]
    tables: Vec<TableSource>,
    #[serde(default, rename = "binding")]
    bindings: Vec<BindingSource>,
}

/// `[[table]]`: a reference table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableSource {
    /// The file of its declaration, TOML.
    declaration: String,
    /// The file of its rows, in the host's folder of tables; without it the declaration has a
    /// `source`.
    file: Option<String>,
    /// The digest of the only version that may be used, or of the one that is confirmed.
    version: Option<Digest>,
}

/// `[[binding]]`: a plugin on a hook.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingSource {
    hook: String,
    pub(super) plugin: String,
    mode: Mode,
    /// The file of its settings. Without one they are [`ReleaseSet::NO_SETTINGS`].
    pub(super) settings: Option<String>,
    #[serde(default)]
    fallback: BTreeMap<String, String>,
    #[serde(default)]
    bounds: SignedLimits,
    candidate: Option<CandidateSource>,
}

impl ReleaseSource {
    /// Reads a `release.toml`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        strict_json::toml(text).map_err(malformed)
    }

    /// Every file that the source names, as its author wrote the paths; the caller reads them for
    /// [`to_payload`](Self::to_payload).
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let settings = self.bindings.iter().filter_map(|binding| binding.settings.as_deref());
        let tried = self
            .bindings
            .iter()
            .filter_map(|binding| binding.candidate.as_ref()?.settings.as_deref());
        let tables = self.tables.iter().map(|table| table.declaration.as_str());
        let plugins = self.plugins.iter().chain(&self.candidates).map(String::as_str);
        plugins.chain(settings).chain(tried).chain(tables)
    }

    /// The payload to sign, as [`ReleaseSet::PAYLOAD_TYPE`]: what the source says, with the bytes of the
    /// files that it names.
    pub fn to_payload(
        &self,
        root: &TrustRoot,
        files: &BTreeMap<String, Vec<u8>>,
        now: Millis,
    ) -> Result<Vec<u8>, Refusal> {
        if self.validity.not_before.is_some() {
            return Err(malformed(
                "a release set cannot have `not_before`, because it is valid from the time of \
                 issue",
            ));
        }
        let (issued, expires) = self.validity.window(now)?;
        let file = |path: &String| {
            files.get(path).ok_or_else(|| malformed(format!("{} was not given", quoted(path))))
        };
        let listed = |paths: &[String]| {
            let mut plugins = BTreeMap::new();
            for path in paths {
                let verified = verify_manifest(root, file(path)?, now)?;
                let id = verified.manifest.id.clone();
                if plugins
                    .insert(id, PluginEntry::of(&verified.manifest, verified.digest))
                    .is_some()
                {
                    return Err(malformed(format!(
                        "{} is a second manifest of the same plugin",
                        quoted(path)
                    )));
                }
            }
            Ok(plugins)
        };
        let (plugins, candidates) = (listed(&self.plugins)?, listed(&self.candidates)?);
        let mut bindings = Vec::with_capacity(self.bindings.len());
        for source in &self.bindings {
            let settings = source
                .settings
                .as_ref()
                .map_or(Ok(ReleaseSet::NO_SETTINGS), |path| file(path).map(Vec::as_slice))?;
            bindings.push(Binding {
                hook: source.hook.clone(),
                plugin: source.plugin.clone(),
                mode: source.mode,
                settings: portcullis_model::sha256(settings),
                fallback: source.fallback.clone(),
                bounds: source.bounds,
                candidate: source
                    .candidate
                    .as_ref()
                    .map(|it| it.to_candidate(source, &file))
                    .transpose()?,
            });
        }
        bindings.sort();
        let mut tables = BTreeMap::new();
        for source in &self.tables {
            let path = &source.declaration;
            let (name, entry) = source.to_entry(file(path)?).map_err(|why| {
                malformed(format!("{}, the declaration of a table: {why}", quoted(path)))
            })?;
            if entry.is_signed() && root.data.is_none() {
                let sentence = format!(
                    "the table {} is declared as signed, and the trust root {} has no role `data`",
                    quoted(&name),
                    root.version
                );
                return Err(Refusal::new(RefusalCode::DataUnavailable, sentence));
            }
            if tables.insert(name.clone(), entry).is_some() {
                return Err(malformed(format!("the table {} is declared twice", quoted(&name))));
            }
        }
        let bytes = payload(&ReleaseSet {
            version: self.version,
            issued,
            expires,
            grace: time::days_after(expires, self.grace_days),
            root_version: root.version,
            plugins,
            candidates,
            min_serial: self.min_serial.clone(),
            revoked: self.revoked.clone(),
            tables,
            bindings,
        })?;
        let set = ReleaseSet::parse(&bytes)?;
        // Nobody signs what no host would take.
        set.unrevoked(&root.revoked)?;
        set.unrevoked(&set.revoked)?;
        Ok(bytes)
    }
}

impl TableSource {
    /// The entry of the set, and its name. Whether the declaration is one is for who loads tables.
    fn to_entry(&self, declaration: &[u8]) -> Result<(String, TableEntry), String> {
        let text = std::str::from_utf8(declaration).map_err(|_| "it is not UTF-8".to_owned())?;
        let declaration: serde_json::Value = strict_json::toml(text)?;
        let name = declaration.get("name").and_then(serde_json::Value::as_str);
        let name = name.ok_or("it has no `name`")?.to_owned();
        Ok((name, TableEntry { declaration, file: self.file.clone(), version: self.version }))
    }
}

/// A week: a set that ends on a holiday is signed anew on the next working day.
fn default_grace_days() -> u32 {
    7
}

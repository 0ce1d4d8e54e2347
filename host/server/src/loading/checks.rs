//! Checks of a binding before its plugin is prepared: whether it can be made, and whether
//! everything that the plugin may emit can be said.
//!
//! Invariant: one function for the host, for candidates and for the commands that sign and check,
//! so that nothing is signed that a host refuses for one of these reasons. Nothing here compiles or
//! runs a plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use portcullis_engine::Inspection;
use portcullis_hooks::HookKind;
use portcullis_hooks::capabilities::{self, Support};
use portcullis_model::{Digest, Effect, Mode, sha256};
use portcullis_store::tables::Declaration;
use portcullis_trust::{
    Binding, Candidate, Capability, Manifest, PluginEntry, ReleaseSet, verify_binding,
};

use super::ReleaseError;
use super::error::invalid_binding;
use crate::loading::self_test;
use crate::tables;

/// The parts of a release set, for a check before anybody signs it.
pub struct SourceFiles<'a> {
    /// The set.
    pub set: &'a ReleaseSet,
    /// Manifest, by the digest that the set lists.
    pub manifests: BTreeMap<Digest, Manifest>,
    /// Component, by its digest. One that is not there is a problem, unless `components_elsewhere`.
    pub components: BTreeMap<Digest, Vec<u8>>,
    /// Settings, by digest.
    pub settings: BTreeMap<Digest, String>,
    /// Whether components that are not there are left to whoever publishes.
    pub components_elsewhere: bool,
    /// The hooks of the host that it is for, by name, where that is known.
    pub hooks: Option<BTreeMap<String, HookKind>>,
}

/// A problem of a set that is to be signed.
pub struct SourceProblem {
    /// The hook's name and the plugin's id of the binding that has the problem; of a candidate, the
    /// candidate's id. `None` where the problem is the set's.
    pub binding: Option<(String, String)>,
    /// The problem.
    pub error: ReleaseError,
}

/// Checks everything of a release set that a host would refuse it for and that can be known without
/// running its plugins. Signatures and times are checked by whoever signs.
///
/// # Errors
/// Everything that is wrong, never nothing.
pub fn check_source(given: &SourceFiles<'_>) -> Result<(), Vec<SourceProblem>> {
    let mut problems = Vec::new();
    let declared = tables::declarations(given.set);
    if let Err(wrong) = &declared {
        let of_set =
            |why: &String| SourceProblem { binding: None, error: ReleaseError::Table(why.clone()) };
        problems.extend(wrong.iter().map(of_set));
    }
    // What a plugin reads is compared with declarations that hold.
    let declared = declared.ok();
    for source in &given.set.bindings {
        let entry = given.set.plugins.get(&source.plugin);
        problems.extend(given.problems(source, entry, declared.as_deref()));
        if let Some(candidate) = &source.candidate {
            let (promoted, entry) = (promoted(source, candidate), given.set.candidate(candidate));
            problems.extend(given.problems(&promoted, entry, declared.as_deref()));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

impl SourceFiles<'_> {
    fn problems(
        &self,
        source: &Binding,
        entry: Option<&PluginEntry>,
        declared: Option<&[Declaration]>,
    ) -> impl Iterator<Item = SourceProblem> {
        let manifest = entry.and_then(|entry| self.manifests.get(&entry.manifest));
        let unread = manifest.zip(declared).and_then(|(it, declared)| tables::unread(it, declared));
        let errors =
            [unread.map(|why| invalid_binding(source, why)), self.check(source, entry).err()];
        errors.into_iter().flatten().map(|error| {
            let binding = Some((source.hook.clone(), source.plugin.clone()));
            SourceProblem { binding, error }
        })
    }

    fn check(&self, source: &Binding, entry: Option<&PluginEntry>) -> Result<(), ReleaseError> {
        let missing = |what, digest| ReleaseError::Missing {
            plugin: source.plugin.clone(),
            what,
            digest,
            folder: PathBuf::from("."),
        };
        let entry = entry
            .ok_or_else(|| invalid_binding(source, "the release set does not list this plugin"))?;
        let manifest = self
            .manifests
            .get(&entry.manifest)
            .ok_or_else(|| missing("manifest", entry.manifest))?;
        let none = source.settings == sha256(ReleaseSet::NO_SETTINGS);
        let settings =
            if none { Some("{}") } else { self.settings.get(&source.settings).map(String::as_str) };
        let settings = settings.ok_or_else(|| missing("settings", source.settings))?;
        let component = self.components.get(&manifest.wasm);
        if component.is_none() && !self.components_elsewhere {
            return Err(missing("component", manifest.wasm));
        }
        let component = component.map(Vec::as_slice);
        let kinds: Vec<_> = match &self.hooks {
            Some(hooks) => {
                vec![hooks.get(&source.hook).copied().ok_or_else(|| {
                    invalid_binding(source, "the configuration has no hook of this name")
                })?]
            }
            // Which kind the hook has is not known: one of the manifest's it must be.
            None => manifest.hooks.iter().filter_map(|name| HookKind::from_name(name)).collect(),
        };
        let mut first = None;
        for kind in kinds {
            match check_known(kind, source, manifest, component, settings) {
                Ok(()) => return Ok(()),
                // A problem on every kind tells more than one of a single kind.
                Err(error) if !matches!(error, ReleaseError::Binding { .. }) => {
                    return Err(error);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| {
            invalid_binding(source, "this build knows no hook kind of its plugin")
        }))
    }
}

/// The binding as it would be once its candidate is live.
pub fn promoted(source: &Binding, candidate: &Candidate) -> Binding {
    let mut promoted = Binding {
        plugin: candidate.plugin.clone(),
        settings: candidate.settings,
        ..source.clone()
    };
    if !candidate.fallback.is_empty() {
        promoted.fallback.clone_from(&candidate.fallback);
    }
    promoted
}

/// Checks one binding of a release set on a hook of this kind.
///
/// # Errors
/// The first reason for which a host refuses it.
pub fn check_binding(
    kind: HookKind,
    source: &Binding,
    manifest: &Manifest,
    component: &[u8],
    settings: &str,
) -> Result<(), ReleaseError> {
    check_known(kind, source, manifest, Some(component), settings)
}

/// The same where the component may be elsewhere.
fn check_known(
    kind: HookKind,
    source: &Binding,
    manifest: &Manifest,
    component: Option<&[u8]>,
    settings: &str,
) -> Result<(), ReleaseError> {
    let plugin = || source.plugin.clone();
    verify_binding(source, manifest, kind.name(), settings.as_bytes())
        .map_err(|refusal| ReleaseError::Refused { plugin: Some(plugin()), refusal })?;
    self_test::check_binding(manifest, settings)
        .map_err(|failed| ReleaseError::SelfTest { plugin: plugin(), failed })?;
    // Only what binds must be sayable; the rest is recorded as it was said.
    if source.mode == Mode::Enforce {
        capabilities::check_binding(kind, &manifest.emits, &source.fallback).map_err(
            |complaints| {
                let lines: Vec<_> = complaints.iter().map(ToString::to_string).collect();
                invalid_binding(source, lines.join("; "))
            },
        )?;
    }
    // A rule of a table may deny where the plugin itself never does.
    if source.mode == Mode::Enforce && manifest.reads.tables().next().is_some() {
        let fallback = source.fallback.contains_key(Effect::Deny.name());
        if !fallback && !matches!(capabilities::effect(kind, Effect::Deny), Support::Native(_)) {
            let why = format!(
                "the plugin reads tables, whose rules may deny, and `{}` cannot say `deny`: add \
                 `deny` to `fallback`",
                kind.name()
            );
            return Err(invalid_binding(source, why));
        }
    }
    let Some(component) = component else { return Ok(()) };
    let inspection = portcullis_engine::inspect(component)
        .map_err(|refused| ReleaseError::Engine { plugin: plugin(), refused })?;
    check_capabilities(&inspection, &manifest.capabilities)
        .map_err(|why| invalid_binding(source, why))
}

/// Whether a component does what its manifest asks for, as far as that can be seen from outside,
/// and nothing beyond.
///
/// # Errors
/// The reason why it does not fit, in a sentence.
pub fn check_capabilities(
    inspection: &Inspection,
    requested: &BTreeSet<Capability>,
) -> Result<(), String> {
    match (inspection.searches, requested.contains(&Capability::Search)) {
        (true, false) => {
            Err("the component exports `search`, but its manifest does not request this capability"
                .to_owned())
        }
        (false, true) => Err(
            "the manifest requests the capability `search`, but the component does not export it"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

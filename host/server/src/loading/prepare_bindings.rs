//! Preparing the bindings of a verified release set.
//!
//! Invariant: a binding decides only if all its checks passed; a hook whose enforcing binding was
//! left out stops.

use std::sync::Arc;

use portcullis_engine::Engine;
use portcullis_model::{Cause, Mode};
use portcullis_store::tables::Declaration;
use portcullis_trust::{ReleaseSet, VerifiedPlugin};

use super::candidate::{self, CandidateSource};
use super::error::invalid_binding;
use super::problems::ProblemList;
use super::verify::{PluginState, Plugins, VerifiedSet};
use super::{Completeness, ReleaseError, ReleaseFiles, checks};
use crate::bindings::generation::{Binding, Bindings, LeftOut};
use crate::config::HookConfig;
use crate::tables;
use crate::trust::view::TrustView;

impl ReleaseFiles {
    /// Prepares every binding: checks it, and configures, compiles and snapshots its plugin.
    /// Returns the bindings of each hook, and those of the last good release that could not be
    /// prepared.
    pub(super) fn prepare_bindings(
        &self,
        trusted: &TrustView<'_>,
        hooks: &[HookConfig],
        engine: &Engine,
        verified: &VerifiedSet<'_>,
        [plugins, candidates]: &[Plugins<'_>; 2],
        problems: &mut ProblemList,
    ) -> Result<(Vec<Bindings>, Vec<LeftOut>), ReleaseError> {
        let (release, demand) = (&verified.release, problems.demand);
        let declared = declared_tables(release, problems)?;
        let mut bound: Vec<Bindings> = hooks.iter().map(|_| Bindings::default()).collect();
        let mut left_out = Vec::new();
        for (number, source) in (1..).zip(&release.bindings) {
            let mut leave_out = |error: ReleaseError| match demand {
                Completeness::Available if !error.is_transient() => {
                    left_out.push(LeftOut::new(source, error.code(), &error.to_string()));
                    Ok(())
                }
                Completeness::Available | Completeness::Everything | Completeness::AllProblems => {
                    problems.add(error)
                }
            };
            let place = bound.iter_mut().zip(hooks).find(|(_, hook)| hook.name == source.hook);
            let Some((place, hook)) = place else {
                // Under another name the hook may still be there: see
                // `Generation::stop_unenforced`.
                leave_out(invalid_binding(source, "the configuration has no hook of this name"))?;
                continue;
            };
            let enforces = source.mode == Mode::Enforce;
            let Some(plugin) = plugins.get(source.plugin.as_str()) else {
                problems
                    .add(invalid_binding(source, "the release set does not list this plugin"))?;
                continue;
            };
            let (verified_plugin, component) = match plugin {
                PluginState::Usable(verified, component) => (verified, *component),
                // The problems name what is wrong with it.
                PluginState::Refused => continue,
                PluginState::Revoked => {
                    if enforces {
                        place.stop(&source.plugin, Cause::PluginRevoked);
                    }
                    continue;
                }
                PluginState::Unavailable(code, sentence) => {
                    if enforces {
                        place.stop(&source.plugin, Cause::PluginUnavailable);
                    }
                    left_out.push(LeftOut::new(source, code, sentence));
                    continue;
                }
            };
            if place.with_candidates().count() + usize::from(source.candidate.is_some())
                >= MAX_HOOK_BINDINGS
            {
                problems.add(invalid_binding(
                    source,
                    format!(
                        "the hook has more than {MAX_HOOK_BINDINGS} bindings and candidates, which \
                         is the limit"
                    ),
                ))?;
                continue;
            }
            if let Some(why) = tables::unread(&verified_plugin.manifest, &declared) {
                problems.add(invalid_binding(source, why))?;
                continue;
            }
            self.report("preparing", number, release.bindings.len(), &source.plugin);
            let made = self.prepare_binding(
                hook,
                source,
                verified_plugin,
                component,
                engine,
                release.version,
            );
            let mut binding = match made {
                Ok(binding) => binding,
                Err(error) => {
                    leave_out(error)?;
                    if enforces {
                        place.stop(&source.plugin, Cause::PluginUnavailable);
                    }
                    continue;
                }
            };
            // A candidate that is revoked is nobody's: the live one decides.
            let tried = source.candidate.as_ref().and_then(|candidate| {
                let plugin =
                    candidates.get(&candidate.plugin).or_else(|| plugins.get(&candidate.plugin))?;
                let PluginState::Usable(verified, component) = plugin else { return None };
                Some(CandidateSource { source, candidate, verified, component })
            });
            let unread = tried
                .as_ref()
                .and_then(|tried| tables::unread(&tried.verified.manifest, &declared));
            if let Some(why) = unread {
                leave_out(invalid_binding(source, format!("its candidate: {why}")))?;
            } else if let Some(tried) = tried {
                match candidate::prepare_candidate(self, trusted, &binding, hook, &tried, engine) {
                    Ok(rollout) => binding.candidate = Some(rollout),
                    Err(error) => leave_out(error)?,
                }
            }
            place.add(Arc::new(binding));
            place.add_attributes(
                declared
                    .iter()
                    .flat_map(|table| table.matching.iter().map(|rule| rule.subject.as_str())),
            );
        }
        Ok((bound, left_out))
    }

    /// One binding: checked, and its plugin prepared.
    fn prepare_binding(
        &self,
        hook: &HookConfig,
        source: &portcullis_trust::Binding,
        verified: &Arc<VerifiedPlugin>,
        component: &[u8],
        engine: &Engine,
        generation: u64,
    ) -> Result<Binding, ReleaseError> {
        let settings = self.settings(source)?;
        let manifest = &verified.manifest;
        checks::check_binding(hook.kind, source, manifest, component, settings)?;
        let plugin = engine
            .prepare(component, settings, manifest.limits)
            .map_err(|refused| ReleaseError::Engine { plugin: source.plugin.clone(), refused })?;
        let role = source.mode.name();
        Ok(Binding::new(Arc::clone(verified), hook, source, role, plugin, generation))
    }
}

/// The tables that a set declares, by name.
fn declared_tables(
    release: &ReleaseSet,
    problems: &mut ProblemList,
) -> Result<Vec<Declaration>, ReleaseError> {
    match tables::declarations(release) {
        Ok(declarations) => Ok(declarations),
        Err(wrong) => {
            for why in wrong {
                problems.add(ReleaseError::Table(why))?;
            }
            Ok(Vec::new())
        }
    }
}

/// The most bindings of one hook: what a leaf has room for.
const MAX_HOOK_BINDINGS: usize = 8;

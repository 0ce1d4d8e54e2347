//! Readying a candidate: everything that is asked of a live plugin is asked of it.
//!
//! Invariant: a candidate of a binding that enforces must be able to take its place: its hook kind, what it emits and what its binding says
//! instead are checked as if it enforced, also where it is only a shadow, so that nothing new is found out when it is promoted.

use std::sync::Arc;

use portcullis_engine::Engine;
use portcullis_hooks::say;
use portcullis_model::Mode;
use portcullis_trust::{Binding as Source, Candidate, VerifiedPlugin, verify_binding};

use super::{Rollout, way};
use crate::config::HookConfig;
use crate::generation::Binding;
use crate::release::{Found, ReleaseError, Trusted, check_capabilities};

/// What a candidate is readied from.
pub struct Tried<'a> {
    /// What the set says of the live binding.
    pub source: &'a Source,
    /// And of the candidate.
    pub candidate: &'a Candidate,
    /// Its plugin.
    pub verified: &'a Arc<VerifiedPlugin>,
    /// Its component.
    pub component: &'a [u8],
}

/// Makes a candidate ready.
pub fn ready(
    found: &Found,
    trusted: &Trusted<'_>,
    live: &Binding,
    hook: &HookConfig,
    tried: &Tried<'_>,
    engine: &Engine,
) -> Result<Rollout, ReleaseError> {
    let Tried { source, candidate, verified, component } = *tried;
    let unworkable = |why: String| ReleaseError::Binding {
        hook: source.hook.clone(),
        plugin: candidate.plugin.clone(),
        why: format!("as a candidate: {why}"),
    };
    // The binding as it would be once the candidate is live.
    let mut promoted =
        Source { plugin: candidate.plugin.clone(), settings: candidate.settings, ..source.clone() };
    if !candidate.say.is_empty() {
        promoted.say.clone_from(&candidate.say);
    }
    let (settings, manifest) = (found.settings(&promoted)?, &verified.manifest);
    verify_binding(&promoted, manifest, hook.kind.name(), settings.as_bytes()).map_err(
        |refusal| ReleaseError::Refused { plugin: Some(candidate.plugin.clone()), refusal },
    )?;
    if source.mode == Mode::Enforce {
        say::check(hook.kind, &manifest.emits, &promoted.say).map_err(|complaints| {
            let lines: Vec<_> = complaints.iter().map(ToString::to_string).collect();
            unworkable(lines.join("; "))
        })?;
    }
    let engine_refused =
        |refused| ReleaseError::Engine { plugin: candidate.plugin.clone(), refused };
    let inspection = portcullis_engine::inspect(component).map_err(engine_refused)?;
    check_capabilities(&inspection, &manifest.capabilities).map_err(unworkable)?;
    let plugin = engine.prepare(component, settings, manifest.limits).map_err(engine_refused)?;
    let role = way(candidate.canary.is_some());
    let binding =
        Binding::new(Arc::clone(verified), hook, &promoted, role, plugin, live.generation);
    // Guards see everything proposed and proposers do not: the two cannot stand in one another's place within a call.
    if candidate.canary.is_some() && binding.proposes() != live.proposes() {
        return Err(unworkable(
            "one of the two may want more than restrictions and the other may not; try it as a `shadow`, then promote it"
                .to_owned(),
        ));
    }
    let key = Rollout::key(found.set_digest(), source, candidate, verified.digest);
    let stopped = trusted.history.stopped.contains(&key);
    Ok(Rollout::new(Arc::new(binding), candidate, key, stopped))
}

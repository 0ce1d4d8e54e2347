//! Readying a candidate: everything that is asked of a live plugin is asked of it.
//!
//! Invariant: a candidate of a binding that enforces must be able to take its place: its hook kind, what it emits and what its binding says
//! instead are checked as if it enforced, also where it is only a shadow, so that nothing new is found out when it is promoted.

use std::sync::Arc;

use portcullis_engine::Engine;
use portcullis_trust::{Binding as Source, Candidate, VerifiedPlugin};

use crate::bindings::candidate::{CandidateBinding, kind};
use crate::bindings::generation::Binding;
use crate::config::HookConfig;
use crate::loading::{ReleaseError, ReleaseFiles, check_binding, promoted};
use crate::trust::view::TrustView;

/// The sources from which a candidate is prepared.
pub struct CandidateSource<'a> {
    /// The live binding in the set.
    pub source: &'a Source,
    /// And of the candidate.
    pub candidate: &'a Candidate,
    /// Its plugin.
    pub verified: &'a Arc<VerifiedPlugin>,
    /// Its component.
    pub component: &'a [u8],
}

/// Makes a candidate ready.
pub fn prepare_candidate(
    found: &ReleaseFiles,
    trusted: &TrustView<'_>,
    live: &Binding,
    hook: &HookConfig,
    tried: &CandidateSource<'_>,
    engine: &Engine,
) -> Result<CandidateBinding, ReleaseError> {
    let CandidateSource { source, candidate, verified, component } = *tried;
    let invalid_binding = |why: String| ReleaseError::Binding {
        hook: source.hook.clone(),
        plugin: candidate.plugin.clone(),
        why: format!("as a candidate: {why}"),
    };
    let promoted = promoted(source, candidate);
    let (settings, manifest) = (found.settings(&promoted)?, &verified.manifest);
    check_binding(hook.kind, &promoted, manifest, component, settings).map_err(
        |error| match error {
            ReleaseError::Binding { why, .. } => invalid_binding(why),
            other => other,
        },
    )?;
    let engine_refused =
        |refused| ReleaseError::Engine { plugin: candidate.plugin.clone(), refused };
    let plugin = engine.prepare(component, settings, manifest.limits).map_err(engine_refused)?;
    let role = kind(candidate.canary.is_some());
    let binding =
        Binding::new(Arc::clone(verified), hook, &promoted, role, plugin, live.generation);
    // Guards see everything proposed and proposers do not: the two cannot stand in one another's place within a call.
    if candidate.canary.is_some() && binding.proposes() != live.proposes() {
        return Err(invalid_binding(
            "one of the two is a proposer and the other a guard; try it as a `shadow`, then \
             promote it"
                .to_owned(),
        ));
    }
    let key = CandidateBinding::key(found.set_digest(), source, candidate, verified.digest);
    let stopped = trusted.history.stopped.contains(&key);
    Ok(CandidateBinding::new(Arc::new(binding), candidate, key, stopped))
}

//! The comparison of a candidate with its live binding after the response: the other of the two
//! evaluates the same call, and a difference is a record.
//!
//! Invariant: no caller waits for it, it is bounded, and its outcome binds nothing.

use std::sync::Arc;
use std::time::Duration;

use portcullis_audit::Entry;
use portcullis_call_data::{DataAccess, SharedRun};
use portcullis_hooks::HookRequest;
use portcullis_model::Cause;

use crate::bindings::candidate::{CandidateBinding, Comparison};
use crate::bindings::evaluate::{self, BindingResult};
use crate::bindings::generation::Binding;
use crate::clock::monotonic_now;
use crate::request::decision_record::sealed_plugins;
use crate::request::observed_memory;
use crate::state::host::{Hook, Host};

/// A call whose live binding and candidate are compared.
pub struct ComparisonJob {
    /// The live binding.
    pub live: Arc<Binding>,
    /// The result of the one that was evaluated in the call: the live one, or the candidate in its
    /// place.
    pub first: BindingResult,
    /// The result of a canary that failed before it.
    pub canary_failure: Option<BindingResult>,
}

impl ComparisonJob {
    /// Asks the other one, in a lane of its own, and compares. Nobody waits for it, and where the
    /// lane is full it is not done.
    pub fn compare_later(
        self,
        host: &Arc<Host>,
        hook: &Arc<Hook>,
        incoming: &Arc<HookRequest>,
        of: Option<u64>,
    ) {
        let Some(rollout) = &self.live.candidate else { return };
        let pool = Arc::clone(&rollout.pool);
        let (theirs, own, incoming) = (Arc::clone(host), Arc::clone(hook), Arc::clone(incoming));
        if pool.spawn(move || self.compare(&theirs, &own, &incoming, of)).is_err() {
            host.reject(hook, host.clock.now(), Cause::ObserverSkipped);
        }
    }

    fn compare(self, host: &Arc<Host>, hook: &Hook, incoming: &Arc<HookRequest>, of: Option<u64>) {
        let Self { live, first, canary_failure } = self;
        let Some(rollout) = live.candidate.as_ref().filter(|rollout| !rollout.is_stopped()) else {
            return;
        };
        if let Some(canary_failure) = canary_failure {
            return record(rollout, host, hook, &first, &canary_failure, incoming, of);
        }
        let by_candidate = Arc::ptr_eq(&first.binding, &rollout.binding);
        let other = if by_candidate { &live } else { &rollout.binding };
        // In its own time: what it takes is nobody's but its plugin's limit. Only the candidate's
        // breaker hears of it: how the live one fares in calls that bind is for those to say.
        let limit = other.plugin.time();
        let seen = as_evaluated(other, incoming);
        // The versions that the first one saw.
        let access = DataAccess::of(Arc::clone(&first.tables));
        let data = (&access, &*host.recorder.memory);
        let run = || evaluate::evaluate_once(other, &seen, limit, data, &SharedRun::default()).0;
        let second = if by_candidate {
            let mut second = run();
            second.apply_denial();
            second
        } else {
            let Some(pass) = other.breaker.try_acquire(monotonic_now()) else { return };
            let mut second = run();
            evaluate::report_to_breaker(&host.recorder, pass, &second, true);
            second.apply_denial();
            second.count();
            second
        };
        let (of_live, of_candidate) =
            if by_candidate { (&second, &first) } else { (&first, &second) };
        record(rollout, host, hook, of_live, of_candidate, incoming, of);
        // What the second one learned of this call is its own.
        observed_memory::record_changes(host, hook, of, second, run);
    }
}

/// A question as this binding is asked it: one that may want more than restrictions is asked before
/// anything is proposed.
fn as_evaluated(binding: &Binding, incoming: &Arc<HookRequest>) -> Arc<HookRequest> {
    if !binding.proposes() || incoming.call.proposed.is_empty() {
        return Arc::clone(incoming);
    }
    let mut own = HookRequest::clone(incoming);
    own.call.proposed.clear();
    Arc::new(own)
}

/// Both have decided about one call: counts the comparison, and records a difference.
fn record(
    rollout: &CandidateBinding,
    host: &Arc<Host>,
    hook: &Hook,
    live: &BindingResult,
    candidate: &BindingResult,
    incoming: &HookRequest,
    of: Option<u64>,
) {
    let slower = Duration::from_millis(rollout.abort.slower_by_ms.into());
    let comparison = Comparison::of(live, candidate, slower);
    if comparison.diverges() {
        let fields = comparison.fields(&hook.config.name, rollout.kind(), of, live, candidate);
        let sealed = sealed_plugins([live, candidate], incoming);
        let entry = Entry { kind: "hook.diverged", fields, sealed: Some(sealed.into_bytes()) };
        if host.recorder.log.append(entry).is_err() {
            host.reject(hook, host.clock.now(), Cause::ObserverSkipped);
        }
    }
    if let Some(why) = rollout.count(&comparison) {
        let (plugin, way) = (&rollout.binding.manifest().id, rollout.kind());
        tracing::error!(
            hook = hook.config.name,
            plugin,
            way,
            why,
            event = "candidate.stopped",
            "the candidate exceeded its divergence budget and is not called any more"
        );
    }
}

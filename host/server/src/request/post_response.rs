//! After the reply: instances are dropped, delivery is noted, and bindings that do not bind are asked, on their own budget.
//!
//! Invariant: nothing here can change an answer that has left, and nothing here holds a connection's thread for long: what runs
//! plugins goes to its binding's own lane, where it can delay no call, and is skipped and counted when that is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_audit::Entry;
use portcullis_call_data::{DataAccess, SharedRun};
use portcullis_engine::SpentInstance;
use portcullis_hooks::HookRequest;
use portcullis_model::json::build_members;
use portcullis_model::{Cause, Document};
use portcullis_store::tables::CurrentTables;

use crate::bindings::breaker::BreakerPermit;
use crate::bindings::candidate::CandidateBinding;
use crate::bindings::evaluate::{self, BindingError, BindingResult};
use crate::bindings::generation::{Binding, Bindings, Generation};
use crate::clock::monotonic_now;
use crate::observe::budget::{Stage, micros};
use crate::observe::metrics::nanos;
use crate::observe::telemetry::Trace;
use crate::platform_calls::resume::Spooled;
use crate::records::response_writes::ResponseWrite;
use crate::request::comparison::ComparisonJob;
use crate::request::context::CanaryFailure;
use crate::request::decision_record::sealed_plugins;
use crate::request::observed_memory;
use crate::state::admission::AdmissionPermit;
use crate::state::host::{Hook, Host};

/// The work after a response has left, or can no longer leave. The connection calls
/// [`run`](Self::run); where it does not, because a request ended otherwise, dropping this does.
pub struct PostResponse {
    host: Arc<Host>,
    /// The call's place; free again once the reply has left.
    pub permit: Option<AdmissionPermit>,
    /// What is left of the instances.
    pub spent_instances: Vec<SpentInstance>,
    /// The call's record.
    pub index: Option<u64>,
    /// The records of a call that asks many questions.
    pub batch_indices: Vec<u64>,
    /// What waiting for the record took.
    pub commit_us: u64,
    /// The call that the answer promises, and its hook.
    pub resume: Option<(Arc<Hook>, Spooled)>,
    /// The request, where it is one to look at for what is not known.
    pub drift_sample: Option<Document>,
    /// Its trace, if it has one.
    pub trace: Option<Box<Trace>>,
    /// Whose time it was, and when it began.
    pub started: Option<(Arc<Hook>, Instant)>,
    /// When the answer was ready to leave.
    pub response_ready_at: Option<Instant>,
    delivered: bool,
    done: bool,
    observer_jobs: Vec<ObserverJob>,
    comparisons: Vec<QueuedComparison>,
}

/// A call that was asked of a candidate beside its live binding, and the record's place.
type QueuedComparison = (Arc<Hook>, Arc<HookRequest>, Option<u64>, ComparisonJob);

impl PostResponse {
    /// Nothing yet.
    pub fn new(host: &Arc<Host>) -> Self {
        let host = Arc::clone(host);
        Self {
            host,
            permit: None,
            spent_instances: Vec::new(),
            index: None,
            batch_indices: Vec::new(),
            commit_us: 0,
            resume: None,
            drift_sample: None,
            trace: None,
            started: None,
            response_ready_at: None,
            delivered: false,
            done: false,
            observer_jobs: Vec::new(),
            comparisons: Vec::new(),
        }
    }

    /// Remembers a question and its record for the hook's bindings that advise or monitor.
    pub fn queue_observers(
        &mut self,
        generation: Option<&Arc<Generation>>,
        hook: &Arc<Hook>,
        incoming: &Arc<HookRequest>,
        index: Option<u64>,
    ) {
        let Some(generation) = generation else { return };
        if generation.hooks.get(hook.number).is_some_and(|bindings| !bindings.observers.is_empty())
        {
            let (generation, hook, incoming) =
                (Arc::clone(generation), Arc::clone(hook), Arc::clone(incoming));
            self.observer_jobs.push(ObserverJob { generation, hook, incoming, index });
        }
    }

    /// Remembers what was said where a candidate stands beside who said it: of a shadow always, of a canary where it answered or was to.
    pub fn queue_comparison(
        &mut self,
        bindings: &Bindings,
        hook: &Arc<Hook>,
        incoming: &Arc<HookRequest>,
        results: Vec<BindingResult>,
        canary_failure: Option<CanaryFailure>,
        index: Option<u64>,
    ) {
        if !bindings.has_candidates() {
            return;
        }
        let mut canary_failure =
            canary_failure.map(CanaryFailure::attributed_results).unwrap_or_default();
        for first in results {
            let of_rollout =
                |rollout: &CandidateBinding| Arc::ptr_eq(&rollout.binding, &first.binding);
            let is_live = |live: &&Arc<Binding>| {
                Arc::ptr_eq(live, &first.binding) || live.candidate.as_ref().is_some_and(of_rollout)
            };
            let Some(live) = bindings.enforcing().find(is_live) else { continue };
            let Some(rollout) = live.candidate.as_ref().filter(|rollout| !rollout.is_stopped())
            else {
                continue;
            };
            let fell =
                canary_failure.iter().position(|it| Arc::ptr_eq(&it.binding, &rollout.binding));
            let fell = fell.map(|place| canary_failure.swap_remove(place));
            // Who is in no cohort is decided by the live one alone.
            if rollout.cohort.is_none() || of_rollout(rollout) || fell.is_some() {
                let comparison =
                    ComparisonJob { live: Arc::clone(live), first, canary_failure: fell };
                self.comparisons.push((Arc::clone(hook), Arc::clone(incoming), index, comparison));
            }
        }
    }

    /// Does what is to be done once the response has left, or once it cannot leave any more.
    pub fn run(mut self, delivered: bool) {
        self.delivered = delivered;
        self.run_once();
    }

    fn run_once(&mut self) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        self.permit = None;
        self.spent_instances.clear();
        self.record_write();
        if let (Some(mut trace), Some(telemetry)) = (self.trace.take(), &self.host.telemetry) {
            trace.finish(self.delivered, monotonic_now());
            telemetry.send(trace);
        }
        if let (Some(request), Some((hook, _))) = (self.drift_sample.take(), &self.started) {
            let kind = hook.config.kind;
            hook.drift.inspect(&self.host.recorder, &hook.name, kind, &request);
        }
        self.start_resume_call();
        self.run_observers();
        for (hook, incoming, index, comparison) in self.comparisons.drain(..) {
            comparison.compare_later(&self.host, &hook, &incoming, index);
        }
    }

    fn record_write(&self) {
        let now = monotonic_now();
        let write = self
            .response_ready_at
            .map_or(Duration::ZERO, |ready| now.saturating_duration_since(ready));
        if let Some((hook, begin)) = &self.started {
            if self.index.is_some() || !self.batch_indices.is_empty() {
                hook.metrics.observe_stage(Stage::Commit, self.commit_us.saturating_mul(1_000));
            }
            hook.metrics.observe_stage(Stage::Write, nanos(write));
            hook.metrics.observe_stage(Stage::Total, nanos(now.saturating_duration_since(*begin)));
            if !self.delivered {
                hook.metrics.undelivered();
            }
        }
        let write_us = self.delivered.then_some(micros(write));
        for index in self.index.into_iter().chain(self.batch_indices.iter().copied()) {
            self.host.counts.response_writes.add(ResponseWrite {
                index,
                commit_us: self.commit_us,
                write_us,
            });
        }
    }

    /// Also where the answer did not leave: the platform may have had it, and asks again otherwise.
    fn start_resume_call(&mut self) {
        if let Some((hook, spooled)) = self.resume.take() {
            let platform = hook.config.resume.as_deref();
            self.host.platforms.resume_calls.start_call(
                &self.host.resume_context(),
                platform,
                spooled,
            );
        }
    }

    fn run_observers(&mut self) {
        for ObserverJob { generation, hook, incoming, index } in self.observer_jobs.drain(..) {
            let observers = generation
                .hooks
                .get(hook.number)
                .map(|bindings| bindings.observers.as_slice())
                .unwrap_or_default();
            for binding in observers {
                let skip = |cause| self.host.reject(&hook, self.host.clock.now(), cause);
                let Some(pass) = binding.breaker.try_acquire(monotonic_now()) else {
                    skip(Cause::PluginQuarantined);
                    continue;
                };
                let (host, own) = (Arc::clone(&self.host), Arc::clone(&hook));
                let (observer, incoming) = (Arc::clone(binding), Arc::clone(&incoming));
                let tables = generation.tables.current();
                let job =
                    move || run_observer(&host, &own, &observer, pass, &incoming, index, tables);
                if binding.pool.spawn(job).is_err() {
                    skip(Cause::ObserverSkipped);
                }
            }
        }
    }
}

/// A question that bindings shall look at that do not bind.
struct ObserverJob {
    generation: Arc<Generation>,
    hook: Arc<Hook>,
    incoming: Arc<HookRequest>,
    index: Option<u64>,
}

impl Drop for PostResponse {
    /// A safety net: a response that is dropped on the way was not delivered.
    fn drop(&mut self) {
        self.run_once();
    }
}

impl CanaryFailure {
    /// Everybody who was asked in it. Where what all of them wanted together could not be, it is the candidates' fault.
    fn attributed_results(self) -> Vec<BindingResult> {
        let Self { failure, mut results } = self;
        if matches!(failure.cause, Cause::Conflict | Cause::UnsupportedChange) {
            for candidate in results.iter_mut().filter(|result| result.cohort.is_some()) {
                candidate.outcome = Err(BindingError::new(
                    failure.cause,
                    failure.cause.code(),
                    "together with the others",
                ));
            }
        }
        results
    }
}

/// Asks one binding that does not bind and records what it would have said.
fn run_observer(
    host: &Arc<Host>,
    hook: &Arc<Hook>,
    binding: &Arc<Binding>,
    pass: BreakerPermit,
    incoming: &Arc<HookRequest>,
    of: Option<u64>,
    tables: Arc<CurrentTables>,
) {
    let access = DataAccess::of(tables);
    let evaluate = || {
        let (limit, run) = (binding.plugin.time(), SharedRun::default());
        let data = (&access, &*host.recorder.memory);
        evaluate::evaluate_once(binding, incoming, limit, data, &run).0
    };
    let finish = |mut result: BindingResult| {
        result.tables = Arc::clone(&access.tables);
        result.apply_denial();
        result
    };
    let first = evaluate();
    evaluate::report_to_breaker(&host.recorder, pass, &first, true);
    let record = |result: &BindingResult| {
        let fields = build_members(|fields| {
            fields.number_or_null("decision", of).text("hook", &hook.name);
            fields.array("bindings", |list| {
                list.object(|leaf| result.write_leaf(leaf));
            });
        });
        let sealed = sealed_plugins(std::slice::from_ref(result), incoming);
        Entry { kind: "hook.observed", fields, sealed: Some(sealed.into_bytes()) }
    };
    let (result, appended) =
        observed_memory::record(host, hook, finish(first), || finish(evaluate()), record);
    result.count();
    if !appended {
        host.reject(hook, host.clock.now(), Cause::ObserverSkipped);
    }
    if binding.candidate.is_some() {
        let comparison =
            ComparisonJob { live: Arc::clone(binding), first: result, canary_failure: None };
        comparison.compare_later(host, hook, incoming, of);
    }
}

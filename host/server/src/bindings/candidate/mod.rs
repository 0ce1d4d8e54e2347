//! Roll-out: a candidate beside a live binding, and what becomes of it.
//!
//! A **shadow** is asked about the same calls after the reply and binds nobody. A **canary** answers for its cohort in the live one's
//! place, and the live one is asked after the reply. Either way both are compared, and when more went wrong than the signed set bears, the
//! candidate is asked no more: at once, for good in this set, and without anybody's doing.
//!
//! Invariant: a canary loosens nothing. It is verified as any live plugin, has half of what time is left, and where it comes to no
//! decision (it fails, is quarantined or revoked, or what it wants cannot be said or merged) the live binding decides, as it would have
//! alone. So an enforcing binding can always decide, and a candidate's trouble costs its cohort half a budget at most.

pub mod cohort;
mod compare;
mod describe;
mod divergence;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use portcullis_model::json::build_members;
use portcullis_model::{Call, Digest};
use portcullis_trust::{Abort, Candidate};

use crate::bindings::generation::{Binding, Generation};
use crate::clock::monotonic_now;
use crate::recorder::Recorder;
use crate::worker_pool::WorkerPool;

pub use cohort::{Cohort, CohortMatch};
pub use compare::Comparison;
pub use divergence::{DivergenceBudget, DivergenceCounts};

/// A candidate at its live binding.
pub struct CandidateBinding {
    /// The candidate.
    pub binding: Arc<Binding>,
    /// For whom it answers; for nobody where it is a shadow.
    pub cohort: Option<Cohort>,
    /// What ends it.
    pub abort: Abort,
    /// What its end is remembered by.
    pub key: Digest,
    divergence: Mutex<DivergenceBudget>,
    /// Where comparisons run: whatever they take, nobody waits for it.
    pub pool: Arc<WorkerPool>,
    stopped: AtomicBool,
    /// Whether its end stands in the record.
    recorded: AtomicBool,
    /// Set at the first use, or at the activation to those of the same candidate before.
    metrics: OnceLock<Arc<CandidateMetrics>>,
}

/// Comparisons since the candidate became active, in all generations that try it alike.
#[derive(Default)]
pub struct CandidateMetrics {
    outcomes: [AtomicU64; Comparison::OUTCOMES.len()],
    differences: [AtomicU64; Comparison::DIFFERENCES.len()],
}

impl CandidateBinding {
    /// A candidate of a binding. One that was stopped in this set stays so.
    pub fn new(binding: Arc<Binding>, source: &Candidate, key: Digest, stopped: bool) -> Self {
        let cohort = source.canary.as_ref().map(|canary| Cohort::new(canary, &binding));
        Self {
            binding,
            cohort,
            abort: source.abort,
            key,
            divergence: Mutex::new(DivergenceBudget::new(source.abort)),
            pool: Arc::new(WorkerPool::new("compare", 1, MAX_WAITING)),
            stopped: AtomicBool::new(stopped),
            recorded: AtomicBool::new(stopped),
            metrics: OnceLock::new(),
        }
    }

    /// Counts on from another generation's candidate with the same labels.
    pub fn continue_from(&self, before: &Self) {
        // Counts that exist already stay: only the continuity is lost.
        let _ = self.metrics.set(Arc::clone(before.metrics()));
    }

    fn metrics(&self) -> &Arc<CandidateMetrics> {
        self.metrics.get_or_init(Arc::default)
    }

    /// What the end of this candidate is remembered by: which set, where, and both sides of it.
    pub fn key(
        set: Digest,
        live: &portcullis_trust::Binding,
        candidate: &Candidate,
        manifest: Digest,
    ) -> Digest {
        let parts = [
            set.to_string(),
            live.hook.clone(),
            live.plugin.clone(),
            live.settings.to_string(),
            manifest.to_string(),
            candidate.settings.to_string(),
        ];
        portcullis_model::sha256(parts.join("\n").as_bytes())
    }

    /// `shadow` or `canary`.
    pub fn kind(&self) -> &'static str {
        kind(self.cohort.is_some())
    }

    /// Whether it is asked no more.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.binding.is_revoked()
    }

    /// Whether it answers this call in the live one's place, and why it is the one.
    pub fn cohort_match(&self, recorder: &Recorder, call: &Call) -> Option<CohortMatch> {
        let cohort = self.cohort.as_ref().filter(|_| !self.is_stopped())?;
        if self.binding.breaker.would_reject(monotonic_now()) {
            return None;
        }
        cohort.matches(
            &|value, limit| recorder.pseudonyms.number(&recorder.tenant, NAMESPACE, value, limit),
            call,
        )
    }

    /// How it stands.
    pub fn counts(&self) -> DivergenceCounts {
        self.divergence.lock().unwrap_or_else(PoisonError::into_inner).counts()
    }

    /// Outcomes of comparisons, and how often.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Comparison::OUTCOMES
            .into_iter()
            .zip(self.metrics().outcomes.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// What differed, and how often.
    pub fn differences(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.metrics().differences.iter().map(|count| count.load(Ordering::Relaxed));
        Comparison::DIFFERENCES.into_iter().zip(counts)
    }

    /// Counts a comparison. Returns why the candidate is asked no more, where this one used up what
    /// its divergence budget allows.
    pub fn count(&self, comparison: &Comparison) -> Option<&'static str> {
        let count = |counts: &[AtomicU64], place: usize| {
            if let Some(count) = counts.get(place) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        count(&self.metrics().outcomes, comparison.outcome());
        comparison.differences().for_each(|place| count(&self.metrics().differences, place));
        let spent =
            self.divergence.lock().unwrap_or_else(PoisonError::into_inner).record(comparison);
        spent.filter(|_| !self.stopped.swap(true, Ordering::AcqRel))
    }

    /// Whether it was stopped and that does not stand in the record.
    pub fn is_unrecorded(&self) -> bool {
        self.stopped.load(Ordering::Acquire) && !self.recorded.load(Ordering::Acquire)
    }

    /// Its end, where it is not recorded yet: the members of the record.
    pub fn end_fields(&self, generation: &Generation, live: &Binding) -> Option<String> {
        if !self.is_unrecorded() {
            return None;
        }
        let (number, set, hook) = (generation.number, generation.set, &live.hook);
        let DivergenceCounts { compared, differences, failures, slower } = self.counts();
        let fields = build_members(|fields| {
            fields
                .number("generation", number)
                .display("set", set)
                .text("hook", hook)
                .text("plugin", &live.manifest().id)
                .object("candidate", |candidate| {
                    candidate.members(self.binding.record_prefix());
                })
                .text("reason", self.counts().exceeded(&self.abort).unwrap_or("differences"))
                .number("compared", compared)
                .number("differences", differences)
                .number("failures", failures)
                .number("slower", slower);
        });
        Some(fields)
    }

    /// Its end stands in the record.
    pub fn mark_end_recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }
}

/// The word for a candidate.
pub fn kind(canary: bool) -> &'static str {
    if canary { "canary" } else { "shadow" }
}

/// Calls that may wait to be compared; further ones are not, and counted.
pub const MAX_WAITING: usize = 1_024;
/// What cohorts' numbers are drawn under.
const NAMESPACE: &str = "cohort";

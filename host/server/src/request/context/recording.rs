//! The record of what was decided: made, appended, waited for, and owed where it is late.
//!
//! Invariant: whoever gives a record to the log gives it first what the hook owes, and waits for it
//! no longer than the budget lets it. Which answer leaves then is `respond`'s and `batch`'s matter;
//! what the record says is `decision_record`'s.

use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use portcullis_audit::{Entry, Pending, Receipt, Sequence};
use portcullis_hooks::{Answer, HookRequest, RecordRef};
use portcullis_model::{Cause, ChangeKind, Effect};
use portcullis_store::memory::{Changes, ChangesError};
use tokio::time::timeout_at;

use super::{Counted, RequestContext};
use crate::bindings::evaluate::BindingResult;
use crate::clock::monotonic_now;
use crate::logging::log_limit::LOG_LIMITS;
use crate::observe::budget::micros;
use crate::observe::telemetry::Outcome;
use crate::recorder::CommitError;
use crate::records::corrections::Correction;
use crate::request::decide::Failure;
use crate::request::decision_record::DecisionRecord;

/// The decision, for the record.
pub struct DecisionSummary<'a> {
    /// The verdict, or why there is none.
    pub verdict: Result<Effect, &'a Failure>,
    /// The changes that the answer leaves out, since what they would change is not there.
    pub skipped: &'a [ChangeKind],
}

impl RequestContext<'_> {
    /// The record of one question.
    pub(super) fn entry(
        &mut self,
        part: Option<usize>,
        said: DecisionSummary<'_>,
        answer: &Answer,
        incoming: &HookRequest,
        results: &[BindingResult],
        delivery: Option<&str>,
    ) -> Entry {
        let DecisionSummary { verdict, skipped } = said;
        let body_pseudonym = match self.body_pseudonym.take() {
            Some(made) => made,
            None => self
                .host
                .recorder
                .pseudonym("body", &crate::request::decision_record::kept(incoming)),
        };
        let decision_record = DecisionRecord {
            host: self.host,
            hook: self.hook,
            incoming,
            batch_item: part,
            search_counts: self.search_counts,
            body_pseudonym,
            generation: self.generation.as_ref().map_or(0, |generation| generation.number),
            results,
            verdict,
            skipped,
            safe: self.hook.on_failure(
                self.generation.as_deref(),
                verdict.err().map(|failure| failure.cause),
                self.break_glass.as_deref(),
            ),
            canary_failure: self
                .canary_failure
                .as_ref()
                .map(|canary_failure| &canary_failure.failure),
            break_glass: self.break_glass.as_deref(),
            delivery,
            answer,
            salt: self.host.recorder.salt(),
            trace: self.trace.as_ref().map(|trace| trace.context.trace_text()),
            stages: &self.stages,
        };
        Entry {
            kind: "hook.decision",
            fields: decision_record.fields(),
            sealed: Some(decision_record.sealed()),
        }
    }

    /// A recorded answer goes out.
    pub(super) fn count(&mut self, verdict: Result<Effect, &Failure>) {
        match verdict {
            Ok(verdict) => {
                self.outcomes.push(Counted::Verdict(verdict));
                self.set_trace_outcome(Outcome::Verdict(verdict.name()));
            }
            Err(failure) => self.count_safe(failure.cause),
        }
    }

    /// A safe answer to a call that could be read goes out.
    pub(super) fn count_safe(&mut self, cause: Cause) {
        self.outcomes.push(Counted::Safe(cause));
        self.set_trace_outcome(Outcome::Cause(cause.code()));
    }

    pub(super) fn with_reference(&self, answer: &Answer, receipt: Receipt) -> Vec<u8> {
        let leaf = BASE64.encode(receipt.leaf_hash);
        answer.with_reference(&RecordRef {
            log: self.host.recorder.log.origin(),
            index: receipt.index,
            leaf: &leaf,
            generation: self.generation.as_ref().map_or(0, |generation| generation.number),
            spent_us: micros(monotonic_now().saturating_duration_since(self.began)),
        })
    }

    /// Appends a record that changes no memory and waits until it is durable, for as long as the
    /// budget lets it. `None` if it is not by then.
    pub(super) async fn commit(&mut self, entry: Entry) -> Option<Receipt> {
        let appended = self.append(entry, &Changes::default());
        self.finish_commit(appended).await
    }

    /// Waits until a record is durable, for as long as the budget lets it. `None` if it is not by
    /// then.
    pub(super) async fn finish_commit(
        &mut self,
        appended: Result<Pending, CommitError>,
    ) -> Option<Receipt> {
        let before = monotonic_now();
        self.record = appended.as_ref().ok().map(Pending::sequence);
        self.post_response.index = self.record.map(|record| record.index);
        yield_to_ready_tasks().await;
        let receipt = self.wait_durable(appended).await;
        if receipt.is_none()
            && self.record.is_some_and(|record| self.host.recorder.log.is_void(record))
        {
            // The record was lost with a stop of the log, and its index will be another's.
            self.account.lost(self.record);
            (self.record, self.post_response.index) = (None, None);
        }
        let after = monotonic_now();
        self.post_response.commit_us = micros(after.saturating_duration_since(before));
        if let Some(trace) = &mut self.trace {
            trace.span_commit(before, after);
        }
        receipt
    }

    /// Gives a record its place, together with the changes of memory that it brings.
    pub(super) fn append(
        &mut self,
        entry: Entry,
        changes: &Changes,
    ) -> Result<Pending, CommitError> {
        let recorder = &self.host.recorder;
        // The corrections that earlier calls of this hook owe the log come first.
        let owed = self.hook.corrections.append_all(recorder).map_err(CommitError::Refused);
        let appended = owed.and_then(|()| recorder.commit(entry, changes));
        if let Ok(pending) = &appended {
            self.account.recorded(pending.sequence());
        }
        // Given back before the wait: sandboxes must not be held by a slow disk.
        self.post_response.spent_instances.clear();
        appended
    }

    pub(super) async fn wait_durable(
        &self,
        appended: Result<Pending, CommitError>,
    ) -> Option<Receipt> {
        match appended {
            Ok(pending) => timeout_at(self.budget.record_until().into(), pending)
                .await
                .ok()
                .and_then(Result::ok),
            Err(refused) => {
                let (hook, now) = (&*self.hook.config.name, monotonic_now());
                if LOG_LIMITS.allows("log.append-refused", hook, now) {
                    tracing::error!(
                        event = "log.append-refused",
                        hook,
                        %refused,
                        "the audit log did not accept a record; the call gets its safe answer"
                    );
                }
                None
            }
        }
    }

    /// Returns the changes of memory that the record of a question brings: all of those of a
    /// decision, and of what came to none only the counts. A candidate that failed counts too.
    pub(super) fn memory_changes(&self, results: &[BindingResult], is_decided: bool) -> Changes {
        let mut all = Changes::default();
        let candidates = self.canary_failure.iter().flat_map(|it| &it.results);
        let candidates = candidates.filter(|it| it.cohort.is_some()).map(|it| (it, false));
        let results = results.iter().map(|it| (it, is_decided));
        for (result, is_decided) in results.chain(candidates) {
            let added = match &result.memory {
                None => continue,
                Some(_) => result.memory_changes(is_decided).and_then(|it| all.merge(it)),
            };
            if let Err(error) = added {
                log_lost_changes(&self.hook.config.name, &error);
            }
        }
        all
    }

    /// Whether a question whose memory was changed meanwhile is evaluated once more: there is time,
    /// and it was not evaluated too often.
    pub fn may_evaluate_again(&self, evaluations: u32) -> bool {
        evaluations < MAX_EVALUATIONS && !self.budget.left_for_plugins(monotonic_now()).is_zero()
    }

    /// The safe answer in place of what could not be recorded in time; the hook owes the log that
    /// fact.
    pub(super) async fn respond_unrecorded(
        &mut self,
        incoming: Option<&HookRequest>,
        record: Option<Sequence>,
    ) -> Answer {
        let safe = self.not_durable(incoming);
        self.add_correction(record, Cause::NotDurable, &safe).await;
        safe
    }

    pub(super) async fn add_correction(
        &self,
        record: Option<Sequence>,
        cause: Cause,
        left: &Answer,
    ) {
        self.account.corrected(record);
        self.hook.corrections.add(&self.host.recorder, self.correction(record, cause, left)).await;
    }

    /// The safe answer in place of what could not be recorded in time, counted. The caller sees to
    /// it that the hook owes the log that fact.
    pub(super) fn not_durable(&mut self, incoming: Option<&HookRequest>) -> Answer {
        self.count_safe(Cause::NotDurable);
        self.safe_answer(Cause::NotDurable, "", incoming)
    }

    /// The fact that this answer left without its record, or other than that says.
    pub(super) fn correction(
        &self,
        record: Option<Sequence>,
        cause: Cause,
        left: &Answer,
    ) -> Correction {
        let answer = portcullis_model::sha256(left.body());
        Correction { record, cause, answer, at: self.host.clock.now() }
    }
}

/// Changes that do not fit a record are a defect: each plugin's are bounded so that all fit.
pub fn log_lost_changes(hook: &str, error: &ChangesError) {
    if LOG_LIMITS.allows("memory.changes-lost", hook, monotonic_now()) {
        tracing::error!(
            event = "memory.changes-lost",
            hook,
            %error,
            "what a call changed in the memory of its plugins could not be recorded and is lost"
        );
    }
}

/// Most evaluations of one question whose memory other calls change at the same time.
const MAX_EVALUATIONS: u32 = 3;

/// Lets calls go first that are ready to run on this thread, so that their records share a commit
/// with this one. Without the look at the sockets that tokio's own yielding takes.
async fn yield_to_ready_tasks() {
    let mut went = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut went, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

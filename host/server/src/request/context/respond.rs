//! The ways in which a call ends: turned away, refused, recorded and answered, said again.
//!
//! Invariant: every way out goes through `respond_with`, and none of a decision's before its record
//! is durable. A decision whose record is late is not given. What was decided and asked is
//! `context`'s and `pipeline`'s matter, the parts of a batch are `batch`'s, and the record itself
//! is `recording`'s.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderValue;
use portcullis_audit::{Entry, Pending};
use portcullis_hooks::{Answer, HookRequest, OnFailure, ParseError, SideEffect};
use portcullis_model::json::build_members;
use portcullis_model::{Cause, Effect, HelpDeskReference};
use tokio::time::timeout_at;

use super::recording::DecisionSummary;
use super::{Counted, RequestContext};
use crate::bindings::evaluate::BindingResult;
use crate::clock::monotonic_now;
use crate::observe::budget::Stage;
use crate::observe::telemetry::Outcome;
use crate::recorder::CommitError;
use crate::records::rejections::Reason;
use crate::request::decide::Failure;
use crate::request::post_response::PostResponse;
use crate::state::dedup::{CachedResponse, DedupClaim, InFlightCall};
use crate::state::host::UndecidedRequest;

/// A decision, or the lack of one, on its way out.
pub struct PlacedAnswer {
    /// The verdict, or why there is none.
    pub verdict: Result<Effect, Failure>,
    /// The answer without the record's reference.
    pub answer: Answer,
    /// The results of the enforcing bindings.
    pub results: Vec<BindingResult>,
    /// The side effect before or after the answer leaves.
    pub side_effect: Option<SideEffect>,
}

/// The answer, and the work after it was sent.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers besides the content's type: lower-case names.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// The body, reference included.
    pub body: Bytes,
    /// For when the last byte has left, where there is anything to do by then.
    pub post_response: Option<PostResponse>,
}

impl From<Answer> for Reply {
    /// An answer that belongs to no recorded call.
    fn from(answer: Answer) -> Self {
        let body = Bytes::copy_from_slice(answer.body());
        Self {
            status: answer.status,
            headers: header_values(answer.headers),
            body,
            post_response: None,
        }
    }
}

impl RequestContext<'_> {
    /// Waits for the first call's answer and gives it again, as a record of its own. `incoming` is the question, where it was one.
    pub async fn replay(
        mut self,
        flight: Arc<InFlightCall>,
        id: &str,
        incoming: Option<&Arc<HookRequest>>,
    ) -> Reply {
        let answered = timeout_at(self.budget.plugins_until().into(), flight.response()).await;
        let Some(answered) = answered.ok().flatten() else {
            // The first call was given up: there is nothing to say again.
            return match incoming {
                Some(incoming) => {
                    self.fail_safe(Failure::of(Cause::InternalError), incoming, Vec::new(), None)
                        .await
                }
                None => self.reject_authenticated(Cause::InternalError).await,
            };
        };
        let fields = build_members(|fields| {
            fields
                .number("received", self.received)
                .text("hook", &self.hook.config.name)
                .number_or_null("duplicate_of", answered.index)
                .display("response", portcullis_model::sha256(&answered.body))
                .number("status", answered.status);
        });
        let sealed = Some(id.as_bytes().to_vec());
        match self.commit(Entry { kind: "hook.duplicate", fields, sealed }).await {
            Some(_) => {
                self.outcomes.push(Counted::Duplicate);
                self.respond_with(answered.status, answered.headers, answered.body)
            }
            None => {
                let safe = self
                    .respond_unrecorded(incoming.map(|incoming| &**incoming), self.record)
                    .await;
                self.respond(&safe)
            }
        }
    }

    /// A refusal that nobody can be held to: counted, not recorded, and in the hook kind's own words. Its place is free before
    /// its bytes leave, so that nobody holds places by not reading.
    pub fn reject(mut self, reason: impl Into<Reason>) -> Reply {
        let cause = self.count_rejection(reason.into());
        let answer = self.safe_answer(cause, "", None);
        self.respond(&answer)
    }

    /// [`reject`](Self::reject) of a caller that is proven. The answer waits for the
    /// emergency ring, so that the count outlives the end of the process that the answer outlives.
    pub async fn reject_authenticated(mut self, reason: impl Into<Reason>) -> Reply {
        let cause = self.count_rejection(reason.into());
        self.host.counts.rejections.persist(&self.host.recorder).await;
        let answer = self.safe_answer(cause, "", None);
        self.respond(&answer)
    }

    /// [`reject_authenticated`](Self::reject_authenticated) of a request that was read whole and is
    /// none.
    pub async fn reject_malformed(mut self, malformed: &ParseError) -> Reply {
        let cause = self.count_rejection(malformed.into());
        self.host.counts.rejections.persist(&self.host.recorder).await;
        let answer = self.safe_answer(cause, &malformed.detail, None);
        self.respond(&answer)
    }

    fn count_rejection(&mut self, reason: Reason) -> Cause {
        let cause = reason.cause;
        if cause == Cause::BodyTooLarge && !self.hook.config.kind.is_binding() {
            self.warn_of_lost_batch();
        }
        self.account.rejected();
        self.host.reject(self.hook, self.received, reason);
        self.set_trace_outcome(Outcome::Cause(cause.code()));
        self.post_response.permit = None;
        cause
    }

    /// A batch of events that is too large is sent once more, and then it is lost to the log.
    fn warn_of_lost_batch(&self) {
        let members = &self.hook.metrics.members;
        if let Some(count) = members.count(Cause::BodyTooLarge, "the body", self.received) {
            tracing::warn!(
                event = "hook.batch-too-large",
                hook = self.hook.config.name,
                body_bytes = self.hook.config.body_bytes,
                count,
                "batches of events are larger than body_bytes and were not read; the platform \
                 drops each after one retry: raise body_bytes, or subscribe to fewer events"
            );
        }
    }

    pub(super) fn safe_answer(
        &self,
        cause: Cause,
        detail: &str,
        incoming: Option<&HookRequest>,
    ) -> Answer {
        let reference = incoming.and_then(|incoming| self.help_desk_reference(cause, incoming));
        let undecided = UndecidedRequest { cause, detail, route: self.route, incoming, reference };
        self.hook.safe_answer(self.generation.as_deref(), self.break_glass.as_deref(), undecided)
    }

    /// Returns the setting for calls without a decision, as it holds for this cause.
    pub fn on_failure(&self, cause: Option<Cause>) -> &OnFailure {
        self.hook.on_failure(self.generation.as_deref(), cause, self.break_glass.as_deref())
    }

    fn side_effect(&self, cause: Cause, incoming: &HookRequest) -> Option<SideEffect> {
        let reference = self.help_desk_reference(cause, incoming);
        self.hook.side_effect(self.on_failure(Some(cause)), incoming, reference)
    }

    /// Returns the reference that a safe answer shows. `None` where no record has it, because the
    /// log did not accept one.
    fn help_desk_reference(
        &self,
        cause: Cause,
        incoming: &HookRequest,
    ) -> Option<HelpDeskReference> {
        let has_record = cause != Cause::NotDurable || self.record.is_some();
        has_record.then(|| self.hook.help_desk_reference(&self.host.recorder, incoming))
    }

    /// Turns the failure of a call into its answer and its record. An item of a batch has
    /// `record_batch_item`.
    pub async fn fail_safe(
        mut self,
        failure: Failure,
        incoming: &Arc<HookRequest>,
        results: Vec<BindingResult>,
        first: Option<DedupClaim>,
    ) -> Reply {
        let answer = self.safe_answer(failure.cause, "", Some(incoming));
        let side_effect = self.side_effect(failure.cause, incoming);
        let said = DecisionSummary { verdict: Err(&failure), skipped: &[] };
        let appended = self.append_decision(said, &answer, incoming, &results, &side_effect);
        let decided = PlacedAnswer { verdict: Err(failure), answer, results, side_effect };
        self.record_and_respond(decided, incoming, first, appended).await
    }

    /// Seals the record of a decision and gives it its place, together with what the call changes
    /// in memory.
    ///
    /// # Errors
    /// [`CommitError::Conflict`], where the question is to be evaluated again. Any other error is
    /// [`record_and_respond`](Self::record_and_respond)'s.
    pub fn append_decision(
        &mut self,
        said: DecisionSummary<'_>,
        answer: &Answer,
        incoming: &HookRequest,
        results: &[BindingResult],
        side_effect: &Option<SideEffect>,
    ) -> Result<Pending, CommitError> {
        self.record_stage(Stage::Decide);
        let delivery = match side_effect {
            Some(SideEffect::Deliver(message)) => {
                self.hook.delivery_service(self.host, message.channel)
            }
            _ => None,
        };
        let delivery = delivery.map(|delivery_service| delivery_service.name.as_str());
        let changes = self.memory_changes(results, said.verdict.is_ok());
        let entry = self.entry(None, said, answer, incoming, results, delivery);
        self.append(entry, &changes)
    }

    /// Waits until the record is durable, has delivered what is to be delivered, and splices the
    /// reference in. A decision whose record is late is not given: the safe answer leaves, and the
    /// hook owes the log that fact before it decides again.
    pub async fn record_and_respond(
        mut self,
        decided: PlacedAnswer,
        incoming: &Arc<HookRequest>,
        first: Option<DedupClaim>,
        appended: Result<Pending, CommitError>,
    ) -> Reply {
        let PlacedAnswer { verdict, answer, results, side_effect } = decided;
        let (answer, wire) = match self.finish_commit(appended).await {
            Some(receipt) => {
                match self.run_side_effect(side_effect, answer, incoming, self.record).await {
                    Some(answer) => {
                        self.count(verdict.as_ref().copied());
                        let wire = self.with_reference(&answer, receipt);
                        (answer, wire)
                    }
                    // Recorded, but the platform must not wait for what will never be done.
                    None => {
                        let failed = self.respond_side_effect_failed();
                        self.add_correction(self.record, Cause::InternalError, &failed).await;
                        let wire = failed.body().to_vec();
                        (failed, wire)
                    }
                }
            }
            None => {
                let side_effect = self.side_effect(Cause::NotDurable, incoming);
                self.count_safe(Cause::NotDurable);
                let safe = self.safe_answer(Cause::NotDurable, "", Some(incoming));
                let left = match self.run_side_effect(side_effect, safe, incoming, None).await {
                    Some(safe) => safe,
                    None => self.respond_side_effect_failed(),
                };
                // Once, and of what leaves in the end.
                self.add_correction(self.record, Cause::NotDurable, &left).await;
                let wire = left.body().to_vec();
                (left, wire)
            }
        };
        let (status, headers, wire) = (answer.status, answer.headers, Bytes::from(wire));
        if let Some(first) = first {
            let index = self.post_response.index;
            first.complete(CachedResponse {
                status,
                headers: headers.clone(),
                body: wire.clone(),
                index,
            });
        }
        // Who only observes is asked about questions; a search is none, and has no answer to compare.
        if self.search_counts.is_none() {
            let index = self.post_response.index;
            self.post_response.queue_observers(
                self.generation.as_ref(),
                self.hook,
                incoming,
                index,
            );
            self.compare(incoming, results, index);
        }
        self.respond_with(status, headers, wire)
    }

    /// What was said is compared with what the others would have said, after the reply.
    pub(super) fn compare(
        &mut self,
        incoming: &Arc<HookRequest>,
        results: Vec<BindingResult>,
        index: Option<u64>,
    ) {
        let canary_failure = self.canary_failure.take();
        if let Some(bindings) =
            self.generation.as_ref().and_then(|generation| generation.hooks.get(self.hook.number))
        {
            self.post_response.queue_comparison(
                bindings,
                self.hook,
                incoming,
                results,
                canary_failure,
                index,
            );
        }
    }

    pub(super) fn set_trace_outcome(&mut self, outcome: Outcome) {
        if let Some(trace) = &mut self.trace {
            trace.outcome = outcome;
        }
    }

    /// The end of every way: what is to be done afterwards goes with the answer.
    pub fn respond(&mut self, answer: &Answer) -> Reply {
        self.respond_with(
            answer.status,
            answer.headers.clone(),
            Bytes::copy_from_slice(answer.body()),
        )
    }

    fn respond_with(
        &mut self,
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> Reply {
        let mut headers = header_values(headers);
        let mut post_response =
            std::mem::replace(&mut self.post_response, PostResponse::new(self.host));
        let ready = monotonic_now();
        post_response.response_ready_at = Some(ready);
        post_response.started = Some((Arc::clone(self.hook), self.began));
        for (stage, nanos) in self.stages.entries() {
            self.hook.metrics.observe_stage(*stage, *nanos);
        }
        if let Some(mut trace) = self.trace.take() {
            trace.record = post_response.index.or(post_response.batch_indices.first().copied());
            trace.mark_ready(&self.stages, status, ready);
            post_response.trace = Some(trace);
        }
        if let Some(name) = self.hook.config.kind.echoed_header()
            && let Some(value) = self.head.headers.get(name)
        {
            // As it came: it is the caller's text, in whatever encoding.
            headers.push((name, value.clone()));
        }
        // Last of all: what panics before is answered and counted by who called.
        for outcome in self.outcomes.drain(..) {
            match outcome {
                Counted::Verdict(verdict) => self.hook.metrics.decided(verdict),
                Counted::Safe(cause) => self.hook.metrics.safe(cause),
                Counted::Duplicate => self.hook.metrics.duplicate_served(),
            }
        }
        Reply { status, headers, body, post_response: Some(post_response) }
    }
}

/// Headers as they leave. What cannot stand in a header is left out: the answer does not depend on
/// it.
fn header_values(headers: Vec<(&'static str, String)>) -> Vec<(&'static str, HeaderValue)> {
    let value = |(name, value)| Some((name, HeaderValue::try_from(value).ok()?));
    headers.into_iter().filter_map(value).collect()
}

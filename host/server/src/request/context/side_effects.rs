//! The work before an answer is sent that confirms it: delivering a message, spooling a later call.
//!
//! Invariant: an answer that promises something leaves only when it is done or safely kept; else
//! one leaves that does not make the platform wait, and the log is owed that fact. Delivering
//! itself is `platform_calls::delivery`'s, later calls are `resume`'s.

use std::sync::Arc;
use std::time::Instant;

use portcullis_audit::Sequence;
use portcullis_hooks::{Answer, HookRequest, Message, OnFailure, SideEffect};
use portcullis_model::Cause;

use super::RequestContext;
use crate::clock::monotonic_now;
use crate::logging::log_limit::LOG_LIMITS;
use crate::observe::budget::Stage;
use crate::observe::metrics::nanos;

impl RequestContext<'_> {
    /// Does what has to be done before an answer leaves that promises it. The answer that leaves; nothing where none can that makes the
    /// platform wait. `record` is the answer's durable record, where it has one.
    pub(super) async fn run_side_effect(
        &mut self,
        side_effect: Option<SideEffect>,
        answer: Answer,
        incoming: &HookRequest,
        record: Option<Sequence>,
    ) -> Option<Answer> {
        let resume = match side_effect {
            None => return Some(answer),
            Some(SideEffect::Deliver(message)) => {
                let before = monotonic_now();
                let answer = self.deliver(&message, answer, incoming, record).await;
                self.record_stage_since(Stage::SideEffect, before);
                return Some(answer);
            }
            Some(SideEffect::Resume(resume)) => resume,
        };
        let (index, until, before) =
            (self.post_response.index, self.budget.side_effect_until(), monotonic_now());
        let context = self.host.resume_context();
        let place = (&*self.hook.config.name, self.hook.config.resume.as_deref());
        let spooled =
            self.host.platforms.resume_calls.spool(&context, place, resume, index, until).await;
        self.record_stage_since(Stage::SideEffect, before);
        let done = spooled.is_some();
        self.post_response.resume = spooled.map(|spooled| (Arc::clone(self.hook), spooled));
        done.then_some(answer)
    }

    /// The answer that tells the platform that its call failed, whatever the hook's safe answer is:
    /// nothing that it would wait for follows.
    pub(super) fn respond_side_effect_failed(&mut self) -> Answer {
        self.count_safe(Cause::InternalError);
        let kind = self.hook.config.kind;
        portcullis_hooks::safe_answer(kind, &OnFailure::Closed, Cause::InternalError, None)
    }

    /// Adds the time since then to this stage.
    fn record_stage_since(&mut self, stage: Stage, since: Instant) {
        let spent = monotonic_now().saturating_duration_since(since);
        self.hook.metrics.observe_stage(stage, nanos(spent));
        if let Some(trace) = &mut self.trace {
            trace.span_stage(stage, since, spent);
        }
    }

    /// Takes a message to whoever delivers it, once. The answer that leaves: the one that says so, or, where nobody took it, the one that
    /// makes the platform send it; the hook owes the log that fact.
    async fn deliver(
        &self,
        message: &Message,
        answer: Answer,
        incoming: &HookRequest,
        record: Option<Sequence>,
    ) -> Answer {
        let Some(delivery_service) = self.hook.delivery_service(self.host, message.channel) else {
            return answer;
        };
        let (now, until) = (monotonic_now(), self.budget.delivery_until());
        let Err(error) =
            delivery_service.deliver(&self.host.platforms.outbound, message, until, now).await
        else {
            return answer;
        };
        if LOG_LIMITS.allows(UNDELIVERED, &self.hook.config.name, monotonic_now()) {
            tracing::warn!(
                event = UNDELIVERED,
                hook = self.hook.config.name,
                delivery = delivery_service.name,
                code = error.code(),
                %error,
                record = record.map(|record| record.index),
                "the delivery service did not accept a message; the platform sends it itself"
            );
        }
        let fallback = portcullis_hooks::render_undelivered(self.hook.config.kind, incoming);
        // An answer without a record is owed to the log as it leaves.
        if record.is_some() {
            self.add_correction(record, Cause::MessageUndelivered, &fallback).await;
        }
        self.hook.metrics.safe(Cause::MessageUndelivered);
        fallback
    }
}

/// The event of a message that its delivery service did not accept.
const UNDELIVERED: &str = "delivery.failed";

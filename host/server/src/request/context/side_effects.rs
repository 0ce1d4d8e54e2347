//! What has to be done before an answer leaves that promises it: a message delivered, a later call spooled.
//!
//! Invariant: an answer that promises something leaves only when it is done or safely kept; else one leaves that does not make the platform
//! wait, and the log is owed that fact. Delivering itself is `courier`'s, later calls are `resume`'s.

use std::sync::Arc;
use std::time::Instant;

use portcullis_audit::Sequence;
use portcullis_hooks::{Answer, Errand, Incoming, Message, OnFailure};
use portcullis_model::Cause;

use super::Call;
use crate::logging::log_limit::LOG_LIMITS;
use crate::observe::budget::Stage;
use crate::observe::metrics::nanos;

impl Call<'_> {
    /// Does what has to be done before an answer leaves that promises it. The answer that leaves; nothing where none can that makes the
    /// platform wait. `record` is the answer's durable record, where it has one.
    pub(super) async fn prepare(
        &mut self,
        errand: Option<Errand>,
        answer: Answer,
        incoming: &Incoming,
        record: Option<Sequence>,
    ) -> Option<Answer> {
        let resume = match errand {
            None => return Some(answer),
            Some(Errand::Deliver(message)) => {
                let before = self.host.clock.instant();
                let answer = self.deliver(&message, answer, incoming, record).await;
                self.took(Stage::Errand, before);
                return Some(answer);
            }
            Some(Errand::Resume(resume)) => resume,
        };
        let (index, until, before) =
            (self.afterwards.index, self.budget.side_effect_until(), self.host.clock.instant());
        let context = self.host.resume_context();
        let place = (&*self.hook.config.name, self.hook.config.resume.as_deref());
        let spooled = self.host.resumes.put(&context, place, resume, index, until).await;
        self.took(Stage::Errand, before);
        let done = spooled.is_some();
        self.afterwards.resume = spooled.map(|spooled| (Arc::clone(self.hook), spooled));
        done.then_some(answer)
    }

    /// The answer that tells the platform that its call failed, whatever the hook's safe answer is:
    /// nothing that it would wait for follows.
    pub(super) fn respond_side_effect_failed(&mut self) -> Answer {
        self.count_safe(Cause::HostFault);
        let kind = self.hook.config.kind;
        portcullis_hooks::safe_answer(kind, &OnFailure::Closed, Cause::HostFault, None)
    }

    /// What was done since then was this stage's.
    fn took(&mut self, stage: Stage, since: Instant) {
        let spent = self.host.clock.instant().saturating_duration_since(since);
        self.hook.metrics.took(stage, nanos(spent));
        if let Some(trace) = &mut self.trace {
            trace.took(stage, since, spent);
        }
    }

    /// Takes a message to whoever delivers it, once. The answer that leaves: the one that says so, or, where nobody took it, the one that
    /// makes the platform send it; the hook owes the log that fact.
    async fn deliver(
        &self,
        message: &Message,
        answer: Answer,
        incoming: &Incoming,
        record: Option<Sequence>,
    ) -> Answer {
        let Some(courier) = self.hook.courier(self.host, message.channel) else { return answer };
        let (now, until) = (self.host.clock.instant(), self.budget.delivery_until());
        let Err(error) = courier.deliver(&self.host.outbound, message, until, now).await else {
            return answer;
        };
        if LOG_LIMITS.admit(UNDELIVERED, &self.hook.config.name, self.host.clock.instant()) {
            tracing::warn!(
                event = UNDELIVERED,
                hook = self.hook.config.name, delivery = courier.name, code = error.code(), %error, record = record.map(|record| record.index),
                "nobody took a message; it is left to the platform"
            );
        }
        let fallback = portcullis_hooks::undelivered(self.hook.config.kind, incoming);
        // An answer without a record is owed to the log as it leaves.
        if record.is_some() {
            self.add_correction(record, Cause::Undelivered, &fallback).await;
        }
        self.hook.metrics.safe(Cause::Undelivered);
        fallback
    }
}

/// The event of a message that its delivery service did not accept.
const UNDELIVERED: &str = "delivery.failed";

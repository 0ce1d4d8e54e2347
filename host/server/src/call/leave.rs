//! The ways in which a call ends: turned away, refused, recorded and answered, said again.
//!
//! Invariant: every way out goes through `leave`, and none of a decision's before its record is durable. A decision whose record is late
//! is not given. What was decided and asked is `call`'s and `pipeline`'s matter; what the record says is `evidence`.

use std::sync::Arc;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::header::HeaderValue;
use portcullis_audit::{Entry, Pending, Receipt, Refused, Sequence};
use portcullis_hooks::{
    Answer, Errand, Gathering, Incoming, Malformed, OnFailure, Reference, Unread,
};
use portcullis_model::{Cause, ChangeKind, Effect};
use tokio::time::timeout_at;

use super::Call;
use crate::afterwards::Afterwards;
use crate::ask::Asked;
use crate::budget::{Stage, micros};
use crate::evidence::Evidence;
use crate::observe::log_limit::LOG_LIMITS;
use crate::owed::Owed;
use crate::pipeline::{Decided, Failure};
use crate::refusals::{Reason, Refusals};
use crate::retry::{Answered, First, Flight};
use crate::telemetry::Outcome;

/// What goes back, and what is to be done once it has.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers besides the content's type: lower-case names.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// The body, reference included.
    pub body: Bytes,
    /// For when the last byte has left, where there is anything to do by then.
    pub afterwards: Option<Afterwards>,
}

impl From<Answer> for Reply {
    /// An answer that belongs to no recorded call.
    fn from(answer: Answer) -> Self {
        let body = Bytes::copy_from_slice(answer.body());
        Self {
            status: answer.status,
            headers: header_values(answer.headers),
            body,
            afterwards: None,
        }
    }
}

/// One part of an answer to many questions.
pub struct Part {
    answer: Answer,
    /// Its record on the way to the disk; nothing where there is nothing to record.
    record: Option<PartRecord>,
}

/// What was decided, for the record.
struct Said<'a> {
    /// The verdict, or why there is none.
    verdict: Result<Effect, &'a Failure>,
    /// The changes that the answer leaves out, since what they would change is not there.
    skipped: &'a [ChangeKind],
}

/// The record of a part on its way.
struct PartRecord {
    incoming: Arc<Incoming>,
    verdict: Result<Effect, Failure>,
    appended: Result<Pending, Refused>,
}

impl Call<'_> {
    /// Waits for the first call's answer and gives it again, as a record of its own. `incoming` is the question, where it was one.
    pub async fn say_again(
        mut self,
        flight: Arc<Flight>,
        id: &str,
        incoming: Option<&Arc<Incoming>>,
    ) -> Reply {
        let answered = timeout_at(self.budget.plugins_until().into(), flight.answered()).await;
        let Some(answered) = answered.ok().flatten() else {
            // The first call was given up: there is nothing to say again.
            return match incoming {
                Some(incoming) => {
                    self.refuse(Failure::of(Cause::HostFault), incoming, Vec::new(), None).await
                }
                None => self.turn_away(Cause::HostFault),
            };
        };
        let mut fields = format!(
            r#""recv":{},"hook":"{}","duplicate_of":"#,
            self.received, self.hook.config.name
        );
        match answered.index {
            Some(index) => fields.push_str(&index.to_string()),
            None => fields.push_str("null"),
        }
        fields.push_str(&format!(
            r#","left":"{}","status":{}"#,
            crate::digest::sha256(&answered.body),
            answered.status
        ));
        let sealed = Some(id.as_bytes().to_vec());
        match self.commit(Entry { kind: "hook.duplicate", fields, sealed }).await {
            Some(_) => {
                self.hook.metrics.said_again();
                self.leave_with(answered.status, answered.headers, answered.body)
            }
            None => {
                let safe = self.unrecorded(incoming.map(|incoming| &**incoming), self.record).await;
                self.leave(&safe)
            }
        }
    }

    /// A refusal that nobody can be held to: counted, not recorded, and in the hook kind's own words. Its place is free before
    /// its bytes leave, so that nobody holds places by not reading.
    pub fn turn_away(mut self, reason: impl Into<Reason>) -> Reply {
        let reason = reason.into();
        let cause = reason.cause;
        if cause == Cause::BodyTooLarge && !self.hook.config.kind.binds() {
            self.warn_of_lost_batch();
        }
        self.host.refuse(self.hook, self.received, reason);
        self.traced(Outcome::Cause(cause.code()));
        self.afterwards.place = None;
        Refusals::have_kept(self.host);
        let answer = self.safe_answer(cause, "", None);
        self.leave(&answer)
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
                "batches of events are larger than body_bytes and are not read; the platform sends each once \
                 more and then drops it: raise body_bytes, or subscribe the hook to fewer types of events"
            );
        }
    }

    /// [`turn_away`](Self::turn_away), of a request that was read whole and is none.
    pub async fn turn_away_malformed(mut self, malformed: &Malformed) -> Reply {
        self.host.refuse(self.hook, self.received, malformed);
        self.traced(Outcome::Cause(malformed.cause.code()));
        self.afterwards.place = None;
        Refusals::keep(self.host).await;
        let answer = self.safe_answer(malformed.cause, &malformed.detail, None);
        self.leave(&answer)
    }

    fn safe_answer(&self, cause: Cause, detail: &str, incoming: Option<&Incoming>) -> Answer {
        self.hook.safe_answer(
            self.generation.as_deref(),
            self.glass.as_deref(),
            cause,
            detail,
            self.route,
            incoming,
        )
    }

    /// What leaves when there is no decision, and why.
    pub fn on_failure(&self, cause: Option<Cause>) -> &OnFailure {
        self.hook.on_failure(self.generation.as_deref(), cause, self.glass.as_deref())
    }

    fn errand(&self, cause: Cause, incoming: &Incoming) -> Option<Errand> {
        self.hook.errand(self.on_failure(Some(cause)), incoming)
    }

    /// The one place that turns a failure of a call into its answer and its record.
    pub async fn refuse(
        self,
        failure: Failure,
        incoming: &Arc<Incoming>,
        asked: Vec<Asked>,
        first: Option<First>,
    ) -> Reply {
        let answer = self.safe_answer(failure.cause, "", Some(incoming));
        let errand = self.errand(failure.cause, incoming);
        self.record_and_leave((Err(failure), &[]), answer, incoming, asked, first, errand).await
    }

    /// Seals, sequences and waits until the record is durable, has delivered what is to be delivered, and splices the reference in. A
    /// decision whose record is late is not given: the safe answer leaves, and the hook owes the log that fact before it decides again.
    pub async fn record_and_leave(
        mut self,
        (verdict, skipped): (Result<Effect, Failure>, &[ChangeKind]),
        answer: Answer,
        incoming: &Arc<Incoming>,
        asked: Vec<Asked>,
        first: Option<First>,
        errand: Option<Errand>,
    ) -> Reply {
        self.note(Stage::Decide);
        let delivery = match &errand {
            Some(Errand::Deliver(message)) => self.hook.courier(self.host, message.channel),
            _ => None,
        };
        let delivery = delivery.map(|courier| courier.name.as_str());
        let said = Said { verdict: verdict.as_ref().copied(), skipped };
        let entry = self.entry(None, said, &answer, incoming, &asked, delivery);
        let (answer, wire) = match self.commit(entry).await {
            Some(receipt) => match self.prepare(errand, answer, incoming, self.record).await {
                Some(answer) => {
                    self.count(verdict.as_ref().copied());
                    let wire = self.with_reference(&answer, receipt);
                    (answer, wire)
                }
                // Recorded, but the platform must not wait for what will never be done.
                None => {
                    let failed = self.undone();
                    self.owe(self.record, Cause::HostFault, &failed).await;
                    let wire = failed.body().to_vec();
                    (failed, wire)
                }
            },
            None => {
                let errand = self.errand(Cause::NotDurable, incoming);
                self.count_safe(Cause::NotDurable);
                let safe = self.safe_answer(Cause::NotDurable, "", Some(incoming));
                let left = match self.prepare(errand, safe, incoming, None).await {
                    Some(safe) => safe,
                    None => self.undone(),
                };
                // Once, and of what leaves in the end.
                self.owe(self.record, Cause::NotDurable, &left).await;
                let wire = left.body().to_vec();
                (left, wire)
            }
        };
        let (status, headers, wire) = (answer.status, answer.headers, Bytes::from(wire));
        if let Some(first) = first {
            let index = self.afterwards.index;
            first.settle(Answered { status, headers: headers.clone(), body: wire.clone(), index });
        }
        // Who only observes is asked about questions; a search is none, and has no answer to compare.
        if self.searched.is_none() {
            let index = self.afterwards.index;
            self.afterwards.observe(self.generation.as_ref(), self.hook, incoming, index);
            self.compare(incoming, asked, index);
        }
        self.leave_with(status, headers, wire)
    }

    /// Appends the record of one of many questions, and does not wait for it. Says whether the question was permitted.
    pub fn record_part(&mut self, number: usize, decided: Decided) -> (bool, Part) {
        let Decided { incoming, asked, outcome, skipped, .. } = decided;
        let cause = outcome.as_ref().err().map(|failure| failure.cause);
        let on_failure =
            self.hook.on_failure(self.generation.as_deref(), cause, self.glass.as_deref());
        let (verdict, permitted, answer) = match outcome {
            Ok((verdict, answer)) => (Ok(verdict), self.hook.config.kind.permits(verdict), answer),
            Err(failure) => {
                let answer = self.safe_answer(failure.cause, "", Some(&incoming));
                (Err(failure), *on_failure == OnFailure::Open, answer)
            }
        };
        let said = Said { verdict: verdict.as_ref().copied(), skipped: &skipped };
        let entry = self.entry(Some(number), said, &answer, &incoming, &asked, None);
        let appended = self.append(entry);
        self.afterwards.observe(
            self.generation.as_ref(),
            self.hook,
            &incoming,
            appended.as_ref().ok().map(|it| it.index),
        );
        self.compare(&incoming, asked, appended.as_ref().ok().map(|it| it.index));
        (permitted, Part { answer, record: Some(PartRecord { incoming, verdict, appended }) })
    }

    /// What was said is compared with what the others would have said, after the reply.
    fn compare(&mut self, incoming: &Arc<Incoming>, asked: Vec<Asked>, index: Option<u64>) {
        let fallen = self.fallen.take();
        if let Some(bindings) =
            self.generation.as_ref().and_then(|generation| generation.hooks.get(self.hook.number))
        {
            self.afterwards.compare(bindings, self.hook, incoming, asked, fallen, index);
        }
    }

    /// A part that could not be read as a question is counted, and answered as it stands. Where the answer tells its
    /// caller nothing it has a record, which holds what came.
    pub fn unread_part(&mut self, number: usize, unread: Box<Unread>) -> Part {
        let Unread { answer, malformed, question } = *unread;
        self.host.refuse(self.hook, self.received, &malformed);
        let Some(incoming) = question.map(Arc::new) else {
            return Part { answer, record: None };
        };
        let verdict = Err(Failure::of(malformed.cause));
        let said = Said { verdict: verdict.as_ref().copied(), skipped: &[] };
        let entry = self.entry(Some(number), said, &answer, &incoming, &[], None);
        let appended = self.append(entry);
        Part { answer, record: Some(PartRecord { incoming, verdict, appended }) }
    }

    /// Waits until every part is durable, and makes one answer of them.
    pub async fn gather_and_leave(
        mut self,
        parts: Vec<Part>,
        batch: &Gathering,
        first: Option<First>,
    ) -> Reply {
        let before = self.host.clock.instant();
        let mut answers = Vec::with_capacity(parts.len());
        for Part { answer, record } in parts {
            let Some(PartRecord { incoming, verdict, appended }) = record else {
                answers.push(answer.body().to_vec());
                continue;
            };
            let record = appended.as_ref().ok().map(Pending::sequence);
            self.afterwards.further.extend(record.map(|record| record.index));
            answers.push(match self.durable(appended).await {
                Some(receipt) => {
                    self.count(verdict.as_ref().copied());
                    self.with_reference(&answer, receipt)
                }
                None => self.unrecorded(Some(&incoming), record).await.body().to_vec(),
            });
        }
        self.afterwards.commit_us =
            micros(self.host.clock.instant().saturating_duration_since(before));
        let answer = portcullis_hooks::gather(self.hook.config.kind, &answers, batch);
        // An answer that asks for all of it once more is not one to be said again: whoever comes next is the first.
        if let Some(first) = first.filter(|_| answer.status < 500) {
            let (status, headers) = (answer.status, answer.headers.clone());
            first.settle(Answered {
                status,
                headers,
                body: Bytes::copy_from_slice(answer.body()),
                index: None,
            });
        }
        self.leave(&answer)
    }

    /// The record of one question.
    fn entry(
        &mut self,
        part: Option<usize>,
        said: Said<'_>,
        answer: &Answer,
        incoming: &Incoming,
        asked: &[Asked],
        delivery: Option<&str>,
    ) -> Entry {
        let Said { verdict, skipped } = said;
        let body_pseudonym = match self.body_pseudonym.take() {
            Some(made) => made,
            None => self.host.pseudonym("body", &crate::evidence::kept(incoming)),
        };
        let evidence = Evidence {
            host: self.host,
            hook: self.hook,
            incoming,
            part,
            searched: self.searched,
            body_pseudonym,
            generation: self.generation.as_ref().map_or(0, |generation| generation.number),
            asked,
            verdict,
            skipped,
            safe: self.hook.on_failure(
                self.generation.as_deref(),
                verdict.err().map(|failure| failure.cause),
                self.glass.as_deref(),
            ),
            fallen: self.fallen.as_ref().map(|fallen| &fallen.failure),
            glass: self.glass.as_deref(),
            delivery,
            answer,
            salt: self.host.salt(),
            trace: self.trace.as_ref().map(|trace| trace.context.trace_text()),
            ledger: &self.ledger,
        };
        Entry { kind: "hook.decision", fields: evidence.fields(), sealed: Some(evidence.sealed()) }
    }

    /// A recorded answer goes out.
    fn count(&mut self, verdict: Result<Effect, &Failure>) {
        match verdict {
            Ok(verdict) => {
                self.hook.metrics.decided(verdict);
                self.traced(Outcome::Verdict(verdict.name()));
            }
            Err(failure) => self.count_safe(failure.cause),
        }
    }

    /// A safe answer to a call that could be read goes out.
    pub(super) fn count_safe(&mut self, cause: Cause) {
        self.hook.metrics.safe(cause);
        self.traced(Outcome::Cause(cause.code()));
    }

    fn traced(&mut self, outcome: Outcome) {
        if let Some(trace) = &mut self.trace {
            trace.outcome = outcome;
        }
    }

    fn with_reference(&self, answer: &Answer, receipt: Receipt) -> Vec<u8> {
        let leaf = BASE64.encode(receipt.leaf_hash);
        answer.with_reference(&Reference {
            log: self.host.log.origin(),
            index: receipt.index,
            leaf: &leaf,
            generation: self.generation.as_ref().map_or(0, |generation| generation.number),
            spent_us: micros(self.host.clock.instant().saturating_duration_since(self.began)),
        })
    }

    /// Appends a record and waits until it is durable, for as long as the budget lets it. `None` if it is not by then.
    async fn commit(&mut self, entry: Entry) -> Option<Receipt> {
        let before = self.host.clock.instant();
        let appended = self.append(entry);
        self.record = appended.as_ref().ok().map(Pending::sequence);
        self.afterwards.index = self.record.map(|record| record.index);
        others_first().await;
        let receipt = self.durable(appended).await;
        if receipt.is_none() && self.record.is_some_and(|record| self.host.log.is_void(record)) {
            // The record was lost with a stop of the log, and its index will be another's.
            (self.record, self.afterwards.index) = (None, None);
        }
        let after = self.host.clock.instant();
        self.afterwards.commit_us = micros(after.saturating_duration_since(before));
        if let Some(trace) = &mut self.trace {
            trace.committed(before, after);
        }
        receipt
    }

    fn append(&mut self, entry: Entry) -> Result<Pending, Refused> {
        // What an earlier call of this hook owes the log comes first.
        let appended = self.hook.owed.settle(self.host).and_then(|()| self.host.log.commit(entry));
        // Given back before the wait: sandboxes must not be held by a slow disk.
        self.afterwards.remains.clear();
        appended
    }

    async fn durable(&self, appended: Result<Pending, Refused>) -> Option<Receipt> {
        match appended {
            Ok(pending) => timeout_at(self.budget.record_until().into(), pending)
                .await
                .ok()
                .and_then(Result::ok),
            Err(refused) => {
                let (hook, now) = (&*self.hook.config.name, self.host.clock.instant());
                if LOG_LIMITS.admit("log.append-refused", hook, now) {
                    tracing::error!(
                        event = "log.append-refused",
                        hook,
                        %refused,
                        "a record was not taken; the safe answer leaves"
                    );
                }
                None
            }
        }
    }

    /// The safe answer in place of what could not be recorded in time; the hook owes the log that fact.
    async fn unrecorded(
        &mut self,
        incoming: Option<&Incoming>,
        record: Option<Sequence>,
    ) -> Answer {
        self.count_safe(Cause::NotDurable);
        let safe = self.safe_answer(Cause::NotDurable, "", incoming);
        self.owe(record, Cause::NotDurable, &safe).await;
        safe
    }

    pub(super) async fn owe(&self, record: Option<Sequence>, cause: Cause, left: &Answer) {
        let answer = crate::digest::sha256(left.body());
        self.hook
            .owed
            .add(self.host, Owed { record, cause, answer, at: self.host.clock.now() })
            .await;
    }

    /// The end of every way: what is to be done afterwards goes with the answer.
    pub fn leave(&mut self, answer: &Answer) -> Reply {
        self.leave_with(
            answer.status,
            answer.headers.clone(),
            Bytes::copy_from_slice(answer.body()),
        )
    }

    fn leave_with(
        &mut self,
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> Reply {
        let mut headers = header_values(headers);
        let mut afterwards = std::mem::replace(&mut self.afterwards, Afterwards::new(self.host));
        let ready = self.host.clock.instant();
        afterwards.ready = Some(ready);
        afterwards.measured = Some((Arc::clone(self.hook), self.began));
        for (stage, nanos) in self.ledger.entries() {
            self.hook.metrics.took(*stage, *nanos);
        }
        if let Some(mut trace) = self.trace.take() {
            trace.record = afterwards.index.or(afterwards.further.first().copied());
            trace.ready(&self.ledger, status, ready);
            afterwards.trace = Some(trace);
        }
        if let Some(name) = self.hook.config.kind.echoed_header()
            && let Some(value) = self.head.headers.get(name)
        {
            // As it came: it is the caller's text, in whatever encoding.
            headers.push((name, value.clone()));
        }
        Reply { status, headers, body, afterwards: Some(afterwards) }
    }
}

/// Headers as they leave. What cannot stand in a header is left out: the answer does not depend on it.
fn header_values(headers: Vec<(&'static str, String)>) -> Vec<(&'static str, HeaderValue)> {
    let value = |(name, value)| Some((name, HeaderValue::try_from(value).ok()?));
    headers.into_iter().filter_map(value).collect()
}

/// Lets calls go first that are ready to run on this thread, so that their records share a commit with this one. Without the look
/// at the sockets that tokio's own yielding takes.
async fn others_first() {
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

//! The ways in which the parts of a batch end: each is recorded for itself, and all leave together.
//!
//! Invariant: no part leaves before its record is durable, or before its safe answer is owed to the
//! log. A batch waits once, for all of its records, and not for each part.

use std::sync::Arc;

use bytes::Bytes;
use portcullis_audit::{AppendError, Pending};
use portcullis_hooks::{Answer, BatchContext, Incoming, OnFailure, UnparsedItem};
use portcullis_model::{Cause, Effect};

use super::Call;
use super::recording::Said;
use super::respond::Reply;
use crate::observe::budget::micros;
use crate::request::decide::{Decided, Failure};
use crate::state::dedup::{Answered, First};

/// One part of an answer to many questions.
pub struct Part {
    answer: Answer,
    /// Its record on the way to the disk; nothing where there is nothing to record.
    record: Option<BatchItemRecord>,
}

/// The record of a part on its way.
struct BatchItemRecord {
    incoming: Arc<Incoming>,
    verdict: Result<Effect, Failure>,
    appended: Result<Pending, AppendError>,
}

impl Call<'_> {
    /// Appends the record of one of many questions, and does not wait for it. Says whether the
    /// question was permitted.
    pub fn record_batch_item(&mut self, number: usize, decided: Decided) -> (bool, Part) {
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
        (permitted, Part { answer, record: Some(BatchItemRecord { incoming, verdict, appended }) })
    }

    /// A part that could not be read as a question is counted, and answered as it stands. Where the
    /// answer tells its caller nothing it has a record, which holds what came.
    pub fn unparsed_item(&mut self, number: usize, unread: Box<UnparsedItem>) -> Part {
        let UnparsedItem { answer, malformed, question } = *unread;
        self.account.refused();
        self.host.refuse(self.hook, self.received, &malformed);
        let Some(incoming) = question.map(Arc::new) else {
            return Part { answer, record: None };
        };
        let verdict = Err(Failure::of(malformed.cause));
        let said = Said { verdict: verdict.as_ref().copied(), skipped: &[] };
        let entry = self.entry(Some(number), said, &answer, &incoming, &[], None);
        let appended = self.append(entry);
        Part { answer, record: Some(BatchItemRecord { incoming, verdict, appended }) }
    }

    /// Waits until every part is durable, and makes one answer of them.
    pub async fn respond_batch(
        mut self,
        parts: Vec<Part>,
        batch: &BatchContext,
        first: Option<First>,
    ) -> Reply {
        let before = self.host.clock.instant();
        let mut answers = Vec::with_capacity(parts.len());
        let (mut owed, mut is_counted) = (Vec::new(), false);
        for Part { answer, record } in parts {
            let Some(BatchItemRecord { incoming, verdict, appended }) = record else {
                answers.push(answer.body().to_vec());
                is_counted = true;
                continue;
            };
            let record = appended.as_ref().ok().map(Pending::sequence);
            self.afterwards.further.extend(record.map(|record| record.index));
            answers.push(match self.durable(appended).await {
                Some(receipt) => {
                    self.count(verdict.as_ref().copied());
                    self.with_reference(&answer, receipt)
                }
                None => {
                    let safe = self.not_durable(Some(&incoming));
                    self.account.owed(record);
                    owed.push(self.owed(record, Cause::NotDurable, &safe));
                    safe.body().to_vec()
                }
            });
        }
        // The ring is waited for once, however many parts it has to hold.
        let keeps_refusals = async {
            if is_counted {
                self.host.refusals.keep(&self.host.recorder).await;
            }
        };
        tokio::join!(self.hook.owed.add_all(&self.host.recorder, owed), keeps_refusals);
        self.afterwards.commit_us =
            micros(self.host.clock.instant().saturating_duration_since(before));
        let answer = portcullis_hooks::gather(self.hook.config.kind, &answers, batch);
        // An answer that asks for all of it once more is not one to be said again: whoever comes
        // next is the first.
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
}

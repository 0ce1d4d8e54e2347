//! The ways in which the parts of a batch end: each is recorded for itself, and all leave together.
//!
//! Invariant: no part leaves before its record is durable, or before its safe answer is owed to the
//! log. A batch waits once, for all of its records, and not for each part.

use std::sync::Arc;

use bytes::Bytes;
use portcullis_audit::Pending;
use portcullis_hooks::{Answer, BatchContext, HookRequest, OnFailure, UnparsedItem};
use portcullis_model::{Cause, Effect};
use portcullis_store::memory::Changes;

use super::RequestContext;
use super::recording::DecisionSummary;
use super::respond::Reply;
use crate::clock::monotonic_now;
use crate::observe::budget::micros;
use crate::recorder::CommitError;
use crate::request::decide::{DecisionOutcome, Failure};
use crate::state::dedup::{CachedResponse, DedupClaim};

/// One part of an answer to many questions.
pub struct BatchItem {
    answer: Answer,
    /// Its record on the way to the disk; nothing where there is nothing to record.
    record: Option<BatchItemRecord>,
}

/// The record of a part on its way.
struct BatchItemRecord {
    incoming: Arc<HookRequest>,
    verdict: Result<Effect, Failure>,
    appended: Result<Pending, CommitError>,
}

impl RequestContext<'_> {
    /// Appends the record of one of many questions, and does not wait for it. Says whether the
    /// question was permitted. `None`: other calls changed its memory meanwhile, and it is to be
    /// evaluated again, which may be asked only where that `is_repeatable`.
    pub fn record_batch_item(
        &mut self,
        number: usize,
        decided: DecisionOutcome,
        is_repeatable: bool,
    ) -> Option<(bool, BatchItem)> {
        let DecisionOutcome { incoming, results, outcome, skipped, .. } = decided;
        let cause = outcome.as_ref().err().map(|failure| failure.cause);
        let on_failure =
            self.hook.on_failure(self.generation.as_deref(), cause, self.break_glass.as_deref());
        let (verdict, permitted, answer) = match outcome {
            Ok((verdict, answer)) => {
                (Ok(verdict), self.hook.config.kind.is_permit(verdict), answer)
            }
            Err(failure) => {
                let answer = self.safe_answer(failure.cause, "", Some(&incoming));
                (Err(failure), *on_failure == OnFailure::Open, answer)
            }
        };
        let said = DecisionSummary { verdict: verdict.as_ref().copied(), skipped: &skipped };
        let changes = self.memory_changes(&results, verdict.is_ok());
        let entry = self.entry(Some(number), said, &answer, &incoming, &results, None);
        let appended = self.append(entry, &changes);
        if let Err(CommitError::Conflict(_)) = appended {
            if is_repeatable {
                return None;
            }
            let failure = Failure::of(Cause::MemoryConflict);
            let outcome = Err(failure);
            let skipped = Vec::new();
            let decided =
                DecisionOutcome { incoming, results, outcome, skipped, side_effect: None };
            return self.record_batch_item(number, decided, false);
        }
        self.post_response.queue_observers(
            self.generation.as_ref(),
            self.hook,
            &incoming,
            appended.as_ref().ok().map(|it| it.index),
        );
        self.compare(&incoming, results, appended.as_ref().ok().map(|it| it.index));
        let record = Some(BatchItemRecord { incoming, verdict, appended });
        Some((permitted, BatchItem { answer, record }))
    }

    /// A part that could not be read as a question is counted, and answered as it stands. Where the
    /// answer tells its caller nothing it has a record, which holds what came.
    pub fn unparsed_item(&mut self, number: usize, unread: Box<UnparsedItem>) -> BatchItem {
        let UnparsedItem { answer, malformed, question } = *unread;
        self.account.rejected();
        self.host.reject(self.hook, self.received, &malformed);
        let Some(incoming) = question.map(Arc::new) else {
            return BatchItem { answer, record: None };
        };
        let verdict = Err(Failure::of(malformed.cause));
        let said = DecisionSummary { verdict: verdict.as_ref().copied(), skipped: &[] };
        let entry = self.entry(Some(number), said, &answer, &incoming, &[], None);
        let appended = self.append(entry, &Changes::default());
        BatchItem { answer, record: Some(BatchItemRecord { incoming, verdict, appended }) }
    }

    /// Waits until every part is durable, and makes one answer of them.
    pub async fn respond_batch(
        mut self,
        parts: Vec<BatchItem>,
        batch: &BatchContext,
        first: Option<DedupClaim>,
    ) -> Reply {
        let before = monotonic_now();
        let mut answers = Vec::with_capacity(parts.len());
        let (mut owed, mut is_counted) = (Vec::new(), false);
        for BatchItem { answer, record } in parts {
            let Some(BatchItemRecord { incoming, verdict, appended }) = record else {
                answers.push(answer.body().to_vec());
                is_counted = true;
                continue;
            };
            let record = appended.as_ref().ok().map(Pending::sequence);
            self.post_response.batch_indices.extend(record.map(|record| record.index));
            answers.push(match self.wait_durable(appended).await {
                Some(receipt) => {
                    self.count(verdict.as_ref().copied());
                    self.with_reference(&answer, receipt)
                }
                None => {
                    // The reference that the answer shows leads to this record.
                    self.record = record;
                    let safe = self.not_durable(Some(&incoming));
                    self.account.corrected(record);
                    owed.push(self.correction(record, Cause::NotDurable, &safe));
                    safe.body().to_vec()
                }
            });
        }
        // The ring is waited for once, however many parts it has to hold.
        let keeps_refusals = async {
            if is_counted {
                self.host.counts.rejections.persist(&self.host.recorder).await;
            }
        };
        tokio::join!(self.hook.corrections.add_all(&self.host.recorder, owed), keeps_refusals);
        self.post_response.commit_us = micros(monotonic_now().saturating_duration_since(before));
        let answer = portcullis_hooks::render_batch(self.hook.config.kind, &answers, batch);
        // An answer that asks for all of it once more is not one to be said again: whoever comes
        // next is the first.
        if let Some(first) = first.filter(|_| answer.status < 500) {
            let (status, headers) = (answer.status, answer.headers.clone());
            first.complete(CachedResponse {
                status,
                headers,
                body: Bytes::copy_from_slice(answer.body()),
                index: None,
            });
        }
        self.respond(&answer)
    }
}

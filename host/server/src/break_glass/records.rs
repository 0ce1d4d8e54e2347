//! The records of break-glass that wait for the log, and what each settles.
//!
//! Invariant: their number is bounded. Of refusals beyond the bound only the host's log tells.

use portcullis_audit::{Entry, Slot};
use portcullis_model::Millis;
use portcullis_model::json::build_members;

use super::State;

/// The debts that a durable record settles.
#[derive(Default)]
pub(super) struct RecordTag {
    /// The slot of the ring that it frees.
    pub(super) slot: Option<Slot>,
    /// The document that it tells is spent, and until when that could have been opened.
    pub(super) used: Option<(String, Millis)>,
}

impl State {
    /// A file was refused that was not refused before: the first of a minute are recorded by name,
    /// the rest is counted.
    pub(super) fn reject(&mut self, name: &str, code: &'static str, sentence: &str, now: Millis) {
        self.record_rejected(now, false);
        if self.named_this_minute >= MAX_NAMED_A_MINUTE {
            *self.rejected_counts.entry(code).or_default() += 1;
            return;
        }
        self.named_this_minute = self.named_this_minute.saturating_add(1);
        tracing::error!(
            code,
            file = name,
            sentence,
            event = "break-glass.refused",
            "a break-glass document was refused"
        );
        let sealed = Some(format!("{name}: {sentence}").into_bytes());
        self.queue_record(
            RECORD_REFUSED,
            build_members(|fields| {
                fields.text("code", code);
            }),
            sealed,
            RecordTag::default(),
        );
    }

    /// Records what was counted in a minute that is over; `everything` that of the present one too.
    pub(super) fn record_rejected(&mut self, now: Millis, everything: bool) {
        let minute = now.0 / MINUTE_MS;
        if minute == self.minute && !everything {
            return;
        }
        let begin = std::mem::replace(&mut self.minute, minute).saturating_mul(MINUTE_MS);
        self.named_this_minute = 0;
        for (code, count) in std::mem::take(&mut self.rejected_counts) {
            tracing::error!(
                code,
                count,
                event = "break-glass.refused-further",
                "further break-glass documents were refused within the same minute"
            );
            let fields = build_members(|fields| {
                fields.text("code", code).number("minute", begin).number("count", count);
            });
            self.queue_record(RECORD_REFUSED, fields, None, RecordTag::default());
        }
    }

    pub(super) fn queue_record(
        &mut self,
        kind: &'static str,
        fields: String,
        sealed: Option<Vec<u8>>,
        tag: RecordTag,
    ) {
        // Bounded: past that a refusal is said in the host's log only. Openings and ends are
        // bounded by the documents that were signed.
        if kind != RECORD_REFUSED || self.pending_records.len() < MAX_PENDING_RECORDS {
            self.pending_records.add(Entry { kind, fields, sealed }, tag);
        }
    }
}

/// Refused files that are recorded by name within a minute.
const MAX_NAMED_A_MINUTE: u32 = 8;
const MINUTE_MS: u64 = 60_000;
/// The record of a file that opens nothing.
const RECORD_REFUSED: &str = "break-glass.refused";
/// Records that may wait for the log before further refusals are left out.
pub(super) const MAX_PENDING_RECORDS: usize = 256;

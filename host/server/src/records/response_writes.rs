//! Delivery: did the bytes leave, and what did the last stages take?
//!
//! Invariant: every recorded answer appears in exactly one `answer.sent` record, soon after it left
//! or could not. The leaf has counts and failures; the line per answer is sealed beside it.

use portcullis_model::json::{build_members, write_array};
use std::sync::{Mutex, PoisonError};

use portcullis_audit::Entry;

/// What became of one answer.
#[derive(Clone, Copy)]
pub struct ResponseWrite {
    /// Its record.
    pub index: u64,
    /// Microseconds until the record was durable, or given up.
    pub commit_us: u64,
    /// Microseconds from ready to left; `None` if it never left.
    pub write_us: Option<u64>,
}

/// Deliveries not yet recorded.
#[derive(Default)]
pub struct ResponseWrites {
    batch: Mutex<Vec<ResponseWrite>>,
}

impl ResponseWrites {
    /// Notes one.
    pub fn add(&self, delivery: ResponseWrite) {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
    }

    /// Gives the log all of them, in records of up to [`MAX_PER_RECORD`]. What it does not take is
    /// kept for the next round.
    pub fn report(&self, say: impl Fn(Entry) -> bool) {
        loop {
            let batch = self.take();
            let Some(entry) = entry(&batch) else { return };
            if !say(entry) {
                self.batch.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
                return;
            }
        }
    }

    fn take(&self) -> Vec<ResponseWrite> {
        let mut batch: Vec<_> = {
            let mut waiting = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            let most = waiting.len().min(MAX_PER_RECORD);
            // The list keeps its room: calls should not have to make it again.
            waiting.drain(..most).collect()
        };
        batch.sort_by_key(|delivery| delivery.index);
        batch
    }
}

/// The record of a batch in order, if there is anything to say.
fn entry(batch: &[ResponseWrite]) -> Option<Entry> {
    let (first, last) = (batch.first()?.index, batch.last()?.index);
    let failed: Vec<_> = batch
        .iter()
        .filter(|delivery| delivery.write_us.is_none())
        .map(|delivery| delivery.index)
        .collect();
    let commit_max = batch.iter().map(|delivery| delivery.commit_us).max().unwrap_or_default();
    let named = failed.get(..failed.len().min(MAX_NAMED)).unwrap_or_default();
    let fields = build_members(|fields| {
        fields
            .number("first", first)
            .number("last", last)
            .number("delivered", batch.len() - failed.len())
            .number("undelivered", failed.len())
            // With a space after each comma, as in every such record.
            .json("undelivered_first", &format!("{named:?}"))
            .number("commit_us_max", commit_max);
    });
    let mut sealed = String::with_capacity(batch.len() * 16);
    write_array(&mut sealed, |list| {
        for delivery in batch {
            list.array(|one| {
                one.number(delivery.index).number(delivery.commit_us);
                one.number_or_null(delivery.write_us);
            });
        }
    });
    Some(Entry { kind: "answer.sent", fields, sealed: Some(sealed.into_bytes()) })
}

/// Answers of one record: what its sealed part has room for.
const MAX_PER_RECORD: usize = 8_192;
/// Undelivered answers that the leaf names; all are in the sealed part.
const MAX_NAMED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_record_that_names_what_did_not_leave() {
        let deliveries = ResponseWrites::default();
        assert!(entry(&deliveries.take()).is_none());
        deliveries.add(ResponseWrite { index: 9, commit_us: 70, write_us: None });
        deliveries.add(ResponseWrite { index: 7, commit_us: 50, write_us: Some(3) });
        deliveries.report(|_| false);
        let said = std::cell::RefCell::new(Vec::new());
        deliveries.report(|entry| {
            said.borrow_mut().push(entry);
            true
        });
        let entry = said.into_inner().pop().unwrap();
        assert_eq!(entry.kind, "answer.sent");
        assert_eq!(
            entry.fields,
            r#""first":7,"last":9,"delivered":1,"undelivered":1,"undelivered_first":[9],"commit_us_max":70"#
        );
        assert_eq!(entry.sealed.unwrap(), b"[[7,50,3],[9,70,null]]");
        assert!(deliveries.take().is_empty());
    }
}

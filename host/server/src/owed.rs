//! What a hook owes the log: answers that left without their record.
//!
//! Invariant: before a hook decides again, the log has been given `answer.superseded` for every record that was sequenced but whose
//! decision did not leave, or `answer.gap` for what was never sequenced; the log keeps its order, so they stand before the next
//! decision. The emergency ring holds the same facts until those records are durable, for the case that this process ends first.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_audit::{Entry, Pending, Refused, Slot};
use portcullis_model::{Cause, Digest, Millis};

use crate::host::{Hook, Host};

/// One answer that left without its record.
#[derive(Clone, Copy)]
pub struct Owed {
    /// The record that must not be believed; `None` if there never was one.
    pub index: Option<u64>,
    /// Hash of what left instead.
    pub answer: Digest,
    /// When.
    pub at: Millis,
}

/// One hook's debts.
#[derive(Default)]
pub struct Debts {
    any: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    owed: Vec<(Owed, Option<Slot>)>,
    /// Said, but perhaps not durable yet.
    said: Vec<(Pending, Option<Slot>)>,
}

impl Debts {
    /// Notes a debt, in the emergency ring first.
    pub fn add(&self, host: &Host, hook: &Hook, owed: Owed) {
        let noted =
            host.log.ring().note(&hook.config.name, owed.index, &owed.answer.0, Cause::NotDurable.code(), owed.at.0);
        let slot = noted.unwrap_or_else(|error| {
            tracing::error!(%error, hook = hook.config.name, "the emergency ring takes nothing; an answer left that only memory knows of");
            None
        });
        let mut books = self.books();
        if books.owed.len() < MOST_DEBTS {
            books.owed.push((owed, slot));
        }
        self.any.store(true, Ordering::Release);
    }

    /// Gives the log everything that is owed. Refused as long as the log takes nothing: then the hook must not decide.
    pub fn settle(&self, host: &Host) -> Result<(), Refused> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut books = self.books();
        while let Some((owed, slot)) = books.owed.last().copied() {
            let pending = host.log.append(owed.entry())?;
            books.owed.pop();
            books.said.push((pending, slot));
        }
        self.any.store(false, Ordering::Release);
        Ok(())
    }

    /// Frees the ring's slots of what the log has by now. Blocks on the log: not for a thread that answers calls.
    pub fn free_slots(&self, host: &Host) {
        let said = std::mem::take(&mut self.books().said);
        for (pending, slot) in said {
            if let (Ok(_), Some(slot)) = (pending.wait(), slot) {
                free(host, slot);
            }
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owed {
    fn entry(&self) -> Entry {
        match self.index {
            Some(index) => superseded(index, &self.answer, Cause::NotDurable.code(), self.at),
            None => gap(1, self.at, self.at),
        }
    }
}

/// Says what the last run owed, as the emergency ring remembers it.
pub fn recover(host: &Host, owed: &[portcullis_audit::Owed]) {
    use portcullis_audit::Owed as Remembered;
    for remembered in owed {
        let (slot, entry) = match remembered {
            Remembered::Answer { slot, index: Some(index), answer, cause, at, .. } => {
                let cause =
                    if Cause::ALL.iter().any(|known| known.code() == cause) { cause } else { Cause::HostFault.code() };
                (slot, superseded(*index, &Digest(*answer), cause, Millis(*at)))
            }
            Remembered::Answer { slot, index: None, at, .. } => (slot, gap(1, Millis(*at), Millis(*at))),
            Remembered::Gap { slot, count, first, last } => (slot, gap(*count, Millis(*first), Millis(*last))),
        };
        match host.log.append(entry).map(Pending::wait) {
            Ok(Ok(_)) => free(host, *slot),
            // It stays in the ring, and the next start tries again.
            Ok(Err(error)) => tracing::error!(%error, "what the last run owed the log is not durable yet"),
            Err(refused) => tracing::error!(%refused, "what the last run owed the log could not be said"),
        }
    }
}

fn superseded(index: u64, answer: &Digest, cause: &str, left: Millis) -> Entry {
    let mut fields = String::new();
    // Writing to a string cannot fail.
    let _ = write!(fields, r#""of":{index},"out":"{answer}","cause":"{cause}","left":{left}"#);
    Entry { kind: "answer.superseded", fields, sealed: None }
}

fn gap(count: u64, first: Millis, last: Millis) -> Entry {
    Entry { kind: "answer.gap", fields: format!(r#""count":{count},"first":{first},"last":{last}"#), sealed: None }
}

fn free(host: &Host, slot: Slot) {
    if let Err(error) = host.log.ring().settle(slot) {
        tracing::error!(%error, "a slot of the emergency ring could not be freed");
    }
}

/// Debts of one hook that are kept one by one; the ring counts the rest.
const MOST_DEBTS: usize = 1_024;

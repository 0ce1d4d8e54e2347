//! What a hook owes the log: answers that left without their record, or other than it says.
//!
//! Invariant: before a hook decides again, the log has been given `answer.superseded` for every record that was sequenced but whose
//! decision did not leave, or `answer.gap` for what was never sequenced; the log keeps its order, so they stand before the next
//! decision. The emergency ring holds the same facts until those records are durable, for the case that this process ends first;
//! it is written by a thread of its own, because a disk that hangs must not keep a safe answer from leaving.

use std::fmt::Write as _;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_audit::{Entry, Pending, Refused, Slot};
use portcullis_model::{Cause, Digest, Millis};

use crate::glass;
use crate::host::{Hook, Host};
use crate::observe::log_limit::LOG_LIMITS;

/// One answer that left without its record.
#[derive(Clone, Copy)]
pub struct Owed {
    /// The record that must not be believed; `None` if there never was one.
    pub index: Option<u64>,
    /// Why something else left.
    pub cause: Cause,
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
    debts: Vec<Debt>,
    serial: u64,
    /// What found the list full: how many, when first, when last.
    more: Option<(u64, Millis, Millis)>,
}

struct Debt {
    serial: u64,
    owed: Owed,
    /// Its slot of the emergency ring, once that is written.
    slot: Option<Slot>,
    /// Its record, once the log was given it.
    said: Option<Pending>,
}

impl Debts {
    /// Notes a debt, and waits a moment for the emergency ring to hold it.
    pub async fn add(&self, host: &Arc<Host>, hook: &Hook, owed: Owed) {
        let Some(serial) = self.books().enter(owed) else {
            self.any.store(true, Ordering::Release);
            return;
        };
        self.any.store(true, Ordering::Release);
        let note = {
            let (host, debts, name) =
                (Arc::clone(host), Arc::clone(&hook.owed), Arc::clone(&hook.name));
            move || note(&host, &debts, &name, serial, owed)
        };
        if let Ok(noted) = host.ring_lane.run(note) {
            // Late or never: the answer leaves, and memory knows of it.
            drop(tokio::time::timeout(RING_WAIT, noted).await);
        }
    }

    /// Whether anything is owed that the log has not been given.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Gives the log everything that is owed. Refused as long as the log takes nothing: then the hook must not decide.
    pub fn settle(&self, host: &Host) -> Result<(), Refused> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut books = self.books();
        for debt in books.debts.iter_mut().filter(|debt| debt.said.is_none()) {
            debt.said = Some(host.log.append(debt.owed.entry())?);
        }
        if let Some((count, first, last)) = books.more {
            host.log.append(gap(count, first, last))?;
            books.more = None;
        }
        self.any.store(false, Ordering::Release);
        Ok(())
    }

    /// Frees the ring's slots of what the log has by now; says whether nothing is owed any more. Waits for nothing.
    pub fn free_slots(&self, host: &Host) -> bool {
        let mut books = self.books();
        books.debts.retain_mut(|debt| {
            let Some(said) = &mut debt.said else { return true };
            match Pin::new(said).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => true,
                // The log has stopped for good: the ring keeps what it holds for the next start.
                Poll::Ready(Err(_)) => false,
                Poll::Ready(Ok(_)) => {
                    if let Some(slot) = debt.slot {
                        free(host, slot);
                    }
                    false
                }
            }
        });
        books.debts.is_empty() && books.more.is_none()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// The debt's number, or nothing where it is only counted.
    fn enter(&mut self, owed: Owed) -> Option<u64> {
        if self.debts.len() >= MOST_DEBTS {
            let (count, first, _) = self.more.unwrap_or((0, owed.at, owed.at));
            self.more = Some((count + 1, first, owed.at));
            return None;
        }
        self.serial += 1;
        self.debts.push(Debt { serial: self.serial, owed, slot: None, said: None });
        Some(self.serial)
    }
}

impl Owed {
    fn entry(&self) -> Entry {
        match self.index {
            Some(index) => superseded(index, &self.answer, self.cause.code(), self.at),
            None => gap(1, self.at, self.at),
        }
    }
}

/// Frees the ring's tally of what found no slot: for when no hook owes anything.
pub fn free_tally(host: &Host) {
    free(host, Slot::TALLY);
}

/// Says what the last run owed, as the emergency ring remembers it. `size` is how many records survived: an index beyond was given
/// and never durable, and is another record's by now.
pub fn recover(host: &Host, owed: &[portcullis_audit::Owed], size: u64) {
    use portcullis_audit::Owed as Remembered;
    for remembered in owed {
        let (slot, entry) = match remembered {
            Remembered::Answer { slot, hook, answer, cause, at, .. } if cause == glass::CAUSE => {
                let Some(entry) = glass::recovered(host, hook, answer, Millis(*at)) else {
                    continue;
                };
                (slot, entry)
            }
            Remembered::Answer { slot, index: Some(index), answer, cause, at, .. }
                if *index < size =>
            {
                let known = Cause::ALL.iter().any(|known| known.code() == cause);
                let cause = if known { cause } else { Cause::HostFault.code() };
                (slot, superseded(*index, &Digest(*answer), cause, Millis(*at)))
            }
            Remembered::Answer { slot, at, .. } => (slot, gap(1, Millis(*at), Millis(*at))),
            Remembered::Gap { slot, count, first, last } => {
                (slot, gap(*count, Millis(*first), Millis(*last)))
            }
        };
        match host.log.append(entry).map(Pending::wait) {
            Ok(Ok(_)) => free(host, *slot),
            // It stays in the ring, and the next start tries again.
            Ok(Err(error)) => {
                tracing::error!(%error, "what the last run owed the log is not durable yet")
            }
            Err(refused) => {
                tracing::error!(%refused, "what the last run owed the log could not be said")
            }
        }
    }
}

/// Writes a debt to the ring and tells the books where. If it was paid meanwhile, the slot is free again at once.
fn note(host: &Host, debts: &Debts, hook: &str, serial: u64, owed: Owed) {
    let cause = owed.cause.code();
    match host.log.ring().note(hook, owed.index, &owed.answer.0, cause, owed.at.0) {
        Ok(Some(slot)) => match debts.books().debts.iter_mut().find(|debt| debt.serial == serial) {
            Some(debt) => debt.slot = Some(slot),
            None => free(host, slot),
        },
        Ok(None) => host.owes_tally.store(true, Ordering::Release),
        Err(error) => {
            if LOG_LIMITS.admit("log.ring-failed", hook, host.clock.instant()) {
                tracing::error!(
                    event = "log.ring-failed",
                    %error,
                    hook,
                    "the emergency ring takes nothing; only memory knows of an answer"
                );
            }
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
    Entry {
        kind: "answer.gap",
        fields: format!(r#""count":{count},"first":{first},"last":{last}"#),
        sealed: None,
    }
}

fn free(host: &Host, slot: Slot) {
    if let Err(error) = host.log.ring().settle(slot)
        && LOG_LIMITS.admit("log.ring-slot-kept", "", host.clock.instant())
    {
        tracing::error!(
            event = "log.ring-slot-kept",
            %error,
            "a slot of the emergency ring could not be freed"
        );
    }
}

/// Debts of one hook that are kept one by one; the rest are counted.
const MOST_DEBTS: usize = 1_024;
/// How long a safe answer waits for the ring, out of the time kept back for writing.
const RING_WAIT: Duration = Duration::from_millis(20);

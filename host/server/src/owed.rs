//! What a hook owes the log: answers that left without their record.
//!
//! Invariant: before a hook decides again, the log has been given `answer.superseded` for every record that was sequenced but whose
//! decision did not leave, or `answer.gap` for what was never sequenced; the log keeps its order, so they stand before the next
//! decision. The emergency ring holds the same facts for the case that this process ends first.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use portcullis_audit::{Entry, Refused};
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
    list: Mutex<Vec<Owed>>,
}

impl Debts {
    /// Notes a debt, here and in the emergency ring.
    pub fn add(&self, host: &Host, hook: &Hook, owed: Owed) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() == MOST_DEBTS {
            // The oldest stay precise; the rest is in the ring's count.
            list.pop();
        }
        list.push(owed);
        self.any.store(true, Ordering::Release);
        host.log.emergency(&hook.config.name, owed.index, &owed.answer.0, Cause::NotDurable.code(), owed.at.0);
    }

    /// Gives the log everything that is owed. Refused as long as the log takes nothing: then the hook must not decide.
    pub fn settle(&self, host: &Host) -> Result<(), Refused> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(owed) = list.last() {
            host.log.append(owed.entry())?;
            list.pop();
        }
        self.any.store(false, Ordering::Release);
        Ok(())
    }
}

impl Owed {
    /// Its record.
    pub fn entry(&self) -> Entry {
        let mut fields = String::new();
        // Writing to a string cannot fail.
        let _ = match self.index {
            Some(index) => write!(fields, r#""of":{index},"out":"{}","cause":"{}","at":{}"#, self.answer, Cause::NotDurable.code(), self.at),
            None => write!(fields, r#""count":1,"first":{0},"last":{0},"out":"{1}""#, self.at, self.answer),
        };
        let kind = if self.index.is_some() { "answer.superseded" } else { "answer.gap" };
        Entry { kind, fields, sealed: None }
    }
}

/// Debts of one hook that are kept one by one.
const MOST_DEBTS: usize = 1_024;

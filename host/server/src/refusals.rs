//! Refusals that nobody proved to be a caller's, or that were no call: counted per minute, hook and reason, not recorded one by one.
//!
//! Invariant: whatever outsiders send, the log grows by at most one record a minute, hook and reason, and nobody can buy an `fsync`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_callers::Unproven;
use portcullis_model::{Cause, Millis};

/// Counts.
#[derive(Default)]
pub struct Refusals {
    counts: Mutex<BTreeMap<Key, u64>>,
}

/// One line of a finished minute.
pub struct Counted {
    /// Start of the minute, milliseconds since the epoch.
    pub minute: Millis,
    /// The hook's name.
    pub hook: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// How often.
    pub count: u64,
}

/// Why a request was refused: a cause, and in which respect where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Why.
    pub cause: Cause,
    /// In which respect: a code.
    pub detail: Option<&'static str>,
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        Self { cause, detail: None }
    }
}

impl From<Unproven> for Reason {
    fn from(unproven: Unproven) -> Self {
        Self { cause: Cause::CallerUnproven, detail: Some(unproven.code()) }
    }
}

/// Minute, hook's name, reason. By name: a hook's place is another's after a reload.
type Key = (u64, Arc<str>, Reason);

impl Refusals {
    /// Counts one.
    pub fn count(&self, now: Millis, hook: &Arc<str>, reason: impl Into<Reason>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((now.0 / MINUTE, Arc::clone(hook), reason.into())).or_default() += 1;
    }

    /// Takes the minutes that are over; `everything` takes the present one too (at a stop).
    pub fn take(&self, now: Millis, everything: bool) -> Vec<Counted> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let first = (now.0 / MINUTE, Arc::from(""), Reason::from(Cause::CallerUnproven));
        let open = if everything { BTreeMap::new() } else { counts.split_off(&first) };
        let over = std::mem::replace(&mut *counts, open);
        over.into_iter()
            .map(|((minute, hook, reason), count)| Counted {
                minute: Millis(minute * MINUTE),
                hook,
                reason,
                count,
            })
            .collect()
    }

    /// Takes back what the log did not take.
    pub fn put_back(&self, counted: &Counted) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts
            .entry((counted.minute.0 / MINUTE, Arc::clone(&counted.hook), counted.reason))
            .or_default() += counted.count;
    }
}

impl Counted {
    /// The members of its record.
    pub fn fields(&self) -> String {
        let mut fields = String::new();
        // Writing to a string cannot fail; the name was checked with the configuration.
        let _ = write!(
            fields,
            r#""minute":{},"hook":"{}","cause":"{}","#,
            self.minute,
            self.hook,
            self.reason.cause.code()
        );
        if let Some(detail) = self.reason.detail {
            let _ = write!(fields, r#""detail":"{detail}","#);
        }
        let _ = write!(fields, r#""count":{}"#, self.count);
        fields
    }
}

const MINUTE: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_minute_hook_and_reason() {
        let refusals = Refusals::default();
        let (h0, h1) = (Arc::from("h0"), Arc::from("h1"));
        for n in 0..1_000_000 {
            refusals.count(Millis(n / 20), &h0, Cause::CallerUnproven);
        }
        refusals.count(Millis(60_001), &h0, Cause::NotJson);
        refusals.count(Millis(125_000), &h1, Cause::NotJson);
        let lines: Vec<_> =
            refusals.take(Millis(125_000), false).iter().map(Counted::fields).collect();
        assert_eq!(
            lines,
            [
                r#""minute":0,"hook":"h0","cause":"caller-unproven","count":1000000"#,
                r#""minute":60000,"hook":"h0","cause":"not-json","count":1"#,
            ]
        );
        assert_eq!(refusals.take(Millis(125_000), true).len(), 1);
        assert!(refusals.take(Millis(999_000), true).is_empty());
    }
}

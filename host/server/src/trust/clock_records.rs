//! The log lines and records of what becomes of the trust in this machine's clock.
//!
//! Invariant: each change is told once, in the host's log for the operator and in the audit log for
//! good. Decides nothing.

use portcullis_audit::Entry;
use portcullis_model::Millis;
use portcullis_model::json::ObjectWriter;
use portcullis_trust::time;

use super::trusted_time::ClockAlarm;

impl ClockAlarm {
    /// Tells the operator.
    pub fn log(&self) {
        match *self {
            Self::Unconfirmed { clock, trusted } => tracing::error!(
                event = "clock.unconfirmed",
                clock = %text(clock),
                last_known = %text(trusted),
                "this machine's clock is more than a day ahead of the last record and of every \
                 signed document: no other release set or trust root is activated, and nothing \
                 expires; set the clock, or confirm it with `portcullis trust confirm-clock`"
            ),
            Self::Behind { clock, trusted } => tracing::error!(
                event = "clock.behind",
                clock = %text(clock),
                last_known = %text(trusted),
                "this machine's clock is more than a day behind the last record, so the host \
                 counts time from that record. Set the clock; if the records are wrong, sign a \
                 time reset with `portcullis trust time-reset`"
            ),
            Self::Confirmed { by, clock, before } => tracing::info!(
                event = "clock.confirmed",
                by = by.name(),
                clock = %text(clock),
                before = %text(before),
                "this machine's clock is confirmed again"
            ),
            Self::Skew { ahead } => tracing::warn!(
                event = "clock.skew",
                ahead_ms = ahead,
                "this machine's clock differs from a platform's by more than five minutes: check \
                 its time synchronisation"
            ),
            Self::NoSkew => tracing::info!(
                event = "clock.agrees",
                "this machine's clock matches the platforms' clocks again"
            ),
        }
    }

    /// The record of it.
    pub fn entry(&self) -> Entry {
        let mut fields = String::new();
        let mut members = ObjectWriter::members_of(&mut fields);
        let kind = match *self {
            Self::Unconfirmed { clock, trusted } => {
                members.number("clock", clock).number("last_known", trusted);
                "trust.clock-unconfirmed"
            }
            Self::Behind { clock, trusted } => {
                members.number("clock", clock).number("last_known", trusted);
                "trust.clock-behind"
            }
            Self::Confirmed { by, clock, before } => {
                members.text("by", by.name()).number("clock", clock).number("before", before);
                "trust.clock-confirmed"
            }
            Self::Skew { ahead } => {
                members.number("ahead_ms", ahead);
                "trust.clock-skew"
            }
            Self::NoSkew => "trust.clock-agrees",
        };
        Entry { kind, fields, sealed: None }
    }
}

fn text(at: Millis) -> String {
    time::format(Millis(at.0 - at.0 % 1_000))
}

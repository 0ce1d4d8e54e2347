//! The log lines and records of what becomes of the trust in this machine's clock.
//!
//! Invariant: each change is told once, in the host's log for the operator and in the audit log for
//! good. Decides nothing.

use portcullis_audit::Entry;
use portcullis_model::Millis;
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
                 signed document: calls are decided by it, no document expires, and no other \
                 release set or trust root becomes active until a platform, a newly signed \
                 document or `portcullis trust confirm-clock` agrees with it"
            ),
            Self::Behind { clock, trusted } => tracing::error!(
                event = "clock.behind",
                clock = %text(clock),
                last_known = %text(trusted),
                "this machine's clock is more than a day behind the last record: time goes on from \
                 that record. Set the clock; if the records have the wrong time, have a time reset \
                 signed with `portcullis trust time-reset`"
            ),
            Self::Confirmed { by, clock, before } => tracing::info!(
                event = "clock.confirmed",
                by = by.name(),
                clock = %text(clock),
                before = %text(before),
                "this machine's clock is believed again"
            ),
            Self::Skew { ahead } => tracing::warn!(
                event = "clock.skew",
                ahead_ms = ahead,
                "this machine's clock is more than five minutes away from a platform's: check its \
                 time synchronisation"
            ),
            Self::NoSkew => tracing::info!(
                event = "clock.agrees",
                "this machine's clock agrees with the platforms' again"
            ),
        }
    }

    /// The record of it.
    pub fn entry(&self) -> Entry {
        let (kind, fields) = match *self {
            Self::Unconfirmed { clock, trusted } => {
                ("trust.clock-unconfirmed", format!(r#""clock":{clock},"last_known":{trusted}"#))
            }
            Self::Behind { clock, trusted } => {
                ("trust.clock-behind", format!(r#""clock":{clock},"last_known":{trusted}"#))
            }
            Self::Confirmed { by, clock, before } => (
                "trust.clock-confirmed",
                format!(r#""by":"{}","clock":{clock},"before":{before}"#, by.name()),
            ),
            Self::Skew { ahead } => ("trust.clock-skew", format!(r#""ahead_ms":{ahead}"#)),
            Self::NoSkew => ("trust.clock-agrees", String::new()),
        };
        Entry { kind, fields, sealed: None }
    }
}

fn text(at: Millis) -> String {
    time::format(Millis(at.0 - at.0 % 1_000))
}

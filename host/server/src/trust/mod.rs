//! What the host holds about trust while it runs.
//!
//! Invariant: what is trusted changes only by signed documents and by records; a clock alone changes nothing.

mod clock_records;
mod time_documents;
pub mod trusted_time;

pub use trusted_time::{ClockAlarm, ClockState, TrustedTime};

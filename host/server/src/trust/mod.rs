//! What the host holds about trust while it runs.
//!
//! Invariant: what is trusted changes only by signed documents and by records; a clock alone
//! changes nothing.

mod clock_machine;
mod clock_records;
pub mod persisted;
pub mod roots;
pub mod state;
pub mod state_copy;
pub mod state_dir;
pub mod trusted_time;
pub mod view;

pub use clock_machine::MAX_SKEW;
pub use trusted_time::{ClockAlarm, ClockState, TrustedTime};

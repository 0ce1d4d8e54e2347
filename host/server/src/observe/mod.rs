//! Observation: the means by which a host tells an operator what it does.
//!
//! Invariant: nothing here decides, and nothing that a caller sends can make it cost without bound.

pub mod budget;
pub mod metrics;
pub mod progress;
pub mod telemetry;

//! Records: what the audit log is told of calls, responses and rejections.
//!
//! Invariant: every response is counted once, in a record or in a correction. Decides nothing.

pub mod corrections;
pub mod rejected_members;
pub mod rejections;
pub mod response_writes;
pub mod schema_drift;
pub mod unread_entitlements;
pub mod unrouted_counts;

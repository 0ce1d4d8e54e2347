//! Calls that the host makes to platforms and delivery services: messages, resume calls, decryption
//! of what a platform encrypts for the host.
//!
//! Invariant: a promise to a platform is on disk, or kept, before the answer that makes it leaves.

pub mod decryption;
pub mod delivery;
pub mod resume;

//! Ping Identity's fixed contracts: the sideband API of its gateways, and PingAuthorize's JSON PDP API.
//!
//! Invariant: neither says who the subject is in a place of its own; nothing here takes a credential that passes through for an
//! identity.

pub(crate) mod pdp;
mod secret;
pub(crate) mod sideband;

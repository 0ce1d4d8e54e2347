//! The network side of the listeners: sockets, sources of connections, limits and descriptors.
//!
//! Invariant: nothing here knows hooks, calls or records. What a connection costs is bounded here
//! before any byte of it is parsed as TLS or HTTP.

pub mod acceptor;
pub mod connection_limit;
pub mod descriptors;
pub mod networks;
pub mod proxy_protocol;
pub mod socket;

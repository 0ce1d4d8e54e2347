//! The network side of the listeners: sockets, sources of connections, limits and descriptors.
//!
//! Invariant: nothing here knows hooks, calls or records. The cost of a connection is bounded here
//! before any byte of it is parsed as TLS or HTTP.

pub mod acceptor;
pub mod connection_limit;
pub mod frame_gate;
pub mod networks;
pub mod outbound;
pub mod oversized_block;
pub mod proxy_protocol;
pub mod session;
pub mod socket;
pub mod tls;

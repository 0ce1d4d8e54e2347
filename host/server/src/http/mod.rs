//! What a request is as HTTP, before it is a call: its path, method and head, and what it may cost.
//!
//! Invariant: a request that does not become a call is answered from its head alone, at once, and
//! nothing of it is kept while the answer leaves. On a closed hook whose platform could go on
//! otherwise every such answer is the hook's safe answer. `protocol` drives the protocols;
//! `pipeline` is what happens to a call.

pub mod body_readers;
pub mod by_hand;
pub mod connection;
pub mod date;
pub mod head;
pub mod head_scanner;
pub mod http1_watch;
pub mod listener;
pub mod preflight;
pub mod protocol;
pub mod sockets;
pub mod unknown_path;

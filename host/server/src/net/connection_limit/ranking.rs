//! The order in which connections are evicted.
//!
//! Invariant: the order of the variants and fields here is the order of eviction, the first to go
//! first.

use std::cmp::Reverse;
use std::time::Instant;

use crate::net::networks::Prefix;

/// How much is known of the client's address. The first to go comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Nothing.
    Ordinary,
    /// A caller was authenticated from there not long ago, and there are few such connections.
    Known,
    /// The operator listed it as a platform's.
    Platform,
    /// The operator listed it as a proxy, behind which anybody may be.
    Proxy,
}

impl Tier {
    /// Every tier, in the order of eviction.
    pub const ALL: [Self; 4] = [Self::Ordinary, Self::Known, Self::Platform, Self::Proxy];
}

/// How far a connection has come that may be evicted. The first to go comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The client has sent nothing, or nothing since its last answer.
    Idle,
    /// The client has sent bytes, but not the whole head of a request.
    Started,
}

/// The connections that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// How much is known of them.
    pub tier: Tier,
    /// Where they come from.
    pub prefix: Prefix,
}

/// A connection in its phase: when the phase began, and the connection's number.
pub type Member = (Instant, u64);

/// The rank of one source's connections in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The source's tier.
    pub tier: Tier,
    /// The phase.
    pub phase: Phase,
    /// The cost of the source: its open connections, and those that ended lately without a caller
    /// that was authenticated.
    pub cost: Reverse<u32>,
    /// The oldest of them.
    pub oldest: Member,
    /// The source.
    pub source: Source,
}

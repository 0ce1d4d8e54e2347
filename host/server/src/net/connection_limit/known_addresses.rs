//! The addresses from which a caller was authenticated not long ago.
//!
//! Invariant: their number is bounded, the oldest is forgotten first, and each has a bounded number
//! of connections ahead of unknown addresses: an address proves nothing about a connection.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Addresses from which a caller was authenticated, the newest [`MAX_KNOWN`] of them, and how many
/// connections without a caller each has in their tier.
#[derive(Default)]
pub struct KnownAddresses {
    held: HashMap<IpAddr, usize>,
    order: VecDeque<IpAddr>,
}

impl KnownAddresses {
    /// Returns whether one more connection from there counts as known.
    pub fn has_room(&self, address: IpAddr) -> bool {
        self.held.get(&address).is_some_and(|held| *held < MAX_HELD_PER_KNOWN)
    }

    /// A caller was authenticated from there.
    pub fn insert(&mut self, address: IpAddr) {
        if self.held.contains_key(&address) {
            return;
        }
        self.held.insert(address, 0);
        self.order.push_back(address);
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.held.remove(&oldest);
        }
    }

    /// One more connection from there counts as known.
    pub fn take(&mut self, address: IpAddr) {
        if let Some(held) = self.held.get_mut(&address) {
            *held = held.saturating_add(1);
        }
    }

    /// Such a connection has ended.
    pub fn give_back(&mut self, address: IpAddr) {
        if let Some(held) = self.held.get_mut(&address) {
            *held = held.saturating_sub(1);
        }
    }
}

/// Addresses from which a caller was authenticated that are remembered.
const MAX_KNOWN: usize = 4_096;
/// Connections without a caller that one known address has ahead of unknown ones: more than a
/// platform opens at once while all of them prove themselves, and few enough that it can hold
/// nothing for long.
const MAX_HELD_PER_KNOWN: usize = 16;

//! The state that all calls of one connection share: its place among the connections, and the gate
//! that holds back an unauthenticated HTTP/2 client.
//!
//! Invariant: a caller that is authenticated opens both in the same step, wherever the check of the
//! caller ends: a call that still waits (for plugins, for its record) never keeps the other calls
//! of an authenticated client behind the gate. How callers are checked is `auth`'s matter.

use std::rc::Rc;
use std::sync::Arc;

use super::frame_gate::Intake;
use crate::net::connection_limit::ConnectionSlot;
use crate::net::tls::Peer;

/// One connection as its calls see it.
#[derive(Clone)]
pub struct Session {
    /// Its place among the connections.
    pub slot: Arc<ConnectionSlot>,
    /// Its gate. Over HTTP/1.1 it counts rejected calls and holds nothing back.
    pub intake: Rc<Intake>,
}

impl Session {
    /// A connection on which no caller is authenticated yet.
    pub fn new(slot: Arc<ConnectionSlot>) -> Self {
        Self { slot, intake: Rc::default() }
    }

    /// A caller of this hook is authenticated: the connection is not evicted any more, and nothing
    /// of it is held back.
    pub fn authenticate(&self, hook: &str, caller: &str) {
        self.slot.mark_authenticated(hook, caller);
        self.intake.authenticate();
    }

    /// The client's certificate, where it showed one.
    pub fn peer(&self) -> Option<&Peer> {
        self.slot.peer()
    }
}

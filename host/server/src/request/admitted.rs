//! A request whose head was checked and that has its place among the calls.
//!
//! Invariant: nothing of its body was read.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use portcullis_model::Millis;

use crate::auth::Identity;
use crate::state::admission::AdmissionPermit;
use crate::state::host::Hook;

/// A call that has its place.
pub struct Admitted {
    /// The hook.
    pub hook: Arc<Hook>,
    /// Which of its kind's routes it came by.
    pub route: &'static str,
    /// The request's head.
    pub head: Parts,
    /// The request's body, of which nothing was read.
    pub body: Incoming,
    /// Its place among the calls.
    pub place: AdmissionPermit,
    /// When its head had arrived.
    pub began: Instant,
    /// The same as wall time.
    pub received: Millis,
    /// Its caller. `None` where that waits for an issuer's keys.
    pub caller: Option<Identity>,
}

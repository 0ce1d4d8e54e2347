//! A call: one hook request in words that no platform owns. The same shape as `call` in `wit/policy.wit`.
//!
//! Invariant: a `Call` owns its text, so it can outlive the bytes it was read from (a lane, the
//! record). It holds everything the platform sent; what a plugin sees of it is a
//! [`View`](crate::View).

use std::borrow::Cow;

use crate::change::Change;
use crate::grant::{Grant, Target};
use crate::json::{Document, Text};
use crate::millis::Millis;

/// One hook request.
///
/// Deliberately without `Debug`: its members name people.
#[derive(Clone)]
pub struct Call {
    /// The platform's own event id.
    pub id: String,
    /// The platform's correlation id, where it sends one besides the event id.
    pub correlation: Option<String>,
    /// The tenant, "default" where there is one.
    pub tenant: String,
    /// The hook kind, such as "okta.token".
    pub hook: &'static str,
    /// The phase, where the kind has several.
    pub phase: Option<String>,
    /// When the host received it.
    pub received: Millis,
    /// The plugin's only randomness; recorded.
    pub seed: u64,
    /// Who is signing in, being created, asking.
    pub subject: Option<Principal>,
    /// Through whom the subject acts, nearest first.
    pub actors: Vec<Principal>,
    /// What is being done.
    pub action: Option<Entity>,
    /// To what.
    pub resource: Option<Entity>,
    /// What would be granted if everybody agrees.
    pub requested: Vec<Grant>,
    /// What the answer can shorten, and within which bounds.
    pub lifetimes: Vec<Lifetime>,
    /// Where from.
    pub origin: Option<Origin>,
    /// What for, where the platform says so.
    pub purpose: Option<String>,
    /// What proposing plugins want changed, merged. Empty until the guards are asked.
    pub proposed: Vec<Change>,
    /// The whole body, parsed. Plugins see the pointers their manifest reads.
    pub payload: Document,
    /// What in the payload is handed only to plugins whose manifest names it itself, and is kept by nobody: not in the record, not
    /// sealed, not in memory.
    pub secrets: Secrets,
}

/// JSON Pointers to secrets in a payload. Most hook kinds have theirs in fixed places; where they stand at different places in every
/// call, such as a credential among a request's headers, they are found when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(Vec<Cow<'static, str>>);

/// A named JSON value (RFC 8259 text).
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, as the platform spells it.
    pub name: Text,
    /// JSON text.
    pub value: Text,
}

/// What sort of somebody a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A human being.
    Person,
    /// A program with an identity of its own.
    Service,
    /// An AI agent acting for somebody.
    Agent,
    /// A device.
    Device,
    /// Anything else; see the platform's own word.
    Other,
}

/// Who.
#[derive(Clone)]
pub struct Principal {
    /// What sort.
    pub kind: PrincipalKind,
    /// The platform's own word ("user", "workload", …).
    pub type_name: String,
    /// The platform's id for them. Names a person: never outside the sealed part.
    pub id: Option<String>,
    /// Profile members and claims.
    pub attributes: Vec<Attribute>,
    /// What they hold already: groups, roles, entitlements.
    pub entitlements: Vec<Text>,
}

/// What is acted on, or the action itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Entity {
    /// The platform's own word.
    pub type_name: String,
    /// The platform's id, where it has one.
    pub id: Option<String>,
    /// Further members.
    pub attributes: Vec<Attribute>,
}

/// Where a call came from, as the platform saw it.
#[derive(Clone, Default)]
pub struct Origin {
    /// The client's address.
    pub ip: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// The client's user agent.
    pub user_agent: Option<String>,
    /// The platform's device id.
    pub device: Option<String>,
    /// The platform's session id.
    pub session: Option<String>,
}

/// How long something is meant to live, and what an answer can say instead. Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Of which part of the answer.
    pub target: Target,
    /// What the platform means to give.
    pub seconds: u32,
    /// The least an answer can say. Less than this can only be a denial.
    pub least: u32,
    /// The most an answer can say.
    pub most: u32,
}

impl Secrets {
    /// In these places, in every call.
    pub fn at(pointers: &[&'static str]) -> Self {
        Self(pointers.iter().copied().map(Cow::Borrowed).collect())
    }

    /// In this place too.
    pub fn add(&mut self, pointer: String) {
        self.0.push(Cow::Owned(pointer));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each pointer.
    pub fn pointers(&self) -> Vec<&str> {
        self.0.iter().map(|pointer| &**pointer).collect()
    }
}

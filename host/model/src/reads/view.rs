//! What a plugin sees of a call. The same shape as `call` in `wit/policy.wit`, borrowed.
//!
//! Invariant: made by [`Reads::view`](super::Reads::view) only; without `Debug`, as its members name people.

use std::borrow::Cow;

use crate::call::{Attribute, Lifetime, PrincipalKind};
use crate::change::Change;
use crate::grant::Grant;
use crate::json::Text;
use crate::millis::Millis;

/// A call cut down to what one plugin reads. Borrowed from the [`Call`](crate::Call).
///
/// `id`, `tenant`, `hook`, `phase`, `received`, `seed`, `lifetimes` and `proposed` are about the call itself,
/// or about changes that the plugin must judge, and are always there.
pub struct View<'a> {
    /// See [`Call::id`](crate::Call::id).
    pub id: &'a str,
    /// See [`Call::correlation`](crate::Call::correlation); path `correlation`.
    pub correlation: Option<&'a str>,
    /// See [`Call::tenant`](crate::Call::tenant).
    pub tenant: &'a str,
    /// See [`Call::hook`](crate::Call::hook).
    pub hook: &'a str,
    /// See [`Call::phase`](crate::Call::phase).
    pub phase: Option<&'a str>,
    /// See [`Call::received`](crate::Call::received).
    pub received: Millis,
    /// See [`Call::seed`](crate::Call::seed).
    pub seed: u64,
    /// See [`Call::subject`](crate::Call::subject); absent unless a path below `subject` is read.
    pub subject: Option<PrincipalView<'a>>,
    /// See [`Call::actors`](crate::Call::actors); empty unless a path below `actors` is read.
    pub actors: Vec<PrincipalView<'a>>,
    /// See [`Call::action`](crate::Call::action); absent unless a path below `action` is read.
    pub action: Option<EntityView<'a>>,
    /// See [`Call::resource`](crate::Call::resource); absent unless a path below `resource` is
    /// read.
    pub resource: Option<EntityView<'a>>,
    /// See [`Call::requested`](crate::Call::requested); path `requested`.
    pub requested: &'a [Grant],
    /// See [`Call::lifetimes`](crate::Call::lifetimes).
    pub lifetimes: &'a [Lifetime],
    /// See [`Call::origin`](crate::Call::origin); absent unless a path below `origin` is read.
    pub origin: Option<OriginView<'a>>,
    /// See [`Call::purpose`](crate::Call::purpose); path `purpose`.
    pub purpose: Option<&'a str>,
    /// See [`Call::proposed`](crate::Call::proposed).
    pub proposed: &'a [Change],
    /// JSON text: the body cut down to the pointers that are read for this hook kind
    /// (`okta.token:/data/context/user`), nested as in the body; `null` where none is, or none of them is
    /// there. See [`Reads::compile`](crate::Reads::compile) for arrays.
    pub payload: Cow<'a, str>,
}

/// A principal cut down: the subject, or one of the actors (paths `actors.id`, `actors.attributes.NAME`, …).
pub struct PrincipalView<'a> {
    /// What sort.
    pub kind: PrincipalKind,
    /// The platform's word.
    pub type_name: &'a str,
    /// Path `subject.id`.
    pub id: Option<&'a str>,
    /// Paths `subject.attributes.NAME`, `subject.attributes.*`.
    pub attributes: Vec<&'a Attribute>,
    /// Path `subject.entitlements`.
    pub entitlements: &'a [Text],
}

/// An entity cut down.
pub struct EntityView<'a> {
    /// The platform's word.
    pub type_name: &'a str,
    /// Path `resource.id`, `action.id`.
    pub id: Option<&'a str>,
    /// Paths `resource.attributes.NAME`, …
    pub attributes: Vec<&'a Attribute>,
}

/// An origin cut down: paths `origin.ip`, `origin.country`, `origin.asn`, `origin.user-agent`,
/// `origin.device`, `origin.session`.
#[derive(Default)]
pub struct OriginView<'a> {
    /// The client's address.
    pub ip: Option<&'a str>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<&'a str>,
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// The client's user agent.
    pub user_agent: Option<&'a str>,
    /// The platform's device id.
    pub device: Option<&'a str>,
    /// The platform's session id.
    pub session: Option<&'a str>,
}

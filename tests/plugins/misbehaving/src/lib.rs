//! Misbehaving: a plugin that does what its settings tell it, from an honest `allow` to a loop
//! without end.
//!
//! ```json
//! { "do": "by-entitlement", "misbehaviours": { "asks-for-trouble": { "do": "trap" } } }
//! ```
//!
//! Invariant: the same settings and the same call always do the same. It is written with the guest SDK and without `unsafe`, as a careless
//! or malicious author would write it; bytes that no compiler makes are tried in the engine's own tests.

mod misbehaviour;
mod reveal;

use portcullis_guest::{Call, Decision, Plugin};

pub use misbehaviour::Misbehaviour;

/// The plugin `org.portcullis.misbehaving`, configured.
pub struct Misbehaving(Misbehaviour);

impl Plugin for Misbehaving {
    type Settings = Misbehaviour;

    fn configure(misbehaviour: Misbehaviour) -> Result<Self, Vec<String>> {
        if matches!(misbehaviour, Misbehaviour::RefuseSettings) {
            return Err(vec!["settings: `do` asks to be refused".to_owned()]);
        }
        Ok(Self(misbehaviour))
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        self.0.carry_out(call)
    }
}

portcullis_guest::plugin!(Misbehaving);

//! Mischief: a plugin that does what its settings tell it, from an honest `allow` to a loop without end.
//!
//! ```json
//! { "do": "by-entitlement", "deeds": { "asks-for-trouble": { "do": "trap" } } }
//! ```
//!
//! Invariant: the same settings and the same call always do the same. It is written with the guest SDK and without `unsafe`, as a careless
//! or malicious author would write it; bytes that no compiler makes are tried in the engine's own tests.

mod deed;
mod reveal;

use portcullis_guest::{Call, Decision, Plugin};

pub use deed::Deed;

/// The plugin `org.portcullis.mischief`, configured.
pub struct Mischief(Deed);

impl Plugin for Mischief {
    type Settings = Deed;

    fn configure(deed: Deed) -> Result<Self, Vec<String>> {
        if matches!(deed, Deed::RefuseSettings) {
            return Err(vec!["settings: `do` asks to be refused".to_owned()]);
        }
        Ok(Self(deed))
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        self.0.carry_out(call)
    }
}

portcullis_guest::plugin!(Mischief);

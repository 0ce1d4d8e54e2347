//! Segregation of duties: nobody holds, asks for or is about to be given functions that must lie in different hands.
//!
//! A call is judged by what the subject would hold afterwards: what they hold, what is requested and what other plugins
//! propose to add, without what those propose to drop. Rules are compiled at `configure`, so that a call costs by the
//! functions its subject has, not by the number of rules.
//!
//! Invariant: it only guards. It finds, it changes nothing; and the order of rules, entitlements and grants never changes
//! what it finds.
//!
//! What it does not do: it knows of a subject only what the call carries. Entitlements that the platform does not send
//! are not judged.

mod bitset;
mod compiled;
mod evaluate;
mod minimal;
mod names;
mod rules;
mod settings;

#[cfg(test)]
mod tests;

use portcullis_guest::{Call, Decision, Plugin};

pub use settings::Settings;

/// The plugin `org.portcullis.sod`, configured.
pub struct Sod(compiled::Compiled);

impl Plugin for Sod {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Vec<String>> {
        // Copied, so that what calls touch lies together instead of between what compiling left behind.
        compiled::compile(settings).map(|compiled| Self(compiled.clone()))
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        Ok(evaluate::judge(&self.0, call))
    }
}

portcullis_guest::plugin!(Sod);

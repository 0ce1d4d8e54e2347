//! Segregation of duties: nobody holds, asks for or is about to be given functions that must lie in
//! different hands.
//!
//! A call is judged by what the subject would hold afterwards: what they hold, what is requested
//! and what other plugins propose to add, without what those propose to drop. Rules are compiled at
//! `configure`, so that a call costs by the functions its subject has, not by the number of rules.
//! Where the settings name reference tables, exceptions, pairs of entitlements and the contents of
//! roles are looked up. The rules themselves are the crate `portcullis-sod-rules`, which the
//! command line uses too.
//!
//! Invariant: it only guards. It finds, it changes nothing; and the order of rules, entitlements
//! and grants never changes what it finds.
//!
//! It does not look for entitlements: those that the platform does not send are not judged.

mod evaluate;
mod findings;
mod look_ups;

#[cfg(test)]
mod tests;

use portcullis_guest::{Call, Decision, Plugin, Problems};
use portcullis_sod_rules::{Compiled, compile};

pub use portcullis_sod_rules::Settings;

/// The plugin `org.portcullis.sod`, configured.
pub struct Sod(Compiled);

impl Plugin for Sod {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Vec<String>> {
        match compile(settings) {
            // Copied, so that the parts that calls touch lie together, apart from what compiling
            // left behind.
            Ok(compiled) => Ok(Self(compiled.clone())),
            Err(wrong) => {
                let mut problems = Problems::default();
                wrong.iter().for_each(|problem| problems.at(&problem.path, &problem.what));
                Err(problems.or(()).err().unwrap_or_default())
            }
        }
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        Ok(evaluate::judge(&self.0, call))
    }
}

portcullis_guest::plugin!(Sod);

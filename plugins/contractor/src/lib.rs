//! Contractors and vendors have access as long as everything it rests on lasts: contract, project,
//! sponsor, training, licence and agreement. The earliest of their ends is the end of access, and
//! no token outlives it. Ends stand in claims and in reference tables.
//!
//! Invariants:
//! - Without a mandatory item, or with an item that cannot be read, there is no access.
//! - Nothing that this plugin allows is valid at or after the end, however wrong the host's clock
//!   is, up to the clock skew in the settings.
//! - Moving an end later never takes access away.
//! - Nobody is their own sponsor, and nobody approves an extension of their own.
//!
//! What it does not do: it ends no sessions and disables no accounts. It can set an attribute
//! (`access_end`) that the platform's lifecycle rules act on. It matches no people: the release
//! says which rows of a table are the subject's.

mod compiled;
mod contract_end;
mod ends;
mod entries;
mod evaluate;
mod person;
mod settings;
mod sponsor;

#[cfg(test)]
mod tests;

use portcullis_guest::{Call, Decision, Plugin};

pub use settings::Settings;

/// The plugin `org.portcullis.contractor`, configured.
pub struct Contractor(compiled::Compiled);

impl Plugin for Contractor {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Vec<String>> {
        compiled::compile(settings).map(Self)
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        Ok(evaluate::judge(&self.0, call))
    }
}

portcullis_guest::plugin!(Contractor);

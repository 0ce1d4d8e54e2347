//! Who may do what to what: rules that allow and deny by role and attribute, for every hook that asks it in general words
//! (AuthZEN, generic, Ping).
//!
//! The settings list subjects, resources and actions with what is known of them, and rules. A denial beats every
//! permission, and what no rule allows is denied. Rules are compiled and indexed at `configure`, so that a call costs by
//! the rules that can concern it, not by their number.
//!
//! Invariants: what is unknown never lets anybody in: an allowing rule that cannot be judged does not apply, a denying one
//! does. And search never contradicts evaluation: both weigh the same rules over the same call.
//!
//! What it does not do: change anything, or find what the settings do not list.

mod compiled;
mod condition;
mod directory;
mod evaluate;
mod hours;
mod index;
mod path;
mod request;
mod search;
mod settings;
mod value;

#[cfg(test)]
mod tests;

use portcullis_guest::{Call, Decision, Found, Page, Plugin, Search};

pub use settings::Settings;

/// The plugin `org.portcullis.access-rules`, configured.
pub struct AccessRules(compiled::Compiled);

impl Plugin for AccessRules {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Vec<String>> {
        // Copied, so that what calls touch lies together instead of between what compiling left behind.
        compiled::compile(settings).map(|compiled| Self(compiled.clone()))
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        Ok(evaluate::judge(&self.0, call))
    }
}

impl Search for AccessRules {
    fn find(&self, call: &Call, page: &Page) -> Result<Found, String> {
        search::find(&self.0, call, page)
    }
}

portcullis_guest::plugin!(AccessRules, search);

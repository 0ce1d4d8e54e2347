//! Sign-in risk: how unusual a sign-in is for this person, which attacks it follows, and whether
//! that is reason to ask for a second factor or to refuse.
//!
//! A sign-in is compared with the person's own history by the likelihood ratio of Freeman et al.
//! (`freeman.rs`), and by rules with published thresholds. The points come to a band: low, medium
//! or high. On `okta.event` and `entra.sign-in-log` the plugin decides nothing and learns:
//! failures, denied pushes and second factors are known from there only.
//!
//! Invariants:
//! - A decision follows from the call, the settings, and what the [`world::World`] answers.
//! - The memory after a set of events does not depend on their order or repetition, as far
//!   as `events.rs` says.
//! - Findings explain every point, and tell nothing of a person but a country and a speed.
//!
//! It does not see attacks that no platform tells of (README.md lists them), and it ends no
//! sessions.

mod attacks;
mod attempt;
mod calibration;
mod compiled;
mod entra_log;
mod events;
mod features;
mod findings;
mod freeman;
mod hash;
mod history;
mod host;
mod hours;
mod judge;
mod memory;
mod model;
mod okta_event;
mod old_events;
mod popularity;
mod session;
mod settings;
mod signals;
mod travel;
mod user_agent;
pub mod world;

#[cfg(test)]
mod tests;

use portcullis_guest::{Call, Decision, Plugin};

use crate::attempt::Attempt;
use crate::events::Ingested;
use crate::hash::hash64;
use crate::world::World;

pub use settings::Settings;

/// The plugin `org.portcullis.sign-in-risk`, configured.
pub struct SignInRisk(compiled::Compiled);

impl SignInRisk {
    /// Decides a call with this memory and these tables.
    pub fn decide(&self, call: &Call, world: &dyn World) -> Decision {
        let subject = call.subject.as_ref().and_then(|subject| subject.id.as_deref());
        let event = match call.hook.as_str() {
            "okta.event" => Some(okta_event::parse(call, &self.0)),
            "entra.sign-in-log" => Some(entra_log::parse_call(call)),
            _ => None,
        };
        if let Some(event) = event {
            let add = |event: events::Event| self.add(&event, call.received, world);
            return event.map(add).unwrap_or_default();
        }
        let Some(id) = subject else { return Decision::default() };
        let attempt = Attempt::from_call(call, &self.0);
        let person = hash64(id.as_bytes());
        let assessment = judge::judge(attempt, id, person, &self.0, world);
        findings::of_assessment(&assessment, &self.0)
    }

    fn add(&self, event: &events::Event, received: u64, world: &dyn World) -> Decision {
        match events::ingest(event, attempt::seconds(received), &self.0, world) {
            Ingested::Counted(attacks) => findings::of_attacks(&attacks),
            Ingested::Repeated | Ingested::TooLate => Decision::default(),
        }
    }
}

impl Plugin for SignInRisk {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Vec<String>> {
        compiled::Compiled::new(settings).map(Self)
    }

    fn evaluate(&self, call: &Call) -> Result<Decision, String> {
        Ok(self.decide(call, &host::Host))
    }
}

portcullis_guest::plugin!(SignInRisk);

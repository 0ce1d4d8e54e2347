//! Events of a platform's log, in one form, and their changes of the memory.
//!
//! Invariants:
//! - An event counts once, by its id, and by its own time: the memory after a set of events does
//!   not depend on the order in which they arrive, nor on how often. Of events that are older than
//!   a day when they arrive, `old_events.rs` says what holds.
//! - An event is never the reason of a decision by itself; the next call finds what it left.
//! - A sign-in that succeeded with a password alone does not become part of the history by its
//!   event: whether it is worth remembering is decided with its token (`judge.rs`). A second factor
//!   that succeeded is worth it.
//!
//! [`ingest`] is a function of the event, the settings and the [`World`].

use crate::attacks::{self, Attack};
use crate::attempt::{Attempt, Known};
use crate::calibration;
use crate::compiled::Compiled;
use crate::hash::hash64;
use crate::memory;
use crate::old_events;
use crate::popularity;
use crate::session::Session;
use crate::world::{Scope, World};

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The platform's id, by which a repeated event is recognised.
    pub id: String,
    pub kind: Kind,
    /// The person that it is about: the platform's id, or the name that was tried; for counting
    /// only.
    pub person: String,
    /// True if the call has a subject, so that there is memory of a person.
    pub has_subject: bool,
    pub attempt: Attempt,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A sign-in or a single sign-on succeeded.
    SignedIn,
    /// A second factor succeeded.
    SecondFactor,
    /// A password or a second factor was wrong.
    Failed,
    /// The person denied a push.
    PushDenied,
    /// The account was locked.
    LockedOut,
    /// The platform reports an address as a threat.
    Threat,
}

impl Kind {
    /// Whether a repetition would change the memory. All other kinds leave counts of different
    /// members, and the greatest of their times. Only these have a key for each event: an attacker
    /// can make any number of the others, and a person's memory has room for 256 entries.
    fn is_added(self) -> bool {
        matches!(self, Self::SecondFactor | Self::PushDenied)
    }
}

/// The result of adding an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ingested {
    /// The event was counted; the attacks that it shows.
    Counted(Vec<Attack>),
    /// It was counted before.
    Repeated,
    /// It is too old for anything to follow from it.
    TooLate,
}

/// Adds an event, received at a time in seconds, to the memory.
pub(crate) fn ingest(
    event: &Event,
    received: u32,
    compiled: &Compiled,
    world: &dyn World,
) -> Ingested {
    let mut attempt = event.attempt.clone();
    // A platform's clock may be ahead; an event of the future would be the latest for good.
    attempt.seconds = attempt.seconds.min(received);
    let late_seconds = received - attempt.seconds;
    if late_seconds > MAX_LATE_SECONDS {
        return old_events::ingest(event, attempt, late_seconds, compiled, world);
    }
    if event.kind.is_added() && event.has_subject {
        let key = format!("event/{:016x}", hash64(event.id.as_bytes()));
        if world.recall(Scope::Subject, &key).is_some() {
            return Ingested::Repeated;
        }
        // A repetition that comes later is an old event, which needs no key.
        world.remember(Scope::Subject, &key, &[], 2 * MAX_LATE_SECONDS);
    }
    let known = attempt.look_up(compiled, None, world);
    let person = hash64(event.person.as_bytes());
    let attacks = match event.kind {
        Kind::SignedIn => {
            remember_session(event, &attempt, &known, false, world);
            Vec::new()
        }
        Kind::SecondFactor => {
            remember_session(event, &attempt, &known, true, world);
            if event.has_subject && !attempt.features.is_empty() {
                let mut history = memory::recall(world).unwrap_or_default();
                let (hour, _) = compiled.hour(attempt.seconds);
                history.add_sign_in(attempt.seconds, hour, attempt.features);
                memory::remember(&history, compiled, world);
                popularity::tally(&attempt.features, person, world);
                calibration::confirm(person, attempt.seconds, &compiled.settings, world);
            }
            Vec::new()
        }
        Kind::Failed => attacks::count_failure(
            &attempt,
            &attacks::Failure {
                event: &event.id,
                person,
                has_subject: event.has_subject,
                is_shared_origin: known.is_shared_origin,
                received,
            },
            compiled,
            world,
        ),
        Kind::PushDenied => deny(event, &attempt, compiled, world),
        Kind::LockedOut | Kind::Threat => {
            let attack =
                if event.kind == Kind::Threat { Attack::Threat } else { Attack::LockedOut };
            let applies = match attack {
                Attack::Threat => !known.is_shared_origin && attempt.features.address != 0,
                _ => event.has_subject,
            };
            let found: Vec<Attack> = applies.then_some(attack).into_iter().collect();
            attacks::flag(&found, &attempt.features, attempt.seconds, compiled, world);
            found
        }
    };
    Ingested::Counted(attacks)
}

fn remember_session(
    event: &Event,
    attempt: &Attempt,
    known: &Known,
    second_factor: bool,
    world: &dyn World,
) {
    if event.has_subject {
        Session::add(attempt, known, second_factor, world);
    }
}

fn deny(event: &Event, attempt: &Attempt, compiled: &Compiled, world: &dyn World) -> Vec<Attack> {
    if !event.has_subject {
        return Vec::new();
    }
    let mut history = memory::recall(world).unwrap_or_default();
    history.add_denial(attempt.seconds);
    memory::remember(&history, compiled, world);
    // An attack that ended with this denial: later ones are none of this event.
    let is_bombed = history.is_bombed(attempt.seconds, compiled.burst());
    is_bombed.then_some(Attack::PushBombing).into_iter().collect()
}

/// Older events are those of an import: a day, within which Okta and its log streams have long
/// delivered.
pub(crate) const MAX_LATE_SECONDS: u32 = 86_400;

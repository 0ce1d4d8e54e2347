//! Events that are older than a day when they arrive: an imported log, which warms the memory so
//! that the first days are not all new devices.
//!
//! Invariants:
//! - An old event counts once without a key of its own, which would have to last as long as logs
//!   are exported: a sign-in that the history holds, or that is older than what it still holds, is
//!   not added again. So old events must come in the order of their times, as `portcullis memory
//!   import` sends them; an earlier one that comes later may be left out, and none counts twice.
//! - Everything is learned with the event's own time, but for the popularity counters, whose
//!   windows begin with the arrival: they count an event only while its own time is within them.
//! - No attack follows from an old event: attacks are remembered for hours. Old denied pushes are
//!   kept, because a sign-in after a burst of them is not trusted.
//!
//! A sign-in with a password alone is learned here, since its token call is over: as in the
//! learning time, unless the platform itself rated it as risky or as one over a proxy.

use crate::attempt::{Attempt, PlatformRisk};
use crate::compiled::Compiled;
use crate::events::{Event, Ingested, Kind};
use crate::hash::hash64;
use crate::judge::SAME_SIGN_IN_SECONDS;
use crate::memory;
use crate::popularity;
use crate::world::World;

/// Adds an event that is so many seconds old.
pub(crate) fn ingest(
    event: &Event,
    mut attempt: Attempt,
    late_seconds: u32,
    compiled: &Compiled,
    world: &dyn World,
) -> Ingested {
    if late_seconds > MAX_OLD_SECONDS || !event.has_subject {
        return Ingested::TooLate;
    }
    match event.kind {
        Kind::SignedIn if is_risky(&attempt) => Ingested::TooLate,
        Kind::SignedIn | Kind::SecondFactor => {
            attempt.look_up(compiled, None, world);
            sign_in(event, &attempt, late_seconds, compiled, world)
        }
        Kind::PushDenied => deny(attempt.seconds, compiled, world),
        Kind::Failed | Kind::LockedOut | Kind::Threat => Ingested::TooLate,
    }
}

fn sign_in(
    event: &Event,
    attempt: &Attempt,
    late_seconds: u32,
    compiled: &Compiled,
    world: &dyn World,
) -> Ingested {
    let mut history = memory::recall(world).unwrap_or_default();
    let (seconds, features) = (attempt.seconds, &attempt.features);
    // A sign-in within this time of a forgotten one may have been a part of it.
    let is_forgotten = history.is_forgotten(seconds.saturating_sub(SAME_SIGN_IN_SECONDS));
    if features.is_empty()
        || is_forgotten
        || history.has_like(features, seconds, SAME_SIGN_IN_SECONDS)
    {
        return Ingested::Repeated;
    }
    let (hour, _) = compiled.hour(seconds);
    history.add_sign_in(seconds, hour, *features);
    memory::remember(&history, compiled, world);
    if late_seconds < popularity::WINDOW {
        popularity::tally(features, hash64(event.person.as_bytes()), world);
    }
    Ingested::Counted(Vec::new())
}

fn deny(seconds: u32, compiled: &Compiled, world: &dyn World) -> Ingested {
    let mut history = memory::recall(world).unwrap_or_default();
    if history.has_denial(seconds) {
        return Ingested::Repeated;
    }
    history.add_denial(seconds);
    memory::remember(&history, compiled, world);
    Ingested::Counted(Vec::new())
}

fn is_risky(attempt: &Attempt) -> bool {
    attempt.is_proxy || attempt.platform_risk > PlatformRisk::Low
}

/// Older events teach nothing: 90 days, for which Okta keeps its System Log.
pub(crate) const MAX_OLD_SECONDS: u32 = 90 * 86_400;

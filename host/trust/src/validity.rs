//! The times between which a signed document is valid.
//!
//! Invariant: a document that has expired is refused at once; one that has not begun is accepted
//! [`CLOCK_TOLERANCE`] early, because clocks differ.

use portcullis_model::Millis;

use crate::refusal::{Refusal, RefusalCode};
use crate::time;

/// How far the clock of the machine that signs may be ahead of this one: five minutes. Ends are
/// kept to the millisecond.
pub const CLOCK_TOLERANCE: Millis = Millis(5 * 60 * 1_000);

/// Refuses what has not begun (but for [`CLOCK_TOLERANCE`]) and what is over.
pub(crate) fn within(what: &str, from: Millis, until: Millis, now: Millis) -> Result<(), Refusal> {
    if now.0.saturating_add(CLOCK_TOLERANCE.0) < from.0 {
        return Err(Refusal::new(
            RefusalCode::NotYetValid,
            format!("{what} is valid from {}", time::format(from)),
        ));
    }
    if now >= until {
        return Err(Refusal::new(
            RefusalCode::Expired,
            format!("{what} expired at {}", time::format(until)),
        ));
    }
    Ok(())
}

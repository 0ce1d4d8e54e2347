//! A person's history in the host's memory.
//!
//! Invariant: a stored history that this version cannot read counts as none: the person learns
//! again, and the finding `RISK_HISTORY_UNREADABLE` says so.

use crate::compiled::Compiled;
use crate::history::{DecodeError, History};
use crate::world::{Scope, World};

/// The history of the call's subject; the default one where there is none.
///
/// # Errors
/// A stored history that cannot be read.
pub(crate) fn recall(world: &dyn World) -> Result<History, DecodeError> {
    match world.recall(Scope::Subject, HISTORY) {
        Some(bytes) => History::decode(&bytes),
        None => Ok(History::default()),
    }
}

/// Stores the history of the call's subject.
pub(crate) fn remember(history: &History, compiled: &Compiled, world: &dyn World) {
    let ttl = u32::from(compiled.settings.remember_days) * 86_400;
    world.remember(Scope::Subject, HISTORY, &history.encode(), ttl);
}

const HISTORY: &str = "history";

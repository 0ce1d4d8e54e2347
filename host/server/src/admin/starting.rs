//! The admin listener's pages before the host is complete: the log is not open, and no release is
//! ready.
//!
//! Invariant: the pages have the members of the complete ones, as far as there is something to
//! tell, so that a reader of both needs no other code.

use std::time::Duration;

use serde_json::{Value, json};

use super::readiness::{Readiness, Reason};
use crate::observe::progress::Progress;
use crate::state::frontend::Frontend;
use crate::state::host::Hook;

/// Why the host is not ready.
pub fn readiness(frontend: &Frontend) -> Readiness {
    let mut reasons = Vec::new();
    if frontend.conditions.is_stopping() {
        reasons.push(Reason::stopping());
    }
    reasons.extend(reason(&frontend.progress));
    Readiness { reasons, warnings: Vec::new() }
}

/// The start as a reason, as long as it has not finished.
pub fn reason(progress: &Progress) -> Option<Reason> {
    let unfinished = progress.unfinished()?;
    let hint = match unfinished.failure {
        None => "wait; until the start has finished, every call gets its safe answer",
        Some(_) => "correct the problem that the last attempt names; the host tries again",
    };
    Some(Reason { code: "starting", what: unfinished.sentence(), hint })
}

/// The page `/status`.
pub fn status(frontend: &Frontend, up: Duration) -> Value {
    let active_config = frontend.active_config();
    let hooks = active_config.hooks.iter().map(|hook| {
        json!({
            "name": hook.config.name, "kind": hook.config.kind.name(), "path": hook.config.settings.path,
            "on_failure": Hook::on_failure_name(&hook.config.on_failure), "unrecorded": hook.corrections.counted(),
        })
    });
    json!({
        "build": env!("CARGO_PKG_VERSION"),
        "tenant": active_config.config.tenant,
        "up_seconds": up.as_secs(),
        "now": frontend.clock.now().0,
        "configuration": active_config.config.digest.to_string(),
        "start": frontend.progress.unfinished().map(|unfinished| unfinished.json()),
        "generation": null,
        "hooks": hooks.collect::<Vec<_>>(),
        "calls": {"in_progress": frontend.admission.in_flight(), "limit": frontend.admission.limit()},
        "readiness": readiness(frontend).json(),
    })
}

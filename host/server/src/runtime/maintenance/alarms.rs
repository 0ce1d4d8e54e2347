//! Alarms while the host goes on: a log that stopped, swap, what ends soon.
//!
//! Invariant: each state is written to the host's log once when it begins, and once when it is
//! over; records tell the same. Has the log resume where there is room again. Refuses nothing.

use portcullis_audit::Entry;

use super::Reported;
use crate::clock::monotonic_now;
use crate::config::AfterGrace;
use crate::loading::expiry::{Reminders, Urgency, expirations};
use crate::logging::log_limit::LOG_LIMITS;
use crate::state::host::Host;
use portcullis_model::json::build_members;

/// Alarms while the host goes on: a record that stopped, and instances that can
/// no longer be wiped safely.
pub(super) fn check_health(host: &Host, seen: &mut Reported) {
    host.check_mounts();
    check_log(host, seen);
    let active_config = host.active_config.load_full();
    if !host.reset_still_holds() && active_config.generation.is_some() {
        host.withdraw();
        tracing::error!(
            event = "release.withdrawn",
            "swap was turned on, so plugin memory cannot be wiped safely: every call gets its safe \
             answer; turn swap off and restart the host"
        );
        host.recorder.append(Entry {
            kind: "release.withdrawn",
            fields: r#""code":"swap-configured""#.to_owned(),
            sealed: None,
        });
    }
}

/// Says that the log has stopped, resumed, or cannot publish what it has; and has it resume once
/// there is room. A disk that has room by turns could cause a line in every round: they are
/// limited.
fn check_log(host: &Host, seen: &mut Reported) {
    let (health, now) = (host.recorder.log.health(), monotonic_now());
    match &health.delayed {
        Some(why) if !seen.log_delayed && LOG_LIMITS.allows("log.delayed", "", now) => {
            tracing::warn!(
                event = "log.delayed",
                why = &**why,
                "tiles and checkpoints cannot be written at the moment; records are durable, and \
                 the host tries again"
            );
        }
        None if seen.log_delayed && LOG_LIMITS.allows("log.caught-up", "", now) => tracing::info!(
            event = "log.caught-up",
            published = health.published,
            "tiles and checkpoints are written again"
        ),
        _ => {}
    }
    seen.log_delayed = health.delayed.is_some();
    let Some(why) = health.stopped else { return };
    if !std::mem::replace(&mut seen.log_stopped, true) && LOG_LIMITS.allows("log.stopped", "", now)
    {
        let next = if health.resumes {
            "free space on its disk; the log then resumes by itself"
        } else {
            "check the disk and its mounts, then restart the host"
        };
        tracing::error!(
            event = "log.stopped",
            why = &*why,
            resumes = health.resumes,
            "the audit log has stopped and every call gets its safe answer: {next}"
        );
    }
    if !health.resumes {
        return;
    }
    match host.recorder.log.resume() {
        Ok(_) => {
            seen.log_stopped = false;
            if LOG_LIMITS.allows("log.resumed", "", now) {
                tracing::info!(
                    event = "log.resumed",
                    next = host.recorder.log.health().next,
                    "the audit log has resumed; no durable record was lost"
                );
            }
        }
        // Said again where it cannot resume any more.
        Err(_) => seen.log_stopped = host.recorder.log.health().resumes,
    }
}

/// A release that ends while it is active goes on, since a hospital's sign-ins must not all stop
/// at a date, and says so once. When its grace is over as well, the operator's word decides.
pub(super) fn check_expiry(host: &Host, seen: &mut Reported) {
    let active_config = host.active_config.load_full();
    let Some(generation) = &active_config.generation else { return };
    let ends = generation.expires_at();
    let now = host.trusted_now();
    if now >= ends && seen.reported.insert((Some(generation.set), "expired".to_owned())) {
        tracing::error!(
            generation = generation.number,
            event = "release.expired",
            "the active release has expired; sign a new one: after the grace, this one cannot be \
             started again"
        );
        host.recorder.append(Entry {
            kind: "release.expired",
            fields: build_members(|fields| {
                fields.number("generation", generation.number).number("ended", ends);
                fields.number("grace", generation.release.grace);
            }),
            sealed: None,
        });
    }
    if now >= generation.release.grace
        && seen.reported.insert((Some(generation.set), "grace-over".to_owned()))
    {
        let stop = active_config.config.release.after_grace == AfterGrace::Stop;
        tracing::error!(
            generation = generation.number,
            stop,
            event = "release.grace-expired",
            "the grace of the active release is over; sign a new release"
        );
        let fields = build_members(|fields| {
            fields.number("generation", generation.number).text("code", "grace-over");
        });
        if stop {
            host.withdraw();
            host.recorder.append(Entry { kind: "release.withdrawn", fields, sealed: None });
        } else {
            host.recorder.append(Entry { kind: "release.grace-expired", fields, sealed: None });
        }
    }
}

/// Says once a day what has ended, or ends within seven days.
pub(super) fn remind_of_expiry(host: &Host, reminders: &mut Reminders) {
    let active_config = host.active_config.load();
    let certificate = host.callers.tls.as_ref().map(|tls| tls.not_after());
    let expirations =
        expirations(&host.trust.root.load(), active_config.generation.as_deref(), certificate);
    for (ending, urgency) in reminders.due(expirations, host.trusted_now()) {
        let (code, hint) = (ending.code(urgency), ending.hint());
        let what = ending.sentence(urgency);
        if urgency == Urgency::Expired {
            tracing::error!(event = "expiry.passed", code, hint, "{what}");
        } else {
            tracing::warn!(event = "expiry.soon", code, hint, "{what}");
        }
    }
}

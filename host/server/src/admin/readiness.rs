//! Whether calls sent here get decisions, and if not, why.
//!
//! Invariant: it tells the truth of this moment: everything is looked at when it is asked. A reason has a code, what it is and what to
//! do, and names no person.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use portcullis_model::{Cause, Millis};
use portcullis_trust::time;
use serde_json::{Value, json};

use super::AdminContext;
use crate::bindings::breaker::BreakerState;
use crate::bindings::generation::{Bindings, Generation};
use crate::http::date::clock_has_date;
use crate::loading::expiry::{Urgency, expirations};
use crate::registry::Outcome;
use crate::state::host::Host;
use crate::trust::{ClockState, MAX_SKEW};

/// Why the host is not ready, and what an operator should know although it is.
pub struct Readiness {
    /// With any of these, calls sent here do not get decisions, or must not.
    pub reasons: Vec<Reason>,
    /// What will be a reason, or keeps a change from coming into force.
    pub warnings: Vec<Reason>,
}

/// One reason.
pub struct Reason {
    /// Its stable code.
    pub code: &'static str,
    /// The problem.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

/// Whether the log makes headway.
#[derive(Default)]
pub struct LogProgress {
    /// What was durable, and since when nothing more is although something waits.
    stuck: Option<(u64, Instant)>,
}

impl Readiness {
    /// Looks.
    pub fn of(context: &AdminContext) -> Self {
        let host = &context.host;
        let (active_config, now) = (host.active_config.load(), host.trusted_now());
        let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
        let mut reason = |code, what: String, hint| reasons.push(Reason { code, what, hint });
        if host.conditions.is_stopping() {
            let Reason { code, what, hint } = Reason::stopping();
            reason(code, what, hint);
        }
        let starting = super::starting::reason(&host.progress);
        if !host.reset_still_holds() {
            let what = "swap was turned on: what one call leaves in memory could reach the next";
            reason("swap-configured", what.to_owned(), "turn swap off, then restart the host");
        } else if let Some(Reason { code, what, hint }) = starting {
            reason(code, what, hint);
        } else if active_config.generation.is_none() {
            let refused = host
                .conditions
                .refused_release()
                .map(|code| format!("; the one in the folders was refused: {code}"));
            let what = format!("no release is active{}", refused.unwrap_or_default());
            reason("no-active-release", what, "see the host's log, or run `portcullis check`");
        }
        if !clock_has_date() {
            let what = "this machine's clock shows a year before 1970 or after 9999: calls over \
                        HTTP/1.1 get their safe answers";
            reason("clock-out-of-range", what.to_owned(), "put the clock right");
        }
        let health = host.recorder.log.health();
        if let Some(why) = &health.stopped {
            reason(
                "log-stopped",
                format!("the record has stopped: {why}"),
                if health.resumes {
                    "make room on the disk that holds audit.directory: the record resumes by itself"
                } else {
                    "see to the disk, then restart the host"
                },
            );
        } else if let Some(since) = stuck_since(context) {
            let what = format!(
                "nothing has become durable for {} ms although records wait",
                since.as_millis()
            );
            reason("log-stalled", what, "see to the disk that holds audit.directory");
        }
        let certificate = host.tls.as_ref().map(|tls| tls.not_after());
        for ending in
            expirations(&host.root.load(), active_config.generation.as_deref(), certificate)
        {
            let urgency = ending.urgency(now);
            let (code, what) = (ending.code(urgency), ending.sentence(urgency));
            let it = Reason { code, what, hint: ending.hint() };
            match urgency {
                Urgency::Far => {}
                Urgency::Expired if !ending.subject.may_end_in(&active_config.config.admin) => {
                    reasons.push(it);
                }
                Urgency::Soon | Urgency::Expired => warnings.push(it),
            }
        }
        if let Some(generation) = &active_config.generation
            && now >= generation.release.grace
        {
            let what = format!(
                "the grace of the release set {} ended at {}: it decides until this host stops, and \
                 after a restart every call gets its safe answer",
                generation.number,
                time::format(generation.release.grace)
            );
            let hint = "sign a new release set before anything restarts this host";
            warnings.push(Reason { code: "grace-over", what, hint });
        }
        // Without an issuer's keys its callers are nobody's. All hosts share their issuers: a load
        // balancer that left them all would stop every other hook's decisions too.
        for keys in host.keys.load().iter().filter(|keys| keys.age_ms().is_none()) {
            let what = format!(
                "the keys of `{}` could not be had, or are older than is trusted",
                keys.place()
            );
            let hint =
                "see that the host reaches it: every call with its tokens is refused until then";
            warnings.push(Reason { code: "keys-unavailable", what, hint });
        }
        let mut warning = |code, what: String, hint| warnings.push(Reason { code, what, hint });
        for stall in host.files.stalled() {
            let what = format!("{} has not answered for {} s", stall.place, stall.lasts.as_secs());
            let hint = "see to its file system; what was read before goes on meanwhile";
            warning(stall.code, what, hint);
        }
        for (code, beat) in [
            ("housekeeping-stalled", &host.housekeeping_beat),
            ("break-glass-thread-stalled", &host.break_glass_beat),
        ] {
            if let Some(silent) = beat.silent_for() {
                let what = format!("a thread has not come round for {} s", silent.as_secs());
                warning(code, what, "see to the disks of trust.state and audit.directory");
            }
        }
        let facts = host.release_status.facts();
        let rejected_components = host.conditions.unlisted_rejected();
        if facts.overfull || facts.unexamined > 0 || rejected_components > 0 {
            let what = format!(
                "the release folders hold more files than are looked at ({} not examined, {rejected_components} \
                 refused and not named)",
                facts.unexamined
            );
            warning("release-folder-overfull", what, "remove what no release set lists");
        }
        let more = host.break_glass.overlooked();
        if more > 0 {
            let what = format!("the break-glass folder holds {more} documents more than are read");
            warning("break-glass-overfull", what, "remove what is no document of yours");
        }
        let [roots, documents] = host.late_trust.overlooked();
        if roots > 0 {
            let what = format!("the folder of trust roots holds {roots} files more than are read");
            warning("trust-roots-overfull", what, "remove what is no trust root of yours");
        }
        if documents > 0 {
            let what =
                format!("the folder of time documents holds {documents} files more than are read");
            warning("time-documents-overfull", what, "remove what is no document of yours");
        }
        if let (Some(code), Some(generation)) =
            (host.conditions.refused_release(), &active_config.generation)
        {
            let what = format!(
                "the release in the folders was refused: {code}; {} goes on",
                generation.number
            );
            warning("release-refused", what, "see the host's log, or run `portcullis check`");
        }
        if let Some((source, code, outcome)) =
            host.registry.as_ref().and_then(|it| Some((it, it.state().code?, it.state().outcome?)))
        {
            let what =
                format!("`{}` brings nothing: {code}; what is here goes on", source.reference);
            let warned =
                if outcome == Outcome::Refused { "registry-refused" } else { "registry-failed" };
            warning(
                warned,
                what,
                "see the host's log, and whether the registry has what it should",
            );
        }
        if let Some(why) = host.conditions.refused_configuration() {
            warning(
                "configuration-refused",
                why,
                "correct the file, or restart the host where a setting needs it",
            );
        }
        for (code, what, hint) in clock_warnings(host) {
            warning(code, what, hint);
        }
        if host.admission.in_flight() >= host.admission.limit() {
            let what = format!(
                "{} calls are in flight: further ones get the safe answer",
                host.admission.in_flight()
            );
            warning("overload", what, "raise listen.max_in_flight, or find out who calls");
        }
        for hook in active_config.hooks.iter().filter(|hook| hook.glass().is_some()) {
            let what = format!("hook `{}` is held open by a break-glass document", hook.name);
            warning("break-glass", what, "close it as soon as it is not needed");
        }
        let revoked = active_config
            .generation
            .iter()
            .flat_map(|generation| active_config.hooks.iter().zip(&generation.hooks));
        for (hook, stopped) in
            revoked.filter_map(|(hook, bindings)| Some((hook, bindings.stopped()?)))
        {
            // One that could not be made ready is named below, with the reason.
            if stopped.cause == Cause::PluginRevoked
                && let Some(plugin) = &stopped.plugin
            {
                let what = format!(
                    "hook `{}` decides nothing: `{plugin}`, which binds there, is revoked",
                    hook.name
                );
                warning("plugin-revoked", what, "sign a release set without it");
            }
        }
        last_good(host, active_config.generation.as_deref(), &mut warning);
        let bindings = active_config.generation.iter().flat_map(|generation| &generation.hooks);
        for binding in bindings.clone().flat_map(Bindings::with_candidates) {
            if binding.breaker.state(host.clock.instant()) != BreakerState::Closed {
                let (hook, plugin, role) =
                    (&binding.hook, &binding.manifest().id, binding.mode_name);
                let what = format!(
                    "hook `{hook}`: `{plugin}` ({role}) failed too often and is quarantined for a \
                     while"
                );
                warning(
                    "plugin-quarantined",
                    what,
                    "see its `plugin.quarantined` record for the fault",
                );
            }
        }
        for (live, rollout) in
            bindings.flat_map(Bindings::candidates).filter(|(_, rollout)| rollout.is_stopped())
        {
            let (hook, plugin, way) = (&live.hook, &rollout.binding.manifest().id, rollout.kind());
            let what =
                format!("hook `{hook}`: the {way} `{plugin}` was stopped; the live plugin decides");
            warning(
                "candidate-stopped",
                what,
                "see its `hook.diverged` records, and sign a set without it or with a better one",
            );
        }
        if let Some(why) = &health.delayed {
            let what = format!("{why}; records are durable and cannot be proved yet");
            let hint = "make room on the disk that holds audit.directory, or raise the limit of \
                        open files: they follow by themselves";
            warning("log-delayed", what, hint);
        }
        for hook in active_config.hooks.iter().filter(|hook| hook.corrections.is_pending()) {
            let what =
                format!("hook `{}` owes the log answers that left without their record", hook.name);
            warning(
                "corrections-pending",
                what,
                "it pays by itself once the disk takes records again",
            );
        }
        Self { reasons, warnings }
    }

    /// Whether there is no reason against it.
    pub fn ready(&self) -> bool {
        self.reasons.is_empty()
    }

    /// As it is answered.
    pub fn json(&self) -> Value {
        let list = |reasons: &[Reason]| -> Vec<Value> {
            reasons
                .iter()
                .map(|it| json!({"code": it.code, "what": it.what, "hint": it.hint}))
                .collect()
        };
        json!({"ready": self.ready(), "reasons": list(&self.reasons), "warnings": list(&self.warnings)})
    }
}

impl Reason {
    /// The host stops: it serves on for a while, so that whoever balances the load can notice.
    pub fn stopping() -> Self {
        Self {
            code: "stopping",
            what: "the host is stopping".to_owned(),
            hint: "send calls to another host",
        }
    }
}

/// The reasons that keep the release in force from starting again as it is, or have kept it from
/// that.
fn last_good(
    host: &Host,
    generation: Option<&Generation>,
    warning: &mut impl FnMut(&'static str, String, &'static str),
) {
    let Some(generation) = generation else { return };
    let number = generation.number;
    if generation.is_last_good() {
        let what = format!(
            "release {number} was started from the host's own copy: the release folders hold no \
             release that may become active"
        );
        let hint = "publish the release again with `portcullis release publish`, or a new one";
        warning("last-good-release", what, hint);
    }
    for left in &generation.left_out {
        let (hook, plugin, code) = (&left.hook, &left.plugin, left.code);
        let what = format!(
            "hook `{hook}`: `{plugin}` of the last good release {number} could not be prepared: \
             {code}"
        );
        warning(
            "binding-left-out",
            what,
            "see the host's log, and publish a release that binds what there is",
        );
    }
    for hook in &generation.unenforced {
        let what = format!(
            "hook `{hook}` gives its safe answer: release {number} has no enforcing binding for it, and the release \
             folders hold no accepted release that leaves the hook open"
        );
        let hint = "publish a release that binds a plugin to the hook, or give the hook its former name and path";
        warning("hook-unenforced", what, hint);
    }
    if let Some(altered) = host.conditions.altered_release() {
        let what = format!(
            "the release folders no longer hold release {number}, which goes on: {}",
            altered.code
        );
        let hint = "publish it again with `portcullis release publish`, and find out who changed \
                    the folders";
        warning("release-altered", what, hint);
    }
    if let Some(why) = host.conditions.copy_failure() {
        let what = format!("there is no copy of release {number} in trust.state: {why}");
        let hint =
            "see to the disk that holds trust.state; until then a start needs the release folders";
        warning("release-not-kept", what, hint);
    }
}

/// Looks whether the log has made headway since the last look.
pub fn observe_log(context: &AdminContext) {
    let health = context.host.recorder.log.health();
    let mut watch = context.log.lock().unwrap_or_else(PoisonError::into_inner);
    watch.stuck = match watch.stuck {
        _ if health.durable >= health.next => None,
        Some((durable, since)) if durable == health.durable => Some((durable, since)),
        _ => Some((health.durable, Instant::now())),
    };
}

/// For how long records have waited in vain, if that is longer than a busy disk explains.
fn stuck_since(context: &AdminContext) -> Option<Duration> {
    observe_log(context);
    let watch = context.log.lock().unwrap_or_else(PoisonError::into_inner);
    watch.stuck.map(|(_, since)| since.elapsed()).filter(|since| *since >= STALLED)
}

/// The problem with this machine's clock, as far as the host can tell.
fn clock_warnings(host: &Host) -> Vec<(&'static str, String, &'static str)> {
    let it = host.trusted_time.snapshot();
    let text = |at: Millis| time::format(Millis(at.0 - at.0 % 1_000));
    let mut warnings = Vec::new();
    match it.state {
        ClockState::Trusted => {}
        ClockState::Unconfirmed => warnings.push((
            "clock-unconfirmed",
            format!(
                "this machine's clock ({}) is more than a day ahead of all that the host knows \
                 (last {}), and nothing has confirmed it: no document expires, and no other \
                 release set or trust root becomes active",
                text(it.clock),
                text(it.trusted)
            ),
            "put it right; if it is right, a platform's next call confirms it, or sign a \
             confirmation with `portcullis trust confirm-clock`",
        )),
        ClockState::Behind => warnings.push((
            "clock-behind",
            format!(
                "this machine's clock ({}) is more than a day behind the newest record ({})",
                text(it.clock),
                text(it.trusted)
            ),
            "put it right; if it is right and the records are wrong, have a time reset signed with \
             `portcullis trust time-reset`",
        )),
    }
    let is_far = |ahead: &i64| Duration::from_millis(ahead.unsigned_abs()) > MAX_SKEW;
    if let Some(ahead) = it.platform_ahead.filter(is_far) {
        let (minutes, way) =
            (ahead.unsigned_abs() / 60_000, if ahead < 0 { "behind" } else { "ahead of" });
        let what = format!("a platform's clock is {minutes} minutes {way} this machine's");
        warnings.push(("clock-skew", what, "check this machine's time synchronisation"));
    }
    // A machine on which nothing ever tells the kernel (many virtual machines) is told about at the
    // start and at `/status`; here only a change for the worse.
    let was = host.kernel_synchronised == Some(true);
    if was && portcullis_engine::kernel_clock_is_synchronised() == Some(false) {
        let what = "nothing synchronises this machine's clock any more".to_owned();
        let hint = "see to chrony, systemd-timesyncd or the hypervisor's time service";
        warnings.push(("clock-unsynchronised", what, hint));
    }
    warnings
}

/// A disk that takes longer than this is not busy but stuck; calls get their safe answers by then.
const STALLED: Duration = Duration::from_secs(1);

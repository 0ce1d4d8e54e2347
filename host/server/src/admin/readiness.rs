//! Whether calls sent here get decisions, and if not, why.
//!
//! Invariant: it tells the truth of this moment: everything is looked at when it is asked. A reason has a code, what it is and what to
//! do, and names no person.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use portcullis_call_data::timestamp;
use portcullis_model::{Cause, Millis};
use portcullis_store::memory::Quota;
use portcullis_trust::time;
use serde_json::{Value, json};

use super::AdminContext;
use crate::bindings::breaker::BreakerState;
use crate::bindings::generation::{Bindings, Generation};
use crate::clock::{elapsed_since, monotonic_now};
use crate::http::date::clock_has_date;
use crate::loading::expiry::{Urgency, expirations};
use crate::memory::HostMemory;
use crate::registry::Outcome;
use crate::state::host::Host;
use crate::tables::TableState;
use crate::trust::{ClockState, MAX_SKEW};

/// Why the host is not ready, and what an operator should know although it is.
pub struct Readiness {
    /// With any of these, calls sent here do not get decisions, or must not.
    pub reasons: Vec<Reason>,
    /// Problems that will become reasons, or that keep a change from being activated.
    pub warnings: Vec<Reason>,
}

/// One reason.
pub struct Reason {
    /// Its stable code.
    pub code: &'static str,
    /// The problem.
    pub what: String,
    /// The hint: what to do.
    pub hint: &'static str,
}

/// Whether the log makes headway.
#[derive(Default)]
pub struct LogProgress {
    /// The durable count, and the time since which it has not grown although records wait.
    stuck: Option<(u64, Instant)>,
}

impl Readiness {
    /// Looks.
    pub fn of(context: &AdminContext) -> Self {
        let host = &context.host;
        let (active_config, now) = (host.active_config.load(), host.trusted_now());
        let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
        let mut reason = |code, what: String, hint| reasons.push(Reason { code, what, hint });
        if host.health.conditions.is_stopping() {
            let Reason { code, what, hint } = Reason::stopping();
            reason(code, what, hint);
        }
        let starting = super::starting::reason(&host.health.progress);
        if !host.reset_still_holds() {
            let what = "swap was turned on, so plugin memory cannot be wiped safely";
            reason("swap-configured", what.to_owned(), "turn swap off, then restart the host");
        } else if let Some(Reason { code, what, hint }) = starting {
            reason(code, what, hint);
        } else if active_config.generation.is_none() {
            let refused = host
                .health
                .conditions
                .refused_release()
                .map(|code| format!("; the release in the folders was refused: {code}"));
            let what = format!("no release is active{}", refused.unwrap_or_default());
            reason("no-active-release", what, "see the host's log, or run `portcullis check`");
        }
        if !clock_has_date() {
            let what = "this machine's clock shows a year before 1970 or after 9999: calls over \
                        HTTP/1.1 get their safe answers";
            reason("clock-out-of-range", what.to_owned(), "set the clock");
        }
        let health = host.recorder.log.health();
        if let Some(why) = &health.stopped {
            reason(
                "log-stopped",
                format!("the audit log has stopped: {why}"),
                if health.resumes {
                    "free space on the disk of audit.directory: the log then resumes by itself"
                } else {
                    "check the disk, then restart the host"
                },
            );
        } else if let Some(since) = stuck_since(context) {
            let what = format!(
                "records are waiting, but none has become durable for {} ms",
                since.as_millis()
            );
            reason("log-stalled", what, "check the disk of audit.directory");
        }
        let certificate = host.callers.tls.as_ref().map(|tls| tls.not_after());
        for ending in
            expirations(&host.trust.root.load(), active_config.generation.as_deref(), certificate)
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
                "the grace of the release set {} ended at {}: it stays active until this host \
                 stops; after a restart every call gets its safe answer",
                generation.number,
                time::format(generation.release.grace)
            );
            let hint = "sign a new release set before this host is restarted";
            warnings.push(Reason { code: "grace-over", what, hint });
        }
        // Without an issuer's keys its callers are nobody's. All hosts share their issuers: a load
        // balancer that left them all would stop every other hook's decisions too.
        for keys in host.callers.keys.load().iter().filter(|keys| keys.age_ms().is_none()) {
            let what =
                format!("the keys of `{}` could not be fetched, or are too old", keys.place());
            let hint = "check that the host reaches the issuer: until then every call with its \
                        tokens is refused";
            warnings.push(Reason { code: "keys-unavailable", what, hint });
        }
        let mut warning = |code, what: String, hint| warnings.push(Reason { code, what, hint });
        for stall in host.files.stalled() {
            let what =
                format!("reading {} has taken {} s so far", stall.place, stall.lasts.as_secs());
            let hint = "check its file system; until then the host uses the previous content";
            warning(stall.code, what, hint);
        }
        for (code, beat) in [
            ("housekeeping-stalled", &host.health.maintenance_beat),
            ("break-glass-thread-stalled", &host.health.break_glass_beat),
        ] {
            if let Some(silent) = beat.silent_for() {
                let what = format!("a maintenance thread has not run for {} s", silent.as_secs());
                warning(code, what, "check the disks of trust.state and audit.directory");
            }
        }
        let tables = active_config
            .generation
            .as_ref()
            .map(|it| it.tables.states(timestamp(now), &host.release.tables));
        for TableState { status, problem } in tables.unwrap_or_default() {
            let name = status.name;
            if let Some(problem) = problem {
                let what = format!("the reference table `{name}`: {problem}");
                warning(problem.code(), what, problem.hint());
            }
            if status.stale {
                let what = match status.data_at {
                    Some(at) => format!("the reference table `{name}` is as of {at}: it is stale"),
                    None => format!("no version of the reference table `{name}` was read yet"),
                };
                let hint = "export it again; until then its rule for stale tables holds";
                warning("table-stale", what, hint);
            }
        }
        let facts = host.release.status.facts();
        let rejected_components = host.health.conditions.unlisted_rejected();
        if facts.overfull || facts.unexamined > 0 || rejected_components > 0 {
            let what = format!(
                "the release folders hold too many files ({} not examined, {rejected_components} \
                 refused and not named)",
                facts.unexamined
            );
            warning("release-folder-overfull", what, "remove the files that no release set lists");
        }
        let more = host.trust.break_glass.overlooked();
        if more > 0 {
            let what =
                format!("the break-glass folder holds {more} files more than the host reads");
            warning("break-glass-overfull", what, "remove the files that are not your documents");
        }
        let [roots, documents] = host.trust.late.overlooked();
        if roots > 0 {
            let what =
                format!("the folder of trust roots holds {roots} files more than the host reads");
            warning("trust-roots-overfull", what, "remove the files that are not your trust roots");
        }
        if documents > 0 {
            let what = format!(
                "the folder of time documents holds {documents} files more than the host reads"
            );
            warning(
                "time-documents-overfull",
                what,
                "remove the files that are not your documents",
            );
        }
        if let (Some(code), Some(generation)) =
            (host.health.conditions.refused_release(), &active_config.generation)
        {
            let what = format!(
                "the release in the folders was refused: {code}; release {} stays active",
                generation.number
            );
            warning("release-refused", what, "see the host's log, or run `portcullis check`");
        }
        if let Some((source, code, outcome)) = host
            .release
            .registry
            .as_ref()
            .and_then(|it| Some((it, it.state().code?, it.state().outcome?)))
        {
            let what = format!(
                "no release was pulled from `{}`: {code}; the release folders are unchanged",
                source.reference
            );
            let warned =
                if outcome == Outcome::Refused { "registry-refused" } else { "registry-failed" };
            warning(warned, what, "see the host's log, and check the content of the registry");
        }
        if let Some(why) = host.health.conditions.refused_configuration() {
            warning(
                "configuration-refused",
                why,
                "correct the file, or restart the host if a changed setting needs it",
            );
        }
        for (code, what, hint) in clock_warnings(host) {
            warning(code, what, hint);
        }
        if host.limits.admission.in_flight() >= host.limits.admission.limit() {
            let what = format!(
                "{} calls are in flight, which is the limit: further calls get their safe \
                 answers",
                host.limits.admission.in_flight()
            );
            warning(
                "overload",
                what,
                "raise listen.max_in_flight, or find the source of the calls",
            );
        }
        for hook in active_config.hooks.iter().filter(|hook| hook.break_glass().is_some()) {
            let what = format!("a break-glass document is active on the hook `{}`", hook.name);
            warning("break-glass", what, "close the document as soon as it is not needed");
        }
        let revoked = active_config
            .generation
            .iter()
            .flat_map(|generation| active_config.hooks.iter().zip(&generation.hooks));
        for (hook, stopped) in
            revoked.filter_map(|(hook, bindings)| Some((hook, bindings.stopped()?)))
        {
            // One that could not be prepared is named below, with the reason.
            if stopped.cause == Cause::PluginRevoked
                && let Some(plugin) = &stopped.plugin
            {
                let what = format!(
                    "hook `{}` gives its safe answer, because its enforcing plugin `{plugin}` is \
                     revoked",
                    hook.name
                );
                warning("plugin-revoked", what, "sign a release set without the plugin");
            }
        }
        last_good(host, active_config.generation.as_deref(), &mut warning);
        let bindings = active_config.generation.iter().flat_map(|generation| &generation.hooks);
        for binding in bindings.clone().flat_map(Bindings::with_candidates) {
            if binding.breaker.state(monotonic_now()) != BreakerState::Closed {
                let (hook, plugin, role) =
                    (&binding.hook, &binding.manifest().id, binding.mode_name);
                let what = format!(
                    "hook `{hook}`: `{plugin}` ({role}) failed too often and is quarantined"
                );
                warning(
                    "plugin-quarantined",
                    what,
                    "see the `plugin.quarantined` record for the fault",
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
                "see its `hook.diverged` records, then sign a release set with a corrected \
                 candidate or without it",
            );
        }
        if let Some(why) = &health.delayed {
            let what = format!("{why}; records are durable, but have no proofs yet");
            let hint = "free space on the disk of audit.directory, or raise the limit of open \
                        files: the host then continues";
            warning("log-delayed", what, hint);
        }
        memory(&host.recorder.memory, &mut warning);
        for hook in active_config.hooks.iter().filter(|hook| hook.corrections.is_pending()) {
            let what = format!(
                "hook `{}` has sent answers whose records are not in the audit log yet",
                hook.name
            );
            warning(
                "corrections-pending",
                what,
                "the host records them when the audit log accepts records again",
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

/// The reasons that keep the active release from starting again as it is, or have kept it from
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
            "release {number} was started from the host's own copy, because the release folders \
             hold no acceptable release"
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
            "see the host's log, and publish a release whose plugins are available",
        );
    }
    for hook in &generation.unenforced {
        let what = format!(
            "hook `{hook}` gives its safe answer, because release {number} has no enforcing \
             binding for it"
        );
        let hint = "publish a release that binds a plugin to the hook, or restore the hook's \
                    former name and path";
        warning("hook-unenforced", what, hint);
    }
    if let Some(altered) = host.health.conditions.altered_release() {
        let what = format!(
            "the release folders no longer hold release {number}, which stays active: {}",
            altered.code
        );
        let hint = "publish it again with `portcullis release publish`, and find out what changed \
                    the folders";
        warning("release-altered", what, hint);
    }
    if let Some(why) = host.health.conditions.copy_failure() {
        let what = format!("the host has no copy of release {number} in trust.state: {why}");
        let hint = "check the disk of trust.state; until then a start needs the release folders";
        warning("release-not-kept", what, hint);
    }
}

/// The problems of the memory of plugins.
fn memory(memory: &HostMemory, warning: &mut impl FnMut(&'static str, String, &'static str)) {
    if let Some(why) = memory.flush_state().problem {
        let what = format!("the memory of plugins cannot be written to its file: {why}");
        let hint = "check the disk of audit.directory: when the write-ahead log is full, it stops";
        warning("memory-not-written", what, hint);
    }
    let Quota { subject, shared } = memory.quota();
    for (name, usage) in memory.usage() {
        for (scope, (bytes, entries), quota) in
            [("subject", usage.subject, subject), ("shared", usage.shared, shared)]
        {
            let used = percent(bytes, quota.bytes).max(percent(entries, quota.entries));
            if used >= NEARLY_FULL_PERCENT {
                let (plugin, space) = (name.plugin(), name.space());
                let what = format!(
                    "`{plugin}` ({space}) uses {used} % of its quota of {scope} memory: beyond it \
                     its calls get their safe answers"
                );
                let hint = "raise the quota in [memory], or let the plugin remember for a shorter \
                            time";
                warning("memory-nearly-full", what, hint);
            }
        }
    }
}

fn percent(used: u64, most: u64) -> u64 {
    used.saturating_mul(100) / most.max(1)
}

/// Looks whether the log has made headway since the last look.
pub fn observe_log(context: &AdminContext) {
    let health = context.host.recorder.log.health();
    let mut watch = context.log.lock().unwrap_or_else(PoisonError::into_inner);
    watch.stuck = match watch.stuck {
        _ if health.durable >= health.next => None,
        Some((durable, since)) if durable == health.durable => Some((durable, since)),
        _ => Some((health.durable, monotonic_now())),
    };
}

/// For how long records have waited in vain, if that is longer than a busy disk explains.
fn stuck_since(context: &AdminContext) -> Option<Duration> {
    observe_log(context);
    let watch = context.log.lock().unwrap_or_else(PoisonError::into_inner);
    watch.stuck.map(|(_, since)| elapsed_since(since)).filter(|since| *since >= STALLED)
}

/// The problem with this machine's clock, as far as the host can tell.
fn clock_warnings(host: &Host) -> Vec<(&'static str, String, &'static str)> {
    let it = host.trust.time.snapshot();
    let text = |at: Millis| time::format(Millis(at.0 - at.0 % 1_000));
    let mut warnings = Vec::new();
    match it.state {
        ClockState::Trusted => {}
        ClockState::Unconfirmed => warnings.push((
            "clock-unconfirmed",
            format!(
                "this machine's clock ({}) is more than a day ahead of the last confirmed time \
                 ({}): nothing expires, and no other release set or trust root is activated",
                text(it.clock),
                text(it.trusted)
            ),
            "set the clock; if it is right, a platform's next call confirms it, or sign a \
             confirmation with `portcullis trust confirm-clock`",
        )),
        ClockState::Behind => warnings.push((
            "clock-behind",
            format!(
                "this machine's clock ({}) is more than a day behind the newest record ({})",
                text(it.clock),
                text(it.trusted)
            ),
            "set the clock; if it is right and the records are wrong, sign a time reset with \
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
    let was = host.trust.kernel_synchronised == Some(true);
    if was && portcullis_engine::kernel_clock_is_synchronised() == Some(false) {
        let what = "this machine's clock is no longer synchronised".to_owned();
        let hint = "check chrony, systemd-timesyncd or the hypervisor's time service";
        warnings.push(("clock-unsynchronised", what, hint));
    }
    warnings
}

/// A quota that is used so far is warned of.
const NEARLY_FULL_PERCENT: u64 = 90;

/// A disk that takes longer than this is not busy but stuck; calls get their safe answers by then.
const STALLED: Duration = Duration::from_secs(1);

//! Metrics as Prometheus reads them: text format 0.0.4.
//!
//! Invariant: every family is there from the start and complete, so that a counter's first step is seen; how long the page is depends
//! on configuration and release alone. <https://prometheus.io/docs/instrumenting/exposition_formats/>
//!
//! This page does not use `prometheus-client`. Version 0.24.1 writes OpenMetrics only: our counters
//! would be `# TYPE portcullis_decisions counter` before samples of another name, which a reader of
//! text format 0.0.4 takes for untyped (and under their full name `…_total_total`), the page would
//! end with `# EOF` and need another content type. It writes label values without escaping them.
//! What it would replace are the last 50 lines of [`Page`]; the collectors above them would be as
//! long.

use std::fmt::{Display, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use portcullis_model::{Cause, Effect};
use portcullis_store::memory::NamespaceName;
use portcullis_tokens::AuthError;

use super::{AdminContext, Readiness};
use crate::bindings::breaker::BreakerState;
use crate::bindings::candidate::CandidateBinding;
use crate::bindings::generation::{Binding, Bindings, Generation};
use crate::clock::monotonic_now;
use crate::logging::log_writer::lost_lines;
use crate::memory::{FlushState, HostMemory};
use crate::net::connection_limit::ConnectionLimiter;
use crate::observe::budget::{Stage, micros};
use crate::observe::metrics::{BUCKETS, BindingMetrics, Histogram, labels};
use crate::registry::{Outcome, RegistrySource};
use crate::state::frontend::Frontend;
use crate::state::host::Hook;

/// The page.
pub fn write(context: &AdminContext) -> String {
    let mut page = Page { text: String::with_capacity(64 << 10) };
    let host = &context.host;
    let active_config = host.active_config.load_full();
    page.hooks(&active_config.hooks.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    let current = active_config
        .generation
        .iter()
        .flat_map(|generation| bindings(generation))
        .map(|it| it.metrics.as_ref());
    let mut shown: Vec<_> = current.collect();
    // While a release is swapped, what ended is still among the current ones.
    let previous_metrics = host.counts.previous_metrics.load_full();
    for ended in previous_metrics.iter() {
        if shown.iter().all(|it| it.labels != ended.labels) {
            shown.push(ended);
        }
    }
    page.bindings(&shown);
    let current: Vec<_> =
        active_config.generation.iter().flat_map(|generation| bindings(generation)).collect();
    page.breakers(&current, monotonic_now());
    page.candidates(
        &active_config
            .generation
            .iter()
            .flat_map(|it| it.hooks.iter().flat_map(Bindings::candidates))
            .collect::<Vec<_>>(),
    );

    let health = host.recorder.log.health();
    let readiness = Readiness::of(context);
    let generation = active_config.generation.as_deref();
    page.one("portcullis_ready", READY, u8::from(readiness.ready()));
    page.one(
        "portcullis_active_generation",
        "The version of the active release set; 0 without one",
        generation.map_or(0, |it| it.number),
    );
    let ends = generation.map_or(0, |it| it.expires_at().0 / 1_000);
    page.one(
        "portcullis_release_expires_timestamp_seconds",
        "The time at which the active release or a manifest of it expires",
        ends,
    );
    let root = host.trust.root.load().expires.0 / 1_000;
    page.one(
        "portcullis_trust_root_expires_timestamp_seconds",
        "The time at which the trust root expires",
        root,
    );
    page.family(
        "portcullis_certificate_expires_timestamp_seconds",
        "gauge",
        "The time at which the TLS certificate expires",
    );
    if let Some(tls) = &host.callers.tls {
        page.sample(
            "portcullis_certificate_expires_timestamp_seconds",
            "",
            tls.not_after().0 / 1_000,
        );
    }
    page.family(
        "portcullis_issuer_keys_age_seconds",
        "gauge",
        "The age of the keys of an issuer of tokens; no sample without keys",
    );
    for keys in host.callers.keys.load().iter() {
        if let Some(age) = keys.age_ms() {
            page.sample(
                "portcullis_issuer_keys_age_seconds",
                &labels(&[("issuer", keys.place())]),
                age / 1_000,
            );
        }
    }
    page.family(
        "portcullis_break_glass_open",
        "gauge",
        "1 while a break-glass document is active on the hook",
    );
    for hook in &active_config.hooks {
        page.sample(
            "portcullis_break_glass_open",
            &of(hook, &[]),
            u8::from(hook.break_glass().is_some()),
        );
    }
    page.one("portcullis_requests_in_flight", IN_FLIGHT, host.limits.admission.in_flight());
    page.one(
        "portcullis_requests_in_flight_limit",
        "The limit of calls in flight; further calls get the safe answer",
        host.limits.admission.limit(),
    );
    let name = "portcullis_unrouted_requests_total";
    page.family(name, "counter", "Requests that belong to no hook, by their answer");
    for (answer, count) in host.counts.unrouted.all() {
        page.sample(name, &labels(&[("answer", answer)]), count);
    }
    page.connections(&host.limits.connections);
    page.one("portcullis_sandboxes_in_use", "Plugin instances that exist", host.sandboxes_in_use());
    let (name, done) = ("portcullis_plugin_preparations_total", host.preparations());
    page.family(name, "counter", "Prepared plugins, by the source of their code");
    for (source, count) in
        [("compiled", done.compiled), ("cache", done.cached), ("cache-rejected", done.corrupt)]
    {
        page.sample(name, &labels(&[("source", source)]), count);
    }
    page.one(
        "portcullis_dedup_entries",
        "Events in the cache of responses for retries",
        host.limits.dedup.len(),
    );
    page.one("portcullis_log_next", "The index of the next record in the log", health.next);
    page.one("portcullis_log_durable", "Records that survive a power loss", health.durable);
    page.one(
        "portcullis_log_published",
        "Records under the last signed checkpoint",
        health.published,
    );
    page.one("portcullis_log_queued", "Records that wait for the disk", health.queued);
    page.one(
        "portcullis_log_stopped",
        "1 once the audit log has stopped",
        u8::from(health.stopped.is_some()),
    );
    page.one(
        "portcullis_log_delayed",
        "1 while tiles and checkpoints cannot be written",
        u8::from(health.delayed.is_some()),
    );
    let counted: u64 = host.hook_states.all().iter().map(|state| state.corrections.counted()).sum();
    page.one(
        "portcullis_log_pending_corrections",
        "Answers that were sent without a record and are not in the log yet",
        counted,
    );
    let unkept: usize =
        host.hook_states.all().iter().map(|state| state.corrections.unpersisted_count()).sum();
    page.one(
        "portcullis_log_ring_unwritten",
        "Counts of answers and refusals that the emergency ring does not hold yet",
        unkept + host.counts.rejections.unpersisted_count(),
    );
    page.memory(&host.recorder.memory);
    if let Some(telemetry) = &host.telemetry {
        let counts = telemetry.counts();
        for (name, help, count) in [
            (
                "portcullis_traces_exported_total",
                "Traces that the collector accepted",
                &counts.exported,
            ),
            (
                "portcullis_traces_dropped_total",
                "Traces that were dropped, because the queue was full or the collector did not \
                 accept them",
                &counts.dropped,
            ),
        ] {
            page.family(name, "counter", help);
            page.sample(name, "", count.load(std::sync::atomic::Ordering::Relaxed));
        }
    }
    let name = "portcullis_log_lines_lost_total";
    page.family(name, "counter", "Log lines that could not be written to standard error");
    page.sample(name, "", lost_lines());
    page.registry(host.release.registry.as_ref());
    page.family("portcullis_build_info", "gauge", "The build");
    let build = labels(&[("version", env!("CARGO_PKG_VERSION")), ("tenant", &host.config.tenant)]);
    page.sample("portcullis_build_info", &build, 1);
    page.process(context);
    page.text
}

/// Every binding of a generation, and what is tried beside them.
fn bindings(generation: &Generation) -> impl Iterator<Item = &Binding> {
    generation.hooks.iter().flat_map(Bindings::with_candidates).map(AsRef::as_ref)
}

struct Page {
    text: String,
}

/// The page before the host is complete: what its hooks did so far, and that it is not ready.
pub fn early(frontend: &Frontend) -> String {
    let mut page = Page { text: String::with_capacity(16 << 10) };
    let active_config = frontend.active_config();
    page.hooks(&active_config.hooks.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    page.one("portcullis_ready", READY, 0);
    page.one("portcullis_requests_in_flight", IN_FLIGHT, frontend.admission.in_flight());
    page.text
}

impl Page {
    fn hooks(&mut self, hooks: &[&Hook]) {
        let name = "portcullis_decisions_total";
        self.family(name, "counter", "Decisions that were sent, by verdict");
        for hook in hooks {
            for verdict in Effect::ALL {
                self.hook(name, hook, ("verdict", verdict.name()), hook.metrics.decisions(verdict));
            }
        }
        let name = "portcullis_safe_answers_total";
        self.family(name, "counter", "Safe answers of calls that could be read, by cause");
        for hook in hooks {
            for cause in Cause::ALL {
                self.hook(name, hook, ("cause", cause.code()), hook.metrics.safe_answers(cause));
            }
        }
        let name = "portcullis_rejections_total";
        self.family(
            name,
            "counter",
            "Rejections, which are counted and not recorded one by one, by reason",
        );
        for hook in hooks {
            for cause in Cause::ALL {
                self.hook(name, hook, ("reason", cause.code()), hook.metrics.rejections(cause));
            }
        }
        let name = "portcullis_rejected_members_total";
        let help = "Requests rejected because of a member, by member; no sample before the first";
        self.family(name, "counter", help);
        for hook in hooks {
            for (cause, member, count) in hook.metrics.members.all() {
                let labels = of(hook, &[("reason", cause.code()), ("member", &member)]);
                self.sample(name, &labels, count);
            }
        }
        let name = "portcullis_auth_failures_total";
        self.family(name, "counter", "Calls whose caller could not be authenticated, by reason");
        for hook in hooks {
            for auth_error in AuthError::ALL {
                self.hook(
                    name,
                    hook,
                    ("reason", auth_error.code()),
                    hook.metrics.auth_failures(auth_error),
                );
            }
        }
        let name = "portcullis_duplicate_requests_total";
        self.family(name, "counter", "Repeated calls that got the cached response");
        hooks.iter().for_each(|hook| self.sample(name, &of(hook, &[]), hook.metrics.duplicates()));
        let name = "portcullis_response_write_failures_total";
        self.family(name, "counter", "Answers that could not be sent completely");
        hooks
            .iter()
            .for_each(|hook| self.sample(name, &of(hook, &[]), hook.metrics.undelivered_total()));
        let name = "portcullis_unknown_members";
        self.family(
            name,
            "gauge",
            "Members of requests that the host does not know for the hook kind",
        );
        hooks.iter().for_each(|hook| self.sample(name, &of(hook, &[]), hook.drift.seen().len()));
        let name = "portcullis_stage_duration_seconds";
        self.family(name, "histogram", "The time that each stage of a call took");
        for hook in hooks {
            for stage in Stage::ALL {
                self.times(name, &of(hook, &[("stage", stage.name())]), &hook.metrics.times(stage));
            }
        }
    }

    fn bindings(&mut self, bindings: &[&BindingMetrics]) {
        let name = "portcullis_plugin_evaluations_total";
        self.family(name, "counter", "Plugin runs, by verdict or fault");
        for binding in bindings {
            for (outcome, count) in binding.outcomes() {
                self.sample(
                    name,
                    &format!("{},{}", binding.labels, labels(&[("outcome", outcome)])),
                    count,
                );
            }
        }
        let name = "portcullis_plugin_offloaded_total";
        self.family(name, "counter", "Plugin runs in their binding's lane");
        bindings
            .iter()
            .for_each(|binding| self.sample(name, &binding.labels, binding.offloaded_runs()));
        let name = "portcullis_plugin_quarantines_total";
        self.family(name, "counter", "How often a plugin was quarantined");
        bindings
            .iter()
            .for_each(|binding| self.sample(name, &binding.labels, binding.quarantines()));
        let name = "portcullis_plugin_duration_seconds";
        self.family(name, "histogram", "The time that a plugin took, all runs of a call together");
        bindings.iter().for_each(|binding| self.times(name, &binding.labels, &binding.times()));
    }

    /// How the active bindings stand at this moment.
    fn breakers(&mut self, bindings: &[&Binding], now: Instant) {
        let name = "portcullis_plugin_quarantined";
        self.family(name, "gauge", "1 while a plugin is quarantined");
        for binding in bindings {
            let quarantined = binding.breaker.state(now) != BreakerState::Closed;
            self.sample(name, &binding.metrics.labels, u8::from(quarantined));
        }
        let name = "portcullis_plugin_running";
        self.family(name, "gauge", "Plugin runs in their binding's lane at this moment");
        bindings
            .iter()
            .for_each(|binding| self.sample(name, &binding.metrics.labels, binding.pool.running()));
        let name = "portcullis_plugin_waiting";
        self.family(name, "gauge", "Plugin runs that wait for their binding's lane");
        bindings
            .iter()
            .for_each(|binding| self.sample(name, &binding.metrics.labels, binding.pool.waiting()));
    }

    /// Writes the candidates and their comparisons.
    fn candidates(&mut self, candidates: &[(&Arc<Binding>, &CandidateBinding)]) {
        let name = "portcullis_candidate_comparisons_total";
        self.family(
            name,
            "counter",
            "Calls in which a candidate was compared with the live plugin, by outcome",
        );
        for (_, rollout) in candidates {
            for (outcome, count) in rollout.outcomes() {
                let own = &rollout.binding.metrics.labels;
                self.sample(name, &format!("{own},{}", labels(&[("outcome", outcome)])), count);
            }
        }
        let name = "portcullis_candidate_differences_total";
        self.family(
            name,
            "counter",
            "Differences between a candidate and the live plugin, by kind",
        );
        for (_, rollout) in candidates {
            for (what, count) in rollout.differences() {
                let own = &rollout.binding.metrics.labels;
                self.sample(name, &format!("{own},{}", labels(&[("what", what)])), count);
            }
        }
        let name = "portcullis_candidate_stopped";
        self.family(
            name,
            "gauge",
            "1 once a candidate has exceeded its divergence budget and is not called any more",
        );
        for (_, rollout) in candidates {
            self.sample(name, &rollout.binding.metrics.labels, u8::from(rollout.is_stopped()));
        }
    }

    /// The listener's connections.
    fn connections(&mut self, limiter: &ConnectionLimiter) {
        let now = limiter.snapshot();
        let name = "portcullis_connections";
        self.family(name, "gauge", "Connections, by whether the caller is authenticated");
        for (state, count) in
            [("authenticated", now.authenticated), ("unauthenticated", now.unauthenticated)]
        {
            self.sample(name, &labels(&[("state", state)]), count);
        }
        let most = limiter.limits().connections;
        self.one("portcullis_connections_limit", "The limit of connections", most);
        let name = "portcullis_connections_closed_total";
        self.family(name, "counter", "Connections that were closed because of a limit, by reason");
        for (reason, count) in [
            ("evicted", now.evicted),
            ("source-limit", now.rejected_source),
            ("full", now.rejected_full),
            ("caller-limit", now.surplus),
        ] {
            self.sample(name, &labels(&[("reason", reason)]), count);
        }
    }

    /// How it goes with the registry, where one is followed.
    fn registry(&mut self, source: Option<&RegistrySource>) {
        let (polls, contact) = (
            "portcullis_registry_polls_total",
            "portcullis_registry_last_contact_timestamp_seconds",
        );
        self.family(polls, "counter", "Polls of the release in the registry, by outcome");
        for outcome in source.iter().flat_map(|_| Outcome::ALL) {
            let count = source.map_or(0, |source| source.count(outcome));
            self.sample(polls, &labels(&[("outcome", outcome.name())]), count);
        }
        self.family(contact, "gauge", "The time of the registry's last usable answer");
        if let Some(contacted) = source.and_then(|source| source.state().contact) {
            self.sample(contact, "", contacted.0 / 1_000);
        }
    }

    /// The memory of plugins. Plugins that have none have no samples.
    fn memory(&mut self, memory: &HostMemory) {
        let mut usages = memory.usage();
        usages.sort_by(|(one, _), (other, _)| one.cmp(other));
        let of = |name: &NamespaceName, scope: &str| {
            let own = [("plugin", name.plugin()), ("space", name.space())];
            if scope.is_empty() {
                labels(&own)
            } else {
                labels(&[&own[..], &[("scope", scope)]].concat())
            }
        };
        let (bytes, entries) = ("portcullis_memory_bytes", "portcullis_memory_entries");
        self.family(bytes, "gauge", "The memory of a plugin, in bytes, by scope");
        for (name, usage) in &usages {
            self.sample(bytes, &of(name, "subject"), usage.subject.0);
            self.sample(bytes, &of(name, "shared"), usage.shared.0);
        }
        self.family(entries, "gauge", "Values, counters and sets of a plugin, by scope");
        for (name, usage) in &usages {
            self.sample(entries, &of(name, "subject"), usage.subject.1);
            self.sample(entries, &of(name, "shared"), usage.shared.1);
        }
        let name = "portcullis_memory_subjects";
        self.family(name, "gauge", "Subjects of whom a plugin remembers something");
        usages.iter().for_each(|(it, usage)| self.sample(name, &of(it, ""), usage.subjects));
        let name = "portcullis_memory_conflicts_total";
        self.family(
            name,
            "counter",
            "Calls that were evaluated again, because others changed the memory of a plugin",
        );
        usages.iter().for_each(|(it, _)| self.sample(name, &of(it, ""), memory.conflicts(it)));
        let FlushState { took, age, problem } = memory.flush_state();
        let name = "portcullis_memory_flush_duration_seconds";
        self.family(name, "gauge", "The time that the last write of the file of memory took");
        if let Some(took) = took {
            self.sample(name, "", seconds(micros(took)));
        }
        let name = "portcullis_memory_flush_age_seconds";
        self.family(name, "gauge", "The time since the last write of the file of memory");
        if let Some(age) = age {
            self.sample(name, "", seconds(micros(age)));
        }
        self.one(
            "portcullis_memory_not_written",
            "1 while the file of memory cannot be written",
            u8::from(problem.is_some()),
        );
    }

    /// Writes the metrics of the process under their standard names.
    fn process(&mut self, context: &AdminContext) {
        self.one(
            "process_start_time_seconds",
            "The time at which the host started",
            context.started_at.0 / 1_000,
        );
        if let Some(pages) =
            portcullis_files::read_text_bounded(Path::new("/proc/self/statm"), 4096)
                .ok()
                .and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok())
        {
            self.one("process_resident_memory_bytes", "Memory in use", pages * PAGE);
        }
        #[expect(clippy::disallowed_methods, reason = "a folder of the kernel")]
        let open = std::fs::read_dir("/proc/self/fd");
        if let Ok(open) = open {
            self.one("process_open_fds", "Open files and sockets", open.count());
        }
    }

    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn hook(&mut self, name: &str, hook: &Hook, label: (&str, &str), value: u64) {
        self.sample(name, &of(hook, &[label]), value);
    }

    fn times(&mut self, name: &str, labels: &str, times: &Histogram) {
        let (bucket, total) =
            (format!("{name}_bucket"), times.cumulative.last().copied().unwrap_or_default());
        for (bound, count) in BUCKETS.iter().zip(&times.cumulative) {
            self.sample(&bucket, &format!("{labels},le=\"{}\"", seconds(*bound)), count);
        }
        self.sample(&bucket, &format!("{labels},le=\"+Inf\""), total);
        self.sample(
            &format!("{name}_sum"),
            labels,
            format_args!("{}.{:09}", times.sum_ns / NANOS, times.sum_ns % NANOS),
        );
        self.sample(&format!("{name}_count"), labels, total);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = if labels.is_empty() {
            writeln!(self.text, "{name} {value}")
        } else {
            writeln!(self.text, "{name}{{{labels}}} {value}")
        };
    }
}

/// A hook's labels, and further ones.
fn of(hook: &Hook, further: &[(&str, &str)]) -> String {
    let own = [("hook", &*hook.name), ("kind", hook.config.kind.name())];
    labels(&[&own, further].concat())
}

/// Microseconds as Prometheus' base unit, without an exponent.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Nanoseconds of a second.
const NANOS: u64 = 1_000_000_000;
/// Bytes of a page of memory where this runs (x86-64, and arm64 as servers set it up).
const PAGE: u64 = 4_096;

const READY: &str = "1 if calls sent here get decisions";
const IN_FLIGHT: &str = "Calls in flight";

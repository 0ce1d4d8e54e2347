//! How the host stands, for people and programs: what is active, what the record holds, what was
//! done.

use portcullis_audit::ChangeStore as _;
use portcullis_call_data::timestamp;
use portcullis_model::{Cause, Effect};
use portcullis_store::memory::ScopeQuota;
use serde_json::{Map, Value, json};

use super::{AdminContext, Readiness};
use crate::bindings::breaker::BreakerState;
use crate::bindings::candidate::DivergenceCounts;
use crate::bindings::generation::Binding;
use crate::clock::{elapsed_since, monotonic_now};
use crate::memory::{FlushState, HostMemory};
use crate::observe::budget::micros;
use crate::registry::{Outcome, RegistrySource};
use crate::state::host::{Hook, Host};
use crate::tables::{TableProblem, TableState};

/// The page.
pub fn json(context: &AdminContext) -> Value {
    let host = &context.host;
    // First: a set that is active here decides by then.
    let release = host.release.status.json();
    let active_config = host.active_config.load();
    let health = host.recorder.log.health();
    let hooks = active_config.hooks.iter().map(|hook| {
        let bindings = active_config.generation.as_ref().and_then(|generation| generation.hooks.get(hook.number));
        let bindings: Vec<_> =
            bindings.into_iter().flat_map(|bindings| bindings.iter()).map(|it| with_candidate(it)).collect();
        json!({
            "name": hook.config.name, "kind": hook.config.kind.name(), "path": hook.config.settings.path,
            "budget_ms": hook.config.budget_ms, "on_failure": Hook::on_failure_name(&hook.config.on_failure),
            "active": Hook::on_failure_name(hook.on_failure(active_config.generation.as_deref(), Some(Cause::InternalError), hook.break_glass().as_deref())),
            "bindings": bindings, "counts": counts(hook), "unknown_members": hook.drift.seen(),
        })
    });
    let hooks: Vec<_> = hooks.collect();
    let generation = active_config.generation.as_ref().map(|generation| {
        json!({
            "number": generation.number, "set": generation.set.to_string(), "ends": generation.expires_at().0,
            "last_good": generation.is_last_good(), "before": host.release.status.previous_json(),
        })
    });
    let now = timestamp(host.clock.now());
    let tables =
        active_config.generation.as_ref().map(|it| it.tables.states(now, &host.release.tables));
    let tables = tables.unwrap_or_default();
    let readiness = Readiness::of(context);
    let preparations = host.preparations();
    json!({
        "build": env!("CARGO_PKG_VERSION"),
        "tenant": host.config.tenant,
        "up_seconds": elapsed_since(context.begin).as_secs(),
        "now": host.clock.now().0,
        "time": time(host),
        "configuration": active_config.config.digest.to_string(),
        "reset": host.reset().to_string(),
        "start": host.health.progress.unfinished().map(|unfinished| unfinished.json()),
        "generation": generation,
        "release": release,
        "plugins": {"made": preparations.compiled, "from_cache": preparations.cached, "not_believed": preparations.corrupt},
        "hooks": hooks,
        "calls": {"in_progress": host.limits.admission.in_flight(), "limit": host.limits.admission.limit()},
        "log": {
            "origin": host.recorder.log.origin(), "next": health.next, "durable": health.durable, "published": health.published,
            "queued": health.queued, "stopped": health.stopped.as_deref(), "resumes": health.resumes,
            "delayed": health.delayed.as_deref(),
        },
        "registry": host.release.registry.as_ref().map(registry),
        "memory": memory(&host.recorder.memory),
        "tables": tables.iter().map(table).collect::<Vec<_>>(),
        "readiness": readiness.json(),
    })
}

/// How far this machine's clock is believed.
fn time(host: &Host) -> Value {
    let it = host.trust.time.snapshot();
    json!({
        "state": it.state.name(), "trusted": it.trusted.0, "clock": it.clock.0,
        "newest_document": it.newest_document.map(|issued| issued.0), "platform_ahead_ms": it.platform_ahead,
        "kernel_synchronised": portcullis_engine::kernel_clock_is_synchronised(),
        "last_reset": host.trust_state().history().resets(),
    })
}

/// The memory of plugins: the file, and what each plugin holds in each space.
fn memory(memory: &HostMemory) -> Value {
    let FlushState { took, age, problem } = memory.flush_state();
    let quota = memory.quota();
    let scope = |(bytes, entries): (u64, u64), quota: ScopeQuota| {
        json!({
            "bytes": bytes, "entries": entries,
            "bytes_quota": quota.bytes, "entries_quota": quota.entries,
        })
    };
    let mut usages = memory.usage();
    usages.sort_by(|(one, _), (other, _)| one.cmp(other));
    let plugins = usages.iter().map(|(name, usage)| {
        json!({
            "plugin": name.plugin(), "space": name.space(), "cells": usage.cells,
            "subjects": usage.subjects, "conflicts": memory.conflicts(name),
            "subject": scope(usage.subject, quota.subject),
            "shared": scope(usage.shared, quota.shared),
        })
    });
    json!({
        "stored": memory.stored(), "applied": memory.memory().applied(),
        "flush_ms": took.map(|took| took.as_secs_f64() * 1_000.0),
        "flush_age_ms": age.map(|age| micros(age) / 1_000), "problem": problem,
        "plugins": plugins.collect::<Vec<_>>(),
    })
}

/// A reference table.
fn table(state: &TableState) -> Value {
    let TableState { status, problem } = state;
    json!({
        "name": status.name, "version": status.version.map(|version| version.to_string()),
        "rows": status.rows, "memory_bytes": status.memory,
        "as_of": status.data_at.map(|at| at.to_string()), "stale": status.stale,
        "problem": problem.as_ref().map(TableProblem::code),
    })
}

/// How it goes with the registry that is followed.
fn registry(source: &RegistrySource) -> Value {
    let state = source.state();
    json!({
        "release": source.reference.to_string(), "outcome": state.outcome.map(Outcome::name), "code": state.code,
        "contact": state.contact.map(|contact| contact.0), "artifact": state.artifact.map(|artifact| artifact.to_string()),
    })
}

/// A binding with what is tried beside it.
fn with_candidate(live: &Binding) -> Map<String, Value> {
    let mut shown = binding(live);
    if let Some(rollout) = &live.candidate {
        let DivergenceCounts { compared, differences, failures, slower } = rollout.counts();
        let mut candidate = binding(&rollout.binding);
        for (name, value) in [
            ("stopped", json!(rollout.is_stopped())),
            ("cohort", json!(rollout.cohort.as_ref().map(|cohort| &cohort.canary))),
            (
                "last",
                json!({"compared": compared, "differences": differences, "failures": failures, "slower": slower}),
            ),
            ("abort", json!(rollout.abort)),
            ("outcomes", some(rollout.outcomes()).into()),
            ("differences", some(rollout.differences()).into()),
        ] {
            candidate.insert(name.to_owned(), value);
        }
        shown.insert("candidate".to_owned(), candidate.into());
    }
    shown
}

fn binding(binding: &Binding) -> Map<String, Value> {
    let manifest = binding.manifest();
    let standing = match binding.breaker.state(monotonic_now()) {
        BreakerState::Closed => json!({"state": "asked"}),
        BreakerState::Open(left) => {
            json!({"state": "quarantined", "left_ms": micros(left) / 1_000})
        }
        BreakerState::HalfOpenDue => json!({"state": "trial-due"}),
        BreakerState::HalfOpen => json!({"state": "on-trial"}),
    };
    let shown = [
        ("plugin", json!(manifest.id)),
        ("version", json!(manifest.version)),
        ("serial", json!(manifest.serial)),
        ("mode", json!(binding.mode_name)),
        ("component", manifest.wasm.to_string().into()),
        ("settings", binding.settings.to_string().into()),
        ("offloaded", binding.is_offloaded().into()),
        ("standing", standing),
        ("running", json!(binding.pool.running())),
        ("waiting", json!(binding.pool.waiting())),
    ];
    shown.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// Counts; what never happened is left out.
fn some(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Map<String, Value> {
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| (name.to_owned(), json!(count))).collect()
}

/// What a hook did since the process began; what never happened is left out.
fn counts(hook: &Hook) -> Value {
    let metrics = &hook.metrics;
    let decisions =
        Effect::ALL.map(|verdict| (verdict.name(), metrics.decisions(verdict))).to_vec();
    let safe = Cause::ALL.map(|cause| (cause.code(), metrics.safe_answers(cause))).to_vec();
    let refused = Cause::ALL.map(|cause| (cause.code(), metrics.rejections(cause))).to_vec();
    let mut members = Map::new();
    for (_, member, count) in metrics.members.all() {
        // A member that was missing once and of another kind once is one member.
        let before = members.get(&member).and_then(Value::as_u64).unwrap_or_default();
        members.insert(member, json!(before + count));
    }
    json!({
        "decisions": some(decisions), "safe_answers": some(safe), "rejections": some(refused),
        "rejected_members": members,
        "duplicates": metrics.duplicates(), "response_write_failures": metrics.undelivered_total(),
    })
}

//! How the host stands, for people and programs: what is in force, what the record holds, what was done.

use portcullis_model::{Cause, Effect};
use serde_json::{Map, Value, json};

use super::{Desk, Readiness};
use crate::generation::Binding;
use crate::host::Hook;

/// The page.
pub fn json(desk: &Desk) -> Value {
    let host = &desk.host;
    let in_force = host.in_force.load();
    let health = host.log.health();
    let hooks = in_force.hooks.iter().map(|hook| {
        let bindings = in_force.generation.as_ref().and_then(|generation| generation.hooks.get(hook.number));
        let bindings: Vec<_> =
            bindings.into_iter().flat_map(|bindings| bindings.iter()).map(|it| binding(it)).collect();
        json!({
            "name": hook.config.name, "kind": hook.config.kind.name(), "path": hook.config.settings.path,
            "budget_ms": hook.config.budget_ms, "on_failure": Hook::on_failure_name(&hook.config.on_failure),
            "in_force": Hook::on_failure_name(hook.on_failure(in_force.generation.as_deref(), Some(Cause::HostFault), hook.glass().as_deref())),
            "bindings": bindings, "counts": counts(hook), "unknown_members": hook.drift.seen(),
        })
    });
    let hooks: Vec<_> = hooks.collect();
    let generation = in_force.generation.as_ref().map(|generation| {
        json!({"number": generation.number, "set": generation.set.to_string(), "ends": generation.ends().0})
    });
    let readiness = Readiness::of(desk);
    let preparations = host.preparations();
    json!({
        "build": env!("CARGO_PKG_VERSION"),
        "tenant": host.config.tenant,
        "up_seconds": desk.begin.elapsed().as_secs(),
        "now": host.clock.now().0,
        "configuration": in_force.config.digest.to_string(),
        "reset": host.reset().to_string(),
        "generation": generation,
        "release": host.standing.json(),
        "plugins": {"made": preparations.made, "from_cache": preparations.cached, "not_believed": preparations.spoilt},
        "hooks": hooks,
        "calls": {"in_progress": host.admission.inside(), "limit": host.admission.limit()},
        "log": {
            "origin": host.log.origin(), "next": health.next, "durable": health.durable, "published": health.published,
            "queued": health.queued, "stopped": health.stopped.as_deref(),
        },
        "readiness": readiness.json(),
    })
}

fn binding(binding: &Binding) -> Value {
    let manifest = binding.manifest();
    json!({
        "plugin": manifest.id, "version": manifest.version, "serial": manifest.serial, "mode": binding.mode.name(),
        "component": manifest.wasm.to_string(), "settings": binding.settings.to_string(), "slow": binding.is_slow(),
    })
}

/// What a hook did since the process began; what never happened is left out.
fn counts(hook: &Hook) -> Value {
    let some = |counts: Vec<(&'static str, u64)>| -> Map<String, Value> {
        counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), json!(count)))
            .collect()
    };
    let metrics = &hook.metrics;
    let decisions = Effect::ALL.map(|verdict| (verdict.name(), metrics.decisions(verdict))).to_vec();
    let safe = Cause::ALL.map(|cause| (cause.code(), metrics.safe_answers(cause))).to_vec();
    let refused = Cause::ALL.map(|cause| (cause.code(), metrics.refusals(cause))).to_vec();
    json!({
        "decisions": some(decisions), "safe_answers": some(safe), "refusals": some(refused),
        "repeats": metrics.repeats(), "undelivered": metrics.lost(),
    })
}

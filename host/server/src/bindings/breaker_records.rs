//! The log lines and records about quarantined plugins.
//!
//! Invariant: every quarantine, every trial that failed and every recovery is a record, made where it happens; a record names the binding
//! by digest and the fault by code, nothing of a call.

use portcullis_audit::Entry;

use crate::bindings::breaker::Transition;
use crate::bindings::generation::Binding;
use crate::observe::budget::micros;
use crate::recorder::Recorder;
use portcullis_model::json::ObjectWriter;

/// Records what a run has changed.
pub fn record(
    recorder: &Recorder,
    binding: &Binding,
    turn: Transition,
    fault: Option<&'static str>,
) {
    let mut fields = String::new();
    let mut members = ObjectWriter::members_of(&mut fields);
    members.number("generation", binding.generation).text("hook", &binding.hook);
    members.members(binding.record_prefix());
    if let Some(fault) = fault {
        members.text("fault", fault);
    }
    let (hook, plugin) = (&binding.hook, &binding.manifest().id);
    let kind = match turn {
        Transition::Quarantined { failures, runs, for_ } => {
            binding.metrics.quarantined();
            let for_ms = micros(for_) / 1_000;
            tracing::error!(
                hook,
                plugin,
                failures,
                runs,
                fault,
                for_ms,
                event = "plugin.quarantined",
                "the plugin failed too often and is quarantined: it is not called for {for_ms} ms"
            );
            members.number("failures", failures).number("runs", runs).number("for_ms", for_ms);
            "plugin.quarantined"
        }
        Transition::ProbeFailed { for_ } => {
            let for_ms = micros(for_) / 1_000;
            tracing::warn!(
                hook,
                plugin,
                fault,
                for_ms,
                event = "plugin.probe-failed",
                "the plugin failed its probe: its quarantine is extended by {for_ms} ms"
            );
            members.number("for_ms", for_ms);
            "plugin.probe-failed"
        }
        Transition::Recovered { probes, after } => {
            let after_ms = micros(after) / 1_000;
            tracing::info!(
                hook,
                plugin,
                probes,
                after_ms,
                event = "plugin.recovered",
                "the plugin passed its probe: its quarantine is over"
            );
            members.number("trials", probes).number("after_ms", after_ms);
            "plugin.recovered"
        }
    };
    recorder.append(Entry { kind, fields, sealed: None });
}

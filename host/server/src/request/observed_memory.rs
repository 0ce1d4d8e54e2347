//! The memory of bindings that do not decide: what they change goes into a record of their own.
//!
//! Invariant: as in a call that decides, changes have a place in the log together with a record, or
//! none. A run whose memory was changed meanwhile is repeated; no caller waits for it.

use portcullis_audit::Entry;
use portcullis_model::json::build_members;
use portcullis_store::memory::Changes;

use crate::bindings::evaluate::BindingResult;
use crate::recorder::CommitError;
use crate::request::context::log_lost_changes;
use crate::state::host::{Hook, Host};

/// Records a run with what it changes in memory. Where that memory was changed meanwhile the run is
/// repeated, and in the end only what it counted is kept. Returns the run that was recorded, and
/// whether the log took it.
pub fn record(
    host: &Host,
    hook: &Hook,
    first: BindingResult,
    again: impl Fn() -> BindingResult,
    entry: impl Fn(&BindingResult) -> Entry,
) -> (BindingResult, bool) {
    let mut result = first;
    for evaluation in 1..=MAX_EVALUATIONS {
        let changes = changes(hook, &result, evaluation < MAX_EVALUATIONS);
        match host.recorder.commit(entry(&result), &changes) {
            Err(CommitError::Conflict(_)) if evaluation < MAX_EVALUATIONS => result = again(),
            appended => return (result, appended.is_ok()),
        }
    }
    (result, false)
}

/// Records what a run changed in memory, where no other record of it is made.
pub fn record_changes(
    host: &Host,
    hook: &Hook,
    of: Option<u64>,
    result: BindingResult,
    again: impl Fn() -> BindingResult,
) {
    if result.memory.is_none() || changes(hook, &result, true).is_empty() {
        return;
    }
    let entry = |result: &BindingResult| {
        let fields = build_members(|fields| {
            fields.number_or_null("decision", of).text("hook", &hook.name);
            fields.array("bindings", |list| {
                list.object(|leaf| result.write_leaf(leaf));
            });
        });
        Entry { kind: "hook.remembered", fields, sealed: None }
    };
    record(host, hook, result, again, entry);
}

fn changes(hook: &Hook, result: &BindingResult, is_decided: bool) -> Changes {
    result.memory_changes(is_decided).unwrap_or_else(|error| {
        log_lost_changes(&hook.config.name, &error);
        Changes::default()
    })
}

/// Most evaluations of one question by one binding that does not decide.
const MAX_EVALUATIONS: u32 = 3;

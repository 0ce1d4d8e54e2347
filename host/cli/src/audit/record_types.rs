//! The types of records that this version writes.
//!
//! Invariant: as many as the operating page lists; a test compares them. A log may hold others, of
//! another version.

use std::collections::BTreeSet;

use portcullis_tlog::query::Filter;

use crate::exit::CliError;
use crate::near;

/// Whether this version writes a type that the filter lets through.
pub fn is_known(filter: &Filter) -> bool {
    RECORD_TYPES.iter().any(|name| filter.lets_type(name))
}

/// No record has a type like this.
pub fn unknown(given: &str) -> CliError {
    let families: BTreeSet<&str> =
        RECORD_TYPES.iter().filter_map(|name| name.split_inclusive('.').next()).collect();
    let begins = if given.ends_with('.') { "begins with" } else { "is named" };
    let all: Vec<_> = families.iter().map(|family| format!("`{family}`")).collect();
    let all = format!(
        "docs/operating.md lists all types under \"Records\"; they begin with {}, and one of these \
         with its dot selects all types that begin so",
        all.join(", ")
    );
    CliError::usage(format!("no record type {begins} `{given}`, and the log has no such record"))
        .hint(Some(near::hint(given, RECORD_TYPES.into_iter().chain(families), &all)))
}

/// All of them.
const RECORD_TYPES: [&str; 53] = [
    "answer.sent",
    "answer.gap",
    "answer.superseded",
    "break-glass.closed",
    "break-glass.opened",
    "break-glass.recovered",
    "break-glass.refused",
    "config.active",
    "config.refused",
    "hook.decision",
    "hook.diverged",
    "hook.drift",
    "hook.duplicate",
    "hook.observed",
    "hook.rejected",
    "hook.remembered",
    "host.start",
    "host.stop",
    "log.link",
    "log.retired",
    "plugin.probe-failed",
    "plugin.quarantined",
    "plugin.recovered",
    "plugin.refused",
    "plugin.stopped",
    "release.active",
    "release.altered",
    "release.candidate-stopped",
    "release.expired",
    "release.grace-expired",
    "release.pull-refused",
    "release.pulled",
    "release.refused",
    "release.withdrawn",
    "resume.done",
    "resume.failed",
    "table.held",
    "table.loaded",
    "table.refused",
    "trust.imported",
    "trust.clock-agrees",
    "trust.clock-behind",
    "trust.clock-confirmation",
    "trust.clock-confirmed",
    "trust.clock-skew",
    "trust.clock-unconfirmed",
    "trust.min-serials",
    "trust.refused",
    "trust.revoked",
    "trust.root",
    "trust.state-corrupt",
    "trust.time-reset",
    "trust.state-copy-unreadable",
];

//! The steps of an activation: read, verify, self-test, prepare, record, swap.
//!
//! Two steps come before these and wait for none of them: `runtime::maintenance` polls the folders,
//! and stops what is revoked (`Host::apply_trust_changes`). Verifying, the self-test and preparing
//! are [`ReleaseFiles::prepare`](crate::loading::ReleaseFiles::prepare), which `prepare` runs on a
//! thread of its own.
//!
//! Invariant: a release is active as a whole or not at all. Its record is durable before anything
//! changes, and the swap is one exchange of a pointer; calls in flight finish on the release that
//! they began with. A release that is refused or superseded changes nothing.

use std::sync::Arc;
use std::time::Duration;

use portcullis_audit::Entry;
use portcullis_model::{Digest, Millis};
use portcullis_trust::{Activation, Active, TrustHistory};

use crate::bindings::generation::Generation;
use crate::clock::monotonic_now;
use crate::config::{Config, ReleasePaths};
use crate::loading::{
    Completeness, ReleaseError, ReleaseFiles, activation_record, current_set_digest, refusal_record,
};
use crate::release::last_good::{
    keep_from_folders, keep_release, note_unenforced, prepare_last_good, prune_copies, recheck,
};
use crate::release::prepare::{observe_documents, prepare, read_release};
use crate::state::active::ActiveConfig;
use crate::state::host::{Host, NotActivated};
use crate::tables::{PollFor, Tables};

/// The outcome of an activation from the folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activated {
    /// The folders hold the release that is active.
    Unchanged,
    /// The release is active.
    Active,
    /// Its record is not durable, so it is not active. Nothing is wrong with it.
    NotRecorded,
}

/// Activates the release that the folders hold, unless it is active already. `wanted` is polled:
/// it returns whether the set of this digest, from these folders, is still wanted; without a
/// digest while it is being read. `is_start` says that nothing decides yet.
///
/// # Errors
/// The reason that the release is refused; [`ReleaseError::Superseded`] where something newer came.
pub fn activate_from_folders(
    host: &Host,
    is_start: bool,
    mut wanted: impl FnMut(&ReleasePaths, Option<Digest>) -> bool,
) -> Result<Activated, ReleaseError> {
    let active_config = host.active_config.load_full();
    let (paths, hooks) = (&active_config.config.release, &active_config.config.hooks);

    // Read the set and the files that it lists.
    let mut found = read_release(host, paths, || wanted(paths, None))?;
    found.report_to(&host.health.progress);
    observe_documents(host, &found);
    log_rejected_signatures(host, &found);
    host.release.status.set_found(&found, &host.trust_state().view(), host.trusted_now());
    let set = found.set_digest();
    // A part that had to be left out of the last good release may be there again.
    let is_whole = |active: &&Arc<Generation>| active.set == set && active.is_whole();
    if let Some(current) = active_config.generation.as_ref().filter(is_whole) {
        recheck(host, &found, current);
        return Ok(Activated::Unchanged);
    }
    // The folders hold another set, so the warning about altered files no longer applies.
    host.health.conditions.set_altered_release(None);

    // Verify, self-test and prepare.
    let generation =
        prepare(host, &found, hooks, Completeness::Everything, || wanted(paths, Some(set)))?;
    keep_release(host, &found, &generation.release);
    if is_start {
        // The folders are read once more and the copy is renewed: they may have changed while
        // plugins were compiled, and the next start may have nothing but the copy.
        keep_from_folders(host, &generation);
    }

    // Record and swap.
    match activate(host, generation) {
        Ok(()) => Ok(Activated::Active),
        Err(NotActivated::Superseded) => Err(ReleaseError::Superseded),
        Err(NotActivated::Record(_)) => Ok(Activated::NotRecorded),
    }
}

/// Activates the release that the folders hold at the start, or what has superseded it meanwhile;
/// where it is refused, the last good release. Ends without one where it is `wanted` no more.
pub fn activate_at_start(host: &Host, wanted: impl Fn() -> bool) {
    while wanted() {
        // Maintenance tells the problems of files that arrived meanwhile.
        drop(host.apply_trust_changes(host.release.watched.folders));
        host.health.progress.step("reading the release's folders");
        let activated = activate_from_folders(host, true, |paths, set| {
            // Corrections of early calls need not wait for the release.
            host.flush_corrections();
            wanted() && (set.is_none() || current_set_digest(paths) == set)
        });
        let is_superseded = match activated {
            Ok(_) => false,
            Err(ReleaseError::Superseded) => true,
            Err(error) => {
                tracing::warn!(
                    event = "release.refused",
                    code = error.code(),
                    %error,
                    hint = error.hint(),
                    "the release was refused"
                );
                host.recorder.append(refusal_record(&error));
                fall_back(host, &error, || true)
            }
        };
        if !is_superseded {
            return;
        }
    }
}

/// Activates the last good release where nothing decides, after the one in the folders was
/// refused. Returns whether that was superseded, so that the caller begins again.
pub fn fall_back(host: &Host, refused: &ReleaseError, wanted: impl FnMut() -> bool) -> bool {
    host.health.conditions.set_refused_release(Some(refused.code()));
    host.release.status.set_rejected(refused);
    match prepare_last_good(host, wanted) {
        Ok(Some(generation)) => {
            matches!(activate(host, generation), Err(NotActivated::Superseded))
        }
        Ok(None) => {
            tracing::error!(
                code = refused.code(),
                error = %refused,
                hint = refused.hint(),
                event = "release.none",
                "no release is active: every call gets its safe answer"
            );
            false
        }
        Err(_) => true,
    }
}

/// Activates a generation for the hooks of the active configuration: recorded, durable, then
/// swapped in one exchange. Calls in flight finish on theirs. Without the record, or where what it
/// was held against does not hold any more, it does not become active. Blocks on the log.
pub fn activate(host: &Host, generation: Generation) -> Result<(), NotActivated> {
    let (number, active_config) = (generation.number, host.active_config.load_full());
    let put = |generation| active_config.with_generation(Some(generation));
    let done = record_and_swap(host, generation, None, &active_config.config, put);
    if let Err(NotActivated::Record(why)) = &done {
        tracing::error!(
            generation = number,
            why,
            event = "release.not-recorded",
            "the release was not activated, because its record is not durable; check the log's disk"
        );
    }
    done
}

/// Reads the tables, then records an activation and exchanges the pointer, both under the trust
/// lock, so that no document is accepted in between. `before` is a record that must be durable
/// first: that of the configuration whose hooks the generation was made for. `put` makes the active
/// configuration with the generation in it.
///
/// # Errors
/// [`NotActivated`]: nothing has changed but what is on record.
pub fn record_and_swap(
    host: &Host,
    mut generation: Generation,
    before: Option<Entry>,
    config: &Config,
    put: impl FnOnce(Arc<Generation>) -> ActiveConfig,
) -> Result<(), NotActivated> {
    let (number, set) = (generation.number, generation.set);
    load_tables(host, &mut generation, config);
    let mut trust_state = host.trust_state();
    if !generation.trust_snapshot.is_current(&trust_state.view()) {
        return Err(NotActivated::Superseded);
    }
    if let Some(entry) = before {
        host.recorder.append_durable(entry)?;
    }
    let active = active_after(host, &generation, trust_state.history());
    let of_set = TrustHistory::of(&generation.release, active);
    // Serials only grow, and the activation's record says that they did: theirs comes first.
    trust_state.record_min_serials(&host.recorder.log, generation.set, &of_set);
    let piece =
        TrustHistory { highest: of_set.highest, active: of_set.active, ..TrustHistory::default() };
    let entry = activation_record(&generation, &piece);
    host.recorder.append_durable(entry)?;
    trust_state.remember(&of_set);
    for warning in generation.warnings(&config.hooks) {
        tracing::warn!(generation = number, event = "release.warning", "{warning}");
    }
    // The counts of the previous generation's bindings are transferred to the same bindings of this
    // one.
    if let Some(previous) = &host.active_config.load().generation {
        host.record_ends(&mut trust_state, previous);
        let ended = previous.transfer_metrics(&generation, &host.counts.previous_metrics.load());
        host.counts.previous_metrics.store(Arc::new(ended));
    } else {
        // The previous generation was withdrawn.
        host.counts.previous_metrics.load().iter().for_each(|before| {
            generation.continue_metrics(before);
        });
    }
    // The last good release becomes active although the one in the folders was refused.
    if !generation.is_last_good() {
        host.health.conditions.set_refused_release(None);
    }
    host.health.conditions.set_altered_release(None);
    host.active_config.store(Arc::new(put(Arc::new(generation))));
    // A trust root that waits until the clock is confirmed revokes keys at once.
    host.stop_revoked(&trust_state);
    host.release.status.set_active(set, trust_state.history().highest);
    host.release.status.set_previous(trust_state.history().before_active());
    drop(trust_state);
    prune_copies(host, set);
    keep_table_copies(host);
    note_unenforced(host);
    tracing::info!(generation = number, event = "release.active", "the release is active");
    Ok(())
}

/// Reads the tables of a release before its first call. Where their folder does not answer in time
/// the release is activated all the same: calls that need a table are denied by its rule until it
/// is read.
fn load_tables(host: &Host, generation: &mut Generation, config: &Config) {
    let active_config = host.active_config.load();
    let before = active_config.generation.as_ref();
    let tables = Tables::of(&generation.release, before.map(|it| &*it.tables));
    generation.tables = Arc::new(tables);
    if generation.tables.is_empty() {
        return;
    }
    // After the start, maintenance waits here, and revocations with it.
    let is_start = host.health.progress.is_starting();
    let limit = if is_start { START_LIMIT } else { RELOAD_LIMIT };
    let end = monotonic_now() + limit;
    let (tables, context) = (Arc::clone(&generation.tables), host.table_context(config));
    let poll = move || tables.poll(&context, PollFor::Activation);
    let poll = host.files.tables.start(limit, poll);
    let left = || end.saturating_duration_since(monotonic_now());
    if poll.and_then(|poll| poll.recv_timeout(left()).ok()).is_none() {
        tracing::warn!(
            event = "table.late",
            "the reference tables of the release could not be read within {} seconds; the host goes \
             on reading them",
            limit.as_secs()
        );
    }
}

/// Keeps copies of the tables of a release that is active.
fn keep_table_copies(host: &Host) {
    let active_config = host.active_config.load();
    let Some(generation) = &active_config.generation else { return };
    let (tables, folders) = (Arc::clone(&generation.tables), active_config.config.table_folders());
    let keep = move || tables.keep_copies(&folders);
    // What is not kept in time is kept later by the same thread, or by maintenance.
    let _ = host.files.tables.run(RELOAD_LIMIT, keep);
}

/// How long a start waits for the tables of its release: some ten million rows.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The same after the start.
const RELOAD_LIMIT: Duration = Duration::from_secs(4);

/// Returns the activation that is remembered of a generation. A set that starts again keeps the
/// moment at which it was let in; a later one never has an earlier moment, whatever the clock does.
fn active_after(host: &Host, generation: &Generation, history: &TrustHistory) -> Active {
    if let Activation::Restart(active) = generation.activation {
        return active;
    }
    let resets = history.resets();
    let before = history.active.filter(|active| active.resets == resets);
    let after = before.map_or(0, |active| active.since.0.saturating_add(1));
    // The moment of its verification, not of the swap: it may have expired while plugins were
    // compiled. And never later than trusted time, since the moment is remembered for good.
    let verified = generation.verified.min(host.trusted_now());
    let since = Millis(verified.0.max(after));
    let (version, set, root) = (generation.number, generation.set, generation.root);
    Active { version, set, root, since, resets }
}

/// Logs signatures that count for nothing under the trust root.
fn log_rejected_signatures(host: &Host, found: &ReleaseFiles) {
    for (file, refusal) in found.rejected_signatures(host.trust_state().root()) {
        tracing::warn!(
            event = "trust.signature-ignored",
            file = %file.display(),
            code = refusal.code(),
            error = %refusal,
            "a signature was ignored; enough others must be valid"
        );
    }
}

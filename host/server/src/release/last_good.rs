//! When a copy of the active release is made, when a start falls back to it, and what is said of
//! both.
//!
//! Invariant: a copy is made of files that were verified, before its release is recorded as active.
//! The host falls back to it only where nothing else decides, and it is checked against everything
//! that is remembered and revoked by then. A problem is a warning until it is over, one line in
//! the host's log for each change, and one record.

use crate::clock::monotonic_now;
use crate::release::prepare::{prepare, read_release};
use crate::trust::view::TrustView;
use std::sync::atomic::Ordering;

use portcullis_model::Digest;
use portcullis_trust::{ReleaseSet, TrustRoot};

use crate::bindings::generation::Generation;
use crate::fs::file_worker::{POLL_LIMIT, START_LIMIT};
use crate::loading::{
    Completeness, HookIdentity, LastGood, ReleaseError, ReleaseFiles, altered_record, close_bound,
    set_bytes, set_digest,
};
use crate::state::conditions::AlteredRelease;
use crate::state::host::Host;

/// The hooks on which nothing need enforce under the copy of this set, where this set lies in the
/// folder.
pub fn may_stay_open(
    copies: &LastGood,
    set: Digest,
    there: Option<&[u8]>,
    root: &TrustRoot,
) -> Vec<HookIdentity> {
    let mut open = copies.unenforced(set);
    if let Some(other) = there.filter(|other| set_digest(other) != Some(set)) {
        close_bound(&mut open, root, other);
    }
    open
}

/// Copies a release that is about to become active, or is active. What keeps it from being
/// copied keeps it from nothing else.
pub fn keep_release(host: &Host, found: &ReleaseFiles, release: &ReleaseSet) {
    let set = found.set_digest();
    // A copy of a release that is not active any more is useless, and may take the room of the new
    // one.
    if let Some(active) = host.trust_state().history().active {
        drop(host.release.last_good.prune(active.set));
    }
    let kept = host.release.last_good.keep(found, release);
    let why = kept.as_ref().err().map(ToString::to_string);
    if let Err(error) = kept
        && host.health.conditions.set_copy_failure(why)
    {
        tracing::warn!(
            event = "release.not-kept",
            %set,
            %error,
            "the host could not copy the release, so a start with a damaged release folder would \
             have none; check the disk of trust.state"
        );
    }
}

/// Copies a release from the folders if they still hold it, verified. A copy that is there
/// already is compared with it, and put right.
pub fn keep_from_folders(host: &Host, generation: &Generation) {
    let config = host.active_config.load().config.clone();
    // The active release must not wait for a file system that hangs.
    let until = monotonic_now() + START_LIMIT;
    let found = read_release(host, &config.release, || monotonic_now() < until).ok();
    let Some(found) = found.filter(|found| found.set_digest() == generation.set) else {
        return;
    };
    let (roots, history) = host.trust_state().copy_view();
    let trusted = TrustView { roots: &roots, history: &history };
    if let Ok(release) = found.recheck(&trusted, generation) {
        keep_release(host, &found, &release);
    }
}

/// Removes the copies of other releases where the host has a copy of the one with this set, which
/// is active.
pub fn prune_copies(host: &Host, set: Digest) {
    if host.release.last_good.holds(set) {
        host.health.conditions.set_copy_failure(None);
        if let Err(error) = host.release.last_good.prune(set) {
            tracing::debug!(
                event = "release.copies-left",
                %error,
                "copies of earlier releases could not be removed; the host tries again later"
            );
        }
    }
}

/// Makes the last good release ready where nothing decides: the set that was active last, from
/// the host's own copy. `wanted` is asked as [`prepare`] asks it. `None` where there is no
/// such copy, or it may not become active either.
///
/// # Errors
/// [`ReleaseError::Superseded`] alone: something newer is there.
pub fn prepare_last_good(
    host: &Host,
    wanted: impl FnMut() -> bool,
) -> Result<Option<Generation>, ReleaseError> {
    let Some(active) = host.trust_state().history().active else { return Ok(None) };
    let found = match host.release.last_good.read(active.set, &host.reading_basis()) {
        Ok(found) => found,
        Err(why) => {
            tracing::error!(
                event = "release.last-good-missing",
                version = active.version,
                why,
                "the host's own copy of the release that was active last cannot be used"
            );
            return Ok(None);
        }
    };
    let config = host.active_config.load().config.clone();
    match prepare(host, &found, &config.hooks, Completeness::Available, wanted) {
        Ok(mut generation) => {
            generation
                .stop_unenforced(&config.hooks, &places_that_may_stay_open(host, generation.set));
            tracing::warn!(
                event = "release.last-good",
                generation = generation.number,
                "the release folders hold no acceptable release: the host activates its own copy \
                 of the last active release; publish a release"
            );
            for left in &generation.left_out {
                let (hook, plugin, code) = (&left.hook, &left.plugin, left.code);
                tracing::error!(
                    event = "release.binding-left-out",
                    hook,
                    plugin,
                    code,
                    error = left.sentence,
                    "a binding of the last good release could not be prepared; the other bindings \
                     are active"
                );
            }
            Ok(Some(generation))
        }
        Err(ReleaseError::Superseded) => Err(ReleaseError::Superseded),
        Err(error) => {
            tracing::error!(
                event = "release.last-good-refused",
                code = error.code(), %error, hint = error.hint(),
                "the host's own copy of the release that was active last was refused too"
            );
            Ok(None)
        }
    }
}

/// The hooks on which nothing need enforce under the copy of this set: those on which nothing
/// enforced when it was active from the folders, and to which no other signed set that lies there
/// binds anything.
fn places_that_may_stay_open(host: &Host, set: Digest) -> Vec<HookIdentity> {
    let paths = host.active_config.load().config.release.clone();
    let there = host.files.release.run(POLL_LIMIT, move || set_bytes(&paths)).flatten();
    may_stay_open(&host.release.last_good, set, there.as_deref(), &host.trust.root.load())
}

/// Keeps with the copy of the active release on which hooks nothing enforces, for a start from
/// that copy. Under a release that came from the copy itself, what was kept stays.
pub fn note_unenforced(host: &Host) {
    let active_config = host.active_config.load_full();
    let Some(generation) = active_config.generation.as_ref().filter(|it| !it.is_last_good()) else {
        return;
    };
    let hooks = generation.unenforced_places(active_config.hooks.iter().map(|hook| &hook.config));
    if let Err(error) = host.release.last_good.note_unenforced(generation.set, hooks) {
        tracing::warn!(
            event = "release.unenforced-hooks-not-kept",
            set = %generation.set,
            %error,
            "the list of hooks without an enforcing binding could not be stored: after a start \
             from the host's own copy they give their safe answer; check the disk of trust.state"
        );
    }
}

/// Verifies what lies in the folders although its set is the active one. What is wrong with
/// it is said at once, because the next start would meet it.
pub fn recheck(host: &Host, found: &ReleaseFiles, generation: &Generation) {
    let (roots, history) = host.trust_state().copy_view();
    let trusted = TrustView { roots: &roots, history: &history };
    match found.recheck(&trusted, generation) {
        Ok(release) => {
            // Before it is said: whoever reads that line finds the host as it is.
            host.health.conditions.set_refused_release(None);
            let was_last_good = generation.last_good.swap(false, Ordering::AcqRel);
            if host.health.conditions.set_altered_release(None) || was_last_good {
                tracing::info!(
                    event = "release.whole-again",
                    generation = generation.number,
                    "the release folders hold the active release again"
                );
            }
            host.release.status.set_active(generation.set, 0);
            if !host.release.last_good.holds(generation.set) {
                keep_release(host, found, &release);
                prune_copies(host, generation.set);
            }
            note_unenforced(host);
        }
        Err(error) => {
            let altered = AlteredRelease { code: error.code(), sentence: error.to_string() };
            host.release.status.set_altered(&error);
            if host.health.conditions.set_altered_release(Some(altered)) {
                tracing::warn!(
                    event = "release.altered",
                    generation = generation.number,
                    code = error.code(),
                    %error,
                    hint = error.hint(),
                    "the release folders no longer hold the active release, which stays active; \
                     publish it again"
                );
                host.recorder.append(altered_record(generation.number, &error));
            }
        }
    }
}

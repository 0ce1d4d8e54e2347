//! Prepares a release on a thread of its own, while its caller goes on with work that cannot wait.
//!
//! Invariant: plugins are made on a thread of their own under no lock, so that a
//! revocation or a newer trust root takes effect at once. A preparation that was checked against an
//! older root or history is dropped without a record, since it was never active; the caller begins
//! again. A preparation that is no longer wanted is cancelled, its process with it.

use crate::trust::view::{TrustSnapshot, TrustView};
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use portcullis_engine::CancelToken;

use crate::bindings::generation::Generation;
use crate::config::{Config, HookConfig, ReleasePaths};
use crate::loading::{Completeness, ReleaseError, ReleaseFiles};
use crate::state::host::Host;

/// Reads release folders on a thread that may hang with them. Asks time and again whether that
/// is `wanted`.
///
/// # Errors
/// As [`ReleaseFiles::read`]; [`ReleaseError::Stalled`] where an earlier reading has not returned.
pub fn read_release(
    host: &Host,
    paths: &ReleasePaths,
    wanted: impl FnMut() -> bool,
) -> Result<ReleaseFiles, ReleaseError> {
    let (its_paths, reading) = (paths.clone(), host.reading_basis());
    let read = move || ReleaseFiles::read(&its_paths, &reading);
    let found = host.files.reading.run_while(read, CHECK_EVERY, wanted);
    found.unwrap_or_else(|| match host.files.reading.stalled_for() {
        Some(limit) => Err(ReleaseError::Stalled { path: paths.set.clone(), limit }),
        None => Err(ReleaseError::Superseded),
    })
}

/// Whether a release in these folders would become active, for the hooks of this configuration.
pub fn try_release(
    host: &Host,
    paths: &ReleasePaths,
    config: &Config,
    wanted: impl FnMut() -> bool,
) -> Result<(), ReleaseError> {
    let found = ReleaseFiles::read(paths, &host.reading_basis())?;
    prepare(host, &found, &config.hooks, Completeness::Everything, wanted).map(drop)
}

/// Prepares the release that was found, for these hooks. Polls `wanted` until the release is
/// prepared or cancelled: the caller does its urgent work there.
///
/// # Errors
/// The problem with it; [`ReleaseError::Superseded`] where it is not wanted any more, or trust has
/// changed.
pub fn prepare(
    host: &Host,
    found: &ReleaseFiles,
    hooks: &[HookConfig],
    demand: Completeness,
    mut wanted: impl FnMut() -> bool,
) -> Result<Generation, ReleaseError> {
    observe_documents(host, found);
    may_activate(host, found)?;
    let (roots, history) = host.trust_state().copy_view();
    let trusted = TrustView { roots: &roots, history: &history };
    let (trust_snapshot, given_up) = (TrustSnapshot::new(&trusted), CancelToken::default());
    let now = host.trust_state().time_for_activation();
    let engine = host.engine().with_cancel(&given_up);
    let result = thread::scope(|scope| {
        let (running, ended) = channel::<()>();
        let make = || {
            let _running = running;
            found.prepare(&trusted, hooks, &engine, now, demand)
        };
        let making = thread::Builder::new().name("making".to_owned()).spawn_scoped(scope, make);
        let making =
            making.map_err(|error| ReleaseError::ThreadSpawn { why: error.to_string() })?;
        while ended.recv_timeout(CHECK_EVERY) == Err(RecvTimeoutError::Timeout) {
            // Asked also when it is being ended: what cannot wait does not wait for that either.
            if !wanted() || !trust_snapshot.is_current(&host.trust_state().view()) {
                given_up.cancel();
            }
        }
        making.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    if given_up.is_cancelled() || !trust_snapshot.is_current(&host.trust_state().view()) {
        return Err(ReleaseError::Superseded);
    }
    // It took its time.
    may_activate(host, found)?;
    result
}

/// Whether any release may become active on this machine now.
fn may_activate(host: &Host, found: &ReleaseFiles) -> Result<(), ReleaseError> {
    if !host.reset_still_holds() {
        return Err(ReleaseError::Swap);
    }
    Ok(host.trust_state().check_replacement(found.set_digest())?)
}

/// A set that was signed within the last day agrees with a clock of that time.
pub fn observe_documents(host: &Host, found: &ReleaseFiles) {
    if let Some(issued) = found.issued(&host.trust.root.load()) {
        host.trust.time.observe_document(issued);
    }
}

/// How often it is asked whether what is being made is wanted.
const CHECK_EVERY: Duration = Duration::from_millis(500);

//! The thread that follows a release in a registry.
//!
//! Invariant: what it brings lies in the folders whole or not at all, and only after the host itself has made it ready once: a set that would
//! not become active never takes the place of the one that the next start needs. It activates
//! nothing; that is housekeeping's. What a set revokes holds even where the set is not taken.

use crate::release::prepare;
use crate::trust::view::TrustView;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_audit::Entry;
use portcullis_model::json::build_members;
use portcullis_model::{Digest, Millis};
use portcullis_trust::{ReleaseSet, TrustRoot, verify_issued, verify_release};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::{Config, ReleasePaths};
use crate::error::StartError;
use crate::fs::change::Folders;
use crate::loading::{self, ReleaseError};
use crate::registry::PullError;
use crate::registry::pull::{self, InstallPaths, LocalBlobs, RemoteRelease};
use crate::registry::{Outcome, RegistrySource};
use crate::state::host::Host;
use crate::worker::Worker;

/// The thread, where a registry is followed.
pub struct RegistryWatch {
    worker: Worker,
    poll: Arc<Notify>,
}

/// The results that need not be logged or tried again.
#[derive(Default)]
struct PollState {
    /// A release that would not become active, under that configuration and trust root, and why.
    unready: Option<(Digest, Digest, u64, &'static str)>,
    /// The refusal that was recorded last.
    recorded: Option<(Option<Digest>, String)>,
    /// Looks in a row that brought nothing good.
    failures: u32,
    /// The artifact of the tag, if this poll found it.
    artifact: Option<Digest>,
}

impl RegistryWatch {
    /// Starts it, where the configuration names a registry.
    pub fn start(
        host: &Arc<Host>,
        reload: impl Fn() + Send + 'static,
    ) -> Result<Option<Self>, StartError> {
        if host.release.registry.is_none() {
            return Ok(None);
        }
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let (host, poll) = (Arc::clone(host), Arc::new(Notify::new()));
        let look = Arc::clone(&poll);
        let worker = Worker::spawn("registry", move |mut stop| {
            runtime.block_on(async {
                tokio::select! {
                    () = follow(&host, &reload, &look) => {}
                    () = stop.stopped() => {}
                }
            });
            // A release that is being prepared is ended with its process.
            runtime.shutdown_timeout(STOP_LIMIT);
        });
        Ok(Some(Self { worker: worker?, poll }))
    }

    /// Looks now.
    pub fn poll_now(&self) {
        self.poll.notify_one();
    }

    /// Ends it: a request in progress is given up, and a release that is being prepared. A folder
    /// that hangs is not waited for.
    pub fn stop(self) {
        if !self.worker.stop_within(STOP_LIMIT) {
            tracing::warn!(
                event = "registry.stop-stalled",
                "the host stops without waiting for the registry's thread, because a folder does \
                 not respond"
            );
        }
    }
}

async fn follow(host: &Arc<Host>, reload: &impl Fn(), look: &Notify) {
    let Some(source) = &host.release.registry else { return };
    let mut seen = PollState::default();
    loop {
        let result = poll(host, source, look, &mut seen).await;
        // Nothing is wrong with what it was busy with: something newer is there.
        if let Err(PullError::Release(ReleaseError::Superseded)) = result {
            continue;
        }
        let changed = source.record_outcome(&result, host.clock.now());
        match &result {
            Ok(outcome) => {
                seen.failures = 0;
                if *outcome == Outcome::Pulled {
                    reload();
                } else if changed {
                    tracing::info!(
                        release = %source.reference,
                        event = "registry.current",
                        "the registry offers the release that the release folders hold"
                    );
                }
            }
            Err(error) => {
                // Whoever pushes what is not taken soon pushes something better.
                let soon = error.is_refusal() || error.is_transient();
                let most = if soon { MAX_REJECTED_DOUBLINGS } else { MAX_DOUBLINGS };
                seen.failures = seen.failures.saturating_add(1).min(most);
                log_failure(host, source, &mut seen, error, changed);
            }
        }
        tokio::select! {
            () = sleep(pause(source.config.poll_ms, seen.failures)) => {}
            () = look.notified() => {}
        }
    }
}

/// One look.
async fn poll(
    host: &Arc<Host>,
    source: &RegistrySource,
    look: &Notify,
    seen: &mut PollState,
) -> Result<Outcome, PullError> {
    seen.artifact = None;
    let config = Arc::clone(&host.active_config.load().config);
    let (offer, root) = apply_remote_revocations(host, source, &config, &mut seen.artifact).await?;
    let (paths, digest) = (&config.release, offer.set_digest());
    let here = loading::current_set_digest(paths) == Some(digest);
    // What lies there and was refused is pulled again: perhaps it was damaged here.
    let active = host.active_config.load().generation.clone();
    let damaged = host.health.conditions.refused_release().is_some()
        || host.health.conditions.altered_release().is_some()
        || active.as_ref().is_none_or(|it| it.is_last_good());
    if here && !damaged {
        return Ok(Outcome::Current);
    }
    let now = host.trust_state().time_for_activation();
    let refused = |refusal| PullError::Refused { plugin: None, refusal };
    let again = host.trust_state().history().active.filter(|active| active.set == digest);
    let (root, at) = match again {
        Some(active) => {
            (Arc::clone(host.trust_state().view().roots.version(active.root)), active.since)
        }
        None => (root, now),
    };
    host.trust_state()
        .check_replacement(digest)
        .map_err(|error| PullError::Release(error.into()))?;
    let set = verify_release(&root, &offer.set, at).map_err(refused)?;
    loading::admit(&host.trust_state().view(), &set, digest, offer.downgrade.as_deref(), now)
        .map_err(refused)?;
    // Another trust root may take what this one does not.
    let under = host.trust.root.load().version;
    if let Some((artifact, configuration, root, code)) = seen.unready
        && (artifact, configuration, root) == (offer.artifact, config.digest, under)
    {
        return Err(PullError::NotReady { code });
    }
    let folder =
        source.config.staging.clone().unwrap_or_else(|| paths.set.with_file_name("incoming"));
    let done = take(host, source, look, &offer, (&root, &set, at), &config, &folder).await;
    // What is left there is of no use, or only a copy.
    drop(std::fs::remove_dir_all(&folder));
    if let Err(PullError::Release(error)) = &done
        && !error.is_transient()
    {
        seen.unready = Some((offer.artifact, config.digest, under, error.code()));
    }
    done?;
    tracing::info!(release = %source.reference, version = set.version, artifact = %offer.artifact, event = "registry.pulled", "the host pulled a release from the registry into the release folders");
    let fields = build_members(|fields| {
        fields.number("version", set.version).display("set", digest);
        fields.display("artifact", offer.artifact);
    });
    host.recorder.append(Entry {
        kind: "release.pulled",
        fields,
        sealed: Some(source.reference.to_string().into_bytes()),
    });
    Ok(Outcome::Pulled)
}

/// Brings a release into the staging folder, makes it ready there, and puts it in its place.
async fn take(
    host: &Arc<Host>,
    source: &RegistrySource,
    look: &Notify,
    offer: &RemoteRelease,
    verified: (&TrustRoot, &ReleaseSet, Millis),
    config: &Arc<Config>,
    folder: &Path,
) -> Result<(), PullError> {
    let [set, plugins, settings, downgrade] = pull::staging(folder)?;
    let staged = ReleasePaths { set, plugins, settings, downgrade, ..config.release.clone() };
    let (from, to) = (install_paths(&staged), install_paths(&config.release));
    let (repository, shelf) =
        (&source.reference.repository, LocalBlobs::of(&to, &host.release.digests));
    pull::download(&source.client, repository, offer, verified, &shelf, &from).await?;
    let before = loading::current_set_digest(&config.release);
    try_release(host, source, look, offer.artifact, &staged, config).await?;
    // Making it ready took its time: what was published here meanwhile is not overwritten.
    let _lock = pull::lock(&config.release.set)?;
    may_install(host, &config.release, offer, before)?;
    pull::install(&from, &to)
}

/// Refuses to put a release into the folders that may not become active any more, or in place of
/// another one that came there while it was prepared.
fn may_install(
    host: &Host,
    paths: &ReleasePaths,
    offer: &RemoteRelease,
    before: Option<Digest>,
) -> Result<(), PullError> {
    let refused = |refusal| PullError::Refused { plugin: None, refusal };
    let (digest, offered) =
        (offer.set_digest(), ReleaseSet::unverified(&offer.set).map_err(refused)?);
    let (roots, history) = host.trust_state().copy_view();
    let trusted = TrustView { roots: &roots, history: &history };
    loading::admit(&trusted, &offered, digest, offer.downgrade.as_deref(), host.trusted_now())
        .map_err(refused)?;
    let there = loading::current_set_digest(paths);
    if there == before || there == Some(digest) {
        return Ok(());
    }
    match loading::verified_current_set(paths, roots.newest(), host.trusted_now()) {
        Some(set) if set.version >= offered.version => {
            let (version, offered) = (set.version, offered.version);
            let why =
                format!("they now hold release set {version}, and the registry offers {offered}");
            Err(PullError::Superseded { why })
        }
        // Nobody has signed what came, or it is older.
        _ => Ok(()),
    }
}

/// Has it prepared, and goes on asking the registry meanwhile: what that offers by then may revoke,
/// and takes the place of what is being made.
async fn try_release(
    host: &Arc<Host>,
    source: &RegistrySource,
    look: &Notify,
    artifact: Digest,
    staged: &ReleasePaths,
    config: &Arc<Config>,
) -> Result<(), ReleaseError> {
    // Wanted for as long as it is there: until something newer is offered, or nobody waits here any more.
    let mut wanted = Some(Arc::new(()));
    let still = wanted.as_ref().map(Arc::downgrade).unwrap_or_default();
    let (its_host, its_config, staged) = (Arc::clone(host), Arc::clone(config), staged.clone());
    let mut making = spawn_blocking(move || {
        prepare::try_release(&its_host, &staged, &its_config, || still.strong_count() > 0)
    });
    loop {
        tokio::select! {
            made = &mut making => return made.unwrap_or_else(|error| resume_unwind(error.into_panic())),
            () = sleep(pause(source.config.poll_ms, 0)) => {}
            () = look.notified() => {}
        }
        match apply_remote_revocations(host, source, config, &mut None).await {
            Ok((offer, _)) if offer.artifact != artifact => drop(wanted.take()),
            Ok(_) => {}
            // Said by the next look, if it lasts.
            Err(error) => {
                tracing::debug!(
                    event = "registry.poll-failed",
                    code = error.code(),
                    %error,
                    "the registry could not be polled while a release was being prepared"
                )
            }
        }
    }
}

/// Asks the registry what it offers, and takes up what is in that of trust, before anything else and whatever becomes of the rest. Gives the
/// active trust root then.
async fn apply_remote_revocations(
    host: &Host,
    source: &RegistrySource,
    config: &Config,
    artifact: &mut Option<Digest>,
) -> Result<(RemoteRelease, Arc<TrustRoot>), PullError> {
    let offer = RemoteRelease::fetch(&source.client, &source.reference).await?;
    source.set_artifact(offer.artifact);
    *artifact = Some(offer.artifact);
    let root = roots(host, config, &offer)?;
    host.apply_set_revocations(&offer.set);
    if let Ok(issued) = verify_issued(&host.trust.root.load(), &offer.set) {
        host.trust.time.observe_document(issued);
    }
    Ok((offer, root))
}

/// Puts trust roots that follow the active one where the host looks for them, and has it look.
/// Gives the active one then.
fn roots(host: &Host, config: &Config, offer: &RemoteRelease) -> Result<Arc<TrustRoot>, PullError> {
    let mut newest = Arc::clone(host.trust_state().root());
    let before = newest.version;
    for (version, envelope) in offer.roots.range(before.saturating_add(1)..) {
        let next = newest
            .next(envelope)
            .map_err(|refusal| PullError::Refused { plugin: None, refusal })?;
        let folder = &config.trust.roots;
        std::fs::create_dir_all(folder).map_err(|error| pull::disk(folder, &error))?;
        pull::write(&folder.join(pull::root_name(*version, envelope)), envelope)?;
        newest = Arc::new(next);
    }
    if newest.version > before {
        // What is wrong with other files there, housekeeping says.
        drop(host.apply_trust_changes(Folders::default()));
    }
    Ok(Arc::clone(host.trust_state().root()))
}

/// Logs a problem once, and records a refused artifact.
fn log_failure(
    host: &Host,
    source: &RegistrySource,
    seen: &mut PollState,
    error: &PullError,
    changed: bool,
) {
    let (code, hint) = (error.code(), error.hint());
    if changed {
        tracing::warn!(
            code,
            %error,
            hint,
            release = %source.reference,
            event = "registry.not-pulled",
            "no release was pulled from the registry; the release folders are unchanged"
        );
    } else {
        tracing::debug!(
            code,
            %error,
            release = %source.reference,
            event = "registry.still-not-pulled",
            "no release was pulled from the registry"
        );
    }
    let artifact = seen.artifact;
    let said = (artifact, code.to_owned());
    if !error.is_refusal() || seen.recorded.as_ref() == Some(&said) {
        return;
    }
    let fields = build_members(|fields| {
        fields.text("code", code).display_or_null("artifact", artifact);
    });
    if host.recorder.append(Entry {
        kind: "release.pull-refused",
        fields,
        sealed: Some(error.to_string().into_bytes()),
    }) {
        seen.recorded = Some(said);
    }
}

/// How long until the next look: longer after each that brought nothing good, and never the same for two hosts.
fn pause(poll_ms: u64, failures: u32) -> Duration {
    let longest = MAX_PAUSE_MS.max(poll_ms);
    let wait = poll_ms
        .saturating_mul(1_u64.checked_shl(failures.min(MAX_DOUBLINGS)).unwrap_or(1))
        .min(longest);
    let mut random = [0; 2];
    // Without randomness it is the middle.
    let part = match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => u64::from(u16::from_le_bytes(random)),
        Err(_) => 1 << 15,
    };
    // From nine tenths to eleven tenths.
    Duration::from_millis(wait * 9 / 10 + wait / 5 * part / 65_536)
}

fn install_paths(paths: &ReleasePaths) -> InstallPaths<'_> {
    InstallPaths {
        set: &paths.set,
        plugins: &paths.plugins,
        settings: &paths.settings,
        downgrade: &paths.downgrade,
    }
}

/// How long a stop waits for what the thread is busy with.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The longest pause while nothing good comes, milliseconds: a quarter of an hour, or the interval itself.
const MAX_PAUSE_MS: u64 = 900_000;

/// How often the pause doubles while the registry gives nothing.
const MAX_DOUBLINGS: u32 = 16;
/// How often while it has something that is not taken.
const MAX_REJECTED_DOUBLINGS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::pause;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for (failures, middle) in
            [(0, 60_000), (1, 120_000), (3, 480_000), (4, 900_000), (u32::MAX, 900_000)]
        {
            let pause = u64::try_from(pause(60_000, failures).as_millis()).unwrap();
            assert!((middle * 9 / 10..=middle * 11 / 10).contains(&pause), "{failures}: {pause}");
        }
        assert!(pause(3_600_000, 9).as_millis() <= 3_960_000);
    }
}

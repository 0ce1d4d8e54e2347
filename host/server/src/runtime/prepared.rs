//! Everything that `check` examines: configuration, keys, trust, and a release prepared, without
//! serving.
//!
//! Invariant: nothing is written, no log is opened and no port is bound. How a host that serves
//! comes up is [`Startup`](crate::runtime::startup::Startup)'s matter.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_engine::Engine;
use portcullis_files::read_bounded;
use portcullis_keys::SymmetricKey;
use portcullis_trust::{Envelope, Refusal, TrustHistory, TrustRoot, verify_pinned_root};

use crate::bindings::generation::Generation;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::StartError;
use crate::fs::file_worker::{FileWorkers, START_LIMIT};
use crate::loading::expiry::{Expiration, Urgency, expirations};
use crate::loading::{
    Completeness, DigestCache, LastGood, MAX_CHECKED_BYTES, ReadContext, RejectedComponents,
    ReleaseError, ReleaseFiles, set_bytes,
};
use crate::release::last_good::may_stay_open;
use crate::runtime::writable;
use crate::start_problems::{SEALING_KEY, StartProblems, key_file};
use crate::state::host::{Configured, log_place};
use crate::tables;
use crate::trust::ClockState;
use crate::trust::state::TrustState;

/// The parts that a host of this configuration would serve with.
pub struct StartupCheck {
    configured: Configured,
    trust_state: TrustState,
    engine: Engine,
    /// The release, or everything that is wrong with it: never nothing.
    pub release: Result<Generation, Vec<ReleaseError>>,
    /// The folders that a start could not write, or not use.
    pub folders: Result<(), StartError>,
    /// Why a start would open no log, and so decide nothing; else what an operator should know of
    /// the one that it would open.
    pub log: Result<Option<String>, StartError>,
}

/// The release that a start would go on with although the folders hold none that may become active.
pub struct FallbackRelease {
    /// The number of its set.
    pub version: u64,
    /// The release, or why it may not start either.
    pub outcome: Result<Generation, RefusedFallback>,
}

/// Why the last good release may not start.
pub struct RefusedFallback {
    /// The stable code.
    pub code: &'static str,
    /// The problem.
    pub sentence: String,
}

impl StartupCheck {
    /// Reads keys and secrets, makes the sandbox and readies the release.
    ///
    /// # Errors
    /// [`StartError`], where the configuration or this machine would not let the host start.
    pub fn new(config: Config, clock: Clock) -> Result<Self, StartError> {
        let configured = Configured::load(config, clock)?;
        let mut folders = StartProblems::default();
        folders.keep(writable::check(configured.config()));
        folders.keep(configured.resumes().map(drop));
        // Without these the release cannot be judged.
        let trust_state = folders.keep(configured.trust_state_for_check());
        let engine = folders.keep(configured.engine(false));
        let (Some((mut trust_state, unread)), Some(engine)) = (trust_state, engine) else {
            return Err(folders.error());
        };
        let now = trust_state.time_for_activation();
        let config = configured.config();
        let explain = |found: ReleaseFiles| {
            let check_replacement =
                trust_state.check_replacement(found.set_digest()).map_err(ReleaseError::from);
            let release = found.prepare_all(&trust_state.view(), &config.hooks, &engine, now);
            match (check_replacement, release) {
                (Ok(()), release) => release,
                (Err(error), Ok(_)) => Err(vec![error]),
                (Err(error), Err(problems)) => {
                    Err(std::iter::once(error).chain(problems).collect())
                }
            }
        };
        let found = read_release(config, &trust_state).map_err(|error| vec![error]);
        let release = found.and_then(explain);
        let log = unread.map_or_else(|| configured.predict_log(&mut trust_state), Err);
        Ok(Self { configured, trust_state, engine, release, folders: folders.result(), log })
    }

    /// Returns whether a start would begin the first log because none is there.
    pub fn begins_log(&self) -> bool {
        matches!(self.log, Ok(None)) && self.configured.begins_log()
    }

    /// Components in the plugins' folder that may not run.
    pub fn rejected_components(&self) -> RejectedComponents {
        RejectedComponents::scan(
            &self.config().release,
            self.trust_state.root(),
            self.trust_state.trusted_time().for_documents(),
            &DigestCache::default(),
            MAX_CHECKED_BYTES,
        )
    }

    /// The problem with this machine's clock, in a sentence; `None` where it is believed.
    pub fn clock_warning(&self) -> Option<String> {
        let state = self.trust_state.trusted_time().state();
        let what = match state {
            ClockState::Trusted => return None,
            ClockState::Unconfirmed => "ahead of the last record and of every signed document",
            ClockState::Behind => "behind the last record",
        };
        let code = state.name();
        Some(format!("this machine's clock is more than a day {what} [clock-{code}]"))
    }

    /// What a start would fall back to: the release that was active last, prepared from this host's
    /// own copy as a start does it. `None` where no release was active, or this host has no copy.
    pub fn last_good(&self) -> Option<FallbackRelease> {
        let active = self.trust_state.history().active?;
        let config = self.config();
        let trusted = self.trust_state.view();
        let copies = LastGood::new(&config.trust.state, self.trust_state.mac());
        if !copies.is_there(active.set) {
            return None;
        }
        let now = self.trust_state.time_for_activation();
        let refused = |code, sentence| Err(RefusedFallback { code, sentence });
        let outcome = match copies.read(active.set, &ReadContext::new(&trusted)) {
            Err(why) => refused("last-good-unusable", why),
            Ok(found) => {
                match found.prepare(
                    &trusted,
                    &config.hooks,
                    &self.engine,
                    now,
                    Completeness::Available,
                ) {
                    Ok(mut generation) => {
                        let paths = config.release.clone();
                        let read = move || set_bytes(&paths);
                        let there = FileWorkers::default().release.run(START_LIMIT, read).flatten();
                        let root = self.trust_state.root();
                        let open = may_stay_open(&copies, active.set, there.as_deref(), root);
                        generation.stop_unenforced(&config.hooks, &open);
                        Ok(generation)
                    }
                    Err(error) => refused(error.code(), error.to_string()),
                }
            }
        };
        Some(FallbackRelease { version: active.version, outcome })
    }

    /// Warnings about the settings of tables beside those that the release declares.
    pub fn table_warnings(&self) -> Vec<String> {
        let release = self.release.as_ref().ok();
        release.map_or_else(Vec::new, |it| tables::warnings(&it.release, &self.config().tables))
    }

    /// The things that have ended or end within seven days, in sentences.
    pub fn expiring(&self) -> Vec<String> {
        let certificate = self.configured.certificate_ends();
        let now = self.trust_state.trusted_time().for_documents();
        let expirations =
            expirations(self.trust_state.root(), self.release.as_ref().ok(), certificate);
        let near = expirations.iter().filter(|ending| ending.urgency(now) != Urgency::Far);
        let say = |ending: &Expiration| {
            let urgency = ending.urgency(now);
            format!("{} [{}]", ending.sentence(urgency), ending.code(urgency))
        };
        near.map(say).collect()
    }

    /// Signatures of the trust root, the release set and its manifests that count for nothing:
    /// file, and why.
    pub fn rejected_signatures(&self) -> Vec<(PathBuf, Refusal)> {
        let (root, file) = (self.trust_state.root(), &self.config().trust.root);
        let pinned = read_bounded(file, Envelope::MAX_BYTES as u64).unwrap_or_default();
        // The keys of the pinned root are its own: a later one may not know them any more.
        let pinned = verify_pinned_root(&pinned)
            .and_then(|root| root.rejected_signatures(&pinned))
            .unwrap_or_default();
        let mut rejected: Vec<_> =
            pinned.into_iter().map(|refusal| (file.clone(), refusal)).collect();
        if let Ok(found) = read_release(self.config(), &self.trust_state) {
            rejected.extend(found.rejected_signatures(root));
        }
        rejected
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.configured.config()
    }

    /// Warnings about the limits of this process and machine.
    pub fn limit_warnings(&self) -> Vec<String> {
        self.configured.limit_warnings()
    }

    /// Whether and why the engine resets instances the quick way.
    pub fn reset(&self) -> portcullis_engine::Reset {
        self.engine.reset()
    }
}

/// The active trust root for a host of this configuration, and what it remembers: for whoever
/// prepares a release. Writes nothing.
///
/// # Errors
/// [`StartError`], where the configuration's files are of no use.
pub fn trusted_by(config: &Config) -> Result<(Arc<TrustRoot>, TrustHistory), StartError> {
    let audit = &config.audit;
    let sealing = &audit.sealing_key;
    let sealing =
        SymmetricKey::read(sealing).map_err(|error| key_file(SEALING_KEY, sealing, &error))?;
    let place = log_place(&audit.directory, &audit.signing_key, &audit.origin, "audit.origin")?;
    let trust_state = TrustState::prepare(config, &sealing, &place, &Clock::system())?;
    Ok((Arc::clone(trust_state.root()), trust_state.history().clone()))
}

/// Reads the release folders at once, for `check`: a file system that does not answer must not keep
/// it.
fn read_release(config: &Config, trust_state: &TrustState) -> Result<ReleaseFiles, ReleaseError> {
    let (paths, reading) = (config.release.clone(), ReadContext::new(&trust_state.view()));
    let read = move || ReleaseFiles::read(&paths, &reading);
    FileWorkers::default().reading.run(START_LIMIT, read).unwrap_or_else(|| {
        Err(ReleaseError::Stalled { path: config.release.set.clone(), limit: START_LIMIT })
    })
}

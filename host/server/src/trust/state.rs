//! The keeper of what must not be forgotten: trust roots, the memory of what was active, revoked and spent, and its second copy.
//!
//! Invariant: a change is in the log before it is in the files, and in the files before anything is decided by it, but for a revocation
//! and a trust root, which hold at once; what the log did not take of them is recorded when it goes on, in this run or a later one. A log that is not the one that is remembered is never signed. Blocks on disks, so it never runs on a
//! thread that serves connections.

mod logs;
mod new_roots;
mod recording;

use crate::state_mac::StateMac;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_audit::Log;
use portcullis_audit::disk::OsDisk;
use portcullis_files::{HeldFolder, list_bounded};
use portcullis_keys::{PublicKey, SecretKey, SymmetricKey};
use portcullis_model::json::build_members;
use portcullis_model::{Digest, Millis};
use portcullis_tlog::Record;
use portcullis_trust::{TrustHistory, TrustRoot};

use crate::clock::{Clock, elapsed_since, monotonic_now};
use crate::config::Config;
use crate::error::StartError;
use crate::fs::file_worker::{FileWorkers, START_LIMIT};
use crate::logging::log_limit::LOG_LIMITS;
use crate::trust::TrustedTime;
use crate::trust::persisted::{LoadedState, LogContinuity, PersistedState, reader, write_durably};
use crate::trust::roots::{ArrivedRoots, Roots, kept_folder, mark};
use crate::trust::state_copy::{STATE_FILE, StateCopy};
use crate::trust::state_dir::{STATE_HINT, StateDirLock};
use crate::trust::view::{TrustView, issued};

pub use logs::{LogAction, describe, log_action, may_recover};
pub use new_roots::refused_entry;
use new_roots::refused_root;
pub use recording::{Learned, with_state_delta};

/// Keeps it all.
pub struct TrustState {
    roots: Roots,
    state: PersistedState,
    /// The content of the host's own file, all of which is in the log that it names.
    own_state: PersistedState,
    /// The part of the state that the open log holds.
    recorded: TrustHistory,
    /// The pieces that others give the log in this run, until it has them.
    recorded_elsewhere: TrustHistory,
    /// The memories that the log is held against at the start.
    copies: Vec<PersistedState>,
    /// The findings to record once a log is open.
    findings: Vec<StartupFinding>,
    mac: StateMac,
    file: PathBuf,
    state_copy: Option<StateCopy>,
    /// When the newest record of the first log was made, as far as its head goes.
    last_record: Millis,
    first_log: PathBuf,
    trusted_time: Arc<TrustedTime>,
    /// A trust root that follows the newest, and waits until the clock is confirmed. What it revokes
    /// holds already.
    pending_root: Option<Arc<TrustRoot>>,
    /// When the file was written last.
    saved: Option<Instant>,
    /// When the log was given last what it had not taken.
    retried: Option<Instant>,
    log: Option<(PathBuf, PublicKey)>,
    /// The folder that it writes, once it may.
    state_dir: Option<StateDirLock>,
}

/// A log that the host may write.
#[derive(Clone)]
pub struct LogLocation {
    /// Its directory.
    pub directory: PathBuf,
    /// Its key, named like its origin.
    pub signer: Arc<SecretKey>,
}

/// Something that was found at the start and belongs into the record.
struct StartupFinding {
    kind: &'static str,
    fields: String,
}

/// This machine's clock is not confirmed: no other release set becomes active until then.
#[derive(Clone, Copy, Debug)]
pub struct ClockUnconfirmed;

impl TrustState {
    /// Reads what is remembered, the log as far as its head goes, and the trust roots. Writes nothing.
    pub fn prepare(
        config: &Config,
        sealing: &SymmetricKey,
        place: &LogLocation,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        match Self::prepare_for_check(config, sealing, place, clock)? {
            (_, Some(unread)) => Err(unread),
            (trust_state, None) => Ok(trust_state),
        }
    }

    /// Does the same, and goes on with what is remembered where the log cannot be read: the error
    /// comes beside the keeper.
    pub fn prepare_for_check(
        config: &Config,
        sealing: &SymmetricKey,
        place: &LogLocation,
        clock: &Clock,
    ) -> Result<(Self, Option<StartError>), StartError> {
        let mac = StateMac::new(sealing).map_err(|_| StartError::Random)?;
        let file = config.trust.state.join(STATE_FILE);
        let (mut copies, mut findings) = (Vec::new(), Vec::new());
        match PersistedState::read(&file, &mac) {
            Ok(kept) => load_copy(kept, "state", &file, &mut copies, &mut findings),
            Err(error) => return Err(unusable("trust state", &file, &error.to_string(), None)),
        }
        let own = copies.first().cloned().unwrap_or_default();
        let files = FileWorkers::default();
        if let Some(folder) = &config.audit.state_copy {
            let (there, its_mac) = (folder.clone(), mac.clone());
            let read = move || {
                list_bounded(&there, &[], 1)
                    .map(drop)
                    .and_then(|()| PersistedState::read(&there.join(STATE_FILE), &its_mac))
            };
            let stalled = || Err(io::Error::new(io::ErrorKind::TimedOut, "it does not respond"));
            match files.reading.run(START_LIMIT, read).unwrap_or_else(stalled) {
                Ok(kept) => load_copy(kept, "state-copy", folder, &mut copies, &mut findings),
                Err(error) if config.audit.state_copy_required => {
                    let hint = "make the folder reachable, or turn off \
                                `audit.state_copy_required`: the host then starts with a warning";
                    return Err(unusable("state copy", folder, &error.to_string(), Some(hint)));
                }
                Err(error) => {
                    tracing::error!(
                        %error,
                        folder = %folder.display(),
                        event = "state-copy.unreadable",
                        "the state copy cannot be read, so the host could not detect a restored \
                         backup; make its folder reachable"
                    );
                    findings.push(StartupFinding {
                        kind: "trust.state-copy-unreadable",
                        fields: r#""code":"unreadable""#.to_owned(),
                    });
                }
            }
        }
        let mut memory = PersistedState::default();
        for copy in &copies {
            memory.history.merge(&copy.history);
            memory.retired.extend(copy.retired.iter().cloned());
        }
        own.head.clone_into(&mut memory.head);
        // What does not answer is read again by the first poll.
        let folder = config.trust.roots.clone();
        let arrived = files.roots.run(START_LIMIT, move || ArrivedRoots::read(&folder, 0));
        let arrived = arrived.unwrap_or_default();
        let mut trust_state = Self {
            roots: Roots::load(&config.trust, &memory.history, &arrived, true)?.0,
            own_state: own,
            recorded: TrustHistory::default(),
            recorded_elsewhere: TrustHistory::default(),
            state: memory,
            copies,
            findings,
            mac,
            file,
            state_copy: None,
            last_record: Millis(0),
            first_log: place.directory.clone(),
            trusted_time: Arc::new(TrustedTime::new(clock.clone(), Millis(0), &[])),
            pending_root: None,
            saved: None,
            retried: None,
            log: None,
            state_dir: None,
        };
        // What the log knows beyond its files; a log that does not belong here says nothing, and is looked at when it is opened.
        let log_read = trust_state.log_continuity(place).and_then(|standing| match standing {
            LogContinuity::Continues => trust_state.catch_up(place),
            _ => Ok(()),
        });
        let history = &trust_state.state.history;
        let (roots, stopped) = Roots::load(&config.trust, history, &arrived, true)?;
        trust_state.roots = roots;
        let paths = config.release.clone();
        let read = files.release.run(START_LIMIT, move || paths.read_set_and_downgrade());
        let (set, downgrade) = read.unwrap_or_default();
        let documents: Vec<_> = issued(set.iter().chain(&downgrade), trust_state.roots.newest())
            .into_iter()
            .chain(trust_state.roots.newest().issued)
            .collect();
        let floor = trust_state.last_known();
        trust_state.trusted_time = Arc::new(TrustedTime::new(clock.clone(), floor, &documents));
        let is_new = trust_state
            .state
            .history
            .root
            .is_some_and(|known| known.version < trust_state.roots.newest().version);
        if is_new && trust_state.trusted_time.is_unconfirmed() {
            let held = Roots::load(&config.trust, &trust_state.state.history, &arrived, false)?.0;
            trust_state.pending_root = Some(Arc::clone(trust_state.roots.newest()));
            trust_state.roots = held;
        }
        trust_state.findings.extend(stopped.as_ref().map(refused_root));
        trust_state.state.history.revoked.merge(&trust_state.strictest_root().revoked.clone());
        let set = set.unwrap_or_default();
        trust_state.revoked_by(&set);
        trust_state.state.history.root = Some(mark(trust_state.roots.newest()));
        Ok((trust_state, log_read.err()))
    }

    /// It may write this folder, until the end.
    pub fn attach_lock(&mut self, folder: StateDirLock) {
        self.state_dir = Some(folder);
    }

    /// The folder that it writes; `None` where it only looks.
    pub fn state_folder(&self) -> Option<&Arc<HeldFolder>> {
        self.state_dir.as_ref().map(StateDirLock::folder)
    }

    /// Returns the trust state against which a release is verified.
    pub fn view(&self) -> TrustView<'_> {
        TrustView { roots: &self.roots, history: &self.state.history }
    }

    /// What a release is held against, to be kept: for whoever makes one, which no change waits for.
    pub fn copy_view(&self) -> (Roots, TrustHistory) {
        (self.roots.clone(), self.state.history.clone())
    }

    /// The active trust root.
    pub fn root(&self) -> &Arc<TrustRoot> {
        self.roots.newest()
    }

    /// The trust root whose revocations hold: the active one, or the one that waits to follow it.
    pub fn strictest_root(&self) -> &Arc<TrustRoot> {
        self.pending_root.as_ref().unwrap_or_else(|| self.roots.newest())
    }

    /// When the newest record of the log was made, or the active release was activated: trusted
    /// time is not below.
    pub fn last_known(&self) -> Millis {
        let active =
            self.state.history.active.filter(|it| it.resets == self.state.history.resets());
        self.last_record.max(active.map_or(Millis(0), |active| active.since))
    }

    /// When the newest record of this log was made, as it was read before it was opened; 0 where it was not.
    pub fn last_record(&self, place: &LogLocation) -> Millis {
        if place.directory == self.first_log { self.last_record } else { Millis(0) }
    }

    /// The time that the host goes by.
    pub fn trusted_time(&self) -> Arc<TrustedTime> {
        Arc::clone(&self.trusted_time)
    }

    /// The time that a release set is checked against that is to become active. A host that has
    /// never had one has nothing to keep while its clock waits to be confirmed: it takes the first
    /// one by its clock.
    pub fn time_for_activation(&self) -> Millis {
        let is_first = self.state.history.active.is_none();
        if is_first { self.trusted_time.for_calls() } else { self.trusted_time.for_documents() }
    }

    /// Refuses to exchange the set that was active last for another one while the clock waits to be
    /// confirmed.
    pub fn check_replacement(&self, set: Digest) -> Result<(), ClockUnconfirmed> {
        let is_other = self.state.history.active.is_some_and(|active| active.set != set);
        if is_other && self.trusted_time.is_unconfirmed() {
            return Err(ClockUnconfirmed);
        }
        Ok(())
    }

    /// The public key of the log that is written; `None` before it is open.
    pub fn log_key(&self) -> Option<&PublicKey> {
        self.log.as_ref().map(|(_, key)| key)
    }

    /// Returns the key that authenticates the host's own files.
    pub fn mac(&self) -> StateMac {
        self.mac.clone()
    }

    /// Returns the trust history.
    pub fn history(&self) -> &TrustHistory {
        &self.state.history
    }

    /// The log is open, and the one that is remembered, or a new one. From here on the files are written.
    pub fn open(&mut self, config: &Config, place: &LogLocation) -> Result<(), StartError> {
        let origin = place.signer.public().name();
        let log = reader(&OsDisk, &place.directory, place.signer.public())
            .map_err(StartError::Reading)?;
        let begins = log.as_ref().is_none_or(|log| log.head().size == 0);
        let other = |copy: &&PersistedState| copy.origin().is_some_and(|earlier| earlier != origin);
        if let Some(before) = self.copies.iter().find(other).filter(|_| begins) {
            let earlier = before.origin().unwrap_or_default().to_owned();
            let why = if self.state.retired.contains(&earlier) { "retired" } else { "planned" };
            let root = before.head.lines().nth(2).unwrap_or_default();
            let fields = build_members(|fields| {
                fields.text("origin", &earlier).number("size", before.size());
                fields.text("root", root).text("reason", why);
            });
            self.findings.insert(0, StartupFinding { kind: "log.link", fields });
            self.state.retired.insert(earlier);
        }
        self.log = Some((place.directory.clone(), place.signer.public().clone()));
        // Where the log lacks some of it, the log is read from its beginning to find out what.
        let is_whole = self.own_state.origin() == Some(origin) && !self.own_state.unrecorded;
        let mut read = if is_whole { self.own_state.clone() } else { PersistedState::default() };
        if let Some(log) = &log {
            read.replay_from(log).map_err(StartError::Reading)?;
        }
        (self.state.head, self.recorded) = (read.head, read.history);
        self.state.history.merge(&self.recorded);
        self.copies.clear();
        self.write_roots().map_err(|error| {
            let roots = kept_folder(&config.trust);
            unusable("folder", &roots, &error.to_string(), Some(STATE_HINT))
        })?;
        if let Some(folder) = &config.audit.state_copy {
            self.state_copy = Some(StateCopy::start(folder.clone()).map_err(StartError::Thread)?);
        }
        self.save().map_err(|error| {
            unusable("trust state", &self.file, &error.to_string(), Some(STATE_HINT))
        })
    }

    /// Brings the files up to the log's head: the second copy as it moves, the host's own once a minute. Gives the log what
    /// it has not taken yet, where it takes records again. `learn` gives what others have given the log to record: asked after
    /// the head was read, so that no head is kept without it.
    pub fn refresh(&mut self, log: &Log, learn: impl FnOnce() -> Learned) {
        let head = self.state.head.clone();
        self.read_head();
        self.learn(&learn());
        self.retry_records(log);
        let due = self.saved.is_none_or(|saved| elapsed_since(saved) > SAVE_EVERY);
        if due {
            self.save_or_log();
        } else if head != self.state.head {
            self.copy_out();
        }
    }

    /// Writes everything a last time, waits a moment for the second copy, and gives the folder back. `learn` is as in
    /// [`TrustState::refresh`].
    pub fn close(&mut self, learn: impl FnOnce() -> Learned) {
        self.read_head();
        self.learn(&learn());
        self.save_or_log();
        drop(self.state_dir.take());
    }

    fn catch_up(&mut self, place: &LogLocation) -> Result<(), StartError> {
        if let Some(log) =
            reader(&OsDisk, &place.directory, place.signer.public()).map_err(StartError::Reading)?
        {
            let newest = log.head().size.checked_sub(1).and_then(|last| log.leaf(last).ok());
            let newest =
                newest.and_then(|leaf| Record::parse(&leaf).ok()).map_or(0, |record| record.at);
            self.last_record = Millis(newest);
            let mut read = self.state.clone();
            read.replay_from(&log).map_err(StartError::Reading)?;
            self.state.history = read.history;
        }
        Ok(())
    }

    fn read_head(&mut self) {
        let Some((directory, key)) = &self.log else { return };
        // One that is shorter has taken the directory's path: it is not the log that is written.
        if let Ok(Some(log)) = reader(&OsDisk, directory, key)
            && log.head().size >= self.state.size()
        {
            log.note().clone_into(&mut self.state.head);
        }
    }

    fn save_or_log(&mut self) {
        if let Err(error) = self.save() {
            // The next round tries again.
            self.saved = None;
            if LOG_LIMITS.allows("trust.state-not-written", "", monotonic_now()) {
                tracing::error!(
                    event = "trust.state-not-written",
                    %error,
                    file = %self.file.display(),
                    "the trust state could not be written to trust.state; the host tries again; \
                     check the disk"
                );
            }
        }
        let unseen = self.state_copy.as_ref().is_some_and(|copy| !copy.flush(STATE_COPY_WAIT));
        if unseen {
            tracing::warn!(
                event = "state-copy.late",
                "the state copy does not hold the last change yet; check the folder of audit.state_copy"
            );
        }
    }

    /// Keeps what was accepted in the host's own folder, durably.
    fn write_roots(&mut self) -> io::Result<()> {
        match &self.state_dir {
            Some(folder) => self.roots.persist(folder.folder()),
            None => Ok(()),
        }
    }

    fn save(&mut self) -> io::Result<()> {
        self.state.unrecorded = self.is_unrecorded();
        let written = self.write_state();
        // A disk that is full here must not keep the second copy as it was.
        self.copy_out();
        written?;
        self.saved = Some(monotonic_now());
        Ok(())
    }

    fn write_state(&self) -> io::Result<()> {
        let folder =
            self.state_folder().ok_or_else(|| io::Error::other("its folder is not open"))?;
        write_durably(&folder.at(STATE_FILE), &self.state.to_bytes(&self.mac)?)
    }

    fn copy_out(&self) {
        if let (Some(copy), Ok(bytes)) = (&self.state_copy, self.state.to_bytes(&self.mac)) {
            copy.submit(bytes, self.state.head.clone());
        }
    }
}

fn load_copy(
    kept: LoadedState,
    which: &str,
    path: &Path,
    copies: &mut Vec<PersistedState>,
    findings: &mut Vec<StartupFinding>,
) {
    match kept {
        LoadedState::Absent => {}
        LoadedState::State(memory) => copies.push(*memory),
        LoadedState::Corrupt(why) => {
            tracing::error!(
                file = %path.display(),
                why,
                event = "trust.state-corrupt",
                "a file of trust state failed its check; the host reads the audit log instead"
            );
            let fields = build_members(|fields| {
                fields.text("code", "memory-spoilt").text("copy", which);
            });
            findings.push(StartupFinding { kind: "trust.state-corrupt", fields });
        }
    }
}

fn unusable(what: &'static str, path: &Path, why: &str, hint: Option<&str>) -> StartError {
    StartError::File {
        what,
        path: path.to_owned(),
        why: why.to_owned(),
        hint: hint.map(str::to_owned),
    }
}

/// How old the host's own file may be: after a crash that much of the log is read again.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How long a change waits for the second copy.
const STATE_COPY_WAIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;

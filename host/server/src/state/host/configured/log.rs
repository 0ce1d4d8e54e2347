//! The log that a host writes: which one it is, and opening it.
//!
//! Invariant: a log is checked before it is opened, and again when it has recovered, before
//! anything is added to it.

use std::path::Path;
use std::sync::Arc;

use portcullis_audit::{Log, Recovery};
use portcullis_files::HeldFolder;
use portcullis_keys::SecretKey;
use portcullis_model::Millis;

use super::super::mounts;
use super::Configured;
use super::keys::SIGNING_HINT;
use crate::config::Commit;
use crate::error::StartError;
use crate::memory::{self, HostMemory};
use crate::start_problems::{SIGNING_KEY, key_file};
use crate::trust::persisted::{LogContinuity, holds_log};
use crate::trust::state::{self, LogAction, LogLocation, TrustState, may_recover};

impl Configured {
    /// Opens the log that is this host's to write: the one of the configuration, unless it is not
    /// the one that is remembered; then the one held ready. A log is looked at before it is opened,
    /// and again when it has recovered, before anything is added to it.
    ///
    /// # Errors
    /// [`StartError::Audit`] where the disk does not let it, [`StartError::Foreign`] where no log
    /// is this host's.
    pub fn open_log(
        &self,
        trust_state: &mut TrustState,
    ) -> Result<(Log, Arc<HostMemory>, Recovery), StartError> {
        let mut foreign = None;
        for place in &self.places {
            // What is found is of this folder, and holds of no other that takes its path.
            let folder = HeldFolder::open(&place.directory).ok();
            let mut standing = trust_state.log_continuity(place)?;
            if self.log_action(place, &standing)? == LogAction::Open {
                let begins = !holds_log(&place.directory);
                let memory = self.open_memory(place, trust_state)?;
                let store = Arc::clone(&memory);
                let (log, recovery) = Log::open(self.log_options(place, trust_state, store))?;
                let begun = trust_state.log_continuity(place).and_then(|found| {
                    // Of another log that has taken the path meanwhile nothing is believed.
                    log.check_place()?;
                    standing = found;
                    if standing == LogContinuity::Continues {
                        trust_state.open(&self.config, place)?;
                    }
                    Ok(())
                });
                if begun.is_ok() && standing == LogContinuity::Continues {
                    // What the write-ahead log gave back is newer than what was read before.
                    let (last, trusted_time) = (Millis(log.last_at()), trust_state.trusted_time());
                    trusted_time.raise_floor(last);
                    if last > Millis(0) && last < trust_state.last_record(place) {
                        trusted_time.reset(last);
                    }
                    log.check_place()?;
                    if begins && foreign.is_none() {
                        tracing::warn!(
                            event = "log.begun",
                            folder = %place.directory.display(),
                            origin = place.signer.public().name(),
                            "the host found no audit log and began a new one; if this is not the \
                             first start, stop the host and mount the log's disk"
                        );
                    }
                    return Ok((log, memory, recovery));
                }
                let closed = log.close();
                begun?;
                closed?;
            }
            let why = state::describe(&standing);
            let unlinked = matches!(standing, LogContinuity::Unlinked { .. });
            match standing {
                LogContinuity::Retired => trust_state.is_retired(place),
                LogContinuity::Unlinked { .. } => {}
                _ => trust_state.retire(place, &standing, folder.as_ref())?,
            }
            foreign = foreign.or(Some(StartError::Foreign {
                origin: place.signer.public().name().to_owned(),
                why,
            }));
            // Somebody named another directory: that is not for this host to put right.
            if unlinked {
                break;
            }
        }
        Err(foreign.unwrap_or(StartError::Random))
    }

    /// Finds out which log a start would sign, without opening or changing one. Returns what an
    /// operator should know where it is not the first. Of the keeper it changes the memory alone,
    /// as a start does.
    ///
    /// # Errors
    /// The errors of [`Configured::open_log`] that can be known without writing.
    pub fn predict_log(&self, trust_state: &mut TrustState) -> Result<Option<String>, StartError> {
        let mut foreign: Option<StartError> = None;
        for place in &self.places {
            let (standing, origin) =
                (trust_state.log_continuity(place)?, place.signer.public().name());
            let log_action = self.log_action(place, &standing)?;
            let is_ours = standing == LogContinuity::Continues || may_recover(place, &standing)?;
            if log_action == LogAction::Open && is_ours {
                let warn = |error| format!("{error}; `serve` would continue in the log `{origin}`");
                return Ok(foreign.map(warn));
            }
            let (origin, why) = (origin.to_owned(), state::describe(&standing));
            foreign = foreign.or(Some(StartError::Foreign { origin, why }));
            if log_action == LogAction::Stop {
                break;
            }
            trust_state.is_retired(place);
        }
        Err(foreign.unwrap_or(StartError::Random))
    }

    /// Returns what a start does about a log.
    ///
    /// # Errors
    /// [`StartError::LogMissing`] where it waits for it.
    fn log_action(
        &self,
        place: &LogLocation,
        standing: &LogContinuity,
    ) -> Result<LogAction, StartError> {
        match state::log_action(standing, holds_log(&place.directory), self.required(place)) {
            LogAction::Wait(why) => {
                Err(StartError::LogMissing { directory: place.directory.clone(), why })
            }
            log_action => Ok(log_action),
        }
    }

    /// Returns why no log may be begun at a place; `None` where one may.
    fn required(&self, place: &LogLocation) -> Option<String> {
        let is_first = self.log_place().is_some_and(|first| first.directory == place.directory);
        if !is_first {
            return None;
        }
        match self.config.audit.must_exist {
            Some(true) => Some(
                "the setting `audit.must_exist` does not allow the host to begin one".to_owned(),
            ),
            Some(false) => None,
            None => self.awaits_disk(place),
        }
    }

    /// Returns whether a start would begin the first log, where it may.
    pub fn begins_log(&self) -> bool {
        self.log_place().is_some_and(|place| !holds_log(&place.directory))
    }

    /// Why a log that is not there may lie on a disk that is not there: one more log would be begun
    /// below its mount point.
    fn awaits_disk(&self, place: &LogLocation) -> Option<String> {
        let above = place.directory.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above.filter(|above| !above.is_dir()) {
            return Some(format!("its parent folder `{}` does not exist", above.display()));
        }
        let point = [&place.directory, &self.config.trust.state]
            .into_iter()
            .find_map(|folder| mounts::awaited(folder))?;
        Some(format!(
            "`{}` lists the mount point `{}`, but nothing is mounted there",
            mounts::FSTAB,
            point.display()
        ))
    }

    /// Opens the memory of plugins beside the log that brings its changes.
    fn open_memory(
        &self,
        place: &LogLocation,
        trust_state: &TrustState,
    ) -> Result<Arc<HostMemory>, StartError> {
        // A folder that cannot be used, or another process, is reported in the log's own words.
        portcullis_audit::check_directory(&place.directory)?;
        let (folder, time) = (place.directory.join(memory::FOLDER), trust_state.trusted_time());
        let quota = self.config.memory.quota();
        HostMemory::open(&folder, &self.sealing, quota, move || time.now()).map_err(|error| {
            let (why, hint) = memory::open_problem(&error);
            let hint = hint.map(str::to_owned);
            StartError::File { what: "memory of plugins", path: folder.clone(), why, hint }
        })
    }

    fn log_options(
        &self,
        place: &LogLocation,
        trust_state: &TrustState,
        memory: Arc<HostMemory>,
    ) -> portcullis_audit::Options {
        let (audit, time) = (&self.config.audit, trust_state.trusted_time());
        let signer: Arc<SecretKey> = Arc::clone(&place.signer);
        portcullis_audit::Options {
            commit: match audit.commit {
                Commit::Disk => portcullis_audit::Commit::Disk,
                Commit::Kernel => portcullis_audit::Commit::Kernel,
            },
            segment_bytes: audit.segment_bytes,
            spares: Arc::clone(&self.spares),
            change_store: Some(memory),
            ..portcullis_audit::Options::new(
                place.directory.clone(),
                self.config.tenant.clone(),
                signer,
                self.sealer.clone(),
                Arc::new(move || time.for_records()),
            )
        }
    }
}

/// A log's directory and key, which is named like its origin.
pub fn log_place(
    directory: &Path,
    key: &Path,
    origin: &str,
    setting: &str,
) -> Result<LogLocation, StartError> {
    let signer = SecretKey::read(key).map_err(|error| key_file(SIGNING_KEY, key, &error))?;
    if signer.public().name() == origin {
        return Ok(LogLocation { directory: directory.to_owned(), signer: Arc::new(signer) });
    }
    let why = format!("its name is `{}`, but {setting} is `{origin}`", signer.public().name());
    let hint = Some(SIGNING_HINT.to_owned());
    Err(StartError::File { what: SIGNING_KEY, path: key.to_owned(), why, hint })
}

//! Which log this host may sign: the one that it has written, and no other.
//!
//! Invariant: a log that is shorter than it was, has other records, or was given up is never signed
//! again. Opens no log for writing.

use std::io;

use portcullis_audit::disk::OsDisk;
use portcullis_files::HeldFolder;
use portcullis_model::json::build_members;
use portcullis_tlog::ReadError;

use super::{LogLocation, StartupFinding, TrustState, unusable};
use crate::error::StartError;
use crate::trust::persisted::{LogContinuity, PersistedState, reader, write_durably};

impl TrustState {
    /// How a log stands to everything that is remembered of it. A log that is not there is one that
    /// begins.
    pub fn log_continuity(&self, place: &LogLocation) -> Result<LogContinuity, StartError> {
        let key = place.signer.public();
        if place.directory.join(RETIRED).exists() || self.state.retired.contains(key.name()) {
            return Ok(LogContinuity::Retired);
        }
        let Some(log) = reader(&OsDisk, &place.directory, key).map_err(StartError::Reading)? else {
            let had = self
                .copies
                .iter()
                .filter(|copy| copy.origin() == Some(key.name()))
                .map(PersistedState::size)
                .max();
            return Ok(had
                .filter(|had| *had > 0)
                .map_or(LogContinuity::Continues, |had| LogContinuity::Missing { had }));
        };
        for copy in &self.copies {
            // A copy of a log that was left behind since says nothing about this one.
            if copy.origin().is_some_and(|origin| self.state.retired.contains(origin)) {
                continue;
            }
            let standing = copy.log_continuity(&log, key).map_err(StartError::Reading)?;
            if standing != LogContinuity::Continues {
                return Ok(standing);
            }
        }
        Ok(LogContinuity::Continues)
    }

    /// Never to sign this log again, whatever becomes of this machine.
    /// `folder` is the directory as it was when it was looked at: no other one is marked.
    pub fn retire(
        &mut self,
        place: &LogLocation,
        standing: &LogContinuity,
        folder: Option<&HeldFolder>,
    ) -> Result<(), StartError> {
        let (origin, why) = (place.signer.public().name(), describe(standing));
        if let Some(folder) = folder {
            let text = format!("The log {origin} must not be signed any more: {why}.\n");
            let path = place.directory.join(RETIRED);
            let checked = folder.check_path().map_err(io::Error::from);
            checked
                .and_then(|()| write_durably(&folder.at(RETIRED), text.as_bytes()))
                .map_err(|error| unusable("log", &path, &error.to_string(), None))?;
        }
        tracing::error!(
            event = "log.retired",
            origin,
            why,
            "the host retired this audit log, because it is not the log that the host wrote last; \
             it does not sign it again"
        );
        self.state.retired.insert(origin.to_owned());
        let fields = build_members(|fields| {
            fields.text("origin", origin).text("code", code(standing));
            match standing {
                LogContinuity::Behind { has, had } => {
                    fields.number("has", *has).number("had", *had);
                }
                LogContinuity::Forked { at } => {
                    fields.number("at", *at);
                }
                LogContinuity::Missing { had } => {
                    fields.number("had", *had);
                }
                LogContinuity::Continues
                | LogContinuity::Retired
                | LogContinuity::Unlinked { .. } => {}
            }
        });
        self.findings.push(StartupFinding { kind: "log.retired", fields });
        Ok(())
    }

    /// This log was given up before.
    pub fn is_retired(&mut self, place: &LogLocation) {
        self.state.retired.insert(place.signer.public().name().to_owned());
    }
}

/// The course of a start with a log, for `serve` and `check` alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogAction {
    /// It is opened. One that is behind may yet recover from its write-ahead log.
    Open,
    /// There must be a log and there is none: the start waits for it. The reason.
    Wait(String),
    /// It is never signed again, and the log that is held ready takes its place.
    Replace,
    /// It is not signed, and no other one either: somebody named another directory, and that is not
    /// for a host to put right.
    Stop,
}

/// Returns what a start does about a log of this standing. `holds_log` tells whether its directory
/// holds one, `required` why none may be begun there.
pub fn log_action(
    standing: &LogContinuity,
    holds_log: bool,
    required: Option<String>,
) -> LogAction {
    match standing {
        LogContinuity::Missing { .. } if !holds_log => LogAction::Wait(describe(standing)),
        LogContinuity::Continues if !holds_log => required.map_or(LogAction::Open, LogAction::Wait),
        LogContinuity::Continues | LogContinuity::Behind { .. } => LogAction::Open,
        LogContinuity::Unlinked { .. } => LogAction::Stop,
        LogContinuity::Missing { .. } | LogContinuity::Forked { .. } | LogContinuity::Retired => {
            LogAction::Replace
        }
    }
}

/// Whether a log that is behind may have the records that it lacks in its write-ahead log, which a
/// start recovers.
pub fn may_recover(place: &LogLocation, standing: &LogContinuity) -> Result<bool, StartError> {
    let LogContinuity::Behind { had, .. } = standing else { return Ok(false) };
    let log = reader(&OsDisk, &place.directory, place.signer.public());
    let log = log.map_err(StartError::Reading)?;
    let last = log.map(|log| log.require(had.saturating_sub(1)));
    Ok(matches!(last, Some(Ok(()) | Err(ReadError::NotYetCovered { .. }))))
}

/// The obstacle to signing a log, in words.
pub fn describe(standing: &LogContinuity) -> String {
    match standing {
        LogContinuity::Continues => "it continues the log that the host wrote".to_owned(),
        LogContinuity::Behind { has, had } => {
            format!("it has {has} records but had {had} before: it comes from an old backup")
        }
        LogContinuity::Missing { had } => {
            format!("this host wrote a log with {had} records, but its folder holds none")
        }
        LogContinuity::Forked { at } => {
            format!(
                "its first {at} records differ from those that the host wrote: the log was \
                 rewritten, or it is another one"
            )
        }
        LogContinuity::Retired => {
            "this host has retired it before; the file `retired` in its folder gives the reason"
                .to_owned()
        }
        LogContinuity::Unlinked { other } => {
            format!("this host wrote the log `{other}` last, and no record links this log to it")
        }
    }
}

/// The stable code of the same.
fn code(standing: &LogContinuity) -> &'static str {
    match standing {
        LogContinuity::Continues => "log-continues",
        LogContinuity::Behind { .. } => "log-behind",
        LogContinuity::Missing { .. } => "log-missing",
        LogContinuity::Forked { .. } => "log-forked",
        LogContinuity::Retired => "log-retired",
        LogContinuity::Unlinked { .. } => "log-unlinked",
    }
}

/// Says in a log's directory that it must not be signed any more.
const RETIRED: &str = "retired";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_opens_waits_gives_up_or_stops_by_the_standing_alone() {
        let behind = LogContinuity::Behind { has: 1, had: 2 };
        let unlinked = LogContinuity::Unlinked { other: "x".to_owned() };
        for (there, must_exist) in [(true, true), (true, false), (false, true), (false, false)] {
            let required = || must_exist.then(|| "it must exist".to_owned());
            let log_action = |standing| log_action(&standing, there, required());
            assert_eq!(log_action(LogContinuity::Retired), LogAction::Replace);
            assert_eq!(log_action(LogContinuity::Forked { at: 1 }), LogAction::Replace);
            assert_eq!(log_action(behind.clone()), LogAction::Open);
            assert_eq!(log_action(unlinked.clone()), LogAction::Stop);
            let missing = log_action(LogContinuity::Missing { had: 2 });
            assert_eq!(matches!(missing, LogAction::Wait(_)), !there);
            let begins = log_action(LogContinuity::Continues);
            assert_eq!(matches!(begins, LogAction::Wait(_)), !there && must_exist);
        }
    }
}

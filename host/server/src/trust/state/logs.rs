//! Which log this host may sign: the one that it has written, and no other.
//!
//! Invariant: a log that is shorter than it was, has other records, or was given up is never signed
//! again. Opens no log for writing.

use std::io;

use portcullis_audit::disk::OsDisk;
use portcullis_files::HeldFolder;
use portcullis_model::json::quote;
use portcullis_tlog::ReadError;

use super::{Finding, Place, TrustState, unusable};
use crate::error::StartError;
use crate::trust::persisted::{Memory, Standing, reader, replace};

impl TrustState {
    /// How a log stands to everything that is remembered of it. A log that is not there is one that
    /// begins.
    pub fn standing(&self, place: &Place) -> Result<Standing, StartError> {
        let key = place.signer.public();
        if place.directory.join(RETIRED).exists() || self.memory.retired.contains(key.name()) {
            return Ok(Standing::Retired);
        }
        let Some(log) = reader(&OsDisk, &place.directory, key).map_err(StartError::Reading)? else {
            let had = self
                .copies
                .iter()
                .filter(|copy| copy.origin() == Some(key.name()))
                .map(Memory::size)
                .max();
            return Ok(had
                .filter(|had| *had > 0)
                .map_or(Standing::Continues, |had| Standing::Missing { had }));
        };
        for copy in &self.copies {
            // A copy of a log that was left behind since says nothing about this one.
            if copy.origin().is_some_and(|origin| self.memory.retired.contains(origin)) {
                continue;
            }
            let standing = copy.standing(&log, key).map_err(StartError::Reading)?;
            if standing != Standing::Continues {
                return Ok(standing);
            }
        }
        Ok(Standing::Continues)
    }

    /// Never to sign this log again, whatever becomes of this machine.
    /// `folder` is the directory as it was when it was looked at: no other one is marked.
    pub fn retire(
        &mut self,
        place: &Place,
        standing: &Standing,
        folder: Option<&HeldFolder>,
    ) -> Result<(), StartError> {
        let (origin, why) = (place.signer.public().name(), describe(standing));
        if let Some(folder) = folder {
            let text = format!("The log {origin} must not be signed any more: {why}.\n");
            let path = place.directory.join(RETIRED);
            let checked = folder.check_path().map_err(io::Error::from);
            checked
                .and_then(|()| replace(&folder.at(RETIRED), text.as_bytes()))
                .map_err(|error| unusable("log", &path, &error.to_string(), None))?;
        }
        tracing::error!(
            event = "log.retired",
            origin,
            why,
            "this log is not the one that this host has written: it is not signed again"
        );
        self.memory.retired.insert(origin.to_owned());
        let mut fields = String::from(r#""origin":"#);
        quote(&mut fields, origin);
        fields.push_str(&format!(r#","code":"{}""#, code(standing)));
        match standing {
            Standing::Behind { has, had } => {
                fields.push_str(&format!(r#","has":{has},"had":{had}"#))
            }
            Standing::Forked { at } => fields.push_str(&format!(r#","at":{at}"#)),
            Standing::Missing { had } => fields.push_str(&format!(r#","had":{had}"#)),
            Standing::Continues | Standing::Retired | Standing::Unlinked { .. } => {}
        }
        self.findings.push(Finding { kind: "log.retired", fields });
        Ok(())
    }

    /// This log was given up before.
    pub fn is_retired(&mut self, place: &Place) {
        self.memory.retired.insert(place.signer.public().name().to_owned());
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
    GiveUp,
    /// It is not signed, and no other one either: somebody named another directory, and that is not
    /// for a host to put right.
    Stop,
}

/// Returns what a start does about a log of this standing. `holds_log` tells whether its directory
/// holds one, `required` why none may be begun there.
pub fn log_action(standing: &Standing, holds_log: bool, required: Option<String>) -> LogAction {
    match standing {
        Standing::Missing { .. } if !holds_log => LogAction::Wait(describe(standing)),
        Standing::Continues if !holds_log => required.map_or(LogAction::Open, LogAction::Wait),
        Standing::Continues | Standing::Behind { .. } => LogAction::Open,
        Standing::Unlinked { .. } => LogAction::Stop,
        Standing::Missing { .. } | Standing::Forked { .. } | Standing::Retired => LogAction::GiveUp,
    }
}

/// Whether a log that is behind may have the records that it lacks in its write-ahead log, which a
/// start recovers.
pub fn may_recover(place: &Place, standing: &Standing) -> Result<bool, StartError> {
    let Standing::Behind { had, .. } = standing else { return Ok(false) };
    let log = reader(&OsDisk, &place.directory, place.signer.public());
    let log = log.map_err(StartError::Reading)?;
    let last = log.map(|log| log.require(had.saturating_sub(1)));
    Ok(matches!(last, Some(Ok(()) | Err(ReadError::NotYetCovered { .. }))))
}

/// The obstacle to signing a log, in words.
pub fn describe(standing: &Standing) -> String {
    match standing {
        Standing::Continues => "it continues what is remembered".to_owned(),
        Standing::Behind { has, had } => {
            format!("it has {has} records and had {had}: it comes from an old backup")
        }
        Standing::Missing { had } => {
            format!("this host has written one with {had} records, and its folder holds none")
        }
        Standing::Forked { at } => {
            format!(
                "its first {at} records are not those that are remembered: it was rewritten, or is \
                 another log's"
            )
        }
        Standing::Retired => "this host has given it up before, because it was not the log that the host had written or \
             another log had taken its place; a file `retired` in its folder gives the reason"
            .to_owned(),
        Standing::Unlinked { other } => {
            format!("this host has written `{other}` last, and no record links this log to it")
        }
    }
}

/// The stable code of the same.
fn code(standing: &Standing) -> &'static str {
    match standing {
        Standing::Continues => "log-continues",
        Standing::Behind { .. } => "log-behind",
        Standing::Missing { .. } => "log-missing",
        Standing::Forked { .. } => "log-forked",
        Standing::Retired => "log-retired",
        Standing::Unlinked { .. } => "log-unlinked",
    }
}

/// Says in a log's directory that it must not be signed any more.
const RETIRED: &str = "retired";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_opens_waits_gives_up_or_stops_by_the_standing_alone() {
        let behind = Standing::Behind { has: 1, had: 2 };
        let unlinked = Standing::Unlinked { other: "x".to_owned() };
        for (there, must_exist) in [(true, true), (true, false), (false, true), (false, false)] {
            let required = || must_exist.then(|| "it must exist".to_owned());
            let log_action = |standing| log_action(&standing, there, required());
            assert_eq!(log_action(Standing::Retired), LogAction::GiveUp);
            assert_eq!(log_action(Standing::Forked { at: 1 }), LogAction::GiveUp);
            assert_eq!(log_action(behind.clone()), LogAction::Open);
            assert_eq!(log_action(unlinked.clone()), LogAction::Stop);
            let missing = log_action(Standing::Missing { had: 2 });
            assert_eq!(matches!(missing, LogAction::Wait(_)), !there);
            let begins = log_action(Standing::Continues);
            assert_eq!(matches!(begins, LogAction::Wait(_)), !there && must_exist);
        }
    }
}

//! Records about trust: what is remembered goes into the log, in pieces that fit a record.
//!
//! Invariant: nothing counts as recorded before its record is durable. What must hold at once is remembered
//! although its record is not; what is remembered and in no record is given to the log again by
//! [`Keeper::say_findings`]. Writes no file of its own.

use portcullis_audit::{Entry, Log, Pending};
use portcullis_model::Digest;
use portcullis_trust::{History, RevokedPlugins, TrustRoot};

use super::{Finding, Keeper};

impl Keeper {
    /// Says what was found at the start, and everything that is remembered and not in this log yet.
    pub fn say_findings(&mut self, log: &Log) {
        for Finding { kind, fields } in std::mem::take(&mut self.findings) {
            say(log, Entry { kind, fields, sealed: None });
        }
        let all = self.memory.history.clone();
        if all.root.is_some() && all.root > self.recorded.root {
            self.record(
                log,
                "trust.root",
                &root_fields(self.roots.newest()),
                &History { root: all.root, ..History::default() },
            );
        }
        for revoked in all.revoked.pieces(PIECE) {
            if !self.recorded.revoked.includes(&revoked) {
                let piece = History { revoked, ..History::default() };
                self.record(log, "trust.revoked", "", &piece);
            }
        }
        for piece in floors(&all, &self.recorded) {
            self.record(log, "trust.floors", "", &piece);
        }
        let last = History { highest: all.highest, active: all.active, ..History::default() };
        if last.beyond(&self.recorded) {
            self.record(log, "trust.carried", "", &last);
        }
        let unknown: Vec<_> = all.stopped.difference(&self.recorded.stopped).copied().collect();
        for some in unknown.chunks(PIECE) {
            let piece = History { stopped: some.iter().copied().collect(), ..History::default() };
            self.record(log, "trust.carried", "", &piece);
        }
        let time = History { time: all.time, ..History::default() };
        if time.beyond(&self.recorded) {
            self.record(log, "trust.carried", "", &time);
        }
        for (id, until) in &all.spent {
            let piece = History { spent: [(id.clone(), *until)].into(), ..History::default() };
            if piece.beyond(&self.recorded) {
                self.record(log, "trust.carried", "", &piece);
            }
        }
        self.saved_or_said();
    }

    /// Records what was revoked.
    pub fn record_revoked(&mut self, log: &Log, new: &RevokedPlugins) {
        for revoked in new.pieces(PIECE) {
            self.record(log, "trust.revoked", "", &History { revoked, ..History::default() });
        }
        self.saved_or_said();
    }

    /// Records the floors of a set that is about to come into force. The rest is in the record of its activation.
    pub fn record_floors(&mut self, log: &Log, set: Digest, of_set: &History) {
        for piece in floors(of_set, &self.recorded) {
            self.record(log, "trust.floors", &format!(r#""set":"{set}""#), &piece);
        }
    }

    /// Records that a candidate was stopped.
    pub fn record_stopped(&mut self, log: &Log, fields: &str, key: Digest) {
        let piece = History { stopped: [key].into(), ..History::default() };
        self.record(log, "release.candidate-stopped", fields, &piece);
        self.saved_or_said();
    }

    /// Remembers what a durable record has said.
    pub fn remember(&mut self, piece: &History) {
        self.memory.history.join(piece);
        self.recorded.join(piece);
        self.saved_or_said();
    }

    pub(super) fn record(&mut self, log: &Log, kind: &'static str, fields: &str, piece: &History) {
        let fields = match remembered(fields, piece) {
            Ok(fields) => fields,
            Err(error) => return tracing::error!(kind, %error, "a record could not be written"),
        };
        match log.append(Entry { kind, fields, sealed: None }).map(Pending::wait) {
            Ok(Ok(_)) => drop(self.recorded.join(piece)),
            Ok(Err(error)) => tracing::error!(kind, %error, "a record about trust is not durable"),
            Err(refused) => tracing::error!(kind, %refused, "a record about trust was not taken"),
        }
        self.memory.history.join(piece);
    }
}

/// The members of a record that tells what to remember.
pub fn remembered(fields: &str, piece: &History) -> serde_json::Result<String> {
    let comma = if fields.is_empty() { "" } else { "," };
    Ok(format!(r#"{fields}{comma}"remember":{}"#, serde_json::to_string(piece)?))
}

pub(super) fn root_fields(root: &TrustRoot) -> String {
    format!(r#""version":{},"digest":"{}","expires":{}"#, root.version, root.digest, root.expires)
}

/// Floors and serials beyond those known, in pieces that fit a record.
fn floors(all: &History, known: &History) -> Vec<History> {
    let mut pieces = Vec::new();
    let raised = |ours: &std::collections::BTreeMap<String, u64>,
                  known: &std::collections::BTreeMap<String, u64>| {
        let new =
            ours.iter().filter(|(id, serial)| known.get(*id).is_none_or(|known| known < serial));
        new.map(|(id, serial)| (id.clone(), *serial)).collect::<Vec<_>>()
    };
    for some in raised(&all.serials, &known.serials).chunks(PIECE) {
        pieces.push(History { serials: some.iter().cloned().collect(), ..History::default() });
    }
    for some in raised(&all.floors, &known.floors).chunks(PIECE) {
        pieces.push(History { floors: some.iter().cloned().collect(), ..History::default() });
    }
    pieces
}

fn say(log: &Log, entry: Entry) {
    let kind = entry.kind;
    if let Err(refused) = log.append(entry) {
        tracing::error!(kind, %refused, "a record could not be appended");
    }
}

/// Names of plugins that one record has room for.
const PIECE: usize = 32;

//! Records about trust: what is remembered goes into the log, in pieces that fit a record.
//!
//! Invariant: nothing counts as recorded before its record is durable. What must hold at once is
//! remembered although its record is not; what is remembered and in no record is given to the log
//! again, in this run ([`TrustState::retry_records`]) or by the next start. A record that became
//! durable unnoticed is made twice, never left out. Writes no file of its own.

use std::sync::Arc;
use std::time::Duration;

use portcullis_audit::{Entry, Log, Pending};
use portcullis_model::Digest;
use portcullis_model::json::build_members;
use portcullis_trust::{RevokedPlugins, TrustHistory, TrustRoot};

use super::TrustState;
use crate::clock::{elapsed_since, monotonic_now};
use crate::logging::log_limit::LOG_LIMITS;
use crate::trust::roots::mark;

/// The pieces that others have given the log to record.
#[derive(Default)]
pub struct Learned {
    /// All of it: it is remembered from here on.
    pub known: TrustHistory,
    /// The part of it, and of earlier pieces, that is in a durable record.
    pub recorded: TrustHistory,
}

impl Learned {
    /// Returns both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.known.merge(&other.known);
        self.recorded.merge(&other.recorded);
        self
    }
}

impl TrustState {
    /// Records what was found at the start, and everything that is remembered and not in this log yet. What the log does not
    /// take is given to it again by [`TrustState::refresh`].
    pub fn record_startup_findings(&mut self, log: &Log) {
        let findings = std::mem::take(&mut self.findings).into_iter();
        self.findings = findings.filter(|it| !append(log, it.kind, it.fields.clone())).collect();
        let all = self.state.history.clone();
        if all.root > self.recorded.root {
            for root in self.unrecorded_roots() {
                let piece = TrustHistory { root: Some(mark(&root)), ..TrustHistory::default() };
                self.record(log, "trust.root", &root_fields(&root), &piece);
            }
        }
        for revoked in all.revoked.pieces(CHUNK) {
            if !self.recorded.revoked.includes(&revoked) {
                let piece = TrustHistory { revoked, ..TrustHistory::default() };
                self.record(log, "trust.revoked", "", &piece);
            }
        }
        for piece in min_serial_deltas(&all, &self.recorded) {
            self.record(log, "trust.min-serials", "", &piece);
        }
        let last =
            TrustHistory { highest: all.highest, active: all.active, ..TrustHistory::default() };
        if last.minus(&self.recorded) {
            self.record(log, "trust.imported", "", &last);
        }
        let unknown: Vec<_> = all.stopped.difference(&self.recorded.stopped).copied().collect();
        for some in unknown.chunks(CHUNK) {
            let piece =
                TrustHistory { stopped: some.iter().copied().collect(), ..TrustHistory::default() };
            self.record(log, "trust.imported", "", &piece);
        }
        let time = TrustHistory { time: all.time, ..TrustHistory::default() };
        if time.minus(&self.recorded) {
            self.record(log, "trust.imported", "", &time);
        }
        let known = self.recorded_or_pending();
        for (id, until) in &all.used_documents {
            let piece = TrustHistory {
                used_documents: [(id.clone(), *until)].into(),
                ..TrustHistory::default()
            };
            if piece.minus(&known) {
                self.record(log, "trust.imported", "", &piece);
            }
        }
        for (table, issued) in &all.tables {
            let piece = TrustHistory {
                tables: [(table.clone(), *issued)].into(),
                ..TrustHistory::default()
            };
            if piece.minus(&known) {
                self.record(log, "trust.imported", "", &piece);
            }
        }
        self.save_or_log();
    }

    /// Records what was revoked.
    pub fn record_revoked(&mut self, log: &Log, new: &RevokedPlugins) {
        for revoked in new.pieces(CHUNK) {
            self.record(
                log,
                "trust.revoked",
                "",
                &TrustHistory { revoked, ..TrustHistory::default() },
            );
        }
        self.save_or_log();
    }

    /// Records the floors of a set that is about to become active. The rest is in the record of its
    /// activation.
    pub fn record_min_serials(&mut self, log: &Log, set: Digest, of_set: &TrustHistory) {
        for piece in min_serial_deltas(of_set, &self.recorded) {
            let fields = build_members(|fields| {
                fields.display("set", set);
            });
            self.record(log, "trust.min-serials", &fields, &piece);
        }
    }

    /// Records that a candidate was stopped.
    pub fn record_stopped(&mut self, log: &Log, fields: &str, key: Digest) {
        let piece = TrustHistory { stopped: [key].into(), ..TrustHistory::default() };
        self.record(log, "release.candidate-stopped", fields, &piece);
        self.save_or_log();
    }

    /// Remembers what a durable record has said.
    pub fn remember(&mut self, piece: &TrustHistory) {
        self.state.history.merge(piece);
        self.recorded.merge(piece);
        self.save_or_log();
    }

    /// Remembers what others give the log to record, and what of it the log has.
    pub(super) fn learn(&mut self, learned: &Learned) {
        let Learned { known, recorded } = learned;
        if known.is_empty() && recorded.is_empty() {
            return;
        }
        self.recorded_elsewhere.merge(known);
        self.state.history.merge(known);
        self.remember(recorded);
    }

    /// Gives the log what it has not taken, unless it still takes nothing.
    pub(super) fn retry_records(&mut self, log: &Log) {
        let is_due =
            self.retried.is_none_or(|retried| elapsed_since(retried) >= RETRY_RECORDS_EVERY);
        if !is_due || log.health().stopped.is_some() {
            return;
        }
        let lacks = self.state.unrecorded && self.is_ahead_of(&self.recorded_or_pending());
        if lacks || !self.findings.is_empty() {
            self.retried = Some(monotonic_now());
            self.record_startup_findings(log);
        }
    }

    /// Whether something is remembered that is in no durable record.
    pub(super) fn is_unrecorded(&self) -> bool {
        self.is_ahead_of(&self.recorded)
    }

    /// Whether something is remembered beyond this.
    fn is_ahead_of(&self, known: &TrustHistory) -> bool {
        // Activations are never part of a record: `active` tells as much.
        let all = TrustHistory { activations: Vec::new(), ..self.state.history.clone() };
        all.minus(known)
    }

    /// Returns what the log has and what others in this process will give it.
    fn recorded_or_pending(&self) -> TrustHistory {
        let mut known = self.recorded.clone();
        known.merge(&self.recorded_elsewhere);
        known
    }

    pub(super) fn record(
        &mut self,
        log: &Log,
        kind: &'static str,
        fields: &str,
        piece: &TrustHistory,
    ) {
        self.state.history.merge(piece);
        match with_state_delta(fields, piece) {
            Ok(fields) => {
                if append(log, kind, fields) {
                    self.recorded.merge(piece);
                }
            }
            Err(error) => {
                tracing::error!(
                    kind,
                    %error,
                    event = "log.record-not-written",
                    "a record of trust state could not be encoded"
                )
            }
        }
    }

    /// The accepted roots that the log does not tell of, the oldest first: of a log that tells of none, the
    /// newest.
    fn unrecorded_roots(&self) -> Vec<Arc<TrustRoot>> {
        match self.recorded.root {
            Some(known) => self.roots.after(known.version),
            None => vec![Arc::clone(self.roots.newest())],
        }
    }
}

/// The members of a record that tells what to remember.
pub fn with_state_delta(fields: &str, piece: &TrustHistory) -> serde_json::Result<String> {
    let state = serde_json::to_string(piece)?;
    Ok(build_members(|all| {
        all.members(fields).json("state", &state);
    }))
}

pub(super) fn root_fields(root: &TrustRoot) -> String {
    build_members(|fields| {
        fields.number("version", root.version).display("digest", root.digest);
        fields.number("expires", root.expires);
    })
}

/// Floors and serials beyond those known, in pieces that fit a record.
fn min_serial_deltas(all: &TrustHistory, known: &TrustHistory) -> Vec<TrustHistory> {
    let mut pieces = Vec::new();
    let raised = |ours: &std::collections::BTreeMap<String, u64>,
                  known: &std::collections::BTreeMap<String, u64>| {
        let new =
            ours.iter().filter(|(id, serial)| known.get(*id).is_none_or(|known| known < serial));
        new.map(|(id, serial)| (id.clone(), *serial)).collect::<Vec<_>>()
    };
    for some in raised(&all.serials, &known.serials).chunks(CHUNK) {
        pieces.push(TrustHistory {
            serials: some.iter().cloned().collect(),
            ..TrustHistory::default()
        });
    }
    for some in raised(&all.min_serials, &known.min_serials).chunks(CHUNK) {
        pieces.push(TrustHistory {
            min_serials: some.iter().cloned().collect(),
            ..TrustHistory::default()
        });
    }
    pieces
}

/// Appends a record about trust and waits until it is durable; returns whether it is.
fn append(log: &Log, kind: &'static str, fields: String) -> bool {
    let why = match log.append(Entry { kind, fields, sealed: None }).map(Pending::wait) {
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(refused) => refused.to_string(),
    };
    if LOG_LIMITS.allows("trust.not-recorded", kind, monotonic_now()) {
        tracing::error!(
            event = "trust.not-recorded",
            kind,
            why,
            "a trust change is in effect, but its record is not in the audit log yet; the host \
             records it when the log accepts records again"
        );
    }
    false
}

/// Names of plugins that one record has room for.
const CHUNK: usize = 32;
/// How often the log is given again what it has not taken, while it takes records.
const RETRY_RECORDS_EVERY: Duration = Duration::from_secs(5);

//! The records of reference tables: a version that is used, one that waits, and a file that is
//! refused.
//!
//! Invariant: the open part names tables, versions and numbers, never a key or a cell. What names
//! people is sealed.

use portcullis_audit::Entry;
use portcullis_model::json::{ObjectWriter, build_members, build_object};
use portcullis_store::tables::{Difference, Table};
use portcullis_trust::TrustHistory;

use super::TableProblem;
use super::signed::Signed;
use crate::recorder::Recorder;

/// The record of a version. The keys of rows that would be lost name people: they are sealed.
/// `signed` is the signature of a signed table, with what the host has to remember of it.
pub fn version_record(
    kind: &'static str,
    table: &Table,
    held: Option<&Difference>,
    signed: Option<(&Signed, &TrustHistory)>,
) -> Entry {
    let write = |fields: &mut ObjectWriter<'_>| {
        fields.text("table", table.name()).display("version", table.version());
        fields.number("rows", table.rows()).number("bytes", table.bytes());
        if let Some(difference) = held {
            fields.number("lost", difference.lost).number("changed", difference.changed);
        }
        if let Some((Signed { verified, .. }, _)) = signed {
            fields.texts("signers", verified.signers());
            fields.number("signed_at", verified.signed.issued);
        }
        // A version that waits is not the newest one that was used.
        if let Some((_, piece)) = signed.filter(|_| held.is_none())
            && let Ok(state) = serde_json::to_string(piece)
        {
            fields.json("state", &state);
        }
    };
    let sealed = held.map(|difference| {
        build_object(|object| {
            object.texts("warning", [difference.warning().as_str()]);
        })
        .into_bytes()
    });
    Entry { kind, fields: build_members(write), sealed }
}

/// Records and logs that a file cannot be used, where no other record says so.
pub fn record_problem(recorder: &Recorder, name: &str, problem: &TableProblem) {
    if problem.is_recorded() {
        return;
    }
    tracing::warn!(
        event = "table.refused",
        table = name,
        code = problem.code(),
        %problem,
        hint = problem.hint(),
        "the file of a reference table cannot be used; the version before it stays in use until it \
         is stale"
    );
    let fields = build_members(|fields| {
        fields.text("table", name).text("code", problem.code());
    });
    let sealed = Some(problem.to_string().into_bytes());
    recorder.append(Entry { kind: RECORD_REFUSED, fields, sealed });
}

/// A version waits for a confirmation.
pub const RECORD_HELD: &str = "table.held";

/// Calls see a version from here on.
pub const RECORD_LOADED: &str = "table.loaded";

/// A file cannot be used.
const RECORD_REFUSED: &str = "table.refused";

//! Documents that are spent, in the emergency ring.
//!
//! Invariant: before a document holds, the ring or the host's own folder says that it is spent. A
//! slot without a record leads to a record at the next start.

use std::collections::BTreeMap;

use portcullis_audit::Entry;
use portcullis_model::json::{build_members, build_object};
use portcullis_model::{Digest, Millis};
use portcullis_trust::{BreakGlass, Envelope, TrustHistory};

use super::folder::{OpenRequest, Refused};
use super::opened::OpenedDocument;
use super::records::RecordTag;
use super::{BreakGlassContext, BreakGlassState, State};
use crate::trust::state::with_state_delta;

impl BreakGlassState {
    /// Before it holds, that it is spent is in the emergency ring, or in the host's own folder
    /// where the ring has no room.
    pub(super) fn record_use(
        &self,
        context: &BreakGlassContext<'_>,
        state: &mut State,
        document: &BreakGlass,
        opened: &OpenedDocument,
        opening: &OpenRequest,
    ) -> Result<(), Refused> {
        let id = <[u8; 32]>::try_from(document.id.as_bytes())
            .map_err(|_| ("break-glass-malformed", "its id".to_owned()))?;
        let slot = context
            .log
            .ring()
            .note(&document.hook, None, &id, RING_CAUSE, opened.opened.0)
            .ok()
            .flatten();
        state.documents.documents.insert(document.id.clone(), opened.clone());
        if slot.is_none() && !self.save(state) {
            state.documents.documents.remove(&document.id);
            return Err((
                "break-glass-not-kept",
                "its use could be stored neither in the emergency ring nor in trust.state"
                    .to_owned(),
            ));
        }
        let payload = Envelope::parse(&opening.envelope)
            .map(|envelope| portcullis_model::sha256(envelope.unverified_payload()));
        let payload = payload.unwrap_or(Digest([0; 32]));
        let fields = build_members(|fields| {
            fields
                .text("id", &document.id)
                .text("hook", &document.hook)
                .texts("waives", &document.waives)
                .boolean("fail_open", document.fail_open)
                .number("until", opened.until)
                .display("document", payload);
        });
        let piece = TrustHistory {
            used_documents: [(document.id.clone(), document.expires)].into(),
            ..TrustHistory::default()
        };
        let fields = with_state_delta(&fields, &piece).unwrap_or(fields);
        self.newly_used().known.merge(&piece);
        let sealed = build_object(|sealed| {
            sealed
                .text("person", &opening.person)
                .text("reason", &opening.reason)
                .text("ticket", &opening.ticket)
                .text("signed_for", &document.person)
                .text("signed_reason", &document.reason)
                .text("signed_ticket", &document.ticket);
        });
        let tag = RecordTag { slot, used: piece.used_documents.into_iter().next() };
        state.queue_record("break-glass.opened", fields, Some(sealed.into_bytes()), tag);
        Ok(())
    }
}

/// The record of [`recovered`] is durable.
pub fn is_recorded(state: &BreakGlassState, id: &[u8; 32], opened: Millis) {
    if let Some(spent) = used_delta(id, opened) {
        state.newly_used().recorded.merge(&spent);
    }
}

/// The memory of a document of which only the emergency ring knows.
fn used_delta(id: &[u8; 32], opened: Millis) -> Option<TrustHistory> {
    let id = std::str::from_utf8(id)
        .ok()
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let spent = BTreeMap::from([(id.to_owned(), Millis(opened.0.saturating_add(MAX_VALIDITY.0)))]);
    Some(TrustHistory { used_documents: spent, ..TrustHistory::default() })
}

/// The slot of an opening whose record did not become durable: the document is spent.
pub fn recovered(
    state: &BreakGlassState,
    hook: &str,
    id: &[u8; 32],
    opened: Millis,
) -> Option<Entry> {
    let piece = used_delta(id, opened)?;
    let id = piece.used_documents.keys().next()?;
    state.mark_used(&piece.used_documents);
    state.newly_used().known.merge(&piece);
    let fields = build_members(|fields| {
        fields.text("id", id).number("opened", opened).text("hook", hook);
    });
    let fields = with_state_delta(&fields, &piece).ok()?;
    Some(Entry { kind: "break-glass.recovered", fields, sealed: None })
}

/// Longer than any document can be opened: ten years.
const MAX_VALIDITY: Millis = Millis(3_660 * 24 * 60 * 60 * 1_000);
/// The cause of an opening in the emergency ring: its answer's hash is the document's id.
pub const RING_CAUSE: &str = "break-glass";

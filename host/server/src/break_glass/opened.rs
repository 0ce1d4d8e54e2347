//! The list of documents that were opened here, and the time that they have used.
//!
//! Invariant: the list is in the host's own folder under the host's key, so that no restart makes a
//! document new or ends one early.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_model::Millis;
use serde::{Deserialize, Serialize};

use super::{BreakGlassContext, BreakGlassState, State};
use crate::clock::{elapsed_since, monotonic_now};
use crate::trust::persisted::write_durably;

/// The list in the host's own folder, so that no restart makes a document new or ends one early.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenedDocuments {
    pub(super) documents: BTreeMap<String, OpenedDocument>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenedDocument {
    pub(super) hook: String,
    pub(super) opened: Millis,
    pub(super) until: Millis,
    /// Until when the document could have been opened: then it need not be remembered.
    pub(super) expires: Millis,
    pub(super) closed: bool,
    /// How much of its time is used, milliseconds: counted by the monotonic clock, so that no clock
    /// that is set back gives any of it back.
    #[serde(default)]
    pub(super) used: u64,
}

impl BreakGlassState {
    /// Writes down the time that open documents have used, at the end.
    pub fn write_use(&self, context: &BreakGlassContext<'_>) {
        let mut state = self.state();
        state.saved = None;
        self.count_use(context, &mut state);
    }

    /// Counts the time that open documents have used, and writes it down now and then.
    pub(super) fn count_use(&self, context: &BreakGlassContext<'_>, state: &mut State) {
        let mut is_open = false;
        for (_, place) in &context.hooks {
            let Some(open) = place.load_full() else { continue };
            let Some(opened) = state.documents.documents.get_mut(&open.id) else { continue };
            let since =
                u64::try_from(elapsed_since(open.opened_at).as_millis()).unwrap_or(u64::MAX);
            opened.used = opened.used.max(open.used_before.saturating_add(since));
            is_open |= !opened.closed;
        }
        if is_open && state.saved.is_none_or(|saved| elapsed_since(saved) >= SAVE_EVERY) {
            state.saved = Some(monotonic_now());
            self.save(state);
        }
    }

    pub(super) fn save(&self, state: &State) -> bool {
        let place =
            self.state_folder.as_ref().map_or_else(|| self.file.clone(), |home| home.at(LIST));
        let written =
            self.mac.authenticate(&state.documents).and_then(|bytes| write_durably(&place, &bytes));
        if let Err(error) = &written {
            tracing::error!(
                %error,
                event = "break-glass.list-not-written",
                "the list of used break-glass documents could not be written to trust.state; check \
                 its disk"
            );
        }
        written.is_ok()
    }
}

/// How much of an open document's time a crash may give back.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// The largest list of opened documents, bytes: tens of thousands of them.
pub(super) const MAX_LIST_BYTES: u64 = 16 << 20;
/// The list of documents that were opened, in the host's own folder.
pub(super) const LIST: &str = "break-glass";

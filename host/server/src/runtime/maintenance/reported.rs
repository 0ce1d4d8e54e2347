//! Log lines and records about refused configurations, releases and files: once each, in the host's
//! log and as a record.
//!
//! Invariant: whoever may write a folder cannot write the log at will: what is told of single files
//! is limited by the minute. Decides nothing.

use portcullis_model::Millis;

use super::Reported;
use crate::loading::{RejectedComponents, ReleaseError, refusal_record, refused_component_record};
use crate::runtime::reload::ReloadError;
use crate::state::host::Host;

pub(super) fn reject_configuration(host: &Host, seen: &mut Reported, error: &ReloadError) {
    tracing::warn!(
        code = error.code(),
        %error,
        hint = error.hint(),
        event = "config.refused",
        "the configuration was refused; the active configuration stays active"
    );
    host.health.conditions.set_refused_configuration(Some(error.to_string()));
    if seen.reported.insert((seen.file, error.to_string())) {
        host.recorder.append(error.entry());
    }
}

pub(super) fn reject_release(host: &Host, seen: &mut Reported, error: &ReleaseError) {
    // Before it is said: whoever hears of it may look at the status page next.
    host.health.conditions.set_refused_release(Some(error.code()));
    host.release.status.set_rejected(error);
    let outcome = match host.active_config.load().generation {
        Some(_) => "the release was refused; the active release stays active",
        None => {
            "the release was refused; no release is active, and every call gets its safe answer"
        }
    };
    tracing::warn!(
        code = error.code(),
        %error,
        hint = error.hint(),
        event = "release.refused",
        "{outcome}"
    );
    if seen.reported.insert((seen.folders.release, error.to_string())) {
        host.recorder.append(refusal_record(error));
    }
}

pub(super) fn report_rejected_components(
    host: &Host,
    seen: &mut Reported,
    allowance: &mut RecordRate,
    rejected_components: RejectedComponents,
) {
    let mut more = rejected_components.unlisted;
    for stray in rejected_components.found {
        if seen.reported.contains(&(Some(stray.component), stray.code.to_owned())) {
            continue;
        }
        // A writer of the folder must not be able to write the log at will.
        if !allowance.take(host.clock.now()) {
            more = more.saturating_add(1);
            continue;
        }
        seen.reported.insert((Some(stray.component), stray.code.to_owned()));
        let (file, hint) = (stray.path.display(), &stray.hint);
        tracing::warn!(
            code = stray.code,
            %file,
            hint,
            event = "plugin.refused",
            "a plugin was refused: {}",
            stray.sentence
        );
        host.recorder.append(refused_component_record(&stray));
    }
    if host.health.conditions.set_unlisted_rejected(more) && more > 0 {
        tracing::warn!(
            event = "plugin.more-refused",
            more,
            "more files in the plugins' folder were refused than the log names"
        );
    }
    // Bounded: past that, some of it may be said again.
    while seen.reported.len() > MAX_REMEMBERED {
        seen.reported.pop_first();
    }
}

/// How many files of a folder are recorded, by the minute.
#[derive(Default)]
pub(super) struct RecordRate {
    minute: u64,
    taken: u32,
}

impl RecordRate {
    /// Takes one of this minute's; says whether there was one.
    pub(super) fn take(&mut self, now: Millis) -> bool {
        let minute = now.0 / 60_000;
        if std::mem::replace(&mut self.minute, minute) != minute {
            self.taken = 0;
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= MAX_REPORTED_PER_MINUTE
    }
}

/// Files of one folder that may not be used, of which a record is made within one minute.
const MAX_REPORTED_PER_MINUTE: u32 = 60;
/// Refusals remembered so as not to repeat them.
const MAX_REMEMBERED: usize = 4_096;

//! The answers that an earlier run owed the log, as the emergency ring knows them, taken up at a
//! start.
//!
//! Invariant: what the ring holds stays there until its record is durable. Decides nothing.

use portcullis_audit::{Pending, corrections as audit_corrections};
use portcullis_model::{Cause, Millis};
use std::time::Duration;

use crate::break_glass;
use crate::records::corrections::{free, log_ring_failure};
use crate::records::rejections;
use crate::state::host::Host;

/// Says what the last run owed, as the emergency ring remembers it. `size` is how many records
/// survived: an index beyond was given and never durable, and is another record's by now.
pub fn recover(host: &Host, owed: &[portcullis_audit::RingEntry], size: u64) {
    use portcullis_audit::RingEntry as Remembered;
    // Counts first: an answer whose record did not survive is added to the count of its cause.
    let is_count = |remembered: &&Remembered| matches!(remembered, Remembered::Counted(_));
    let counts = owed.iter().filter(is_count);
    for remembered in counts.chain(owed.iter().filter(|remembered| !is_count(remembered))) {
        match remembered {
            Remembered::Answer { slot, hook, answer, cause, at, .. }
                if cause == break_glass::RING_CAUSE =>
            {
                if let Some(entry) =
                    break_glass::recovered(&host.trust.break_glass, hook, answer, Millis(*at))
                    && say(host, entry)
                {
                    break_glass::is_recorded(&host.trust.break_glass, answer, Millis(*at));
                    free(&host.recorder, *slot);
                }
            }
            Remembered::Answer { slot, index: Some(index), answer, cause, at, .. }
                if *index < size =>
            {
                if say(host, audit_corrections::superseded(*index, answer, known_cause(cause), *at))
                {
                    free(&host.recorder, *slot);
                }
            }
            Remembered::Answer { slot, hook, cause, at, .. } => {
                host.hook_states.state(hook).corrections.restore_one(
                    &host.recorder,
                    known_cause(cause),
                    Millis(*at),
                );
                free(&host.recorder, *slot);
            }
            Remembered::Counted(tally) if tally.hook.is_empty() => {
                let id = audit_corrections::tally_id();
                if say(host, audit_corrections::gap(id, "", "", &tally.all))
                    && let Err(error) = host.recorder.log.ring().settle_unnamed()
                {
                    log_ring_failure("", &error);
                }
            }
            Remembered::Counted(tally) if rejections::is_kept(tally) => {
                host.counts.rejections.restore(tally)
            }
            Remembered::Counted(tally) => {
                host.hook_states.state(&tally.hook).corrections.restore(tally)
            }
            Remembered::Damaged { slots, answers } => {
                tracing::error!(
                    event = "log.ring-damaged",
                    slots,
                    answers,
                    "parts of the emergency ring cannot be read: more answers than counted may \
                     have been sent without a record"
                );
                if say(host, audit_corrections::ring_damaged(*answers, *slots))
                    && let Err(error) = host.recorder.log.ring().settle_damaged()
                {
                    log_ring_failure("", &error);
                }
            }
        }
    }
    host.flush_corrections();
    // Counts that are durable before the first decision need not be found again by the next start.
    match host.recorder.log.flush_checkpoint_within(START_CHECKPOINT) {
        Ok(_) => host.flush_corrections(),
        Err(error) => tracing::warn!(
            event = "log.checkpoint-late",
            code = error.code(),
            %error,
            hint = error.hint(),
            "no checkpoint covers the last run's corrections yet; the host continues, and a start \
             before the next checkpoint records them again"
        ),
    }
}

/// Appends a record and waits until it is durable. Where it is not, what it says stays in the ring,
/// and the next start tries again.
fn say(host: &Host, entry: portcullis_audit::Entry) -> bool {
    match host.recorder.log.append(entry).map(Pending::wait) {
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => {
            tracing::error!(
                %error,
                event = "owed.not-durable",
                "a correction of the last run is not durable yet; the next start records it again"
            )
        }
        Err(refused) => {
            tracing::error!(
                %refused,
                event = "owed.not-recorded",
                "a correction of the last run could not be recorded; the next start tries again"
            )
        }
    }
    false
}

/// The cause, unless it is none of this version's.
fn known_cause(cause: &str) -> &str {
    let known = Cause::ALL.iter().any(|known| known.code() == cause);
    if known { cause } else { Cause::InternalError.code() }
}

/// How long a start waits for the checkpoint over what it recovered. Without it the next start
/// finds the same again; tiles that cannot be written must not keep a host from deciding.
const START_CHECKPOINT: Duration = Duration::from_secs(2);

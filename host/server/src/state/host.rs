//! The host: everything that calls share.
//!
//! Invariant: the generation is one pointer, exchanged whole. A call waits for no lock that is held
//! across a commit or a plugin. The trust lock is held while records about trust become durable,
//! and no call takes it. `runtime::prepared` starts a host; the state of one hook is in `hook`.

mod configured;
mod hook;
pub mod mounts;
mod parts;
mod recovery;
mod time_documents;
mod trust_changes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use portcullis_audit::{Entry, Recovery};
use portcullis_engine::Engine;
use portcullis_model::json::build_members;
use portcullis_model::{Cause, Millis};
use thiserror::Error;

use crate::bindings::generation::{Bindings, Generation};
use crate::break_glass::BreakGlassContext;
use crate::clock::{Clock, monotonic_now};
use crate::config::Config;
use crate::error::StartError;
use crate::fs::file_worker::FileWorkers;
use crate::loading::ReadContext;
use crate::logging::log_limit::LOG_LIMITS;
use crate::observe::telemetry::Telemetry;
use crate::platform_calls::resume::ResumeContext;
use crate::recorder::{NotDurable, Recorder};
use crate::records::rejections::Reason;
use crate::state::active::{ActiveConfig, HookStates};
use crate::tables::{PollFor, TableContext};
use crate::trust::ClockAlarm;
use crate::trust::state::{Learned, TrustState};

pub use configured::{Configured, Opened, log_place};
pub use hook::{Hook, UndecidedRequest};
pub use parts::{
    CallLimits, CallerKeys, Counts, HostHealth, HostTrust, PlatformCalls, ReleaseSources,
};
pub use trust_changes::LateTrust;

/// The state that all calls share.
pub struct Host {
    /// The configuration of the start. Calls and reloads use the one in [`ActiveConfig`].
    pub(crate) config: Arc<Config>,
    /// The hooks and their generation. The `startup` thread exchanges them until the host has
    /// started, then only the maintenance thread.
    pub(crate) active_config: ArcSwap<ActiveConfig>,
    /// The state of each hook, by name.
    pub(crate) hook_states: Arc<HookStates>,
    /// The audit log, and what a record needs.
    pub(crate) recorder: Arc<Recorder>,
    /// The clock.
    pub(crate) clock: Clock,
    /// Trust roots, trusted time and break-glass documents.
    pub(crate) trust: HostTrust,
    /// The bounds of connections and calls.
    pub(crate) limits: CallLimits,
    /// Counts that are recorded or shown later.
    pub(crate) counts: Counts,
    /// The keys by which callers are authenticated.
    pub(crate) callers: CallerKeys,
    /// The calls that the host makes itself.
    pub(crate) platforms: PlatformCalls,
    /// The sources of releases, and what is known of them.
    pub(crate) release: ReleaseSources,
    /// The conditions that health and readiness report.
    pub(crate) health: HostHealth,
    /// Threads for file operations that may hang.
    pub(crate) files: FileWorkers,
    /// The exporter of traces, if one is configured.
    pub(crate) telemetry: Option<Telemetry>,
    engine: Engine,
    seeds: AtomicU64,
}

/// Why a prepared release was not activated. The release itself has no problem.
#[derive(Debug, Error)]
pub enum NotActivated {
    /// The trust state changed while the release was being prepared.
    #[error(
        "the trust state changed while the release was being prepared; the host prepares it again"
    )]
    Superseded,
    /// Its record could not be made durable.
    #[error("the record of its activation is not durable: {0}")]
    Record(String),
}

impl From<NotDurable> for NotActivated {
    fn from(error: NotDurable) -> Self {
        Self::Record(error.0)
    }
}

impl Host {
    /// Returns the next call's seed: a counter from a random start, spread over all 64 bits (the
    /// finaliser of SplitMix64, Steele et al. 2014).
    pub fn seed(&self) -> u64 {
        let mut seed = self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        seed ^ (seed >> 31)
    }

    /// Locks the trust state, for as long as records and files about trust take; no call waits for
    /// it.
    pub fn trust_state(&self) -> MutexGuard<'_, TrustState> {
        self.trust.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the present basis for reading release folders.
    pub fn reading_basis(&self) -> ReadContext {
        let roots = self.trust_state().view().signers();
        ReadContext { roots, digests: Arc::clone(&self.release.digests) }
    }

    /// The time that the ends of trust documents are checked against.
    pub fn trusted_now(&self) -> Millis {
        self.trust.time.for_documents()
    }

    /// Records what has become of the trust in this machine's clock since the last round. Returns whether
    /// the clock is believed again: then documents that had to wait are to be looked at.
    pub fn check_clock(&self) -> bool {
        let alarms = self.trust.time.take_alarms();
        for alarm in &alarms {
            alarm.log();
            self.recorder.append(alarm.entry());
        }
        alarms.iter().any(|alarm| matches!(alarm, ClockAlarm::Confirmed { .. }))
    }

    /// Takes the release that is active out of use: every call gets its safe answer. The counters
    /// of its bindings stay; those of candidates begin anew with the next release.
    pub fn withdraw(&self) {
        let active_config = self.active_config.load_full();
        if let Some(generation) = &active_config.generation {
            self.counts.previous_metrics.store(Arc::new(generation.metrics()));
        }
        self.active_config.store(Arc::new(active_config.with_generation(None)));
    }

    /// Records that candidates were stopped, and remembers it: they stay so in this set, whatever becomes of this process.
    pub fn record_stopped(&self) {
        let active_config = self.active_config.load_full();
        if let Some(generation) = &active_config.generation
            && generation
                .hooks
                .iter()
                .flat_map(Bindings::candidates)
                .any(|(_, rollout)| rollout.is_unrecorded())
        {
            self.record_ends(&mut self.trust_state(), generation);
        }
    }

    /// Records the ends of candidates that are not recorded yet.
    pub fn record_ends(&self, trust_state: &mut TrustState, generation: &Generation) {
        for (live, rollout) in generation.hooks.iter().flat_map(Bindings::candidates) {
            if let Some(fields) = rollout.end_fields(generation, live) {
                trust_state.record_stopped(&self.recorder.log, &fields, rollout.key);
                rollout.mark_end_recorded();
            }
        }
    }

    /// Returns the cause for a call without an active generation.
    pub fn no_release_cause(&self) -> Cause {
        if self.health.progress.is_starting() { Cause::Starting } else { Cause::NoActiveRelease }
    }

    /// Counts a rejection, and gives it to the emergency ring without waiting.
    pub fn reject(self: &Arc<Self>, hook: &Hook, now: Millis, reason: impl Into<Reason>) {
        let reason = reason.into();
        hook.metrics.rejected(&reason);
        log_rejected(hook, &reason, monotonic_now());
        if let Some(member) = &reason.member {
            let cause = reason.cause;
            if let Some(count) = hook.metrics.members.count(cause, member, now) {
                tracing::warn!(
                    event = "hook.request-rejected",
                    hook = hook.config.name,
                    cause = cause.code(),
                    member = &**member,
                    count,
                    "requests were rejected, because this member is missing or does not match the \
                     hook kind's contract"
                );
            }
        }
        self.counts.rejections.count(now, &hook.name, reason);
        self.counts.rejections.start_persist(&self.recorder);
    }

    /// The engine, which prepares and runs plugins.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the number of sandboxes in use.
    pub fn sandboxes_in_use(&self) -> u64 {
        self.engine.in_use()
    }

    /// Returns the counts of prepared plugins.
    pub fn preparations(&self) -> portcullis_engine::Preparations {
        self.engine.preparations()
    }

    /// Returns how instances are reset.
    pub fn reset(&self) -> portcullis_engine::Reset {
        self.engine.reset()
    }

    /// Returns whether instances are still reset safely.
    pub fn reset_still_holds(&self) -> bool {
        self.engine.reset_still_holds()
    }

    /// Stops the log where its directory or the host's own folder is not where it was opened any more: a file system was
    /// mounted over it, or it was renamed. What lies there by now is not this process's to write.
    pub fn check_mounts(&self) {
        // The log stops itself; its state tells why.
        drop(self.recorder.log.check_place());
        let state = self.trust.folder.as_ref().map(|folder| folder.check_path());
        if let Some(Err(exchanged)) = state {
            self.recorder.log.stop(&exchanged.into());
        }
    }

    /// Appends hooks' pending corrections, and writes those that the log does not accept to the
    /// emergency ring. Blocks on the disk.
    pub fn flush_corrections(&self) {
        for state in self.hook_states.all() {
            // Refused: the log takes nothing now; the next round tries again.
            drop(state.corrections.append_all(&self.recorder));
            state.corrections.sync_ring(&self.recorder);
        }
        // The log's own thread syncs the ring every second, but not while it cannot do its work.
        let health = self.recorder.log.health();
        if (health.stopped.is_some() || health.delayed.is_some())
            && let Err(error) = self.recorder.log.ring().sync()
            && LOG_LIMITS.allows("log.ring-unsynced", "", monotonic_now())
        {
            tracing::error!(
                event = "log.ring-unsynced",
                %error,
                "the emergency ring cannot be synced, so a power loss could lose its content; \
                 check the log's disk"
            );
        }
    }

    /// Appends counts, deliveries and corrections to the log; of counts those of finished minutes,
    /// or `everything`.
    pub fn report(&self, everything: bool) {
        self.recorder.append_waiting();
        self.counts.rejections.report(&self.recorder, everything);
        self.counts.response_writes.report(|entry| self.recorder.append(entry));
        self.record_stopped();
        self.flush_corrections();
    }

    /// Returns what resume calls need of the host.
    pub fn resume_context(&self) -> ResumeContext {
        let time = Arc::clone(&self.trust.time);
        ResumeContext {
            recorder: Arc::clone(&self.recorder),
            outbound: Arc::clone(&self.platforms.outbound),
            now: Arc::new(move || time.now()),
        }
    }

    /// Returns what break-glass needs of the host.
    pub fn break_glass_context(&self) -> BreakGlassContext<'_> {
        let active_config = self.active_config.load();
        let place = |hook: &Arc<Hook>| (Arc::clone(&hook.name), Arc::clone(&hook.break_glass));
        BreakGlassContext {
            config: &self.config,
            files: &self.files,
            now: self.trust.time.now(),
            root: &self.trust.root,
            log: &self.recorder.log,
            hooks: active_config.hooks.iter().map(place).collect(),
            names: &*self.hook_states,
        }
    }

    /// Appends the last records of a run and closes the log.
    pub fn close(&self) {
        self.report(true);
        self.recorder.append(Entry { kind: "host.stop", fields: String::new(), sealed: None });
        if let Some(telemetry) = &self.telemetry {
            telemetry.stop();
        }
        if let Err(error) = self.recorder.log.close() {
            tracing::error!(
                %error,
                event = "log.not-closed",
                "the audit log was not closed properly; it recovers at the next start"
            );
        }
        // The head that the log was closed with is what the next start holds it against.
        self.trust.break_glass.collect_durable(&self.recorder.log);
        self.trust_state().close(|| self.take_learned());
    }

    /// Takes what others have given the log to record about trust since this was asked last.
    pub(super) fn take_learned(&self) -> Learned {
        self.trust.break_glass.take_used().and(&self.trust.signed_tables.take_learned())
    }

    /// Reads the tables of the active release that have changed. Blocks on the disk and on the log.
    pub fn read_tables(&self) {
        let active_config = self.active_config.load_full();
        if let Some(generation) = &active_config.generation {
            let context = self.table_context(&active_config.config);
            generation.tables.poll(&context, PollFor::Changes);
        }
    }

    /// Returns what reading reference tables needs of the host. Locks the trust state.
    pub fn table_context(&self, config: &Config) -> TableContext {
        let trust_state = self.trust_state();
        TableContext {
            folders: config.table_folders(),
            recorder: Arc::clone(&self.recorder),
            roots: trust_state.view().signers(),
            strictest: Arc::clone(trust_state.strictest_root()),
            now: self.trusted_now(),
            signed: Arc::clone(&self.trust.signed_tables),
            sources: Arc::clone(&self.release.tables),
        }
    }

    fn start_entry(&self, recovery: &Recovery) -> Entry {
        let reset = self.engine.reset();
        let fields = build_members(|fields| {
            fields
                .text("build", env!("CARGO_PKG_VERSION"))
                .text("engine", "wasmtime 48")
                .display("config", self.config.digest)
                .display("reset", reset)
                .boolean("unclean", recovery.unclean)
                .number("recovered", recovery.replayed)
                .number("truncated_bytes", recovery.truncated_bytes);
        });
        Entry { kind: "host.start", fields, sealed: None }
    }
}

/// Logs that a caller could not be authenticated, or that a body could not be read: which hook, and
/// why. The claims of a token, the text of a secret and the text of a body stay out. Members that
/// are missing or wrong have a line of their own.
fn log_rejected(hook: &Hook, reason: &Reason, now: Instant) {
    let detail = reason.detail.unwrap_or(reason.cause.code());
    match reason.cause {
        Cause::Unauthenticated if LOG_LIMITS.allows("hook.caller-rejected", &hook.name, now) => {
            tracing::warn!(
                event = "hook.caller-rejected",
                hook = %hook.name,
                reason = detail,
                "a call was rejected because its caller could not be authenticated"
            );
        }
        Cause::BodyTooLarge
        | Cause::BodyIncomplete
        | Cause::NotUtf8
        | Cause::NotJson
        | Cause::DuplicateMember
        | Cause::TooDeep
            if LOG_LIMITS.allows("hook.body-rejected", &hook.name, now) =>
        {
            tracing::warn!(
                event = "hook.body-rejected",
                hook = %hook.name,
                reason = detail,
                "a call was rejected because its body could not be read"
            );
        }
        _ => {}
    }
}

/// A random start for the calls' seeds.
///
/// # Errors
/// [`StartError::Random`].
pub fn random_seed() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

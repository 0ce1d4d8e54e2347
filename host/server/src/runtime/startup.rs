//! The start of a host behind its bound port: state, engine, log, release, one step after the
//! other.
//!
//! Invariant: while this thread works, calls get their safe answers. A step that fails (a full
//! disk, a folder that is not mounted, a state folder that an older process still holds) is tried
//! again, with a pause that grows; it ends the process only where the operator asked for that. A
//! step that hangs keeps no call, no signal and no admin page waiting.

use crate::clock::{elapsed_since, monotonic_now};
use crate::release::activate::activate_at_start;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::admin::Admin;
use crate::error::StartError;
use crate::observe::telemetry::Telemetry;
use crate::release::follow_registry::RegistryWatch;
use crate::runtime::break_glass_thread::BreakGlassThread;
use crate::runtime::maintenance::Maintenance;
use crate::runtime::memory_thread::FlushThread;
use crate::state::frontend::Frontend;
use crate::state::host::{Configured, Host, Opened, random_seed};
use crate::table_push::TablePushListener;
use crate::trust::state_dir::StateDirLock;
use crate::worker::{StopToken, Worker};

/// A start in progress.
pub struct Startup(Worker);

/// The outcome of a start.
pub enum Outcome {
    /// The host serves.
    Running(Running),
    /// A step failed, and the operator wants no second attempt.
    Failed(StartError),
}

/// The threads of a host that serves.
pub struct Running {
    housekeeping: Maintenance,
    break_glass: BreakGlassThread,
    memory: FlushThread,
    registry: Option<RegistryWatch>,
    table_push: Option<TablePushListener>,
}

/// The thread's own.
struct Work {
    frontend: Arc<Frontend>,
    stop: StopToken,
    /// Whether a failure ends the start.
    strict: bool,
    /// When a failure was logged last, and its text.
    logged: Option<(Instant, String)>,
}

impl Startup {
    /// Starts the thread. The outcome is sent once; nothing is sent where [`Startup::stop`]
    /// came first.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn begin(
        configured: Configured,
        frontend: &Arc<Frontend>,
        admin: Option<Admin>,
        strict: bool,
    ) -> Result<(Self, oneshot::Receiver<Outcome>), StartError> {
        let (sender, receiver) = oneshot::channel();
        let frontend = Arc::clone(frontend);
        let worker = Worker::spawn("startup", move |stop| {
            let work = Work { frontend, stop, strict, logged: None };
            if let Some(outcome) = work.run(configured, admin) {
                // A receiver that is gone waits for nothing.
                drop(sender.send(outcome));
            }
        });
        Ok((Self(worker?), receiver))
    }

    /// Ends the start, where it has not ended. A step that hangs is left behind after
    /// [`STOP_LIMIT`].
    pub fn stop(self) {
        if !self.0.stop_within(STOP_LIMIT) {
            tracing::warn!(
                event = "start.abandoned",
                "the host stops without waiting for a step of its start that hangs"
            );
        }
    }
}

impl Running {
    /// Looks for a new configuration, release and artifact now.
    pub fn reload(&self) {
        self.housekeeping.reload().now();
        self.registry.iter().for_each(RegistryWatch::poll_now);
    }

    /// Ends the threads.
    pub fn stop(self) {
        self.break_glass.stop();
        self.table_push.into_iter().for_each(TablePushListener::stop);
        if let Some(registry) = self.registry {
            registry.stop();
        }
        self.housekeeping.stop();
        self.memory.stop();
    }
}

impl Work {
    fn run(mut self, configured: Configured, admin: Option<Admin>) -> Option<Outcome> {
        configured.fetch_keys();
        let opened = match self.open(&configured) {
            Ok(opened) => opened,
            Err(error) => {
                admin.into_iter().for_each(Admin::stop);
                return error.map(Outcome::Failed);
            }
        };
        let (opened, seed) = opened;
        let host = configured.complete(opened, &self.frontend, seed);
        self.frontend.open(Arc::clone(&host));
        // Calls were counted until this moment: the emergency ring holds them from here on.
        host.counts.rejections.start_persist(&host.recorder);
        host.flush_corrections();
        match self.serve(&host, admin) {
            Ok(running) => running.map(Outcome::Running),
            Err(error) => Some(Outcome::Failed(error)),
        }
    }

    /// Opens everything, as often as it takes. An error ends the start; none means that it is to
    /// stop.
    fn open(&mut self, configured: &Configured) -> Result<(Opened, u64), Option<StartError>> {
        let (mut engine, mut telemetry) = (None, None);
        let mut pause = FIRST_PAUSE;
        loop {
            let failed = match self.attempt(configured, &mut engine, &mut telemetry) {
                Ok(opened) => {
                    self.frontend.progress.succeeded();
                    return Ok(opened);
                }
                Err(error) => error,
            };
            if self.strict {
                return Err(Some(failed));
            }
            self.report(&failed);
            // An older process that drains gives the folder back soon.
            let this = if matches!(failed, StartError::InUse(_)) { FIRST_PAUSE } else { pause };
            pause = pause.saturating_mul(2).min(MAX_PAUSE);
            if self.stop.sleep(this) {
                return Err(None);
            }
        }
    }

    /// One attempt. Parts that do not depend on a disk are kept for the next one.
    fn attempt(
        &self,
        configured: &Configured,
        engine: &mut Option<portcullis_engine::Engine>,
        telemetry: &mut Option<Option<Telemetry>>,
    ) -> Result<(Opened, u64), StartError> {
        let progress = &self.frontend.progress;
        let config = configured.config();
        let seed = random_seed()?;
        progress.step("locking the state folder");
        let own_folder = StateDirLock::acquire(&config.trust)?;
        progress.step("reading the state and the trust roots");
        let mut as_found = config.as_found;
        as_found.update(&config.release, &config.trust.roots);
        let mut trust_state = configured.load_trust_state()?;
        trust_state.attach_lock(own_folder);
        progress.step("setting up the sandboxes");
        let ready = match engine.take() {
            Some(engine) => engine,
            None => {
                let ready = configured.engine(true)?;
                tracing::info!(
                    reset = %ready.reset(),
                    event = "engine.reset",
                    "the host chose how it resets plugin instances"
                );
                ready
            }
        };
        let engine = &*engine.insert(ready);
        progress.step("opening the spool of resume calls");
        let resumes = configured.resumes()?;
        if telemetry.is_none() {
            *telemetry = Some(configured.telemetry()?);
        }
        progress.step("opening the audit log");
        let (log, memory, recovery) = configured.open_log(&mut trust_state)?;
        let (engine, telemetry) = (engine.clone(), telemetry.take().flatten());
        let opened =
            Opened { as_found, trust_state, engine, resumes, telemetry, log, memory, recovery };
        Ok((opened, seed))
    }

    /// Readies the release, and starts the threads of a host that serves. Nothing where it is to
    /// stop.
    fn serve(&self, host: &Arc<Host>, admin: Option<Admin>) -> Result<Option<Running>, StartError> {
        let break_glass = BreakGlassThread::start(host)?;
        let memory = FlushThread::start(&host.recorder)?;
        // A document about the time may be what the release waits for.
        drop(host.apply_time_documents());
        activate_at_start(host, || !self.stopping());
        if self.stopping() {
            admin.into_iter().for_each(Admin::stop);
            break_glass.stop();
            memory.stop();
            return Ok(None);
        }
        let housekeeping = Maintenance::start(host, admin)?;
        let registry = RegistryWatch::start(host, {
            let reload = housekeeping.reload();
            move || reload.now()
        })?;
        let table_push = TablePushListener::start(host)?;
        host.health.progress.finish();
        Ok(Some(Running { housekeeping, break_glass, memory, registry, table_push }))
    }

    /// Tells of a failed attempt: at once where it is a new failure, else from time to time.
    fn report(&mut self, failed: &StartError) {
        let (why, hint) = (failed.to_string(), failed.hint());
        self.frontend.progress.failed(why.clone(), hint.clone());
        let known = self
            .logged
            .as_ref()
            .is_some_and(|(at, text)| *text == why && elapsed_since(*at) < LOG_EVERY);
        if known {
            return;
        }
        tracing::error!(
            event = "start.failed",
            error = why,
            hint,
            "the host cannot finish its start: every call gets its safe answer, and the host tries \
             again"
        );
        self.logged = Some((monotonic_now(), why));
    }

    fn stopping(&self) -> bool {
        self.stop.is_set()
    }
}

/// The pause after a first failed attempt, and after every one that found the state folder in use.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How often the same failure is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);
/// How long a stop waits for a step in progress.
const STOP_LIMIT: Duration = Duration::from_secs(8);

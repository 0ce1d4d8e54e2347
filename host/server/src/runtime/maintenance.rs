//! Housekeeping: twice a second, counts and deliveries go to the log, and the configuration file and the release's folders are looked at.
//!
//! Invariant: runs on a thread of its own and holds nothing that a call waits for. Folders and
//! files that others write are read on threads that may hang
//! ([`FileWorkers`](crate::fs::file_worker)): what hangs there keeps nothing else waiting for
//! longer than a poll's limit. A release or configuration that is refused changes nothing; each
//! refusal is recorded once, not every second. What is active is exchanged here and nowhere else.
//! While a release is prepared everything else goes on, revocations first.

mod alarms;
mod reconcile;
mod reported;
mod retry;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis_call_data::timestamp;
use portcullis_model::Digest;

use crate::admin::Admin;
use crate::clock::{elapsed_since, monotonic_now};
use crate::error::StartError;
use crate::fs::change::{Folders, ReleasePoll, WatchedFiles};
use crate::fs::file_worker::POLL_LIMIT;
use crate::loading::expiry::Reminders;
use crate::loading::{MAX_SCANNED_BYTES, RejectedComponents};
use crate::logging::log_limit::LOG_LIMITS;
use crate::state::host::Host;
use crate::tables::PollFor;
use crate::worker::{StopToken, Worker};

use alarms::{check_expiry, check_health, remind_of_expiry};
use reported::{RecordRate, report_rejected_components};
use retry::{Retry, pause};

/// The thread.
pub struct Maintenance {
    requests: SyncSender<()>,
    worker: Worker,
}

/// Asks for a look at the release's folders now; may be kept after the start.
#[derive(Clone)]
pub struct Reload {
    requests: SyncSender<()>,
}

/// The state of the thread.
struct MaintenanceLoop {
    host: Arc<Host>,
    admin: Option<Admin>,
    /// Requests for a look.
    inbox: Receiver<()>,
    stop: StopToken,
    seen: Reported,
    /// When it was looked last.
    polled: Instant,
    /// Whether a look is asked for.
    is_poll_requested: bool,
    /// Whether one was asked for while another was being made.
    is_repeat_requested: bool,
    /// Shared with the thread that polls, which may hang.
    poll: Arc<Mutex<ReleasePoll>>,
    /// The scan for components that may not run, while it goes on.
    scan: Option<Receiver<RejectedComponents>>,
    /// Whether another scan is due.
    scan_due: bool,
    /// The lines about rejected components that may still be logged this minute.
    rejected_components: RecordRate,
    /// And of documents about the time.
    time_documents: RecordRate,
    /// When to look again although nothing has changed.
    retry: Retry,
}

/// The problems that were seen and logged already.
struct Reported {
    file: Option<Digest>,
    folders: Folders,
    /// The folders as they were when it was looked last what they revoke.
    revocations_applied_at: Folders,
    reported: BTreeSet<(Option<Digest>, String)>,
    log_stopped: bool,
    log_delayed: bool,
    reminders: Reminders,
}

impl Maintenance {
    /// Starts it. The admin listener is its own from here on, since a new configuration may move it.
    pub fn start(host: &Arc<Host>, admin: Option<Admin>) -> Result<Self, StartError> {
        let (requests, inbox) = sync_channel(MAX_REQUESTS);
        let host = Arc::clone(host);
        let worker = Worker::spawn("housekeeping", move |stop| {
            MaintenanceLoop::new(host, admin, inbox, stop).run();
        });
        Ok(Self { requests, worker: worker? })
    }

    /// A handle to ask for a reload with.
    pub fn reload(&self) -> Reload {
        Reload { requests: self.requests.clone() }
    }

    /// Says what is left to say and ends.
    pub fn stop(self) {
        self.worker.signal();
        // Wakes the thread where it waits for a request. Where the box is full, the thread is not
        // waiting.
        let _ = self.requests.try_send(());
        self.worker.stop();
    }
}

impl Reload {
    /// Looks now. A look that is already due is enough.
    pub fn now(&self) {
        let _ = self.requests.try_send(());
    }
}

impl MaintenanceLoop {
    fn new(host: Arc<Host>, admin: Option<Admin>, inbox: Receiver<()>, stop: StopToken) -> Self {
        // As they were before they were read: what was changed while the host started has not been seen.
        let WatchedFiles { file, folders } = host.release.watched;
        let seen = Reported {
            file,
            folders,
            revocations_applied_at: folders,
            reported: BTreeSet::new(),
            log_stopped: false,
            log_delayed: false,
            reminders: Reminders::default(),
        };
        Self {
            host,
            admin,
            inbox,
            stop,
            seen,
            polled: monotonic_now(),
            is_poll_requested: false,
            is_repeat_requested: false,
            poll: Arc::default(),
            scan: None,
            scan_due: true,
            rejected_components: RecordRate::default(),
            time_documents: RecordRate::default(),
            retry: Retry::new(monotonic_now()),
        }
    }

    fn run(mut self) {
        let host = Arc::clone(&self.host);
        if host.config.listen.tls.is_none() && !host.config.listen.address.ip().is_loopback() {
            tracing::warn!(
                event = "listen.plain-http",
                "the host serves plain HTTP to other machines (listen.allow_remote_plaintext): \
                 anybody on the network path can read secrets and payloads and change answers"
            );
        }
        while !self.stop.is_set() {
            let wait = if self.is_poll_requested { Duration::ZERO } else { TICK };
            self.is_poll_requested |= self.inbox.recv_timeout(wait).is_ok();
            if self.stop.is_set() {
                break;
            }
            self.is_poll_requested |= self.is_retry_due();
            if let Some(is_requested) = self.poll_due() {
                self.reload_secrets(is_requested);
                self.reconcile(is_requested);
                self.poll_tables();
                self.download_tables(is_requested);
                self.is_poll_requested |= std::mem::take(&mut self.is_repeat_requested);
            }
            self.tick();
        }
        host.report(true);
        host.check_clock();
        if let Some(admin) = self.admin {
            admin.stop();
        }
    }

    /// Whether to look again although nothing has changed: nothing decides, or there is no copy of what does, and what
    /// stood in the way may be over.
    fn is_retry_due(&mut self) -> bool {
        let host = &self.host;
        let nothing_decides = host.active_config.load().generation.is_none();
        let not_kept = host.health.conditions.copy_failure().is_some();
        self.retry.is_due(monotonic_now(), nothing_decides, not_kept)
    }

    /// Whether a look is due, and if so, whether somebody asked for it.
    fn poll_due(&mut self) -> Option<bool> {
        let is_requested = std::mem::take(&mut self.is_poll_requested);
        let watch = self.host.active_config.load().config.release.watch_ms;
        let pause = pause(watch, self.is_unread());
        let due = is_requested || pause.is_some_and(|pause| elapsed_since(self.polled) >= pause);
        due.then(|| {
            self.polled = monotonic_now();
            is_requested
        })
    }

    /// Whether something could not be read when it was looked at last, or what was read could not
    /// be recorded.
    fn is_unread(&self) -> bool {
        let Folders { release, roots } = self.seen.folders;
        let seen = [self.seen.file, release, roots];
        seen.contains(&None) || !self.host.trust.late.is_all_read()
    }

    /// Does the work of every round, which does not wait for a release that is being prepared.
    fn tick(&mut self) {
        let host = Arc::clone(&self.host);
        LOG_LIMITS.report(monotonic_now());
        host.health.maintenance_beat.beat();
        self.scan_rejected_components();
        host.callers.keys.load().iter().for_each(|keys| keys.refresh_if_due(false));
        self.download_tables(false);
        host.report(false);
        host.refresh_trust_state();
        if host.check_clock() {
            // What was refused for the clock's sake.
            self.is_poll_requested = true;
        }
        check_health(&host, &mut self.seen);
        check_expiry(&host, &mut self.seen);
        remind_of_expiry(&host, &mut self.seen.reminders);
    }

    /// Takes up secrets, keys and certificates that were replaced.
    fn reload_secrets(&self, is_requested: bool) {
        let host = Arc::clone(&self.host);
        // Where it hangs, what is active goes on, and `/ready` warns.
        let _ =
            self.host.files.secrets.run(POLL_LIMIT, move || reload_secrets(&host, is_requested));
    }

    /// Begins to read the tables that changed, and does not wait for that.
    fn poll_tables(&self) {
        let host = &self.host;
        let active_config = host.active_config.load();
        let Some(generation) = active_config.generation.as_ref() else { return };
        if generation.tables.is_empty() {
            return;
        }
        let tables = Arc::clone(&generation.tables);
        let context = host.table_context(&active_config.config);
        let poll = move || tables.poll(&context, PollFor::Changes);
        drop(host.files.tables.start(Duration::ZERO, poll));
    }

    /// Begins the downloads of tables that are due, or all where `is_requested`, and does not wait
    /// for them.
    fn download_tables(&self, is_requested: bool) {
        let host = Arc::clone(&self.host);
        let active_config = host.active_config.load_full();
        let Some(generation) = active_config.generation.as_ref() else { return };
        if generation.tables.is_empty() {
            return;
        }
        let (sources, folders) =
            (Arc::clone(&host.release.tables), active_config.config.table_folders());
        let declarations = generation.tables.declarations();
        let jobs = sources.due(declarations, &folders.received, is_requested);
        if jobs.is_empty() {
            return;
        }
        let names: Vec<_> = jobs.iter().map(|(name, _)| name.clone()).collect();
        let now = timestamp(host.clock.now());
        let download = move || {
            if host.release.tables.run(jobs, now) {
                host.read_tables();
            }
        };
        let started = self.host.files.table_downloads.start(Duration::ZERO, download);
        if started.is_none() {
            // Others are being made: these are due again when those have ended.
            sources.put_off(&names);
        }
    }

    /// Begins a scan for components that may not run where one is due, and reports what one found.
    fn scan_rejected_components(&mut self) {
        let host = Arc::clone(&self.host);
        match self.scan.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(rejected_components)) => {
                // What was not examined is examined by the next scans, a part at a time.
                self.scan_due |=
                    rejected_components.unexamined > 0 && !rejected_components.is_fruitless;
                report_rejected_components(
                    &host,
                    &mut self.seen,
                    &mut self.rejected_components,
                    rejected_components,
                );
                self.scan = None;
            }
            Some(Err(TryRecvError::Disconnected)) | None => self.scan = None,
        }
        if std::mem::take(&mut self.scan_due) {
            let root = Arc::clone(host.trust_state().root());
            let (paths, digests) = (
                host.active_config.load().config.release.clone(),
                Arc::clone(&host.release.digests),
            );
            let now = host.trusted_now();
            let scan =
                move || RejectedComponents::scan(&paths, &root, now, &digests, MAX_SCANNED_BYTES);
            self.scan = host.files.rejected_components.start(Duration::ZERO, scan);
        }
    }

    /// Uses signed documents about the time; returns whether one had an effect. Tells once what is wrong
    /// with one.
    fn apply_time_documents(&mut self) -> bool {
        let applied = self.host.apply_time_documents();
        for refused in &applied.refused {
            let file = portcullis_model::sha256(refused.path.to_string_lossy().as_bytes());
            let said = (Some(file), refused.sentence.clone());
            // Whoever may write the folder must not be able to write the log at will.
            if !self.seen.reported.contains(&said)
                && self.time_documents.take(self.host.clock.now())
            {
                self.seen.reported.insert(said);
                refused.log();
                self.host.recorder.append(refused.entry());
            }
        }
        applied.changed
    }

    /// Takes every request that waits.
    fn receive_all(&mut self) {
        while self.inbox.try_recv().is_ok() {
            self.is_poll_requested = true;
        }
    }
}

/// Takes up secrets, keys and certificates that were replaced. A wrong one changes nothing, and is said once.
fn reload_secrets(host: &Host, is_requested: bool) {
    let wrong = |error: &StartError| {
        tracing::warn!(
            %error,
            hint = error.hint(),
            event = "files.not-taken",
            "a changed key, certificate or secret file was refused; the previous content stays in \
             use"
        );
    };
    for hook in &host.active_config.load_full().hooks {
        hook.authenticator.reload(&hook.config.name, is_requested).iter().for_each(wrong);
        match hook.decryption.as_ref().map(|keys| keys.reload(is_requested)) {
            Some(Ok(true)) => tracing::info!(
                hook = hook.config.name,
                event = "hook.decryption-keys-read",
                "the hook's decryption keys changed and are in use"
            ),
            Some(Err(error)) => wrong(&error),
            Some(Ok(false)) | None => {}
        }
    }
    host.callers.tables.reload(is_requested).iter().for_each(wrong);
    for delivery_service in host.platforms.delivery_services.values() {
        match delivery_service.reload(is_requested) {
            Ok(true) => {
                tracing::info!(
                    delivery = delivery_service.name,
                    event = "delivery.secrets-read",
                    "the delivery service's secrets changed and are in use"
                )
            }
            Ok(false) => {}
            Err(error) => wrong(&error),
        }
    }
    match host.callers.tls.as_ref().map(|tls| tls.reload(is_requested)) {
        Some(Ok(true)) => {
            tracing::info!(
                event = "tls.changed",
                "the TLS certificate, its key or the client authorities changed and are in use"
            )
        }
        Some(Err(error)) => wrong(&error),
        Some(Ok(false)) | None => {}
    }
    if is_requested {
        host.callers.keys.load().iter().for_each(|keys| keys.refresh_if_due(true));
    }
}

/// How often it comes round.
const TICK: Duration = Duration::from_millis(500);
/// Requests that may wait.
const MAX_REQUESTS: usize = 4;

//! Housekeeping: twice a second, counts and deliveries go to the log, and the configuration file and the release's folders are looked at.
//!
//! Invariant: runs on a thread of its own and holds nothing that a call waits for. Folders and files that others write are read on threads
//! that may hang ([`FileWorkers`](crate::file_worker)): what hangs there keeps nothing else waiting for longer than a poll's limit. A release or configuration that is refused
//! changes nothing; each refusal is recorded once, not every second. What is in force is exchanged here and nowhere else. While a release
//! is made ready everything else goes on, revocations first.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portcullis_audit::Entry;
use portcullis_model::{Digest, Millis};

use crate::admin::Admin;
use crate::as_found::{AsFound, Folders, ReleasePoll, roots, stamp};
use crate::config::{AfterGrace, ReleasePaths};
use crate::error::StartError;
use crate::expiry::{Nearness, Reminders, endings};
use crate::file_worker::POLL_LIMIT;
use crate::host::{Host, NotInForce};
use crate::keeper::refused_entry;
use crate::observe::log_limit::LOG_LIMITS;
use crate::release::{self, MAX_SCANNED_BYTES, ReleaseError, Strays, refusal_entry, stray_entry};
use crate::reload::{NotReloaded, reload};

/// The thread.
pub struct Housekeeping {
    orders: SyncSender<Order>,
    thread: JoinHandle<()>,
}

/// Asks for a look at the release's folders now; may be kept after the start.
#[derive(Clone)]
pub struct Reload {
    orders: SyncSender<Order>,
}

enum Order {
    Reload,
    Stop,
}

/// What runs on the thread.
struct Housekeeper {
    host: Arc<Host>,
    admin: Option<Admin>,
    inbox: Receiver<Order>,
    seen: Seen,
    /// When it was looked last.
    looked: Instant,
    /// Whether a look is asked for.
    asked: bool,
    /// Whether one was asked for while another was being made.
    asked_again: bool,
    stopping: bool,
    /// Shared with the thread that polls, which may hang.
    poll: Arc<Mutex<ReleasePoll>>,
    /// The scan for components that may not run, while it goes on.
    scan: Option<Receiver<Strays>>,
    /// Whether another scan is due.
    scan_due: bool,
    /// What may still be said of strays this minute.
    strays: Allowance,
    /// And of documents about the time.
    documents: Allowance,
    /// When it was considered last to look again although nothing has changed.
    retried: Instant,
}

/// What has been seen and said already.
struct Seen {
    file: Option<Digest>,
    folders: Folders,
    /// The folders as they were when it was looked last what they revoke.
    heeded: Folders,
    said: BTreeSet<(Option<Digest>, String)>,
    log_stopped: bool,
    log_delayed: bool,
    reminders: Reminders,
}

impl Housekeeping {
    /// Starts it. The admin listener is its own from here on, since a new configuration may move it.
    pub fn start(host: &Arc<Host>, admin: Option<Admin>) -> Result<Self, StartError> {
        let (orders, inbox) = sync_channel(MOST_ORDERS);
        let keeper = Housekeeper::new(Arc::clone(host), admin, inbox);
        let run = move || keeper.run();
        let thread = thread::Builder::new()
            .name("housekeeping".to_owned())
            .spawn(run)
            .map_err(StartError::Thread)?;
        Ok(Self { orders, thread })
    }

    /// A handle to ask for a reload with.
    pub fn reload(&self) -> Reload {
        Reload { orders: self.orders.clone() }
    }

    /// Says what is left to say and ends.
    pub fn stop(self) {
        // A full box is emptied soon: it looks into it also while it has a release made ready.
        drop(self.orders.send(Order::Stop));
        drop(self.thread.join());
    }
}

impl Reload {
    /// Looks now. A look that is already due is enough.
    pub fn now(&self) {
        drop(self.orders.try_send(Order::Reload));
    }
}

impl Housekeeper {
    fn new(host: Arc<Host>, admin: Option<Admin>, inbox: Receiver<Order>) -> Self {
        // As they were before they were read: what was changed while the host started has not been seen.
        let AsFound { file, folders } = host.as_found;
        let seen = Seen {
            file,
            folders,
            heeded: folders,
            said: BTreeSet::new(),
            log_stopped: false,
            log_delayed: false,
            reminders: Reminders::default(),
        };
        Self {
            host,
            admin,
            inbox,
            seen,
            looked: Instant::now(),
            asked: false,
            asked_again: false,
            stopping: false,
            poll: Arc::default(),
            scan: None,
            scan_due: true,
            strays: Allowance::default(),
            documents: Allowance::default(),
            retried: Instant::now(),
        }
    }

    fn run(mut self) {
        let host = Arc::clone(&self.host);
        if host.config.listen.tls.is_none() && !host.config.listen.address.ip().is_loopback() {
            tracing::warn!(
                "plain HTTP on an address that others can reach (listen.plain_http_beyond_loopback): whoever is on the way reads secrets \
                 and payloads and can change answers"
            );
        }
        while !self.stopping {
            let order = self.inbox.recv_timeout(if self.asked { Duration::ZERO } else { ROUND });
            self.take(order);
            if self.stopping {
                break;
            }
            self.asked |= self.is_retry_due();
            if let Some(asked) = self.due() {
                self.rotate(asked);
                let asked = self.apply_time_documents() || asked;
                self.look(asked);
                self.asked |= std::mem::take(&mut self.asked_again);
            }
            self.go_round();
        }
        report(&host, true);
        host.check_clock();
        if let Some(admin) = self.admin {
            admin.stop();
        }
    }

    /// Whether to look again although nothing has changed: nothing decides, or there is no copy of what does, and what
    /// stood in the way may be over.
    fn is_retry_due(&mut self) -> bool {
        if self.retried.elapsed() < RETRY {
            return false;
        }
        self.retried = Instant::now();
        let host = &self.host;
        let missing = host.in_force.load().generation.is_none();
        missing || host.obstacles.why_not_kept().is_some()
    }

    fn take(&mut self, order: Result<Order, RecvTimeoutError>) {
        match order {
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => self.stopping = true,
            Ok(Order::Reload) => self.asked = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }

    /// Whether a look is due, and if so, whether somebody asked for it.
    fn due(&mut self) -> Option<bool> {
        let asked = std::mem::take(&mut self.asked);
        let watch = self.host.in_force.load().config.release.watch_ms;
        let due = asked || (watch > 0 && self.looked.elapsed() >= Duration::from_millis(watch));
        due.then(|| {
            self.looked = Instant::now();
            asked
        })
    }

    /// What is done every round, and waits for no release that is being made ready.
    fn go_round(&mut self) {
        let host = Arc::clone(&self.host);
        LOG_LIMITS.report(host.clock.instant());
        host.housekeeping_beat.beat();
        self.scan_strays();
        host.keys.load().iter().for_each(|keys| keys.tend(false));
        report(&host, false);
        host.keeper().refresh();
        if host.check_clock() {
            // What was refused for the clock's sake.
            self.asked = true;
        }
        alarm(&host, &mut self.seen);
        alarm_expiry(&host, &mut self.seen);
        remind_of_expiry(&host, &mut self.seen.reminders);
    }

    /// Looks at the configuration file and the folders. What was overtaken while it was made ready is begun again, on what is there by then.
    fn look(&mut self, mut asked: bool) {
        while !self.stopping && !self.look_once(asked) {
            tracing::info!(
                "something newer came while a release was made ready: it is looked at again"
            );
            asked = true;
        }
    }

    /// Looks once; says whether it came to an end.
    fn look_once(&mut self, asked: bool) -> bool {
        let host = Arc::clone(&self.host);
        let Some(reloaded) = self.look_at_file(asked) else { return false };
        let folders = self.folders();
        if !asked && !reloaded && folders == self.seen.folders {
            return true;
        }
        self.seen.folders = folders;
        // Revocations come first, and hold whatever becomes of the rest.
        self.follow_trust(folders);
        match host.load_release(|paths, set| self.goes_on(paths, set)) {
            Ok(Some(generation)) => match host.activate(generation) {
                Ok(()) => {}
                Err(NotInForce::Overtaken) => return false,
                // Nothing is wrong with the release: the next look tries again.
                Err(NotInForce::Record(_)) => self.seen.folders = Folders::default(),
            },
            Ok(None) => host.obstacles.release(None),
            Err(ReleaseError::Overtaken) => return false,
            Err(error) => {
                if matches!(error, ReleaseError::Stalled { .. }) {
                    // Nothing was read: the next poll reads again, also where nothing has changed.
                    self.seen.folders = Folders::default();
                    self.seen.heeded = Folders::default();
                }
                refuse(&host, &mut self.seen, &error);
                if host.in_force.load().generation.is_none()
                    && host.fall_back(&error, || self.goes_on_with_last_good())
                {
                    return false;
                }
            }
        }
        self.scan_due = true;
        true
    }

    /// The folders as they are now; as they were where one of them does not answer.
    fn folders(&self) -> Folders {
        let host = &self.host;
        let config = Arc::clone(&host.in_force.load().config);
        let (poll, paths, used) =
            (Arc::clone(&self.poll), config.release.clone(), host.standing.used());
        // A part that was missing may come without a trace in the folder's own times.
        let thorough = host.obstacles.refused_release().is_some()
            || host.obstacles.altered_release().is_some();
        let release = host.files.release.run(POLL_LIMIT, move || {
            poll.lock().unwrap_or_else(PoisonError::into_inner).poll(&paths, &used, thorough)
        });
        let folder = config.trust.roots.clone();
        let roots = host.files.roots.run(POLL_LIMIT, move || roots(&folder));
        Folders {
            release: release.or(self.seen.folders.release),
            roots: roots.or(self.seen.folders.roots),
        }
    }

    /// Takes up secrets, keys and certificates that were replaced.
    fn rotate(&self, asked: bool) {
        let host = Arc::clone(&self.host);
        // Where it hangs, what is in force goes on, and `/ready` warns.
        let _ = self.host.files.secrets.run(POLL_LIMIT, move || rotate(&host, asked));
    }

    /// The configuration file as it is now; as it was where its file system does not answer.
    fn file(&self) -> Option<Digest> {
        let file = self.host.in_force.load().config.file.clone();
        self.host.files.configuration.run(POLL_LIMIT, move || stamp(&file)).or(self.seen.file)
    }

    /// Begins a scan for components that may not run where one is due, and reports what one found.
    fn scan_strays(&mut self) {
        let host = Arc::clone(&self.host);
        match self.scan.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(strays)) => {
                // What was not examined is examined by the next scans, a part at a time.
                self.scan_due |= strays.unexamined > 0 && !strays.is_fruitless;
                report_strays(&host, &mut self.seen, &mut self.strays, strays);
                self.scan = None;
            }
            Some(Err(TryRecvError::Disconnected)) | None => self.scan = None,
        }
        if std::mem::take(&mut self.scan_due) {
            let root = Arc::clone(host.keeper().root());
            let (paths, digests) =
                (host.in_force.load().config.release.clone(), Arc::clone(&host.digests));
            let now = host.trusted_now();
            let scan = move || Strays::scan(&paths, &root, now, &digests, MAX_SCANNED_BYTES);
            self.scan = host.files.strays.start(Duration::ZERO, scan);
        }
    }

    /// What cannot wait while a release is made ready; says whether that is still what is wanted.
    fn goes_on(&mut self, paths: &ReleasePaths, set: Option<Digest>) -> bool {
        self.take_all();
        let mut wanted = true;
        if let Some(asked) = self.due() {
            // All of it is looked at when this one is made.
            self.asked_again |= asked;
            self.rotate(asked);
            self.asked_again |= self.apply_time_documents();
            let folders = self.folders();
            if asked || folders != self.seen.heeded {
                self.follow_trust(folders);
                let paths = paths.clone();
                let read = move || release::set_in(&paths);
                // A set that cannot be read at this moment is no other set.
                let there = self.host.files.release.run(POLL_LIMIT, read);
                wanted = set.is_none() || there.is_none_or(|there| there == set);
            }
            wanted &= self.seen.file == self.file();
        }
        self.go_round();
        wanted && !self.stopping
    }

    /// Uses signed documents about the time; returns whether one had an effect. Tells once what is wrong
    /// with one.
    fn apply_time_documents(&mut self) -> bool {
        let applied = self.host.apply_time_documents();
        for refused in &applied.refused {
            let file = crate::digest::sha256(refused.path.to_string_lossy().as_bytes());
            let said = (Some(file), refused.sentence.clone());
            // Whoever may write the folder must not be able to write the log at will.
            if !self.seen.said.contains(&said) && self.documents.take(self.host.clock.now()) {
                self.seen.said.insert(said);
                refused.log();
                self.host.say(refused.entry());
            }
        }
        applied.changed
    }

    /// The same while the last good release is made ready, which is wanted until something in the folders changes.
    fn goes_on_with_last_good(&mut self) -> bool {
        self.take_all();
        let mut wanted = true;
        if let Some(asked) = self.due() {
            self.asked_again |= asked;
            self.rotate(asked);
            let folders = self.folders();
            if asked || folders != self.seen.heeded {
                self.follow_trust(folders);
            }
            wanted = folders == self.seen.folders && self.seen.file == self.file();
        }
        self.go_round();
        wanted && !self.stopping
    }

    /// Takes every order that waits.
    fn take_all(&mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok(order) => self.take(Ok(order)),
                Err(TryRecvError::Disconnected) => {
                    return self.take(Err(RecvTimeoutError::Disconnected));
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Stops what is revoked by now, in these folders; says once what is wrong with a trust root that lies there.
    fn follow_trust(&mut self, folders: Folders) {
        self.seen.heeded = folders;
        if let Some(stopped) = self.host.follow_trust()
            && self.seen.said.insert((folders.roots, stopped.refusal.to_string()))
        {
            self.host.say(refused_entry(&stopped));
        }
    }

    /// Takes up a configuration file that has changed; says whether it did, and nothing where that was overtaken.
    fn look_at_file(&mut self, asked: bool) -> Option<bool> {
        let host = Arc::clone(&self.host);
        let file = self.file();
        if std::mem::replace(&mut self.seen.file, file) == file && !asked {
            return Some(false);
        }
        let mut admin = self.admin.take();
        let result = reload(&host, &mut admin, |paths, set| self.goes_on(paths, set));
        self.admin = admin;
        match result {
            Ok(reloaded) => {
                // Before it is said: whoever reads that line finds the host as it is.
                host.obstacles.configuration(None);
                if !reloaded {
                    tracing::debug!("configuration unchanged");
                }
                Some(reloaded)
            }
            Err(NotReloaded::NotInForce(NotInForce::Overtaken)) => None,
            Err(error) => {
                if matches!(error, NotReloaded::Stalled) {
                    // Looked at again when it answers.
                    self.seen.file = None;
                }
                refuse_configuration(&host, &mut self.seen, &error);
                Some(false)
            }
        }
    }
}

/// Gives the log counts, deliveries and debts; of counts those of finished minutes, or `everything`.
pub fn report(host: &Host, everything: bool) {
    host.refusals.report(host, everything);
    host.deliveries.report(|entry| host.say(entry));
    host.record_stopped();
    host.settle_debts();
}

/// Takes up secrets, keys and certificates that were replaced. A wrong one changes nothing, and is said once.
fn rotate(host: &Host, asked: bool) {
    let wrong = |error: &StartError| {
        tracing::warn!(%error, hint = error.hint(), "not taken; what is in force goes on");
    };
    for hook in &host.in_force.load_full().hooks {
        hook.caller.reload(&hook.config.name, asked).iter().for_each(wrong);
        match hook.decryption.as_ref().map(|keys| keys.reload(asked)) {
            Some(Ok(true)) => tracing::info!(hook = hook.config.name, "decryption keys read"),
            Some(Err(error)) => wrong(&error),
            Some(Ok(false)) | None => {}
        }
    }
    for courier in host.couriers.values() {
        match courier.reload(asked) {
            Ok(true) => {
                tracing::info!(delivery = courier.name, "a delivery service's secrets read")
            }
            Ok(false) => {}
            Err(error) => wrong(&error),
        }
    }
    match host.tls.as_ref().map(|tls| tls.reload(asked)) {
        Some(Ok(true)) => {
            tracing::info!("the TLS certificate, its key or the client authorities changed")
        }
        Some(Err(error)) => wrong(&error),
        Some(Ok(false)) | None => {}
    }
    if asked {
        host.keys.load().iter().for_each(|keys| keys.tend(true));
    }
}

/// What must not stay unsaid while the host goes on: a record that stopped, and instances that can no longer be wiped safely.
fn alarm(host: &Host, seen: &mut Seen) {
    alarm_log(host, seen);
    let in_force = host.in_force.load_full();
    if !host.reset_still_holds() && in_force.generation.is_some() {
        host.in_force.store(Arc::new(in_force.under(None)));
        tracing::error!(
            "swap was turned on: what one call leaves in memory could reach the next; every call gets its safe answer until swap is off and the host restarted"
        );
        host.say(Entry {
            kind: "release.withdrawn",
            fields: r#""code":"swap-configured""#.to_owned(),
            sealed: None,
        });
    }
}

/// Says that the log has stopped, resumed, or cannot publish what it has; and has it resume once there is room. A disk that has room by
/// turns could cause a line in every round: they are limited.
fn alarm_log(host: &Host, seen: &mut Seen) {
    let (health, now) = (host.log.health(), host.clock.instant());
    match &health.delayed {
        Some(why) if !seen.log_delayed && LOG_LIMITS.admit("log.delayed", "", now) => {
            tracing::warn!(
                event = "log.delayed",
                why = &**why,
                "records are durable, and tiles and checkpoints wait: they follow by themselves"
            );
        }
        None if seen.log_delayed && LOG_LIMITS.admit("log.caught-up", "", now) => tracing::info!(
            event = "log.caught-up",
            published = health.published,
            "tiles and checkpoints have caught up"
        ),
        _ => {}
    }
    seen.log_delayed = health.delayed.is_some();
    let Some(why) = health.stopped else { return };
    if !std::mem::replace(&mut seen.log_stopped, true) && LOG_LIMITS.admit("log.stopped", "", now) {
        let next = if health.resumes {
            "it resumes by itself once there is room"
        } else {
            "what is on the disk is not known after that: see to the disk, then restart, and the start finds out"
        };
        tracing::error!(
            event = "log.stopped",
            why = &*why,
            resumes = health.resumes,
            "the record has stopped; every call gets its safe answer: {next}"
        );
    }
    if !health.resumes {
        return;
    }
    match host.log.resume() {
        Ok(_) => {
            seen.log_stopped = false;
            if LOG_LIMITS.admit("log.resumed", "", now) {
                tracing::info!(
                    event = "log.resumed",
                    next = host.log.health().next,
                    "the record has resumed: nothing that was promised was lost"
                );
            }
        }
        // Said again where it cannot resume any more.
        Err(_) => seen.log_stopped = host.log.health().resumes,
    }
}

/// A release that ends while it is in force goes on, since a hospital's sign-ins must not all stop at a date, and says so once. When its
/// grace is over as well, the operator's word decides.
fn alarm_expiry(host: &Host, seen: &mut Seen) {
    let in_force = host.in_force.load_full();
    let Some(generation) = &in_force.generation else { return };
    let ends = generation.ends();
    let now = host.trusted_now();
    if now >= ends && seen.said.insert((Some(generation.set), "expired".to_owned())) {
        tracing::error!(
            generation = generation.number,
            "the release in force has expired; sign a new one: once its grace is over it does not start again"
        );
        host.say(Entry {
            kind: "release.expired",
            fields: format!(
                r#""gen":{},"ended":{ends},"grace":{}"#,
                generation.number, generation.release.grace
            ),
            sealed: None,
        });
    }
    if now >= generation.release.grace
        && seen.said.insert((Some(generation.set), "grace-over".to_owned()))
    {
        let stop = in_force.config.release.after_grace == AfterGrace::Stop;
        tracing::error!(
            generation = generation.number,
            stop,
            "the grace of the release in force is over; sign a new one"
        );
        let fields = format!(r#""gen":{},"code":"grace-over""#, generation.number);
        if stop {
            host.in_force.store(Arc::new(in_force.under(None)));
            host.say(Entry { kind: "release.withdrawn", fields, sealed: None });
        } else {
            host.say(Entry { kind: "release.overdue", fields, sealed: None });
        }
    }
}

/// Says once a day what has ended, or ends within seven days.
fn remind_of_expiry(host: &Host, reminders: &mut Reminders) {
    let in_force = host.in_force.load();
    let certificate = host.tls.as_ref().map(|tls| tls.ends());
    let endings = endings(&host.root.load(), in_force.generation.as_deref(), certificate);
    for (ending, nearness) in reminders.due(endings, host.trusted_now()) {
        let (code, hint) = (ending.code(nearness), ending.hint());
        let what = ending.sentence(nearness);
        if nearness == Nearness::Over {
            tracing::error!(event = "expiry.over", code, hint, "{what}");
        } else {
            tracing::warn!(event = "expiry.soon", code, hint, "{what}");
        }
    }
}

fn refuse_configuration(host: &Host, seen: &mut Seen, error: &NotReloaded) {
    tracing::warn!(code = error.code(), %error, hint = error.hint(), "configuration refused; what is in force goes on");
    host.obstacles.configuration(Some(error.to_string()));
    if seen.said.insert((seen.file, error.to_string())) {
        host.say(error.entry());
    }
}

fn refuse(host: &Host, seen: &mut Seen, error: &ReleaseError) {
    // Before it is said: whoever hears of it may look at the status page next.
    host.obstacles.release(Some(error.code()));
    host.standing.refused(error);
    tracing::warn!(code = error.code(), %error, hint = error.hint(), "{}", if host.in_force.load().generation.is_some() { "release refused; the last good one goes on" } else { "release refused" });
    if seen.said.insert((seen.folders.release, error.to_string())) {
        host.say(refusal_entry(error));
    }
}

fn report_strays(host: &Host, seen: &mut Seen, allowance: &mut Allowance, strays: Strays) {
    let mut more = strays.more;
    for stray in strays.found {
        if seen.said.contains(&(Some(stray.component), stray.code.to_owned())) {
            continue;
        }
        // Whoever may write the folder must not be able to write the log at will.
        if !allowance.take(host.clock.now()) {
            more = more.saturating_add(1);
            continue;
        }
        seen.said.insert((Some(stray.component), stray.code.to_owned()));
        let (file, hint) = (stray.path.display(), &stray.hint);
        tracing::warn!(code = stray.code, %file, hint, "plugin refused: {}", stray.sentence);
        host.say(stray_entry(&stray));
    }
    if host.obstacles.more_strays(more) && more > 0 {
        tracing::warn!(
            event = "plugin.more-refused",
            more,
            "more files in the plugins' folder may not run than are named here"
        );
    }
    // Bounded: past that, some of it may be said again.
    while seen.said.len() > MOST_SAID {
        seen.said.pop_first();
    }
}

/// How many files of a folder are recorded, by the minute.
#[derive(Default)]
struct Allowance {
    minute: u64,
    taken: u32,
}

impl Allowance {
    /// Takes one of this minute's; says whether there was one.
    fn take(&mut self, now: Millis) -> bool {
        let minute = now.0 / 60_000;
        if std::mem::replace(&mut self.minute, minute) != minute {
            self.taken = 0;
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= MAX_SAID_A_MINUTE
    }
}

/// How often it comes round.
const ROUND: Duration = Duration::from_millis(500);
/// How often it is tried again to put a release in force where none is, or to copy the one that is.
const RETRY: Duration = Duration::from_secs(60);
/// Orders that may wait.
const MOST_ORDERS: usize = 4;
/// Files of one folder that may not be used, of which a record is made within one minute.
const MAX_SAID_A_MINUTE: u32 = 60;
/// Refusals remembered so as not to repeat them.
const MOST_SAID: usize = 4_096;

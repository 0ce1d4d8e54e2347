//! Housekeeping: twice a second, counts and deliveries go to the log, and the configuration file and the release's folders are looked at.
//!
//! Invariant: runs on a thread of its own and holds nothing that a call waits for. A release or configuration that is refused
//! changes nothing; each refusal is recorded once, not every second. What is in force is exchanged here and nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portcullis_audit::Entry;
use portcullis_model::Digest;
use portcullis_model::json::quote;
use portcullis_trust::{History, Passage};

use crate::admin::Admin;
use crate::as_found::{AsFound, fingerprint, stamp};
use crate::config::AfterGrace;
use crate::error::StartError;
use crate::generation::{Bindings, Generation};
use crate::host::{Hook, Host};
use crate::keeper::{refused_entry, remembered};
use crate::release::{Found, ReleaseError, Stray};
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

/// What has been seen and said already.
struct Seen {
    file: Option<Digest>,
    folders: Option<Digest>,
    said: BTreeSet<(Option<Digest>, String)>,
    log_stopped: bool,
}

impl Housekeeping {
    /// Starts it. The admin listener is its own from here on, since a new configuration may move it.
    pub fn start(host: &Arc<Host>, admin: Option<Admin>) -> Result<Self, StartError> {
        let (orders, inbox) = sync_channel(MOST_ORDERS);
        let host = Arc::clone(host);
        let run = move || keep(&host, admin, &inbox);
        let thread = thread::Builder::new().name("housekeeping".to_owned()).spawn(run).map_err(StartError::Thread)?;
        Ok(Self { orders, thread })
    }

    /// A handle to ask for a reload with.
    pub fn reload(&self) -> Reload {
        Reload { orders: self.orders.clone() }
    }

    /// Says what is left to say and ends.
    pub fn stop(self) {
        // A full box means that it is busy; it will find the stop next.
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

fn keep(host: &Arc<Host>, mut admin: Option<Admin>, inbox: &Receiver<Order>) {
    if host.config.listen.tls.is_none() && !host.config.listen.address.ip().is_loopback() {
        tracing::warn!(
            "plain HTTP on an address that others can reach (listen.plain_http_beyond_loopback): whoever is on the way reads secrets and \
             payloads and can change answers"
        );
    }
    // As they were before they were read: what was changed while the host started has not been seen.
    let AsFound { file, folders } = host.config.as_found;
    let mut seen = Seen { file, folders, said: BTreeSet::new(), log_stopped: false };
    let mut since_look = Duration::ZERO;
    report_strays(host, &mut seen);
    loop {
        match inbox.recv_timeout(ROUND) {
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(Order::Reload) => {
                rotate(host, true);
                look(host, &mut admin, &mut seen, true);
            }
            Err(RecvTimeoutError::Timeout) => {
                since_look += ROUND;
                let watch = host.in_force.load().config.release.watch_ms;
                if watch > 0 && since_look >= Duration::from_millis(watch) {
                    since_look = Duration::ZERO;
                    rotate(host, false);
                    look(host, &mut admin, &mut seen, false);
                }
            }
        }
        host.keys.load().iter().for_each(|keys| keys.tend(false));
        report(host, false);
        host.keeper().refresh();
        if host.look_at_time() {
            // What was refused for the clock's sake.
            look(host, &mut admin, &mut seen, true);
        }
        alarm(host, &mut seen);
        alarm_expiry(host, &mut seen);
    }
    report(host, true);
    if let Some(admin) = admin {
        admin.stop();
    }
}

/// Counts and deliveries.
fn report(host: &Host, everything: bool) {
    let counted = host.refusals.take(host.clock.now(), everything);
    for counted in counted {
        if !host.say(Entry { kind: "hook.refused", fields: counted.fields(), sealed: None }) {
            host.refusals.put_back(&counted);
        }
    }
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
            Ok(true) => tracing::info!(delivery = courier.name, "a delivery service's secrets read"),
            Ok(false) => {}
            Err(error) => wrong(&error),
        }
    }
    match host.tls.as_ref().map(|tls| tls.reload(asked)) {
        Some(Ok(true)) => tracing::info!("the TLS certificate, its key or the client authorities changed"),
        Some(Err(error)) => wrong(&error),
        Some(Ok(false)) | None => {}
    }
    if asked {
        host.keys.load().iter().for_each(|keys| keys.tend(true));
    }
}

/// What must not stay unsaid while the host goes on: a record that stopped, and instances that can no longer be wiped safely.
fn alarm(host: &Host, seen: &mut Seen) {
    if let Some(why) = host.log.health().stopped
        && !std::mem::replace(&mut seen.log_stopped, true)
    {
        tracing::error!(
            why = &*why,
            "the record has stopped; every call gets its safe answer: see to the disk, then restart"
        );
    }
    let in_force = host.in_force.load_full();
    if !host.reset_still_holds() && in_force.generation.is_some() {
        host.in_force.store(Arc::new(in_force.under(None)));
        tracing::error!(
            "swap was turned on: what one call leaves in memory could reach the next; every call gets its safe answer until swap is off and the host restarted"
        );
        host.say(Entry { kind: "release.withdrawn", fields: r#""code":"swap-configured""#.to_owned(), sealed: None });
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
            fields: format!(r#""gen":{},"ended":{ends},"grace":{}"#, generation.number, generation.release.grace),
            sealed: None,
        });
    }
    if now >= generation.release.grace && seen.said.insert((Some(generation.set), "grace-over".to_owned())) {
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

fn look(host: &Arc<Host>, admin: &mut Option<Admin>, seen: &mut Seen, asked: bool) {
    let reloaded = look_at_file(host, admin, seen, asked);
    let folders = Some(fingerprint(&host.in_force.load().config));
    if !asked && !reloaded && folders == seen.folders {
        return;
    }
    seen.folders = folders;
    // Revocations come first, and hold whatever becomes of the rest.
    if let Some(stopped) = host.follow_trust()
        && seen.said.insert((folders, stopped.refusal.to_string()))
    {
        host.say(refused_entry(&stopped));
    }
    match host.load_release() {
        Ok(Some(generation)) => {
            if !host.activate(generation) {
                // Nothing is wrong with the release: the next look tries again.
                seen.folders = None;
            }
        }
        Ok(None) => host.obstacles.release(None),
        Err(error) => refuse(host, seen, &error),
    }
    report_strays(host, seen);
}

/// Takes up a configuration file that has changed; says whether it did.
fn look_at_file(host: &Arc<Host>, admin: &mut Option<Admin>, seen: &mut Seen, asked: bool) -> bool {
    let file = Some(stamp(&host.in_force.load().config.file));
    if std::mem::replace(&mut seen.file, file) == file && !asked {
        return false;
    }
    match reload(host, admin) {
        Ok(reloaded) => {
            // Before it is said: whoever reads that line finds the host as it is.
            host.obstacles.configuration(None);
            if !reloaded {
                tracing::debug!("configuration unchanged");
            }
            reloaded
        }
        Err(error) => {
            refuse_configuration(host, seen, &error);
            false
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
    tracing::warn!(code = error.code(), %error, hint = error.hint(), "release refused; the last good one goes on");
    if seen.said.insert((seen.folders, error.to_string())) {
        host.say(refusal_entry(error));
    }
}

fn report_strays(host: &Host, seen: &mut Seen) {
    let Ok(found) = Found::read(&host.in_force.load().config.release) else { return };
    let root = Arc::clone(host.keeper().root());
    for stray in found.strays(&root, host.clock.now()) {
        if seen.said.insert((Some(stray.component), stray.code.to_owned())) {
            let (file, hint) = (stray.path.display(), &stray.hint);
            tracing::warn!(code = stray.code, %file, hint, "plugin refused: {}", stray.sentence);
            host.say(stray_entry(&stray));
        }
    }
    // Bounded: past that, some of it may be said again.
    while seen.said.len() > MOST_SAID {
        seen.said.pop_first();
    }
}

/// The record of a release that came into force.
pub fn activation_entry(generation: &Generation, hooks: &[Arc<Hook>], piece: &History) -> Entry {
    let mut fields = format!(
        r#""gen":{},"set":"{}","expires":{},"bindings":["#,
        generation.number, generation.set, generation.expires
    );
    let mut comma = "";
    for (bindings, hook) in generation.hooks.iter().zip(hooks) {
        for binding in bindings.with_candidates() {
            fields.push_str(&format!(r#"{comma}{{"hook":"{}","plugin":"#, hook.config.name));
            quote(&mut fields, &binding.manifest().id);
            fields.push_str(&format!(
                r#","serial":{},"manifest":"{}","component":"{}","settings":"{}","snapshot":"{}","mode":"{}"}}"#,
                binding.manifest().serial,
                binding.verified.digest,
                binding.manifest().wasm,
                binding.settings,
                binding.plugin.snapshot_digest(),
                binding.role
            ));
            comma = ",";
        }
    }
    fields.push(']');
    match generation.passage {
        Passage::New => {}
        Passage::Again(_) => fields.push_str(r#","again":true"#),
        Passage::Downgrade(document) => fields.push_str(&format!(r#","downgrade":"{document}""#)),
    }
    // A history is written as plain JSON: this cannot fail.
    let fields = remembered(&fields, piece).unwrap_or(fields);
    Entry { kind: "release.active", fields, sealed: Some(configure_notes(generation).into_bytes()) }
}

/// What plugins noted while they were configured: a list a binding.
fn configure_notes(generation: &Generation) -> String {
    let mut notes = String::from("[");
    for (position, binding) in generation.hooks.iter().flat_map(Bindings::with_candidates).enumerate() {
        notes.push_str(if position == 0 { "[" } else { ",[" });
        for (position, note) in binding.plugin.notes().iter().enumerate() {
            notes.push_str(if position == 0 { "" } else { "," });
            quote(&mut notes, note);
        }
        notes.push(']');
    }
    notes.push(']');
    notes
}

/// The record of a release that was refused.
pub fn refusal_entry(error: &ReleaseError) -> Entry {
    let mut fields = format!(r#""code":"{}","plugin":"#, error.code());
    match error.plugin() {
        Some(plugin) => quote(&mut fields, plugin),
        None => fields.push_str("null"),
    }
    // Settings and file names may name people: the sentence is sealed.
    Entry { kind: "release.refused", fields, sealed: Some(error.to_string().into_bytes()) }
}

fn stray_entry(stray: &Stray) -> Entry {
    let fields = format!(r#""code":"{}","component":"{}""#, stray.code, stray.component);
    let sealed = format!("{}: {}", stray.path.display(), stray.sentence);
    Entry { kind: "plugin.refused", fields, sealed: Some(sealed.into_bytes()) }
}

/// How often it comes round.
const ROUND: Duration = Duration::from_millis(500);
/// Orders that may wait.
const MOST_ORDERS: usize = 4;
/// Refusals remembered so as not to repeat them.
const MOST_SAID: usize = 4_096;

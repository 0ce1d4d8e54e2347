//! Housekeeping: once a second, counts and deliveries go to the log and the release's folders are looked at.
//!
//! Invariant: runs on a thread of its own and holds nothing that a call waits for. A release that is refused changes nothing; each
//! refusal is recorded once, not every second.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use portcullis_audit::Entry;
use portcullis_model::Digest;
use portcullis_model::json::quote;

use crate::error::StartError;
use crate::generation::Generation;
use crate::host::Host;
use crate::release::{Found, ReleaseError, Stray, fingerprint};

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
    folders: Digest,
    said: BTreeSet<(Digest, String)>,
}

impl Housekeeping {
    /// Starts it.
    pub fn start(host: &Arc<Host>) -> Result<Self, StartError> {
        let (orders, inbox) = sync_channel(MOST_ORDERS);
        let host = Arc::clone(host);
        let run = move || keep(&host, &inbox);
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

fn keep(host: &Host, inbox: &Receiver<Order>) {
    let mut seen = Seen { folders: fingerprint(&host.config.release), said: BTreeSet::new() };
    let watch = host.config.release.watch_ms;
    let mut since_look = Duration::ZERO;
    report_strays(host, &mut seen);
    loop {
        match inbox.recv_timeout(ROUND) {
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return report(host, true),
            Ok(Order::Reload) => look(host, &mut seen, true),
            Err(RecvTimeoutError::Timeout) => {
                since_look += ROUND;
                if watch > 0 && since_look >= Duration::from_millis(watch) {
                    since_look = Duration::ZERO;
                    look(host, &mut seen, false);
                }
            }
        }
        report(host, false);
        alarm_expiry(host, &mut seen);
    }
}

/// Counts and deliveries.
fn report(host: &Host, everything: bool) {
    let counted = host.refusals.take(host.clock.now(), everything, |hook| host.hook_name(hook).to_owned());
    for counted in counted {
        host.say(Entry { kind: "hook.refused", fields: counted.fields(), sealed: None });
    }
    if let Some(entry) = host.deliveries.take() {
        host.say(entry);
    }
    host.settle_debts();
}

/// A release that ends while it is in force goes on, since a hospital's sign-ins must not all stop at a date, and says so once.
fn alarm_expiry(host: &Host, seen: &mut Seen) {
    let Some(generation) = host.generation.load_full() else { return };
    let manifests = generation.hooks.iter().flatten().map(|binding| binding.manifest().expires);
    let ends = manifests.min().unwrap_or(generation.expires).min(generation.expires);
    if host.clock.now() >= ends && seen.said.insert((generation.set, "expired".to_owned())) {
        tracing::error!(
            generation = generation.number,
            "the release in force has expired; sign a new one: after a restart this one is refused"
        );
        host.say(Entry {
            kind: "release.expired",
            fields: format!(r#""gen":{},"ended":{ends}"#, generation.number),
            sealed: None,
        });
    }
}

fn look(host: &Host, seen: &mut Seen, asked: bool) {
    let folders = fingerprint(&host.config.release);
    if !asked && folders == seen.folders {
        return;
    }
    seen.folders = folders;
    match host.load_release() {
        Ok(Some(generation)) => {
            let number = generation.number;
            host.activate(generation);
            tracing::info!(generation = number, "release active");
        }
        Ok(None) => {}
        Err(error) => refuse(host, seen, &error),
    }
    report_strays(host, seen);
}

fn refuse(host: &Host, seen: &mut Seen, error: &ReleaseError) {
    tracing::warn!(code = error.code(), %error, hint = error.hint(), "release refused; the last good one goes on");
    if seen.said.insert((seen.folders, error.to_string())) {
        host.say(refusal_entry(error));
    }
}

fn report_strays(host: &Host, seen: &mut Seen) {
    let Ok(found) = Found::read(&host.config.release) else { return };
    for stray in found.strays(&host.root, host.clock.now()) {
        if seen.said.insert((stray.component, stray.code.to_owned())) {
            let (file, hint) = (stray.path.display(), &stray.hint);
            tracing::warn!(code = stray.code, %file, hint, "plugin refused: {}", stray.sentence);
            host.say(stray_entry(&stray));
        }
    }
    // Bounded: what was said long ago may be said again.
    while seen.said.len() > MOST_SAID {
        seen.said.pop_first();
    }
}

/// The record of a release that came into force.
pub fn activation_entry(generation: &Generation, host: &Host) -> Entry {
    let mut fields = format!(
        r#""gen":{},"set":"{}","expires":{},"bindings":["#,
        generation.number, generation.set, generation.expires
    );
    let mut comma = "";
    for (bindings, hook) in generation.hooks.iter().zip(&host.hooks) {
        for binding in bindings {
            fields.push_str(&format!(r#"{comma}{{"hook":"{}","plugin":"#, hook.config.name));
            quote(&mut fields, &binding.manifest().id);
            fields.push_str(&format!(
                r#","serial":{},"manifest":"{}","component":"{}","settings":"{}","snapshot":"{}","mode":"{}"}}"#,
                binding.manifest().serial,
                binding.verified.digest,
                binding.manifest().wasm,
                binding.settings,
                binding.plugin.snapshot_digest(),
                binding.mode.name()
            ));
            comma = ",";
        }
    }
    fields.push(']');
    Entry { kind: "release.active", fields, sealed: None }
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

//! The host: everything that calls share, and the order in which it comes up and goes down.
//!
//! Invariant: configuration, keys, record, release, then the port: whatever fails, nothing was bound before. The generation is one
//! pointer, exchanged whole. Locks here are held for a few instructions, never across a commit or a plugin.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use portcullis_audit::{Entry, Log, Pending, Pseudonyms, Recovery, SealKey, Sealer};
use portcullis_engine::Engine;
use portcullis_hooks::{Answer, Incoming, OnFailure};
use portcullis_keys::{SecretKey, SymmetricKey};
use portcullis_model::Cause;
use portcullis_trust::TrustRoot;

use crate::admission::Admission;
use crate::caller::{CacheKey, Caller, KeyRing, Keys};
use crate::clock::Clock;
use crate::config::{Commit, Config, HookConfig};
use crate::delivery::Deliveries;
use crate::error::StartError;
use crate::generation::{Bindings, Generation};
use crate::housekeeping::{activation_entry, refusal_entry};
use crate::outbound::Outbound;
use crate::owed::{self, Debts};
use crate::refusals::Refusals;
use crate::release::{Found, ReleaseError, Stray};
use crate::retry::Retries;
use crate::slow_lane::SlowLane;
use crate::tls::Tls;

/// What all calls share.
pub struct Host {
    /// The configuration.
    pub config: Config,
    /// The trust root.
    pub root: TrustRoot,
    /// The hooks, in the order of the configuration.
    pub hooks: Vec<Hook>,
    /// The generation in force.
    pub generation: ArcSwapOption<Generation>,
    /// The record.
    pub log: Log,
    /// Keyed pseudonyms.
    pub pseudonyms: Pseudonyms,
    /// The clock.
    pub clock: Clock,
    /// The gate.
    pub admission: Admission,
    /// Retried events.
    pub retries: Retries,
    /// Counted refusals.
    pub refusals: Refusals,
    /// Deliveries to be recorded.
    pub deliveries: Deliveries,
    /// Threads for slow plugins that bind.
    pub slow_lane: SlowLane,
    /// A thread for plugins that do not bind.
    pub observers: SlowLane,
    /// The thread that writes the emergency ring.
    pub ring_lane: SlowLane,
    /// Whether the emergency ring had to count what found no slot.
    pub owes_tally: AtomicBool,
    /// TLS towards callers, where the configuration asks for it.
    pub tls: Option<Arc<Tls>>,
    /// Calls that the host makes itself.
    pub outbound: Arc<Outbound>,
    /// The keys of everybody whose tokens callers bring.
    pub keys: Vec<Arc<Keys>>,
    engine: Engine,
    /// Path → hook, and which of its kind's routes the path is.
    routes: HashMap<String, (usize, &'static str)>,
    seeds: AtomicU64,
}

/// One hook.
pub struct Hook {
    /// Its place in the configuration.
    pub number: usize,
    /// Its configuration.
    pub config: HookConfig,
    /// How its caller proves itself.
    pub caller: Caller,
    /// What it owes the log.
    pub owed: Debts,
}

/// What is ready before the record is opened: all that `check` looks at and `serve` needs.
pub struct Prepared {
    config: Config,
    root: TrustRoot,
    callers: Vec<Caller>,
    keys: Vec<Arc<Keys>>,
    outbound: Arc<Outbound>,
    tls: Option<Arc<Tls>>,
    engine: Engine,
    signer: SecretKey,
    sealer: Sealer,
    pseudonyms: Pseudonyms,
    clock: Clock,
    /// The release, or why there is none.
    pub release: Result<Generation, ReleaseError>,
}

impl Prepared {
    /// Reads keys and secrets, makes the sandbox and readies the release. Opens no record and binds no port.
    pub fn new(config: Config, clock: Clock) -> Result<Self, StartError> {
        let now = clock.now();
        let root = read_root(&config, &clock)?;
        let signer = SecretKey::read(&config.audit.signing_key)
            .map_err(|error| file("signing key", &config.audit.signing_key, &error))?;
        if signer.public().name() != config.audit.origin {
            let why =
                format!("its name is `{}`, but audit.origin is `{}`", signer.public().name(), config.audit.origin);
            return Err(StartError::File {
                what: "signing key",
                path: config.audit.signing_key.clone(),
                why,
                hint: Some("use the key that began this log, or begin a new one with a key and an origin of one name, listed under `[log]` of the trust root".to_owned()),
            });
        }
        if !root.log.contains(signer.public()) {
            let why = "the trust root does not list it under roles.log".to_owned();
            return Err(StartError::File {
                what: "signing key",
                path: config.audit.signing_key.clone(),
                why,
                hint: Some("use the key that began this log, or begin a new one with a key and an origin of one name, listed under `[log]` of the trust root".to_owned()),
            });
        }
        let symmetric =
            |what, path: &std::path::Path| SymmetricKey::read(path).map_err(|error| file(what, path, &error));
        let sealing = symmetric("sealing key", &config.audit.sealing_key)?;
        let naming = symmetric("pseudonym key", &config.audit.pseudonym_key)?;
        if sealing.expose() == naming.expose() {
            let (why, hint) =
                ("it is the sealing key too".to_owned(), Some("generate another: each key serves one end".to_owned()));
            return Err(StartError::File {
                what: "pseudonym key",
                path: config.audit.pseudonym_key.clone(),
                why,
                hint,
            });
        }
        let cache_key = CacheKey::derive(&naming);
        let (sealer, pseudonyms) =
            (Sealer::new(SealKey::new(sealing)), Pseudonyms::new(&naming, PSEUDONYM_KEY_VERSION));
        let outbound = Arc::new(Outbound::new(&config.outbound)?);
        let cache = config.outbound.cache.clone().map(|folder| (folder, cache_key));
        let mut ring = KeyRing::new(Arc::clone(&outbound), clock.clone(), cache, config.listen.calls);
        let load = |hook: &HookConfig| Caller::load(&hook.name, &hook.callers, &mut ring);
        let callers = config.hooks.iter().map(load).collect::<Result<_, _>>()?;
        let keys = ring.all();
        let tls = config.listen.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        // Serving threads, slow lane and observers: an instance is given back before its call waits for the log, so what runs at
        // once is bounded by threads, not by calls in progress.
        let workers = config.listen.workers.saturating_mul(2).saturating_add(1);
        let engine = Engine::new(portcullis_engine::Options { workers, ..portcullis_engine::Options::default() })?;
        let release = Found::read(&config.release).and_then(|found| found.activate(&root, &config.hooks, &engine, now));
        Ok(Self { config, root, callers, keys, outbound, tls, engine, signer, sealer, pseudonyms, clock, release })
    }

    /// Whether the record on disk, if there is one, is this configuration's: its checkpoint is signed by its key.
    pub fn check_record(&self) -> Result<(), portcullis_audit::ReadError> {
        let log = self.config.audit.directory.join("log");
        if !log.join("checkpoint").exists() {
            return Ok(());
        }
        portcullis_audit::Reader::open(&portcullis_audit::disk::OsDisk, &log, self.signer.public()).map(drop)
    }

    /// Components in the plugins' folder that may not run.
    pub fn strays(&self) -> Vec<Stray> {
        let found = Found::read(&self.config.release);
        found.map(|found| found.strays(&self.root, self.clock.now())).unwrap_or_default()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether and why the engine resets instances the quick way.
    pub fn reset(&self) -> portcullis_engine::Reset {
        self.engine.reset()
    }

    /// Opens the record, says what became of the last run, and puts the release in force. Without a usable release every call gets
    /// its hook's safe answer until there is one.
    pub fn open(self) -> Result<Arc<Host>, StartError> {
        let audit = &self.config.audit;
        let clock = self.clock.clone();
        let options = portcullis_audit::Options {
            commit: match audit.commit {
                Commit::Disk => portcullis_audit::Commit::Disk,
                Commit::Kernel => portcullis_audit::Commit::Kernel,
            },
            segment_bytes: audit.segment_bytes,
            ..portcullis_audit::Options::new(
                audit.directory.clone(),
                self.config.tenant.clone(),
                Arc::new(self.signer),
                self.sealer,
                Arc::new(move || clock.now().0),
            )
        };
        let (log, recovery) = Log::open(options)?;
        let slow_lane =
            SlowLane::start("slow", self.config.listen.workers, SLOW_WAITING).map_err(StartError::Thread)?;
        let observers = SlowLane::start("observe", 1, OBSERVERS_WAITING).map_err(StartError::Thread)?;
        let ring_lane = SlowLane::start("ring", 1, RING_WAITING).map_err(StartError::Thread)?;
        let routes = self.config.hooks.iter().enumerate().flat_map(|(number, hook)| {
            let routes = hook.kind.routes(&hook.settings.path).into_iter();
            routes.map(move |(path, route)| (path, (number, route)))
        });
        let routes = routes.collect();
        let hooks = self.config.hooks.iter().cloned().zip(self.callers).enumerate();
        let hooks =
            hooks.map(|(number, (config, caller))| Hook { number, config, caller, owed: Debts::default() }).collect();
        let host = Arc::new(Host {
            root: self.root,
            hooks,
            generation: ArcSwapOption::empty(),
            log,
            pseudonyms: self.pseudonyms,
            clock: self.clock,
            admission: Admission::new(self.config.listen.calls),
            retries: Retries::default(),
            refusals: Refusals::default(),
            deliveries: Deliveries::default(),
            slow_lane,
            observers,
            ring_lane,
            owes_tally: AtomicBool::new(false),
            tls: self.tls,
            outbound: self.outbound,
            keys: self.keys,
            engine: self.engine,
            routes,
            seeds: AtomicU64::new(random_seed()?),
            config: self.config,
        });
        // Asked for before anybody calls, so that the first call need not wait.
        host.keys.iter().for_each(|keys| keys.tend(true));
        host.say(host.start_entry(&recovery));
        owed::recover(&host, &recovery.owed, recovery.size);
        match self.release {
            Ok(generation) => host.activate(generation),
            Err(error) => {
                tracing::error!(code = error.code(), %error, hint = error.hint(), "no release is active; every call gets its safe answer");
                host.say(refusal_entry(&error));
            }
        }
        Ok(host)
    }
}

impl Host {
    /// The hook that a request path names, and which of its kind's routes the path is.
    pub fn route(&self, path: &str) -> Option<(&Hook, &'static str)> {
        let (number, route) = *self.routes.get(path)?;
        Some((self.hooks.get(number)?, route))
    }

    /// A hook's name, for records.
    pub fn hook_name(&self, number: usize) -> &str {
        self.hooks.get(number).map_or("", |hook| &hook.config.name)
    }

    /// The next call's seed: a counter from a random start, spread over all 64 bits (the finaliser of SplitMix64, Steele et al. 2014).
    pub fn seed(&self) -> u64 {
        let mut seed = self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        seed ^ (seed >> 31)
    }

    /// 128 random bits.
    pub fn salt(&self) -> [u8; 16] {
        let mut salt = [0; 16];
        // The operating system's generator does not fail once it is up, and it was at the start; a constant salt hides less, and
        // is no reason to keep an answer back.
        let _ = aws_lc_rs::rand::fill(&mut salt);
        salt
    }

    /// Reads the release's folders and readies what they hold; `None` if it is what is in force already.
    pub fn load_release(&self) -> Result<Option<Generation>, ReleaseError> {
        let found = Found::read(&self.config.release)?;
        let current = self.generation.load_full();
        if current.as_ref().is_some_and(|current| current.set == found.set_digest()) {
            return Ok(None);
        }
        if !self.reset_still_holds() {
            return Err(ReleaseError::Swap);
        }
        let generation = found.activate(&self.root, &self.config.hooks, &self.engine, self.clock.now())?;
        match current {
            Some(current) if generation.number <= current.number => {
                Err(ReleaseError::Older { offered: generation.number, active: current.number })
            }
            _ => Ok(Some(generation)),
        }
    }

    /// Puts a generation in force: recorded, durable, then swapped in one exchange. Calls in flight finish on theirs. Without the
    /// record it does not come into force. Blocks on the log.
    pub fn activate(&self, generation: Generation) {
        let number = generation.number;
        let recorded = self.log.append(activation_entry(&generation, self)).map(Pending::wait);
        match recorded {
            Ok(Ok(_)) => {
                for warning in generation.warnings(&self.config.hooks) {
                    tracing::warn!(generation = number, "{warning}");
                }
                self.generation.store(Some(Arc::new(generation)));
                tracing::info!(generation = number, "release active");
            }
            Ok(Err(error)) => {
                tracing::error!(generation = number, %error, "the release is not in force: its record is not durable")
            }
            Err(refused) => {
                tracing::error!(generation = number, %refused, "the release is not in force: its record was not taken")
            }
        }
    }

    /// Whether instances are still reset safely.
    pub fn reset_still_holds(&self) -> bool {
        self.engine.reset_still_holds()
    }

    /// Appends a record that nobody waits for; says whether the log took it.
    pub fn say(&self, entry: Entry) -> bool {
        let kind = entry.kind;
        let refused = self.log.append(entry).err();
        if let Some(refused) = &refused {
            tracing::error!(kind, %refused, "a record could not be appended");
        }
        refused.is_none()
    }

    /// A keyed pseudonym of the host's tenant.
    pub fn pseudonym(&self, namespace: &str, value: &str) -> String {
        self.pseudonyms.of(&self.config.tenant, namespace, value)
    }

    /// Says what hooks owe the log and frees what the emergency ring no longer needs to hold. Blocks on the log.
    pub fn settle_debts(&self) {
        let mut clear = true;
        for hook in &self.hooks {
            // Refused: the log takes nothing now; the next round tries again.
            drop(hook.owed.settle(self));
            clear &= hook.owed.free_slots(self);
        }
        if clear && self.owes_tally.swap(false, Ordering::AcqRel) {
            owed::free_tally(self);
        }
    }

    /// The last record of a run, and an orderly end of the log.
    pub fn close(&self) {
        self.say(Entry { kind: "host.stop", fields: String::new(), sealed: None });
        if let Err(error) = self.log.close() {
            tracing::error!(%error, "the log did not close in order; it recovers at the next start");
        }
    }

    fn start_entry(&self, recovery: &Recovery) -> Entry {
        let reset = self.engine.reset();
        let fields = format!(
            r#""build":"{}","engine":"wasmtime 48","config":"{}","reset":"{}","unclean":{},"recovered":{},"truncated_bytes":{}"#,
            env!("CARGO_PKG_VERSION"),
            self.config.digest,
            reset,
            recovery.unclean,
            recovery.replayed,
            recovery.truncated_bytes
        );
        Entry { kind: "host.start", fields, sealed: None }
    }
}

impl Hook {
    /// What leaves when there is no decision. A hook that nothing enforces has the platform's default: observing must never stop
    /// anybody.
    pub fn on_failure(&self, generation: Option<&Generation>) -> &OnFailure {
        let bindings = generation.map(|generation| generation.hooks.get(self.number));
        let enforced = bindings.is_none_or(|bindings| bindings.is_some_and(Bindings::enforced));
        if enforced { &self.config.on_failure } else { &OnFailure::Open }
    }

    /// The answer where there is no decision.
    pub fn safe_answer(&self, generation: Option<&Generation>, cause: Cause, incoming: Option<&Incoming>) -> Answer {
        portcullis_hooks::safe_answer(self.config.kind, self.on_failure(generation), cause, incoming)
    }

    /// The configured safe answer's word, for records.
    pub fn on_failure_name(on_failure: &OnFailure) -> &'static str {
        match on_failure {
            OnFailure::Closed => "closed",
            OnFailure::Restricted { .. } => "restricted",
            OnFailure::Open => "open",
        }
    }
}

fn read_root(config: &Config, clock: &Clock) -> Result<TrustRoot, StartError> {
    let path = &config.trust_root;
    let wrong = |why: String, hint| StartError::File { what: "trust root", path: path.clone(), why, hint };
    let envelope = std::fs::read(path).map_err(|error| wrong(error.to_string(), None))?;
    portcullis_trust::verify_root(&envelope, clock.now())
        .map_err(|refusal| wrong(format!("{refusal} [{}]", refusal.code()), refusal.hint()))
}

fn file(what: &'static str, path: &std::path::Path, error: &portcullis_keys::KeyError) -> StartError {
    StartError::File { what, path: path.to_owned(), why: error.to_string(), hint: error.hint() }
}

fn random_seed() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The version that pseudonyms carry; it grows when the key is changed.
const PSEUDONYM_KEY_VERSION: u32 = 1;
/// Notes that may wait for the emergency ring; memory knows of the rest.
const RING_WAITING: usize = 4_096;
/// Calls that may wait for a binding that does not bind; further ones are not observed, and counted.
const OBSERVERS_WAITING: usize = 4_096;
/// Jobs that may wait for the slow lane.
const SLOW_WAITING: usize = 256;

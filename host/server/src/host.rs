//! The host: everything that calls share, and the order in which it comes up and goes down.
//!
//! Invariant: configuration, keys, record, release, then the port: whatever fails, nothing was bound before. The generation is one
//! pointer, exchanged whole. Locks here are held for a few instructions, never across a commit or a plugin.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use portcullis_audit::{Entry, Log, Pseudonym, Pseudonyms, Recovery, SealKey, Sealer};
use portcullis_engine::Engine;
use portcullis_hooks::{Answer, Errand, Incoming, OnFailure, Outcome, Refusal};
use portcullis_keys::{SecretKey, SymmetricKey};
use portcullis_model::json::quote;
use portcullis_model::{Cause, Effect, Millis, Party};
use portcullis_trust::{Active, History, Passage, TrustRoot, VerifiedManifest};
use thiserror::Error;

use crate::admission::Admission;
use crate::caller::{CacheKey, Caller, KeyRing, Keys};
use crate::clock::Clock;
use crate::config::{Commit, Config, HookConfig};
use crate::courier::Courier;
use crate::decryption::DecryptionKeys;
use crate::delivery::Deliveries;
use crate::drift::Drift;
use crate::error::StartError;
use crate::generation::{Bindings, Generation};
use crate::glass::{Glass, Open};
use crate::in_force::{InForce, Lasting, Names};
use crate::keeper::{self, Keeper, Place};
use crate::lane::Lane;
use crate::memory::Standing;
use crate::metrics::{BindingMetrics, HookMetrics};
use crate::moment::{Doubt, Moment};
use crate::obstacles::Obstacles;
use crate::outbound::Outbound;
use crate::owed::{self, Debts};
use crate::own_folder::OwnFolder;
use crate::refusals::{Reason, Refusals};
use crate::registry::Source;
use crate::release::{Found, ReleaseError, Standing as ReleaseStanding, Stray, activation_entry};
use crate::resume::Resumes;
use crate::retry::Retries;
use crate::roots::Stopped;
use crate::telemetry::Telemetry;
use crate::tls::Tls;

/// What all calls share.
pub struct Host {
    /// The configuration it started with. What a call or a reload goes by is in [`InForce`].
    pub config: Arc<Config>,
    /// What must not be forgotten: trust roots, revocations, what was active.
    pub keeper: Mutex<Keeper>,
    /// The trust root in force, for those who must not wait for the keeper.
    pub root: ArcSwap<TrustRoot>,
    /// Break-glass documents that were opened.
    pub glass: Glass,
    /// The hooks and what decides on them. Exchanged by housekeeping alone.
    pub in_force: ArcSwap<InForce>,
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
    /// Who delivers messages, by name.
    pub couriers: BTreeMap<String, Arc<Courier>>,
    /// Deliveries to be recorded.
    pub deliveries: Deliveries,
    /// The thread that writes the emergency ring.
    pub ring_lane: Lane,
    /// Whether the emergency ring had to count what found no slot.
    pub owes_tally: AtomicBool,
    /// TLS towards callers, where the configuration asks for it.
    pub tls: Option<Arc<Tls>>,
    /// The keys of everybody whose tokens callers bring.
    pub keys: ArcSwap<Vec<Arc<Keys>>>,
    /// Makes further ones.
    pub ring: Mutex<KeyRing>,
    /// Calls that the host makes itself.
    pub outbound: Arc<Outbound>,
    /// Calls that platforms wait for.
    pub resumes: Resumes,
    /// The registry that releases are pulled from.
    pub registry: Option<Source>,
    /// What every binding of the generation before did: what was counted between two looks must not be lost.
    pub former: ArcSwap<Vec<Arc<BindingMetrics>>>,
    /// Where traces go, if anywhere.
    pub telemetry: Option<Telemetry>,
    /// What stands in the way of being ready.
    pub obstacles: Obstacles,
    /// What is known of the time.
    pub moment: Moment,
    /// What belongs to hooks' names.
    pub names: Names,
    /// How far the set in the folders has come.
    pub standing: ReleaseStanding,
    engine: Engine,
    seeds: AtomicU64,
    /// Random, and each used once.
    salts: Mutex<Vec<[u8; 16]>>,
}

/// One hook.
pub struct Hook {
    /// Its place in the configuration.
    pub number: usize,
    /// Tells it from every other hook of this process, also from its former self under another configuration.
    pub serial: u64,
    /// Its name, to be shared.
    pub name: Arc<str>,
    /// Its configuration.
    pub config: HookConfig,
    /// How its caller proves itself.
    pub caller: Arc<Caller>,
    /// What decrypts what its platform encrypts.
    pub decryption: Option<Arc<DecryptionKeys>>,
    /// What it owes the log.
    pub owed: Arc<Debts>,
    /// The break-glass document in force here, or the last one.
    pub glass: Arc<ArcSwapOption<Open>>,
    /// What it was sent that is not known.
    pub drift: Arc<Drift>,
    /// What it did.
    pub metrics: Arc<HookMetrics>,
}

/// Why what is ready is not in force. Nothing is wrong with it.
#[derive(Debug, Error)]
pub enum NotInForce {
    /// What it was held against has changed since.
    #[error("what it was held against has changed since")]
    Overtaken,
    /// Its record could not be made durable.
    #[error("its record could not be made durable: {0}")]
    Record(String),
}

/// What is ready before the record is opened: all that `check` looks at and `serve` needs.
pub struct Prepared {
    config: Config,
    keeper: Keeper,
    callers: Vec<Arc<Caller>>,
    outbound: Arc<Outbound>,
    decryption: Vec<Option<Arc<DecryptionKeys>>>,
    resumes: Resumes,
    registry: Option<Source>,
    couriers: BTreeMap<String, Arc<Courier>>,
    ring: KeyRing,
    tls: Option<Arc<Tls>>,
    engine: Engine,
    /// The log, and the one held ready.
    places: Vec<Place>,
    sealer: Sealer,
    pseudonyms: Pseudonyms,
    clock: Clock,
    standing: ReleaseStanding,
    moment: Moment,
    /// The release, or why there is none.
    pub release: Result<Generation, ReleaseError>,
}

impl Prepared {
    /// Reads keys and secrets, makes the sandbox and readies the release. Opens no record and binds no port. The host's own folder is held,
    /// and compiled plugins are kept for the next time, only by one that `keeps` them: the host itself, whose files they are to be.
    pub fn new(mut config: Config, clock: Clock, keeps: bool) -> Result<Self, StartError> {
        let own_folder = keeps.then(|| OwnFolder::hold(&config.trust)).transpose()?;
        let audit = &config.audit;
        let mut places = vec![place(&audit.directory, &audit.signing_key, &audit.origin, "audit.origin")?];
        if let Some(next) = &audit.next {
            places.push(place(&next.directory, &next.signing_key, &next.origin, "audit.next.origin")?);
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
        let keeper = places.first().map(|place| Keeper::prepare(&config, &sealing, place)).transpose()?;
        let mut keeper = keeper.ok_or(StartError::Random)?;
        own_folder.into_iter().for_each(|folder| keeper.hold(folder));
        for place in &places {
            if !keeper.root().log.contains(place.signer.public()) {
                let why = format!("the trust root does not list `{}` under roles.log", place.signer.public().keyid());
                let (what, path) = ("signing key", config.audit.signing_key.clone());
                return Err(StartError::File { what, path, why, hint: Some(SIGNING_HINT.to_owned()) });
            }
        }
        // Serving threads, and every binding's own: an instance is given back before its call waits for the log or a lane, so what runs
        // at once is bounded by threads, not by calls in progress.
        let own = config.plugins.bounds(config.listen.workers).concurrency;
        let workers = config.listen.workers.saturating_add(own).saturating_add(1);
        let engine = config.engine.start(workers, &sealing, keeps)?;
        let sealing = SealKey::new(sealing);
        let outbound = Arc::new(Outbound::new(&config.outbound)?);
        let resumes = Resumes::open(&config.resume, &config.tenant, &sealing, &outbound, &clock)?;
        let registry = config.registry.as_ref().map(Source::new).transpose()?;
        let (sealer, pseudonyms) = (Sealer::new(sealing), Pseudonyms::new(&naming, PSEUDONYM_KEY_VERSION));
        let cache = config.outbound.cache.clone().map(|folder| (folder, cache_key));
        let mut ring = KeyRing::new(Arc::clone(&outbound), clock.clone(), cache, config.listen.calls);
        let load = |hook: &HookConfig| Caller::load(&hook.name, &hook.callers, &mut ring).map(Arc::new);
        let callers = config.hooks.iter().map(load).collect::<Result<_, _>>()?;
        let tls = config.listen.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let mut decryption = Vec::with_capacity(config.hooks.len());
        for hook in &mut config.hooks {
            decryption.push(Hook::decryption(hook)?);
        }
        let courier = |(name, config)| Ok((String::clone(name), Arc::new(Courier::new(name, config)?)));
        let couriers = config.deliveries.iter().map(courier).collect::<Result<_, StartError>>()?;
        let (standing, moment) = (ReleaseStanding::default(), Moment::default());
        moment.at_least(keeper.last_known());
        let now = moment.trusted(clock.now());
        let activate = |found: Found| {
            standing.found(&found, &keeper.trusted(), now);
            found.activate(&keeper.trusted(), &config.hooks, &engine, now)
        };
        let release = Found::read(&config.release).and_then(activate).inspect_err(|error| standing.refused(error));
        Ok(Self {
            config,
            keeper,
            callers,
            ring,
            tls,
            couriers,
            outbound,
            decryption,
            resumes,
            registry,
            engine,
            places,
            sealer,
            pseudonyms,
            clock,
            standing,
            moment,
            release,
        })
    }

    /// Whether the record on disk, if there is one, is this configuration's: its checkpoint is signed by its key.
    pub fn check_record(&self) -> Result<(), portcullis_audit::ReadError> {
        let Some(place) = self.places.first() else { return Ok(()) };
        crate::memory::reader(&portcullis_audit::disk::OsDisk, &place.directory, place.signer.public()).map(drop)
    }

    /// Components in the plugins' folder that may not run.
    pub fn strays(&self) -> Vec<Stray> {
        let found = Found::read(&self.config.release);
        found.map(|found| found.strays(self.keeper.root(), self.clock.now())).unwrap_or_default()
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
    pub fn open(mut self) -> Result<Arc<Host>, StartError> {
        let (log, recovery) = self.open_record()?;
        let ring_lane = Lane::new("ring", 1, RING_WAITING);
        let (names, config) = (Names::default(), Arc::new(self.config));
        let hooks = config.hooks.iter().cloned().zip(self.callers).zip(self.decryption).enumerate();
        let hooks = hooks.map(|(number, ((config, caller), decryption))| {
            Arc::new(Hook::new(number, config, caller, decryption, &names))
        });
        let in_force = InForce::new(Arc::clone(&config), hooks.collect(), None);
        let telemetry = Telemetry::start(&config.telemetry, &config.tenant, &self.outbound)?;
        let host = Arc::new(Host {
            root: ArcSwap::new(Arc::clone(self.keeper.root())),
            glass: Glass::new(&config.trust.state, self.keeper.seal()),
            keeper: Mutex::new(self.keeper),
            in_force: ArcSwap::from_pointee(in_force),
            log,
            pseudonyms: self.pseudonyms,
            clock: self.clock,
            admission: Admission::new(config.listen.calls),
            retries: Retries::default(),
            refusals: Refusals::default(),
            couriers: self.couriers,
            deliveries: Deliveries::default(),
            ring_lane,
            owes_tally: AtomicBool::new(false),
            tls: self.tls,
            keys: ArcSwap::from_pointee(self.ring.all()),
            ring: Mutex::new(self.ring),
            outbound: self.outbound,
            resumes: self.resumes,
            registry: self.registry,
            former: ArcSwap::default(),
            telemetry,
            obstacles: Obstacles::default(),
            moment: self.moment,
            names,
            standing: self.standing,
            engine: self.engine,
            seeds: AtomicU64::new(random_seed()?),
            salts: Mutex::default(),
            config,
        });
        // Asked for before anybody calls, so that the first call need not wait.
        host.keys.load().iter().for_each(|keys| keys.tend(true));
        host.say(host.start_entry(&recovery));
        host.keeper().say_findings(&host.log);
        owed::recover(&host, &recovery.owed, recovery.size);
        host.resumes.take_up(&host);
        host.glass.spend(&host.keeper().history().spent);
        host.begin(self.release);
        Ok(host)
    }
}

impl Prepared {
    /// Opens the log that is this host's to write: the one of the configuration, unless it is not the one that is remembered; then the one
    /// held ready. A log is looked at before it is opened, and again when it has recovered, before anything is added to it.
    fn open_record(&mut self) -> Result<(Log, Recovery), StartError> {
        let known = self.keeper.history().clone();
        let mut foreign = None;
        for place in std::mem::take(&mut self.places) {
            let mut standing = self.keeper.standing(&place)?;
            // What is behind may yet recover from its write-ahead log.
            if matches!(standing, Standing::Continues | Standing::Behind { .. }) {
                let (log, recovery) = Log::open(self.log_options(&place))?;
                standing = self.keeper.standing(&place)?;
                if standing == Standing::Continues {
                    self.keeper.begin(&self.config, &place)?;
                    // What the write-ahead log gave back may be news: then the release is looked at again.
                    if self.keeper.history().beyond(&known) {
                        self.release = Found::read(&self.config.release).and_then(|found| {
                            found.activate(
                                &self.keeper.trusted(),
                                &self.config.hooks,
                                &self.engine,
                                self.moment.trusted(self.clock.now()),
                            )
                        });
                        if let Err(error) = &self.release {
                            self.standing.refused(error);
                        }
                    }
                    return Ok((log, recovery));
                }
                log.close()?;
            }
            let why = keeper::describe(&standing);
            let unlinked = matches!(standing, Standing::Unlinked { .. });
            match standing {
                Standing::Retired => self.keeper.is_retired(&place),
                Standing::Unlinked { .. } => {}
                _ => self.keeper.retire(&place, &standing)?,
            }
            foreign = foreign.or(Some(StartError::Foreign { origin: place.signer.public().name().to_owned(), why }));
            // Somebody named another directory: that is not for this host to put right.
            if unlinked {
                break;
            }
        }
        Err(foreign.unwrap_or(StartError::Random))
    }

    fn log_options(&self, place: &Place) -> portcullis_audit::Options {
        let (audit, clock) = (&self.config.audit, self.clock.clone());
        let signer: Arc<SecretKey> = Arc::clone(&place.signer);
        portcullis_audit::Options {
            commit: match audit.commit {
                Commit::Disk => portcullis_audit::Commit::Disk,
                Commit::Kernel => portcullis_audit::Commit::Kernel,
            },
            segment_bytes: audit.segment_bytes,
            ..portcullis_audit::Options::new(
                place.directory.clone(),
                self.config.tenant.clone(),
                signer,
                self.sealer.clone(),
                Arc::new(move || clock.now().0),
            )
        }
    }
}

impl Host {
    /// The next call's seed: a counter from a random start, spread over all 64 bits (the finaliser of SplitMix64, Steele et al. 2014).
    pub fn seed(&self) -> u64 {
        let mut seed = self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        seed ^ (seed >> 31)
    }

    /// 128 random bits.
    pub fn salt(&self) -> [u8; 16] {
        let mut salts = self.salts.lock().unwrap_or_else(PoisonError::into_inner);
        if salts.is_empty() {
            // In bulk: a call of the generator costs more than the bytes. It does not fail once it is up, and it was at the start; a
            // constant salt hides less, and is no reason to keep an answer back.
            let mut bulk = [0; 16 * SALTS_AT_ONCE];
            let _ = aws_lc_rs::rand::fill(&mut bulk);
            salts.extend_from_slice(bulk.as_chunks().0);
        }
        salts.pop().unwrap_or_default()
    }

    /// What must not be forgotten. Held for as long as records and files about trust take; no call waits for it.
    pub fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Trusted time: what the ends of things are held against.
    pub fn trusted_now(&self) -> Millis {
        self.moment.trusted(self.clock.now())
    }

    /// Looks at the other clocks, and says where this one becomes suspect or ceases to be. Says whether it has ceased.
    pub fn look_at_time(&self) -> bool {
        let now = self.clock.now();
        if let Some(theirs) = self.keeper().witness_clock() {
            self.moment.witness(theirs, now);
        }
        let doubt = self.moment.look(now);
        match doubt {
            Some(Doubt::Began { witness, platform }) => {
                tracing::error!(
                    witness,
                    platform,
                    "this machine's clock is more than five minutes away from the witness's and the platform's (milliseconds that they are \
                     ahead): no release comes into force and nothing expires until it is put right"
                );
                let fields = format!(r#""witness_ms":{witness},"platform_ms":{platform}"#);
                self.say(Entry { kind: "trust.time-suspect", fields, sealed: None });
            }
            Some(Doubt::Ended) => {
                tracing::info!("this machine's clock agrees with another one again");
                self.say(Entry { kind: "trust.time-trusted", fields: String::new(), sealed: None });
            }
            None => {}
        }
        doubt == Some(Doubt::Ended)
    }

    /// Takes trust roots that have arrived, and stops what they or the set in the folder revoke: at once, whatever becomes of the rest.
    pub fn follow_trust(&self) -> Option<Stopped> {
        let mut keeper = self.keeper();
        let config = Arc::clone(&self.in_force.load().config);
        let (_, refused) = keeper.follow(&config, &self.log);
        self.root.store(Arc::clone(keeper.root()));
        let new = keeper.revocations(&config);
        self.stop_revoked(&keeper);
        if !new.is_empty() {
            keeper.record_revoked(&self.log, &new);
        }
        refused
    }

    /// Stops what a set revokes that lies in no folder: one that a registry offers, and of which perhaps nothing else is taken.
    pub fn heed(&self, set: &[u8]) {
        let mut keeper = self.keeper();
        let new = keeper.revoked_by(set);
        if !new.is_empty() {
            self.stop_revoked(&keeper);
            keeper.record_revoked(&self.log, &new);
        }
    }

    /// Stops every binding of what is revoked by now, and says so.
    fn stop_revoked(&self, keeper: &Keeper) {
        let in_force = self.in_force.load_full();
        let Some(generation) = &in_force.generation else { return };
        let (root, revoked) = (keeper.root(), &keeper.history().revoked);
        let is_revoked = |verified: &VerifiedManifest| {
            let manifest = &verified.manifest;
            revoked.covers(verified.digest, &manifest.id, manifest.serial) || verified.stands(root).is_err()
        };
        for (hook, plugin) in generation.stop(is_revoked) {
            let hook = in_force.hooks.get(hook).map_or("", |hook| &*hook.name);
            tracing::error!(
                hook,
                plugin,
                "plugin revoked: it is asked no more, and where it binds every call gets the safe answer"
            );
            let mut fields = format!(r#""gen":{},"hook":"{hook}","plugin":"#, generation.number);
            quote(&mut fields, &plugin);
            self.say(Entry { kind: "plugin.stopped", fields, sealed: None });
        }
    }

    /// Puts a generation in force for the hooks that are: recorded, durable, then swapped in one exchange. Calls in flight finish on
    /// theirs. Without the record, or where what it was held against does not hold any more, it does not come into force. Blocks on the log.
    pub fn activate(&self, generation: Generation) -> Result<(), NotInForce> {
        let (number, in_force) = (generation.number, self.in_force.load_full());
        let put = |generation| in_force.under(Some(generation));
        let done = self.activate_for(generation, None, &in_force.config, &in_force.hooks, put);
        if let Err(NotInForce::Record(why)) = &done {
            tracing::error!(generation = number, why, "the release is not in force: its record is not durable");
        }
        done
    }

    /// The same for the hooks that it was made for, after the record of what these come with.
    pub fn activate_for(
        &self,
        generation: Generation,
        before: Option<Entry>,
        config: &Config,
        hooks: &[Arc<Hook>],
        put: impl FnOnce(Arc<Generation>) -> InForce,
    ) -> Result<(), NotInForce> {
        let (number, set) = (generation.number, generation.set);
        let mut keeper = self.keeper();
        if !generation.against.holds(&keeper.trusted()) {
            return Err(NotInForce::Overtaken);
        }
        before.into_iter().try_for_each(|entry| self.record(entry))?;
        let active = self.active(&generation, keeper.history());
        let of_set = History::of(&generation.release, active);
        keeper.record_floors(&self.log, generation.set, &of_set);
        let piece = History { highest: of_set.highest, active: of_set.active, ..History::default() };
        let entry = activation_entry(&generation, hooks, &piece);
        self.record(entry)?;
        keeper.remember(&of_set);
        for warning in generation.warnings(&config.hooks) {
            tracing::warn!(generation = number, "{warning}");
        }
        // What its bindings counted must not be lost with it.
        if let Some(former) = &self.in_force.load().generation {
            self.record_ends(&mut keeper, former);
            let bindings = former.hooks.iter().flat_map(Bindings::with_candidates);
            self.former.store(Arc::new(bindings.map(|binding| Arc::clone(&binding.metrics)).collect()));
        }
        self.in_force.store(Arc::new(put(Arc::new(generation))));
        self.obstacles.release(None);
        self.standing.active(set, keeper.history().highest);
        tracing::info!(generation = number, "release active");
        Ok(())
    }

    /// Appends a record that somebody waits for until it is durable. Blocks on the log.
    pub fn record(&self, entry: Entry) -> Result<(), NotInForce> {
        let recorded = self.log.append(entry).map_err(|refused| NotInForce::Record(refused.to_string()))?;
        recorded.wait().map(drop).map_err(|error| NotInForce::Record(error.to_string()))
    }

    /// Records that candidates were stopped, and remembers it: they stay so in this set, whatever becomes of this process.
    pub fn record_stopped(&self) {
        let in_force = self.in_force.load_full();
        if let Some(generation) = &in_force.generation
            && generation.hooks.iter().flat_map(Bindings::rollouts).any(|(_, rollout)| rollout.is_unrecorded())
        {
            self.record_ends(&mut self.keeper(), generation);
        }
    }

    fn record_ends(&self, keeper: &mut Keeper, generation: &Generation) {
        for (live, rollout) in generation.hooks.iter().flat_map(Bindings::rollouts) {
            if let Some(fields) = rollout.end(generation, live) {
                keeper.record_stopped(&self.log, &fields, rollout.key);
                rollout.end_recorded();
            }
        }
    }

    /// What is remembered of a generation as the active one. A set that starts again keeps the moment at which it was let in; a later one
    /// never has an earlier moment, whatever the clock does.
    fn active(&self, generation: &Generation, history: &History) -> Active {
        if let Passage::Again(active) = generation.passage {
            return active;
        }
        let after = history.active.map_or(0, |active| active.since.0.saturating_add(1));
        // Not now: compiling takes its time, and its end may have come meanwhile.
        let since = Millis(generation.verified.0.max(after));
        Active { version: generation.number, set: generation.set, root: generation.root, since }
    }

    /// Counts a refusal that nobody can be held to.
    pub fn refuse(&self, hook: &Hook, now: Millis, reason: impl Into<Reason>) {
        let reason = reason.into();
        hook.metrics.refused(reason);
        self.refusals.count(now, &hook.name, reason);
    }

    /// What makes and runs plugins.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Sandboxes in use at this moment.
    pub fn sandboxes_in_use(&self) -> u64 {
        self.engine.in_use()
    }

    /// How plugins came to be ready.
    pub fn preparations(&self) -> portcullis_engine::Preparations {
        self.engine.preparations()
    }

    /// How instances are reset.
    pub fn reset(&self) -> portcullis_engine::Reset {
        self.engine.reset()
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
    pub fn pseudonym(&self, namespace: &str, value: &str) -> Pseudonym {
        self.pseudonyms.of(&self.config.tenant, namespace, value)
    }

    /// Says what hooks owe the log and frees what the emergency ring no longer needs to hold. Blocks on the log.
    pub fn settle_debts(&self) {
        let mut clear = true;
        for lasting in self.names.all() {
            // Refused: the log takes nothing now; the next round tries again.
            drop(lasting.owed.settle(self));
            clear &= lasting.owed.free_slots(self);
        }
        if clear && self.owes_tally.swap(false, Ordering::AcqRel) {
            owed::free_tally(self);
        }
    }

    /// The last record of a run, and an orderly end of the log.
    pub fn close(&self) {
        self.say(Entry { kind: "host.stop", fields: String::new(), sealed: None });
        if let Some(telemetry) = &self.telemetry {
            telemetry.stop();
        }
        if let Err(error) = self.log.close() {
            tracing::error!(%error, "the log did not close in order; it recovers at the next start");
        }
        // The head that the log was closed with is what the next start holds it against.
        self.keeper().end();
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
    /// A hook of a configuration, with what lasts of its name.
    pub fn new(
        number: usize,
        config: HookConfig,
        caller: Arc<Caller>,
        decryption: Option<Arc<DecryptionKeys>>,
        names: &Names,
    ) -> Self {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let Lasting { owed, glass, drift, metrics } = names.of(&config.name);
        let name = config.name.as_str().into();
        Self { number, serial, name, config, caller, decryption, owed, glass, drift, metrics }
    }

    /// Reads the keys that decrypt what a hook's platform encrypts, and tells its settings of them.
    pub fn decryption(config: &mut HookConfig) -> Result<Option<Arc<DecryptionKeys>>, StartError> {
        let keys = config.decryption.as_ref().map(DecryptionKeys::load).transpose()?;
        config.settings.decryptor = keys.as_ref().map(DecryptionKeys::decryptor);
        Ok(keys.map(Arc::new))
    }

    /// What leaves when there is no decision, and why. A hook that nothing enforces has the platform's default: observing must never stop
    /// anybody. Where the platform has none, because it asks us whether it may, nothing permits; and where no answer could stop it, the
    /// default is no better than what is configured. A hook that a break-glass document holds open is open, but not where the caller is
    /// to blame or a plugin is revoked.
    pub fn on_failure(
        &self,
        generation: Option<&Generation>,
        cause: Option<Cause>,
        glass: Option<&Open>,
    ) -> &OnFailure {
        let bindings = generation.map(|generation| generation.hooks.get(self.number));
        let enforced = bindings.is_none_or(|bindings| bindings.is_some_and(Bindings::enforced));
        let asks = !self.config.kind.permits(Effect::Abstain) || !self.config.kind.binds();
        let ours = cause.is_some_and(|cause| cause.party() != Party::Caller && cause != Cause::PluginRevoked);
        let held_open = ours && glass.is_some_and(|open| open.opens);
        if (enforced || asks) && !held_open { &self.config.on_failure } else { &OnFailure::Open }
    }

    /// The answer where there is no decision: why, what was wrong with a request at fault, and by which route it came.
    pub fn safe_answer(
        &self,
        generation: Option<&Generation>,
        glass: Option<&Open>,
        cause: Cause,
        detail: &'static str,
        route: &'static str,
        incoming: Option<&Incoming>,
    ) -> Answer {
        let (settings, on_failure) = (&self.config.settings, self.on_failure(generation, Some(cause), glass));
        let refusal = Refusal { settings, on_failure, cause, detail, route, incoming };
        portcullis_hooks::refuse(self.config.kind, &refusal)
    }

    /// What is to be done where there is no decision: a platform that waits for a call is told to go on where the hook is open, and
    /// to stop where it is not.
    pub fn errand(&self, on_failure: &OnFailure, incoming: &Incoming) -> Option<Errand> {
        let verdict = if *on_failure == OnFailure::Open { Effect::Allow } else { Effect::Deny };
        let errand = portcullis_hooks::errand(self.config.kind, incoming, &Outcome { verdict, ..Outcome::default() });
        errand.filter(|errand| matches!(errand, Errand::Resume(_)))
    }

    /// Who delivers the hook's messages on that channel.
    pub fn courier<'h>(&self, host: &'h Host, channel: &str) -> Option<&'h Arc<Courier>> {
        host.couriers.get(self.config.delivery.as_ref()?.of(channel)?)
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

/// The trust root in force for a host of this configuration, and what it remembers: for whoever prepares a release. Writes nothing.
///
/// # Errors
/// [`StartError`], where the configuration's files are of no use.
pub fn trusted_by(config: &Config) -> Result<(Arc<TrustRoot>, History), StartError> {
    let audit = &config.audit;
    let sealing = &audit.sealing_key;
    let sealing = SymmetricKey::read(sealing).map_err(|error| file("sealing key", sealing, &error))?;
    let place = place(&audit.directory, &audit.signing_key, &audit.origin, "audit.origin")?;
    let keeper = Keeper::prepare(config, &sealing, &place)?;
    Ok((Arc::clone(keeper.root()), keeper.history().clone()))
}

/// A log's directory and key, which is named like its origin.
fn place(directory: &std::path::Path, key: &std::path::Path, origin: &str, setting: &str) -> Result<Place, StartError> {
    let signer = SecretKey::read(key).map_err(|error| file("signing key", key, &error))?;
    if signer.public().name() == origin {
        return Ok(Place { directory: directory.to_owned(), signer: Arc::new(signer) });
    }
    let why = format!("its name is `{}`, but {setting} is `{origin}`", signer.public().name());
    let hint = Some(SIGNING_HINT.to_owned());
    Err(StartError::File { what: "signing key", path: key.to_owned(), why, hint })
}

fn file(what: &'static str, path: &std::path::Path, error: &portcullis_keys::KeyError) -> StartError {
    StartError::File { what, path: path.to_owned(), why: error.to_string(), hint: error.hint() }
}

fn random_seed() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

const SIGNING_HINT: &str = "use the key that began this log, or begin a new one with a key and an origin of one name, listed under `[log]` of the trust root";
/// The version that pseudonyms carry; it grows when the key is changed.
const PSEUDONYM_KEY_VERSION: u32 = 1;
/// Notes that may wait for the emergency ring; memory knows of the rest.
const RING_WAITING: usize = 4_096;
/// Salts that are made together.
const SALTS_AT_ONCE: usize = 64;

//! How a host comes up: everything that `check` looks at and `serve` needs, before the record is opened and a port is bound.
//!
//! Invariant: configuration, keys, record, release, then the port: whatever fails, nothing was bound before.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use portcullis_audit::{Log, Pseudonyms, Recovery, SealKey, Sealer};
use portcullis_engine::Engine;
use portcullis_keys::{SecretKey, SymmetricKey};
use portcullis_model::Millis;
use portcullis_trust::{History, TrustRoot};

use super::{Hook, Host};
use crate::admission::Admission;
use crate::caller::{CacheKey, Caller, Floors, Kept, KeyRing};
use crate::clock::Clock;
use crate::config::{Commit, Config, HookConfig};
use crate::courier::Courier;
use crate::decryption::DecryptionKeys;
use crate::delivery::Deliveries;
use crate::error::StartError;
use crate::file_worker::{FileWorkers, Heartbeat, START_LIMIT};
use crate::generation::Generation;
use crate::glass::Glass;
use crate::http::counts::UnroutedCounts;
use crate::in_force::{InForce, Names};
use crate::keeper::{self, Keeper, Place};
use crate::lane::Lane;
use crate::memory::Standing;
use crate::net::connection_limit::ConnectionLimiter;
use crate::net::descriptors::DescriptorBudget;
use crate::net::socket::queue_warning;
use crate::obstacles::Obstacles;
use crate::outbound::Outbound;
use crate::owed;
use crate::own_folder::OwnFolder;
use crate::refusals::Refusals;
use crate::registry::Source;
use crate::release::{
    Digests, Found, MAX_CHECKED_BYTES, Reading, ReleaseError, Standing as ReleaseStanding, Strays,
};
use crate::resume::Resumes;
use crate::retry::Retries;
use crate::telemetry::Telemetry;
use crate::tls::Tls;
use crate::trust::{ClockState, TrustedTime};

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
    trusted_time: Arc<TrustedTime>,
    descriptors: DescriptorBudget,
    /// The release, or why there is none.
    pub release: Result<Generation, ReleaseError>,
}

impl Prepared {
    /// Reads keys and secrets, makes the sandbox and readies the release. Opens no record and binds no port. The host's own folder is held,
    /// and compiled plugins are kept for the next time, only by one that `keeps` them: the host itself, whose files they are to be.
    pub fn new(mut config: Config, clock: Clock, keeps: bool) -> Result<Self, StartError> {
        let descriptors = DescriptorBudget::apply(&mut config)?;
        let own_folder = keeps.then(|| OwnFolder::hold(&config.trust)).transpose()?;
        let mut as_found = config.as_found;
        as_found.look(&config);
        config.as_found = as_found;
        let audit = &config.audit;
        let mut places =
            vec![place(&audit.directory, &audit.signing_key, &audit.origin, "audit.origin")?];
        if let Some(next) = &audit.next {
            places.push(place(
                &next.directory,
                &next.signing_key,
                &next.origin,
                "audit.next.origin",
            )?);
        }
        let symmetric = |what, path: &std::path::Path| {
            SymmetricKey::read(path).map_err(|error| file(what, path, &error))
        };
        let sealing = symmetric("sealing key", &config.audit.sealing_key)?;
        let naming = symmetric("pseudonym key", &config.audit.pseudonym_key)?;
        if sealing.expose() == naming.expose() {
            let (why, hint) = (
                "it is the sealing key too".to_owned(),
                Some("generate another: each key serves one end".to_owned()),
            );
            return Err(StartError::File {
                what: "pseudonym key",
                path: config.audit.pseudonym_key.clone(),
                why,
                hint,
            });
        }
        let cache_key = CacheKey::derive(&naming);
        let keeper = places
            .first()
            .map(|place| Keeper::prepare(&config, &sealing, place, &clock))
            .transpose()?;
        let mut keeper = keeper.ok_or(StartError::Random)?;
        own_folder.into_iter().for_each(|folder| keeper.hold(folder));
        for place in &places {
            if !keeper.root().log.contains(place.signer.public()) {
                let why = format!(
                    "the trust root does not list `{}` under roles.log",
                    place.signer.public().keyid()
                );
                let (what, path) = ("signing key", config.audit.signing_key.clone());
                return Err(StartError::File {
                    what,
                    path,
                    why,
                    hint: Some(SIGNING_HINT.to_owned()),
                });
            }
        }
        // Serving threads, and every binding's own: an instance is given back before its call waits for the log or a lane, so what runs
        // at once is bounded by threads, not by calls in progress.
        let own = config.plugins.bounds(config.listen.workers).concurrency;
        let workers = config.listen.workers.saturating_add(own).saturating_add(1);
        let engine = config.engine.start(workers, &sealing, keeps)?;
        let sealing = SealKey::new(sealing);
        let outbound = Outbound::new(&config.outbound)?.at_most(descriptors.outbound);
        let outbound = Arc::new(outbound);
        let resumes = Resumes::open(&config.resume, &config.tenant, &sealing, &outbound, &clock)?;
        let registry = config.registry.as_ref().map(Source::new).transpose()?;
        let (sealer, pseudonyms) =
            (Sealer::new(sealing), Pseudonyms::new(&naming, PSEUDONYM_KEY_VERSION));
        let floors = Arc::new(Floors::read(&config.trust.state, keeper.seal()));
        let cache = config.outbound.cache.clone();
        let cache = cache.map(|folder| Kept { folder, key: cache_key, floors });
        let mut ring =
            KeyRing::new(Arc::clone(&outbound), clock.clone(), cache, config.listen.calls);
        let load =
            |hook: &HookConfig| Caller::load(&hook.name, &hook.callers, &mut ring).map(Arc::new);
        let callers = config.hooks.iter().map(load).collect::<Result<_, _>>()?;
        let tls = config.listen.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let mut decryption = Vec::with_capacity(config.hooks.len());
        for hook in &mut config.hooks {
            decryption.push(Hook::decryption(hook)?);
        }
        let courier =
            |(name, config)| Ok((String::clone(name), Arc::new(Courier::new(name, config)?)));
        let couriers = config.deliveries.iter().map(courier).collect::<Result<_, StartError>>()?;
        let standing = ReleaseStanding::default();
        let trusted_time = keeper.trusted_time();
        let now = keeper.time_for_activation();
        let activate = |found: Found| {
            standing.found(&found, &keeper.trusted(), now);
            found.activate(&keeper.trusted(), &config.hooks, &engine, now)
        };
        let release = read_release(&config, &keeper)
            .and_then(|found| keeper.may_take(found.set_digest()).map(|()| found))
            .and_then(activate)
            .inspect_err(|error| standing.refused(error));
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
            trusted_time,
            descriptors,
            release,
        })
    }

    /// Whether the record on disk, if there is one, is this configuration's: its checkpoint is signed by its key.
    pub fn check_record(&self) -> Result<(), portcullis_audit::ReadError> {
        let Some(place) = self.places.first() else { return Ok(()) };
        crate::memory::reader(
            &portcullis_audit::disk::OsDisk,
            &place.directory,
            place.signer.public(),
        )
        .map(drop)
    }

    /// Components in the plugins' folder that may not run.
    pub fn strays(&self) -> Strays {
        Strays::scan(
            &self.config.release,
            self.keeper.root(),
            self.trusted_time.for_documents(),
            &Digests::default(),
            MAX_CHECKED_BYTES,
        )
    }

    /// What is wrong with this machine's clock, in a sentence; `None` where it is believed.
    pub fn clock_warning(&self) -> Option<String> {
        let what = match self.trusted_time.state() {
            ClockState::Trusted => return None,
            ClockState::Unconfirmed => "ahead of the last record and of every signed document",
            ClockState::Behind => "behind the last record",
        };
        let code = self.trusted_time.state().name();
        Some(format!("this machine's clock is more than a day {what} [clock-{code}]"))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What an operator should know of the limits of this process and machine.
    pub fn limit_warnings(&self) -> Vec<String> {
        let queue = queue_warning(self.config.listen.connections);
        self.descriptors.warning().into_iter().chain(queue).collect()
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
            connections: ConnectionLimiter::new(
                config.listen.connection_limits(),
                config.listen.proxies.clone(),
                config.listen.platform_networks.clone(),
            ),
            admission: Admission::new(config.listen.calls),
            retries: Retries::default(),
            refusals: Refusals::default(),
            unrouted: UnroutedCounts::default(),
            couriers: self.couriers,
            deliveries: Deliveries::default(),
            ring_lane,
            tls: self.tls,
            keys: ArcSwap::from_pointee(self.ring.all()),
            ring: Mutex::new(self.ring),
            outbound: self.outbound,
            resumes: self.resumes,
            registry: self.registry,
            former: ArcSwap::default(),
            telemetry,
            obstacles: Obstacles::default(),
            trusted_time: self.trusted_time,
            kernel_synchronised: kernel_synchronised(),
            names,
            standing: self.standing,
            digests: Arc::default(),
            files: FileWorkers::default(),
            housekeeping_beat: Heartbeat::default(),
            break_glass_beat: Heartbeat::default(),
            engine: self.engine,
            seeds: AtomicU64::new(random_seed()?),
            salts: Mutex::default(),
            config,
        });
        // Asked for before anybody calls, so that the first call need not wait.
        host.keys.load().iter().for_each(|keys| keys.tend(true));
        host.say(host.start_entry(&recovery));
        host.check_clock();
        host.keeper().say_findings(&host.log);
        owed::recover(&host, &recovery.owed, recovery.size);
        host.resumes.take_up(&host);
        host.glass.spend(&host.keeper().history().spent);
        // What waited for the time that a document gives is looked at again.
        let release = match self.release {
            Err(_) if host.apply_time_documents().changed => Err(ReleaseError::Overtaken),
            release => release,
        };
        host.begin(release);
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
                    // What the write-ahead log gave back is newer than what was read before.
                    self.trusted_time.raise_floor(Millis(log.last_at()));
                    let last = Millis(log.last_at());
                    let is_reset = last > Millis(0) && last < self.keeper.last_record(&place);
                    if is_reset {
                        self.trusted_time.reset(last);
                    }
                    // What the write-ahead log gave back may be news: then the release is looked at again.
                    if is_reset || self.keeper.history().beyond(&known) {
                        let found = read_release(&self.config, &self.keeper);
                        self.release = found.and_then(|found| {
                            self.keeper.may_take(found.set_digest())?;
                            found.activate(
                                &self.keeper.trusted(),
                                &self.config.hooks,
                                &self.engine,
                                self.keeper.time_for_activation(),
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
            foreign = foreign.or(Some(StartError::Foreign {
                origin: place.signer.public().name().to_owned(),
                why,
            }));
            // Somebody named another directory: that is not for this host to put right.
            if unlinked {
                break;
            }
        }
        Err(foreign.unwrap_or(StartError::Random))
    }

    fn log_options(&self, place: &Place) -> portcullis_audit::Options {
        let (audit, time) = (&self.config.audit, Arc::clone(&self.trusted_time));
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
                Arc::new(move || time.for_records()),
            )
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
    let sealing =
        SymmetricKey::read(sealing).map_err(|error| file("sealing key", sealing, &error))?;
    let place = place(&audit.directory, &audit.signing_key, &audit.origin, "audit.origin")?;
    let keeper = Keeper::prepare(config, &sealing, &place, &Clock::system())?;
    Ok((Arc::clone(keeper.root()), keeper.history().clone()))
}

/// Reads the release folders at the start: a file system that does not answer must not keep the port
/// from being bound.
fn read_release(config: &Config, keeper: &Keeper) -> Result<Found, ReleaseError> {
    let (paths, reading) = (config.release.clone(), Reading::new(&keeper.trusted()));
    let read = move || Found::read(&paths, &reading);
    FileWorkers::default().reading.run(START_LIMIT, read).unwrap_or_else(|| {
        Err(ReleaseError::Stalled { path: config.release.set.clone(), limit: START_LIMIT })
    })
}

/// A log's directory and key, which is named like its origin.
fn place(
    directory: &std::path::Path,
    key: &std::path::Path,
    origin: &str,
    setting: &str,
) -> Result<Place, StartError> {
    let signer = SecretKey::read(key).map_err(|error| file("signing key", key, &error))?;
    if signer.public().name() == origin {
        return Ok(Place { directory: directory.to_owned(), signer: Arc::new(signer) });
    }
    let why = format!("its name is `{}`, but {setting} is `{origin}`", signer.public().name());
    let hint = Some(SIGNING_HINT.to_owned());
    Err(StartError::File { what: "signing key", path: key.to_owned(), why, hint })
}

fn file(
    what: &'static str,
    path: &std::path::Path,
    error: &portcullis_keys::KeyError,
) -> StartError {
    StartError::File { what, path: path.to_owned(), why: error.to_string(), hint: error.hint() }
}

/// A hint for the operator, and no more: a daemon may set the clock without telling the kernel.
fn kernel_synchronised() -> Option<bool> {
    let synchronised = portcullis_engine::kernel_clock_is_synchronised();
    if synchronised == Some(false) {
        tracing::info!(
            event = "clock.unsynchronised",
            "the kernel says that nothing synchronises this machine's clock: make sure that chrony, systemd-timesyncd or the hypervisor does"
        );
    }
    synchronised
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

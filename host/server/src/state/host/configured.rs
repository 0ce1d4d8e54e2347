//! What a host is by its configuration alone: settings, keys, secrets, certificates, and how its
//! callers prove themselves.
//!
//! Invariant: everything here is read before a port is bound, from the configuration file and the
//! files that it names; what is wrong with it is the operator's to repair (exit 64). Folders that
//! others write, the host's own state and the log are read afterwards, by the steps of
//! [`Startup`](crate::runtime::startup::Startup).

mod keys;
mod log;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_audit::{Log, Pseudonyms, Recovery, SealKey, Sealer, SpareDescriptors};
use portcullis_engine::Engine;
use portcullis_keys::SymmetricKey;
use portcullis_model::Millis;

use keys::{lists_keys, symmetric_keys, trust_root_of};
pub use log::log_place;

use super::recovery;
use super::{
    CallLimits, CallerKeys, Counts, Hook, Host, HostHealth, HostTrust, LateTrust, PlatformCalls,
    ReleaseSources,
};
use crate::auth::{Authenticator, CacheKey, KeyCacheConfig, KeyRing, MinFetchTimes};
use crate::break_glass::BreakGlassState;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::descriptors::DescriptorBudget;
use crate::error::StartError;
use crate::fs::change::WatchedFiles;
use crate::fs::file_worker::{FileWorkers, Heartbeat};
use crate::loading::{LastGood, ReleaseStatus};
use crate::memory::HostMemory;
use crate::net::outbound::Outbound;
use crate::net::socket::queue_warning;
use crate::net::tls::Tls;
use crate::observe::telemetry::Telemetry;
use crate::platform_calls::delivery::DeliveryService;
use crate::platform_calls::resume::ResumeCalls;
use crate::recorder::Recorder;
use crate::records::response_writes::ResponseWrites;
use crate::registry::RegistrySource;
use crate::start_problems::StartProblems;
use crate::state::active::{ActiveConfig, HookStates};
use crate::state::dedup::DedupCache;
use crate::state::frontend::{Frontend, Shared};
use crate::state_mac::StateMac;
use crate::tables::{SignedTables, TableCallers, TableSources};
use crate::trust::state::{LogLocation, TrustState};

/// A configuration with everything that it names, ready to serve.
pub struct Configured {
    config: Arc<Config>,
    hooks: Arc<ActiveConfig>,
    names: Arc<HookStates>,
    /// The log, and the one held ready.
    places: Vec<LogLocation>,
    sealing: SymmetricKey,
    sealer: Sealer,
    pseudonyms: Pseudonyms,
    outbound: Arc<Outbound>,
    registry: Option<RegistrySource>,
    tables: Arc<TableSources>,
    delivery_services: BTreeMap<String, Arc<DeliveryService>>,
    table_callers: TableCallers,
    ring: KeyRing,
    floors: Arc<MinFetchTimes>,
    tls: Option<Arc<Tls>>,
    clock: Clock,
    descriptors: DescriptorBudget,
    /// The log's stock, opened before sockets and threads take the low numbers.
    spares: Arc<SpareDescriptors>,
}

/// The parts of a host that the steps of a start have opened.
pub struct Opened {
    /// The state of the folders before any file was read.
    pub as_found: WatchedFiles,
    /// The trust state.
    pub trust_state: TrustState,
    /// The engine, which prepares and runs plugins.
    pub engine: Engine,
    /// Calls that platforms wait for.
    pub resumes: ResumeCalls,
    /// Traces.
    pub telemetry: Option<Telemetry>,
    /// The log.
    pub log: Log,
    /// The memory of plugins.
    pub memory: Arc<HostMemory>,
    /// The findings of opening the log.
    pub recovery: Recovery,
}

impl Configured {
    /// Reads every file that the configuration names: keys, secrets and certificates. Opens no log
    /// and binds no port.
    ///
    /// # Errors
    /// [`StartError`], naming the file or setting.
    pub fn load(mut config: Config, clock: Clock) -> Result<Self, StartError> {
        let descriptors = DescriptorBudget::apply(&mut config)?;
        let spares = Arc::new(SpareDescriptors::open());
        let mut problems = StartProblems::default();
        let audit = &config.audit;
        let mut places = Vec::new();
        let first = log_place(&audit.directory, &audit.signing_key, &audit.origin, "audit.origin");
        places.extend(problems.keep(first));
        if let Some(next) = &audit.next {
            let setting = "audit.next.origin";
            let next = log_place(&next.directory, &next.signing_key, &next.origin, setting);
            places.extend(problems.keep(next));
        }
        let keys = symmetric_keys(&config, &mut problems);
        let outbound = problems.keep(Outbound::new(&config.outbound));
        problems.keep(ResumeCalls::check(&config.resume));
        let registry = config.registry.as_ref().map(RegistrySource::new);
        let registry = registry.and_then(|source| problems.keep(source));
        let tls = config.listen.tls.as_ref().map(Tls::load);
        let tls = tls.and_then(|tls| problems.keep(tls)).map(Arc::new);
        let delivery_services = config.deliveries.iter().filter_map(|(name, config)| {
            Some((name.clone(), Arc::new(problems.keep(DeliveryService::new(name, config))?)))
        });
        let delivery_services = delivery_services.collect();
        let mut decryption = Vec::with_capacity(config.hooks.len());
        for hook in &mut config.hooks {
            decryption.extend(problems.keep(Hook::decryption(hook)));
        }
        // Without these no caller could be looked up; their secrets can be read all the same.
        let (Some((sealing, naming)), Some(outbound)) = (keys, outbound) else {
            for hook in &config.hooks {
                problems.keep(Authenticator::check_secrets(&hook.callers));
            }
            return Err(problems.error());
        };
        let outbound = Arc::new(outbound.with_max_calls(descriptors.outbound));
        let mac = StateMac::new(&sealing).map_err(|_| StartError::Random)?;
        let floors = Arc::new(MinFetchTimes::read(&config.trust.state, mac));
        let cache = config.outbound.cache.clone();
        let key = CacheKey::derive(&naming);
        let cache = cache.map(|folder| KeyCacheConfig { folder, key, floors: Arc::clone(&floors) });
        let mut ring =
            KeyRing::new(Arc::clone(&outbound), clock.clone(), cache, config.listen.max_in_flight);
        let tables = problems.keep(TableSources::load(&config, &outbound));
        let mut callers = Vec::with_capacity(config.hooks.len());
        for hook in &config.hooks {
            let caller = problems.keep(Authenticator::load(&hook.name, &hook.callers, &mut ring));
            callers.extend(caller.map(Arc::new));
        }
        let table_callers = problems.keep(TableCallers::load(&config, &mut ring));
        let (Some(tables), Some(table_callers)) = (tables.map(Arc::new), table_callers) else {
            return Err(problems.error());
        };
        problems.result()?;
        let (names, config) = (Arc::new(HookStates::default()), Arc::new(config));
        let hooks = config.hooks.iter().cloned().zip(callers).zip(decryption).enumerate();
        let hooks = hooks.map(|(number, ((config, caller), decryption))| {
            Arc::new(Hook::new(number, config, caller, decryption, &names))
        });
        let hooks = Arc::new(ActiveConfig::new(Arc::clone(&config), hooks.collect(), None));
        Ok(Self {
            hooks,
            names,
            places,
            sealer: Sealer::new(SealKey::new(sealing.clone())),
            sealing,
            pseudonyms: Pseudonyms::new(&naming, PSEUDONYM_KEY_VERSION),
            outbound,
            registry,
            tables,
            delivery_services,
            table_callers,
            ring,
            floors,
            tls,
            clock,
            descriptors,
            spares,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The log's place.
    pub fn log_place(&self) -> Option<&LogLocation> {
        self.places.first()
    }

    /// When the listener's certificate ends. `None`: there is no TLS.
    pub fn certificate_ends(&self) -> Option<Millis> {
        self.tls.as_ref().map(|tls| tls.not_after())
    }

    /// Returns warnings about the limits of this process and machine.
    pub fn limit_warnings(&self) -> Vec<String> {
        let queue = queue_warning(self.config.listen.max_connections);
        self.descriptors.warning().into_iter().chain(queue).collect()
    }

    /// Returns the state from which listeners answer once a port is bound.
    pub fn frontend(&self) -> Frontend {
        let (clock, tls, hooks) = (self.clock.clone(), self.tls.clone(), Arc::clone(&self.hooks));
        Frontend::new(Shared { clock, tls, hooks })
    }

    /// Refuses a trust root that is of no use, or that does not list the log's key, before a port
    /// is bound. The folder of trust roots and the host's own are read for it, so it waits for
    /// [`TRUST_CHECK_LIMIT`] at most: what is not found out by then is found out by
    /// [`Configured::load_trust_state`], while calls get their safe answers.
    ///
    /// # Errors
    /// [`StartError::File`] of a trust root or a signing key.
    pub fn check_trust(&self) -> Result<(), StartError> {
        let (sender, receiver) = channel();
        let (config, sealing) = (Arc::clone(&self.config), self.sealing.clone());
        let places = self.places.clone();
        let check = move || {
            let result = trust_root_of(&config, &sealing, &places);
            // Nobody waits any more where it took too long.
            drop(sender.send(result));
        };
        let check = thread::Builder::new().name("trust-check".to_owned()).spawn(check);
        drop(check.map_err(StartError::Thread)?);
        receiver.recv_timeout(TRUST_CHECK_LIMIT).unwrap_or(Ok(()))
    }

    /// Reads what the host remembers, the log as far as its head goes, and the trust roots. Writes
    /// nothing.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn load_trust_state(&self) -> Result<TrustState, StartError> {
        match self.trust_state_for_check()? {
            (_, Some(unread)) => Err(unread),
            (trust_state, None) => Ok(trust_state),
        }
    }

    /// Does the same, and goes on with what is remembered where the log cannot be read: the error
    /// comes beside the keeper.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn trust_state_for_check(&self) -> Result<(TrustState, Option<StartError>), StartError> {
        let place = self.places.first().ok_or(StartError::Random)?;
        let (config, sealing) = (&self.config, &self.sealing);
        let (trust_state, unread) =
            TrustState::prepare_for_check(config, sealing, place, &self.clock)?;
        lists_keys(trust_state.root(), &self.places, &self.config)?;
        Ok((trust_state, unread))
    }

    /// Makes the sandboxes. Compiled plugins are kept for the next time only by one that `keeps`
    /// them: the host itself.
    ///
    /// # Errors
    /// [`StartError::Engine`].
    pub fn engine(&self, keeps: bool) -> Result<Engine, StartError> {
        let config = &self.config;
        // Serving threads, and every binding's own: an instance is given back before its call waits
        // for the log or a lane, so what runs at once is bounded by threads, not by calls in
        // progress.
        let own = config.plugins.limits(config.listen.workers).concurrency;
        let workers = config.listen.workers.saturating_add(own).saturating_add(1);
        config.engine.start(workers, &self.sealing, keeps)
    }

    /// Opens the spools of resume calls.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn resumes(&self) -> Result<ResumeCalls, StartError> {
        let key = SealKey::new(self.sealing.clone());
        let config = &self.config;
        ResumeCalls::open(&config.resume, &config.tenant, &key, &self.outbound, &self.clock)
    }

    /// Starts the thread that exports traces, where the configuration asks for it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn telemetry(&self) -> Result<Option<Telemetry>, StartError> {
        Telemetry::start(&self.config.telemetry, &self.config.tenant, &self.outbound)
    }

    /// Asks issuers for their keys, so that the first call need not wait.
    pub fn fetch_keys(&self) {
        self.ring.all().iter().for_each(|keys| keys.refresh_if_due(true));
    }

    /// Puts the host together, and gives the log what was found at the start. No release is in
    /// force yet.
    pub fn complete(self, opened: Opened, frontend: &Frontend, seed: u64) -> Arc<Host> {
        let Opened { as_found, trust_state, engine, resumes, telemetry, log, memory, recovery } =
            opened;
        let (config, trusted_time) = (self.config, trust_state.trusted_time());
        if let Some(folder) = trust_state.state_folder() {
            self.floors.attach_folder(folder);
        }
        let (tenant, clock) = (config.tenant.clone(), self.clock.clone());
        let recorder = Recorder::new(tenant, (log, memory), clock, self.pseudonyms, RING_WAITING);
        let recorder = Arc::new(recorder);
        let last_good = LastGood::new(&config.trust.state, trust_state.mac())
            .within(trust_state.state_folder());
        let trust = HostTrust {
            root: ArcSwap::new(Arc::clone(trust_state.root())),
            break_glass: BreakGlassState::new(
                &config.trust.state,
                trust_state.state_folder(),
                trust_state.mac(),
            ),
            folder: trust_state.state_folder().cloned(),
            time: trusted_time,
            kernel_synchronised: kernel_synchronised(),
            late: LateTrust::default(),
            signed_tables: Arc::new(SignedTables::new(&trust_state.history().tables)),
            state: Mutex::new(trust_state),
        };
        // Nothing is copied, downloaded or pushed yet: such files are of a run that was killed.
        let folders = config.table_folders();
        for folder in [&folders.copies, &folders.received] {
            drop(portcullis_files::remove_temporary_files(folder));
        }
        let host = Arc::new(Host {
            active_config: ArcSwap::new(self.hooks),
            hook_states: self.names,
            recorder,
            clock: self.clock,
            trust,
            limits: CallLimits {
                connections: Arc::clone(&frontend.connections),
                admission: frontend.admission.clone(),
                dedup: DedupCache::default(),
            },
            counts: Counts {
                rejections: Arc::clone(&frontend.rejections),
                unrouted: Arc::clone(&frontend.unrouted),
                response_writes: ResponseWrites::default(),
                previous_metrics: ArcSwap::default(),
            },
            callers: CallerKeys {
                tls: self.tls,
                tables: self.table_callers,
                keys: ArcSwap::from_pointee(self.ring.all()),
                key_ring: Mutex::new(self.ring),
            },
            platforms: PlatformCalls {
                outbound: self.outbound,
                delivery_services: self.delivery_services,
                resume_calls: resumes,
            },
            release: ReleaseSources {
                registry: self.registry,
                tables: self.tables,
                status: ReleaseStatus::default(),
                digests: Arc::default(),
                watched: as_found,
                last_good,
            },
            health: HostHealth {
                conditions: Arc::clone(&frontend.conditions),
                progress: Arc::clone(&frontend.progress),
                maintenance_beat: Heartbeat::default(),
                break_glass_beat: Heartbeat::default(),
            },
            files: FileWorkers::default(),
            telemetry,
            engine,
            seeds: AtomicU64::new(seed),
            config,
        });
        host.recorder.append(host.start_entry(&recovery));
        host.check_clock();
        host.trust_state().record_startup_findings(&host.recorder.log);
        recovery::recover(&host, &recovery.owed, recovery.size);
        host.platforms.resume_calls.resume_pending(&host.resume_context());
        host.trust.break_glass.mark_used(&host.trust_state().history().used_documents);
        // What left before there was a log is in it from here on.
        host.flush_corrections();
        host
    }
}

/// A hint for the operator, and no more: a daemon may set the clock without telling the kernel.
fn kernel_synchronised() -> Option<bool> {
    let synchronised = portcullis_engine::kernel_clock_is_synchronised();
    if synchronised == Some(false) {
        tracing::warn!(
            event = "clock.unsynchronised",
            "according to the kernel, this machine's clock is not synchronised: set up chrony, \
             systemd-timesyncd or the hypervisor's time service"
        );
    }
    synchronised
}

/// How long the start waits for the check of the trust roots before it binds its port.
const TRUST_CHECK_LIMIT: Duration = Duration::from_secs(1);
/// The version that pseudonyms carry; it grows when the key is changed.
const PSEUDONYM_KEY_VERSION: u32 = 1;
/// Notes that may wait for the emergency ring; memory knows of the rest.
const RING_WAITING: usize = 4_096;

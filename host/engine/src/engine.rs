//! The engine: one per process, holding the sandboxes and the code of the plugins in use.
//!
//! Invariant: one compiled snapshot for each pair of component and settings, as long as some plugin
//! uses it; and one preparation at a time, so that activating many plugins takes no more memory
//! than activating the largest. With a [`PrepareSettings`], nothing is configured or compiled in
//! this process: it loads what its child or its cache has.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use portcullis_model::{Digest, Limits, sha256};
use sha2::{Digest as _, Sha256};
use wasmtime::EngineWeak;
use wasmtime::component::{Component, Linker};

use crate::bindings::SearchPluginPre;
use crate::build_id::build_id;
use crate::cache::{Cache, CacheKey, CachedPlugin};
use crate::cancel::CancelToken;
use crate::child_limits::Confinement;
use crate::entry::Entry;
use crate::error::{PrepareError, line};
use crate::fault::Fault;
use crate::host_functions::CallServices;
use crate::inspect::{Inspection, inspect};
use crate::options::Options;
use crate::plugin::{Code, Plugin};
use crate::prepare::{CompiledPlugin, PluginCompiler, PrepareJob};
use crate::reset::Reset;
use crate::sandbox;
use crate::snapshot::linker;
use crate::store_state::{self, StoreState};
use crate::ticker;

/// Runs plugins. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    /// Whether what is made through this one is wanted no more.
    cancel: CancelToken,
}

/// Where plugins are made, if not in this process.
pub struct PrepareSettings {
    /// What the child that makes one may take.
    pub confinement: Confinement,
    /// What was made before.
    pub cache: Cache,
}

/// How plugins came to be ready since the engine was set up. Those that share the code of one in use are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preparations {
    /// Configured and compiled.
    pub compiled: u64,
    /// Taken from the cache.
    pub cached: u64,
    /// Entries of the cache that were not believed; their plugins were made again.
    pub corrupt: u64,
}

/// The engine cannot run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The sandboxes could not be set up.
    #[error("the sandboxes cannot be set up: {0:#}")]
    Sandbox(wasmtime::Error),
    /// The thread that keeps time could not be started.
    #[error("the thread that measures the time of plugins cannot be started: {0}")]
    Ticker(std::io::Error),
    /// The running program's file cannot be read.
    #[error("the program's own file cannot be read: {0}")]
    Program(std::io::Error),
}

impl Engine {
    /// Sets up the sandboxes and starts the thread that keeps time. Plugins are made in this process: for tests and tools.
    ///
    /// # Errors
    ///
    /// [`EngineError`], where the machine does not give the address space or the thread.
    pub fn new(options: Options) -> Result<Self, EngineError> {
        Self::with_reset(options, Reset::probe())
    }

    /// The same with a way of wiping that the caller knows to be possible here.
    pub(crate) fn with_reset(options: Options, reset: Reset) -> Result<Self, EngineError> {
        let bench = PluginCompiler::new(options.configure_time).map_err(EngineError::Sandbox)?;
        let ticking = bench.ticking();
        Self::set_up(options, reset, Preparer::InProcess(Box::new(bench)), Some(ticking))
    }

    /// The same where plugins are made elsewhere: in a child of this process, and once for all restarts.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub fn with_prepare_settings(
        options: Options,
        workplace: PrepareSettings,
    ) -> Result<Self, EngineError> {
        let compiler = wasmtime::Engine::new(&sandbox::code()).map_err(EngineError::Sandbox)?;
        let PrepareSettings { confinement, cache } = workplace;
        let build = build_id().map_err(EngineError::Program)?;
        let elsewhere =
            ChildPreparer { confinement, cache, compiler: compiler_digest(&compiler), build };
        Self::set_up(options, Reset::probe(), Preparer::Child(Box::new(elsewhere)), None)
    }

    fn set_up(
        options: Options,
        reset: Reset,
        maker: Preparer,
        ticking: Option<EngineWeak>,
    ) -> Result<Self, EngineError> {
        let pool =
            wasmtime::Engine::new(&sandbox::pool(&options, reset)).map_err(EngineError::Sandbox)?;
        let linker = linker(&pool).map_err(EngineError::Sandbox)?;
        let ticking = [pool.weak()].into_iter().chain(ticking).collect();
        ticker::start(ticking).map_err(EngineError::Ticker)?;
        let inner = Inner {
            pool,
            linker,
            preparer: maker,
            configure_time: options.configure_time,
            reset,
            reset_held: AtomicBool::new(true),
            warm: options.workers.max(1),
            in_use: Mutex::default(),
            preparations: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), cancel: CancelToken::default() })
    }

    /// The same engine, for somebody who may want no more what he has made through it: then its preparations end at once, with
    /// [`PrepareError::Cancelled`]. One that waits for somebody else's waits on.
    #[must_use]
    pub fn with_cancel(&self, given_up: &CancelToken) -> Self {
        Self { inner: Arc::clone(&self.inner), cancel: given_up.clone() }
    }

    /// Whether what is made through this one is wanted no more.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// How slots are wiped between calls, for the start record and the operator's log.
    pub fn reset(&self) -> Reset {
        self.inner.reset
    }

    /// Whether [`Engine::reset`] is still safe: false when swap was configured after the start. The
    /// operator must then turn swap off or restart. Where the files that tell cannot be read, for
    /// want of descriptors for example, the last answer holds. Reads two small files: for
    /// activations and health checks, not for calls.
    pub fn reset_still_holds(&self) -> bool {
        let last = &self.inner.reset_held;
        match self.inner.reset.still_holds() {
            Some(holds) => {
                last.store(holds, Ordering::Relaxed);
                holds
            }
            None => last.load(Ordering::Relaxed),
        }
    }

    /// How many sandboxes are in use at this moment, for metrics.
    pub fn in_use(&self) -> u64 {
        self.inner
            .pool
            .pooling_allocator_metrics()
            .map_or(0, |metrics| metrics.component_instances())
    }

    /// How plugins came to be ready.
    pub fn preparations(&self) -> Preparations {
        *self.inner.preparations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a plugin of a component and its settings: inspects it, runs `configure`, keeps the state,
    /// compiles, loads, warms up. Takes from a few milliseconds (what the cache has) or tens of them (Rust) to many seconds
    /// (JavaScript, Python) of processor time: not for a thread that answers calls.
    ///
    /// # Errors
    ///
    /// [`PrepareError`], for everything that is wrong with the component, its settings or its
    /// limits.
    pub fn prepare(
        &self,
        component: &[u8],
        settings: &str,
        limits: Limits,
    ) -> Result<Plugin, PrepareError> {
        if !limits.within_ceiling() {
            return Err(PrepareError::Limits);
        }
        let inner = &*self.inner;
        let inspection = inspect(component)?;
        if inspection.memory_bytes > limits.memory_bytes {
            return Err(PrepareError::NoStart(Fault::Memory));
        }
        let digest = inspection.digest;
        let key = (digest, sha256(settings.as_bytes()));
        // Held all along: see the invariant. No call ever takes it.
        let mut in_use = inner.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cancel.is_cancelled() {
            return Err(PrepareError::Cancelled);
        }
        let plugin = match in_use.get(&key).and_then(Weak::upgrade) {
            Some(code) => Plugin::new(code, limits),
            None => {
                let code = inner.obtain(
                    &inspection,
                    component,
                    (settings, key.1),
                    &limits,
                    &self.cancel,
                )?;
                Plugin::new(Arc::new(code), limits)
            }
        };
        plugin.warm_up(inner.warm).map_err(PrepareError::NoStart)?;
        in_use.retain(|_, code| code.strong_count() > 0);
        in_use.insert(key, Arc::downgrade(plugin.code()));
        Ok(plugin)
    }
}

struct Inner {
    pool: wasmtime::Engine,
    linker: Linker<StoreState>,
    preparer: Preparer,
    configure_time: Duration,
    reset: Reset,
    /// The last answer to whether it is still safe.
    reset_held: AtomicBool,
    /// How many slots are made ready for a new plugin.
    warm: usize,
    in_use: Mutex<HashMap<(Digest, Digest), Weak<Code>>>,
    preparations: Mutex<Preparations>,
}

/// Who makes plugins.
enum Preparer {
    /// This process.
    InProcess(Box<PluginCompiler>),
    /// A child of it, unless it was made before.
    Child(Box<ChildPreparer>),
}

struct ChildPreparer {
    confinement: Confinement,
    cache: Cache,
    /// The compiler's version and configuration.
    compiler: Digest,
    build: Vec<u8>,
}

impl Inner {
    /// The code of a component that was inspected, with its settings and their digest: from the cache, or made.
    fn obtain(
        &self,
        inspection: &Inspection,
        component: &[u8],
        (settings, digest): (&str, Digest),
        limits: &Limits,
        given_up: &CancelToken,
    ) -> Result<Code, PrepareError> {
        let job = PrepareJob {
            component,
            settings,
            memory_bytes: limits.memory_bytes,
            configure_time: self.configure_time,
        };
        let place = match &self.preparer {
            Preparer::InProcess(bench) => {
                let made = bench.make(&job)?;
                self.count(|done| done.compiled += 1);
                return self.load(inspection, &made, limits);
            }
            Preparer::Child(place) => place,
        };
        let name = place.cache.name(&CacheKey {
            component: inspection.digest,
            settings: digest,
            memory_bytes: limits.memory_bytes,
            compiler: place.compiler,
            build: &place.build,
        });
        let kept = match place.cache.open(&name) {
            CachedPlugin::Absent => None,
            CachedPlugin::Compiled(made) => {
                Some(self.load(inspection, &made, limits).map_err(|_| "it cannot be loaded"))
            }
            CachedPlugin::Corrupt(why) => Some(Err(why)),
        };
        match kept {
            Some(Ok(code)) => {
                self.count(|done| done.cached += 1);
                return Ok(code);
            }
            Some(Err(why)) => {
                tracing::warn!(
                    entry = name,
                    why,
                    event = "cache.corrupt",
                    "a compiled plugin in the cache does not pass its check; the host compiles \
                     it again"
                );
                place.cache.remove(&name);
                self.count(|done| done.corrupt += 1);
            }
            None => {}
        }
        let made = place.confinement.prepare(&job, given_up)?;
        let code = self.load(inspection, &made, limits)?;
        self.count(|done| done.compiled += 1);
        if let Err(error) = place.cache.store(&name, &made) {
            tracing::warn!(%error, event = "cache.not-kept", "a compiled plugin could not be \
             written to the cache; the next start compiles it again");
        }
        Ok(code)
    }

    /// Links what was made, and sees that it starts.
    #[expect(unsafe_code, reason = "wasmtime cannot know where code comes from")]
    fn load(
        &self,
        inspection: &Inspection,
        made: &CompiledPlugin,
        limits: &Limits,
    ) -> Result<Code, PrepareError> {
        let not_compiled =
            |error: wasmtime::Error| PrepareError::NotCompiled { why: line(&format!("{error:#}")) };
        // SAFETY: the bytes must be what `Engine::precompile_component` gave, unaltered. Only three
        // places make a `CompiledPlugin`, which never leaves this crate and is never changed:
        // `PluginCompiler::make`, with what that function gave; `codec::read_made` on what our own
        // child, the program that runs here, wrote into a pipe that nobody else holds, having
        // called `PluginCompiler::make`; and `codec::read_made` on an entry of the cache whose tag
        // was verified under the host's key, so that it is what `Cache::store` was given: one of
        // the former two.
        let component =
            unsafe { Component::deserialize(&self.pool, &made.code) }.map_err(not_compiled)?;
        component.initialize_copy_on_write_image().map_err(not_compiled)?;
        let instances = self.linker.instantiate_pre(&component).map_err(not_compiled)?;
        let searching =
            inspection.searches.then(|| SearchPluginPre::new(instances.clone())).transpose();
        let searching = searching.map_err(not_compiled)?;
        let time = Duration::from_millis(limits.time_ms.into());
        let services = CallServices::default();
        let Limits { memory_bytes, output_bytes, .. } = *limits;
        let store = store_state::store(&self.pool, memory_bytes, output_bytes, time, services);
        let no_start = |error| PrepareError::NoStart(Fault::from_wasmtime(&error));
        let entry = Entry::check(&component, instances, store).map_err(no_start)?;
        Ok(Code {
            engine: self.pool.clone(),
            entry,
            searching,
            component: inspection.digest,
            snapshot: made.snapshot,
            snapshot_bytes: usize::try_from(made.snapshot_bytes).unwrap_or(usize::MAX),
            notes: made.notes.clone(),
        })
    }

    fn count(&self, what: impl FnOnce(&mut Preparations)) {
        what(&mut self.preparations.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What wasmtime's own description of a compiler comes to.
fn compiler_digest(compiler: &wasmtime::Engine) -> Digest {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sha = Sha(Sha256::new());
    compiler.precompile_compatibility_hash().hash(&mut sha);
    Digest(sha.0.finalize().into())
}

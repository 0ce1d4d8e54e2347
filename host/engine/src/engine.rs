//! The engine: one per process, holding the sandboxes, the workshop and the code of the plugins in use.
//!
//! Invariant: one compiled snapshot for each pair of component and settings, as long as some plugin uses it;
//! and one preparation at a time, so that activating many plugins takes no more memory than activating the
//! largest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use portcullis_model::{Digest, Limits};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Linker;

use crate::bindings::SearchPluginPre;
use crate::entry::Entry;
use crate::fault::Fault;
use crate::inspect::{Inspection, inspect};
use crate::plugin::{Code, Plugin};
use crate::refused::Refused;
use crate::reset::Reset;
use crate::room::Room;
use crate::sandbox;
use crate::ticker;
use crate::workshop::{Workshop, compile, linker};

/// Runs plugins. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// How an engine is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many calls run at once, inline and in the slow lane together. Default: twice the number of
    /// processors. More calls than the slots made of it get [`Fault::NoSlot`]; more workers take more address
    /// space.
    pub workers: usize,
    /// How many plugins there are at once. Default: 16. With more of them slots change hands, which costs a
    /// few µs a call.
    pub plugins: usize,
    /// How long one `configure` may take. Default: 10 s, enough for ten thousand rules in an interpreted
    /// language.
    pub configure_time: Duration,
}

/// The engine cannot run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The sandboxes could not be set up.
    #[error("the sandboxes cannot be set up: {0:#}")]
    Sandbox(wasmtime::Error),
    /// The thread that keeps time could not be started.
    #[error("the thread that keeps the plugins' time cannot be started: {0}")]
    Ticker(std::io::Error),
}

impl Engine {
    /// Sets up the sandboxes and starts the thread that keeps time.
    ///
    /// # Errors
    ///
    /// [`EngineError`], where the machine does not give the address space or the thread.
    pub fn new(options: Options) -> Result<Self, EngineError> {
        Self::with_reset(options, Reset::probe())
    }

    /// The same with a way of wiping that the caller knows to be possible here.
    pub(crate) fn with_reset(options: Options, reset: Reset) -> Result<Self, EngineError> {
        let pool = wasmtime::Engine::new(&sandbox::pool(&options, reset)).map_err(EngineError::Sandbox)?;
        let workshop = Workshop::new(options.configure_time).map_err(EngineError::Sandbox)?;
        let linker = linker(&pool).map_err(EngineError::Sandbox)?;
        ticker::start(vec![pool.weak(), workshop.engine().weak()]).map_err(EngineError::Ticker)?;
        let inner = Inner { pool, linker, workshop, reset, warm: options.workers.max(1), in_use: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How slots are wiped between calls, for the start record and the operator's log.
    pub fn reset(&self) -> Reset {
        self.inner.reset
    }

    /// Whether [`Engine::reset`] is still safe: false when swap was configured after the start. The operator
    /// must then turn swap off or restart. Reads two small files: for activations and health checks, not for
    /// calls.
    pub fn reset_still_holds(&self) -> bool {
        self.inner.reset.still_holds()
    }

    /// How many sandboxes are in use at this moment, for metrics.
    pub fn in_use(&self) -> u64 {
        self.inner.pool.pooling_allocator_metrics().map_or(0, |metrics| metrics.component_instances())
    }

    /// Makes a plugin of a component and its settings: inspects it, runs `configure`, keeps the state,
    /// compiles, warms up. Takes from tens of milliseconds (Rust) to many seconds (JavaScript, Python) of
    /// processor time: not for a thread that answers calls.
    ///
    /// # Errors
    ///
    /// [`Refused`], for everything that is wrong with the component, its settings or its limits.
    pub fn prepare(&self, component: &[u8], settings: &str, limits: Limits) -> Result<Plugin, Refused> {
        if !limits.within_ceiling() {
            return Err(Refused::Limits);
        }
        let inner = &*self.inner;
        let inspection = inspect(component)?;
        if inspection.memory_bytes > limits.memory_bytes {
            return Err(Refused::NoStart(Fault::Memory));
        }
        let digest = inspection.digest;
        let key = (digest, Digest(Sha256::digest(settings).into()));
        // Held all along: see the invariant. No call ever takes it.
        let mut in_use = inner.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let plugin = match in_use.get(&key).and_then(Weak::upgrade) {
            Some(code) => Plugin::new(code, limits),
            None => Plugin::new(Arc::new(inner.build(&inspection, component, settings, &limits)?), limits),
        };
        plugin.warm_up(inner.warm).map_err(Refused::NoStart)?;
        in_use.retain(|_, code| code.strong_count() > 0);
        in_use.insert(key, Arc::downgrade(plugin.code()));
        Ok(plugin)
    }
}

impl Default for Options {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { workers: processors.saturating_mul(2), plugins: 16, configure_time: Duration::from_secs(10) }
    }
}

struct Inner {
    pool: wasmtime::Engine,
    linker: Linker<Room>,
    workshop: Workshop,
    reset: Reset,
    /// How many slots are made ready for a new plugin.
    warm: usize,
    in_use: Mutex<HashMap<(Digest, Digest), Weak<Code>>>,
}

impl Inner {
    fn build(
        &self,
        inspection: &Inspection,
        component: &[u8],
        settings: &str,
        limits: &Limits,
    ) -> Result<Code, Refused> {
        let snapshot = self.workshop.snapshot(component, settings, limits)?;
        let compiled = compile(&self.pool, &snapshot.component)?;
        let not_compiled =
            |error: wasmtime::Error| Refused::NotCompiled { why: crate::refused::line(&format!("{error:#}")) };
        compiled.initialize_copy_on_write_image().map_err(not_compiled)?;
        let instances = self.linker.instantiate_pre(&compiled).map_err(not_compiled)?;
        let searching = inspection.searches.then(|| SearchPluginPre::new(instances.clone())).transpose();
        let searching = searching.map_err(not_compiled)?;
        let time = Duration::from_millis(limits.time_ms.into());
        let store = sandbox::store(&self.pool, limits.memory_bytes, limits.output_bytes, time);
        let no_start = |error| Refused::NoStart(Fault::from_wasmtime(&error));
        let entry = Entry::check(&compiled, instances, store).map_err(no_start)?;
        Ok(Code {
            engine: self.pool.clone(),
            entry,
            searching,
            component: inspection.digest,
            snapshot: Digest(Sha256::digest(&snapshot.component).into()),
            snapshot_bytes: snapshot.component.len(),
            notes: snapshot.notes,
        })
    }
}

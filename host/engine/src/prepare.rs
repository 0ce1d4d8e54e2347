//! Making: from a component and its settings to code that [`Engine`](crate::Engine) can load.
//!
//! Invariant: what is made is a function of the component, its settings, its memory limit and this
//! build. Everything that takes long or handles what an attacker may have written (instrumenting,
//! compiling, configuring, snapshotting) happens here; loading is what is left. Code comes from
//! three places only, all of them in this crate: [`PluginCompiler::make`], our own child over a
//! pipe (`prepare_child`), and an entry of the cache whose tag was verified (`cache`).

use std::time::Duration;

use portcullis_model::{Digest, sha256};
use wasmtime::{Engine, EngineWeak};

use crate::catch_panic::catch_panic;
use crate::error::{PrepareError, line};
use crate::sandbox;
use crate::snapshot::Snapshotter;

/// What is to be made.
pub(crate) struct PrepareJob<'a> {
    /// The component: inspected.
    pub(crate) component: &'a [u8],
    /// The settings.
    pub(crate) settings: &'a str,
    /// How much memory `configure` may take, bytes.
    pub(crate) memory_bytes: u64,
    /// How long `configure` may take.
    pub(crate) configure_time: Duration,
}

/// A configured plugin, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompiledPlugin {
    /// Native code and what belongs to it, as wasmtime writes it.
    pub(crate) code: Vec<u8>,
    /// SHA-256 of the configured component.
    pub(crate) snapshot: Digest,
    /// How many bytes that has.
    pub(crate) snapshot_bytes: u64,
    /// The notes that `configure` took.
    pub(crate) notes: Vec<String>,
}

/// The tools.
pub(crate) struct PluginCompiler {
    workshop: Snapshotter,
    compiler: Engine,
}

impl PluginCompiler {
    /// Tools with which `configure` may take `configure_time`.
    pub(crate) fn new(configure_time: Duration) -> wasmtime::Result<Self> {
        Ok(Self {
            workshop: Snapshotter::new(configure_time)?,
            compiler: Engine::new(&sandbox::code())?,
        })
    }

    /// The engine in which guest code runs here, for the ticker.
    pub(crate) fn ticking(&self) -> EngineWeak {
        self.workshop.engine().weak()
    }

    /// Configures and compiles.
    pub(crate) fn make(&self, job: &PrepareJob<'_>) -> Result<CompiledPlugin, PrepareError> {
        let snapshot = self.workshop.snapshot(job.component, job.settings, job.memory_bytes)?;
        let code = catch_panic(|| self.compiler.precompile_component(&snapshot.component))
            .ok_or_else(|| PrepareError::NotCompiled {
                why: "the compiler does not support it".to_owned(),
            })?
            .map_err(|error| PrepareError::NotCompiled { why: line(&format!("{error:#}")) })?;
        Ok(CompiledPlugin {
            code,
            snapshot: sha256(&snapshot.component),
            snapshot_bytes: u64::try_from(snapshot.component.len()).unwrap_or(u64::MAX),
            notes: snapshot.notes,
        })
    }
}

//! `[engine]`: where plugins are made, what that may take, and what is kept of it.
//!
//! Invariant: a host never compiles or configures a plugin in the process that answers calls.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_engine::{Cache, Confinement, Engine, Options, PrepareSettings};
use portcullis_keys::SymmetricKey;
use serde::Deserialize;

use crate::error::StartError;

/// The limits for preparing plugins. They are for one plugin; plugins are prepared one after the
/// other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Memory that the process which makes a plugin may write to, bytes. Default 2 GiB.
    pub compile_memory_bytes: u64,
    /// Processor time that it may take, seconds. Default 120: a Python plugin takes about 20.
    pub compile_cpu_s: u64,
    /// Time on the clock that it may take, seconds. Default 180.
    pub compile_wall_s: u64,
    /// Time that a plugin's `configure` may take, milliseconds. Default 10,000: enough for ten thousand rules in an interpreted language.
    pub configure_ms: u64,
    /// The folder where compiled plugins are kept, encrypted. Default `plugin-cache`; made when it is needed.
    pub cache: PathBuf,
    /// How much is kept there, bytes; what was not used for longest goes. 0 keeps nothing. Default 1 GiB.
    pub cache_bytes: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let Confinement { memory_bytes, cpu_s, wall_s } = Confinement::default();
        Self {
            compile_memory_bytes: memory_bytes,
            compile_cpu_s: cpu_s,
            compile_wall_s: wall_s,
            configure_ms: 10_000,
            cache: PathBuf::from("plugin-cache"),
            cache_bytes: 1 << 30,
        }
    }
}

impl EngineConfig {
    /// Each setting with its bounds.
    pub fn bounds(&self) -> [(&'static str, u64, u64, u64); 4] {
        [
            ("engine.compile_memory_bytes", self.compile_memory_bytes, 64 << 20, 1 << 40),
            ("engine.compile_cpu_s", self.compile_cpu_s, 1, 3_600),
            ("engine.compile_wall_s", self.compile_wall_s, 1, 3_600),
            ("engine.configure_ms", self.configure_ms, 10, 600_000),
        ]
    }

    /// The engine. The cache's keys are derived from the sealing key: it keeps what names people, as sealed parts do. Only one that `keeps`
    /// writes to it.
    pub fn start(
        &self,
        workers: usize,
        sealing: &SymmetricKey,
        keeps: bool,
    ) -> Result<Engine, StartError> {
        let configure_time = Duration::from_millis(self.configure_ms);
        let options = Options { workers, configure_time, ..Options::default() };
        let confinement = Confinement {
            memory_bytes: self.compile_memory_bytes,
            cpu_s: self.compile_cpu_s,
            wall_s: self.compile_wall_s,
        };
        if keeps {
            log_confinement(confinement);
        }
        let cache = Cache::new(self.cache.clone(), self.cache_bytes, keeps, sealing.expose());
        let cache = cache.map_err(|_| StartError::Random)?;
        Ok(Engine::with_prepare_settings(options, PrepareSettings { confinement, cache })?)
    }
}

/// Logs how the child that prepares plugins is confined on this machine, and each layer that is
/// missing.
///
/// The host goes on without them: the limits on memory, time and descriptors hold all the same, and
/// only components that a trusted key signed are compiled.
fn log_confinement(confinement: Confinement) {
    let event = "engine.confinement";
    match confinement.probe() {
        Ok(report) => {
            tracing::info!(event, %report, "the process that compiles plugins runs confined");
            for missing in report.missing() {
                tracing::warn!(
                    event,
                    missing,
                    "the process that compiles plugins runs without one layer of confinement, which \
                     the kernel lacks"
                );
            }
        }
        Err(error) => tracing::warn!(
            event,
            %error,
            "the host could not find out how the process that compiles plugins is confined"
        ),
    }
}

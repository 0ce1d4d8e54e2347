//! Why a component does not become a plugin, in words an operator can act on.
//!
//! Invariant: names the guilty party and what to do; holds no settings and no text that a plugin
//! made, except the complaints about its settings, which only [`PrepareError::setting_errors`]
//! gives out, because settings name people.

use portcullis_model::Redacted;

use crate::fault::Fault;

/// Why a component was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// More bytes than this crate takes.
    #[error("the component has {bytes} bytes, more than the {most} that are allowed")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What is allowed.
        most: usize,
    },
    /// More of something than this crate compiles.
    #[error("the component has {count} {what}, more than the {most} that are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// What it has.
        count: u64,
        /// What is allowed.
        most: u64,
    },
    /// A core module, not a component.
    #[error("this is a core module, not a component")]
    CoreModule,
    /// Not WebAssembly, cut off, or using what the sandbox has switched off.
    #[error("the component cannot run here: {why}")]
    Invalid {
        /// What the validator found, with its offset.
        why: String,
    },
    /// It imports what is not in the contract.
    #[error("the component imports `{import}`, which the contract does not offer")]
    ForbiddenImport {
        /// The import's name, cut to a readable length.
        import: String,
    },
    /// It is not a component of the world `portcullis:policy/plugin@0.2.0`.
    #[error("the component does not match the world `portcullis:policy/plugin@0.2.0`: {why}")]
    WrongWorld {
        /// The first thing that does not fit.
        why: String,
    },
    /// Its state after `configure` cannot be kept as a snapshot.
    #[error("the host cannot take a snapshot of the plugin: {why}")]
    NoSnapshot {
        /// What stands in the way.
        why: String,
    },
    /// It cannot be compiled.
    #[error("the component cannot be compiled: {why}")]
    NotCompiled {
        /// What the compiler said.
        why: String,
    },
    /// Compiling it took more memory than the process that makes plugins has.
    #[error("preparing the plugin took more than the {most} bytes of memory that are allowed")]
    CompileMemory {
        /// What is allowed, bytes.
        most: u64,
    },
    /// Making it took more processor time, or more time on the clock, than it may.
    #[error("preparing the plugin took more than {most} seconds of {what}")]
    CompileTime {
        /// Which time.
        what: &'static str,
        /// What is allowed, seconds.
        most: u64,
    },
    /// The process that makes plugins fell over it.
    #[error("the process that prepares plugins ended early: {how}")]
    CompileCrashed {
        /// How.
        how: String,
    },
    /// There is no process that makes plugins.
    #[error("the process that prepares plugins cannot be started: {why}")]
    NoCompiler {
        /// Why.
        why: String,
    },
    /// Whoever had it made wants it no more. Nothing is wrong with it.
    #[error("preparing the plugin was cancelled")]
    Cancelled,
    /// Its `configure` came to no end.
    #[error("configuring the plugin failed: {0}")]
    Configure(Fault),
    /// Its `configure` refused the settings. What it said is in [`PrepareError::setting_errors`].
    #[error("the plugin refuses its settings ({} complaints)", .0.expose().len())]
    Settings(Redacted<Vec<String>>),
    /// An instance of its snapshot could not be made.
    #[error("the plugin does not start with its settings: {0}")]
    NoStart(Fault),
    /// A limit in its manifest is nothing, or above what this version allows.
    #[error("a limit of the plugin is zero or above the ceiling")]
    Limits,
}

impl PrepareError {
    /// The stable code in metrics, logs and records.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "component-too-large",
            Self::TooMany { .. } => "component-too-complex",
            Self::CoreModule => "component-is-module",
            Self::Invalid { .. } => "component-invalid",
            Self::ForbiddenImport { .. } => "component-import-forbidden",
            Self::WrongWorld { .. } => "component-wrong-world",
            Self::NoSnapshot { .. } => "plugin-no-snapshot",
            Self::NotCompiled { .. } => "component-not-compiled",
            Self::CompileMemory { .. } => "compile-memory",
            Self::CompileTime { .. } => "compile-time",
            Self::CompileCrashed { .. } => "compile-crashed",
            Self::NoCompiler { .. } => "compile-unavailable",
            Self::Cancelled => "cancelled",
            Self::Configure(_) => "plugin-configure-failed",
            Self::Settings(_) => "plugin-settings-refused",
            Self::NoStart(_) => "plugin-no-start",
            Self::Limits => "plugin-limits",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::TooLarge { .. } | Self::TooMany { .. } => {
                "build the plugin for size: release profile, stripped, without unused libraries"
            }
            Self::CoreModule => {
                "make a component of it first with `portcullis plugin componentize`"
            }
            Self::Invalid { .. } => {
                "build the plugin again for `wasm32-unknown-unknown` without threads, SIMD or \
                 exceptions"
            }
            Self::ForbiddenImport { import } if import.starts_with("wasi:") => {
                "build the plugin without WASI; plugins cannot use a system interface"
            }
            Self::ForbiddenImport { .. } | Self::WrongWorld { .. } => {
                "build the plugin against this version's `wit/policy.wit`"
            }
            Self::NoSnapshot { .. } | Self::NotCompiled { .. } => {
                "report this to the plugin's publisher"
            }
            Self::CompileMemory { .. } => {
                "check that this is the plugin that you expect; if it needs that much, raise \
                 `engine.compile_memory_bytes`"
            }
            Self::CompileTime { .. } => {
                "check that this is the plugin that you expect; if it needs that long, raise \
                 `engine.compile_cpu_s` and `engine.compile_wall_s`"
            }
            Self::CompileCrashed { .. } => {
                "report this to the plugin's publisher; signal 9 can mean that the machine is \
                 out of memory"
            }
            Self::NoCompiler { .. } => "allow the host to start processes of its own program",
            Self::Cancelled => return None,
            Self::Configure(Fault::Deadline) => {
                "make the settings smaller, or report this to the plugin's publisher"
            }
            Self::Configure(fault) | Self::NoStart(fault) => return fault.hint(),
            Self::Settings(_) => {
                "correct the binding's settings; `portcullis check` shows what the plugin says about them"
            }
            Self::Limits => "give limits between 1 and the ceiling: 64 MiB, 1 s, 256 KiB",
        };
        Some(hint.to_owned())
    }

    /// What the plugin says is wrong with its settings. For the operator's eyes only, not for logs: settings
    /// name people.
    pub fn setting_errors(&self) -> &[String] {
        match self {
            Self::Settings(complaints) => complaints.expose(),
            _ => &[],
        }
    }
}

/// Text from outside made fit for one line of an operator's screen: no control characters, at most [`LINE`]
/// characters.
pub(crate) fn line(text: &str) -> String {
    let mut chars = text.chars().filter(|c| !c.is_control());
    let mut line: String = chars.by_ref().take(LINE).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// Whether this is how want of memory is spoken of: by the system, by wasmtime, and by Rust's allocator.
pub(crate) fn no_memory(text: &str) -> bool {
    ["annot allocate memory", "memory allocation of", "out of memory"]
        .iter()
        .any(|words| text.contains(words))
}

/// Longest piece of foreign text in an error, characters.
const LINE: usize = 300;

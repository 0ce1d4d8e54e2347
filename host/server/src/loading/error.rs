//! The reasons for which a release is refused.
//!
//! Invariant: each has a stable code, and a hint where something can be done. The texts name no
//! person: the complaints of a plugin about its settings are apart.

use std::path::PathBuf;

use portcullis_engine::PrepareError;
use portcullis_model::Digest;
use portcullis_trust::Refusal;
use thiserror::Error;

use super::self_test::SelfTestError;
use crate::trust::state::ClockUnconfirmed;

/// Why a release was refused.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {why}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A signature, a manifest or the set itself is not in order.
    #[error("{}{refusal}", about(plugin))]
    Refused {
        /// Which plugin, where it is about one.
        plugin: Option<String>,
        /// Why.
        refusal: Refusal,
    },
    /// A plugin could not be prepared.
    #[error("plugin `{plugin}`: {refused}")]
    Engine {
        /// Which.
        plugin: String,
        /// Why.
        refused: PrepareError,
    },
    /// A file that the set names is missing.
    #[error(
        "plugin `{plugin}`: no file in `{}` has the digest {digest}, which the release set names \
         for its {what}",
        folder.display()
    )]
    Missing {
        /// Which plugin.
        plugin: String,
        /// The kind of file that is missing.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// The folder that was searched.
        folder: PathBuf,
    },
    /// A plugin failed a test that it must pass before it decides.
    #[error("plugin `{plugin}`: {failed}")]
    SelfTest {
        /// Which.
        plugin: String,
        /// Why.
        failed: SelfTestError,
    },
    /// Memory can be swapped out by now, which makes the quick reset of instances unsafe.
    #[error("swap was turned on after the start, so plugin memory cannot be wiped safely")]
    Swap,
    /// This machine's clock is not confirmed.
    #[error(
        "this machine's clock is more than a day ahead of the last record and of every signed \
         document: no other release set is activated until the clock is confirmed"
    )]
    ClockUnconfirmed,
    /// The trust state changed while it was being prepared, or something newer arrived. The release
    /// itself has no problem.
    #[error("something newer arrived while the release was being prepared")]
    Superseded,
    /// The file system of a folder does not answer.
    #[error(
        "the file system of `{}` did not respond within {} seconds",
        path.display(),
        limit.as_secs()
    )]
    Stalled {
        /// The folder or file that was to be read.
        path: PathBuf,
        /// For how long the host waited.
        limit: std::time::Duration,
    },
    /// The thread that prepares it could not be started.
    #[error("cannot start a thread to prepare the release: {why}")]
    ThreadSpawn {
        /// Why.
        why: String,
    },
    /// The declaration of a reference table cannot be used.
    #[error("{0}")]
    Table(String),
    /// A binding cannot work.
    #[error("binding of `{plugin}` on hook `{hook}`: {why}")]
    Binding {
        /// The hook.
        hook: String,
        /// The plugin.
        plugin: String,
        /// Why.
        why: String,
    },
}

impl ReleaseError {
    /// Whether it is no fault of the release: the same one can be tried again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreadable { .. }
            | Self::Stalled { .. }
            | Self::Swap
            | Self::ClockUnconfirmed
            | Self::Superseded
            | Self::ThreadSpawn { .. } => true,
            Self::Engine { refused, .. } => {
                matches!(refused, PrepareError::NoCompiler { .. } | PrepareError::Cancelled)
            }
            _ => false,
        }
    }

    /// The stable code in records and JSON output.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Stalled { .. } => "folder-stalled",
            Self::Refused { refusal, .. } => refusal.code(),
            Self::Engine { refused, .. } => refused.code(),
            Self::Missing { .. } => "file-missing",
            Self::SelfTest { failed, .. } => failed.code(),
            Self::Table(_) => "table-invalid",
            Self::Binding { .. } => "binding-invalid",
            Self::Swap => "swap-configured",
            Self::ClockUnconfirmed => "clock-unconfirmed",
            Self::Superseded => "superseded",
            Self::ThreadSpawn { .. } => "no-thread",
        }
    }

    /// Returns what to do, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { refusal, .. } => refusal.hint(),
            Self::Engine { refused, .. } => refused.hint(),
            Self::SelfTest { failed, .. } => Some(failed.hint()),
            Self::Missing { folder, .. } => {
                Some(format!("copy the file into `{}`, under any name", folder.display()))
            }
            Self::Swap => {
                Some("turn swap off, or restart the host, which then resets instances in a slower \
                      way".to_owned())
            }
            Self::ClockUnconfirmed => Some(
                "set the clock, or confirm it with `portcullis trust confirm-clock`; the host then \
                 tries the release again"
                    .to_owned(),
            ),
            Self::Superseded => None,
            Self::ThreadSpawn { .. } => {
                Some("raise the host's limits of threads and memory, then send SIGHUP to try the \
                      release again".to_owned())
            }
            Self::Stalled { .. } => Some("check the network file system; the host tries \
                                          again".to_owned()),
            Self::Unreadable { .. } => Some("check that the file exists and that the host may read \
                                             it".to_owned()),
            Self::Table(_) => {
                Some("correct the declaration of the table and sign a new release set".to_owned())
            }
            Self::Binding { .. } => {
                Some("correct the binding in the release source (`hook`, `fallback`) and sign a new release set".to_owned())
            }
        }
    }

    /// The problem, without the plugin and hook that it is about.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused { refusal, .. } => refusal.to_string(),
            Self::Engine { refused, .. } => refused.to_string(),
            Self::SelfTest { failed, .. } => failed.to_string(),
            Self::Binding { why, .. } => why.clone(),
            Self::Missing { what, digest, .. } => format!("its {what} ({digest}) is missing"),
            _ => self.to_string(),
        }
    }

    /// Returns the plugin's complaints about its settings. They are for the operator and not for
    /// logs, because settings name people.
    pub fn setting_errors(&self) -> &[String] {
        match self {
            Self::Engine { refused, .. } => refused.setting_errors(),
            Self::SelfTest { failed, .. } => failed.setting_errors(),
            _ => &[],
        }
    }

    /// The plugin it is about.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Unreadable { .. }
            | Self::Stalled { .. }
            | Self::Swap
            | Self::ClockUnconfirmed
            | Self::Superseded
            | Self::Table(_)
            | Self::ThreadSpawn { .. } => None,
            Self::Refused { plugin, .. } => plugin.as_deref(),
            Self::Engine { plugin, .. }
            | Self::Missing { plugin, .. }
            | Self::SelfTest { plugin, .. }
            | Self::Binding { plugin, .. } => Some(plugin),
        }
    }
}

impl From<ClockUnconfirmed> for ReleaseError {
    fn from(ClockUnconfirmed: ClockUnconfirmed) -> Self {
        Self::ClockUnconfirmed
    }
}

/// Refuses a binding.
pub(super) fn invalid_binding(
    source: &portcullis_trust::Binding,
    why: impl Into<String>,
) -> ReleaseError {
    let (hook, plugin) = (source.hook.clone(), source.plugin.clone());
    ReleaseError::Binding { hook, plugin, why: why.into() }
}

fn about(plugin: &Option<String>) -> String {
    plugin.as_ref().map(|id| format!("plugin `{id}`: ")).unwrap_or_default()
}

//! `[trust]` and `[release]`: whom to trust, and where what they have signed lies.
//!
//! Invariant: files are found by digest and their names are free; nothing here says what decides.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Whom to trust, and where the host keeps what it must not forget of that.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// The trust root's file: the one that is pinned.
    pub root: PathBuf,
    /// A folder of the trust roots that follow it (`*.json`), each let in by the one before. Looked at with the release. Default
    /// `trust-roots`; it may be missing.
    #[serde(default = "default_roots")]
    pub roots: PathBuf,
    /// The host's own folder: the roots it accepted, and what was active, revoked and spent. Outlives a log; made at the first start.
    /// Default `trust-state`.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// The folder in which break-glass documents are opened and closed. Default `break-glass`; it may be missing.
    #[serde(default = "default_break_glass")]
    pub break_glass: PathBuf,
    /// The folder of signed documents about the time (`*.json`): time resets and clock
    /// confirmations. Looked at with the release. Default `time-documents`; it may be missing.
    #[serde(default = "default_time_documents")]
    pub time_documents: PathBuf,
}

/// Where release set, plugins and settings lie. Files are found by digest, their names are free.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasePaths {
    /// The release set's envelope.
    pub set: PathBuf,
    /// Components (`*.wasm`) and manifest envelopes (`*.json`).
    pub plugins: PathBuf,
    /// Settings (`*.json`).
    pub settings: PathBuf,
    /// A signed downgrade: the release role's word that an older set may come back. Default `downgrade.json` beside the set; it may be
    /// missing.
    #[serde(default)]
    pub downgrade: PathBuf,
    /// What becomes of a set in force when its grace is over. Default `serve`.
    #[serde(default)]
    pub after_grace: AfterGrace,
    /// How often to look for changes, milliseconds; 0 looks only at SIGHUP. Default 1,000.
    #[serde(default = "default_watch_ms")]
    pub watch_ms: u64,
}

impl Trust {
    /// Paths, from that folder.
    pub(super) fn resolve(&mut self, base: &Path) {
        let Self { root, roots, state, break_glass, time_documents } = self;
        for path in [root, roots, state, break_glass, time_documents] {
            *path = base.join(&*path);
        }
    }
}

impl ReleasePaths {
    /// These places, and everything else by default.
    pub fn new(set: PathBuf, plugins: PathBuf, settings: PathBuf, downgrade: PathBuf) -> Self {
        Self {
            set,
            plugins,
            settings,
            downgrade,
            after_grace: AfterGrace::default(),
            watch_ms: default_watch_ms(),
        }
    }

    /// Paths, from that folder.
    pub(super) fn resolve(&mut self, base: &Path) {
        if self.downgrade.as_os_str().is_empty() {
            self.downgrade = self.set.with_file_name("downgrade.json");
        }
        for path in [&mut self.set, &mut self.plugins, &mut self.settings, &mut self.downgrade] {
            *path = base.join(&*path);
        }
    }
}

/// What becomes of a set in force when its grace is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterGrace {
    /// It goes on, loudly, until the host stops: sign-ins must not end at a date.
    #[default]
    Serve,
    /// It is withdrawn: every call gets its safe answer until a new set is there.
    Stop,
}

fn default_roots() -> PathBuf {
    PathBuf::from("trust-roots")
}

fn default_state() -> PathBuf {
    PathBuf::from("trust-state")
}

fn default_break_glass() -> PathBuf {
    PathBuf::from("break-glass")
}

fn default_time_documents() -> PathBuf {
    PathBuf::from("time-documents")
}

fn default_watch_ms() -> u64 {
    1_000
}

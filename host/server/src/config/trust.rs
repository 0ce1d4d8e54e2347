//! `[trust]`: whom to trust, and where what they have signed lies.
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

impl Trust {
    /// Paths, from that folder.
    pub(super) fn resolve(&mut self, base: &Path) {
        let Self { root, roots, state, break_glass, time_documents } = self;
        for path in [root, roots, state, break_glass, time_documents] {
            *path = base.join(&*path);
        }
    }
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

//! `[release]`: the places of a release's files.
//!
//! Invariant: files are found by digest and their names are free; nothing here says what decides.

use std::path::{Path, PathBuf};

use portcullis_files::read_bounded;
use portcullis_trust::Envelope;
use serde::Deserialize;

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
    /// A signed downgrade: the release role's word that an older set may come back. Default
    /// `downgrade.json` beside the set; it may be missing.
    #[serde(default)]
    pub downgrade: PathBuf,
    /// The files of reference tables, which the host never writes. Default `tables` beside the set.
    #[serde(default)]
    pub tables: PathBuf,
    /// The fate of the active set when its grace is over. Default `serve`.
    #[serde(default)]
    pub after_grace: AfterGrace,
    /// How often to look for changes, milliseconds; 0 looks only at SIGHUP. Default 1,000.
    #[serde(default = "default_watch_ms")]
    pub watch_ms: u64,
}

/// The folders of tables.
#[derive(Clone, Debug)]
pub struct TableFolders {
    /// The files that the operator replaces.
    pub files: PathBuf,
    /// The host's copies of the versions that it used last, in its own folder: a start compares
    /// with them, and uses them where there is no usable file.
    pub copies: PathBuf,
    /// Versions that were downloaded or pushed, in the host's own folder.
    pub received: PathBuf,
}

impl ReleasePaths {
    /// These places, and everything else by default.
    pub fn new(set: PathBuf, plugins: PathBuf, settings: PathBuf, downgrade: PathBuf) -> Self {
        Self {
            tables: set.with_file_name("tables"),
            set,
            plugins,
            settings,
            downgrade,
            after_grace: AfterGrace::default(),
            watch_ms: default_watch_ms(),
        }
    }

    /// Paths, from that folder.
    pub fn resolve(&mut self, base: &Path) {
        if self.downgrade.as_os_str().is_empty() {
            self.downgrade = self.set.with_file_name("downgrade.json");
        }
        if self.tables.as_os_str().is_empty() {
            self.tables = self.set.with_file_name("tables");
        }
        let folders = [&mut self.plugins, &mut self.settings, &mut self.tables];
        for path in [&mut self.set, &mut self.downgrade].into_iter().chain(folders) {
            *path = base.join(&*path);
        }
    }

    /// Reads the release set's envelope, whatever it holds.
    ///
    /// # Errors
    /// The file cannot be read, or is no regular file of at most [`Envelope::MAX_BYTES`].
    pub fn read_set(&self) -> Result<Vec<u8>, portcullis_files::ReadError> {
        read_bounded(&self.set, Envelope::MAX_BYTES as u64)
    }

    /// Reads the envelopes of the set and of the downgrade, whatever they hold; `None` for one that
    /// cannot be read.
    pub fn read_set_and_downgrade(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let downgrade = read_bounded(&self.downgrade, Envelope::MAX_BYTES as u64);
        (self.read_set().ok(), downgrade.ok())
    }
}

/// The fate of the active set when its grace is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterGrace {
    /// It goes on, loudly, until the host stops: sign-ins must not end at a date.
    #[default]
    Serve,
    /// It is withdrawn: every call gets its safe answer until a new set is there.
    Stop,
}

fn default_watch_ms() -> u64 {
    1_000
}

//! The release folders of hosts, from the side of whoever fills them.
//!
//! Invariant: a host that looks at any moment sees one whole release: components, manifests and settings are there and durable before the set
//! that names them, which comes last and by renaming; and no file that a set has ever named is overwritten, since names are made of digests.
//! One publisher at a time. What was in place before is kept in `archive` beside the set.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_files::{list_bounded, open_or_create, read_bounded};
use portcullis_model::{Digest, Millis, sha256};
use portcullis_server::registry::LOCK;
use portcullis_server::{Config, FileIndex, ReleasePaths};
use portcullis_trust::{Active, Envelope, ReleaseSet, TrustHistory};
use serde::{Deserialize, Serialize};

use super::bundle::{Bundle, Kind};
use crate::exit::{CliError, CliResult};
use crate::files;

/// Where a release goes.
#[derive(Args)]
pub struct Destination {
    /// The configuration of a host on this machine, which names its release folders.
    #[arg(long, required_unless_present = "to")]
    config: Option<PathBuf>,
    /// A folder with `release.json`, `plugins` and `settings`, which hosts read or which is copied
    /// to them.
    #[arg(long, conflicts_with = "config")]
    to: Option<PathBuf>,
}

/// The folders.
pub struct ReleaseDir {
    paths: ReleasePaths,
    archive: PathBuf,
}

/// A release set that lies somewhere.
pub struct StoredSet {
    /// Its file.
    pub path: PathBuf,
    /// The envelope.
    pub envelope: Vec<u8>,
    /// The digest of its payload.
    pub digest: Digest,
    /// What it says. Nobody has looked at its signatures yet.
    pub set: ReleaseSet,
}

/// A set that came into the folders.
#[derive(Serialize, Deserialize)]
struct Noted {
    version: u64,
    set: Digest,
}

/// Held while folders are filled.
pub struct PublishLock {
    _file: File,
}

impl Destination {
    /// The folders, and the configuration where it was given.
    pub fn open(&self) -> CliResult<(ReleaseDir, Option<Config>)> {
        match (&self.config, &self.to) {
            (Some(config), _) => {
                let config = Config::load(config).map_err(CliError::configuration)?;
                Ok((ReleaseDir::new(config.release.clone()), Some(config)))
            }
            (None, Some(folder)) => {
                let (set, downgrade) = (folder.join("release.json"), folder.join("downgrade.json"));
                let (plugins, settings) = (folder.join("plugins"), folder.join("settings"));
                Ok((ReleaseDir::new(ReleasePaths::new(set, plugins, settings, downgrade)), None))
            }
            (None, None) => Err(CliError::configuration("give `--config` or `--to`")),
        }
    }

    /// The same as an argument of another command.
    pub fn argument(&self) -> String {
        match (&self.config, &self.to) {
            (Some(config), _) => format!("--config {}", config.display()),
            (None, Some(folder)) => format!("--to {}", folder.display()),
            (None, None) => String::new(),
        }
    }
}

impl ReleaseDir {
    fn new(paths: ReleasePaths) -> Self {
        let archive = paths.set.with_file_name("archive");
        Self { paths, archive }
    }

    /// The set's file.
    pub fn set(&self) -> &Path {
        &self.paths.set
    }

    /// Where components, manifests and settings are looked for.
    pub fn folders(&self) -> Vec<PathBuf> {
        vec![self.paths.plugins.clone(), self.paths.settings.clone()]
    }

    /// The set in place. One that does not read is as none: whatever follows is better.
    pub fn current(&self) -> Option<StoredSet> {
        StoredSet::read(&self.paths.set)
    }

    /// The sets that were in place before, the newest version first.
    pub fn archived(&self) -> Vec<StoredSet> {
        let listed = list_bounded(&self.archive, &[".json"], MAX_FILES).unwrap_or_default();
        let paths = listed.names.iter().map(|name| self.archive.join(name));
        let mut sets: Vec<_> = paths.filter_map(|path| StoredSet::read(&path)).collect();
        sets.sort_by_key(|lying| std::cmp::Reverse((lying.set.version, lying.digest)));
        sets
    }

    /// Nobody else fills these folders until it is dropped.
    pub fn hold(&self) -> CliResult<PublishLock> {
        let path = self.paths.set.with_file_name(LOCK);
        let failed = |error: std::io::Error| {
            CliError::configuration(format!("cannot use `{}`: {error}", path.display()))
        };
        self.make_folders()?;
        let file = open_or_create(&path, 0o600).map_err(failed)?;
        file.try_lock().map_err(|_| {
            CliError::wrong(format!(
                "another command is publishing into `{}` at this moment",
                self.paths.set.display()
            ))
            .hint(Some("wait until it has finished, then run `portcullis release status`"))
        })?;
        Ok(PublishLock { _file: file })
    }

    /// Puts everything in place, the set last; what was there is kept in the archive. Says what was archived.
    pub fn publish(&self, _hold: &PublishLock, package: &Bundle) -> CliResult<Option<PathBuf>> {
        let present = self.present();
        for file in &package.files {
            if present.get(&file.digest).is_some_and(|kinds| kinds.contains(&file.kind)) {
                continue;
            }
            let folder = if file.kind == Kind::Settings {
                &self.paths.settings
            } else {
                &self.paths.plugins
            };
            files::replace(&folder.join(&file.name), &file.bytes)?;
        }
        let archived = match self.current().filter(|current| current.digest != package.digest) {
            Some(current) => Some(self.keep(&current.envelope, "release", current.set.version)?),
            None => None,
        };
        self.note(package)?;
        // Before the set that it is for: it permits nothing else.
        if let Some(downgrade) = &package.downgrade {
            files::replace(&self.paths.downgrade, downgrade)?;
        }
        files::replace(&self.paths.set, &package.envelope)?;
        if package.downgrade.is_none()
            && let Ok(former) = read_bounded(&self.paths.downgrade, Envelope::MAX_BYTES as u64)
        {
            // It was for another set, and lies in nobody's way; but whoever looks here should see what is meant.
            self.keep(&former, "downgrade", package.set.version)?;
            drop(fs::remove_file(&self.paths.downgrade));
        }
        Ok(archived)
    }

    /// A private folder beside the set, in which a release lies as it would lie here. It is gone when the result is dropped.
    pub fn stage(&self, package: &Bundle) -> CliResult<Staged> {
        let folder = self.paths.set.with_file_name(format!(".publish-{}", std::process::id()));
        let failed = |error: std::io::Error| {
            CliError::configuration(format!("cannot use `{}`: {error}", folder.display()))
        };
        drop(fs::remove_dir_all(&folder));
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let staged = Staged { folder };
        let join = |name: &str| staged.folder.join(name);
        let mut paths = ReleasePaths::new(
            join("release.json"),
            join("plugins"),
            join("settings"),
            join("downgrade.json"),
        );
        paths.after_grace = self.paths.after_grace;
        let there = Self::new(paths);
        there.make_folders()?;
        for file in &package.files {
            let into = if file.kind == Kind::Settings {
                &there.paths.settings
            } else {
                &there.paths.plugins
            };
            files::write(&into.join(&file.name), &file.bytes)?;
        }
        files::write(&there.paths.set, &package.envelope)?;
        package
            .downgrade
            .as_ref()
            .map_or(Ok(()), |downgrade| files::write(&there.paths.downgrade, downgrade))?;
        Ok(staged)
    }

    /// The sets that came into these folders, the oldest first, as a history of activations: what a
    /// way back goes by where no host is asked. Empty where nothing is noted.
    pub fn published(&self) -> TrustHistory {
        let text = files::read(&self.journal()).unwrap_or_default();
        let noted: Vec<Noted> = serde_json::from_slice(&text).unwrap_or_default();
        let mut history = TrustHistory::default();
        for (at, noted) in (1..).zip(noted) {
            let Noted { version, set } = noted;
            let active = Active { version, set, root: 0, since: Millis(at), resets: 0 };
            history.merge(&TrustHistory { active: Some(active), ..TrustHistory::default() });
        }
        history
    }

    /// Notes that a set comes into these folders, after the one that lies there.
    fn note(&self, package: &Bundle) -> CliResult {
        let mut all: Vec<_> = self.published().activations;
        let mut add = |version, set| {
            if all.last().is_none_or(|last| last.set != set) {
                all.push(Active { version, set, root: 0, since: Millis(0), resets: 0 });
            }
        };
        if let Some(current) = self.current() {
            add(current.set.version, current.digest);
        }
        add(package.set.version, package.digest);
        let noted: Vec<_> =
            all.iter().map(|it| Noted { version: it.version, set: it.set }).collect();
        let failed = |error| {
            CliError::configuration(format!("cannot write `{}`: {error}", self.journal().display()))
        };
        fs::create_dir_all(&self.archive).map_err(failed)?;
        let text = serde_json::to_vec(&noted).map_err(|error| failed(error.into()))?;
        files::replace(&self.journal(), &text)
    }

    fn journal(&self) -> PathBuf {
        self.archive.join("published.json")
    }

    fn make_folders(&self) -> CliResult {
        for folder in [
            Some(self.paths.plugins.as_path()),
            Some(self.paths.settings.as_path()),
            self.paths.set.parent(),
        ] {
            let folder =
                folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let failed = |error| {
                CliError::configuration(format!("cannot make `{}`: {error}", folder.display()))
            };
            fs::create_dir_all(folder).map_err(failed)?;
        }
        Ok(())
    }

    /// Digest → what lies in the folders already.
    fn present(&self) -> BTreeMap<Digest, Vec<Kind>> {
        let mut present: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (folder, settings) in [(&self.paths.plugins, false), (&self.paths.settings, true)] {
            for (digest, path) in FileIndex::of([folder.as_path()]).files() {
                let kind = match path.extension().and_then(|it| it.to_str()) {
                    Some("wasm") if !settings => Kind::Component,
                    Some("json") if settings => Kind::Settings,
                    Some("json") if path.to_string_lossy().ends_with(".suite.json") => Kind::Suite,
                    Some("json") => Kind::Manifest,
                    _ => continue,
                };
                present.entry(digest).or_default().push(kind);
            }
        }
        present
    }

    fn keep(&self, envelope: &[u8], what: &str, version: u64) -> CliResult<PathBuf> {
        let failed = |error| {
            CliError::configuration(format!("cannot make `{}`: {error}", self.archive.display()))
        };
        fs::create_dir_all(&self.archive).map_err(failed)?;
        let path = self.archive.join(format!("{what}-{version}-{}.json", short(sha256(envelope))));
        files::replace(&path, envelope)?;
        Ok(path)
    }
}

/// A release as it would lie in its folders.
pub struct Staged {
    folder: PathBuf,
}

impl Staged {
    /// Has a configuration look here instead.
    pub fn redirect(&self, config: &mut Config) {
        let join = |name: &str| self.folder.join(name);
        let paths = &mut config.release;
        (paths.set, paths.downgrade) = (join("release.json"), join("downgrade.json"));
        (paths.plugins, paths.settings) = (join("plugins"), join("settings"));
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl StoredSet {
    /// Reads a release set; nothing where there is none.
    pub fn read(path: &Path) -> Option<Self> {
        let envelope = read_bounded(path, Envelope::MAX_BYTES as u64).ok()?;
        let digest = sha256(Envelope::parse(&envelope).ok()?.unverified_payload());
        let set = ReleaseSet::unverified(&envelope).ok()?;
        Some(Self { path: path.to_owned(), envelope, digest, set })
    }
}

/// The first digits of a digest: enough to tell files apart.
pub fn short(digest: Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").chars().take(SHORT).collect()
}

const SHORT: usize = 12;
/// The most sets of the archive that are read.
const MAX_FILES: usize = 10_000;

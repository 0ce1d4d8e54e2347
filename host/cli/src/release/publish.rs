//! `portcullis release publish`: a signed release into the folders of hosts, whole or not at all.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis_server::{Clock, Config, StartupCheck, trusted_by};
use portcullis_trust::{TrustHistory, TrustRoot};
use serde_json::json;

use super::bundle::{Bundle, folder_of, history};
use super::diff::ReleaseDiff;
use super::release_dir::{Destination, ReleaseDir};
use super::replicas::{Replicas, State};
use crate::exit::{CliError, CliResult, Format};
use crate::files;
use crate::problems::{failed, warning};
use crate::serve::start_failed;
use crate::signing::chain;

/// Put a release into the folders of hosts.
#[derive(Args)]
pub struct Publish {
    /// The envelope of the signed release set.
    #[arg(long)]
    set: PathBuf,
    /// A folder with manifests, components or settings (or with `plugins` and `settings` that have
    /// them). Repeat the option for several. Files that are in the release's folders already are
    /// not needed here. Default: the folder of the set.
    #[arg(long = "from")]
    from: Vec<PathBuf>,
    #[command(flatten)]
    place: Destination,
    /// With `--to`: the trust root's envelope, and those that followed it, in order.
    #[arg(long = "root", conflicts_with = "config", required_unless_present = "config")]
    roots: Vec<PathBuf>,
    /// Show what would change and whether hosts would accept it, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    replicas: Replicas,
    /// How long to wait for hosts to activate the release, in seconds.
    #[arg(long, default_value_t = 60)]
    wait: u64,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What is believed and remembered where a release goes.
pub struct PublishChecks {
    config: Option<Config>,
    /// The active trust root there.
    pub root: TrustRoot,
    /// What must not be forgotten there.
    pub history: TrustHistory,
}

impl Publish {
    /// Does it.
    pub fn run(self) -> CliResult {
        let (shelf, config) = self.place.open()?;
        let hold = shelf.hold()?;
        let judge = PublishChecks::new(config, &self.roots, &shelf)?;
        let folders =
            if self.from.is_empty() { vec![folder_of(&self.set)] } else { self.from.clone() };
        let package =
            Bundle::gather(files::read(&self.set)?, None, &[folders, shelf.folders()].concat())?;
        let current = shelf.current();
        if current.as_ref().is_some_and(|current| current.digest == package.digest) {
            self.format.print(
                format!("release set {} is published already", package.set.version),
                json!({"version": package.set.version, "set": package.digest.to_string(), "published": false, "archived": null}),
            );
            return follow(&self.replicas, &package, self.wait, self.format);
        }
        let warnings = judge.judge(&shelf, &package)?;
        let difference =
            ReleaseDiff::between(current.as_ref().map(|current| &current.set), &package.set);
        if self.dry_run {
            self.format.print(
                format!("{}{}\nnothing was published", difference.text(), warned(&warnings)),
                json!({"version": package.set.version, "difference": difference.json(), "warnings": warnings, "published": false}),
            );
            return Ok(());
        }
        let archived = shelf.publish(&hold, &package)?;
        let kept = archived
            .as_ref()
            .map(|path| format!("; the release set before it is in {}", path.display()))
            .unwrap_or_default();
        self.format.print(
            format!("{}{}\npublished to {}{kept}", difference.text(), warned(&warnings), shelf.set().display()),
            json!({
                "version": package.set.version, "set": package.digest.to_string(), "difference": difference.json(), "warnings": warnings,
                "published": true, "archived": archived,
            }),
        );
        follow(&self.replicas, &package, self.wait, self.format)
    }
}

impl PublishChecks {
    /// By the configuration of a host here, everything that the host itself knows; else the roots that were given, and the sets that
    /// lie and lay in the folders.
    pub fn new(config: Option<Config>, roots: &[PathBuf], shelf: &ReleaseDir) -> CliResult<Self> {
        if let Some(config) = config {
            let (root, history) = trusted_by(&config).map_err(start_failed)?;
            return Ok(Self { config: Some(config), root: (*root).clone(), history });
        }
        let root = chain(roots)?;
        let (archived, current) = (shelf.archived(), shelf.current());
        let history = history(&root, archived.iter().chain(&current));
        Ok(Self { config: None, root, history })
    }

    /// Refuses what hosts would refuse; gives what an operator should know although it is allowed.
    pub fn judge(self, shelf: &ReleaseDir, package: &Bundle) -> CliResult<Vec<String>> {
        let now = Clock::system().now();
        package.admit(&self.root, &self.history, now)?;
        let Some(mut config) = self.config else { return Ok(Vec::new()) };
        // What is left is known only by trying: whether the hooks are there, and whether plugins take their settings.
        let staged = shelf.stage(package)?;
        staged.redirect(&mut config);
        let prepared = StartupCheck::new(config, Clock::system()).map_err(start_failed)?;
        let folders = prepared.folders.as_ref().err();
        match &prepared.release {
            Ok(generation) if folders.is_none() => {
                Ok(generation.warnings(&prepared.config().hooks))
            }
            refused => {
                let refused = refused.as_ref().err().map(Vec::as_slice).unwrap_or_default();
                Err(failed(folders, None, refused))
            }
        }
    }
}

/// Waits for hosts, and says how it went.
pub fn follow(replicas: &Replicas, package: &Bundle, wait: u64, format: Format) -> CliResult {
    if !replicas.any() {
        return Ok(());
    }
    let replicas = replicas.wait(&package.set, package.digest, Duration::from_secs(wait))?;
    for replica in &replicas {
        format.print(replica.text(), replica.json());
    }
    let behind: Vec<_> = replicas.iter().filter(|replica| replica.state != State::Active).collect();
    let Some(first) = behind.first() else { return Ok(()) };
    let hint = match first.state {
        State::Refused => {
            "the host keeps the last good release; correct what the refusal names and publish \
             again, or run `portcullis release rollback`"
        }
        State::Unknown => {
            "make sure that the address is that of an admin listener and that the host runs"
        }
        _ => {
            "check that the release reaches the host's folders, then run `portcullis release \
             status`"
        }
    };
    let (count, all, version) = (behind.len(), replicas.len(), package.set.version);
    Err(CliError::wrong(format!("release set {version} is not active on {count} of {all} hosts"))
        .hint(Some(hint)))
}

fn warned(warnings: &[String]) -> String {
    warnings.iter().map(|text| format!("\n{}", warning(text))).collect()
}

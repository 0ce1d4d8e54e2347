//! `portcullis release push` and `release pull`.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_model::Digest;
use portcullis_registry::ImageRef;
use portcullis_server::registry::{
    InstallPaths, LocalBlobs, PluginParts, ReleaseParts, RemoteRelease, download, install,
    push_release, root_name, staging,
};
use portcullis_server::{Clock, DigestCache, FileIndex};
use portcullis_trust::{
    Envelope, ReleaseSet, TrustRoot, verify_manifest, verify_plugin, verify_release,
};
use serde_json::json;

use super::{Registry, wait};
use crate::exit::{CliError, CliResult, Format};
use crate::files;
use crate::signing::chain;

/// Push a release.
#[derive(Args)]
pub struct PushRelease {
    /// The destination, as `registry/name:tag`. The tag is the one that hosts follow.
    reference: ImageRef,
    /// The folder of the release: `release.json`, `plugins`, `settings`, and `downgrade.json` if
    /// there is one.
    #[arg(long)]
    from: PathBuf,
    /// The trust root's envelope, and those that followed it, in order. The command refuses to push
    /// a release that a host would refuse. The trust roots after the first are pushed too.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    #[command(flatten)]
    registry: Registry,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Pull a release.
#[derive(Args)]
pub struct PullRelease {
    /// The source, as `registry/name:tag` or `registry/name@sha256:…`.
    reference: ImageRef,
    /// The folder to write the release to: `release.json`, `plugins`, `settings`. Trust roots that
    /// follow are written to `trust-roots` in it.
    #[arg(long)]
    output: PathBuf,
    /// The trust root's envelope, and those that followed it, in order.
    #[arg(long = "root", required = true)]
    roots: Vec<PathBuf>,
    #[command(flatten)]
    registry: Registry,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// A plugin's files, read and verified.
struct Ready {
    title: String,
    tag: String,
    wasm: Vec<u8>,
    inspection: portcullis_engine::Inspection,
    envelope: Vec<u8>,
    manifest: Envelope,
    suite: Option<Vec<u8>>,
}

impl PushRelease {
    /// Does it.
    pub fn run(self) -> CliResult {
        if self.reference.tag().is_none() {
            return Err(CliError::configuration("a release is pushed to a tag, not to a digest"));
        }
        let root = chain(&self.roots)?;
        let set_bytes = files::read(&self.from.join("release.json"))?;
        let set = verify_release(&root, &set_bytes, Clock::system().now())?;
        let plugins = self.plugins(&root, &set)?;
        let settings = self.settings(&set)?;
        let downgrade = self.from.join("downgrade.json");
        let downgrade = if downgrade.exists() { Some(files::read(&downgrade)?) } else { None };
        let roots = self
            .roots
            .iter()
            .skip(1)
            .map(|root| files::read(root))
            .collect::<CliResult<Vec<_>>>()?;
        let sizes: usize = plugins.iter().map(|ready| ready.wasm.len()).sum();
        let parts = ReleaseParts {
            version: set.version,
            set: &set_bytes,
            roots: roots.iter().map(Vec::as_slice).collect(),
            downgrade: downgrade.as_deref(),
            settings: settings.iter().map(Vec::as_slice).collect(),
            suites: plugins.iter().filter_map(|plugin| plugin.suite.as_deref()).collect(),
            plugins: plugins.iter().map(Ready::parts).collect(),
        };
        let client = self.registry.client(&self.reference)?;
        let artifact = wait(push_release(&client, &self.reference, &parts))??;
        let count = plugins.len();
        self.format.print(
            format!(
                "{}: release {} pushed, {count} plugins, {sizes} bytes of components\nartifact {artifact}",
                self.reference, set.version
            ),
            json!({
                "reference": self.reference.to_string(), "version": set.version, "artifact": artifact.to_string(), "plugins": count,
            }),
        );
        Ok(())
    }

    /// Every plugin that the set names, held against the trust root.
    fn plugins(&self, root: &TrustRoot, set: &ReleaseSet) -> CliResult<Vec<Ready>> {
        let folder = self.from.join("plugins");
        let found = FileIndex::of([folder.as_path()]);
        let now = Clock::system().now();
        let mut plugins = Vec::with_capacity(set.plugins.len());
        for (id, entry) in set.entries() {
            let envelope = found
                .envelope(entry.manifest)
                .ok_or_else(|| missing(id, "manifest", entry.manifest, &folder))?;
            let manifest = Envelope::parse(&envelope)?;
            let signed = verify_manifest(root, &envelope, now)?.manifest;
            let wanted = signed.wasm;
            let suite = signed.suite.map(|it| found.bytes(it.digest).ok_or((it.digest, "suite")));
            let suite =
                suite.transpose().map_err(|(digest, what)| missing(id, what, digest, &folder))?;
            let wasm = found.bytes(wanted);
            let wasm = wasm.ok_or_else(|| missing(id, "component", wanted, &folder))?;
            verify_plugin(root, entry, &envelope, &wasm, now)?;
            let inspection = portcullis_engine::inspect(&wasm)?;
            let (title, tag) = (format!("{id}.wasm"), plugin_tag(id, &entry.version, entry.serial));
            plugins.push(Ready { title, tag, wasm, inspection, envelope, manifest, suite });
        }
        Ok(plugins)
    }

    /// The settings that the set names.
    fn settings(&self, set: &ReleaseSet) -> CliResult<Vec<Vec<u8>>> {
        let folder = self.from.join("settings");
        let there = FileIndex::of([folder.as_path()]);
        let found = set.settings().into_iter().map(|(digest, plugin)| {
            there.bytes(digest).ok_or_else(|| missing(plugin, "settings", digest, &folder))
        });
        found.collect()
    }
}

impl Ready {
    fn parts(&self) -> (PluginParts<'_>, String) {
        let parts = PluginParts {
            component: &self.wasm,
            inspection: &self.inspection,
            title: &self.title,
            manifest: &self.manifest,
            envelope: &self.envelope,
            suite: None,
        };
        (parts, self.tag.clone())
    }
}

impl PullRelease {
    /// Does it.
    pub fn run(self) -> CliResult {
        let now = Clock::system().now();
        let mut root = chain(&self.roots)?;
        let client = self.registry.client(&self.reference)?;
        let repository = &self.reference.repository;
        let offer = wait(RemoteRelease::fetch(&client, &self.reference))??;
        let mut further = Vec::new();
        for (version, envelope) in offer.roots.range(root.version.saturating_add(1)..) {
            root = root.next(envelope)?;
            further.push((root_name(*version, envelope), envelope));
        }
        let set = verify_release(&root, &offer.set, now)?;
        let path = |name: &str| self.output.join(name);
        let [set_file, plugins, settings, downgrade] =
            ["release.json", "plugins", "settings", "downgrade.json"].map(path);
        if let Some(here) =
            files::read(&set_file).ok().and_then(|here| ReleaseSet::unverified(&here).ok())
            && here.version > set.version
        {
            let (here, is) = (here.version, set.version);
            let message = format!(
                "`{}` has release {here}, and the registry {is} [release-older]",
                set_file.display()
            );
            return Err(CliError::wrong(message)
                .hint(Some("pull into another folder if you want the older release")));
        }
        let to = InstallPaths {
            set: &set_file,
            plugins: &plugins,
            settings: &settings,
            downgrade: &downgrade,
        };
        let folder = path("incoming");
        let [a, b, c, d] = staging(&folder)?;
        let from = InstallPaths { set: &a, plugins: &b, settings: &c, downgrade: &d };
        let brought = wait(download(
            &client,
            repository,
            &offer,
            (&root, &set, now),
            &LocalBlobs::of(&to, &DigestCache::default()),
            &from,
        ))?;
        let done = brought.and_then(|()| install(&from, &to));
        drop(std::fs::remove_dir_all(&folder));
        done?;
        let roots = further.len();
        for (name, envelope) in further {
            let folder = path("trust-roots");
            std::fs::create_dir_all(&folder).map_err(|error| {
                CliError::configuration(format!("cannot make `{}`: {error}", folder.display()))
            })?;
            files::write(&folder.join(name), envelope)?;
        }
        let count = set.plugins.len();
        self.format.print(
            format!(
                "{}: release {} is in `{}`, {count} plugins, {roots} further trust roots\nartifact {}",
                self.reference,
                set.version,
                self.output.display(),
                offer.artifact
            ),
            json!({
                "reference": self.reference.to_string(), "version": set.version, "artifact": offer.artifact.to_string(),
                "plugins": count, "trust_roots": roots, "folder": self.output,
            }),
        );
        Ok(())
    }
}

/// The tag under which a plugin of a release is kept.
fn plugin_tag(id: &str, version: &str, serial: u64) -> String {
    let tag = format!("{id}-{version}.{serial}");
    tag.chars()
        .map(|it| if it.is_ascii_alphanumeric() || "._-".contains(it) { it } else { '_' })
        .take(128)
        .collect()
}

fn missing(plugin: &str, what: &str, digest: Digest, folder: &Path) -> CliError {
    let folder = folder.display();
    CliError::wrong(format!(
        "plugin `{plugin}`: no file in `{folder}` has the digest {digest} that is named for its {what} [file-missing]"
    ))
    .hint(Some(format!("copy the file into `{folder}`, under any name")))
}

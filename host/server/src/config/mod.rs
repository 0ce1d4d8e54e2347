//! `portcullis.toml`: what an operator sets. Where to listen, whom to trust, where the record goes.
//!
//! Invariant: the file is parsed whole and every path resolved before anything is opened or bound; a member that is not known is
//! an error, never ignored. What decides (plugins, settings, modes) is not here: that is the signed release set.

mod audit;
pub mod descriptors;
pub mod engine;
mod hook;
mod listen;
mod memory;
pub mod plugin_limits;
mod problems;
pub mod registry;
pub mod tables;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::engine::EngineConfig;
use crate::config::plugin_limits::PluginsConfig;
use crate::config::registry::RegistryConfig;
use crate::config::tables::{TableAccess, TableAccessSource, TablePush, check_tables};
use crate::error::ConfigError;
use crate::fs::change::{Folders, WatchedFiles, stamp};
use crate::net::outbound::OutboundConfig;
use crate::platform_calls::delivery::config::{ChannelRouting, DeliveryConfig, DeliverySource};
use crate::platform_calls::resume::config::ResumeConfig;
use hook::{HookContext, HookSource};
use problems::read_toml;

pub use audit::{Audit, Commit, NextLog};
pub use hook::HookConfig;
pub use listen::{AdminConfig, Listen, MAX_ADMIN_CONNECTIONS, TelemetryConfig};
pub use memory::MemoryConfig;
pub use problems::Problems;
pub use trust::Trust;

pub use crate::fs::release_paths::{AfterGrace, ReleasePaths, TableFolders};

/// The whole configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// The tenant every record names.
    pub tenant: String,
    /// The listener's address and limits.
    pub listen: Listen,
    /// The admin listener.
    pub admin: AdminConfig,
    /// The collector of traces.
    pub telemetry: TelemetryConfig,
    /// Whom to trust.
    pub trust: Trust,
    /// The places of release set, plugins and settings.
    pub release: ReleasePaths,
    /// The registry that releases are pulled from.
    pub registry: Option<RegistryConfig>,
    /// The record.
    pub audit: Audit,
    /// How much plugins may remember.
    pub memory: MemoryConfig,
    /// Making plugins.
    pub engine: EngineConfig,
    /// Bounds of every plugin.
    pub plugins: PluginsConfig,
    /// Calls that the host makes itself.
    pub outbound: OutboundConfig,
    /// Platforms that wait for calls of ours, by name.
    pub resume: BTreeMap<String, ResumeConfig>,
    /// The delivery services, by name.
    pub deliveries: BTreeMap<String, DeliveryConfig>,
    /// The settings for reference tables from elsewhere, by the table's name.
    pub tables: BTreeMap<String, TableAccess>,
    /// The listener for pushed tables.
    pub table_push: Option<TablePush>,
    /// The hooks, by name.
    pub hooks: Vec<HookConfig>,
    /// The file, to look at it again.
    pub file: PathBuf,
    /// SHA-256 of the file, for the start record.
    pub digest: portcullis_model::Digest,
    /// The state of the files before any of them was read, to find later changes.
    pub as_found: WatchedFiles,
    /// The file as it is written, to see what another one changes.
    raw: toml::Table,
}

impl Config {
    /// Reads and checks a configuration file. Relative paths are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = stamp(path);
        let text = portcullis_files::read_text_bounded(path, MAX_FILE_BYTES).map_err(|error| {
            ConfigError::Unreadable { path: path.to_owned(), cause: error.into() }
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        let mut config = Self::parse(&text, base)
            .map_err(|what| ConfigError::Wrong { path: path.to_owned(), what })?;
        config.file = path.to_owned();
        config.as_found = WatchedFiles { file: Some(file), folders: Folders::default() };
        Ok(config)
    }

    /// Parses and checks everything that needs no other file, and returns all problems at once.
    fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let mut problems = Problems::default();
        let Some(file) = read_toml::<File>(text, &mut problems, misread) else {
            return Err(problems.result().err().unwrap_or_default());
        };
        let deliveries = deliveries(file.delivery, base, &mut problems);
        let tables = check_tables(file.tables, base, file.table_push.as_ref(), &mut problems);
        let places: Vec<_> = file.hook.iter().map(HookSource::places).collect();
        let around = HookContext {
            base,
            deliveries: &deliveries,
            resumes: &file.resume.keys().cloned().collect(),
            has_client_ca: file.listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
        };
        let check = |(number, hook)| HookConfig::check(hook, number, &around, &mut problems);
        let hooks: Vec<_> = (1..).zip(file.hook).map(check).collect();
        check_places(&places, &mut problems);
        let mut config = Self {
            tenant: file.tenant,
            listen: file.listen,
            admin: file.admin,
            telemetry: file.telemetry,
            trust: file.trust,
            release: file.release,
            registry: file.registry,
            audit: file.audit,
            memory: file.memory,
            engine: file.engine,
            plugins: file.plugins,
            outbound: file.outbound,
            resume: file.resume,
            deliveries: deliveries
                .into_iter()
                .filter_map(|(name, service)| Some((name, service?)))
                .collect(),
            tables,
            table_push: file.table_push,
            hooks: Vec::new(),
            file: PathBuf::new(),
            digest: portcullis_model::sha256(text.as_bytes()),
            as_found: WatchedFiles::default(),
            raw: text.parse().map_err(|error| misread(text, &error))?,
        };
        let said = config.raw.get("hook").and_then(toml::Value::as_array).into_iter().flatten();
        let bounds = config.plugins.limits(config.listen.workers);
        for (hook, said) in hooks.into_iter().zip(said) {
            let Some(mut hook) = hook else { continue };
            hook.limits = bounds;
            hook.fingerprint = portcullis_model::sha256(said.to_string().as_bytes());
            config.hooks.push(hook);
        }
        config.resolve(base, &mut problems);
        config.check(&mut problems);
        problems.result()?;
        Ok(config)
    }

    /// The folders of reference tables.
    pub fn table_folders(&self) -> TableFolders {
        TableFolders {
            files: self.release.tables.clone(),
            copies: self.trust.state.join("tables"),
            received: self.trust.state.join("received-tables"),
        }
    }

    /// Makes relative paths relative to the configuration's folder.
    fn resolve(&mut self, base: &Path, problems: &mut Problems) {
        self.release.resolve(base);
        self.trust.resolve(base);
        self.audit.resolve(base);
        self.engine.cache = base.join(&self.engine.cache);
        if let Some(tls) = &mut self.listen.tls {
            for path in [&mut tls.certificate, &mut tls.key].into_iter().chain(&mut tls.client_ca) {
                *path = base.join(&*path);
            }
        }
        if let Some(push) = &mut self.table_push {
            push.resolve(base);
        }
        for hook in &mut self.hooks {
            for file in hook.decryption.iter_mut().flat_map(|it| &mut it.key_files) {
                *file = base.join(&*file);
            }
        }
        for (name, resume) in &mut self.resume {
            if is_name(name) {
                problems.keep(resume.check(name, base));
            } else {
                problems.add(format!(
                    "the name in [resume.{name}] is not 1 to 64 letters, digits, `-`, `_` or `.`"
                ));
            }
        }
        let outbound = &mut self.outbound;
        let cache = outbound.cache.get_or_insert_with(|| "cache".into());
        for path in outbound.ca_file.iter_mut().chain([cache]) {
            *path = base.join(&*path);
        }
        if let Some(registry) = &mut self.registry {
            let ca = self.outbound.ca_file.as_ref();
            problems.keep(registry.check(base, &self.release.set, ca));
        }
    }

    /// The settings that another configuration changes and that a running host cannot: all but hooks, `release`, `admin` and a few of
    /// `listen`.
    pub fn needs_restart(&self, other: &Self) -> Vec<String> {
        let mut names: BTreeSet<&String> = self.raw.keys().chain(other.raw.keys()).collect();
        names.retain(|name| !["hook", "release", "admin", "listen"].contains(&name.as_str()));
        let changed =
            names.into_iter().filter(|name| self.raw.get(*name) != other.raw.get(*name)).cloned();
        let (one, two) = (table(&self.raw, "listen"), table(&other.raw, "listen"));
        let mut listen: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
        listen.retain(|name| !LIVE_LISTEN.contains(&name.as_str()));
        let of_listen = listen.into_iter().filter(|name| one.get(*name) != two.get(*name));
        changed.chain(of_listen.map(|name| format!("listen.{name}"))).collect()
    }

    fn check(&self, problems: &mut Problems) {
        self.admin.check(problems);
        self.telemetry.check(problems);
        if let Some(push) = &self.table_push {
            push.check(problems);
        }
        self.listen.check_place(problems);
        self.plugins.check(problems);
        self.listen.check_bounds(problems);
        for (name, value, least, most) in
            self.engine.bounds().into_iter().chain(self.memory.bounds())
        {
            problems.keep(within(name, value, least, most));
        }
        self.audit.check(problems);
        if !is_name(&self.tenant) {
            problems.add(format!(
                "tenant `{}` is not 1 to 64 letters, digits, `-`, `_` or `.`",
                self.tenant
            ));
        }
        let chosen = self.hooks.iter().filter_map(|hook| hook.delivery.as_ref());
        let used: BTreeSet<_> = chosen.flat_map(ChannelRouting::names).collect();
        let idle = self.deliveries.keys().filter(|name| !used.contains(name.as_str()));
        // A hook with a problem of its own is missing here, so only a whole list is judged.
        let all_hooks = problems.is_empty();
        for idle in idle.filter(|_| all_hooks) {
            problems.add(format!("delivery `{idle}` is used by no hook"));
        }
        if self.hooks.is_empty() && problems.is_empty() {
            problems.add(
                "the configuration has no [[hook]], so the host would answer nothing".to_owned(),
            );
        }
    }
}

/// Adds names and paths that several hooks have.
fn check_places(places: &[(Option<String>, Vec<String>)], problems: &mut Problems) {
    let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (name, paths) in places {
        if let Some(name) = name.as_ref().filter(|name| !names.insert(*name)) {
            problems.add(format!("hook `{name}` is defined twice"));
        }
        for path in paths.iter().filter(|path| !taken.insert(*path)) {
            problems.add(format!("path `{path}` is used by two hooks"));
        }
    }
}

/// The settings of `[listen]` that a running host takes up.
const LIVE_LISTEN: [&str; 5] = [
    "max_in_flight",
    "header_timeout_ms",
    "body_timeout_ms",
    "shutdown_delay_ms",
    "drain_timeout_ms",
];

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default)]
    listen: Listen,
    #[serde(default)]
    admin: AdminConfig,
    #[serde(default)]
    telemetry: TelemetryConfig,
    trust: Trust,
    release: ReleasePaths,
    registry: Option<RegistryConfig>,
    audit: Audit,
    #[serde(default)]
    memory: MemoryConfig,
    #[serde(default)]
    engine: EngineConfig,
    #[serde(default)]
    plugins: PluginsConfig,
    #[serde(default)]
    outbound: OutboundConfig,
    #[serde(default)]
    resume: BTreeMap<String, ResumeConfig>,
    #[serde(default)]
    delivery: BTreeMap<String, DeliverySource>,
    #[serde(default)]
    tables: BTreeMap<String, TableAccessSource>,
    table_push: Option<TablePush>,
    #[serde(default)]
    hook: Vec<HookSource>,
}

/// The delivery services; nothing in the place of one that is wrong.
fn deliveries(
    sources: BTreeMap<String, DeliverySource>,
    base: &Path,
    problems: &mut Problems,
) -> BTreeMap<String, Option<DeliveryConfig>> {
    let check = |(name, source): (String, DeliverySource)| {
        let checked = if is_name(&name) {
            source.check(base).map_err(|why| format!("delivery `{name}`: {why}"))
        } else {
            Err(format!("delivery name `{name}` is not 1 to 64 letters, digits, `-`, `_` or `.`"))
        };
        let checked = problems.keep(checked);
        (name, checked)
    };
    sources.into_iter().map(check).collect()
}

/// What is wrong, at which line and setting. Never the line itself: whoever mistakes a key's file for this one must not find the
/// key in a log.
fn misread(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count();
    let setting = text
        .lines()
        .nth(line)
        .and_then(|line| line.split_once('='))
        .map_or("", |(name, _)| name.trim());
    let place = if is_name(setting) {
        format!("line {}, `{setting}`", line + 1)
    } else {
        format!("line {}", line + 1)
    };
    let message = error.message();
    let renamed = portcullis_model::renames::hint(message).unwrap_or_default();
    format!("{place}: {message}{renamed}")
}

/// A table of a file; empty where there is none.
fn table(raw: &toml::Table, name: &str) -> toml::Table {
    raw.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default()
}

/// Refuses a number that is out of bounds, with the line that sets the nearest one within.
pub fn within<N: PartialOrd + std::fmt::Display>(
    name: &str,
    value: N,
    least: N,
    most: N,
) -> Result<(), String> {
    if value >= least && value <= most {
        return Ok(());
    }
    let nearest = if value > most { &most } else { &least };
    let setting = name.rsplit(['.', ' ']).next().unwrap_or(name);
    Err(format!("{name} is {value}, not {least} to {most}: write `{setting} = {nearest}`"))
}

/// A name that is safe in paths, records and metrics.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The largest configuration file that is read, bytes: many times one with thousands of hooks.
const MAX_FILE_BYTES: u64 = 4 << 20;

fn default_tenant() -> String {
    "default".to_owned()
}

//! `portcullis.toml`: what an operator sets. Where to listen, whom to trust, where the record goes.
//!
//! Invariant: the file is parsed whole and every path resolved before anything is opened or bound; a member that is not known is
//! an error, never ignored. What decides (plugins, settings, modes) is not here: that is the signed release set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_hooks::{HookKind, Mapping, MappingSource, Need, OnFailure, Settings};
use portcullis_model::json::split_pointer;
use serde::Deserialize;

use crate::as_found::{AsFound, fingerprint, stamp};
use crate::caller::config::{CallerConfig, CallerSources};
use crate::courier::config::{Chosen, DeliveryConfig, DeliverySource};
use crate::decryption::DecryptionConfig;
use crate::error::ConfigError;
use crate::making::EngineConfig;
use crate::outbound::OutboundConfig;
use crate::resume::config::ResumeConfig;
use crate::tls::TlsConfig;

/// The whole configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// The tenant every record names.
    pub tenant: String,
    /// Where and how much to listen.
    pub listen: Listen,
    /// The admin listener.
    pub admin: AdminConfig,
    /// Where traces go.
    pub telemetry: TelemetryConfig,
    /// Whom to trust.
    pub trust: Trust,
    /// Where release set, plugins and settings lie.
    pub release: ReleasePaths,
    /// The record.
    pub audit: Audit,
    /// Making plugins.
    pub engine: EngineConfig,
    /// Calls that the host makes itself.
    pub outbound: OutboundConfig,
    /// Platforms that wait for calls of ours, by name.
    pub resume: BTreeMap<String, ResumeConfig>,
    /// Who delivers messages, by name.
    pub deliveries: BTreeMap<String, DeliveryConfig>,
    /// The hooks, by name.
    pub hooks: Vec<HookConfig>,
    /// The file, to look at it again.
    pub file: PathBuf,
    /// SHA-256 of the file, for the start record.
    pub digest: portcullis_model::Digest,
    /// What lay there before any of it was read: what differs later has changed since.
    pub as_found: AsFound,
    /// The file as it is written, to see what another one changes.
    raw: toml::Table,
}

/// Where and how much to listen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address and port; loopback only where there is no TLS. Default `127.0.0.1:8600`; port 0 picks a free one.
    pub address: SocketAddr,
    /// TLS. Without it, plain HTTP is spoken.
    pub tls: Option<TlsConfig>,
    /// Speaks plain HTTP on an address that others can reach: whoever is on the way reads secrets and payloads and can change answers.
    pub plain_http_beyond_loopback: bool,
    /// Threads that serve connections. Default: one a core. Each runs plugins inline for at most one slice.
    pub workers: usize,
    /// Connections at once; a further one waits in the kernel's queue. Default 1,024.
    pub connections: usize,
    /// Calls in progress at once; a further one gets the safe answer. Default 256.
    pub calls: usize,
    /// Time a caller has to send a request's head, and a connection may be idle, milliseconds; then it is closed. Default 75,000:
    /// longer than proxies keep an idle connection, so that none sends a call into one that we just closed.
    pub head_ms: u64,
    /// Time a caller has to send the body after the head, milliseconds; then the safe answer leaves. Default 1,000.
    pub body_ms: u64,
    /// Time the host waits at a stop for calls in progress, milliseconds. Default 5,000.
    pub drain_ms: u64,
}

/// The admin listener: health, readiness, metrics, status.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Whether there is one. Default: there is.
    pub enabled: bool,
    /// Address and port. It asks nobody who they are, so: loopback, unless `beyond_loopback`. Default `127.0.0.1:8601`; port 0 picks a free
    /// one.
    pub address: SocketAddr,
    /// Lets it listen where other machines can reach it: whoever does sees names of hooks and plugins, and counts. Default: no.
    pub beyond_loopback: bool,
    /// Whether a host is still ready whose release, trust root or certificate has ended. Default: no.
    pub expired_is_ready: bool,
}

/// Where traces go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; plain HTTP to this machine alone. Without it there are no
    /// traces.
    pub otlp: Option<String>,
    /// Which part of the calls is traced, 0 to 1; those that a proven caller traces always are. Default 0.1.
    pub ratio: f64,
    /// Traces that may wait for the collector; further ones are dropped and counted. Default 2,048.
    pub queue: usize,
}

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

impl ReleasePaths {
    /// These places, and everything else by default.
    pub fn new(set: PathBuf, plugins: PathBuf, settings: PathBuf, downgrade: PathBuf) -> Self {
        Self { set, plugins, settings, downgrade, after_grace: AfterGrace::default(), watch_ms: default_watch_ms() }
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

/// The record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The directory; made at the first start.
    pub directory: PathBuf,
    /// The log's origin: the name of its key and of its checkpoints, such as `hospital.example/hooks/2026`.
    pub origin: String,
    /// The key that signs checkpoints.
    pub signing_key: PathBuf,
    /// The key that seals what a record must not show.
    pub sealing_key: PathBuf,
    /// The key of the pseudonyms.
    pub pseudonym_key: PathBuf,
    /// What a record survives before its answer leaves. Default `disk`.
    #[serde(default)]
    pub commit: Commit,
    /// Size of a segment of the write-ahead log, bytes: a multiple of 4,096 from 2 MiB to 1 GiB. Two are written at the first start, and up to
    /// sixteen while the views are behind. Larger ones roll less often and make the next start after a crash longer. Default 16 MiB.
    #[serde(default = "default_segment_bytes")]
    pub segment_bytes: u64,
    /// A folder on another disk or machine for a second copy of the log's head and of what must not be forgotten: it finds out a host
    /// that was restored from an old backup. It must exist.
    #[serde(default)]
    pub witness: Option<PathBuf>,
    /// Whether the host refuses to start where the witness cannot be read. Default `false`: it starts, and says so.
    #[serde(default)]
    pub witness_required: bool,
    /// The log that the host goes on with when this one must not be signed any more.
    #[serde(default)]
    pub next: Option<NextLog>,
}

/// A log held ready.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextLog {
    /// Its directory; made when it is needed.
    pub directory: PathBuf,
    /// Its origin.
    pub origin: String,
    /// The key that signs its checkpoints; the trust root lists it under `log`.
    pub signing_key: PathBuf,
}

/// What a record survives before its answer leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Commit {
    /// A power loss: `fdatasync` before the answer.
    #[default]
    Disk,
    /// A crash of this process, not of the machine: the kernel has it before the answer, the disk soon after.
    Kernel,
}

/// One hook: an endpoint bound to a hook kind.
#[derive(Clone, Debug)]
pub struct HookConfig {
    /// Its name, which bindings of the release set use.
    pub name: String,
    /// Its kind.
    pub kind: HookKind,
    /// How its caller proves itself: in any of these ways.
    pub callers: Vec<CallerConfig>,
    /// What leaves when there is no decision.
    pub on_failure: OnFailure,
    /// Time from the request's head to the answer's last byte, milliseconds. Default: the kind's.
    pub budget_ms: u64,
    /// Of the budget, what is kept back for the record, milliseconds. Default 300.
    pub commit_ms: u64,
    /// Of the budget, what is kept back for writing the answer, milliseconds. Default 100.
    pub write_ms: u64,
    /// Of the budget, what is kept back for delivering a message, milliseconds: the longest time that one of its services has.
    pub deliver_ms: u64,
    /// Who delivers its messages; nobody where the hook says nothing, and then the platform does.
    pub delivery: Option<Chosen>,
    /// Largest body, bytes. Default 256 KiB.
    pub body_bytes: usize,
    /// What decrypts what its platform encrypts.
    pub decryption: Option<DecryptionConfig>,
    /// Which of `[resume.NAME]` takes its resume calls.
    pub resume: Option<String>,
    /// What concerns its wire contract.
    pub settings: Settings,
    /// SHA-256 of all that the file says of it: the same hook under another configuration, or another one.
    pub said: portcullis_model::Digest,
}

impl Config {
    /// Reads and checks a configuration file. Relative paths are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = stamp(path);
        let text =
            std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
        let base = path.parent().unwrap_or(Path::new(""));
        let mut config = Self::parse(&text, base).map_err(|what| ConfigError::Wrong { path: path.to_owned(), what })?;
        config.file = path.to_owned();
        config.as_found = AsFound { file: Some(file), folders: Some(fingerprint(&config)) };
        Ok(config)
    }

    fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| misread(text, &error))?;
        let mut config = Self {
            tenant: file.tenant,
            listen: file.listen,
            admin: file.admin,
            telemetry: file.telemetry,
            trust: file.trust,
            release: file.release,
            audit: file.audit,
            engine: file.engine,
            outbound: file.outbound,
            resume: file.resume,
            deliveries: deliveries(file.delivery, base)?,
            hooks: file.hook.into_iter().map(|hook| HookConfig::check(hook, base)).collect::<Result<_, _>>()?,
            file: PathBuf::new(),
            digest: crate::digest::sha256(text.as_bytes()),
            as_found: AsFound::default(),
            raw: text.parse().map_err(|error| misread(text, &error))?,
        };
        let said = config.raw.get("hook").and_then(toml::Value::as_array).into_iter().flatten();
        for (hook, said) in config.hooks.iter_mut().zip(said) {
            hook.said = crate::digest::sha256(said.to_string().as_bytes());
        }
        let release = &mut config.release;
        if release.downgrade.as_os_str().is_empty() {
            release.downgrade = release.set.with_file_name("downgrade.json");
        }
        for path in [&mut release.set, &mut release.plugins, &mut release.settings, &mut release.downgrade] {
            *path = base.join(&*path);
        }
        for path in {
            let trust = &mut config.trust;
            [&mut trust.root, &mut trust.roots, &mut trust.state, &mut trust.break_glass]
        } {
            *path = base.join(&*path);
        }
        let audit = &mut config.audit;
        for path in [&mut audit.directory, &mut audit.signing_key, &mut audit.sealing_key, &mut audit.pseudonym_key] {
            *path = base.join(&*path);
        }
        if let Some(witness) = &mut audit.witness {
            *witness = base.join(&*witness);
        }
        if let Some(next) = &mut audit.next {
            next.directory = base.join(&next.directory);
            next.signing_key = base.join(&next.signing_key);
        }
        config.engine.cache = base.join(&config.engine.cache);
        if let Some(tls) = &mut config.listen.tls {
            for path in [&mut tls.certificate, &mut tls.key].into_iter().chain(&mut tls.client_ca) {
                *path = base.join(&*path);
            }
        }
        for hook in &mut config.hooks {
            hook.reserve_for(&config.deliveries)?;
        }
        for file in config.hooks.iter_mut().filter_map(|hook| hook.decryption.as_mut()).flat_map(|it| &mut it.key_files)
        {
            *file = base.join(&*file);
        }
        for (name, resume) in &mut config.resume {
            if !is_name(name) {
                return Err(format!("the name in [resume.{name}] is not 1 to 64 letters, digits, `-`, `_` or `.`"));
            }
            resume.check(name, base)?;
        }
        let outbound = &mut config.outbound;
        for path in outbound.ca_file.iter_mut().chain([outbound.cache.get_or_insert_with(|| "cache".into())]) {
            *path = base.join(&*path);
        }
        config.check()?;
        Ok(config)
    }

    /// The settings that another configuration changes and that a running host cannot: all but hooks, `release`, `admin` and a few of
    /// `listen`.
    pub fn needs_restart(&self, other: &Self) -> Vec<String> {
        let mut names: BTreeSet<&String> = self.raw.keys().chain(other.raw.keys()).collect();
        names.retain(|name| !["hook", "release", "admin", "listen"].contains(&name.as_str()));
        let changed = names.into_iter().filter(|name| self.raw.get(*name) != other.raw.get(*name)).cloned();
        let (one, two) = (table(&self.raw, "listen"), table(&other.raw, "listen"));
        let mut listen: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
        listen.retain(|name| !["calls", "head_ms", "body_ms", "drain_ms"].contains(&name.as_str()));
        let of_listen = listen.into_iter().filter(|name| one.get(*name) != two.get(*name));
        changed.chain(of_listen.map(|name| format!("listen.{name}"))).collect()
    }

    fn check(&self) -> Result<(), String> {
        if !self.admin.address.ip().is_loopback() && !self.admin.beyond_loopback {
            return Err(format!(
                "admin.address `{}` is not a loopback address: whoever reaches it sees names of hooks and plugins, and counts; \
                 say `beyond_loopback = true` if that is meant",
                self.admin.address
            ));
        }
        let telemetry = &self.telemetry;
        within("telemetry.ratio", telemetry.ratio, 0.0, 1.0)?;
        within("telemetry.queue", telemetry.queue, 1, 65_536)?;
        if let Some(collector) = &telemetry.otlp {
            crate::outbound::address(collector).map_err(|error| format!("telemetry.otlp `{collector}`: {error}"))?;
        }
        let listen = &self.listen;
        if listen.tls.is_none() && !listen.address.ip().is_loopback() && !listen.plain_http_beyond_loopback {
            return Err(format!(
                "listen.address `{}` is not a loopback address, and plain HTTP must not leave this machine: set [listen.tls], or put a \
                 TLS-terminating proxy on this machine in front",
                listen.address
            ));
        }
        if let Some(tls) = &listen.tls {
            within("listen.tls.handshake_ms", tls.handshake_ms, 100, 60_000)?;
        }
        let client_ca = listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if let Some(hook) =
            self.hooks.iter().find(|it| !client_ca && it.callers.iter().any(|it| it.certificate.is_some()))
        {
            return Err(format!(
                "hook `{}`: caller.certificate needs listen.tls.client_ca, whose authorities it is held against",
                hook.name
            ));
        }
        within("listen.workers", listen.workers, 1, 256)?;
        within("listen.connections", listen.connections, 1, 100_000)?;
        within("listen.calls", listen.calls, 1, 100_000)?;
        within("listen.head_ms", listen.head_ms, 100, 600_000)?;
        within("listen.body_ms", listen.body_ms, 10, 60_000)?;
        within("listen.drain_ms", listen.drain_ms, 0, 600_000)?;
        for (name, value, least, most) in self.engine.bounds() {
            within(name, value, least, most)?;
        }
        let segment = self.audit.segment_bytes;
        if !segment.is_multiple_of(4_096) || !(2 << 20..=1 << 30).contains(&segment) {
            return Err(format!("audit.segment_bytes {segment} is not a multiple of 4,096 from 2 MiB to 1 GiB"));
        }
        if let Some(next) = &self.audit.next
            && (next.directory == self.audit.directory || next.origin == self.audit.origin)
        {
            return Err("audit.next has the directory or the origin of the log that it is to follow".to_owned());
        }
        if self.audit.witness_required && self.audit.witness.is_none() {
            return Err("audit.witness_required without audit.witness".to_owned());
        }
        if !is_name(&self.tenant) {
            return Err(format!("tenant `{}` is not 1 to 64 letters, digits, `-`, `_` or `.`", self.tenant));
        }
        let used: BTreeSet<_> =
            self.hooks.iter().filter_map(|hook| hook.delivery.as_ref()).flat_map(Chosen::names).collect();
        if let Some(idle) = self.deliveries.keys().find(|name| !used.contains(name.as_str())) {
            return Err(format!("delivery `{idle}` serves no hook"));
        }
        let mut names = BTreeSet::new();
        let mut paths = BTreeSet::new();
        for hook in &self.hooks {
            if let Some(name) = hook.resume.as_ref().filter(|name| !self.resume.contains_key(*name)) {
                return Err(format!("hook `{}`: there is no [resume.{name}]", hook.name));
            }
            if !names.insert(&hook.name) {
                return Err(format!("hook `{}` is there twice", hook.name));
            }
            for (path, _) in hook.kind.routes(&hook.settings.path) {
                if paths.contains(&path) {
                    return Err(format!("path `{path}` serves two hooks"));
                }
                paths.insert(path);
            }
        }
        if self.hooks.is_empty() {
            return Err("there is no [[hook]]: nothing would be answered".to_owned());
        }
        Ok(())
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8600)),
            tls: None,
            plain_http_beyond_loopback: false,
            workers: std::thread::available_parallelism().map_or(1, Into::into),
            connections: 1_024,
            calls: 256,
            head_ms: 75_000,
            body_ms: 1_000,
            drain_ms: 5_000,
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp: None, ratio: 0.1, queue: 2_048 }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 8601));
        Self { enabled: true, address, beyond_loopback: false, expired_is_ready: false }
    }
}

impl HookConfig {
    fn check(source: HookSource, base: &Path) -> Result<Self, String> {
        let name = source.name;
        if !is_name(&name) {
            return Err(format!("hook name `{name}` is not 1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        let kind = HookKind::from_name(&source.kind).ok_or_else(|| {
            let known: Vec<_> = HookKind::ALL.iter().map(|kind| kind.name()).collect();
            format!("hook `{name}`: kind `{}` is not spoken here; known are {}", source.kind, known.join(", "))
        })?;
        if !source.path.starts_with('/') {
            return Err(format!("hook `{name}`: path `{}` does not start with `/`", source.path));
        }
        let on_failure = match (source.on_failure, source.restricted_applications) {
            (OnFailureWord::Closed, None) => OnFailure::Closed,
            (OnFailureWord::Open, None) => OnFailure::Open,
            (OnFailureWord::Restricted, Some(applications)) if kind.offers_restricted() => {
                OnFailure::Restricted { applications }
            }
            (OnFailureWord::Restricted, None) if kind.offers_restricted() => {
                return Err(format!("hook `{name}`: on_failure = \"restricted\" needs restricted_applications"));
            }
            (OnFailureWord::Restricted, _) => {
                return Err(format!("hook `{name}`: {} offers no restricted answer", kind.name()));
            }
            (_, Some(_)) => {
                return Err(format!("hook `{name}`: restricted_applications without on_failure = \"restricted\""));
            }
        };
        let needed = [
            (Need::Decryption, source.decryption.is_some(), "decryption"),
            (Need::Resume, source.resume.is_some(), "resume"),
        ];
        for (need, given, setting) in needed {
            if kind.needs(need) != given {
                let word = if given { "has no use for" } else { "needs" };
                return Err(format!("hook `{name}`: {} {word} `{setting}`", kind.name()));
            }
        }
        if source.decryption.as_ref().is_some_and(|decryption| decryption.key_files.is_empty()) {
            return Err(format!("hook `{name}`: decryption.key_files is empty"));
        }
        let audience = source.decryption.as_ref().and_then(|decryption| decryption.audience.clone());
        let settings = Settings {
            path: source.path,
            entitlements: source.entitlements,
            public_url: source.public_url,
            subject: source.subject,
            secrets: source.secrets,
            audience,
            ..Settings::default()
        };
        let settings = contract(&name, kind, settings, source.mapping)?;
        let callers = source.caller.check(kind.name(), base).map_err(|what| format!("hook `{name}`: {what}"))?;
        let hook = Self {
            kind,
            callers,
            on_failure,
            budget_ms: source.budget_ms.unwrap_or_else(|| millis(kind.default_budget())),
            commit_ms: source.commit_ms,
            write_ms: source.write_ms,
            deliver_ms: 0,
            delivery: source.delivery,
            body_bytes: source.body_bytes,
            decryption: source.decryption,
            resume: source.resume,
            settings,
            said: portcullis_model::Digest([0; 32]),
            name,
        };
        within(&format!("hook `{}`: body_bytes", hook.name), hook.body_bytes, 1, LARGEST_BODY)?;
        let limit = millis(kind.platform_limit());
        if hook.budget_ms >= limit {
            return Err(format!(
                "hook `{}`: budget_ms {} is not below the platform's own limit of {limit}",
                hook.name, hook.budget_ms
            ));
        }
        Ok(hook)
    }

    /// Keeps back what its services may take, and sees that something is left.
    fn reserve_for(&mut self, deliveries: &BTreeMap<String, DeliveryConfig>) -> Result<(), String> {
        if let Some(chosen) = &self.delivery {
            if !self.kind.delivers() {
                return Err(format!("hook `{}`: {} has no messages to deliver", self.name, self.kind.name()));
            }
            chosen.check().map_err(|why| format!("hook `{}`: {why}", self.name))?;
            for name in chosen.names() {
                let service = deliveries.get(name);
                let service = service.ok_or_else(|| format!("hook `{}`: there is no [delivery.{name}]", self.name))?;
                self.deliver_ms = self.deliver_ms.max(service.timeout_ms);
            }
        }
        if self.commit_ms + self.write_ms + self.deliver_ms >= self.budget_ms {
            let besides =
                if self.deliver_ms > 0 { ", write_ms and the delivery's timeout_ms" } else { " and write_ms" };
            return Err(format!(
                "hook `{}`: commit_ms{besides} leave nothing of budget_ms {}",
                self.name, self.budget_ms
            ));
        }
        Ok(())
    }
}

impl HookConfig {
    /// What an operator should know although it is allowed.
    pub fn warnings(&self) -> Option<String> {
        let wanted = self.settings.path.trim_end_matches('/');
        match &self.settings.public_url {
            None if self.kind == HookKind::Authzen => Some(format!(
                "hook `{}`: without public_url it publishes no metadata, so callers have to be told its endpoints",
                self.name
            )),
            Some(url) if path_of(url).trim_end_matches('/') != wanted => Some(format!(
                "hook `{}`: public_url `{url}` does not end in the hook's path `{}`; what stands in front has to translate",
                self.name, self.settings.path
            )),
            _ => None,
        }
    }
}

/// What concerns the wire contract, checked: some settings are for some kinds only, and what a kind cannot do without must be there.
fn contract(
    name: &str,
    kind: HookKind,
    mut settings: Settings,
    mapping: Option<MappingSource>,
) -> Result<Settings, String> {
    let alien = |setting: &str| Err(format!("hook `{name}`: {} has no {setting}", kind.name()));
    match &settings.public_url {
        Some(_) if kind != HookKind::Authzen => return alien("public_url"),
        Some(url) if !is_identifier(url) => {
            return Err(format!("hook `{name}`: public_url `{url}` is not an https URL without query and fragment"));
        }
        _ => {}
    }
    if settings.subject.is_some() && kind != HookKind::PingPdp {
        return alien("subject");
    }
    let takes_secrets =
        matches!(kind, HookKind::PingSideband | HookKind::PingPdp | HookKind::Authzen | HookKind::Generic);
    if !settings.secrets.is_empty() && !takes_secrets {
        return alien("secrets");
    }
    let is_pointer = |pointer: &String| pointer.starts_with('/') && split_pointer(pointer).is_some();
    for (setting, pointers) in [("subject", settings.subject.as_slice()), ("secrets", settings.secrets.as_slice())] {
        if let Some(wrong) = pointers.iter().find(|pointer| !is_pointer(pointer)) {
            return Err(format!("hook `{name}`: {setting} `{wrong}` is not a json pointer, which begins with `/`"));
        }
    }
    settings.mapping = match (mapping, kind == HookKind::Generic) {
        (Some(_), false) => return alien("mapping"),
        (None, true) => return Err(format!("hook `{name}`: generic needs a mapping, or nothing could be read")),
        (None, false) => None,
        (Some(mapping), true) => {
            let compiled = Mapping::compile(mapping).map_err(|error| format!("hook `{name}`: {error}"))?;
            Some(Arc::new(compiled))
        }
    };
    Ok(settings)
}

/// Whether callers can know a hook by this: AuthZEN's *policy decision point* identifier.
fn is_identifier(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\"\\<>^`{|}@".contains(&byte);
    !host.is_empty() && !host.starts_with(':') && rest.bytes().all(plain)
}

fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
}

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
    audit: Audit,
    #[serde(default)]
    engine: EngineConfig,
    #[serde(default)]
    outbound: OutboundConfig,
    #[serde(default)]
    resume: BTreeMap<String, ResumeConfig>,
    #[serde(default)]
    delivery: BTreeMap<String, DeliverySource>,
    #[serde(default)]
    hook: Vec<HookSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HookSource {
    name: String,
    kind: String,
    path: String,
    caller: CallerSources,
    #[serde(default)]
    on_failure: OnFailureWord,
    restricted_applications: Option<Vec<String>>,
    budget_ms: Option<u64>,
    #[serde(default = "default_commit_ms")]
    commit_ms: u64,
    #[serde(default = "default_write_ms")]
    write_ms: u64,
    #[serde(default = "default_body_bytes")]
    body_bytes: usize,
    #[serde(default)]
    entitlements: Vec<String>,
    public_url: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    secrets: Vec<String>,
    mapping: Option<MappingSource>,
    decryption: Option<DecryptionConfig>,
    resume: Option<String>,
    delivery: Option<Chosen>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnFailureWord {
    #[default]
    Closed,
    Restricted,
    Open,
}

fn deliveries(
    sources: BTreeMap<String, DeliverySource>,
    base: &Path,
) -> Result<BTreeMap<String, DeliveryConfig>, String> {
    let check = |(name, source): (String, DeliverySource)| {
        if !is_name(&name) {
            return Err(format!("delivery name `{name}` is not 1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        let checked = source.check(base).map_err(|why| format!("delivery `{name}`: {why}"))?;
        Ok((name, checked))
    };
    sources.into_iter().map(check).collect()
}

/// What is wrong, at which line and setting. Never the line itself: whoever mistakes a key's file for this one must not find the
/// key in a log.
fn misread(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count();
    let setting = text.lines().nth(line).and_then(|line| line.split_once('=')).map_or("", |(name, _)| name.trim());
    let place = if is_name(setting) { format!("line {}, `{setting}`", line + 1) } else { format!("line {}", line + 1) };
    format!("{place}: {}", error.message())
}

/// A table of a file; empty where there is none.
fn table(raw: &toml::Table, name: &str) -> toml::Table {
    raw.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default()
}

/// Refuses a number that is out of bounds.
fn within<N: PartialOrd + std::fmt::Display>(name: &str, value: N, least: N, most: N) -> Result<(), String> {
    if value < least || value > most {
        return Err(format!("{name} is {value}, not {least} to {most}"));
    }
    Ok(())
}

/// The largest body there may be: together with its answer it must fit the sealed part of a record.
const LARGEST_BODY: usize = 256 << 10;

/// A name that is safe in paths, records and metrics.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn default_tenant() -> String {
    "default".to_owned()
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

fn default_watch_ms() -> u64 {
    1_000
}

fn default_segment_bytes() -> u64 {
    16 << 20
}

fn default_commit_ms() -> u64 {
    300
}

fn default_write_ms() -> u64 {
    100
}

fn default_body_bytes() -> usize {
    256 << 10
}

//! From files to a generation: read, verify, have configured, snapshotted and compiled, load.
//!
//! Invariant: nothing runs that did not pass every check of `trust`; a release that fails anywhere changes nothing. Reads files and
//! waits for the process that compiles, so it never runs on a thread that serves connections.

pub mod candidate;
mod checks;
pub mod expiry;
mod index;
mod last_good;
mod read;
mod records;
mod rejected_components;
pub mod self_test;
mod status;
mod unenforced;

use crate::bindings::generation::LeftOut;
use crate::fs::folder::stem;
use crate::trust::state::ClockUnconfirmed;
use crate::trust::view::Trusted;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portcullis_engine::{Engine, PrepareError};
use portcullis_model::{Cause, Digest, Millis, Mode, sha256};
use portcullis_trust::{
    Activation, Active, Downgrade, Envelope, Manifest, PluginEntry, Refusal, RefusalCode,
    ReleaseSet, TrustRoot, VerifiedPlugin, release_is_valid_under, verify_issued, verify_manifest,
    verify_plugin, verify_release,
};
use thiserror::Error;

use crate::bindings::generation::{Binding, Bindings, Generation};
use crate::config::{HookConfig, ReleasePaths};
use crate::loading::candidate::CandidateSource;
use crate::observe::progress::Progress;
use crate::trust::view::Against;

pub use crate::fs::folder::DigestCache;
pub use checks::{SourceFiles, check_binding, check_capabilities, check_source, promoted};
pub use index::FileIndex;
pub use last_good::LastGood;
pub use read::{FolderFacts, ReadContext};
pub use records::{activation_record, altered_record, rejected_component_record, rejection_record};
pub use rejected_components::{
    MAX_CHECKED_BYTES, MAX_SCANNED_BYTES, RejectedComponent, RejectedComponents,
};
pub use status::ReleaseStatus;
pub use unenforced::{HookIdentity, close_bound};

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
        failed: self_test::SelfTestError,
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

impl From<ClockUnconfirmed> for ReleaseError {
    fn from(ClockUnconfirmed: ClockUnconfirmed) -> Self {
        Self::ClockUnconfirmed
    }
}

/// The release set in the folders, and what it lists of them.
pub struct ReleaseFiles {
    plugins: PathBuf,
    settings_folder: PathBuf,
    set_file: PathBuf,
    set: Vec<u8>,
    /// Whether a release role that this host trusts has signed the set.
    signed: bool,
    downgrade: Option<Vec<u8>>,
    /// The manifests that the set lists.
    envelopes: Vec<(PathBuf, Vec<u8>)>,
    /// Their components.
    components: HashMap<Digest, (PathBuf, Vec<u8>)>,
    /// Files beside listed manifests that are not their components, by the digest that is wanted.
    altered: HashMap<Digest, AlteredComponent>,
    settings: HashMap<Digest, String>,
    suites: HashMap<Digest, Vec<u8>>,
    /// The paths of listed components, settings and suites, whether or not they are held.
    present: HashMap<Digest, PathBuf>,
    /// Files that could not be read, and why.
    unreadable: Vec<(PathBuf, String)>,
    facts: FolderFacts,
    /// The start that waits for it.
    progress: Option<Arc<Progress>>,
}

/// A component that is not the one that was signed, as far as that is known of it.
struct AlteredComponent {
    path: PathBuf,
    bytes: u64,
    /// Its digest, where its size alone does not tell it from the signed one.
    digest: Option<Digest>,
}

impl AlteredComponent {
    /// Refuses it.
    fn check(&self, manifest: &Manifest) -> Result<(), Refusal> {
        let unknown = || sha256(self.path.as_os_str().as_encoded_bytes());
        manifest.check_measured(self.bytes, || self.digest.unwrap_or_else(unknown))
    }
}

/// How much of a release must be ready before it may come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All of it: what decides until then goes on meanwhile.
    Everything,
    /// The part that can be had of the last good release, because nothing else decides: a binding
    /// that cannot be made ready stops its own hook and no other.
    Available,
    /// All of it, and every problem of one that is refused: for an operator who is to correct it.
    AllProblems,
}

/// A plugin that a set lists, and what became of it.
enum PluginState<'a> {
    /// It may run.
    Usable(Arc<VerifiedPlugin>, &'a [u8]),
    /// It is revoked.
    Revoked,
    /// It cannot be had from the copy of the last good release.
    Unavailable(&'static str, String),
    /// It is refused, and so is the set.
    Refused,
}

/// Plugins by their ids.
type Plugins<'a> = BTreeMap<String, PluginState<'a>>;

/// A set that is verified, and what it was verified by.
struct VerifiedSet<'t> {
    release: ReleaseSet,
    /// The digest of its signed bytes.
    set: Digest,
    /// The trust root under which it was signed, and the newest.
    root: &'t Arc<TrustRoot>,
    newest: &'t Arc<TrustRoot>,
    /// The time at which it was verified.
    at: Millis,
    /// Its activation, where it was active last.
    again: Option<Active>,
    activation: Activation,
}

/// The problems of a release.
struct ProblemList {
    demand: Completeness,
    /// Those after which the checks went on.
    list: Vec<ReleaseError>,
}

impl ProblemList {
    fn new(demand: Completeness) -> Self {
        Self { demand, list: Vec::new() }
    }

    /// Goes on after a problem only where all are wanted.
    fn add(&mut self, error: ReleaseError) -> Result<(), ReleaseError> {
        if self.demand != Completeness::AllProblems {
            return Err(error);
        }
        self.list.push(error);
        Ok(())
    }

    /// The outcome of a check; none after a problem.
    fn keep<T>(&mut self, checked: Result<T, ReleaseError>) -> Result<Option<T>, ReleaseError> {
        match checked {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.add(error).map(|()| None),
        }
    }
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
            | Self::ThreadSpawn { .. } => None,
            Self::Refused { plugin, .. } => plugin.as_deref(),
            Self::Engine { plugin, .. }
            | Self::Missing { plugin, .. }
            | Self::SelfTest { plugin, .. }
            | Self::Binding { plugin, .. } => Some(plugin),
        }
    }
}

impl ReleaseFiles {
    /// Tells a start how far activating has come.
    pub fn report_to(&mut self, progress: &Arc<Progress>) {
        self.progress = Some(Arc::clone(progress));
    }

    fn report(&self, what: &str, number: usize, total: usize, plugin: &str) {
        if let Some(progress) = &self.progress {
            progress.step(format!("{what} plugin {number} of {total}: {plugin}"));
        }
    }

    /// The digest of the release set's signed bytes; of the file where it is no envelope.
    pub fn set_digest(&self) -> Digest {
        Envelope::parse(&self.set)
            .map_or_else(|_| sha256(&self.set), |envelope| sha256(envelope.unverified_payload()))
    }

    /// When the set, and what permits it to be older, was signed last; `None` where neither is
    /// signed by enough keys of `root`.
    pub fn issued(&self, root: &TrustRoot) -> Option<Millis> {
        let envelopes = [Some(&self.set), self.downgrade.as_ref()];
        let issued = envelopes.into_iter().flatten().filter_map(|it| verify_issued(root, it).ok());
        issued.max()
    }

    /// Verifies everything, configures and snapshots every binding. The longest step of a swap: seconds, not microseconds.
    ///
    /// A set that was active last is held against the moment and the trust root of its activation, until its grace is over; what has
    /// been revoked since stands still in it. Every other set is held against now, the newest root and everything that is remembered.
    ///
    /// # Errors
    /// The first problem.
    pub fn prepare(
        &self,
        trusted: &Trusted<'_>,
        hooks: &[HookConfig],
        engine: &Engine,
        now: Millis,
        demand: Completeness,
    ) -> Result<Generation, ReleaseError> {
        self.prepare_release(trusted, hooks, engine, now, &mut ProblemList::new(demand))
    }

    /// Does the same, and goes on after a problem, as far as what comes next can be judged at all.
    ///
    /// # Errors
    /// Every problem, never none, in the order of the checks.
    pub fn prepare_all(
        &self,
        trusted: &Trusted<'_>,
        hooks: &[HookConfig],
        engine: &Engine,
        now: Millis,
    ) -> Result<Generation, Vec<ReleaseError>> {
        let mut problems = ProblemList::new(Completeness::AllProblems);
        let generation = self.prepare_release(trusted, hooks, engine, now, &mut problems);
        match generation.map_err(|error| problems.list.push(error)) {
            Ok(generation) if problems.list.is_empty() => Ok(generation),
            _ => Err(problems.list),
        }
    }

    fn prepare_release(
        &self,
        trusted: &Trusted<'_>,
        hooks: &[HookConfig],
        engine: &Engine,
        now: Millis,
        problems: &mut ProblemList,
    ) -> Result<Generation, ReleaseError> {
        let verified = self.verify_set(trusted, now, problems)?;
        let plugins = self.verify_plugins(trusted, &verified, problems)?;
        if verified.again.is_none() {
            // A release that passed here once, and is only started again, is not kept from starting
            // by a busy machine.
            self.self_test(&plugins, engine, problems)?;
        }
        let (hooks, left_out) =
            self.prepare_bindings(trusted, hooks, engine, &verified, &plugins, problems)?;
        let VerifiedSet { release, set, root, at, activation, .. } = verified;
        Ok(Generation {
            number: release.version,
            set,
            expires: release.expires,
            activation,
            root: root.version,
            verified: at,
            trust_snapshot: Arc::new(Against::new(trusted)),
            hooks,
            stops: Arc::default(),
            left_out,
            unenforced: Vec::new(),
            last_good: Arc::new(AtomicBool::new(problems.demand == Completeness::Available)),
            release,
        })
    }

    /// Verifies the set: its signatures, its time, and whether it may follow what was active.
    fn verify_set<'t>(
        &self,
        trusted: &Trusted<'t>,
        now: Millis,
        problems: &mut ProblemList,
    ) -> Result<VerifiedSet<'t>, ReleaseError> {
        let refused = |refusal| ReleaseError::Refused { plugin: None, refusal };
        let (set, newest) = (self.set_digest(), trusted.roots.newest());
        let again = trusted.history.active.filter(|active| active.set == set);
        let (root, at) = again
            .map_or((newest, now), |active| (trusted.roots.version(active.root), active.since));
        let release = verify_release(root, &self.set, at).map_err(refused)?;
        problems.keep(release_is_valid_under(root, newest, &self.set).map_err(refused))?;
        let activation = admit(trusted, &release, set, self.downgrade.as_deref(), now);
        let activation = problems.keep(activation.map_err(refused))?.unwrap_or(Activation::New);
        let count = release
            .bindings
            .iter()
            .map(|source| 1 + usize::from(source.candidate.is_some()))
            .sum::<usize>();
        if count > MAX_BINDINGS {
            let source = release.bindings.first();
            let name = |of: fn(&portcullis_trust::Binding) -> &String| {
                source.map(of).cloned().unwrap_or_default()
            };
            problems.add(ReleaseError::Binding {
                hook: name(|source| &source.hook),
                plugin: name(|source| &source.plugin),
                why: format!(
                    "the release set has {count} bindings and candidates; its record holds at most \
                     {MAX_BINDINGS}"
                ),
            })?;
        }
        Ok(VerifiedSet { release, set, root, newest, at, again, activation })
    }

    /// Verifies the plugins that the set lists: live ones first, then candidates.
    fn verify_plugins<'s>(
        &'s self,
        trusted: &Trusted<'_>,
        verified: &VerifiedSet<'_>,
        problems: &mut ProblemList,
    ) -> Result<[Plugins<'s>; 2], ReleaseError> {
        let VerifiedSet { release, root, newest, at, .. } = verified;
        let mut verify = |entries: &BTreeMap<String, PluginEntry>| {
            let mut plugins = BTreeMap::new();
            for (id, entry) in entries {
                // Checked before any file: a plugin that is known to be bad may be gone already.
                let covered = trusted.history.revoked.covers(entry.manifest, id, entry.serial);
                let plugin = if covered {
                    PluginState::Revoked
                } else {
                    let listed = self.plugin_state(root, newest, id, entry, *at, problems.demand);
                    problems.keep(listed)?.unwrap_or(PluginState::Refused)
                };
                plugins.insert(id.clone(), plugin);
            }
            Ok::<_, ReleaseError>(plugins)
        };
        Ok([verify(&release.plugins)?, verify(&release.candidates)?])
    }

    /// Has every plugin that may run pass the suite that its manifest names.
    fn self_test(
        &self,
        plugins: &[Plugins<'_>; 2],
        engine: &Engine,
        problems: &mut ProblemList,
    ) -> Result<(), ReleaseError> {
        for plugins in plugins {
            for (number, (id, plugin)) in (1..).zip(plugins) {
                let PluginState::Usable(verified, component) = plugin else { continue };
                self.report("testing", number, plugins.len(), id);
                let suite = |digest| self.suites.get(&digest).map(Vec::as_slice);
                let tested = self_test::self_test(&verified.manifest, component, engine, suite);
                let failed = |failed| ReleaseError::SelfTest { plugin: id.clone(), failed };
                problems.keep(tested.map_err(failed))?;
            }
        }
        Ok(())
    }

    /// Prepares every binding: checks it, and configures, compiles and snapshots its plugin.
    /// Returns the bindings of each hook, and those of the last good release that could not be
    /// prepared.
    fn prepare_bindings(
        &self,
        trusted: &Trusted<'_>,
        hooks: &[HookConfig],
        engine: &Engine,
        verified: &VerifiedSet<'_>,
        [plugins, candidates]: &[Plugins<'_>; 2],
        problems: &mut ProblemList,
    ) -> Result<(Vec<Bindings>, Vec<LeftOut>), ReleaseError> {
        let (release, demand) = (&verified.release, problems.demand);
        let mut bound: Vec<Bindings> = hooks.iter().map(|_| Bindings::default()).collect();
        let mut left_out = Vec::new();
        for (number, source) in (1..).zip(&release.bindings) {
            let mut leave_out = |error: ReleaseError| match demand {
                Completeness::Available if !error.is_transient() => {
                    left_out.push(LeftOut::new(source, error.code(), &error.to_string()));
                    Ok(())
                }
                Completeness::Available | Completeness::Everything | Completeness::AllProblems => {
                    problems.add(error)
                }
            };
            let place = bound.iter_mut().zip(hooks).find(|(_, hook)| hook.name == source.hook);
            let Some((place, hook)) = place else {
                // Under another name the hook may still be there: see
                // `Generation::stop_unenforced`.
                leave_out(invalid_binding(source, "the configuration has no hook of this name"))?;
                continue;
            };
            let enforces = source.mode == Mode::Enforce;
            let Some(plugin) = plugins.get(source.plugin.as_str()) else {
                problems
                    .add(invalid_binding(source, "the release set does not list this plugin"))?;
                continue;
            };
            let (verified, component) = match plugin {
                PluginState::Usable(verified, component) => (verified, *component),
                // The problems name what is wrong with it.
                PluginState::Refused => continue,
                PluginState::Revoked => {
                    if enforces {
                        place.stop(&source.plugin, Cause::PluginRevoked);
                    }
                    continue;
                }
                PluginState::Unavailable(code, sentence) => {
                    if enforces {
                        place.stop(&source.plugin, Cause::PluginUnavailable);
                    }
                    left_out.push(LeftOut::new(source, code, sentence));
                    continue;
                }
            };
            if place.with_candidates().count() + usize::from(source.candidate.is_some())
                >= MAX_HOOK_BINDINGS
            {
                problems.add(invalid_binding(
                    source,
                    format!(
                        "the hook has more than {MAX_HOOK_BINDINGS} bindings and candidates, which \
                         is the limit"
                    ),
                ))?;
                continue;
            }
            self.report("preparing", number, release.bindings.len(), &source.plugin);
            let made =
                self.prepare_binding(hook, source, verified, component, engine, release.version);
            let mut binding = match made {
                Ok(binding) => binding,
                Err(error) => {
                    leave_out(error)?;
                    if enforces {
                        place.stop(&source.plugin, Cause::PluginUnavailable);
                    }
                    continue;
                }
            };
            // A candidate that is revoked is nobody's: the live one decides.
            let tried = source.candidate.as_ref().and_then(|candidate| {
                let plugin =
                    candidates.get(&candidate.plugin).or_else(|| plugins.get(&candidate.plugin))?;
                let PluginState::Usable(verified, component) = plugin else { return None };
                Some(CandidateSource { source, candidate, verified, component })
            });
            if let Some(tried) = tried {
                match candidate::prepare_candidate(self, trusted, &binding, hook, &tried, engine) {
                    Ok(rollout) => binding.candidate = Some(rollout),
                    Err(error) => leave_out(error)?,
                }
            }
            place.add(Arc::new(binding));
        }
        Ok((bound, left_out))
    }

    /// Verifies the files of a release that is in force against the set that lies there: a release
    /// may be active while its files are altered or gone, and then only the host's own copy lets it
    /// start again.
    ///
    /// # Errors
    /// The reason that keeps the files from being taken at the next start.
    pub fn recheck(
        &self,
        trusted: &Trusted<'_>,
        active: &Generation,
    ) -> Result<ReleaseSet, ReleaseError> {
        let refused = |refusal| ReleaseError::Refused { plugin: None, refusal };
        let (root, at) = (trusted.roots.version(active.root), active.verified);
        let release = verify_release(root, &self.set, at).map_err(refused)?;
        release_is_valid_under(root, trusted.roots.newest(), &self.set).map_err(refused)?;
        for (id, entry) in release.entries() {
            if !trusted.history.revoked.covers(entry.manifest, id, entry.serial) {
                self.plugin(root, id, entry, at)?;
            }
        }
        for (digest, plugin) in release.settings() {
            self.settings_of(digest, plugin)?;
        }
        Ok(release)
    }

    /// Returns signatures of the set and of the manifests that it lists which count for nothing
    /// under this root, each with its file: somebody altered the file, or signed it wrongly.
    pub fn rejected_signatures(&self, root: &TrustRoot) -> Vec<(PathBuf, Refusal)> {
        let release = ReleaseSet::unverified(&self.set).ok();
        let entries = release.iter().flat_map(ReleaseSet::entries);
        let files = entries.filter_map(|(_, entry)| self.manifest(entry.manifest));
        [(&self.set_file, self.set.as_slice())]
            .into_iter()
            .chain(files)
            .flat_map(|(path, envelope)| {
                let rejected = root.rejected_signatures(envelope).unwrap_or_default();
                rejected.into_iter().map(|refusal| (path.clone(), refusal))
            })
            .collect()
    }

    /// The files that a release set names, for a copy of it: the folder and ending of each, and its
    /// bytes. Files of revoked plugins may be missing; suites are not needed to start again.
    fn named_files(&self, release: &ReleaseSet) -> Vec<(&'static str, &'static str, &[u8])> {
        let mut needed = Vec::new();
        for (_, entry) in release.entries() {
            let Some((_, envelope)) = self.manifest(entry.manifest) else { continue };
            needed.push(("plugins", "json", envelope));
            let component = Manifest::unverified(envelope)
                .ok()
                .and_then(|manifest| self.components.get(&manifest.wasm));
            needed.extend(component.map(|(_, bytes)| ("plugins", "wasm", bytes.as_slice())));
        }
        let settings = release.settings();
        let settings = settings.keys().filter_map(|digest| self.settings.get(digest));
        needed.extend(settings.map(|text| ("settings", "json", text.as_bytes())));
        needed
    }

    /// One binding: checked, and its plugin made ready.
    fn prepare_binding(
        &self,
        hook: &HookConfig,
        source: &portcullis_trust::Binding,
        verified: &Arc<VerifiedPlugin>,
        component: &[u8],
        engine: &Engine,
        generation: u64,
    ) -> Result<Binding, ReleaseError> {
        let settings = self.settings(source)?;
        let manifest = &verified.manifest;
        checks::check_binding(hook.kind, source, manifest, component, settings)?;
        let plugin = engine
            .prepare(component, settings, manifest.limits)
            .map_err(|refused| ReleaseError::Engine { plugin: source.plugin.clone(), refused })?;
        let role = source.mode.name();
        Ok(Binding::new(Arc::clone(verified), hook, source, role, plugin, generation))
    }

    /// One plugin of a set, by what may become of it.
    fn plugin_state(
        &self,
        root: &TrustRoot,
        newest: &TrustRoot,
        id: &str,
        entry: &PluginEntry,
        at: Millis,
        demand: Completeness,
    ) -> Result<PluginState<'_>, ReleaseError> {
        match self.plugin(root, id, entry, at) {
            Ok((verified, _)) if verified.is_valid_under(newest).is_err() => {
                Ok(PluginState::Revoked)
            }
            Ok((verified, component)) => Ok(PluginState::Usable(verified, component)),
            Err(error) if demand == Completeness::Available && !error.is_transient() => {
                Ok(PluginState::Unavailable(error.code(), error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// One live plugin, verified, with its component.
    fn plugin(
        &self,
        root: &TrustRoot,
        id: &str,
        entry: &PluginEntry,
        now: Millis,
    ) -> Result<(Arc<VerifiedPlugin>, &[u8]), ReleaseError> {
        let refused = |refusal| ReleaseError::Refused { plugin: Some(id.to_owned()), refusal };
        let missing = |what, digest| ReleaseError::Missing {
            plugin: id.to_owned(),
            what,
            digest,
            folder: self.plugins.clone(),
        };
        let (path, envelope) =
            self.manifest(entry.manifest).ok_or_else(|| missing("manifest", entry.manifest))?;
        let manifest = verify_manifest(root, envelope, now).map_err(refused)?.manifest;
        let Some((_, component)) = self.components.get(&manifest.wasm) else {
            if let Some(altered) = self.altered.get(&manifest.wasm) {
                altered.check(&manifest).map_err(refused)?;
            }
            // One that could not be read is not missing.
            let unread = self.unreadable.iter().find(|(unread, _)| stem(unread) == stem(path));
            return Err(unread.map_or_else(
                || missing("component", manifest.wasm),
                |(path, why)| ReleaseError::Unreadable { path: path.clone(), why: why.clone() },
            ));
        };
        let verified = verify_plugin(root, entry, envelope, component, now).map_err(refused)?;
        Ok((Arc::new(verified), component))
    }

    /// The settings of a binding, by digest.
    pub(crate) fn settings(
        &self,
        source: &portcullis_trust::Binding,
    ) -> Result<&str, ReleaseError> {
        if source.settings == sha256(ReleaseSet::NO_SETTINGS) {
            return Ok("{}");
        }
        self.settings_of(source.settings, &source.plugin)
    }

    /// Settings that lie in a file, by digest.
    fn settings_of(&self, digest: Digest, plugin: &str) -> Result<&str, ReleaseError> {
        let missing = || ReleaseError::Missing {
            plugin: plugin.to_owned(),
            what: "settings",
            digest,
            folder: self.settings_folder.clone(),
        };
        self.settings.get(&digest).map(String::as_str).ok_or_else(missing)
    }
}

fn invalid_binding(source: &portcullis_trust::Binding, why: impl Into<String>) -> ReleaseError {
    let (hook, plugin) = (source.hook.clone(), source.plugin.clone());
    ReleaseError::Binding { hook, plugin, why: why.into() }
}

/// Whether a set may come into force, by itself or by a downgrade that lies beside it.
pub fn admit(
    trusted: &Trusted<'_>,
    release: &ReleaseSet,
    set: Digest,
    downgrade: Option<&[u8]>,
    now: Millis,
) -> Result<Activation, Refusal> {
    let alone = trusted.history.admit(release, set, None, now);
    let (Err(refusal), Some(envelope)) = (&alone, downgrade) else { return alone };
    if !matches!(refusal.kind(), RefusalCode::ReleaseOlder) {
        return alone;
    }
    let downgrade = Downgrade::verify(trusted.roots.newest(), envelope, now)?;
    trusted.history.admit(release, set, Some((&downgrade, sha256(envelope))), now)
}

/// The digest of the signed bytes of the set that lies there.
pub fn current_set_digest(paths: &ReleasePaths) -> Option<Digest> {
    set_digest(&read::read_set(paths).ok()?)
}

/// The digest of the signed bytes of a set.
pub fn set_digest(set: &[u8]) -> Option<Digest> {
    Envelope::parse(set).ok().map(|envelope| sha256(envelope.unverified_payload()))
}

/// The set that lies there, where it is signed and its time is not over.
pub fn verified_current_set(
    paths: &ReleasePaths,
    root: &TrustRoot,
    now: Millis,
) -> Option<ReleaseSet> {
    verify_release(root, &set_bytes(paths)?, now).ok()
}

/// The set's file, whatever it holds.
pub fn set_bytes(paths: &ReleasePaths) -> Option<Vec<u8>> {
    read::read_set(paths).ok()
}

fn about(plugin: &Option<String>) -> String {
    plugin.as_ref().map(|id| format!("plugin `{id}`: ")).unwrap_or_default()
}

/// How the file of a suite ends, which is no envelope.
const SUITE: &str = ".suite.json";
/// The most bindings of one release set: what the leaf of its activation has room for.
const MAX_BINDINGS: usize = 64;
/// The most bindings of one hook: what a leaf has room for.
const MAX_HOOK_BINDINGS: usize = 8;

//! From files to a generation: read, verify, have configured, snapshotted and compiled, load.
//!
//! Invariant: nothing runs that did not pass every check of `trust`; a release that fails anywhere changes nothing. Reads files and
//! waits for the process that compiles, so it never runs on a thread that serves connections.

pub mod candidate;
mod checks;
mod current_set;
mod error;
pub mod expiry;
mod index;
mod last_good;
mod prepare_bindings;
mod problems;
mod read;
mod records;
mod rejected_components;
pub mod self_test;
mod status;
mod unenforced;
mod verify;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portcullis_engine::Engine;
use portcullis_model::{Digest, Millis, sha256};
use portcullis_trust::{
    Envelope, Manifest, Refusal, ReleaseSet, TrustRoot, release_is_valid_under, verify_issued,
    verify_release,
};

use crate::bindings::generation::Generation;
use crate::config::HookConfig;
use crate::observe::progress::Progress;
use crate::trust::view::{TrustSnapshot, TrustView};

pub use crate::fs::folder::DigestCache;
pub use checks::{SourceFiles, check_binding, check_capabilities, check_source, promoted};
pub use current_set::{current_set_digest, set_bytes, set_digest, verified_current_set};
pub use error::ReleaseError;
pub use index::FileIndex;
pub use last_good::LastGood;
pub use read::{FolderFacts, ReadContext};
pub use records::{activation_record, altered_record, refusal_record, refused_component_record};
pub use rejected_components::{
    MAX_CHECKED_BYTES, MAX_SCANNED_BYTES, RejectedComponent, RejectedComponents,
};
pub use status::ReleaseStatus;
pub use unenforced::{HookIdentity, close_bound};
pub use verify::admit;

use problems::ProblemList;
use verify::{PluginState, Plugins, VerifiedSet};

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

/// How much of a release must be ready before it may become active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All of it: what decides until then goes on meanwhile.
    Everything,
    /// The part that can be had of the last good release, because nothing else decides: a binding
    /// that cannot be prepared stops its own hook and no other.
    Available,
    /// All of it, and every problem of one that is refused: for an operator who is to correct it.
    AllProblems,
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
        trusted: &TrustView<'_>,
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
        trusted: &TrustView<'_>,
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
        trusted: &TrustView<'_>,
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
            trust_snapshot: Arc::new(TrustSnapshot::new(trusted)),
            tables: Arc::default(),
            hooks,
            stops: Arc::default(),
            left_out,
            unenforced: Vec::new(),
            last_good: Arc::new(AtomicBool::new(problems.demand == Completeness::Available)),
            release,
        })
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

    /// Verifies the files of a release that is active against the set that lies there: a release
    /// may be active while its files are altered or gone, and then only the host's own copy lets it
    /// start again.
    ///
    /// # Errors
    /// The reason that keeps the files from being taken at the next start.
    pub fn recheck(
        &self,
        trusted: &TrustView<'_>,
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

/// How the file of a suite ends, which is no envelope.
const SUITE: &str = ".suite.json";

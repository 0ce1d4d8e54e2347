//! A generation: one active release set. What every hook asks, ready to be asked.
//!
//! Invariant: a generation is complete before anybody sees it and never changes; calls in flight finish on the one they began with.

mod never_sent;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use portcullis_engine::Plugin;
use portcullis_model::json::build_members;
use portcullis_model::{AttributeFilter, Call as HookCall, Cause, Digest, Effect, Millis, Mode};
use portcullis_store::memory::{Namespace, Transaction};
use portcullis_trust::{
    Activation, Capability, Manifest, ReleaseSet, VerifiedManifest, VerifiedPlugin,
};

use crate::bindings::breaker::Breaker;
use crate::bindings::candidate::cohort::DEPARTMENT;
use crate::bindings::candidate::{self, CandidateBinding};
use crate::config::HookConfig;
use crate::memory::HostMemory;
use crate::observe::metrics::BindingMetrics;
use crate::tables::Tables;
use crate::trust::view::TrustSnapshot;
use crate::worker_pool::WorkerPool;

/// One active release set.
///
/// The one thing that changes in it is that a revoked plugin stops ([`Generation::revoke`]): at
/// once, for calls in flight too, and for good.
pub struct Generation {
    /// The release set's version.
    pub number: u64,
    /// The digest of the release set's signed bytes.
    pub set: Digest,
    /// When the set ends.
    pub expires: Millis,
    /// The set itself.
    pub release: ReleaseSet,
    /// How it became active.
    pub activation: Activation,
    /// The trust root under which it was let in.
    pub root: u64,
    /// The moment that it was verified at.
    pub verified: Millis,
    /// Its reference tables. A call sees those of the generation that it began with.
    pub tables: Arc<Tables>,
    /// The trust state against which it was verified.
    pub trust_snapshot: Arc<TrustSnapshot>,
    /// Hook's place in the configuration → its bindings.
    pub hooks: Vec<Bindings>,
    /// How often something in it was stopped.
    pub stops: Arc<AtomicU64>,
    /// Bindings that could not be prepared: of the last good release alone.
    pub left_out: Vec<LeftOut>,
    /// Hooks that are stopped because nothing enforces on them, and no accepted set in the folders
    /// wants that.
    pub unenforced: Vec<String>,
    /// Whether it comes from the host's own copy, because the release's folders hold nothing that
    /// may become active.
    pub last_good: Arc<AtomicBool>,
}

/// The bindings of one hook, sorted out by what they do; each list in the order of plugin ids and settings' digests, never in the
/// set's own order, which must change nothing, not even the text that a person sees.
#[derive(Clone, Default)]
pub struct Bindings {
    /// Enforcing, and may want more than restrictions: asked first.
    pub proposers: Vec<Arc<Binding>>,
    /// Enforcing, and only restrict: asked about everything proposed.
    pub guards: Vec<Arc<Binding>>,
    /// Advising and monitoring: asked after the reply.
    pub observers: Vec<Arc<Binding>>,
    /// Whether anything is tried beside them.
    has_candidates: bool,
    /// The attributes of a subject that any of them reads, or the host itself.
    attribute_filter: AttributeFilter,
    /// The plugin that was to bind here and does not run: without its word there is no decision.
    stopped: Arc<OnceLock<StopReason>>,
}

/// A plugin that was to bind on a hook and does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReason {
    /// The plugin's id; `None` where the active release names none.
    pub plugin: Option<String>,
    /// Why it does not run.
    pub cause: Cause,
}

/// A plugin with its settings and mode, on a hook.
pub struct Binding {
    /// The plugin's manifest, verified.
    pub verified: Arc<VerifiedPlugin>,
    /// The digest of the settings.
    pub settings: Digest,
    /// Whether it binds.
    pub mode: Mode,
    /// The fallbacks for effects and changes that the hook kind does not support.
    pub fallback: BTreeMap<String, String>,
    /// The configured snapshot.
    pub plugin: Plugin,
    /// Whether it may want more than restrictions on its hook.
    proposes: bool,
    /// The counters of its work.
    pub metrics: Arc<BindingMetrics>,
    /// The hook's name.
    pub hook: String,
    /// The generation.
    pub generation: u64,
    /// Its mode's name; of a candidate, `shadow` or `canary`.
    pub mode_name: &'static str,
    /// Whether it is asked, or quarantined because it failed too often.
    pub breaker: Arc<Breaker>,
    /// Where it runs when it is slow, or is nobody's to wait for.
    pub pool: WorkerPool,
    /// The candidate beside it.
    pub candidate: Option<CandidateBinding>,
    /// The space of its plugin's memory: bindings of one space share it.
    memory_space: &'static str,
    /// Its plugin's memory, once it was used.
    memory: OnceLock<Option<Namespace>>,
    record_prefix: String,
    /// How often it outran the inline slice.
    overruns: AtomicU32,
    /// Whether it is revoked.
    revoked: AtomicBool,
}

impl Generation {
    /// Lets the bindings of the next generation count on where those with the same labels are, in
    /// this generation or among those that `ended` before it. Returns the metrics of this
    /// generation's others, whose series end here.
    pub fn transfer_metrics(
        &self,
        next: &Self,
        ended: &[Arc<BindingMetrics>],
    ) -> Vec<Arc<BindingMetrics>> {
        for (_, rollout) in next.hooks.iter().flat_map(Bindings::candidates) {
            let labels = &rollout.binding.metrics.labels;
            let same = self.hooks.iter().flat_map(Bindings::candidates);
            let mut same = same.filter(|(_, before)| before.binding.metrics.labels == *labels);
            same.next().into_iter().for_each(|(_, before)| rollout.continue_from(before));
        }
        let mut previous_metrics = self.metrics();
        previous_metrics.retain(|before| !next.continue_metrics(before));
        ended.iter().for_each(|before| {
            next.continue_metrics(before);
        });
        previous_metrics
    }

    /// Lets the binding with these labels count on, where there is one. Returns whether there is.
    pub fn continue_metrics(&self, before: &BindingMetrics) -> bool {
        let metrics = self.metrics();
        let same = metrics.iter().find(|it| it.labels == before.labels);
        same.inspect(|it| it.continue_from(before)).is_some()
    }

    /// Returns the metrics of every binding, and of what is tried beside them.
    pub fn metrics(&self) -> Vec<Arc<BindingMetrics>> {
        let bindings = self.hooks.iter().flat_map(Bindings::with_candidates);
        bindings.map(|binding| Arc::clone(&binding.metrics)).collect()
    }

    /// Returns whether it comes from the host's own copy.
    pub fn is_last_good(&self) -> bool {
        self.last_good.load(Ordering::Acquire)
    }

    /// When the set or the first of its manifests ends.
    pub fn expires_at(&self) -> Millis {
        let manifests =
            self.hooks.iter().flat_map(Bindings::iter).map(|binding| binding.manifest().expires);
        manifests.min().unwrap_or(self.expires).min(self.expires)
    }

    /// Whether nothing of its set is missing on any hook.
    pub fn is_whole(&self) -> bool {
        self.left_out.is_empty() && self.unenforced.is_empty()
    }

    /// The same for other hooks: what is stopped in one is stopped in both. Hooks on which nothing enforces are to be
    /// looked at anew.
    pub fn rebound_to(&self, hooks: Vec<Bindings>) -> Self {
        Self {
            number: self.number,
            set: self.set,
            expires: self.expires,
            release: self.release.clone(),
            activation: self.activation,
            root: self.root,
            verified: self.verified,
            trust_snapshot: Arc::clone(&self.trust_snapshot),
            tables: Arc::clone(&self.tables),
            hooks,
            stops: Arc::clone(&self.stops),
            left_out: self.left_out.clone(),
            unenforced: Vec::new(),
            last_good: Arc::clone(&self.last_good),
        }
    }

    /// Stops every plugin of which `revoked` says so: the hooks where it binds give their safe answer from here on, and where it only looks
    /// on it is asked no more. Gives those that ran until now: hook and plugin.
    pub fn revoke(
        &self,
        mut revoked: impl FnMut(&VerifiedManifest) -> bool,
    ) -> Vec<(usize, String)> {
        let mut stopped = Vec::new();
        for (number, bindings) in self.hooks.iter().enumerate() {
            for binding in bindings.iter().filter(|binding| !binding.is_revoked()) {
                if revoked(&binding.verified) {
                    let id = binding.manifest().id.clone();
                    if binding.mode == Mode::Enforce {
                        bindings.stop(&id, Cause::PluginRevoked);
                    }
                    binding.revoked.store(true, Ordering::Release);
                    stopped.push((number, id));
                }
            }
            // A candidate's end stops nobody: the live one decides.
            for binding in bindings
                .candidates()
                .map(|(_, rollout)| &rollout.binding)
                .filter(|it| !it.is_revoked())
            {
                if revoked(&binding.verified) {
                    binding.revoked.store(true, Ordering::Release);
                    stopped.push((number, binding.manifest().id.clone()));
                }
            }
        }
        if !stopped.is_empty() {
            self.stops.fetch_add(1, Ordering::AcqRel);
        }
        stopped
    }

    /// What remembered answers are kept under: they die with their generation, and when something in it is stopped.
    pub fn key(&self) -> (u64, u64) {
        (self.number, self.stops.load(Ordering::Acquire))
    }

    /// What an operator should know although it is allowed: hooks that nothing enforces, and places that two plugins may want.
    pub fn warnings(&self, hooks: &[HookConfig]) -> Vec<String> {
        let mut warnings = Vec::new();
        for (hook, bindings) in hooks.iter().zip(&self.hooks) {
            if hook.kind.may_deliver() && hook.delivery.is_none() {
                warnings.push(format!(
                    "hook `{}`: no delivery service, so the platform sends every message itself",
                    hook.name
                ));
            }
            if !bindings.enforced() && !hook.kind.is_permit(Effect::Abstain) {
                warnings.push(format!(
                    "hook `{}`: no binding enforces, so the hook permits nothing",
                    hook.name
                ));
            } else if !bindings.enforced() && hook.kind.is_binding() {
                warnings.push(format!(
                    "hook `{}`: no binding enforces, so the hook's safe answer is the platform's \
                     default",
                    hook.name
                ));
            }
            warnings.extend(hook.warnings());
            for binding in bindings.enforcing() {
                warnings.extend(never_sent::warnings(hook, binding.manifest()));
            }
            let mut wanted: BTreeMap<String, &str> = BTreeMap::new();
            for binding in bindings.proposers.iter().chain(&bindings.guards) {
                let id = binding.manifest().id.as_str();
                for place in binding.manifest().emits.places(hook.kind.name()) {
                    match wanted.insert(place.clone(), id) {
                        Some(other) if other != id => warnings.push(format!(
                            "hook `{}`: `{other}` and `{id}` may both change `{place}`; a call for \
                             which their values differ gets its safe answer",
                            hook.name
                        )),
                        _ => {}
                    }
                }
            }
        }
        warnings
    }
}

impl Bindings {
    /// Has these attributes of subjects read as well: those by which tables know people.
    pub fn add_attributes<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.attribute_filter.add(names);
    }

    /// Puts a binding where it belongs.
    pub fn add(&mut self, binding: Arc<Binding>) {
        self.has_candidates |= binding.candidate.is_some();
        let candidate = binding.candidate.as_ref().map(|rollout| &rollout.binding);
        for evaluated in [&binding].into_iter().chain(candidate) {
            evaluated.manifest().reads.add_to_filter(&mut self.attribute_filter);
        }
        self.attribute_filter.add([LANGUAGE, DEPARTMENT]);
        let list = match binding.mode {
            Mode::Enforce if binding.proposes() => &mut self.proposers,
            Mode::Enforce => &mut self.guards,
            Mode::Advise | Mode::Monitor => &mut self.observers,
        };
        list.push(binding);
        list.sort_by(|one, other| {
            (&one.manifest().id, one.settings).cmp(&(&other.manifest().id, other.settings))
        });
    }

    /// Whether anything binds, or was to.
    pub fn enforced(&self) -> bool {
        !self.proposers.is_empty() || !self.guards.is_empty() || self.stopped.get().is_some()
    }

    /// Notes that a plugin which was to bind here does not run.
    pub fn stop(&self, plugin: &str, cause: Cause) {
        // The first one is enough: nothing is decided here any more.
        let _ = self.stopped.set(StopReason { plugin: Some(plugin.to_owned()), cause });
    }

    /// Stops a hook on which nothing enforces. The bindings that these were made from are not affected.
    pub fn stop_unenforced(&mut self) {
        let stopped = StopReason { plugin: None, cause: Cause::PluginUnavailable };
        self.stopped = Arc::new(OnceLock::from(stopped));
    }

    /// The same bindings, not stopped by [`Bindings::stop_unenforced`].
    pub fn without_unenforced_stop(&self) -> Self {
        let mut bindings = self.clone();
        if self.stopped().is_some_and(|it| it.plugin.is_none()) {
            bindings.stopped = Arc::default();
        }
        bindings
    }

    /// Why nothing is decided here, where that is so.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.get()
    }

    /// Whether nobody was ever to be asked here. Where the only one was revoked before the start there is nobody either, and no decision.
    pub fn is_unbound(&self) -> bool {
        self.iter().next().is_none() && self.stopped().is_none()
    }

    /// Those that bind and can say which ones, in the order in which they are asked.
    pub fn searchers(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.proposers.iter().chain(&self.guards).filter(|binding| binding.plugin.searches())
    }

    /// Those that bind, in the order in which they are asked.
    pub fn enforcing(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.proposers.iter().chain(&self.guards)
    }

    /// The attributes of a subject that somebody looks at.
    pub fn attribute_filter(&self) -> &AttributeFilter {
        &self.attribute_filter
    }

    /// Whether anything is tried beside them.
    pub fn has_candidates(&self) -> bool {
        self.has_candidates
    }

    /// Returns the candidates, each with its live binding.
    pub fn candidates(&self) -> impl Iterator<Item = (&Arc<Binding>, &CandidateBinding)> {
        self.iter().filter_map(|live| Some((live, live.candidate.as_ref()?)))
    }

    /// All of them, and what is tried beside them.
    pub fn with_candidates(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.iter().flat_map(|live| {
            [live].into_iter().chain(live.candidate.as_ref().map(|rollout| &rollout.binding))
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.proposers.iter().chain(&self.guards).chain(&self.observers)
    }
}

impl Binding {
    /// A binding that never outran anything yet. `role` is its mode's name, or a candidate's.
    pub fn new(
        verified: Arc<VerifiedPlugin>,
        hook: &HookConfig,
        source: &portcullis_trust::Binding,
        role: &'static str,
        plugin: Plugin,
        generation: u64,
    ) -> Self {
        let (settings, mode, fallback) = (source.settings, source.mode, source.fallback.clone());
        let proposes = verified.manifest.emits.proposes(hook.kind.name());
        let leaf_head = leaf_head(&verified, settings, role);
        let metrics = Arc::new(BindingMetrics::new(labels(&verified.manifest, source, role)));
        let bounds = hook.limits.min_with(&source.bounds);
        // Who is not waited for runs one at a time, so as not to take the processors from those who are, and may wait longer.
        let decides = role == Mode::Enforce.name() || role == candidate::kind(true);
        let (threads, waiting) =
            if decides { (bounds.concurrency, bounds.queue) } else { (1, candidate::MAX_WAITING) };
        Self {
            verified,
            settings,
            mode,
            fallback,
            plugin,
            proposes,
            metrics,
            hook: source.hook.clone(),
            generation,
            mode_name: role,
            breaker: Breaker::new(bounds.errors),
            pool: WorkerPool::new("plugin", threads, waiting),
            candidate: None,
            memory_space: memory_space(hook, role, role != mode.name()),
            memory: OnceLock::new(),
            record_prefix: leaf_head,
            overruns: AtomicU32::new(0),
            revoked: AtomicBool::new(false),
        }
    }

    /// Begins a run's transaction in its plugin's memory. `None`: the manifest does not request
    /// memory, or the host has no place for one more.
    pub fn begin_memory(&self, memory: &HostMemory, call: &HookCall) -> Option<Transaction> {
        let manifest = self.manifest();
        if !manifest.capabilities.contains(&Capability::Memory) {
            return None;
        }
        let namespace = || memory.namespace(&call.tenant, &manifest.id, self.memory_space);
        let namespace = self.memory.get_or_init(namespace).as_ref()?;
        Some(memory.begin(namespace, call))
    }

    /// The plugin's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.verified.manifest
    }

    /// Whether it is asked before the guards, because it may want more than restrictions.
    pub fn proposes(&self) -> bool {
        self.proposes
    }

    /// Whether it is revoked: then it is asked no more.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Whether it starts in a lane, by record.
    pub fn is_offloaded(&self) -> bool {
        self.overruns.load(Ordering::Relaxed) >= OVERRUNS_TO_OFFLOAD
    }

    /// Notes that it outran the inline slice.
    pub fn record_overrun(&self) {
        // The former count is of no interest.
        let _ = self.overruns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            Some(count.saturating_add(1))
        });
    }

    /// Notes that it was quick in a lane: a busy moment of the machine must not send it there for
    /// good.
    pub fn record_quick_run(&self) {
        let _ = self
            .overruns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }

    /// The identity of the binding as it is in every leaf: written once.
    pub fn record_prefix(&self) -> &str {
        &self.record_prefix
    }
}

fn leaf_head(verified: &VerifiedPlugin, settings: Digest, role: &str) -> String {
    let manifest = &verified.manifest;
    build_members(|head| {
        head.text("plugin", &manifest.id)
            .text("version", &manifest.version)
            .number("serial", manifest.serial)
            .display("manifest", verified.digest)
            .display("component", manifest.wasm)
            .display("settings", settings)
            .text("mode", role);
    })
}

/// Who this is, in metrics: digests by their first bytes, which are enough to find the record.
fn labels(manifest: &Manifest, source: &portcullis_trust::Binding, role: &str) -> String {
    let short = |digest: Digest| {
        let digest = digest.to_string();
        digest.rsplit(':').next().unwrap_or_default().chars().take(SHORT_DIGEST).collect::<String>()
    };
    crate::observe::metrics::labels(&[
        ("hook", &source.hook),
        ("plugin", &manifest.id),
        ("version", &manifest.version),
        ("component", &short(manifest.wasm)),
        ("settings", &short(source.settings)),
        ("mode", role),
    ])
}

/// Characters of a digest in metrics.
const SHORT_DIGEST: usize = 12;
/// After this many overruns a binding starts in a lane.
const OVERRUNS_TO_OFFLOAD: u32 = 3;
/// The attribute of a subject that says their language.
pub const LANGUAGE: &str = "locale";

/// A binding of the last good release that could not be prepared.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// The hook's name.
    pub hook: String,
    /// The plugin's id.
    pub plugin: String,
    /// Whether it binds, so that its hook decides nothing without it.
    pub enforces: bool,
    /// The stable code.
    pub code: &'static str,
    /// The problem.
    pub sentence: String,
}

impl LeftOut {
    /// Returns the description of a binding that was left out.
    pub fn new(source: &portcullis_trust::Binding, code: &'static str, sentence: &str) -> Self {
        let (hook, plugin) = (source.hook.clone(), source.plugin.clone());
        let (enforces, sentence) = (source.mode == Mode::Enforce, sentence.to_owned());
        Self { hook, plugin, enforces, code, sentence }
    }
}

/// The space of a binding's memory. Those that decide share one, and those on a hook of events:
/// what these learn is what the others need. Monitors and candidates keep their memory apart.
fn memory_space(hook: &HookConfig, role: &'static str, is_candidate: bool) -> &'static str {
    let learns = !hook.kind.is_binding() && !is_candidate;
    if learns || role == Mode::Enforce.name() { "live" } else { role }
}

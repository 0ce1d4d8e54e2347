//! A generation: one release set in force. What every hook asks, ready to be asked.
//!
//! Invariant: a generation is complete before anybody sees it and never changes; calls in flight finish on the one they began with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::HookConfig;
use portcullis_engine::Plugin;
use portcullis_hooks::HookKind;
use portcullis_model::{Digest, Millis, Mode};
use portcullis_trust::{Manifest, VerifiedPlugin};

/// One release set in force.
pub struct Generation {
    /// The release set's version.
    pub number: u64,
    /// The digest of the release set's signed bytes.
    pub set: Digest,
    /// When the set ends.
    pub expires: Millis,
    /// Hook's place in the configuration → its bindings, in the order of plugin ids and settings' digests.
    pub hooks: Vec<Vec<Arc<Binding>>>,
}

/// A plugin with its settings and mode, on a hook.
pub struct Binding {
    /// The plugin's manifest, verified.
    pub verified: Arc<VerifiedPlugin>,
    /// The digest of the settings.
    pub settings: Digest,
    /// Whether it binds.
    pub mode: Mode,
    /// What is said instead of what the hook kind cannot say.
    pub say: BTreeMap<String, String>,
    /// The configured snapshot.
    pub plugin: Plugin,
    /// Whether it may want more than restrictions on its hook.
    proposes: bool,
    /// How often it outran the inline slice.
    overruns: AtomicU32,
}

impl Generation {
    /// What an operator should know although it is allowed: hooks that nothing enforces, and places that two plugins may want.
    pub fn warnings(&self, hooks: &[HookConfig]) -> Vec<String> {
        let mut warnings = Vec::new();
        for (hook, bindings) in hooks.iter().zip(&self.hooks) {
            let enforcing: Vec<_> = bindings.iter().filter(|binding| binding.mode == Mode::Enforce).collect();
            if enforcing.is_empty() {
                warnings.push(format!(
                    "hook `{}`: nothing enforces, so its safe answer is the platform's default",
                    hook.name
                ));
            }
            let mut wanted: BTreeMap<String, &str> = BTreeMap::new();
            for binding in enforcing {
                let id = binding.manifest().id.as_str();
                for place in binding.manifest().emits.places(hook.kind.name()) {
                    match wanted.insert(place.clone(), id) {
                        Some(other) if other != id => warnings.push(format!(
                            "hook `{}`: `{other}` and `{id}` may both change `{place}`; different values there are a conflict and get the safe answer",
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

impl Binding {
    /// A binding that never outran anything yet.
    pub fn new(
        verified: Arc<VerifiedPlugin>,
        kind: HookKind,
        source: &portcullis_trust::Binding,
        plugin: Plugin,
    ) -> Self {
        let (settings, mode, say) = (source.settings, source.mode, source.say.clone());
        let proposes = verified.manifest.emits.proposes(kind.name());
        Self { verified, settings, mode, say, plugin, proposes, overruns: AtomicU32::new(0) }
    }

    /// The plugin's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.verified.manifest
    }

    /// Whether it is asked before the guards, because it may want more than restrictions.
    pub fn proposes(&self) -> bool {
        self.proposes
    }

    /// Whether it starts in the slow lane, by record.
    pub fn is_slow(&self) -> bool {
        self.overruns.load(Ordering::Relaxed) >= OVERRUNS_TO_SLOW
    }

    /// Notes that it outran the inline slice.
    pub fn overran(&self) {
        // Saturating: a plugin that keeps overrunning must not become quick again.
        let _ = self.overruns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_add(1)));
    }
}

/// After this many overruns a binding starts in the slow lane.
const OVERRUNS_TO_SLOW: u32 = 3;

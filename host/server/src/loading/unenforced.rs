//! Hooks on which nothing enforces, and which of them may stay open under a release from the host's own copy.
//!
//! Invariant: where nothing enforces on a hook, its safe answer is the platform's default, because an accepted release
//! set wants that. The host's own copy of a release is no such word for a hook that is new, was renamed, or lies at
//! another path than when the release became active: it is stopped. Which hooks were open is kept
//! with the copy. This module reads no file.

use portcullis_model::Mode;
use portcullis_trust::{ReleaseSet, TrustRoot, verify_issued};
use serde::{Deserialize, Serialize};

use crate::bindings::generation::Generation;
use crate::config::HookConfig;

/// A hook's place: its name alone does not tell that the platform calls it as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookIdentity {
    name: String,
    kind: String,
    path: String,
}

impl HookIdentity {
    /// The place of a configured hook.
    pub fn of(hook: &HookConfig) -> Self {
        let (name, path) = (hook.name.clone(), hook.settings.path.clone());
        Self { name, kind: hook.kind.name().to_owned(), path }
    }
}

impl Generation {
    /// The places of the hooks on which nothing enforces here.
    pub fn unenforced_places<'h>(
        &self,
        hooks: impl IntoIterator<Item = &'h HookConfig>,
    ) -> Vec<HookIdentity> {
        let unenforced = hooks.into_iter().zip(&self.hooks).filter(|(_, it)| !it.enforced());
        unenforced.map(|(hook, _)| HookIdentity::of(hook)).collect()
    }

    /// Stops every hook on which nothing enforces here, unless it is one of `open`: those on which nothing enforced
    /// under a set from the folders. Each that is stopped is written to the host's log and to [`Generation::unenforced`].
    pub fn stop_unenforced(&mut self, hooks: &[HookConfig], open: &[HookIdentity]) {
        for (hook, bindings) in hooks.iter().zip(&mut self.hooks) {
            if bindings.enforced() || open.contains(&HookIdentity::of(hook)) {
                continue;
            }
            bindings.stop_unenforced();
            tracing::error!(
                event = "release.hook-unenforced",
                generation = self.number,
                hook = hook.name,
                "the active release has no enforcing binding for this hook: the hook gives its \
                 safe answer until a release binds a plugin to it"
            );
            self.unenforced.push(hook.name.clone());
        }
    }
}

/// Removes from `open` the hooks that a signed release set binds an enforcing plugin to. The set need not be good for
/// anything else: it only closes hooks.
pub fn close_bound(open: &mut Vec<HookIdentity>, root: &TrustRoot, set: &[u8]) {
    if verify_issued(root, set).is_err() {
        return;
    }
    let Ok(release) = ReleaseSet::unverified(set) else { return };
    let binds = |name: &String| {
        let mut bindings = release.bindings.iter();
        bindings.any(|it| it.mode == Mode::Enforce && it.hook == *name)
    };
    open.retain(|place| !binds(&place.name));
}

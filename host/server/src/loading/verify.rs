//! Verifying a release set and the plugins that it lists.
//!
//! Invariant: a set that was active last is checked against the time and the trust root of its
//! activation; every other one against the present time and the newest root.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_model::{Digest, Millis, sha256};
use portcullis_trust::{
    Activation, Active, Downgrade, PluginEntry, Refusal, RefusalCode, ReleaseSet, TrustRoot,
    VerifiedPlugin, release_is_valid_under, verify_manifest, verify_plugin, verify_release,
};

use super::problems::ProblemList;
use super::{Completeness, ReleaseError, ReleaseFiles};
use crate::fs::folder::stem;
use crate::trust::view::TrustView;

/// A plugin that a set lists, and what became of it.
pub(super) enum PluginState<'a> {
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
pub(super) type Plugins<'a> = BTreeMap<String, PluginState<'a>>;

/// A set that is verified, and what it was verified by.
pub(super) struct VerifiedSet<'t> {
    pub(super) release: ReleaseSet,
    /// The digest of its signed bytes.
    pub(super) set: Digest,
    /// The trust root under which it was signed, and the newest.
    pub(super) root: &'t Arc<TrustRoot>,
    pub(super) newest: &'t Arc<TrustRoot>,
    /// The time at which it was verified.
    pub(super) at: Millis,
    /// Its activation, where it was active last.
    pub(super) again: Option<Active>,
    pub(super) activation: Activation,
}

impl ReleaseFiles {
    /// Verifies the set: its signatures, its time, and whether it may follow what was active.
    pub(super) fn verify_set<'t>(
        &self,
        trusted: &TrustView<'t>,
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
    pub(super) fn verify_plugins<'s>(
        &'s self,
        trusted: &TrustView<'_>,
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

    /// One plugin of a set, by what may become of it.
    pub(super) fn plugin_state(
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
    pub(super) fn plugin(
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
}

/// Whether a set may become active, by itself or by a downgrade that lies beside it.
pub fn admit(
    trusted: &TrustView<'_>,
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

/// The most bindings of one release set: what the leaf of its activation has room for.
const MAX_BINDINGS: usize = 64;

//! Revocations: manifests that must never run again, named by digest or by id and serial.
//!
//! Invariant: revocations only grow. Merging never takes one away, and a trust root that leaves one of its predecessor's out is
//! refused (`chain`). What a revocation does to a host that is running is for `server`; revoked keys stand in the trust root alone.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::Digest;
use serde::{Deserialize, Serialize};

use crate::names::{is_plugin_id, quoted};
use crate::refusal::{Refusal, RefusalCode};

/// Manifests that must never run again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevokedPlugins {
    /// Digests of statements, as release sets list them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub manifests: BTreeSet<Digest>,
    /// Serials, by plugin id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub serials: BTreeMap<String, BTreeSet<u64>>,
}

impl RevokedPlugins {
    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.manifests.is_empty() && self.serials.is_empty()
    }

    /// Whether the manifest with this statement, of this plugin, with this serial is revoked.
    pub fn covers(&self, manifest: Digest, id: &str, serial: u64) -> bool {
        self.manifests.contains(&manifest)
            || self.serials.get(id).is_some_and(|serials| serials.contains(&serial))
    }

    /// Whether everything that `other` revokes is revoked here.
    pub fn includes(&self, other: &Self) -> bool {
        other.minus(self).is_empty()
    }

    /// Adds what `other` revokes, and gives what of it was new.
    pub fn merge(&mut self, other: &Self) -> Self {
        let new = other.minus(self);
        self.manifests.extend(&new.manifests);
        for (id, serials) in &new.serials {
            self.serials.entry(id.clone()).or_default().extend(serials);
        }
        new
    }

    /// What is revoked here and not in `other`.
    fn minus(&self, other: &Self) -> Self {
        let manifests = self.manifests.difference(&other.manifests).copied().collect();
        let mut left = BTreeMap::new();
        for (id, serials) in &self.serials {
            let known =
                |serial: &&u64| other.serials.get(id).is_some_and(|known| known.contains(serial));
            let new: BTreeSet<_> =
                serials.iter().filter(|serial| !known(serial)).copied().collect();
            if !new.is_empty() {
                left.insert(id.clone(), new);
            }
        }
        Self { manifests, serials: left }
    }

    /// The same in pieces of at most `most` revocations each: what a record has room for.
    pub fn pieces(&self, most: usize) -> Vec<Self> {
        let mut singles: Vec<_> = self
            .manifests
            .iter()
            .map(|digest| Self { manifests: [*digest].into(), ..Self::default() })
            .collect();
        for (id, serials) in &self.serials {
            let single = |serial| Self {
                serials: [(id.clone(), [serial].into())].into(),
                ..Self::default()
            };
            singles.extend(serials.iter().copied().map(single));
        }
        let join = |some: &[Self]| {
            let mut piece = Self::default();
            some.iter().for_each(|single| drop(piece.merge(single)));
            piece
        };
        singles.chunks(most.max(1)).map(join).collect()
    }

    /// Refuses names that are none and lists without an end. The error says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(id) = self.serials.keys().find(|id| !is_plugin_id(id)) {
            return Err(format!("`revoked` names {}, which is not a plugin id", quoted(id)));
        }
        if self.serials.values().any(|serials| serials.is_empty() || serials.contains(&0)) {
            return Err(
                "`revoked` names a plugin without a serial, or the serial 0; the first is 1"
                    .to_owned(),
            );
        }
        let count = self.manifests.len() + self.serials.values().map(BTreeSet::len).sum::<usize>();
        if count > MAX_REVOKED {
            return Err(format!("`revoked` names more than {MAX_REVOKED} manifests"));
        }
        Ok(())
    }

    /// Refuses a manifest that is revoked.
    pub fn admit(&self, manifest: Digest, id: &str, serial: u64) -> Result<(), Refusal> {
        if !self.covers(manifest, id, serial) {
            return Ok(());
        }
        let sentence =
            format!("the manifest of {} serial {serial} ({manifest}) is revoked", quoted(id));
        Err(Refusal::new(RefusalCode::RevokedManifest, sentence))
    }
}

/// Bounds the list of one document.
const MAX_REVOKED: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn revoked(digests: &[u8], serials: &[(&str, &[u64])]) -> RevokedPlugins {
        RevokedPlugins {
            manifests: digests.iter().map(|byte| Digest([*byte; 32])).collect(),
            serials: serials
                .iter()
                .map(|(id, serials)| ((*id).to_owned(), serials.iter().copied().collect()))
                .collect(),
        }
    }

    #[test]
    fn they_only_grow_and_say_what_was_new() {
        let mut all = revoked(&[1], &[("a.b", &[1, 2])]);
        let more = revoked(&[1, 2], &[("a.b", &[2, 3]), ("a.c", &[9])]);
        assert_eq!(all.merge(&more), revoked(&[2], &[("a.b", &[3]), ("a.c", &[9])]));
        assert_eq!(all, revoked(&[1, 2], &[("a.b", &[1, 2, 3]), ("a.c", &[9])]));
        assert!(all.merge(&more).is_empty() && all.includes(&more) && !more.includes(&all));
        assert!(all.covers(Digest([9; 32]), "a.b", 3) && all.covers(Digest([2; 32]), "x.y", 7));
        assert!(!all.covers(Digest([9; 32]), "a.c", 3));
        let pieces = all.pieces(4);
        assert_eq!(pieces.len(), 2);
        let mut again = RevokedPlugins::default();
        pieces.iter().for_each(|piece| drop(again.merge(piece)));
        assert_eq!(again, all);
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        for wrong in [
            revoked(&[], &[("a", &[1])]),
            revoked(&[], &[("a.b", &[])]),
            revoked(&[], &[("a.b", &[0])]),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        let endless: Vec<u64> = (1..=1_025).collect();
        assert!(revoked(&[], &[("a.b", &endless)]).check().is_err());
        assert!(revoked(&[1], &[("a.b", &endless[..1_023])]).check().is_ok());
    }
}

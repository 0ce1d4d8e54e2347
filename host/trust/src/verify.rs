//! The load algorithm: from bytes that somebody delivered to documents and plugins that may be used.
//!
//! Invariant: each function reads like its list of steps, in order; every step that fails has a code of its
//! own, and nothing is returned from documents that did not pass all of them. What follows (imports of the
//! component, settings, snapshot, self-test, record, swap) is for `engine` and `server`, which have the
//! means.

use std::ops::Deref;

use portcullis_keys::PublicKey;
use portcullis_model::{Digest, Millis};

use crate::document;
use crate::downgrade::Downgrade;
use crate::dsse::Envelope;
use crate::manifest::Manifest;
use crate::names::quoted;
use crate::refusal::{Refusal, RefusalCode};
use crate::release::{Binding, PluginEntry, ReleaseSet};
use crate::revoked::RevokedPlugins;
use crate::root::{Publisher, Signers, TrustRoot};
use crate::validity::within;

/// A manifest that one of the root's publishers may publish and has signed.
pub struct VerifiedManifest {
    /// What it says.
    pub manifest: Manifest,
    /// The digest of its statement: how a release set lists it.
    pub digest: Digest,
    /// The name of its publisher.
    pub publisher: String,
    /// The ids of the publisher's keys that signed.
    pub signers: Vec<String>,
    /// The ids of the reviewers' keys that signed; whether or not the publisher needs them.
    pub reviewers: Vec<String>,
    /// What it was let in by: whose signatures there are, and how many are needed.
    valid_until: Vec<(Vec<PublicKey>, usize)>,
}

/// A plugin whose manifest is live and whose component is the one that the manifest was signed for.
///
/// Only [`verify_plugin`] makes one, so that whoever asks for it cannot be handed a plugin that was not
/// verified.
pub struct VerifiedPlugin(VerifiedManifest);

impl Deref for VerifiedPlugin {
    type Target = VerifiedManifest;

    fn deref(&self) -> &VerifiedManifest {
        &self.0
    }
}

impl VerifiedManifest {
    /// Refuses it where a later trust root has revoked it, or so many of its signers' keys that too few are left. What a later root
    /// merely leaves out does not touch what was let in before.
    pub fn is_valid_under(&self, later: &TrustRoot) -> Result<(), Refusal> {
        later.revoked.admit(self.digest, &self.manifest.id, self.manifest.serial)?;
        for (keys, threshold) in &self.valid_until {
            let (revoked, left): (Vec<_>, Vec<_>) =
                keys.iter().partition(|key| later.is_revoked(key));
            if left.len() < *threshold {
                let what = format!("the manifest of {}", quoted(&self.manifest.id));
                return Err(Signers { counted: left, revoked, rejected: None }.revoked(&what));
            }
        }
        Ok(())
    }
}

/// Verifies the first trust root, which the operator pins, by its own root role.
///
/// 1. The envelope holds a trust root that says what its format needs.
/// 2. Enough of its root keys signed those bytes.
/// 3. Its time is not over.
pub fn verify_root(envelope: &[u8], now: Millis) -> Result<TrustRoot, Refusal> {
    let root = verify_pinned_root(envelope)?;
    root.fresh(now)?;
    Ok(root)
}

/// [`verify_root`] for one that others may follow: whether it has expired is not looked at, since that matters for the last
/// one alone.
pub fn verify_pinned_root(envelope: &[u8]) -> Result<TrustRoot, Refusal> {
    let envelope = Envelope::parse(envelope)?;
    // Only here and in a root that follows are bytes read before their signatures are checked: they name the keys to check them with.
    envelope.expect_type(TrustRoot::PAYLOAD_TYPE)?;
    let root = TrustRoot::parse(envelope.unverified_payload())?;
    let signers = root.signers(&envelope, TrustRoot::PAYLOAD_TYPE)?;
    root.root.demand(&signers, "the trust root", "root")?;
    Ok(root)
}

/// Verifies a release set.
///
/// 1. The root's time is not over.
/// 2. Enough of the root's release keys signed it.
/// 3. It says what its format needs.
/// 4. The root is not older than it demands.
/// 5. Its time has begun and is not over.
///
/// That its version is above those that were active before, and that nothing in it is revoked, is for the host, which remembers
/// ([`TrustHistory`](crate::TrustHistory)).
pub fn verify_release(
    root: &TrustRoot,
    envelope: &[u8],
    now: Millis,
) -> Result<ReleaseSet, Refusal> {
    root.fresh(now)?;
    let envelope = Envelope::parse(envelope)?;
    released(root, &envelope)?;
    let set = ReleaseSet::parse(envelope.unverified_payload())?;
    if root.version < set.root_version {
        let sentence = format!(
            "the release set {} needs trust root {}, but this host has {}",
            set.version, set.root_version, root.version
        );
        return Err(Refusal::new(RefusalCode::RootTooOld, sentence));
    }
    within(&format!("the release set {}", set.version), set.issued, set.expires, now)?;
    Ok(set)
}

/// Refuses a release set that was let in under `root` once a `later` root has revoked so many of
/// the keys that signed it that too few are left. What a later root merely leaves out does not
/// touch what was let in before.
pub fn release_is_valid_under(
    root: &TrustRoot,
    later: &TrustRoot,
    envelope: &[u8],
) -> Result<(), Refusal> {
    let envelope = Envelope::parse(envelope)?;
    let signers = root.signers(&envelope, ReleaseSet::PAYLOAD_TYPE)?;
    let ours = root.release.among(&signers.counted);
    let (revoked, counted): (Vec<_>, Vec<_>) =
        ours.into_iter().partition(|key| later.is_revoked(key));
    if revoked.is_empty() || counted.len() >= root.release.threshold {
        return Ok(());
    }
    Err(Signers { counted, revoked, rejected: None }.revoked("the release set"))
}

/// What a release set revokes: taken from every set that enough release keys signed, whatever else is wrong with it, since
/// revocations come first.
///
/// 1. Enough of the root's release keys signed it.
/// 2. Its `revoked` says what its format needs; the rest is not looked at.
pub fn verify_revocations(root: &TrustRoot, envelope: &[u8]) -> Result<RevokedPlugins, Refusal> {
    let envelope = Envelope::parse(envelope)?;
    released(root, &envelope)?;
    ReleaseSet::revocations(envelope.unverified_payload())
}

/// When a release set or a downgrade was made: what it says of the time, whatever its own time is.
///
/// 1. Enough of the root's release keys signed it.
/// 2. It says what its format needs.
pub fn verify_issued(root: &TrustRoot, envelope: &[u8]) -> Result<Millis, Refusal> {
    let envelope = Envelope::parse(envelope)?;
    if envelope.payload_type() == Downgrade::PAYLOAD_TYPE {
        let signers = root.signers(&envelope, Downgrade::PAYLOAD_TYPE)?;
        root.release.demand(&signers, "the downgrade", "release")?;
        return Ok(document::parse::<Downgrade>(envelope.unverified_payload())?.issued);
    }
    released(root, &envelope)?;
    Ok(ReleaseSet::parse(envelope.unverified_payload())?.issued)
}

/// Verifies a manifest by itself, whether or not it is live.
///
/// 1. The root's time is not over.
/// 2. Enough keys of one publisher signed it.
/// 3. It says what its format needs.
/// 4. That publisher may publish this id, for these hook kinds, with these capabilities.
/// 5. Where the publisher needs a reviewer, enough reviewers signed it, none of them one of its authors.
/// 6. The root does not revoke it.
/// 7. Its time has begun and is not over.
pub fn verify_manifest(
    root: &TrustRoot,
    envelope: &[u8],
    now: Millis,
) -> Result<VerifiedManifest, Refusal> {
    root.fresh(now)?;
    let envelope = Envelope::parse(envelope)?;
    let signers = root.signers(&envelope, Manifest::PAYLOAD_TYPE)?;
    let candidates = signed_by(&root.publishers, &signers)?;
    let manifest = Manifest::parse(envelope.unverified_payload())?;
    let publisher = entitled(&candidates, &manifest)?;
    let authors = publisher.role.among(&signers.counted);
    let reviewers =
        root.reviewer.as_ref().map(|role| role.among(&signers.counted)).unwrap_or_default();
    let mut standing = vec![(cloned(&authors), publisher.role.threshold)];
    if publisher.needs_reviewer {
        standing.push(reviewed(root, publisher, &authors, &reviewers, &signers)?);
    }
    let digest = portcullis_model::sha256(envelope.unverified_payload());
    root.revoked.admit(digest, &manifest.id, manifest.serial)?;
    within(
        &format!("the manifest of {}", quoted(&manifest.id)),
        manifest.not_before,
        manifest.expires,
        now,
    )?;
    let ids = |keys: &[&PublicKey]| keys.iter().map(|key| key.keyid()).collect();
    let (signers, reviewers) = (ids(&authors), ids(&reviewers));
    Ok(VerifiedManifest {
        manifest,
        digest,
        publisher: publisher.name.clone(),
        signers,
        reviewers,
        valid_until: standing,
    })
}

/// Verifies a plugin that a release set lists as `entry`.
///
/// 1. Its manifest is a publisher's own ([`verify_manifest`]).
/// 2. It is the manifest that the release set lists.
/// 3. The component has the size that the manifest was signed for,
/// 4. and the digest.
///
/// Signatures come before the release set's digest, because that is of the bytes inside the envelope, and
/// because "unsigned" helps more than "not listed".
pub fn verify_plugin(
    root: &TrustRoot,
    entry: &PluginEntry,
    envelope: &[u8],
    wasm: &[u8],
    now: Millis,
) -> Result<VerifiedPlugin, Refusal> {
    let verified = verify_manifest(root, envelope, now)?;
    entry.admit(verified.digest, &verified.manifest)?;
    verified.manifest.check_component(wasm)?;
    Ok(VerifiedPlugin(verified))
}

/// Verifies that a binding may be made.
///
/// 1. The hook's kind is one that the manifest names.
/// 2. The settings are the signed ones.
pub fn verify_binding(
    binding: &Binding,
    manifest: &Manifest,
    kind: &str,
    settings: &[u8],
) -> Result<(), Refusal> {
    manifest.serves(kind)?;
    let found = portcullis_model::sha256(settings);
    if found == binding.settings {
        return Ok(());
    }
    let (plugin, hook) = (quoted(&binding.plugin), quoted(&binding.hook));
    let sentence = format!(
        "the settings of {plugin} on {hook} are {found}, but the release set was signed for {}",
        binding.settings
    );
    Err(Refusal::new(RefusalCode::SettingsMismatch, sentence))
}

/// Refuses a release set that the release role has not signed, or not often enough.
fn released(root: &TrustRoot, envelope: &Envelope) -> Result<(), Refusal> {
    let signers = root.signers(envelope, ReleaseSet::PAYLOAD_TYPE)?;
    root.release.demand(&signers, "the release set", "release")
}

/// Refuses a manifest that too few reviewers have signed, or one of its authors under another hat. Gives those who count, and how many
/// it takes.
///
/// Author and reviewer are told apart by key, since no key serves two roles, and by the key's name, since one person may hold two keys.
fn reviewed(
    root: &TrustRoot,
    publisher: &Publisher,
    authors: &[&PublicKey],
    reviewers: &[&PublicKey],
    signers: &Signers<'_>,
) -> Result<(Vec<PublicKey>, usize), Refusal> {
    // A root in which a publisher needs a reviewer has that role; without it nothing could be enough.
    let threshold = root.reviewer.as_ref().map_or(usize::MAX, |role| role.threshold);
    let is_author = |reviewer: &&PublicKey| {
        let same = |author: &&PublicKey| author.name().eq_ignore_ascii_case(reviewer.name());
        authors.iter().any(|author| same(author) || author.bytes() == reviewer.bytes())
    };
    let (own, others): (Vec<_>, Vec<_>) = reviewers.iter().copied().partition(is_author);
    if others.len() >= threshold {
        return Ok((cloned(&others), threshold));
    }
    signers.unrejected()?;
    if let Some(own) = own.first() {
        let sentence =
            format!("{} has published the manifest, and reviewed it too", quoted(own.name()));
        return Err(Refusal::new(RefusalCode::ReviewByAuthor, sentence));
    }
    if !signers.revoked.is_empty() {
        return Err(signers.revoked("the manifest"));
    }
    let name = quoted(&publisher.name);
    let sentence = format!(
        "a manifest of {name} needs {threshold} reviewers' signatures, but it has {}",
        others.len()
    );
    Err(Refusal::new(RefusalCode::ReviewMissing, sentence))
}

fn cloned(keys: &[&PublicKey]) -> Vec<PublicKey> {
    keys.iter().map(|key| (*key).clone()).collect()
}

/// The publishers of whose keys enough have signed.
fn signed_by<'r>(
    publishers: &'r [Publisher],
    signers: &Signers<'_>,
) -> Result<Vec<&'r Publisher>, Refusal> {
    let count = |publisher: &Publisher| publisher.role.count(&signers.counted);
    let enough: Vec<_> = publishers
        .iter()
        .filter(|publisher| count(publisher) >= publisher.role.threshold)
        .collect();
    if !enough.is_empty() {
        return Ok(enough);
    }
    signers.unrejected()?;
    if !signers.revoked.is_empty() {
        return Err(signers.revoked("the manifest"));
    }
    match publishers.iter().find(|publisher| count(publisher) > 0) {
        Some(publisher) => {
            Err(publisher.role.below_threshold(count(publisher), "the manifest", &publisher.name))
        }
        None => {
            Err(Refusal::new(RefusalCode::UnknownPublisher, unknown_publisher(&signers.counted)))
        }
    }
}

fn unknown_publisher(signers: &[&PublicKey]) -> String {
    match signers.first() {
        Some(signer) => format!(
            "the manifest is signed by {}, which is not a publisher's key",
            quoted(&signer.keyid())
        ),
        None => "the manifest has no signature of anybody whom the trust root names".into(),
    }
}

/// The first of these publishers who may publish this manifest; the refusal says what the nearest of them may
/// not.
fn entitled<'r>(
    candidates: &[&'r Publisher],
    manifest: &Manifest,
) -> Result<&'r Publisher, Refusal> {
    let overreach = |publisher: &Publisher| overreach(publisher, manifest);
    match candidates.iter().find(|publisher| overreach(publisher).is_none()) {
        Some(publisher) => Ok(publisher),
        None => {
            let in_prefix =
                |publisher: &&&Publisher| manifest.id.starts_with(&publisher.plugin_prefix);
            let nearest = candidates.iter().find(in_prefix).or(candidates.first());
            let what = nearest.and_then(|publisher| overreach(publisher)).unwrap_or_default();
            Err(Refusal::new(RefusalCode::PublisherOverreach, what))
        }
    }
}

/// What in this manifest is more than this publisher may publish, in words.
fn overreach(publisher: &Publisher, manifest: &Manifest) -> Option<String> {
    let (name, id) = (quoted(&publisher.name), quoted(&manifest.id));
    if !manifest.id.starts_with(&publisher.plugin_prefix) {
        return Some(format!("{name} may publish `{}…`, not {id}", publisher.plugin_prefix));
    }
    let covered = |kind: &&String| publisher.hooks.iter().any(|pattern| pattern.covers(kind));
    if let Some(kind) = manifest.hooks.iter().find(|kind| !covered(kind)) {
        return Some(format!(
            "{name} is not allowed to publish for the hook kind {}, which {id} names",
            quoted(kind)
        ));
    }
    let capability = manifest
        .capabilities
        .iter()
        .find(|capability| !publisher.capabilities.contains(capability))?;
    Some(format!(
        "{name} is not allowed to publish plugins with `{}`, which {id} asks for",
        capability.name()
    ))
}

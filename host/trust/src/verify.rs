//! The load algorithm: from bytes that somebody delivered to documents and plugins that may be used.
//!
//! Invariant: each function reads like its list of steps, in order; every step that fails has a code of its
//! own, and nothing is returned from documents that did not pass all of them. What follows (imports of the
//! component, settings, snapshot, self-test, record, swap) is for `engine` and `server`, which have the
//! means.

use std::ops::Deref;

use portcullis_keys::PublicKey;
use portcullis_model::{Digest, Millis};

use crate::dsse::{Envelope, Verified};
use crate::manifest::Manifest;
use crate::names::quoted;
use crate::refusal::{Refusal, RefusalCode};
use crate::release::{Binding, PluginEntry, ReleaseSet};
use crate::root::{Publisher, TrustRoot};
use crate::{strict, time};

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

/// Verifies the first trust root, which the operator pins, by its own root role.
///
/// 1. The envelope holds a trust root that says what its format needs.
/// 2. Enough of its root keys signed those bytes.
/// 3. Its time is not over.
pub fn verify_root(envelope: &[u8], now: Millis) -> Result<TrustRoot, Refusal> {
    let envelope = Envelope::parse(envelope)?;
    // Only here are bytes read before their signatures are checked: they name the keys to check them with.
    envelope.expect_type(TrustRoot::PAYLOAD_TYPE)?;
    let root = TrustRoot::parse(envelope.unverified_payload())?;
    let verified = envelope.verify(TrustRoot::PAYLOAD_TYPE, root.keys())?;
    root.root.demand(&verified.signers, "the trust root", "root")?;
    root.fresh(now)?;
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
/// That its version is not below one that was active before is for the host, which remembers.
pub fn verify_release(root: &TrustRoot, envelope: &[u8], now: Millis) -> Result<ReleaseSet, Refusal> {
    root.fresh(now)?;
    let envelope = Envelope::parse(envelope)?;
    let verified = envelope.verify(ReleaseSet::PAYLOAD_TYPE, root.keys())?;
    root.release.demand(&verified.signers, "the release set", "release")?;
    let set = ReleaseSet::parse(verified.payload)?;
    if root.version < set.root_version {
        let sentence =
            format!("the release set {} needs trust root {}, this is {}", set.version, set.root_version, root.version);
        return Err(Refusal::new(RefusalCode::RootTooOld, sentence));
    }
    within(&format!("the release set {}", set.version), set.issued, set.expires, now)?;
    Ok(set)
}

/// Verifies a manifest by itself, whether or not it is live.
///
/// 1. The root's time is not over.
/// 2. Enough keys of one publisher signed it.
/// 3. It says what its format needs.
/// 4. That publisher may publish this id, for these hook kinds, with these capabilities.
/// 5. Its time has begun and is not over.
pub fn verify_manifest(root: &TrustRoot, envelope: &[u8], now: Millis) -> Result<VerifiedManifest, Refusal> {
    root.fresh(now)?;
    let envelope = Envelope::parse(envelope)?;
    let verified = envelope.verify(Manifest::PAYLOAD_TYPE, root.keys())?;
    let candidates = signed_by(&root.publishers, &verified)?;
    let manifest = Manifest::parse(verified.payload)?;
    let publisher = entitled(&candidates, &manifest)?;
    within(&format!("the manifest of {}", quoted(&manifest.id)), manifest.not_before, manifest.expires, now)?;
    let signers =
        verified.signers.iter().filter(|signer| publisher.role.keys.contains(signer)).map(|signer| signer.keyid());
    Ok(VerifiedManifest {
        manifest,
        digest: strict::sha256(verified.payload),
        publisher: publisher.name.clone(),
        signers: signers.collect(),
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
pub fn verify_binding(binding: &Binding, manifest: &Manifest, kind: &str, settings: &[u8]) -> Result<(), Refusal> {
    manifest.serves(kind)?;
    let found = strict::sha256(settings);
    if found == binding.settings {
        return Ok(());
    }
    let (plugin, hook) = (quoted(&binding.plugin), quoted(&binding.hook));
    let sentence =
        format!("the settings of {plugin} on {hook} are {found}, the release set was signed for {}", binding.settings);
    Err(Refusal::new(RefusalCode::SettingsMismatch, sentence))
}

/// How far the clock of the machine that signs may be ahead of this one: five minutes. Ends are kept to the
/// millisecond.
pub const CLOCK_TOLERANCE: Millis = Millis(5 * 60 * 1_000);

/// The publishers of whose keys enough have signed.
fn signed_by<'r>(publishers: &'r [Publisher], verified: &Verified<'_, '_>) -> Result<Vec<&'r Publisher>, Refusal> {
    let count = |publisher: &Publisher| publisher.role.count(&verified.signers);
    let enough: Vec<_> = publishers.iter().filter(|publisher| count(publisher) >= publisher.role.threshold).collect();
    if !enough.is_empty() {
        return Ok(enough);
    }
    match publishers.iter().find(|publisher| count(publisher) > 0) {
        Some(publisher) => Err(publisher.role.below_threshold(count(publisher), "the manifest", &publisher.name)),
        None => Err(Refusal::new(RefusalCode::UnknownPublisher, unknown_publisher(&verified.signers))),
    }
}

fn unknown_publisher(signers: &[&PublicKey]) -> String {
    match signers.first() {
        Some(signer) => format!("the manifest is signed by {}, which is no publisher's key", quoted(&signer.keyid())),
        None => "the manifest is signed by nobody whom the trust root names".into(),
    }
}

/// The first of these publishers who may publish this manifest; the refusal says what the nearest of them may
/// not.
fn entitled<'r>(candidates: &[&'r Publisher], manifest: &Manifest) -> Result<&'r Publisher, Refusal> {
    let overreach = |publisher: &Publisher| overreach(publisher, manifest);
    match candidates.iter().find(|publisher| overreach(publisher).is_none()) {
        Some(publisher) => Ok(publisher),
        None => {
            let in_prefix = |publisher: &&&Publisher| manifest.id.starts_with(&publisher.plugin_prefix);
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
        return Some(format!("{name} may not publish for the hook kind {}, which {id} names", quoted(kind)));
    }
    let capability = manifest.capabilities.iter().find(|capability| !publisher.capabilities.contains(capability))?;
    Some(format!("{name} may not publish plugins with `{}`, which {id} asks for", capability.name()))
}

/// Refuses what has not begun (but for [`CLOCK_TOLERANCE`]) and what is over.
fn within(what: &str, from: Millis, until: Millis, now: Millis) -> Result<(), Refusal> {
    if now.0.saturating_add(CLOCK_TOLERANCE.0) < from.0 {
        return Err(Refusal::new(RefusalCode::NotYetValid, format!("{what} is valid from {}", time::format(from))));
    }
    if now >= until {
        return Err(Refusal::new(RefusalCode::Expired, format!("{what} expired at {}", time::format(until))));
    }
    Ok(())
}

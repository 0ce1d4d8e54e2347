//! From files to a registry.
//!
//! Invariant: what is pushed is what was signed, byte for byte; blobs go before the manifests that list them, and a tag moves last, so that
//! nobody who follows it meets half of anything. The same files make the same artifacts: pushing twice changes nothing.

use bytes::Bytes;
use portcullis_engine::Inspection;
use portcullis_model::{Digest, Document, sha256};
use portcullis_registry::{
    ComponentFacts, DSSE, Descriptor, Documents, EMPTY, EMPTY_CONFIG, Image, ImageRef, Index,
    MANIFEST_ARTIFACT, RELEASE_DOCUMENTS, Release, Repository, SETTINGS, SUITE_ARTIFACT,
    TagOrDigest, attached, component,
};
use portcullis_trust::{Envelope, Manifest};

use super::client::Client;
use super::error::RegistryError;

/// A plugin's files.
pub struct PluginParts<'a> {
    /// The component.
    pub component: &'a [u8],
    /// What was found in it.
    pub inspection: &'a Inspection,
    /// How its file is called, for people.
    pub title: &'a str,
    /// The signed manifest.
    pub manifest: &'a Envelope,
    /// The manifest's bytes.
    pub envelope: &'a [u8],
    /// The test suite: name and bytes.
    pub suite: Option<(&'a str, &'a [u8])>,
}

/// Where a plugin lies now.
#[derive(Clone, Debug)]
pub struct PushedPlugin {
    /// The manifest of its component.
    pub component: Descriptor,
    /// The manifest of its signed manifest.
    pub manifest: Descriptor,
    /// The manifest of its suite.
    pub suite: Option<Descriptor>,
}

/// A release's files.
pub struct ReleaseParts<'a> {
    /// Its version.
    pub version: u64,
    /// The release set's envelope.
    pub set: &'a [u8],
    /// The trust roots' envelopes.
    pub roots: Vec<&'a [u8]>,
    /// The downgrade's envelope.
    pub downgrade: Option<&'a [u8]>,
    /// The settings.
    pub settings: Vec<&'a [u8]>,
    /// The suites that manifests demand: without them no host takes those plugins.
    pub suites: Vec<&'a [u8]>,
    /// The plugins, and the tag under which each is kept.
    pub plugins: Vec<(PluginParts<'a>, String)>,
}

/// Pushes a plugin: its component under a tag, the rest as what refers to it.
pub async fn push_plugin(
    client: &Client,
    to: &ImageRef,
    parts: &PluginParts<'_>,
) -> Result<PushedPlugin, RegistryError> {
    let repository = &to.repository;
    let facts = ComponentFacts {
        exports: parts.inspection.exports.clone(),
        imports: parts.inspection.imports.clone(),
        target: Some(Manifest::WORLD.to_owned()),
    };
    let made = component(parts.component, parts.title, &begin(parts.manifest), facts);
    for layer in &made.image.layers {
        client.push_blob(repository, layer, Bytes::copy_from_slice(parts.component)).await?;
    }
    client.push_blob(repository, &made.image.config, made.config.into()).await?;
    let bytes = made.image.to_bytes();
    let listed = made.image.descriptor(&bytes);
    client.push_manifest(to, Image::MEDIA_TYPE, bytes.into()).await?;
    let signed = Descriptor::of(DSSE, parts.envelope)
        .titled(&format!("{}.manifest.json", stem(parts.title)));
    let manifest =
        attach(client, repository, &listed, (MANIFEST_ARTIFACT, signed, parts.envelope)).await?;
    let suite = match parts.suite {
        Some((name, bytes)) => {
            let media_type =
                if name.ends_with(".toml") { "application/toml" } else { "application/yaml" };
            let layer = Descriptor::of(media_type, bytes).titled(name);
            Some(attach(client, repository, &listed, (SUITE_ARTIFACT, layer, bytes)).await?)
        }
        None => None,
    };
    Ok(PushedPlugin { component: listed, manifest, suite })
}

/// Pushes a release with everything that it names, and moves the tag there. Gives the index's digest.
pub async fn push_release(
    client: &Client,
    to: &ImageRef,
    parts: &ReleaseParts<'_>,
) -> Result<Digest, RegistryError> {
    let repository = &to.repository;
    let mut release = Release {
        documents: Descriptor::of(Image::MEDIA_TYPE, &[]),
        components: Vec::new(),
        manifests: Vec::new(),
    };
    for (plugin, tag) in &parts.plugins {
        let place =
            ImageRef { repository: repository.clone(), target: TagOrDigest::Tag(tag.clone()) };
        let pushed = push_plugin(client, &place, plugin).await?;
        // Two manifests can be for one component.
        if release.component(pushed.component.digest).is_none() {
            release.components.push(pushed.component);
        }
        release.manifests.push(pushed.manifest);
    }
    let mut documents = Documents { envelopes: Vec::new(), settings: Vec::new() };
    let roots =
        parts.roots.iter().map(|root| (*root, format!("trust-roots/{}.json", digits(root))));
    let further = parts.downgrade.map(|it| (it, "downgrade.json".to_owned()));
    for (bytes, title) in
        [(parts.set, "release-set.json".to_owned())].into_iter().chain(further).chain(roots)
    {
        let listed = Descriptor::of(DSSE, bytes).titled(&title);
        client.push_blob(repository, &listed, Bytes::copy_from_slice(bytes)).await?;
        documents.envelopes.push(listed);
    }
    let settings =
        parts.settings.iter().map(|bytes| (bytes, format!("settings/{}.json", digits(bytes))));
    let suites =
        parts.suites.iter().map(|bytes| (bytes, format!("suites/{}.suite.json", digits(bytes))));
    for (bytes, title) in settings.chain(suites) {
        let listed = Descriptor::of(SETTINGS, bytes).titled(&title);
        client.push_blob(repository, &listed, Bytes::copy_from_slice(bytes)).await?;
        documents.settings.push(listed);
    }
    let image = documents.to_image();
    client
        .push_blob(repository, &Descriptor::of(EMPTY_CONFIG, EMPTY), Bytes::from_static(EMPTY))
        .await?;
    let bytes = image.to_bytes();
    release.documents = Descriptor {
        artifact_type: Some(RELEASE_DOCUMENTS.to_owned()),
        ..image.descriptor(&bytes)
    };
    let tagged =
        |tag: String| ImageRef { repository: repository.clone(), target: TagOrDigest::Tag(tag) };
    // Under tags of their own too: some registries' sweeps keep only what has one.
    client
        .push_manifest(
            &tagged(format!("release-{}-documents", parts.version)),
            Image::MEDIA_TYPE,
            bytes.into(),
        )
        .await?;
    let index: Bytes = release.to_index(parts.version).to_bytes().into();
    client
        .push_manifest(
            &tagged(format!("release-{}", parts.version)),
            Index::MEDIA_TYPE,
            index.clone(),
        )
        .await?;
    client.push_manifest(to, Index::MEDIA_TYPE, index.clone()).await?;
    Ok(sha256(&index))
}

/// Pushes something as what refers to a manifest, and lists it by the tag schema.
async fn attach(
    client: &Client,
    repository: &Repository,
    to: &Descriptor,
    (artifact, layer, bytes): (&str, Descriptor, &[u8]),
) -> Result<Descriptor, RegistryError> {
    client.push_blob(repository, &layer, Bytes::copy_from_slice(bytes)).await?;
    client
        .push_blob(repository, &Descriptor::of(EMPTY_CONFIG, EMPTY), Bytes::from_static(EMPTY))
        .await?;
    let image = attached(to, artifact, layer);
    let bytes = image.to_bytes();
    let listed = image.descriptor(&bytes);
    let place =
        ImageRef { repository: repository.clone(), target: TagOrDigest::Digest(listed.digest) };
    client.push_manifest(&place, Image::MEDIA_TYPE, bytes.into()).await?;
    client.add_referrer(repository, to.digest, &listed).await?;
    Ok(listed)
}

/// From when a manifest may be used: the moment that its artifact bears, so that it is the same whenever it is pushed.
fn begin(manifest: &Envelope) -> String {
    let document = Document::parse(manifest.unverified_payload()).ok();
    let begin =
        document.as_ref().and_then(|it| it.root().get("predicate")?.get("not_before")?.as_str());
    begin.map_or_else(|| "1970-01-01T00:00:00Z".to_owned(), Into::into)
}

fn stem(title: &str) -> &str {
    title.strip_suffix(".wasm").unwrap_or(title)
}

fn digits(bytes: &[u8]) -> String {
    sha256(bytes).to_string().chars().skip("sha256:".len()).take(16).collect()
}

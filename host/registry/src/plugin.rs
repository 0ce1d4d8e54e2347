//! A plugin as artifacts: the component as a CNCF Wasm artifact, its signed manifest and its suite as referrers of that.
//!
//! Invariant: one component is one manifest of one layer, and three names of it agree: the layer's digest, the configuration's
//! `layerDigests[0]`, and the subject of the statement that was signed. The same component and manifest make the same bytes.

use portcullis_model::{Digest, Document};
use serde::{Deserialize, Serialize};

use crate::manifest::{
    DSSE, Descriptor, EMPTY, EMPTY_CONFIG, Image, ManifestError, strict, written,
};

/// What a component says of itself in its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentFacts {
    /// What it exports.
    pub exports: Vec<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// The world that it is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// `application/vnd.wasm.config.v0+json`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig {
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    architecture: String,
    os: String,
    layer_digests: Vec<Digest>,
    #[serde(default)]
    component: Option<ComponentFacts>,
}

/// A component's artifact: its configuration and its manifest, to be pushed in this order after the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The manifest.
    pub image: Image,
}

/// The artifact of a component. `created` is RFC 3339; to be repeatable it is the signed manifest's, not now. `os` is `wasip2`, which is how the
/// layout says "a component": ours import no WASI.
pub fn component(wasm: &[u8], title: &str, created: &str, facts: ComponentFacts) -> Component {
    let layer = Descriptor::of(WASM, wasm).titled(title);
    let config = written(&WasmConfig {
        created: created.to_owned(),
        author: None,
        architecture: "wasm".to_owned(),
        os: "wasip2".to_owned(),
        layer_digests: vec![layer.digest],
        component: Some(facts),
    });
    let image = Image::new(None, Descriptor::of(WASM_CONFIG, &config), vec![layer]);
    Component { config, image }
}

/// The layer of a component's artifact, held against its configuration.
pub fn layer<'a>(image: &'a Image, config: &[u8]) -> Result<&'a Descriptor, ManifestError> {
    let wrong = |why: &str| Err(ManifestError(format!("the artifact of a component {why}")));
    let [layer] = image.layers.as_slice() else { return wrong("does not have exactly one layer") };
    if image.config.media_type != WASM_CONFIG || layer.media_type != WASM {
        return wrong("has a configuration or a layer of another type");
    }
    let config: WasmConfig = strict(config, "manifests")?;
    if config.layer_digests != [layer.digest] {
        return wrong("has another layer than its configuration says");
    }
    Ok(layer)
}

/// The manifest of what refers to a component's artifact: a signed manifest, or a suite.
pub fn attached(to: &Descriptor, artifact: &str, layer: Descriptor) -> Image {
    let mut image = Image::new(Some(artifact), Descriptor::of(EMPTY_CONFIG, EMPTY), vec![layer]);
    // Without what only indexes say, so that the same subject is the same bytes wherever its descriptor was found.
    let Descriptor { media_type, digest, size, .. } = to.clone();
    image.subject = Some(Descriptor {
        media_type,
        digest,
        size,
        artifact_type: None,
        annotations: Default::default(),
    });
    image
}

/// The one layer of what refers to this artifact.
pub fn attachment<'a>(
    image: &'a Image,
    to: Digest,
    artifact: &str,
) -> Result<&'a Descriptor, ManifestError> {
    let wrong = |why: &str| {
        Err(ManifestError(format!("the artifact that is attached to a component {why}")))
    };
    if image.artifact_type.as_deref() != Some(artifact) {
        return wrong("has another type than its index says");
    }
    if image.subject.as_ref().is_none_or(|subject| subject.digest != to) {
        return wrong("refers to another component");
    }
    let [layer] = image.layers.as_slice() else { return wrong("does not have exactly one layer") };
    if artifact == MANIFEST_ARTIFACT && layer.media_type != DSSE {
        return wrong("is not a signed document");
    }
    Ok(layer)
}

/// What an in-toto statement is about: the digest of its one subject. Nobody has looked at its signatures yet.
pub fn subject(statement: &[u8]) -> Option<Digest> {
    let document = Document::parse(statement).ok()?;
    let subjects = document.root().get("subject")?;
    let digest = subjects.index(0)?.get("digest")?.get("sha256")?.as_str()?.to_string();
    if subjects.index(1).is_some() { None } else { format!("sha256:{digest}").parse().ok() }
}

/// The media type of a component.
pub const WASM: &str = "application/wasm";
/// The media type of a component's configuration.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The artifact type of a plugin's signed manifest.
pub const MANIFEST_ARTIFACT: &str = "application/vnd.portcullis.plugin-manifest.v1";
/// The artifact type of a plugin's test suite.
pub const SUITE_ARTIFACT: &str = "application/vnd.portcullis.plugin-suite.v1";
